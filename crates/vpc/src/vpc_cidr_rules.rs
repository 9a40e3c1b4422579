//! Which blocks a VPC may have: the size rule, the ranges never allowed, and the table of association restrictions.

use freeboard_address::Cidr;

use crate::error::ApiError;

/// Why a block cannot be a VPC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidrRefusal {
    /// Not /16 to /28, or in a range that no VPC may use.
    Invalid(Cidr),
    /// Not allowed together with the blocks that the VPC has.
    Restricted(Cidr),
}

impl CidrRefusal {
    /// The refusal as EC2 answers it.
    #[must_use]
    pub fn to_api_error(self) -> ApiError {
        let text = match self {
            Self::Invalid(cidr) => format!("The CIDR '{cidr}' is invalid."),
            Self::Restricted(cidr) => format!(
                "The CIDR '{cidr}' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, \
                 or use a publicly-routable CIDR. For additional restrictions, see \
                 https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"
            ),
        };
        ApiError::new("InvalidVpc.Range", text)
    }
}

/// The private ranges between which a VPC cannot mix, and the ranges with rules of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ten,
    OneSevenTwo,
    OneNineTwo,
    Benchmark,
    Other,
}

impl Family {
    fn of(cidr: Cidr) -> Self {
        let families = [
            (block(10, 0, 0, 0, 8), Self::Ten),
            (block(172, 16, 0, 0, 12), Self::OneSevenTwo),
            (block(192, 168, 0, 0, 16), Self::OneNineTwo),
            (block(198, 19, 0, 0, 16), Self::Benchmark),
        ];
        families.into_iter().find(|(range, _)| range.contains_block(cidr)).map_or(Self::Other, |(_, family)| family)
    }
}

/// Whether a VPC may have this block at all, as its primary one.
///
/// # Errors
/// [`CidrRefusal::Invalid`].
pub fn check_vpc_cidr(cidr: Cidr) -> Result<(), CidrRefusal> {
    let never = [block(0, 0, 0, 0, 8), block(127, 0, 0, 0, 8), block(169, 254, 0, 0, 16), block(224, 0, 0, 0, 4)];
    let allowed = (16..=28).contains(&cidr.length()) && !never.into_iter().any(|range| range.overlaps(cidr));
    if allowed { Ok(()) } else { Err(CidrRefusal::Invalid(cidr)) }
}

/// Whether a VPC with these blocks may get this one too; overlaps are another matter.
///
/// The table "IPv4 CIDR block association restrictions" read with the *primary* block's row. (Whether a later block brings
/// its own row's restrictions is not documented; the service's own text speaks of "the current VPC CIDR".)
///
/// # Errors
/// [`CidrRefusal`].
pub fn check_association(primary: Cidr, associated: &[Cidr], candidate: Cidr) -> Result<(), CidrRefusal> {
    check_vpc_cidr(candidate)?;
    let allowed = match (Family::of(primary), Family::of(candidate)) {
        (_, Family::Other) | (Family::OneNineTwo, Family::OneNineTwo) => true,
        (Family::Ten, Family::Ten) => {
            let low = block(10, 0, 0, 0, 15);
            let holds_low = associated.iter().any(|has| low.contains_block(*has));
            !(holds_low && block(10, 0, 0, 0, 16).contains_block(candidate))
        }
        (Family::OneSevenTwo, Family::OneSevenTwo) => !block(172, 31, 0, 0, 16).contains_block(candidate),
        // Whatever is left mixes private ranges, or adds 198.19.0.0/16, which no row allows.
        _ => false,
    };
    if allowed { Ok(()) } else { Err(CidrRefusal::Restricted(candidate)) }
}

/// A block by its numbers; all callers give a length of at most 32.
fn block(a: u8, b: u8, c: u8, d: u8, length: u8) -> Cidr {
    let address = std::net::Ipv4Addr::new(a, b, c, d);
    Cidr::containing(address, length).unwrap_or(Cidr::host(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(primary: &str, candidate: &str) -> &'static str {
        let primary: Cidr = primary.parse().unwrap();
        match check_association(primary, &[primary], candidate.parse().unwrap()) {
            Ok(()) => "ok",
            Err(CidrRefusal::Invalid(_)) => "invalid",
            Err(CidrRefusal::Restricted(_)) => "restricted",
        }
    }

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
            ("10.0.0.0/16", "127.0.0.0/16", "invalid"),
            ("10.0.0.0/16", "169.254.0.0/16", "invalid"),
            ("10.0.0.0/16", "100.64.0.0/29", "invalid"),
        ] {
            assert_eq!(verdict(primary, candidate), expected, "{primary} + {candidate}");
        }
    }

    #[test]
    fn the_refusals_have_the_services_texts() {
        let cidr: Cidr = "10.0.0.0/8".parse().unwrap();
        let invalid = check_vpc_cidr(cidr).unwrap_err().to_api_error();
        assert_eq!(invalid.code, "InvalidVpc.Range");
        assert_eq!(invalid.message, "The CIDR '10.0.0.0/8' is invalid.");
        let restricted = CidrRefusal::Restricted("192.168.0.0/16".parse().unwrap()).to_api_error();
        assert!(restricted.message.starts_with(
            "The CIDR '192.168.0.0/16' is restricted. Use a CIDR from the same private address range as the current VPC \
             CIDR, or use a publicly-routable CIDR. For additional restrictions, see https://docs.aws.amazon.com/"
        ));
    }
}
