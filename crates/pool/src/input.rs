//! What goes into the engine: settings, facts about the node, requests of the plugin and answers of the cloud.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use freeboard_address::{
    Addresses, AttachmentKey, Cidr, EniId, InstanceId, MacAddress, PodKey, Prefixes, SecurityGroupId, SubnetId, VpcId,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::budget::CallLimits;

/// The number of one plugin request; the shell chooses it, unique while the request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// The number of one cloud operation; the engine chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId(pub u64);

/// A revision of the durable state; grows with every change that must survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// How addresses are taken from a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllocationMode {
    /// Single secondary addresses, /32.
    SecondaryAddresses,
    /// Prefixes of 16 addresses, /28.
    Prefixes,
}

/// Which range new interfaces and pods prefer. A preference, not a wall: when it is full, the next range serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RangePreference {
    /// Subnets of secondary VPC CIDRs first; spares the routable primary range.
    SecondaryFirst,
    /// Subnets of the primary VPC CIDR first.
    PrimaryFirst,
    /// The subnet with the most free addresses first, as the Amazon VPC CNI does.
    MostFree,
}

impl fmt::Display for RangePreference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecondaryFirst => "secondary-first",
            Self::PrimaryFirst => "primary-first",
            Self::MostFree => "most-free",
        })
    }
}

/// How much the pool holds beyond what its pods have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// What the next cloud round trip is expected to consume, learned from this node.
    Lean,
    /// What the targets of the Amazon VPC CNI say, by its formulas.
    Compatible(Targets),
}

/// The targets of the Amazon VPC CNI, with its meanings (aws-vpc-cni §4.1). `None` is "not set".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// `WARM_ENI_TARGET`: spare full interfaces.
    pub warm_eni: u32,
    /// `WARM_IP_TARGET`: spare addresses.
    pub warm_ip: Option<Addresses>,
    /// `MINIMUM_IP_TARGET`: floor of total addresses.
    pub minimum_ip: Option<Addresses>,
    /// `WARM_PREFIX_TARGET`: spare /28 prefixes.
    pub warm_prefix: Prefixes,
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { warm_eni, warm_ip, minimum_ip, warm_prefix } = self;
        let ip = |target: &Option<Addresses>| target.unwrap_or(Addresses::ZERO).0;
        write!(f, "WARM_ENI_TARGET={warm_eni} WARM_IP_TARGET={} ", ip(warm_ip))?;
        write!(f, "MINIMUM_IP_TARGET={} WARM_PREFIX_TARGET={}", ip(minimum_ip), warm_prefix.0)
    }
}

/// How the engine spaces what it does. The defaults are the Amazon VPC CNI's where it has the same notion (aws-vpc-cni §1.6,
/// §3.5); a demo may shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pacing {
    /// Addresses over the target are given back at most this often.
    pub shrink_interval: SignedDuration,
    /// An interface is not given back before it has been here this long.
    pub interface_min_age: SignedDuration,
    /// The interfaces are read from the cloud this long after the last change.
    pub reconcile_interval: SignedDuration,
    /// Two looks that must agree before something is dropped are at least this far apart.
    pub look_apart: SignedDuration,
    /// The subnets are read this often while addresses are short.
    pub subnets_when_short: SignedDuration,
    /// The subnets are read this often otherwise.
    pub subnets_when_calm: SignedDuration,
    /// Back-off of a full subnet, a failing action or interface: the first pause, doubled up to `backoff_max`.
    pub backoff_min: SignedDuration,
    /// The longest such pause.
    pub backoff_max: SignedDuration,
    /// The pause after a call that the role may not make.
    pub unauthorized_pause: SignedDuration,
    /// Under pressure an address may be given again after this much of its cool-down.
    pub cooldown_floor: SignedDuration,
    /// A refused pod counts as demand for this long, so that room is ready when the runtime asks again.
    pub demand_memory: SignedDuration,
    /// The request limits of the account, of which the node takes its part.
    #[serde(default)]
    pub limits: CallLimits,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            shrink_interval: SignedDuration::from_secs(30),
            interface_min_age: SignedDuration::from_secs(60),
            reconcile_interval: SignedDuration::from_secs(60),
            look_apart: SignedDuration::from_secs(10),
            subnets_when_short: SignedDuration::from_secs(5),
            subnets_when_calm: SignedDuration::from_secs(60),
            backoff_min: SignedDuration::from_secs(5),
            backoff_max: SignedDuration::from_secs(60),
            unauthorized_pause: SignedDuration::from_secs(60),
            cooldown_floor: SignedDuration::from_secs(5),
            demand_memory: SignedDuration::from_secs(60),
            limits: CallLimits::default(),
        }
    }
}

