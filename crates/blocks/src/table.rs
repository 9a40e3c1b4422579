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

/// All nodes, and a hash table of chains over them; `std`'s would iterate differently in each run, this one does not iterate.
///
/// A node that is deleted keeps its place for a while, so that a late event about it is known to be late.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeTable {
    slots: Vec<Option<Slot>>,
    vacant: Vec<NodeId>,
    /// The first node of each chain: twice as many chains as slots are taken, or more, and a power of two.
    chains: Vec<Option<NodeId>>,
    taken: usize,
    live: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    /// The hash of the name: nearly always enough to tell that a name is another one.
    hash: u64,
    /// The next slot of the same chain.
    next: Option<NodeId>,
    entry: Entry,
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
        if let Some(Slot { hash, next, .. }) = slot.and_then(|slot| slot.take_if(is_due)) {
            self.unlink(self.chain(hash), id, next);
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

    fn look_up_hashed(&self, name: &NodeName, hash: u64) -> Option<(NodeId, &Entry)> {
        let mut next = self.chains.get(self.chain(hash)).copied().flatten();
        while let Some(id) = next {
            let slot = self.slots.get(index(id))?.as_ref()?;
            if slot.hash == hash && slot.entry.name() == name {
                return Some((id, &slot.entry));
            }
            next = slot.next;
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
        if self.taken * 2 >= self.chains.len() {
            self.grow();
        }
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            id_of(self.slots.len() - 1).unwrap_or(NodeId(NonZeroU32::MAX))
        });
        self.link(id, Slot { hash, next: None, entry });
        self.taken += 1;
        id
    }

    /// Puts a slot at the head of its chain.
    fn link(&mut self, id: NodeId, slot: Slot) {
        let chain = self.chain(slot.hash);
        let next = self.chains.get(chain).copied().flatten();
        if let (Some(place), Some(first)) = (self.slots.get_mut(index(id)), self.chains.get_mut(chain)) {
            (*place, *first) = (Some(Slot { next, ..slot }), Some(id));
        }
    }

    /// Takes a slot that is empty already out of its chain.
    fn unlink(&mut self, chain: usize, id: NodeId, next: Option<NodeId>) {
        let Some(first) = self.chains.get_mut(chain) else { return };
        if *first == Some(id) {
            *first = next;
            return;
        }
        let mut current = *first;
        while let Some(slot) = current.and_then(|id| self.slots.get_mut(index(id))?.as_mut()) {
            if slot.next == Some(id) {
                slot.next = next;
                return;
            }
            current = slot.next;
        }
    }

    fn grow(&mut self) {
        self.chains = vec![None; (self.chains.len() * 2).max(64)];
        for index in 0..self.slots.len() {
            let slot = self.slots.get_mut(index).and_then(Option::take);
            if let (Some(id), Some(slot)) = (id_of(index), slot) {
                self.link(id, slot);
            }
        }
    }

    fn chain(&self, hash: u64) -> usize {
        let mask = u64::try_from(self.chains.len()).unwrap_or(0).wrapping_sub(1);
        usize::try_from(hash & mask).unwrap_or(0)
    }
}

fn index(id: NodeId) -> usize {
    usize::try_from(id.0.get() - 1).unwrap_or(usize::MAX)
}

fn id_of(index: usize) -> Option<NodeId> {
    NonZeroU32::new(u32::try_from(index + 1).ok()?).map(NodeId)
}

/// Eight bytes at a time, and the same everywhere.
fn hash(name: &NodeName) -> u64 {
    let bytes = name.as_str().as_bytes();
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(MIXER);
    let (words, rest) = bytes.as_chunks::<8>();
    let whole = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let hash = rest.iter().fold(whole, |hash, byte| mix(hash, u64::from(*byte)));
    // A multiplication mixes upwards only, and a chain is chosen by the lowest bits.
    hash ^ (hash >> 32)
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
