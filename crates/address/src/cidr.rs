//! IPv4 blocks.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IPv4 block: a network address and a prefix length, with no host bits set.
///
/// Ordered by network address, then from the wider to the narrower block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    network: u32,
    length: u8,
}

/// Why a text or a pair of values is not an IPv4 block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The text is not of the form `a.b.c.d/len`.
    #[error("{0:?} is not an IPv4 block: expected address and length, like 10.0.208.0/27")]
    Form(String),
    /// The prefix length is above 32.
    #[error("prefix length {0} of an IPv4 block is not in 0..=32")]
    Length(u8),
    /// Bits are set below the prefix length.
    #[error("{given} has bits set below its length: did you mean {meant}?")]
    HostBits {
        /// The text as it was given.
        given: String,
        /// The block that contains it.
        meant: Cidr,
    },
}

impl Cidr {
    /// All of IPv4, 0.0.0.0/0.
    pub const EVERYTHING: Self = Self { network: 0, length: 0 };

    /// The block of `length` bits that contains `address`; host bits are cleared, as EC2 does.
    ///
    /// # Errors
    /// [`CidrError::Length`] when `length` is above 32.
    pub fn containing(address: Ipv4Addr, length: u8) -> Result<Self, CidrError> {
        if length > 32 {
            return Err(CidrError::Length(length));
        }
        Ok(Self { network: u32::from(address) & mask(length), length })
    }

    /// The block of this one address, a /32.
    #[must_use]
    pub fn host(address: Ipv4Addr) -> Self {
        Self { network: u32::from(address), length: 32 }
    }

