//! All nodes by a small number, and the number of a name.
//!
//! Everything inside the engine speaks of a node by its number. The name is looked up once for each input: comparing names along
//! a tree of 100,000 of them would cost more than all the rest.

use std::num::NonZeroU32;

use freeboard_address::{NodeName, NodeUid};
use jiff::Timestamp;

use crate::input::ResourceVersion;
use crate::nodes::Node;

/// Of the odd numbers that mix the bits of a word well, the one that Firefox's hash made known.
const MIXER: u64 = 0x517c_c1b7_2722_0a95;

/// The number of a node, from 1 on; used again after the node is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(NonZeroU32);

/// All nodes, and a hash table of their names; `std`'s would iterate differently in each run, this one does not iterate.
///
/// A node that is deleted keeps its place for a while, so that a late event about it is known to be late.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeTable {
    slots: Vec<Option<Slot>>,
    vacant: Vec<NodeId>,
    /// Each taken slot stands in the bucket that its hash names, or in the next free one. At most half of them are full.
    buckets: Vec<Option<Bucket>>,
    taken: usize,
    live: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    hash: u32,
    entry: Entry,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// The hash of the name: nearly always enough to tell that a name is another one, without a look at the slot.
    hash: u32,
    id: NodeId,
}

/// What the table knows under a name.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A node.
    Live(Node),
    /// A node that was deleted a short while ago.
    Departed(Departed),
}

/// A node that was deleted a short while ago.
#[derive(Clone, Debug)]
pub(crate) struct Departed {
    name: NodeName,
    pub(crate) uid: NodeUid,
    /// The newest version it was seen with; what is not newer is late.
    pub(crate) version: ResourceVersion,
    at: Timestamp,
}

impl Entry {
    fn name(&self) -> &NodeName {
        match self {
            Self::Live(node) => &node.name,
            Self::Departed(departed) => &departed.name,
        }
    }
}

impl NodeTable {
    /// The number of the live node with this name.
    pub(crate) fn find(&self, name: &NodeName) -> Option<NodeId> {
        let (id, entry) = self.look_up(name)?;
        matches!(entry, Entry::Live(_)).then_some(id)
    }

    /// What is known under this name.
    pub(crate) fn look_up(&self, name: &NodeName) -> Option<(NodeId, &Entry)> {
        self.look_up_hashed(name, hash(name))
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        match &self.slots.get(index(id))?.as_ref()?.entry {
            Entry::Live(node) => Some(node),
            Entry::Departed(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        match &mut self.slots.get_mut(index(id))?.as_mut()?.entry {
            Entry::Live(node) => Some(node),
            Entry::Departed(_) => None,
        }
    }

    /// Adds a node; one that has departed under this name is forgotten.
    pub(crate) fn insert(&mut self, node: Node) -> NodeId {
        self.live += 1;
        self.put(Entry::Live(node))
    }

    /// Remembers a node only as one that was deleted at this time.
    pub(crate) fn depart(&mut self, id: NodeId, at: Timestamp) -> Option<Node> {
        let entry = &mut self.slots.get_mut(index(id))?.as_mut()?.entry;
        let Entry::Live(Node { name, uid, version, .. }) = entry else { return None };
        let departed = Departed { name: name.clone(), uid: uid.clone(), version: *version, at };
        self.live -= 1;
        match std::mem::replace(entry, Entry::Departed(departed)) {
            Entry::Live(node) => Some(node),
            Entry::Departed(_) => None,
        }
    }

    /// Remembers a node that was never seen as one that was deleted at this time. No live node has the name.
    pub(crate) fn insert_departed(&mut self, name: NodeName, uid: NodeUid, at: Timestamp) -> NodeId {
        self.put(Entry::Departed(Departed { name, uid, version: ResourceVersion::default(), at }))
    }

    /// Forgets the node that was deleted at this time; one that was deleted later under its number has its own time.
    pub(crate) fn forget(&mut self, id: NodeId, at: Timestamp) {
        let slot = self.slots.get_mut(index(id));
        let is_due = |slot: &mut Slot| matches!(&slot.entry, Entry::Departed(departed) if departed.at == at);
        if let Some(Slot { hash, .. }) = slot.and_then(|slot| slot.take_if(is_due)) {
            self.empty_bucket(hash, id);
            self.vacant.push(id);
            self.taken -= 1;
        }
    }

    /// How many live nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// All live nodes by their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> + '_ {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(index, slot)| match &slot.as_ref()?.entry {
            Entry::Live(node) => Some((id_of(index)?, node)),
            Entry::Departed(_) => None,
        })
    }

    fn look_up_hashed(&self, name: &NodeName, hash: u32) -> Option<(NodeId, &Entry)> {
        let mut place = self.home(hash);
        while let Some(bucket) = self.buckets.get(place).copied().flatten() {
            if bucket.hash == hash {
                let entry = &self.slots.get(index(bucket.id))?.as_ref()?.entry;
                if entry.name() == name {
                    return Some((bucket.id, entry));
                }
            }
            place = self.after(place);
        }
        None
    }

    /// Puts an entry where its name stands already, or into a slot of its own.
    fn put(&mut self, entry: Entry) -> NodeId {
        let hash = hash(entry.name());
        let known = self.look_up_hashed(entry.name(), hash).map(|(id, _)| id);
        if let Some(id) = known {
            if let Some(slot) = self.slots.get_mut(index(id)).and_then(Option::as_mut) {
                slot.entry = entry;
            }
            return id;
        }
        if self.taken * 2 >= self.buckets.len() {
            self.grow();
        }
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            id_of(self.slots.len() - 1).unwrap_or(NodeId(NonZeroU32::MAX))
        });
        if let Some(slot) = self.slots.get_mut(index(id)) {
            *slot = Some(Slot { hash, entry });
        }
        self.fill_bucket(Bucket { hash, id });
        self.taken += 1;
        id
    }

    fn fill_bucket(&mut self, bucket: Bucket) {
        let mut place = self.home(bucket.hash);
        while let Some(Some(_)) = self.buckets.get(place) {
            place = self.after(place);
        }
        if let Some(free) = self.buckets.get_mut(place) {
            *free = Some(bucket);
        }
    }

    /// Empties a bucket and moves those behind it up, so that none stands behind an empty one that it could stand in.
    fn empty_bucket(&mut self, hash: u32, id: NodeId) {
        let mut hole = self.home(hash);
        while self.buckets.get(hole).copied().flatten().is_some_and(|bucket| bucket.id != id) {
            hole = self.after(hole);
        }
        let mut place = self.after(hole);
        while let Some(bucket) = self.buckets.get(place).copied().flatten() {
            let mask = self.buckets.len() - 1;
            let is_behind = |from: usize| place.wrapping_sub(from) & mask;
            if is_behind(self.home(bucket.hash)) >= is_behind(hole) {
                if let Some(free) = self.buckets.get_mut(hole) {
                    *free = Some(bucket);
                }
                hole = place;
            }
            place = self.after(place);
        }
        if let Some(emptied) = self.buckets.get_mut(hole) {
            *emptied = None;
        }
    }

    fn grow(&mut self) {
        self.buckets = vec![None; (self.buckets.len() * 2).max(64)];
        for index in 0..self.slots.len() {
            let hash = self.slots.get(index).and_then(Option::as_ref).map(|slot| slot.hash);
            if let (Some(id), Some(hash)) = (id_of(index), hash) {
                self.fill_bucket(Bucket { hash, id });
            }
        }
    }

    /// The bucket that a hash names. There is a power of two of them.
    fn home(&self, hash: u32) -> usize {
        usize::try_from(hash).unwrap_or(0) & self.buckets.len().wrapping_sub(1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & self.buckets.len().wrapping_sub(1)
    }
}