/// The settings that the engine obeys; replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSettings {
    /// Single addresses or prefixes.
    pub mode: AllocationMode,
    /// How much is held beyond what the pods have.
    pub policy: Policy,
    /// `MAX_ENI`: cap on interfaces, below the instance type's.
    pub max_eni: Option<u32>,
    /// How long an address rests after use.
    pub cooldown: SignedDuration,
    /// Which range is preferred.
    pub preference: RangePreference,
    /// How long an ADD may wait for an address before it is refused.
    pub add_wait: SignedDuration,
    /// How many ADDs may wait at once.
    pub add_queue: usize,
    /// `ENABLE_SUBNET_DISCOVERY`: other subnets than the primary interface's may be used, by their tags.
    pub subnet_discovery: bool,
    /// `CLUSTER_NAME`, for the cluster check of subnet discovery and for tags.
    pub cluster_name: Option<String>,
    /// `MANAGE_UNTAGGED_ENI`: adopt interfaces that carry no tag of ours.
    pub manage_untagged: bool,
    /// `AWS_MANAGE_ENIS_NON_SCHEDULABLE`: grow also on a cordoned node.
    pub manage_non_schedulable: bool,
    /// `DISABLE_NETWORK_RESOURCE_PROVISIONING`: never ask the cloud for more.
    pub provisioning_disabled: bool,
    /// How the engine spaces what it does.
    pub pacing: Pacing,
}

/// What does not change while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The instance.
    pub instance: InstanceId,
    /// Its type, for messages.
    pub instance_type: String,
    /// Interfaces the type may have (network card 0).
    pub interface_limit: u32,
    /// IPv4 addresses (or prefixes) per interface, its primary address included.
    pub addresses_per_interface: u32,
    /// Whether the type supports /28 prefixes (Nitro or bare metal).
    pub prefixes_supported: bool,
    /// Pods the node may run.
    pub max_pods: u32,
    /// The VPC.
    pub vpc: VpcId,
    /// The availability zone.
    pub zone: String,
    /// The interface at device index 0.
    pub primary_interface: EniId,
    /// Its subnet.
    pub primary_subnet: SubnetId,
}

/// An ADD of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddRequest {
    /// What asks: sandbox and interface.
    pub key: AttachmentKey,
    /// The pod, when the runtime told it.
    pub pod: Option<PodKey>,
}

/// A DEL of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelRequest {
    /// The sandbox and interface to release.
    pub key: AttachmentKey,
    /// The pod, when the runtime told it.
    pub pod: Option<PodKey>,
}

/// An allocation as the checkpoint, or the kernel's own evidence, has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredAllocation {
    /// The sandbox and interface that hold the address.
    pub key: AttachmentKey,
    /// The pod, when it is known.
    pub pod: Option<PodKey>,
    /// The address.
    pub address: Ipv4Addr,
    /// When it was given.
    pub since: Timestamp,
}

/// An address that was cooling down when the checkpoint was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredCooling {
    /// The address.
    pub address: Ipv4Addr,
    /// When it was released.
    pub released: Timestamp,
}

/// A block that was given back to its subnet, or that is just being given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnedBlock {
    /// The /32 or /28.
    pub block: Cidr,
    /// When it was given back.
    pub returned: Timestamp,
}

/// An interface that is to be created: the whole request, so that it can be repeated to the letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceIntent {
    /// In which subnet.
    pub subnet: SubnetId,
    /// Secondary addresses to take with it.
    pub addresses: Addresses,
    /// Prefixes to take with it.
    pub prefixes: Prefixes,
    /// Its security groups; the primary interface's when empty.
    pub groups: Vec<SecurityGroupId>,
    /// `ClientToken`.
    pub token: String,
    /// When it was decided.
    pub decided: Timestamp,
}

