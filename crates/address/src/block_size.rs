//! How large a node's block is: by its max-pods, as GKE does it, or fixed.

use serde::{Deserialize, Serialize};

/// The smallest block that the rule gives: /28, 16 addresses, as in GKE.
const SMALLEST_HOST_BITS: u8 = 4;

/// How the length of a node's block follows from its max-pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BlockSize {
    /// So many addresses per pod, max-pods rounded up to a power of two; at least a /28.
    PerPod(AddressesPerPod),
    /// Every node has a block of this length, whatever its max-pods; a node that could run more pods than the block has
    /// addresses is not served from the range.
    Fixed(u8),
}

/// Addresses that a block holds for each pod that its node may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AddressesPerPod {
    /// No doubling: dense packing, `podCidrOverprovisionConfig.disable` in GKE.
    One,
    /// Twice as many addresses as pods, so that an address is not used again at once: the default of GKE.
    Two,
    /// Four times as many, for pods that come and go very fast.
    Four,
}

/// Why a block size is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fixed block length of {0} is not in 1..=32: give the prefix length of a node's block, like 24")]
pub struct BlockLengthRefused(pub u8);

impl BlockSize {
    /// GKE's rule: twice the next power of two, at least a /28.
    pub const GKE: Self = Self::PerPod(AddressesPerPod::Two);
    /// Without over-provision: the next power of two, at least a /28.
    pub const DENSE: Self = Self::PerPod(AddressesPerPod::One);

    /// The length of the block of a node that may run `max_pods` pods, or none when the rule has no block for it: `max_pods`
    /// of 0 or so many that no block holds them, or more than a fixed block has addresses.
    #[must_use]
    pub fn block_length(self, max_pods: u32) -> Option<u8> {
        self.length_for(PodBits::of(max_pods)?)
    }

    /// The same for a max-pods that is known by its power of two.
    #[must_use]
    pub fn length_for(self, pods: PodBits) -> Option<u8> {
        let host_bits = match self {
            Self::Fixed(length) => return (pods.0 <= 32u8.checked_sub(length)?).then_some(length),
            Self::PerPod(AddressesPerPod::One) => pods.0,
            Self::PerPod(AddressesPerPod::Two) => pods.0 + 1,
            Self::PerPod(AddressesPerPod::Four) => pods.0 + 2,
        };
        32u8.checked_sub(host_bits.max(SMALLEST_HOST_BITS))
    }

    /// The same for a node that may not tell its max-pods: only a fixed length is known without.
    #[must_use]
    pub fn length_of(self, pods: Option<PodBits>) -> Option<u8> {
        match (pods, self) {
            (Some(pods), _) => self.length_for(pods),
            (None, Self::Fixed(length)) => Some(length),
            (None, Self::PerPod(_)) => None,
        }
    }

    /// Checks the size by itself.
    ///
    /// # Errors
    /// When a fixed length is no length of a node's block.
    pub fn check(self) -> Result<(), BlockLengthRefused> {
        match self {
            Self::Fixed(length @ (0 | 33..)) => Err(BlockLengthRefused(length)),
            Self::Fixed(_) | Self::PerPod(_) => Ok(()),
        }
    }
}

/// ⌈log₂ max-pods⌉: all that a block's size depends on, so that nodes with like needs wait in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodBits(u8);

impl PodBits {
    /// Of so many pods; none of no pods.
    #[must_use]
    pub fn of(max_pods: u32) -> Option<Self> {
        let bits = 32 - max_pods.checked_sub(1)?.leading_zeros();
        u8::try_from(bits).ok().map(Self)
    }

    /// The power of two, as pods.
    #[must_use]
    pub fn pods(self) -> u64 {
        1 << self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_gke() {
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
        for (max_pods, length) in table {
            assert_eq!(BlockSize::GKE.block_length(max_pods), Some(length), "{max_pods}");
        }
        // A node with 225 pods that got the block for 64 broke at about 62 pods (karpenter-provider-gcp#120).
        assert_eq!(BlockSize::GKE.block_length(225), Some(23));
    }

    #[test]
    fn dense_packing_does_not_double() {
        let table = [(30, 27), (64, 26), (110, 25), (8, 28), (1, 28), (256, 24)];
        for (max_pods, length) in table {
            assert_eq!(BlockSize::DENSE.block_length(max_pods), Some(length), "{max_pods}");
        }
    }

    #[test]
    fn what_no_block_can_hold_has_no_length() {
        assert_eq!(BlockSize::GKE.block_length(0), None);
        assert_eq!(BlockSize::GKE.block_length(u32::MAX), None);
        assert_eq!(BlockSize::Fixed(24).block_length(256), Some(24));
        assert_eq!(BlockSize::Fixed(24).block_length(257), None, "more pods than addresses");
        assert_eq!(BlockSize::Fixed(33).block_length(1), None);
        for length in [0, 33, 255] {
            assert!(BlockSize::Fixed(length).check().unwrap_err().to_string().contains(&length.to_string()));
        }
    }
}
