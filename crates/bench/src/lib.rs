//! The bench: Freeboard and its peers side by side, and the parts to run a peer with.

pub mod api_server;
pub mod blocks;
pub mod calls;
pub mod doctor;
pub mod doctor_log;
pub mod engine;
pub mod engine_run;
pub mod fleet;
pub mod freeboard;
pub mod incumbent;
pub mod kubernetes;
pub mod node_ipam;
pub mod place;
pub mod pool;
pub mod process;
pub mod report;
pub mod run;
pub mod scan;
pub mod statistics;