    /// Reads `a.b.c.d/len` and clears host bits, as EC2 does (100.68.0.18/18 → 100.68.0.0/18).
    ///
    /// # Errors
    /// [`CidrError::Form`] or [`CidrError::Length`].
    pub fn parse_clearing_host_bits(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(form)?;
        let address: Ipv4Addr = address.parse().map_err(|_| form())?;
        if length.is_empty() || length.len() > 3 || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(form());
        }
        let length: u16 = length.parse().map_err(|_| form())?;
        let length = u8::try_from(length).map_err(|_| CidrError::Length(u8::MAX))?;
        Self::containing(address, length)
    }

    /// The first address of the block.
    #[must_use]
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    /// The last address of the block.
    #[must_use]
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network | !mask(self.length))
    }

    /// The prefix length, 0 to 32.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// The netmask, for example 255.255.255.224 for a /27.
    #[must_use]
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.length))
    }

    /// How many addresses the block has, network and broadcast included.
    #[must_use]
    pub fn size(self) -> u64 {
        1u64 << (32 - self.length)
    }

    /// The address `index` places after the first, if it lies in the block.
    #[must_use]
    pub fn nth(self, index: u32) -> Option<Ipv4Addr> {
        (u64::from(index) < self.size()).then(|| Ipv4Addr::from(self.network + index))
    }

    /// Whether `address` lies in the block.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.length) == self.network
    }

    /// Whether every address of `other` lies in this block.
    #[must_use]
    pub fn contains_block(self, other: Self) -> bool {
        other.length >= self.length && self.contains(other.network())
    }

    /// Whether the two blocks share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains_block(other) || other.contains_block(self)
    }

    /// What is left of this block without `other`: the fewest aligned blocks, in address order. This block itself when the two
    /// share nothing; nothing when `other` covers it.
    #[must_use]
    pub fn without(self, other: Self) -> Vec<Self> {
        if !self.overlaps(other) {
            return vec![self];
        }
        let sibling = |length: u8| {
            let bit = 1u32 << (32 - u32::from(length));
            Self { network: (other.network & mask(length)) ^ bit, length }
        };
        let mut rest: Vec<Self> = (self.length + 1..=other.length).map(sibling).collect();
        rest.sort_unstable();
        rest
    }

    /// Every address of the block, in order.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> + Clone {
        (self.network..=u32::from(self.last())).map(Ipv4Addr::from)
    }

    /// The blocks of `length` bits inside this one, in order; none when `length` is shorter than this block's or above 32.
    pub fn subdivide(self, length: u8) -> impl Iterator<Item = Self> + Clone {
        let count = if length >= self.length && length <= 32 { 1u64 << (length - self.length) } else { 0 };
        let step = if length == 0 { 0 } else { 1u64 << (32 - u32::from(length.min(32))) };
        let first = u64::from(self.network);
        (0..count).map(move |index| {
            let network = u32::try_from(first + index * step).unwrap_or(u32::MAX);
            Self { network, length }
        })
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Reads `a.b.c.d/len`; refuses host bits and names the block that was probably meant.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let block = Self::parse_clearing_host_bits(text)?;
        match text.split_once('/') {
            Some((address, _)) if address.parse() != Ok(block.network()) => {
                Err(CidrError::HostBits { given: text.to_owned(), meant: block })
            }
            _ => Ok(block),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.network(), self.length))
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_prints_the_same_text() {
        for text in ["0.0.0.0/0", "10.0.208.0/27", "100.64.0.0/20", "255.255.255.255/32"] {
            assert_eq!(cidr(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_block_and_quotes_it() {
        for text in
            ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "x/8", "10.0.0.0/33", "10.0.0.0/999", "::/0"]
        {
            let message = text.parse::<Cidr>().unwrap_err().to_string();
            assert!(message.contains(text) || message.contains("0..=32"), "{text}: {message}");
        }
    }

    #[test]
    fn names_the_block_that_host_bits_belong_to() {
        let message = "10.0.208.27/27".parse::<Cidr>().unwrap_err().to_string();
        assert_eq!(message, "10.0.208.27/27 has bits set below its length: did you mean 10.0.208.0/27?");
        assert_eq!(Cidr::parse_clearing_host_bits("100.68.0.18/18").unwrap(), cidr("100.68.0.0/18"));
    }

    #[test]
    fn knows_its_bounds() {
        let block = cidr("10.0.208.0/27");
        assert_eq!(block.last(), Ipv4Addr::new(10, 0, 208, 31));
        assert_eq!(block.size(), 32);
        assert_eq!(block.netmask(), Ipv4Addr::new(255, 255, 255, 224));
        assert_eq!(block.nth(31), Some(block.last()));
        assert_eq!(block.nth(32), None);
        assert_eq!(block.addresses().count(), 32);
        assert_eq!(cidr("0.0.0.0/0").size(), 1 << 32);
    }

    #[test]
    fn subdivides_in_order() {
        let parts: Vec<String> = cidr("10.0.0.0/26").subdivide(27).map(|c| c.to_string()).collect();
        assert_eq!(parts, ["10.0.0.0/27", "10.0.0.32/27"]);
        assert_eq!(cidr("10.0.0.0/26").subdivide(25).count(), 0);
        assert_eq!(cidr("255.255.255.0/24").subdivide(32).last(), Some(Cidr::host(Ipv4Addr::BROADCAST)));
    }

    #[test]
    fn what_is_left_without_a_part_is_in_the_fewest_blocks() {
        let rest =
            |block: &str, part: &str| cidr(block).without(cidr(part)).iter().map(Cidr::to_string).collect::<Vec<_>>();
        assert_eq!(rest("10.0.0.0/24", "10.0.0.64/26"), ["10.0.0.0/26", "10.0.0.128/25"]);
        assert_eq!(rest("10.0.0.0/24", "10.0.1.0/24"), ["10.0.0.0/24"]);
        assert!(rest("10.0.0.0/24", "10.0.0.0/8").is_empty());
        assert_eq!(cidr("0.0.0.0/0").without(cidr("255.255.255.255/32")).len(), 32);
    }

    #[test]
    fn overlap_is_containment_in_either_direction() {
        assert!(cidr("10.0.0.0/16").overlaps(cidr("10.0.208.0/27")));
        assert!(cidr("10.0.208.0/27").overlaps(cidr("10.0.0.0/16")));
        assert!(!cidr("10.0.208.0/27").overlaps(cidr("10.0.224.0/27")));
        assert!(!cidr("10.0.208.0/27").contains_block(cidr("10.0.0.0/16")));
    }
}
