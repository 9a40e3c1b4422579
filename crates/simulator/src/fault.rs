//! What can go wrong: classes, their rates, and when each occurrence happens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::scenario_check::ScenarioError;

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// A class of faults (anchors B6).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultClass {
            $($(#[$doc])* $variant,)*
        }

        impl FaultClass {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}

classes! {
    /// EC2 refuses an action, or all, for 5 to 60 s because of the rate.
    Throttle,
    /// EC2 fails an action once or a few times.
    Ec2Error,
    /// An action has its effect and its answer never arrives.
    LostAnswer,
    /// EC2 cannot be reached for 10 to 120 s.
    ApiOutage,
    /// The role may not make a call, once or a few times.
    IamDenied,
    /// The next link comes 1 to 55 s late.
    AttachSlow,
    /// The next attachment never completes.
    AttachNever,
    /// An interface of a node is removed behind its back.
    InterfaceRemoved,
    /// A foreign consumer fills a subnet and leaves after 30 to 300 s.
    ForeignConsumer,
    /// Foreign single addresses are scattered over a subnet, for 60 to 300 s.
    Fragmentation,
    /// For 10 to 60 s EC2's list of a node's interfaces lacks what is new.
    StaleList,
    /// For 10 to 60 s EC2's list of a node's interfaces also shows what is gone.
    GhostList,
    /// The instance takes fewer interfaces than its type should.
    AttachmentLimit,
    /// The agent is killed and comes back after 1 to 20 s.
    Crash,
    /// The agent is killed just before its next write is durable.
    CrashBeforeWrite,
    /// The agent is killed just after its next write is durable, before it knows.
    CrashAfterWrite,
    /// The agent is killed and its state file is torn.
    TornState,
    /// The disk is full for 5 to 60 s.
    DiskFull,
    /// The node reboots; its state file survives.
    Reboot,
    /// The node reboots; its state file does not survive.
    RebootLosingState,
    /// The next DEL does not reach the agent and leaves a tombstone.
    MissedDelete,
    /// The next DEL never happens; only the runtime's garbage collection tells.
    LostDelete,
    /// The next ADD is made twice.
    RepeatedAdd,
    /// A DEL comes for a sandbox that nobody knows.
    UnknownDelete,
    /// The next DEL overtakes its ADD.
    Reordered,
    /// The next ADD is given up by the runtime after 1 to 5 s.
    GivenUp,
    /// The next pod that is restarted gets its new sandbox before the old one is deleted.
    SameName,
    /// The node's clock jumps, by up to an hour forward or 10 minutes back.
    ClockJump,
    /// The node is cordoned for 10 to 120 s.
    Cordon,
    /// The agent is killed just after its next interface is created, before it knows.
    CrashAfterCreate,
}

/// Which classes happen, and how often.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultSettings {
    /// Whether each seed leaves out a random half of the classes, so that rare combinations are met.
    pub swarm: bool,
    /// Occurrences of each class in a simulated hour, over all nodes.
    pub per_hour: BTreeMap<FaultClass, f64>,
}

/// One occurrence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Occurrence {
    pub(crate) at_seconds: f64,
    pub(crate) class: FaultClass,
}

impl FaultSettings {
    /// All classes at this rate each.
    #[must_use]
    pub fn all(per_hour: f64, swarm: bool) -> Self {
        Self { swarm, per_hour: FaultClass::ALL.iter().map(|class| (*class, per_hour)).collect() }
    }

    pub(crate) fn check(&self) -> Result<(), ScenarioError> {
        for (class, rate) in &self.per_hour {
            if !rate.is_finite() || !(0.0..=100_000.0).contains(rate) {
                return Err(ScenarioError::Value {
                    field: format!("faults.per_hour.{class:?}"),
                    value: rate.to_string(),
                    expected: "occurrences per hour, from 0 to 100000".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// When what happens in one run.
    pub(crate) fn plan(&self, duration: f64, random: &mut Random) -> Vec<Occurrence> {
        let mut plan = Vec::new();
        for (class, rate) in &self.per_hour {
            let left_out = self.swarm && random.chance(0.5);
            if left_out || *rate <= 0.0 {
                continue;
            }
            let mean = 3_600.0 / rate;
            let mut at_seconds = random.exponential(mean);
            while at_seconds < duration {
                plan.push(Occurrence { at_seconds, class: *class });
                at_seconds += random.exponential(mean);
            }
        }
        plan
    }
}
