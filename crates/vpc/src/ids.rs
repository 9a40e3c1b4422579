//! Ids and hardware addresses made from a seed and a counter: the same inputs in the same order give the same ids.

use std::fmt;

use freeboard_address::MacAddress;
use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The id with this text; the text is taken as it is.
            pub fn new(text: impl Into<std::sync::Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

ids! {
    /// A VPC peering connection, `pcx-…`.
    PeeringId;
    /// An internet gateway, `igw-…`.
    GatewayId;
    /// A machine image, `ami-…`.
    ImageId;
}

/// Makes ids and hardware addresses; deterministic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdGenerator {
    seed: u64,
    counter: u64,
    hardware_addresses: u32,
}

impl IdGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, counter: 0, hardware_addresses: 0 }
    }

    /// A new id: the prefix and 17 hexadecimal digits, the first a zero as the service's are today.
    pub(crate) fn next(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.number())
    }

    /// A number that looks random and follows from the seed and how often it was asked.
    pub(crate) fn number(&mut self) -> u64 {
        self.counter += 1;
        mix(self.counter ^ mix(self.seed))
    }

    /// A new locally administered hardware address; no two are equal before 2²⁴ of them were made.
    pub(crate) fn hardware_address(&mut self) -> MacAddress {
        self.hardware_addresses = self.hardware_addresses.wrapping_add(1);
        let [_, _, high, low, ..] = mix(self.seed).to_be_bytes();
        // Multiplying by an odd number permutes the counter's values, so addresses differ in more than the last digit.
        let [_, a, b, c] = (self.hardware_addresses.wrapping_mul(0x009e_3779) & 0x00ff_ffff).to_be_bytes();
        MacAddress::local([0x02, high, low, a, b, c])
    }
}

/// The finaliser of splitmix64: a permutation of the 64-bit numbers.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_have_the_services_form_and_repeat_for_the_same_seed() {
        let (mut one, mut two, mut other) = (IdGenerator::new(7), IdGenerator::new(7), IdGenerator::new(8));
        for _ in 0..100 {
            let id = one.next("eni");
            assert_eq!(id.len(), "eni-".len() + 17);
            assert_eq!(id, two.next("eni"));
            assert_ne!(id, other.next("eni"));
        }
    }

    #[test]
    fn hardware_addresses_differ_and_are_locally_administered() {
        let mut generator = IdGenerator::new(1);
        let made: BTreeSet<MacAddress> = (0..10_000).map(|_| generator.hardware_address()).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|mac| mac.bytes()[0] == 0x02));
    }
}