fn index(id: NodeId) -> usize {
    usize::try_from(id.0.get() - 1).unwrap_or(usize::MAX)
}

fn id_of(index: usize) -> Option<NodeId> {
    NonZeroU32::new(u32::try_from(index + 1).ok()?).map(NodeId)
}

/// Eight bytes at a time, and the same everywhere.
fn hash(name: &NodeName) -> u32 {
    let bytes = name.as_str().as_bytes();
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(MIXER);
    let (words, rest) = bytes.as_chunks::<8>();
    let whole = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let hash = rest.iter().fold(whole, |hash, byte| mix(hash, u64::from(*byte)));
    // A multiplication mixes upwards only: once more, so that the lowest bits of the upper half depend on all of them.
    u32::try_from((hash ^ (hash >> 29)).wrapping_mul(MIXER) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::cause::Cause;
    use crate::nodes::State;

    fn node(name: &str) -> Node {
        Node {
            name: NodeName::new(name),
            uid: NodeUid::new("uid"),
            version: ResourceVersion(1),
            labels: Arc::default(),
            max_pods: None,
            is_deleting: false,
            since: Timestamp::UNIX_EPOCH,
            state: State::Refused { cause: Cause::NotReady },
        }
    }

    #[test]
    fn agrees_with_a_map_while_nodes_come_and_go() {
        let mut table = NodeTable::default();
        let mut map: BTreeMap<String, NodeId> = BTreeMap::new();
        for step in 0..5_000u32 {
            // A step that visits 700 names in an order without a pattern, each of them to come or to go.
            let name = format!("node-{}", step.wrapping_mul(2_654_435_761) % 700);
            assert_eq!(table.find(&NodeName::new(name.as_str())), map.get(&name).copied());
            match map.remove(&name) {
                Some(id) => {
                    assert_eq!(table.depart(id, Timestamp::UNIX_EPOCH).unwrap().name.as_str(), name);
                    // Every other one comes again while it is remembered.
                    if step % 2 == 0 {
                        table.forget(id, Timestamp::UNIX_EPOCH);
                    }
                }
                None => {
                    map.insert(name.clone(), table.insert(node(&name)));
                }
            }
            assert_eq!(table.len(), map.len());
        }
        assert!(map.iter().all(|(name, id)| table.get(*id).is_some_and(|node| node.name.as_str() == name)));
        assert_eq!(table.iter().count(), map.len());
    }
}
