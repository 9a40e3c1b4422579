//! Carrying out a plan for the node.

use super::{Change, HostPlan};
use crate::netlink::{Request, RouteSocket};
use crate::{DatapathError, sysctl};

/// Carries out the changes in order: settings one by one, runs of netlink requests as batches. A failed change does not stop
/// those after it.
///
/// # Errors
/// Every change that failed.
pub fn apply(plan: &HostPlan) -> Result<(), DatapathError> {
    let mut errors = Vec::new();
    let mut requests: Vec<Request> = Vec::new();
    for change in &plan.changes {
        match change {
            Change::Netlink(request) => requests.push(request.clone()),
            Change::Setting { name, value } => errors.extend(sysctl::ensure(name, value).err()),
        }
    }
    if !requests.is_empty() {
        errors.extend(RouteSocket::open()?.execute(&requests).err());
    }
    DatapathError::collected(errors)
}
