//! All nodes by a small number, and the number of a name.
//!
//! Everything inside the engine speaks of a node by its number. The name is looked up once for each input: comparing names along
//! a tree of 100,000 of them would cost more than all the rest.

use freeboard_address::NodeName;

use crate::nodes::Node;

/// The number of a node; used again after the node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// All nodes, and a hash table of chains over them; `std`'s would iterate differently in each run, this one does not iterate.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeTable {
    slots: Vec<Option<Slot>>,
    vacant: Vec<NodeId>,
    /// The first node of each chain; as many chains as there are nodes, or more, and a power of two.
    chains: Vec<Option<NodeId>>,
    count: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    node: Node,
    /// The next node of the same chain.
    next: Option<NodeId>,
}

impl NodeTable {
    pub(crate) fn find(&self, name: &NodeName) -> Option<NodeId> {
        let mut next = self.chains.get(self.chain(name)).copied().flatten();
        while let Some(id) = next {
            let slot = self.slots.get(index(id))?.as_ref()?;
            if slot.node.name == *name {
                return Some(id);
            }
            next = slot.next;
        }
        None
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        self.slots.get(index(id))?.as_ref().map(|slot| &slot.node)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.slots.get_mut(index(id))?.as_mut().map(|slot| &mut slot.node)
    }

    /// Adds a node whose name is not there yet.
    pub(crate) fn insert(&mut self, node: Node) -> NodeId {
        if self.count >= self.chains.len() {
            self.grow();
        }
        let chain = self.chain(&node.name);
        let id = match self.vacant.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                NodeId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.link(chain, id, node);
        self.count += 1;
        id
    }

    pub(crate) fn remove(&mut self, id: NodeId) -> Option<Node> {
        let Slot { node, next } = self.slots.get_mut(index(id))?.take()?;
        let chain = self.chain(&node.name);
        let mut before = None;
        let mut current = self.chains.get(chain).copied().flatten();
        while let Some(other) = current.filter(|other| *other != id) {
            before = Some(other);
            current = self.slots.get(index(other))?.as_ref()?.next;
        }
        let link = match before {
            Some(before) => self.slots.get_mut(index(before))?.as_mut().map(|slot| &mut slot.next),
            None => self.chains.get_mut(chain),
        };
        *link? = next;
        self.vacant.push(id);
        self.count -= 1;
        Some(node)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// All nodes by their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> + '_ {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(index, slot)| Some((NodeId(u32::try_from(index).ok()?), &slot.as_ref()?.node)))
    }

    fn link(&mut self, chain: usize, id: NodeId, node: Node) {
        let next = self.chains.get(chain).copied().flatten();
        if let (Some(slot), Some(first)) = (self.slots.get_mut(index(id)), self.chains.get_mut(chain)) {
            (*slot, *first) = (Some(Slot { node, next }), Some(id));
        }
    }

    fn grow(&mut self) {
        self.chains = vec![None; (self.chains.len() * 2).max(64)];
        for index in 0..self.slots.len() {
            let Some(Slot { node, .. }) = self.slots.get_mut(index).and_then(Option::take) else { continue };
            let chain = self.chain(&node.name);
            self.link(chain, NodeId(u32::try_from(index).unwrap_or(u32::MAX)), node);
        }
    }

    fn chain(&self, name: &NodeName) -> usize {
        let mask = u64::try_from(self.chains.len()).unwrap_or(0).wrapping_sub(1);
        usize::try_from(hash(name) & mask).unwrap_or(0)
    }
}

fn index(id: NodeId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

/// FNV-1a: short, and the same everywhere.
pub(crate) fn hash(name: &NodeName) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, mix)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use freeboard_address::NodeUid;
    use jiff::Timestamp;

    use super::*;
    use crate::cause::Cause;
    use crate::input::ResourceVersion;
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
                Some(id) => assert_eq!(table.remove(id).unwrap().name.as_str(), name),
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
