//! What is wrong with blocks that nodes have; each is contained, reported, and re-judged when its surroundings change.

use std::fmt;

use freeboard_address::{Cidr, NodeName};
use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Signal};
use crate::engine::Blocks;
use crate::table::NodeId;

/// Something wrong with a node's block. Nobody else gets the addresses while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The node.
    pub node: NodeName,
    /// The text of the block in `spec.podCIDRs`.
    pub block: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Problem {
    /// The text is no IPv4 block; `reason` says why.
    Unparsable {
        /// Why.
        reason: String,
    },
    /// Another node has the same block.
    Duplicate {
        /// The node that was seen with it first.
        other: NodeName,
    },
    /// Another node's block shares addresses with it.
    Overlap {
        /// The other node.
        other: NodeName,
        /// Its block.
        other_block: Cidr,
    },
    /// The block lies in no range.
    Foreign,
    /// The block is wider than the range in it.
    Wider {
        /// The range's block.
        range: Cidr,
    },
    /// The block lies in addresses that are excluded.
    Excluded {
        /// What they are for.
        purpose: String,
    },
}

impl Problem {
    /// The word that people see: for metric labels and reasons of events.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unparsable { .. } => "BlockUnparsable",
            Self::Duplicate { .. } => "BlockDuplicate",
            Self::Overlap { .. } => "BlockOverlaps",
            Self::Foreign => "BlockForeign",
            Self::Wider { .. } => "BlockWiderThanRange",
            Self::Excluded { .. } => "BlockExcluded",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, block, problem } = self;
        match problem {
            Problem::Unparsable { reason } => {
                write!(f, "node {node} has {block:?} as podCIDR, which is no IPv4 block: {reason}")?;
            }
            Problem::Duplicate { other } => write!(f, "nodes {other} and {node} both have block {block}")?,
            Problem::Overlap { other, other_block } => {
                write!(f, "block {block} of node {node} overlaps {other_block} of node {other}")?;
            }
            Problem::Foreign => write!(f, "block {block} of node {node} lies in no range")?,
            Problem::Wider { range } => write!(f, "block {block} of node {node} is wider than range {range}")?,
            Problem::Excluded { purpose } => {
                write!(f, "block {block} of node {node} lies in addresses that are excluded as {purpose}")?;
            }
        }
        let remedy = match problem {
            Problem::Unparsable { .. }
            | Problem::Duplicate { .. }
            | Problem::Overlap { .. }
            | Problem::Excluded { .. } => "delete and create the node again: the API lets its block not be changed",
            Problem::Foreign | Problem::Wider { .. } => "add a range that contains it, or create the node again",
        };
        write!(f, " [{}]; {remedy}", problem.as_str())
    }
}

impl Blocks {
    /// What is wrong with this block of this node, if anything.
    pub(crate) fn judge(&self, node: &NodeName, cidr: Cidr) -> Option<Problem> {
        let claim = self.claims.get(cidr)?;
        if self.nodes.find(node) != Some(claim.node) {
            return Some(Problem::Duplicate { other: self.name_of(claim.node) });
        }
        if let Some((other_block, other)) = self.overlapping(cidr).next() {
            return Some(Problem::Overlap { other: self.name_of(other), other_block });
        }
        let Some(index) = self.range_of(cidr) else {
            let inside = self.territories.iter().map(|t| t.spec.cidr).find(|range| cidr.contains_block(*range));
            return Some(inside.map_or(Problem::Foreign, |range| Problem::Wider { range }));
        };
        let own = self.territories.get(index).map_or(&[][..], |territory| &territory.spec.excluded);
        let excluded = own.iter().chain(&self.settings.excluded).find(|exclusion| exclusion.cidr.overlaps(cidr))?;
        Some(Problem::Excluded { purpose: excluded.purpose.clone() })
    }

    /// Judges the block again, and tells people when the judgement changed.
    pub(crate) fn rejudge(&mut self, node: &NodeName, cidr: Cidr) {
        let problem = self.judge(node, cidr);
        let key = (node.clone(), cidr.to_string());
        self.find(key, problem);
    }

    /// The same, for a node by its number.
    pub(crate) fn rejudge_node(&mut self, id: NodeId, cidr: Cidr) {
        if let Some(name) = self.nodes.get(id).map(|node| node.name.clone()) {
            self.rejudge(&name, cidr);
        }
    }

    /// Nothing is wrong any more with this block of this node.
    pub(crate) fn clear(&mut self, id: NodeId, cidr: Cidr) {
        if let Some(name) = self.nodes.get(id).map(|node| node.name.clone()) {
            self.find((name, cidr.to_string()), None);
        }
    }

    pub(crate) fn name_of(&self, id: NodeId) -> NodeName {
        self.nodes.get(id).map_or_else(|| NodeName::new("?"), |node| node.name.clone())
    }

    /// Judges everything again that is found wrong now.
    pub(crate) fn rejudge_all(&mut self) {
        let keys: Vec<(NodeName, String)> = self.findings.keys().cloned().collect();
        for (node, block) in keys {
            if let Ok(cidr) = block.parse() {
                self.rejudge(&node, cidr);
            }
        }
    }

    pub(crate) fn find(&mut self, key: (NodeName, String), problem: Option<Problem>) {
        let before = match &problem {
            Some(problem) => self.findings.insert(key.clone(), problem.clone()),
            None => self.findings.remove(&key),
        };
        if before == problem {
            return;
        }
        let (node, block) = key;
        if let Some(problem) = before {
            let finding = Finding { node: node.clone(), block: block.clone(), problem };
            self.effects.push_back(Effect::Signal(Signal::Cleared(finding)));
        }
        if let Some(problem) = problem {
            self.effects.push_back(Effect::Signal(Signal::Found(Finding { node, block, problem })));
        }
    }
}
