//! All nodes by a small number, and the number of a name.
//!
//! Everything inside the engine speaks of a node by its number. The name is looked up once for each input: comparing names along
//! a tree of 100,000 of them would cost more than all the rest.

use std::collections::BTreeMap;

use freeboard_address::NodeName;

use crate::nodes::Node;

/// The number of a node; used again after the node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// All nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeTable {
    slots: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    /// Hash of the name and number of the node, so that names with the same hash stand side by side.
    by_hash: BTreeMap<(u64, NodeId), ()>,
}

impl NodeTable {
    pub(crate) fn find(&self, name: &NodeName) -> Option<NodeId> {
        let hash = hash(name);
        let alike = self.by_hash.range((hash, NodeId(0))..=(hash, NodeId(u32::MAX)));
        let is_it = |id: &NodeId| self.get(*id).is_some_and(|node| node.name == *name);
        alike.map(|((_, id), ())| *id).find(is_it)
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        self.slots.get(index(id))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.slots.get_mut(index(id))?.as_mut()
    }

    /// Adds a node whose name is not there yet.
    pub(crate) fn insert(&mut self, node: Node) -> NodeId {
        let hash = hash(&node.name);
        let id = match self.vacant.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                NodeId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
            }
        };
        if let Some(slot) = self.slots.get_mut(index(id)) {
            *slot = Some(node);
        }
        self.by_hash.insert((hash, id), ());
        id
    }

    pub(crate) fn remove(&mut self, id: NodeId) -> Option<Node> {
        let node = self.slots.get_mut(index(id))?.take()?;
        self.by_hash.remove(&(hash(&node.name), id));
        self.vacant.push(id);
        Some(node)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// All nodes by their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> + '_ {
        let numbered = |(index, slot): (usize, &'_ Option<Node>)| slot.is_some().then_some(index);
        let ids = self.slots.iter().enumerate().filter_map(numbered);
        ids.filter_map(|index| {
            let id = NodeId(u32::try_from(index).ok()?);
            Some((id, self.get(id)?))
        })
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
