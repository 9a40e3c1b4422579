//! The node agent: the shell around the pool engine. It serves addresses on a unix socket, carries out the engine's
//! effects on disk, cloud and host, and shows what it does.

pub mod accept;
pub mod checkpoint;
pub mod enis;
pub mod host_files;
pub mod limits;
pub mod log_file;
pub mod logging;
pub mod metrics;
pub mod socket;
pub mod store;
