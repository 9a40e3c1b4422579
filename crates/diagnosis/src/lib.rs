//! The engine behind `freeboard doctor`: [`Facts`] go in, a [`Diagnosis`] comes out.
//!
//! Nothing here reads a byte: `freeboard-evidence` turns files into facts. What a log line or an event can mean is declared
//! once, in [`SIGNALS`]; what can be found, what it means and what to do about it is declared once, in [`catalogue`]. A rule
//! concludes only what the facts prove: where the evidence ends, the finding says so.

pub mod catalogue;
mod citation;
mod declaration;
mod draft;
mod facts;
mod kind;
mod network;
pub mod reference;
mod report;
mod rules;
mod signal;
mod signals;

pub use citation::{Citation, Cited};
pub use declaration::{Alternative, Declaration, Remedy, Severity};
pub use facts::{
    Agent, BlockPool, EniConfig, Facts, GoogleCluster, GoogleSubnet, Identity, InstanceLimits, Interface,
    Introspection, IntrospectionAddress, IntrospectionInterface, Node, NodePool, Pod, PoolSample, RangeUse,
    SecondaryRange, Sighting, Subject, Subnet, Vpc, VpcBlock,
};
/// The moments of the evidence.
pub use jiff::Timestamp as Moment;
pub use kind::Kind;
pub use network::{EksCluster, Instance, Peering, PeeringSide, RouteTable};
pub use report::{AppliedRemedy, Diagnosis, Figure, Finding, Place};
pub use rules::{address_in_name, diagnose};
pub use signal::{Lead, Signal};
pub use signals::SIGNALS;
