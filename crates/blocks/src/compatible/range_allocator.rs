//! The CIDR set of kube-controller-manager's range allocator: its order, its counters, its rules (anchors D3).

use std::collections::BTreeSet;

use freeboard_address::Cidr;

/// One IPv4 range that is handed out in blocks of one length, round-robin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrSet {
    range: Cidr,
    block_length: u8,
    used: BTreeSet<u64>,
    next_candidate: u64,
    /// `node_ipam_controller_cidrset_cidrs_allocations_total`.
    pub allocations: u64,
    /// `node_ipam_controller_cidrset_cidrs_releases_total`.
    pub releases: u64,
}

/// Why the set refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrSetError {
    /// A block is wider than the range.
    #[error("a block of /{block_length} does not fit into {range}: choose a node mask at least as long as the range's")]
    Mask {
        /// The range.
        range: Cidr,
        /// The length of a block.
        block_length: u8,
    },
    /// No block is left.
    #[error("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")]
    Exhausted,
    /// The block shares no address with the range.
    #[error("{cidr} is out of the range {range}: expected a block that shares addresses with it")]
    Outside {
        /// The block.
        cidr: Cidr,
        /// The range.
        range: Cidr,
    },
}

impl CidrSet {
    /// A set in which everything is free. Host bits of the range are dropped, as upstream drops them.
    ///
    /// # Errors
    /// When a block does not fit.
    pub fn new(range: Cidr, block_length: u8) -> Result<Self, CidrSetError> {
        if block_length < range.length() || block_length > 32 {
            return Err(CidrSetError::Mask { range, block_length });
        }
        Ok(Self { range, block_length, used: BTreeSet::new(), next_candidate: 0, allocations: 0, releases: 0 })
    }

    /// How many blocks there are.
    #[must_use]
    pub fn max_cidrs(&self) -> u64 {
        1u64 << (self.block_length - self.range.length())
    }

    /// The block with this index; past the last one the address wraps, as upstream's arithmetic does not look.
    #[must_use]
    pub fn block_at(&self, index: u64) -> Option<Cidr> {
        let offset = u32::try_from(index << (32 - u32::from(self.block_length))).ok()?;
        let address = std::net::Ipv4Addr::from(u32::from(self.range.network()).checked_add(offset)?);
        Cidr::containing(address, self.block_length).ok()
    }

    /// The next free block after the one given last, around the end.
    ///
    /// # Errors
    /// When none is free.
    pub fn allocate_next(&mut self) -> Result<Cidr, CidrSetError> {
        let max = self.max_cidrs();
        let free = (0..max).map(|step| (self.next_candidate + step) % max).find(|index| !self.used.contains(index));
        let (index, block) =
            free.and_then(|index| Some((index, self.block_at(index)?))).ok_or(CidrSetError::Exhausted)?;
        self.used.insert(index);
        self.next_candidate = (index + 1) % max;
        self.allocations += 1;
        Ok(block)
    }

    /// The indices of the blocks that `cidr` touches; what is wider than the range is clipped.
    ///
    /// # Errors
    /// When it lies outside.
    pub fn indices(&self, cidr: Cidr) -> Result<std::ops::RangeInclusive<u64>, CidrSetError> {
        if !self.range.overlaps(cidr) {
            return Err(CidrSetError::Outside { cidr, range: self.range });
        }
        if cidr.contains_block(self.range) {
            return Ok(0..=self.max_cidrs() - 1);
        }
        let index = |address: std::net::Ipv4Addr| {
            u64::from(u32::from(address) - u32::from(self.range.network())) >> (32 - u32::from(self.block_length))
        };
        Ok(index(cidr.network())..=index(cidr.last()))
    }

    /// Marks the blocks that `cidr` touches as used.
    ///
    /// # Errors
    /// When it lies outside.
    pub fn occupy(&mut self, cidr: Cidr) -> Result<(), CidrSetError> {
        for index in self.indices(cidr)? {
            self.allocations += u64::from(self.used.insert(index));
        }
        Ok(())
    }

    /// Marks the blocks that `cidr` touches as free.
    ///
    /// # Errors
    /// When it lies outside.
    pub fn release(&mut self, cidr: Cidr) -> Result<(), CidrSetError> {
        for index in self.indices(cidr)? {
            self.releases += u64::from(self.used.remove(&index));
        }
        Ok(())
    }

