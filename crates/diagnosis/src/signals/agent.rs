//! What the node agent writes to ipamd.log, old and new, with EC2's own codes inside.

use crate::Kind;
use crate::Lead::{Context, NoAddress, Proves, Repeated};
use crate::catalogue as c;
use crate::signal::Signal;

use super::signals;

pub(super) static SIGNALS: &[Signal] = signals! {
    &[Kind::AgentLog];
    // No address.
    NoAddress => [
        ("DataStore has no available IP/Prefix addresses", "", "an assignment failed"),
        ("no available IP/Prefix addresses", "Returning failure response", "a pod was answered that there is no address"),
        ("DataStore has no available IP addresses", "", "an assignment failed (older agent)"),
        ("Failed to assign IPs from network card", "", "an assignment failed on one card"),
    ],
    Context => [
        ("Unable to get IP address from CIDR", "", "one block is full or cooling"),
        ("no free IP available in the prefix", "", "one prefix is full or cooling"),
        ("does not have available addresses", "AssignPodIPv4Address: ENI", "one interface is full"),
        ("duplicate pod assign for sandbox", "", "a repeated ADD"),
        ("IP stats", "total IPs", "counts of the pool"),
        ("IP pool stats: total", "", "counts of the pool (older agent)"),
        ("IP pool is too low", "", "growth is wanted"),
        ("hasRoomForEni:", "", "the arithmetic of interface slots"),
        ("cannot be deleted because", "", "why an interface stays"),
        ("Prefix target is", "", "prefixes are wanted"),
        ("Skipping decrease Datastore pool", "", "the pool shrinks at most every 30 s"),
        ("AWS CNI is terminating", "", "the agent is ending"),
        ("entering cooldown period of", "", "an address cools down"),
        ("released from cooldown after", "", "an address is free again"),
        ("recently unassigned from the ENI", "", "an address is skipped by the reconciler"),
        ("Reconcile and delete detached ENI", "", "a detached interface is swept"),
        ("Cleaned up leaked CNI ENI", "", "a leaked interface was collected"),
        ("backing store doesn't exists", "", "first start, or the state was lost"),
        ("Setting up shutdown hook", "", "the agent starts"),
        ("Received shutdown signal", "", "the agent ends"),
        ("Recently we had InsufficientCidr error", "", "growth pauses after a shortage"),
        ("Skipping ENI allocation as the max ENI limit", "", "no interface slot is left"),
        ("Found subnet-id:", "", "the subnet of the node's first interface"),
        ("Found vpc-id:", "", "the VPC"),
        ("Found instance-id:", "", "the instance"),
        ("Found instance-type:", "", "the instance type"),
        ("Found availability zone:", "", "the zone"),
        ("the instance primary IPv4 address", "", "the node's address"),
        ("Creating ENI with security groups", "in subnet", "the subnet of a new interface"),
        ("UnassignPodIPAddress: Failed to find sandbox", "", "a DEL for a pod that holds nothing"),
        ("failed to allocate all available IP addresses on ENI", "", "falls back to one address"),
        ("failed to allocate all available IPv4 Prefixes on ENI", "", "falls back to one prefix"),
        ("Instance metadata does not match data store", "", "drift seen, EC2 is asked"),
        ("found this instance", "", "the instance, its type and zone"),
    ],
    // Limits of the instance.
    Proves(&c::ATTACHMENT_LIMIT_MISMATCH) => [
        ("AttachmentLimitExceeded", "", "EC2 attaches no further interface"),
        ("no available device number", "", "every device index is used"),
    ],
    Proves(&c::TRUNK_INTERFACE_MISSING) => [
        ("No slot available for a trunk ENI", "", "no slot for a trunk interface"),
        ("No trunk ENI found", "", "a pod with security groups is refused"),
        ("failed to get Branch ENI resource", "", "a pod with security groups is refused"),
    ],
    Proves(&c::LIMITS_UNKNOWN) => [("Failed to get ENI limits", "", "unknown instance type")],
    Repeated(&c::ADDRESS_LIMIT_MISMATCH, 3) => [("PrivateIpAddressLimitExceeded", "", "the store is behind EC2")],
    // Subnets.
    Proves(&c::SUBNET_EXHAUSTED) => [
        ("InsufficientFreeAddressesInSubnet", "", "the subnet is full"),
        ("There aren't sufficient free Ipv4 addresses or prefixes", "", "the subnet is full, at the creation of an interface"),
    ],
    Proves(&c::SUBNET_FRAGMENTED) => [("InsufficientCidrBlocks", "", "no aligned /28 is left")],
    Context => [
        ("subnet doesn't seem to have enough IPs/Prefixes", "", "a shortage of the subnet was recognised"),
        ("Failed to CreateNetworkInterface", "for subnet", "an interface could not be created"),
        ("Failed to allocate a private IP/Prefix addresses on ENI", "", "an assign call failed"),
    ],
    Proves(&c::NO_SUBNET_ALLOWED) => [("no valid subnets available for ENI creation", "", "tags exclude every subnet")],
    Proves(&c::SUBNET_OF_OTHER_ACCOUNT) => [("IsSubnetExcluded: subnet", "not found in VPC", "the subnet of another account")],
    // The cloud refuses.
    Repeated(&c::THROTTLED, 3) => [
        ("RequestLimitExceeded", "", "throttled"),
        ("api error Throttling", "", "throttled"),
    ],
    Proves(&c::NOT_AUTHORIZED) => [
        ("UnauthorizedOperation", "", "the role may not make the call"),
        ("MissingIAMPermissions", "", "the role may not make the call"),
    ],
    Repeated(&c::CLOUD_UNAVAILABLE, 3) => [
        ("Failed to call ec2:Describe", "", "a call to EC2 failed"),
        ("Unable to retrieve instance data from EC2 control plane", "", "a call to EC2 failed"),
        ("api error InternalError", "", "EC2 failed"),
        ("api error Unavailable", "", "EC2 failed"),
        ("RequestCanceled", "context deadline exceeded", "a call to EC2 took too long"),
    ],
    Proves(&c::TAGGING_FAILED) => [("Failed to tag the newly created ENI", "", "tags are missing")],
    // Attaching, metadata.
    Repeated(&c::METADATA_LAG, 3) => [
        ("Unable to discover attached ENI from metadata service", "", "the metadata lags"),
        ("This ENI only has", "we wanted", "an interface came with fewer addresses"),
    ],
    Proves(&c::METADATA_LAG) => [
        ("giving up trying to retrieve ENIs", "", "the metadata lags for too long"),
        ("Reached max retry: Unable to discover attached IPs", "", "the metadata lags at start"),
    ],
    Proves(&c::ATTACH_FAILED) => [
        ("failed to find the link which uses MAC address", "", "the link is missing"),
        ("Failed to attach ENI", "", "an interface could not be attached"),
    ],
    Repeated(&c::METADATA_DRIFT, 2) => [("because it does not belong to this ENI!", "", "the metadata is stale")],
    // Lost and leaked.
    Proves(&c::FORCED_REMOVAL) => [
        ("Force removing eni", "", "an interface vanished with pods on it"),
        ("Force deleted IP", "", "an address vanished with a pod on it"),
    ],
    Repeated(&c::METADATA_DRIFT, 20) => [
        ("Reconcile and delete IP", "", "an address was swept"),
        ("Reconcile and delete Prefix", "", "a prefix was swept"),
    ],
    Proves(&c::LEAKED_ALLOCATION) => [("stale IP allocation for ID(", "", "a leaked assignment was reclaimed")],
    Proves(&c::LIVE_ALLOCATION_DISCARDED) => [("presuming stale/dead", "", "an assignment without a block was discarded")],
    Proves(&c::LEAKED_INTERFACE) => [("Failed to clean up leaked ENI", "", "a leaked interface could not be collected")],
    Repeated(&c::CLOUD_UNAVAILABLE, 3) => [("Unable to get leaked ENIs", "", "the sweep for leaked interfaces failed")],
    Proves(&c::INTERFACE_RELEASE_FAILED) => [
        ("Failed to free ENI", "", "an interface could not be released"),
        ("Failed to detach ENI", "", "an interface could not be detached"),
        ("Failed to retrieve ENI", "attachment id", "an interface could not be released"),
        ("Failed to free IPs", "", "addresses could not be unassigned"),
        ("Failed to free Prefixes", "", "prefixes could not be unassigned"),
    ],
    Proves(&c::FOREIGN_INTERFACE) => [("A new ENI added but not by ipamd", "", "something else attached an interface")],
    // Checkpoint.
    Proves(&c::CHECKPOINT_UNREADABLE) => [
        ("failed ipam state recovery", "", "the checkpoint cannot be read"),
        ("failed normalize checkpoint data", "", "the checkpoint cannot be compared with the host"),
    ],
    Proves(&c::CHECKPOINT_FAILED) => [
        ("Failed to update backing store", "", "a write failed, the assignment is undone"),
        ("Unable to update backing store", "", "a write failed, the agent goes on"),
    ],
    // Custom networking.
    Proves(&c::ENI_CONFIG_MISSING) => [
        ("error while retrieving eniconfig", "", "the object is missing"),
        ("Failed to get pod ENI config", "", "growth is blocked"),
        ("Failed to attach any ENIs for custom networking", "", "the agent cannot start"),
        ("No ENIConfig could be found for this node", "", "the choice fell to the default"),
    ],
    Proves(&c::SECURITY_GROUP_FALLBACK) => [("No custom networking security group found", "", "the node's groups are used")],
    // Start and host.
    Proves(&c::START_FAILED) => [("Initialization failure", "", "the start failed")],
    Repeated(&c::API_SERVER_UNREACHABLE, 3) => [("Unable to reach API Server", "", "the API server does not answer")],
    Proves(&c::API_SERVER_UNREACHABLE) => [("Proceeding without API server connectivity", "", "a degraded start")],
    Proves(&c::INVALID_SETTINGS) => [
        ("failed to validate configuration", "", "a combination of settings is impossible"),
        ("IPv4 and IPv6 are both enabled", "", "exactly one may be"),
        ("IPv4 and IPv6 are both disabled", "", "exactly one must be"),
    ],
    Proves(&c::PREFIXES_NOT_SUPPORTED) => [
        ("Prefix delegation is not supported on non-nitro instance", "", "single addresses are used"),
    ],
    Proves(&c::VERSION_MISMATCH) => [
        ("Rejecting AddNetwork request", "", "versions differ"),
        ("Rejecting DelNetwork request", "", "versions differ"),
    ],
    Repeated(&c::NODE_CORDONED, 3) => [("non schedulable node", "", "the pool of a cordoned node is frozen")],
    Proves(&c::HOST_NETWORK_FAILED) => [
        ("failed to set up host network", "", "the host's rules failed"),
        ("failed to update iptable rules for snat", "", "the host's rules failed"),
        ("host network setup: failed to", "", "the host's rules failed"),
    ],
    Proves(&c::SNAT_NOT_UPDATED) => [
        ("unable to update host iptables rules for VPC CIDRs", "", "a new block of the VPC is not exempted"),
    ],
    Context => [("failed to remove ENI", "", "the set-up of an interface is rolled back")],
};
