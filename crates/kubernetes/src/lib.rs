//! Wire: the Kubernetes API as Freeboard's programs use it: a client with limits, the custom resources, events that do not
//! flood, conditions, taints, and a lease that says who leads.
//!
//! It translates and transports; what is said, and when, its callers decide.

pub mod client;
pub mod conditions;
pub mod events;
pub mod leader;
pub mod lean_node;
pub mod pages;
pub mod resources;
pub mod taints;
pub mod watch;

pub use k8s_openapi;
pub use kube;
