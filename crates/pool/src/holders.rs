//! Who holds which address, by key.
//!
//! Keys are told apart by the beginning of their container id first, a plain number: comparing whole keys would follow pointers
//! at each step of a search, which costs more the more pods there are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::net::Ipv4Addr;
use std::sync::Arc;

use freeboard_address::AttachmentKey;

use crate::store::Assignment;

/// A holding.
type Entry = (Arc<Assignment>, Ipv4Addr);

/// The holdings of a node, each key once; in the order of container ids, but for the few that share their beginning with another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    entries: BTreeMap<u64, Entry>,
    /// Those whose number another key has: container ids are random, so there is nearly never one. In the order of the keys.
    beside: Vec<Entry>,
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
        let entry = self.entries.get(&number(key)).filter(|(assignment, _)| assignment.key == *key);
        entry.or_else(|| self.beside.get(self.place_beside(key).ok()?))
    }

    /// Where a key stands among those beside, or would stand.
    fn place_beside(&self, key: &AttachmentKey) -> Result<usize, usize> {
        self.beside.binary_search_by(|(known, _)| known.key.cmp(key))
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
        let place = self.place_beside(&assignment.key);
        match (place, self.entries.entry(number(&assignment.key))) {
            (Ok(place), _) => self.beside[place] = (assignment, address),
            (Err(_), MapEntry::Vacant(vacant)) => drop(vacant.insert((assignment, address))),
            (Err(_), MapEntry::Occupied(mut known)) if known.get().0.key == assignment.key => {
                known.insert((assignment, address));
            }
            (Err(place), MapEntry::Occupied(_)) => self.beside.insert(place, (assignment, address)),
        }
    }

    /// Forgets what is held under a key, and returns it.
    pub(crate) fn remove(&mut self, key: &AttachmentKey) -> Option<Entry> {
        if let MapEntry::Occupied(known) = self.entries.entry(number(key))
            && known.get().0.key == *key
        {
            return Some(known.remove());
        }
        self.place_beside(key).ok().map(|place| self.beside.remove(place))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Assignment, Ipv4Addr)> {
        self.entries.values().chain(&self.beside).map(|(assignment, address)| (&**assignment, *address))
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
        let expected = [&keys[0], &keys[2], &keys[1], &keys[3]];
        assert_eq!(
            listed.iter().collect::<Vec<_>>(),
            expected,
            "in the order of the ids, then those that begin like another"
        );
        assert!(holders.remove(&keys[2]).is_some());
        assert_eq!((holders.address(&keys[2]), holders.iter().count()), (None, 3));
        assert!(holders.remove(&keys[2]).is_none());
        let again = Assignment { key: keys[3].clone(), pod: None, since: Timestamp::UNIX_EPOCH };
        holders.insert(Arc::new(again), Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!((holders.address(&keys[3]), holders.iter().count()), (Some(Ipv4Addr::new(10, 0, 0, 9)), 3));
    }
}
