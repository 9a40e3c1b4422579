//! Engine: the ranges of a cluster over time. Today: how full each range is, as the cloud's console shows it.

mod usage;

pub use usage::{RangeUsage, SubnetFacts, SubnetUsage, Usage, VpcFacts, usage_tree};