/// The durable state of the pool: what the shell writes to disk, and gives back to `Pool::handle_restore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// The revision that this state covers.
    pub revision: Revision,
    /// What sandboxes hold; each address once.
    pub allocations: Vec<RestoredAllocation>,
    /// Older claims on an address of `allocations`, kept until their sandbox is deleted. The Amazon VPC CNI refuses a file with
    /// two allocations on one address, so these belong beside the list, not in it; on restore they are given with it.
    pub conflicting: Vec<RestoredAllocation>,
    /// Addresses that are cooling down.
    pub cooling: Vec<RestoredCooling>,
    /// The blocks that the node has of its own, those that drain included.
    #[serde(default)]
    pub blocks: Vec<Cidr>,
    /// Blocks that were given back a short while ago: a list of the cloud that still shows one is late.
    #[serde(default)]
    pub returned: Vec<ReturnedBlock>,
    /// Interfaces that are about to be created, or are created and not attached yet.
    #[serde(default)]
    pub creating: Vec<InterfaceIntent>,
}

/// One interface of this instance, as the cloud describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedInterface {
    /// The interface.
    pub id: EniId,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its device index on the instance.
    pub device_index: u32,
    /// Its network card.
    pub network_card: u32,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its primary address.
    pub primary_address: Ipv4Addr,
    /// Its secondary addresses.
    pub secondary_addresses: Vec<Ipv4Addr>,
    /// Its /28 prefixes.
    pub prefixes: Vec<Cidr>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether the attachment is complete (`attached`), not `attaching` or `detaching`.
    pub attached: bool,
    /// Whether it is a trunk, EFA or otherwise not for ordinary pods (`interfaceType` other than `interface`).
    pub special: bool,
}

/// One subnet of the VPC, as the cloud describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedSubnet {
    /// The subnet.
    pub id: SubnetId,
    /// Its block.
    pub cidr: Cidr,
    /// Its zone.
    pub zone: String,
    /// Free addresses, as EC2 counts them.
    pub free: Addresses,
    /// Whether its block lies in the VPC's primary CIDR.
    pub in_primary_range: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What a cloud operation brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudSuccess {
    /// The subnets of the VPC in the node's zone.
    Subnets(Vec<ObservedSubnet>),
    /// All interfaces of the instance: the authority on what the node holds.
    Interfaces(Vec<ObservedInterface>),
    /// An interface was created; not attached yet.
    Created(ObservedInterface),
    /// The interface is attached, its link is up and the host's routes for it are in place: its addresses can be used.
    /// The answer to `AttachInterface` and to `PrepareInterface`.
    Attached(EniId),
    /// Single addresses were assigned.
    AssignedAddresses(EniId, Vec<Ipv4Addr>),
    /// Prefixes were assigned.
    AssignedPrefixes(EniId, Vec<Cidr>),
    /// Addresses and prefixes were given back.
    Unassigned(EniId),
    /// The interface is detached and deleted, and the host's routes for it are gone.
    Released(EniId),
}

/// Why a cloud operation failed, classified by (action, code, message).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureKind {
    /// The subnet has too few free addresses for the request.
    SubnetShort,
    /// The subnet has no aligned free /28 (it may have free addresses).
    NoFreePrefix,
    /// The interface holds as many addresses as its type allows.
    AddressLimit,
    /// The instance has as many interfaces as its type allows.
    AttachmentLimit,
    /// Too many calls.
    Throttled,
    /// The role may not make the call.
    NotAuthorized,
    /// The object does not exist (any more).
    NotFound,
    /// The cloud could not be reached or did not take the call on: nothing happened.
    Unavailable,
    /// The answer was lost after the request had left: the effect may have happened.
    Uncertain,
    /// The host could not be set up for the interface (link missing, netlink error).
    Host,
    /// Anything else.
    Other,
}

/// A failed cloud operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudFailure {
    /// What it means for the pool.
    pub kind: FailureKind,
    /// The API action, for example `AssignPrivateIpAddresses`.
    pub action: String,
    /// The code and message as the cloud gave them.
    pub detail: String,
    /// When it happened.
    pub at: Timestamp,
}
