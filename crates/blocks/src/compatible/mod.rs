//! As other controllers decide, for comparison and for what-if: not used by the engine.

pub mod cluster_cidr;
pub mod gke;
pub mod range_allocator;
