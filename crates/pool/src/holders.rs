//! Who holds which address, by key.
//!
//! Keys are told apart by the beginning of their container id first, a plain number: comparing whole keys would follow pointers
//! at each step of a search, which costs more the more pods there are.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use freeboard_address::AttachmentKey;

use crate::store::Assignment;

/// A holding.
type Entry = (Arc<Assignment>, Ipv4Addr);

/// The holdings of a node, each key once; in the order of container ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    /// Nearly always one for each number: container ids are random.
    buckets: BTreeMap<u64, Vec<Entry>>,
}

/// The first eight bytes of the container id as a number, in the order of the ids.
fn number(key: &AttachmentKey) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(key.container.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(first)
}

impl Holders {
    fn entry(&self, key: &AttachmentKey) -> Option<&Entry> {
        self.buckets.get(&number(key))?.iter().find(|(assignment, _)| assignment.key == *key)
    }

    /// The address held under a key.
    pub(crate) fn address(&self, key: &AttachmentKey) -> Option<Ipv4Addr> {
        self.entry(key).map(|(_, address)| *address)
    }

    /// What is held under a key.
    pub(crate) fn assignment(&self, key: &AttachmentKey) -> Option<&Arc<Assignment>> {
        self.entry(key).map(|(assignment, _)| assignment)
    }

    /// Notes a holding; one of the same key is replaced.
    pub(crate) fn insert(&mut self, assignment: Arc<Assignment>, address: Ipv4Addr) {
        let bucket = self.buckets.entry(number(&assignment.key)).or_default();
        match bucket.binary_search_by(|(known, _)| known.key.cmp(&assignment.key)) {
            Ok(index) => bucket[index] = (assignment, address),
            Err(index) => bucket.insert(index, (assignment, address)),
        }
    }

    /// Forgets what is held under a key, and returns it.
    pub(crate) fn remove(&mut self, key: &AttachmentKey) -> Option<Entry> {
        let number = number(key);
        let bucket = self.buckets.get_mut(&number)?;
        let index = bucket.iter().position(|(assignment, _)| assignment.key == *key)?;
        let entry = bucket.remove(index);
        if bucket.is_empty() {
            self.buckets.remove(&number);
        }
        Some(entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Assignment, Ipv4Addr)> {
        self.buckets.values().flatten().map(|(assignment, address)| (&**assignment, *address))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn key(container: &str, interface: &str) -> AttachmentKey {
        let (network, container, interface) = ("net".to_owned(), container.to_owned(), interface.to_owned());
        AttachmentKey { network, container, interface }
    }

    #[test]
    fn keys_that_begin_alike_are_told_apart() {
        let mut holders = Holders::default();
        let keys = [key("a", "eth0"), key("a", "eth1"), key("aaaaaaaaa", "eth0"), key("aaaaaaaab", "eth0")];
        for (last, key) in (1..).zip(&keys) {
            let assignment = Assignment { key: key.clone(), pod: None, since: Timestamp::UNIX_EPOCH };
            holders.insert(Arc::new(assignment), Ipv4Addr::new(10, 0, 0, last));
        }
        for (last, key) in (1..).zip(&keys) {
            assert_eq!(holders.address(key), Some(Ipv4Addr::new(10, 0, 0, last)), "{key}");
        }
        let listed: Vec<_> = holders.iter().map(|(assignment, _)| assignment.key.clone()).collect();
        assert_eq!(listed, keys, "in the order of the ids");
        assert!(holders.remove(&keys[3]).is_some());
        assert_eq!((holders.address(&keys[3]), holders.iter().count()), (None, 3));
        assert!(holders.remove(&keys[3]).is_none());
    }
}
