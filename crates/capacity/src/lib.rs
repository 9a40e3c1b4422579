//! Engine: the ranges of a cluster over time: how full they are, how many pods they can hold, when they will be full, and
//! what to do about it.
//!
//! One value goes in, an [`Inventory`], whoever gathered it: a dump, a cloud's API, a described cluster. Nothing here does I/O or
//! reads a clock.

pub mod carry_out;
mod check;
mod expansion;
pub mod export;
mod forecast;
mod inventory;
mod leaks;
mod max_pods;
mod outlook;
mod plan;
mod status;
mod usage;
pub mod withdraw;

pub use check::{BLOCKS_PER_VPC, Objection, Weight, free_block, objections};
pub use expansion::{Expansion, Means, NewSubnet, NoExpansion};
pub use forecast::{Exhaustion, Forecast, NoForecast};
pub use inventory::{
    AgentSettings, Holding, Interface, Inventory, Node, NodePool, Peer, Purpose, RESERVED_PER_SUBNET, Range, Sample,
    ShownInterface, Subnet, Use, Vpc,
};
pub use leaks::{Leak, LeakKind, confirmed, leaks};
pub use max_pods::{HOST_PODS, NodeShape, PREFIX_ADDRESSES, TypeLimits, TypeTable, Warm};
pub use outlook::{Break, Limit, Outlook, ZoneOutlook, outlook};
pub use plan::{MaxPodsChange, NewBlock, NoPlan, Plan, Way, WayKind, Wishes, plan};
pub use status::{Fit, RangeKind, RangeStatus, block_length, free_space, range_named, status};
pub use usage::{RangeUsage, SubnetFacts, SubnetUsage, Usage, VpcFacts, usage_tree};