    /// How many blocks are used.
    #[must_use]
    pub fn used_cidrs(&self) -> u64 {
        u64::try_from(self.used.len()).unwrap_or(u64::MAX)
    }

    /// The set after a restart of the controller: what nodes have is occupied, the pointer is lost.
    #[must_use]
    pub fn restarted(&self) -> Self {
        Self { next_candidate: 0, allocations: 0, releases: 0, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(range: &str, block_length: u8) -> CidrSet {
        CidrSet::new(Cidr::parse_clearing_host_bits(range).unwrap(), block_length).unwrap()
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn next(set: &mut CidrSet) -> String {
        set.allocate_next().map_or_else(|_| "none".to_owned(), |block| block.to_string())
    }

    #[test]
    fn a_set_of_one_block_gives_it_again_after_its_release() {
        let mut set = set("127.123.234.0/30", 30);
        assert_eq!([next(&mut set), next(&mut set)], ["127.123.234.0/30", "none"]);
        set.release(cidr("127.123.234.0/30")).unwrap();
        assert_eq!(next(&mut set), "127.123.234.0/30");
    }

    #[test]
    fn blocks_have_the_indices_of_upstream() {
        for (range, length, index, block) in [
            ("127.123.3.0/16", 24, 0, "127.123.0.0/24"),
            ("127.123.0.0/16", 24, 15, "127.123.15.0/24"),
            ("192.168.5.219/28", 32, 5, "192.168.5.213/32"),
        ] {
            assert_eq!(set(range, length).block_at(index), Some(cidr(block)), "{range} /{length} at {index}");
        }
        for (range, length, block, indices) in [
            ("127.0.0.0/8", 16, "127.123.0.0/16", 123..=123),
            ("127.0.0.0/8", 16, "127.0.0.0/8", 0..=255),
            ("127.0.0.0/8", 16, "64.0.0.0/2", 0..=255),
            ("126.0.0.0/7", 16, "127.0.0.0/15", 256..=257),
            ("126.0.0.0/7", 15, "127.0.0.0/15", 128..=128),
            ("126.0.0.0/7", 18, "127.0.0.0/15", 1024..=1031),
        ] {
            assert_eq!(set(range, length).indices(cidr(block)), Ok(indices), "{block} in {range} /{length}");
        }
        let outside = set("192.168.0.0/16", 24).indices(cidr("127.168.224.0/24")).unwrap_err().to_string();
        assert!(outside.contains("127.168.224.0/24") && outside.contains("192.168.0.0/16"), "{outside}");
    }

    #[test]
    fn counters_move_only_when_a_block_changes_hands() {
        let mut set = set("10.0.0.0/16", 24);
        let first: Vec<String> = (0..256).map(|_| next(&mut set)).collect();
        assert_eq!((set.used_cidrs(), set.allocations, set.releases), (256, 256, 0));
        set.release(cidr("10.0.0.0/16")).unwrap();
        assert_eq!((set.used_cidrs(), set.allocations, set.releases), (0, 256, 256));
        set.occupy(cidr("10.0.0.0/16")).unwrap();
        set.occupy(cidr("10.0.0.0/16")).unwrap();
        assert_eq!((set.used_cidrs(), set.allocations, set.releases), (256, 512, 256));
        set.release(cidr("10.0.0.0/16")).unwrap();
        let again: Vec<String> = (0..256).map(|_| next(&mut set)).collect();
        assert_eq!(first, again, "the same order again");
    }

    #[test]
    fn a_released_block_comes_last_until_a_restart_loses_the_pointer() {
        let mut set = set("10.0.0.0/22", 24);
        assert_eq!([next(&mut set), next(&mut set)], ["10.0.0.0/24", "10.0.1.0/24"]);
        set.release(cidr("10.0.0.0/24")).unwrap();
        let mut restarted = set.restarted();
        let rest = [next(&mut set), next(&mut set), next(&mut set), next(&mut set)];
        assert_eq!(rest, ["10.0.2.0/24", "10.0.3.0/24", "10.0.0.0/24", "none"]);
        restarted.occupy(cidr("10.0.2.0/24")).unwrap();
        assert_eq!(next(&mut restarted), "10.0.0.0/24");
    }

    #[test]
    fn a_block_wider_than_the_range_is_refused() {
        let refused = CidrSet::new(cidr("10.0.0.0/26"), 24).unwrap_err().to_string();
        assert!(refused.contains("/24") && refused.contains("10.0.0.0/26"), "{refused}");
    }
}
