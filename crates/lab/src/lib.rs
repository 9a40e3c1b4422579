//! World: a VPC of network namespaces, in which the production programs run with real packets.
//!
//! Call [`isolate`] first in `main`; then nothing that the lab builds can outlive the program or leave the machine.

mod cgroups;
mod error;
mod fabric;
mod firewall;
mod http;
mod isolation;
pub mod kubernetes;
mod lab;
mod machine;
mod namespace;
mod netlink;
mod network;
mod pod;
mod probe;
mod program;
pub mod runtime;
mod steady_ping;

pub use error::LabError;
pub use isolation::{IsolationError, LAB_DIRECTORY, is_isolated, isolate};
pub use lab::{Lab, LabOptions};
pub use machine::{EC2_ADDRESS, Endpoints, METADATA_ADDRESS, Machine};
pub use namespace::Namespace;
pub use network::{Applied, CONTROL_PLANE_HOST, INTERNET_HOST, Network, PEERED_HOST, internet_mirror};
pub use pod::Pod;
pub use probe::{Echo, Mirror, can_connect, ping, ping_all, source_seen_by};
pub use program::{Program, ProgramOptions};
pub use steady_ping::{Steady, SteadyPing};
