//! SNAT and connection marks: which addresses, marks and interfaces the nf_tables table is made for.

use std::net::Ipv4Addr;

use freeboard_address::{Cidr, MacAddress};
use freeboard_datapath::DatapathError;
use freeboard_settings::Settings;

/// Replaces the table.
pub(crate) fn apply(
    _settings: &Settings,
    _primary_mac: MacAddress,
    _primary_address: Option<Ipv4Addr>,
    _vpc_cidrs: &[Cidr],
) -> Result<(), DatapathError> {
    Ok(())
}
