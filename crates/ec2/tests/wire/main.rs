//! The clients on the wire, against a scripted server on 127.0.0.1.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod client_on_a_bad_day;
mod environment;
mod metadata_client;
mod server;
