//! What the scheduler, the autoscaler, the controller manager and Google's logs say.

use crate::Kind;
use crate::Lead::{Context, NoNode, Proves, Repeated};
use crate::catalogue as c;
use crate::signal::Signal;

use super::signals;

pub(super) static SIGNALS: &[Signal] = signals! {
    &[Kind::Events, Kind::AutoscalerLog, Kind::ControllerLog, Kind::GoogleLog];
    Context => [("pod triggered scale-up", "", "the autoscaler adds nodes")],
    NoNode => [
        ("IP space exhausted", "", "a node could not be created: a range has no room"),
        ("IP_SPACE_EXHAUSTED", "", "a machine could not be created: a range has no room"),
        ("scale.up.error.ip.space.exhausted", "", "a node could not be created: a range has no room"),
        ("IP space of '", "is exhausted", "a machine could not be created: a range has no room"),
        ("Insufficient free IP addresses in the IP range", "", "the range is named"),
        ("Not enough free IP space", "", "a node pool could not be created: a range has no room"),
    ],
    Proves(&c::NODE_BLOCK_UNAVAILABLE) => [
        ("CIDRNotAvailable", "", "no pod block is left for a node"),
        ("no remaining CIDRs left to allocate", "", "no pod block is left"),
        ("no remaining CIDRs in the accepted range", "", "no pod block is left"),
    ],
    Proves(&c::NODE_BLOCK_ASSIGNMENT_FAILED) => [("CIDRAssignmentFailed", "", "a pod block could not be written")],
    Proves(&c::POD_LIMIT_REACHED) => [("Too many pods", "nodes are available", "nodes are full by count of pods")],
    Proves(&c::SCALE_UP_BACKOFF) => [
        ("in backoff after failed scale-up", "", "the autoscaler waits"),
        ("no.scale.up.in.backoff", "", "the autoscaler waits"),
    ],
    Proves(&c::SCALE_UP_OTHER) => [
        ("scale.up.error.out.of.resources", "", "no machine of the type"),
        ("scale.up.error.quota.exceeded", "", "a quota is used up"),
        ("scale.up.error.service.account.deleted", "", "the node's service account is gone"),
        ("scale.up.error.waiting.for.instances.timeout", "", "machines did not come in time"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "", "no machine of the type in the zone"),
        ("InsufficientInstanceCapacity", "", "no machine of the type in the zone"),
        ("VcpuLimitExceeded", "", "a quota is used up"),
    ],
    Repeated(&c::SUBNET_EXHAUSTED, 1) => [
        ("not have enough free IP addresses", "subnet", "a node group's subnet is full"),
        ("InsufficientFreeAddresses", "health", "a node group's subnet is full"),
    ],
    Proves(&c::NODE_RANGE_EXHAUSTED) => [
        ("not enough free addresses in subnet", "", "a node could not be launched: its subnet is full"),
    ],
};
