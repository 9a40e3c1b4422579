//! The causes of Freeboard's own refusals, as they stand in replies, events and logs: `… [SubnetExhausted]`.

use crate::Kind;
use crate::Lead::{Proves, Repeated};
use crate::catalogue as c;
use crate::signal::Signal;

use super::signals;

pub(super) static SIGNALS: &[Signal] = signals! {
    &[Kind::AgentLog, Kind::PluginLog, Kind::KubeletLog, Kind::RuntimeLog, Kind::Events];
    Proves(&c::SUBNET_EXHAUSTED) => [("[SubnetExhausted]", "", "refused: subnet full")],
    Proves(&c::SUBNET_FRAGMENTED) => [("[SubnetFragmented]", "", "refused: no aligned /28")],
    Proves(&c::INTERFACE_LIMIT) => [("[InterfaceLimit]", "", "refused: limit of the instance type")],
    Proves(&c::NODE_BLOCK_EXHAUSTED) => [("[NodeBlockExhausted]", "", "refused: the node's own blocks are full")],
    Proves(&c::NODE_BLOCK_MISSING) => [("[NodeBlockMissing]", "", "refused: the node has no block")],
    Proves(&c::NO_SUBNET_ALLOWED) => [("[NoSubnetAllowed]", "", "refused: no subnet allowed")],
    Proves(&c::THROTTLED) => [("[Throttled]", "", "refused: throttled")],
    Proves(&c::NOT_AUTHORIZED) => [("[NotAuthorized]", "", "refused: permission missing")],
    Proves(&c::CLOUD_UNAVAILABLE) => [("[CloudUnavailable]", "", "refused: cloud does not answer")],
    Proves(&c::COOLING_DOWN) => [("[CoolingDown]", "", "refused: all free addresses cool down")],
    Repeated(&c::STILL_GROWING, 3) => [("[StillGrowing]", "", "refused: room is on its way")],
    Proves(&c::NODE_CORDONED) => [("[NodeCordoned]", "", "refused: node is cordoned")],
    Proves(&c::PROVISIONING_DISABLED) => [("[ProvisioningDisabled]", "", "refused: provisioning disabled")],
    Repeated(&c::NOT_READY, 5) => [("[NotReady]", "", "refused: agent is starting")],
    Proves(&c::TERMINATING) => [("[Terminating]", "", "refused: agent is ending")],
    Proves(&c::QUEUE_FULL) => [("[QueueFull]", "", "refused: too many pods wait")],
    Proves(&c::CHECKPOINT_FAILED) => [("[CheckpointFailed]", "", "refused: state not durable")],
};
