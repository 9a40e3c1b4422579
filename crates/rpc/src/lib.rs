//! Wire: the protobuf messages and services between plugin and agent.
//!
//! [`cni`] is the Amazon VPC CNI's own wire (package `rpc`, see `proto/cni_backend.proto`); [`node`] is Freeboard's second
//! service on the same socket.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated from the .proto files, which carry the comments"
)]

mod wire {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}

/// Freeboard's service `freeboard.node.v1.NodeAgent`.
pub use wire::freeboard::node::v1 as node;
/// The incumbent's service `rpc.CNIBackend`.
pub use wire::rpc as cni;

/// The path of the agent's socket on the host.
pub const DEFAULT_SOCKET: &str = "/var/run/aws-node/ipamd.sock";
