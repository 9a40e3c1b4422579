//! How many pods a node may have, within GKE's limits, and how large its block is by that.

use freeboard_address::BlockSize;

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

    /// The prefix length of the node's block.
    #[must_use]
    pub fn block_length(self, overprovision: Overprovision) -> u8 {
        let size = match overprovision {
            Overprovision::Double => BlockSize::GKE,
            Overprovision::None => BlockSize::DENSE,
        };
        // Every number of pods that GKE takes has a block.
        size.block_length(u32::from(self.0)).unwrap_or(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_twice_the_addresses_of_the_next_power_of_two() {
        let length = |pods, overprovision| MaxPods::new(pods).unwrap().block_length(overprovision);
        assert_eq!([8, 16, 110, 256].map(|pods| length(pods, Overprovision::Double)), [28, 27, 24, 23]);
        assert_eq!([8, 30, 64].map(|pods| length(pods, Overprovision::None)), [28, 27, 26]);
    }

    #[test]
    fn numbers_that_gke_does_not_take_are_refused_by_name() {
        for pods in [i64::MIN, -1, 0, 7, 257, 65_552, i64::MAX] {
            let message = MaxPods::new(pods).unwrap_err().message;
            assert!(message.contains(&pods.to_string()) && message.contains("between 8 and 256"), "{message}");
        }
    }
}
