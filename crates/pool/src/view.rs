//! What can be read from the pool: figures and states for introspection, metrics and explanations.

use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, Cidr, EniId, MacAddress, PodKey, SubnetId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::effect::CloudOperation;
use crate::input::OperationId;

/// Addresses by state. The parts always sum up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All addresses.
    pub total: u32,
    /// Held by a sandbox.
    pub assigned: u32,
    /// Resting after use.
    pub cooling: u32,
    /// Neither held nor resting.
    pub free: u32,
    /// Held, or claimed, in a way that cannot be right; contained, see [`Alarm`].
    pub quarantined: u32,
}

/// What a sandbox holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The sandbox and interface.
    pub key: AttachmentKey,
    /// The pod, when it is known.
    pub pod: Option<PodKey>,
    /// The address.
    pub address: Ipv4Addr,
    /// The interface that carries it; `None` when it is of the node's own block, or when it is not the node's.
    pub interface: Option<EniId>,
    /// That interface's device index, or the primary interface's for an address of the node's own block; `None` when the address
    /// is not the node's.
    pub device_index: Option<u32>,
    /// Since when.
    pub since: Timestamp,
}

/// The state of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AddressState {
    /// Can be given.
    Free {
        /// When it was last released, if it ever was held.
        released: Option<Timestamp>,
    },
    /// Held by a sandbox.
    Assigned {
        /// The sandbox and interface.
        key: AttachmentKey,
        /// The pod, when it is known.
        pod: Option<PodKey>,
        /// Since when.
        since: Timestamp,
    },
    /// Resting after use.
    Cooling {
        /// When it was released.
        released: Timestamp,
    },
    /// Claimed by a sandbox beside the one that held it; not given until that claim is gone.
    Quarantined,
}

/// One address and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// The address.
    pub address: Ipv4Addr,
    /// Its state.
    #[serde(flatten)]
    pub state: AddressState,
}

/// One /32 or /28 on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockView {
    /// The block.
    pub cidr: Cidr,
    /// Whether it is a prefix (/28), not a single address.
    pub is_prefix: bool,
    /// Its addresses by state.
    pub tally: Tally,
    /// Each address.
    pub addresses: Vec<AddressView>,
    /// Since when the cloud does not show it any more, if so; nothing of it is given meanwhile.
    pub missing_since: Option<Timestamp>,
    /// Whether it is being given back.
    pub releasing: bool,
}

/// A block that the node has of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBlockView {
    /// The block.
    pub cidr: Cidr,
    /// Its addresses by state.
    pub tally: Tally,
    /// Each address that is held or was held.
    pub addresses: Vec<AddressView>,
    /// Since when nothing of it is given, because it is not one of the node's blocks any more; it stays until its last pod is
    /// gone and its last address has cooled down.
    pub draining_since: Option<Timestamp>,
    /// For whom it waits while it drains.
    pub waits_for: Vec<PodKey>,
}

/// Where an interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterfaceState {
    /// Created, not attached.
    Created,
    /// Being attached.
    Attaching,
    /// Found attached; the host is not set up for it yet.
    Unprepared,
    /// Its addresses can be used.
    Ready,
    /// Being detached and deleted.
    Releasing,
    /// The cloud does not show it (or not as attached) any more; nothing of it is given until it is seen again.
    Missing,
}

/// One interface that the pool manages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// The interface.
    pub id: EniId,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its device index.
    pub device_index: u32,
    /// Whether it is the node's primary interface.
    pub is_primary: bool,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its primary address; never a pod's.
    pub primary_address: Ipv4Addr,
    /// Where it stands.
    pub state: InterfaceState,
    /// Whether its subnet is excluded from pods (tag `kubernetes.io/role/cni` = 0).
    pub excluded: bool,
    /// Its addresses by state.
    pub tally: Tally,
    /// Its blocks in address order.
    pub blocks: Vec<BlockView>,
}

/// One subnet that the cloud showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetView {
    /// The subnet.
    pub id: SubnetId,
    /// Its block.
    pub cidr: Cidr,
    /// Its zone.
    pub zone: String,
    /// Free addresses when it was last read, less what this node took since.
    pub free: u32,
    /// When it was last read.
    pub looked_at: Timestamp,
    /// Whether new interfaces for pods may be made in it.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: String,
    /// Until when it is not asked, because it was found full.
    pub exhausted_until: Option<Timestamp>,
    /// Until when it is not asked for prefixes, because no aligned /28 was found.
    pub fragmented_until: Option<Timestamp>,
}

/// What looks at the cloud have corrected since the start, the first look not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corrections {
    /// Interfaces that the pool did not know.
    pub interfaces_found: u64,
    /// Interfaces that the cloud does not show any more.
    pub interfaces_gone: u64,
    /// Addresses and prefixes that the pool did not know.
    pub blocks_found: u64,
    /// Addresses and prefixes that the cloud does not show any more.
    pub blocks_gone: u64,
}

/// A cloud operation in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationView {
    /// Its number.
    pub id: OperationId,
    /// What it is.
    pub operation: CloudOperation,
    /// When it was started.
    pub since: Timestamp,
}

/// A state that should not be, found and contained; present until it is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Since when.
    pub since: Timestamp,
    /// What was found.
    pub what: String,
    /// What was done about it.
    pub contained: String,
}

/// The whole pool at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// Whether the start is finished: interfaces read, or blocks known, and state restored.
    pub ready: bool,
    /// Addresses by state, those on no interface included.
    pub tally: Tally,
    /// Prefixes held.
    pub prefixes: u32,
    /// ADDs that wait.
    pub waiting: u32,
    /// When the oldest of them came.
    pub waiting_since: Option<Timestamp>,
    /// The blocks that the node has of its own, in the order in which they are used.
    pub node_blocks: Vec<NodeBlockView>,
    /// Interfaces that the pool manages, by device index.
    pub interfaces: Vec<InterfaceView>,
    /// Interfaces on the first network card that the pool leaves alone.
    pub unmanaged_interfaces: u32,
    /// Interfaces that the node may have: the type's limit, `MAX_ENI`, or a lower limit learned from the cloud.
    pub interface_limit: u32,
    /// Addresses (without its primary) or prefixes that one interface can carry.
    pub slots_per_interface: u32,
    /// Subnets in the node's zone.
    pub subnets: Vec<SubnetView>,
    /// Cloud operations in flight.
    pub operations: Vec<OperationView>,
    /// What is held on no interface that the cloud shows, or claimed twice.
    pub quarantined: Vec<Holding>,
    /// What looks at the cloud have corrected.
    pub corrections: Corrections,
}
