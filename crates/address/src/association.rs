//! Which blocks one VPC may have: the size rule, the ranges never allowed, and the table of association restrictions.
//!
//! A value that two floors need: the simulated cloud refuses by it, and a plan must know beforehand. The rules are those of
//! the VPC user guide, "IPv4 CIDR block association restrictions".

use std::fmt;
use std::net::Ipv4Addr;

use crate::Cidr;

/// Why a block cannot be a VPC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssociationRefusal {
    /// Not /16 to /28.
    Size,
    /// In a range that no VPC may use: this one.
    Never(Cidr),
    /// No VPC whose primary block lies in the first range may add a block of the second.
    Restricted {
        /// The range of the table that the primary block lies in; none when it lies in no range of the table (100.64.0.0/10
        /// and public space).
        primary: Option<Cidr>,
        /// The range of the table that the new block lies in.
        candidate: Cidr,
    },
}

impl AssociationRefusal {
    /// Whether the block is wrong by itself, whatever else the VPC has.
    #[must_use]
    pub fn is_of_the_block_itself(self) -> bool {
        matches!(self, Self::Size | Self::Never(_))
    }
}

impl fmt::Display for AssociationRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => f.write_str("a VPC block is a /16 to a /28"),
            Self::Never(range) => write!(f, "no VPC may use {range}"),
            Self::Restricted { primary: Some(primary), candidate } => {
                write!(f, "a VPC whose primary block lies in {primary} may not add a block of {candidate}")
            }
            Self::Restricted { primary: None, candidate } => write!(
                f,
                "a VPC whose primary block lies in 100.64.0.0/10 or in public space may not add a block of {candidate}"
            ),
        }
    }
}

/// Whether a VPC may have this block at all, as its primary one.
///
/// # Errors
/// [`AssociationRefusal::Size`] or [`AssociationRefusal::Never`].
pub fn check_vpc_block(cidr: Cidr) -> Result<(), AssociationRefusal> {
    if !(16..=28).contains(&cidr.length()) {
        return Err(AssociationRefusal::Size);
    }
    let never = [block(0, 0, 8), block(127, 0, 8), block(169, 254, 16), block(224, 0, 4)];
    match never.into_iter().find(|range| range.overlaps(cidr)) {
        Some(range) => Err(AssociationRefusal::Never(range)),
        None => Ok(()),
    }
}

/// Whether a VPC with these blocks may get this one too; overlaps are another matter.
///
/// The table is read with the *primary* block's row. (Whether a later block brings its own row's restrictions is not
/// documented; the service's own text speaks of "the current VPC CIDR".)
///
/// # Errors
/// [`AssociationRefusal`].
pub fn check_association(primary: Cidr, associated: &[Cidr], candidate: Cidr) -> Result<(), AssociationRefusal> {
    check_vpc_block(candidate)?;
    let (ten, one_seven_two, one_nine_two) = (block(10, 0, 8), block(172, 16, 12), block(192, 168, 16));
    // 198.19.0.0/16 is the one range outside the private ones that has a row, and no row allows it.
    let families = [ten, one_seven_two, one_nine_two, block(198, 19, 16)];
    let family = |cidr: Cidr| families.into_iter().find(|range| range.contains_block(cidr));
    let Some(wanted) = family(candidate) else { return Ok(()) };
    let has = family(primary);
    let refused = |candidate| Err(AssociationRefusal::Restricted { primary: has, candidate });
    if has != Some(wanted) || wanted == block(198, 19, 16) {
        return refused(wanted);
    }
    let low = block(10, 0, 16);
    let holds_low = || associated.iter().any(|one| block(10, 0, 15).contains_block(*one));
    if wanted == ten && low.contains_block(candidate) && holds_low() {
        return refused(low);
    }
    let reserved = block(172, 31, 16);
    if wanted == one_seven_two && reserved.contains_block(candidate) {
        return refused(reserved);
    }
    Ok(())
}

/// A block by its first two numbers; all callers give a length of at most 32.
fn block(a: u8, b: u8, length: u8) -> Cidr {
    let address = Ipv4Addr::new(a, b, 0, 0);
    Cidr::containing(address, length).unwrap_or(Cidr::host(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_restrictions_holds() {
        for (primary, candidate, expected) in [
            ("10.2.0.0/16", "10.0.0.0/16", "ok"),
            ("10.1.0.0/16", "10.0.4.0/24", "restricted"),
            ("10.0.0.0/24", "10.0.1.0/24", "restricted"),
            ("10.0.0.0/24", "10.1.0.0/16", "ok"),
            ("10.0.0.0/16", "172.20.0.0/16", "restricted"),
            ("172.20.0.0/16", "172.31.0.0/16", "restricted"),
            ("172.20.0.0/16", "172.2.0.0/16", "ok"),
            ("192.168.0.0/24", "192.168.1.0/24", "ok"),
            ("10.0.0.0/16", "100.64.0.0/10", "invalid"),
            ("10.0.0.0/16", "100.127.0.0/16", "ok"),
            ("10.0.0.0/16", "100.64.0.0/20", "ok"),
            ("10.0.0.0/16", "198.19.0.0/20", "restricted"),
            ("10.0.0.0/16", "198.18.0.0/16", "ok"),
            ("100.64.0.0/16", "10.9.0.0/16", "restricted"),
            ("100.64.0.0/16", "100.65.0.0/16", "ok"),
            ("198.19.0.0/20", "172.16.0.0/16", "restricted"),
            ("198.19.0.0/20", "198.19.16.0/20", "restricted"),
            ("10.0.0.0/16", "127.0.0.0/16", "invalid"),
            ("10.0.0.0/16", "169.254.0.0/16", "invalid"),
            ("10.0.0.0/16", "100.64.0.0/29", "invalid"),
        ] {
            let primary: Cidr = primary.parse().unwrap();
            let verdict = match check_association(primary, &[primary], candidate.parse().unwrap()) {
                Ok(()) => "ok",
                Err(refusal) if refusal.is_of_the_block_itself() => "invalid",
                Err(_) => "restricted",
            };
            assert_eq!(verdict, expected, "{primary} + {candidate}");
        }
    }

    #[test]
    fn a_refusal_names_both_ranges() {
        let primary: Cidr = "10.0.0.0/16".parse().unwrap();
        let refusal = check_association(primary, &[primary], "172.20.0.0/16".parse().unwrap()).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "a VPC whose primary block lies in 10.0.0.0/8 may not add a block of 172.16.0.0/12"
        );
    }
}
