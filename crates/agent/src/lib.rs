//! The node agent: the shell around the pool engine. It serves addresses on a unix socket, carries out the engine's
//! effects on disk, cloud and host, and shows what it does.

pub mod accept;
pub mod checkpoint;
pub mod clock;
pub mod cloud;
#[cfg_attr(not(feature = "cluster"), path = "without_cluster.rs")]
mod cluster;
pub mod cni_service;
pub mod enis;
pub mod environment;
pub mod evidence;
pub mod grpc;
pub mod hand_over;
pub mod host;
pub mod host_files;
pub mod http;
pub mod identity;
pub mod input_log;
pub mod introspection;
pub mod leftovers;
pub mod limits;
pub mod live_settings;
pub mod log_file;
pub mod logging;
pub mod metrics;
mod node_blocks;
pub mod node_service;
pub mod peer;
pub mod pool_handle;
pub mod pool_settings;
pub mod pool_task;
pub mod prepare;
pub mod probe;
pub mod run;
mod snat;
pub mod socket;
pub mod stale;
mod start;
pub mod store;
pub mod tags;
pub mod tombstones;
pub mod vpc_cidrs;
