//! Which IPv4 ranges a subnetwork may have.

use freeboard_address::Cidr;

use crate::cloud::GoogleCloud;
use crate::error::{ApiError, Status};
use crate::ids::NetworkName;

/// The longest prefix of a range: a /29 has eight addresses.
pub const LONGEST_RANGE: u8 = 29;
/// The shortest prefix of a range.
const SHORTEST_RANGE: u8 = 4;
/// How many secondary ranges a subnetwork may have.
pub(crate) const MOST_SECONDARY_RANGES: usize = 170;

/// Ranges that the network does not route between machines: network, prefix length, what it is.
const PROHIBITED: [([u8; 4], u8, &str); 7] = [
    ([0, 0, 0, 0], 8, "the local network"),
    ([127, 0, 0, 0], 8, "the loopback"),
    ([169, 254, 0, 0], 16, "link-local addresses"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([255, 255, 255, 255], 32, "the limited broadcast"),
    ([199, 36, 153, 4], 30, "restricted access to Google's APIs"),
    ([199, 36, 153, 8], 30, "private access to Google's APIs"),
];

/// Reads a range and checks its size and place; `field` is what messages call it.
///
/// # Errors
/// [`Status::InvalidArgument`] that quotes the text and says what was expected.
pub fn parse_range(field: &str, text: &str) -> Result<Cidr, ApiError> {
    let range: Cidr = text
        .parse()
        .map_err(|error| ApiError::invalid_field(field, text, format_args!("Must be a CIDR address range: {error}")))?;
    check_range(field, range)?;
    Ok(range)
}

/// Checks the size and place of a range.
pub(crate) fn check_range(field: &str, range: Cidr) -> Result<(), ApiError> {
    if !(SHORTEST_RANGE..=LONGEST_RANGE).contains(&range.length()) {
        let reason = format!("Prefix length must be between {SHORTEST_RANGE} and {LONGEST_RANGE}, inclusive.");
        return Err(ApiError::invalid_field(field, range, reason));
    }
    for (network, length, what) in PROHIBITED {
        if Cidr::containing(network.into(), length).is_ok_and(|prohibited| prohibited.overlaps(range)) {
            return Err(ApiError::invalid_field(field, range, format_args!("The range overlaps with {what}.")));
        }
    }
    Ok(())
}

impl GoogleCloud {
    /// Checks that `range` overlaps no range of any subnetwork of the network.
    pub(crate) fn check_disjoint(&self, network: &NetworkName, range: Cidr) -> Result<(), ApiError> {
        for (key, subnetwork) in self.subnetworks.iter().filter(|(_, subnetwork)| subnetwork.network == *network) {
            if let Some(usage) = subnetwork.usages().into_iter().find(|usage| usage.cidr.overlaps(range)) {
                let place = usage.range.map_or_else(String::new, |name| format!(" (secondary range '{name}')"));
                return Err(ApiError::new(
                    Status::InvalidArgument,
                    format!(
                        "Invalid IPCidrRange: {range} conflicts with existing subnetwork '{}' in region '{}': it has {}{place}.",
                        key.name, key.region, usage.cidr
                    ),
                ));
            }
        }
        Ok(())
    }
}
