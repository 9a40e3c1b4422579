//! The Google-like cloud over HTTP: the calls of compute v1 and container v1 that the story of pod ranges needs.
//!
//! Google's own clients work against it with an endpoint of `http://127.0.0.1:PORT`, any credentials, and the REST transport.
//! Both APIs share one listener: compute under `/compute/v1/`, container under `/v1/`. What is not served answers 404 and
//! says so; a filter, which is not understood, is refused rather than ignored.

mod body;
mod compute;
mod container;
mod encode;
mod failure;
mod fetch;
mod handler;
mod paging;
mod serve;
mod server;

pub use encode::{cluster as cluster_json, node_pool as node_pool_json, subnetwork as subnetwork_json};
pub use fetch::{GetError, get};
pub use serve::{GoogleServeOptions, parse_google_world, read_google_world, run_google, start_google};
pub use server::GoogleServer;
