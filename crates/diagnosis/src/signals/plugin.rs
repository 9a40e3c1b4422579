//! What the plugin, the runtime and the kubelet write when a pod's network fails.

use crate::Kind;
use crate::Lead::{Context, NoAddress, Proves, Repeated};
use crate::catalogue as c;
use crate::signal::Signal;

use super::signals;

pub(super) static SIGNALS: &[Signal] = signals! {
    &[Kind::PluginLog, Kind::KubeletLog, Kind::RuntimeLog, Kind::Events];
    NoAddress => [
        ("ailed to assign an IP address to container", "", "a pod got no address"),
    ],
    Repeated(&c::AGENT_UNREACHABLE, 3) => [
        ("Failed to connect to backend server", "", "the agent does not answer"),
        ("Error received from AddNetwork g", "connection", "the agent does not answer"),
        ("Error received from AddNetwork g", "Unavailable", "the agent does not answer"),
        ("Error received from DelNetwork g", "connection", "the agent does not answer"),
    ],
    Proves(&c::POD_NETWORK_SETUP_FAILED) => [
        ("Failed SetupPodNetwork", "", "the pod's network failed"),
        ("add command: failed to setup network", "", "the pod's network failed"),
        ("failed to setup veth pair", "", "the pod's interface failed"),
        ("failed to delete old hostVeth", "", "an old interface is in the way"),
    ],
    Context => [("Handled pod teardown using prevResult", "", "the agent was down when the pod was deleted")],
    Proves(&c::LEAKED_ALLOCATION) => [
        ("Could not teardown pod using prevResult", "", "the agent was down, and rules may be left"),
    ],
    Proves(&c::NETWORK_POLICY_AGENT_DOWN) => [
        ("Failed to connect to network policy agent", "", "the policy agent does not answer"),
        ("Failed to setup default network policy", "", "the policy could not be set up"),
        ("add cmd: failed to setup network policy", "", "the policy could not be set up"),
    ],
    Proves(&c::POD_NETWORK_TEARDOWN_FAILED) => [("Failed on TeardownPodNetwork", "", "rules are left")],
    Repeated(&c::NOT_READY, 2) => [("cni plugin not initialized", "", "there is no CNI configuration")],
    Proves(&c::PLUGIN_RANGE_EXHAUSTED) => [
        ("no IP addresses available in range set", "", "host-local's range is full"),
        ("no IP addresses available in network", "", "host-local's range is full"),
        ("Could not allocate IP in range", "", "Whereabouts' range is full"),
        ("NCUpdateSubnetFullError", "", "the subnet of Azure's node block is full"),
        ("InsufficientVSwitchIP", "", "the vSwitch is full"),
    ],
    Proves(&c::CALICO_POOL_EXHAUSTED) => [
        ("no more free addresses in", "", "Calico's pools are full"),
        ("No IPs available in pools", "", "Calico's pools are full"),
        ("ailed to request IPv4 addresses", "Assigned 0 out of 1 requested IPv4", "Calico assigned no address"),
        ("maximum number of blocks per host", "", "the node has all the blocks that it may have"),
        ("cannot allocate new block due to per host block limit", "", "the node has all the blocks that it may have"),
        ("no configured Calico pools for node", "", "no pool may be used by the node"),
    ],
    Proves(&c::CILIUM_POOL_EXHAUSTED) => [
        ("No more IPs available", "", "Cilium's block of the node is full"),
        ("range is full", "unable to allocate IP", "Cilium's block of the node is full"),
        ("unable to allocate podCIDR", "", "Cilium's operator has no block left"),
        ("all CIDR ranges are exhausted", "", "Cilium's operator has no block left"),
        ("allocator full", "", "Cilium's operator has no block left"),
        ("pool not (yet) available", "", "Cilium's pool gives nothing"),
    ],
};
