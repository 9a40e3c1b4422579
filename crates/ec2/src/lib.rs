//! A thin client of EC2 (Query protocol) and of the instance metadata service (IMDSv2), over the official credential chain
//! and signer.
//!
//! It translates and transports; it decides nothing. One [`Ec2Client`] method is one EC2 action (all pages of it, where the
//! action is paged). What may be repeated safely is repeated here; what may not is reported as [`ErrorClass::Uncertain`], so
//! that the caller looks before it acts again. [`classify`] is the one table that says what EC2's errors mean.

mod action;
mod budget;
mod client;
mod config;
mod credentials;
mod error;
mod imds;
mod observer;
mod operations;
mod query;
mod retry;
#[cfg(test)]
mod shapes;
mod sign;
mod transport;
mod xml;

pub use action::{Action, Repeat};
pub use budget::{BudgetExhausted, Budgets, TokenBucket};
pub use client::Ec2Client;
pub use config::{ConfigError, Ec2Config, Timeouts};
pub use error::{Ec2Error, ErrorClass, classify};
pub use imds::{ImdsClient, ImdsConfig, ImdsError, InstanceIdentity, InterfaceMetadata};
pub use observer::Observer;
pub use operations::*;
pub use query::{Filter, Parameters};
pub use retry::{Decision, Failure, RetryPolicy};
pub use transport::Transport;
