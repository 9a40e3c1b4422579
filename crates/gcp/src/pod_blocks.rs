//! How large a node's block is: GKE's rule from the pods a node may have to the prefix length of its block.

use crate::error::ApiError;

/// The fewest pods per node that GKE takes.
const FEWEST: i64 = 8;
/// The most pods per node that GKE takes.
const MOST: i64 = 256;

/// How many pods a node may have: 8 to 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxPods(u16);

/// Whether a node's block has twice the addresses that its pods can use, so that none is used again at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overprovision {
    /// Twice as many, the default.
    #[default]
    Double,
    /// As many as pods, rounded up (`podCidrOverprovisionConfig.disable`).
    None,
}

impl MaxPods {
    /// What a pool gets that says nothing.
    pub const DEFAULT: Self = Self(110);

    /// Checks the number of pods.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) when `pods` is not in 8..=256.
    pub fn new(pods: i64) -> Result<Self, ApiError> {
        match u16::try_from(pods) {
            Ok(count) if (FEWEST..=MOST).contains(&pods) => Ok(Self(count)),
            _ => Err(ApiError::invalid(format!(
                "Invalid maxPodsPerNode {pods}: it must be between {FEWEST} and {MOST}."
            ))),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// The prefix length of the node's block: host bits are ⌈log2 pods⌉, one more when doubled, and never fewer than four.
    #[must_use]
    pub fn block_length(self, overprovision: Overprovision) -> u8 {
        let pods = u32::from(self.0).next_power_of_two();
        let addresses = match overprovision {
            Overprovision::Double => pods * 2,
            Overprovision::None => pods,
        };
        let host_bits = addresses.trailing_zeros().max(4);
        // At most nine bits of 32.
        32 - u8::try_from(host_bits).unwrap_or(9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_twice_the_addresses_of_the_next_power_of_two() {
        let table = [
            (8, 28),
            (9, 27),
            (16, 27),
            (17, 26),
            (30, 26),
            (32, 26),
            (33, 25),
            (64, 25),
            (65, 24),
            (100, 24),
            (110, 24),
            (128, 24),
            (129, 23),
            (200, 23),
            (256, 23),
        ];
        for (pods, length) in table {
            assert_eq!(MaxPods::new(pods).unwrap().block_length(Overprovision::Double), length, "{pods} pods");
        }
        let packed = |pods| MaxPods::new(pods).unwrap().block_length(Overprovision::None);
        assert_eq!((packed(30), packed(64), packed(8)), (27, 26, 28));
    }

    #[test]
    fn numbers_that_gke_does_not_take_are_refused_by_name() {
        for pods in [i64::MIN, -1, 0, 7, 257, 65_552, i64::MAX] {
            let message = MaxPods::new(pods).unwrap_err().message;
            assert!(message.contains(&pods.to_string()) && message.contains("between 8 and 256"), "{message}");
        }
    }
}
