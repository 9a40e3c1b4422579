//! Faults on demand, and the verdict on a request before it is carried out.

use std::time::Duration;

use freeboard_address::{EniId, InstanceId, SubnetId};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// A request as the front door sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The action, for example `AssignPrivateIpAddresses`.
    pub action: &'a str,
    /// Whether it names ids, filters or a page size; a Describe call with none of them has a smaller budget.
    pub narrowed: bool,
    /// How many instances it launches or terminates; they have a budget of their own.
    pub instances: u32,
}

impl<'a> Call<'a> {
    /// A narrowed call about no instances.
    #[must_use]
    pub fn new(action: &'a str) -> Self {
        Self { action, narrowed: true, instances: 0 }
    }
}

/// The verdict on a request: how long it takes, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admission {
    /// Wait so long before carrying the action out, or before refusing.
    pub delay: Duration,
    /// What to do then.
    pub outcome: Outcome,
}

/// How a request ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Carry it out and answer.
    Proceed,
    /// Do not carry it out; answer this.
    Refuse(ApiError),
    /// Carry it out, then close the connection without an answer.
    ProceedThenLoseAnswer,
}

/// Something that goes wrong on purpose. `action` is an action's name and may hold `*` and `?`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Every call of the action is refused with `RequestLimitExceeded` for a time.
    Throttle {
        /// Which actions.
        action: String,
        /// For how long.
        seconds: f64,
    },
    /// Every call of the action takes longer.
    Delay {
        /// Which actions.
        action: String,
        /// By how much.
        delay_seconds: f64,
        /// For how long; for good when none.
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// The next calls of the action are refused with this error.
    Error {
        /// Which actions.
        action: String,
        /// EC2's code; the HTTP status follows from it.
        code: String,
        /// The text.
        #[serde(default)]
        message: String,
        /// How many calls.
        count: u32,
    },
    /// The next calls of the action take effect, but their answer never arrives.
    LoseAnswer {
        /// Which actions.
        action: String,
        /// How many calls.
        count: u32,
    },
    /// The metadata service of an instance shows what it shows now, for a time.
    StaleMetadata {
        /// The instance.
        instance: InstanceId,
        /// For how long.
        seconds: f64,
    },
    /// The next attachments stay `attaching` for good.
    NeverAttach {
        /// How many.
        count: u32,
    },
    /// An interface vanishes, as if somebody had force-detached and deleted it.
    RemoveInterface {
        /// The interface.
        interface: EniId,
    },
    /// Somebody else's interfaces take addresses of a subnet.
    FillSubnet {
        /// The subnet.
        subnet: SubnetId,
        /// Take so many, or what there is; excludes `leave_free`.
        #[serde(default)]
        take: Option<u32>,
        /// Take all but so many; excludes `take`.
        #[serde(default)]
        leave_free: Option<u32>,
    },
    /// The addresses that `fill_subnet` took are given back.
    ReleaseSubnet {
        /// The subnet.
        subnet: SubnetId,
    },
}

/// Why a fault cannot be injected. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such instance.
    #[error("no instance {0}: expected the id of an instance that is not terminated")]
    Instance(InstanceId),
    /// No such interface.
    #[error("no network interface {0}: expected the id of one that exists")]
    Interface(EniId),
    /// No such subnet.
    #[error("no subnet {0}: expected the id of one that exists")]
    Subnet(SubnetId),
    /// Neither or both of two figures.
    #[error("fill_subnet of {0} needs exactly one of take and leave_free")]
    FillHow(SubnetId),
    /// Not a length of time.
    #[error("{name} is {value}: expected seconds, from 0 to 31536000")]
    Seconds {
        /// The field.
        name: &'static str,
        /// Its value as text.
        value: String,
    },
    /// The primary interface of a living machine.
    #[error("{0} is the first interface of {1}: it goes only with its machine")]
    PrimaryInterface(EniId, InstanceId),
}
