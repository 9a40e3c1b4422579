//! What is due when: the changes that the passing of time brings.

use std::collections::BTreeMap;

use freeboard_address::{AssociationId, AttachmentId, EniId, InstanceId, VpcId};
use jiff::Timestamp;

use crate::cloud::Cloud;
use crate::faults::Fault;

/// A change that time brings. Each is checked again when it is due, because the world may have moved on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Timer {
    VpcAvailable(VpcId),
    CidrAssociated(VpcId, AssociationId),
    CidrDisassociated(VpcId, AssociationId),
    AttachDue(EniId, AttachmentId),
    DetachDue(EniId, AttachmentId),
    InstanceRunning(InstanceId),
    InstanceTerminated(InstanceId),
    InstanceForgotten(InstanceId),
    FaultDue(Fault),
}

impl Timer {
    fn why(&self) -> &'static str {
        match self {
            Self::VpcAvailable(_) => "a VPC becomes available",
            Self::CidrAssociated(..) => "a CIDR block becomes associated",
            Self::CidrDisassociated(..) => "a CIDR block becomes disassociated",
            Self::AttachDue(..) => "an interface is attached",
            Self::DetachDue(..) => "an interface is detached",
            Self::InstanceRunning(_) => "an instance starts",
            Self::InstanceTerminated(_) => "an instance ends",
            Self::InstanceForgotten(_) => "a terminated instance is no longer listed",
            Self::FaultDue(_) => "a scheduled fault happens",
        }
    }
}

/// The timers, in the order in which they are due; equal times in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Timers {
    due: BTreeMap<(Timestamp, u64), Timer>,
    sequence: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), timer);
    }

    pub(crate) fn next(&self) -> Option<(Timestamp, &'static str)> {
        self.due.first_key_value().map(|((at, _), timer)| (*at, timer.why()))
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Timer)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), timer) = entry.remove_entry();
        Some((at, timer))
    }
}

impl Cloud {
    /// Carries out everything that is due at `now`, each thing as of the time when it was due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::VpcAvailable(vpc) => self.vpc_becomes_available(&vpc),
                Timer::CidrAssociated(vpc, association) => self.cidr_becomes_associated(&vpc, &association),
                Timer::CidrDisassociated(vpc, association) => self.cidr_becomes_disassociated(&vpc, &association),
                Timer::AttachDue(eni, attachment) => self.attach_is_due(&eni, &attachment),
                Timer::DetachDue(eni, attachment) => self.detach_is_due(&eni, &attachment),
                Timer::InstanceRunning(instance) => self.instance_starts(&instance),
                Timer::InstanceTerminated(instance) => self.instance_ends(&instance, at),
                Timer::InstanceForgotten(instance) => {
                    self.instances.remove(&instance);
                }
                Timer::FaultDue(fault) => {
                    // Whatever the fault names existed when the world was read; when it is gone, there is nothing to break.
                    let _ = self.inject(&fault, at);
                }
            }
            self.settle(at);
        }
    }
}
