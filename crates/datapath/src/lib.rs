//! Wire: what Freeboard asks of the Linux kernel, by route netlink and nf_tables netlink.
//!
//! [`PodNetwork`] joins one pod to its node; [`host`] keeps the node's interfaces, routes and rules as desired; [`nft`] writes
//! packet-filter tables. Everything here is synchronous: one call is a few system calls.

mod conntrack;
mod error;
pub mod host;
mod host_ports;
pub mod names;
mod namespace;
pub mod netlink;
pub mod nft;
mod pod;
pub mod sysctl;
mod wire;

pub use error::DatapathError;
pub use host_ports::{HostPort, ports_of_pods};
pub use namespace::NetworkNamespace;
pub use pod::{PodNetwork, PodRemains};
