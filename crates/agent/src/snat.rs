//! SNAT and connection marks: what the node's nf_tables table is made from; and the incumbent's chains go when ours is there.

use std::net::Ipv4Addr;

use freeboard_address::{Cidr, MacAddress};
use freeboard_datapath::DatapathError;
use freeboard_datapath::host::ObservedHost;
use freeboard_datapath::nft::{NftSocket, NodeNat, PortRandomisation, find_leftovers, remove_leftovers};
use freeboard_settings::{RandomizeSnat, Settings};

/// Makes the kernel have the table for these blocks; one that is right already is not touched.
///
/// # Errors
/// When the primary interface has no link, or the kernel refuses; the old table is then still there, whole.
pub(crate) fn apply(
    settings: &Settings,
    primary_mac: MacAddress,
    primary_address: Ipv4Addr,
    vpc_cidrs: &[Cidr],
) -> Result<(), DatapathError> {
    let observed = ObservedHost::read_tables([])?;
    let link = observed.link_by_mac(primary_mac);
    let link =
        link.ok_or_else(|| DatapathError::NoLink(format!("with the primary interface's address {primary_mac}")))?;
    let nat = NodeNat {
        primary_interface: link.name.clone(),
        primary_address,
        vpc_cidrs: vpc_cidrs.iter().copied().collect(),
        excluded_cidrs: settings.exclude_snat_cidrs.iter().copied().collect(),
        veth_prefix: settings.veth_prefix.clone(),
        source_nat: (!settings.external_snat).then_some(match settings.randomize_snat {
            RandomizeSnat::None => PortRandomisation::None,
            RandomizeSnat::HashRandom => PortRandomisation::Hashed,
            RandomizeSnat::Prng => PortRandomisation::Random,
        }),
        node_port_support: settings.node_port_support,
        mark: settings.connmark,
    };
    if NftSocket::open()?.ensure(&nat.table())? {
        let blocks: Vec<String> = vpc_cidrs.iter().map(ToString::to_string).collect();
        tracing::info!(blocks = blocks.join(","), "wrote the nf_tables table for SNAT and connection marks");
    }
    Ok(())
}

/// Removes the chains that the Amazon VPC CNI left, once ours do their work: until then connections keep their old ways.
///
/// # Errors
/// When the kernel refuses; everything is then still there.
pub(crate) fn take_over() -> Result<(), DatapathError> {
    let mut socket = NftSocket::open()?;
    let leftovers = find_leftovers(&mut socket)?;
    if !leftovers.is_empty() {
        remove_leftovers(&mut socket, &leftovers)?;
        tracing::info!(
            chains = leftovers.names().join(","),
            rules = leftovers.shared_rules(),
            "removed the chains of the Amazon VPC CNI"
        );
    }
    Ok(())
}
