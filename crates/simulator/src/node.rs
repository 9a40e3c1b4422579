//! One node: the pool engine, its simulated disk and kernel, and the runtime that asks for addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, EniId, PodKey};
use freeboard_pool::{
    CheckpointState, CloudOperation, NodeFacts, OperationId, Pool, PoolSettings, RequestId, RestoredAllocation,
};
use freeboard_vpc::NetworkInterface;
use jiff::{SignedDuration, Timestamp};

use crate::fault::FaultClass;

/// The network of every pod.
pub(crate) const NETWORK: &str = "aws-cni";
/// The network of keys that were made from the kernel's evidence.
const REBUILT: &str = "_rebuilt-from-kernel";

/// The simulated disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) state: Option<CheckpointState>,
    pub(crate) torn: bool,
    pub(crate) full: bool,
}

/// A cloud operation of the pool that the shell carries out.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) operation: CloudOperation,
    pub(crate) stage: Stage,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A call is in flight, or the next one is due.
    Calling,
    /// Waits for the link of its interface.
    Link,
    /// Waits until its interface is detached; so many looks are left.
    Detach {
        /// Whether the call to detach was made.
        asked: bool,
        looks_left: u32,
    },
}

/// Why a DEL is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Runtime,
    Tombstone,
    /// The agent found that nothing on the host speaks for it.
    Stale,
    /// For a sandbox that nobody knows.
    Stray,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Add {
        key: AttachmentKey,
        repeated: bool,
    },
    /// `of`: the sandbox; `key`: the key asked for, another one when the state was rebuilt.
    Del {
        of: AttachmentKey,
        key: AttachmentKey,
        pod: PodKey,
        via: Via,
        /// Whether the sandbox's own ADD came to this run of the agent: then nothing rebuilt from the kernel is its.
        own: bool,
    },
}

/// A request that is not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) asked: Asked,
    pub(crate) at: Timestamp,
}

/// What a sandbox is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SandboxState {
    Adding,
    Live,
    Deleting,
}

/// A pod's sandbox, as the runtime and the kernel know it.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) pod: String,
    pub(crate) state: SandboxState,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) interface: Option<EniId>,
    /// The address was lost by a fault that the node cannot undo; nothing is promised about it any more.
    pub(crate) stranded: bool,
    /// To be deleted as soon as its ADD is answered.
    pub(crate) doomed: bool,
}

impl Sandbox {
    pub(crate) fn new(pod: String) -> Self {
        Self { pod, state: SandboxState::Adding, address: None, interface: None, stranded: false, doomed: false }
    }

    /// The address, while the kernel has it.
    pub(crate) fn live_address(&self) -> Option<Ipv4Addr> {
        if self.state == SandboxState::Adding { None } else { self.address }
    }
}

/// A pod that the workload wants, or does not want any more and that is not gone yet.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) wanted: bool,
    pub(crate) since: Timestamp,
    pub(crate) served: bool,
    pub(crate) sandbox: Option<AttachmentKey>,
    pub(crate) refusals: u32,
}

/// When an address was released, by the node's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release {
    pub(crate) at: Timestamp,
    /// Comparisons hold only within one epoch: a start on a clock that was set, and lost state, begin a new one.
    pub(crate) epoch: u64,
}

/// EC2's list of this node's interfaces does not move.
#[derive(Clone, Debug)]
pub(crate) struct StaleList {
    pub(crate) until: Timestamp,
    pub(crate) shown: Vec<NetworkInterface>,
    /// Whether what is gone is still shown.
    pub(crate) ghosts: bool,
}

impl StaleList {
    /// The list that EC2 gives instead of the true one.
    pub(crate) fn list(&self, truth: &[NetworkInterface]) -> Vec<NetworkInterface> {
        if self.ghosts {
            return self.shown.clone();
        }
        let still = |old: &NetworkInterface| {
            let now = truth.iter().find(|now| now.network_interface_id == old.network_interface_id)?;
            let mut shown = old.clone();
            shown.private_ip_addresses.retain(|address| now.private_ip_addresses.contains(address));
            shown.ipv4_prefixes.retain(|prefix| now.ipv4_prefixes.contains(prefix));
            Some(shown)
        };
        self.shown.iter().filter_map(still).collect()
    }
}

/// What a plugin that could not reach the agent leaves.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) pod: PodKey,
    /// By the node's clock.
    pub(crate) deleted: Timestamp,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) facts: NodeFacts,
    pub(crate) settings: PoolSettings,
    /// `None` while the agent is down.
    pub(crate) pool: Option<Pool>,
    /// One more with every death of the agent; what an earlier one started is not heard of.
    pub(crate) incarnation: u64,
    /// The node's clock less the true time.
    pub(crate) clock: SignedDuration,
    pub(crate) epoch: u64,
    /// The same for the agent's clock: what the node's was at the agent's start.
    pub(crate) steady: SignedDuration,
    pub(crate) disk: Disk,
    pub(crate) writing: Option<CheckpointState>,
    pub(crate) unwritten: bool,
    pub(crate) operations: BTreeMap<OperationId, Running>,
    pub(crate) open: BTreeMap<RequestId, Open>,
    /// Requests that nobody waits for any more.
    pub(crate) given_up: BTreeSet<RequestId>,
    /// When this node's last calls to EC2 were made.
    pub(crate) calls: VecDeque<Timestamp>,
    pub(crate) next_request: u64,
    pub(crate) next_container: u64,
    /// Links that the host sees.
    pub(crate) links: BTreeSet<EniId>,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) sandboxes: BTreeMap<AttachmentKey, Sandbox>,
    /// Whether a sandbox ended without any word of it.
    pub(crate) lost_delete: bool,
    pub(crate) tombstones: BTreeMap<AttachmentKey, Tombstone>,
    pub(crate) released: BTreeMap<Ipv4Addr, Release>,
    pub(crate) armed: BTreeMap<FaultClass, u32>,
    pub(crate) wake: Option<Timestamp>,
    /// Wakes at, or within a second of, this time.
    pub(crate) wakes: (Timestamp, u32),
    pub(crate) stale: Option<StaleList>,
    /// Interfaces of which the node cannot know what the cloud did; until its next honest look.
    pub(crate) uncertain: BTreeSet<EniId>,
    pub(crate) restored: Vec<RestoredAllocation>,
    pub(crate) last_change: Timestamp,
    /// Since when the pool knows its interfaces; requests wait for that.
    pub(crate) ready_since: Option<Timestamp>,
}

impl Node {
    pub(crate) fn new(facts: NodeFacts, settings: PoolSettings, now: Timestamp) -> Self {
        Self {
            facts,
            settings,
            pool: None,
            incarnation: 0,
            clock: SignedDuration::ZERO,
            epoch: 0,
            steady: SignedDuration::ZERO,
            disk: Disk::default(),
            writing: None,
            unwritten: false,
            operations: BTreeMap::new(),
            open: BTreeMap::new(),
            given_up: BTreeSet::new(),
            calls: VecDeque::new(),
            next_request: 0,
            next_container: 0,
            links: BTreeSet::new(),
            pods: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            lost_delete: false,
            tombstones: BTreeMap::new(),
            released: BTreeMap::new(),
            armed: BTreeMap::new(),
            wake: None,
            wakes: (now, 0),
            stale: None,
            uncertain: BTreeSet::new(),
            restored: Vec::new(),
            last_change: now,
            ready_since: None,
        }
    }

    /// The agent's time: the node's at the agent's start, and what has passed since.
    pub(crate) fn time(&self, now: Timestamp) -> Timestamp {
        now.checked_add(self.steady).unwrap_or(now)
    }

    /// The time that the node's clock shows.
    pub(crate) fn wall(&self, now: Timestamp) -> Timestamp {
        now.checked_add(self.clock).unwrap_or(now)
    }

    /// The agent starts: its clock goes on from what the node's shows.
    pub(crate) fn set_clock(&mut self) {
        if self.steady != self.clock {
            self.steady = self.clock;
            self.forget_releases();
        }
    }

    /// The next request's number, noted as open.
    pub(crate) fn ask(&mut self, asked: Asked, now: Timestamp) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.open.insert(id, Open { asked, at: now });
        id
    }

    /// Whether a one-time fault is armed; takes it.
    pub(crate) fn take_armed(&mut self, class: FaultClass) -> bool {
        match self.armed.get_mut(&class).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                true
            }
            None => false,
        }
    }

    /// What the kernel's evidence says: the newest sandbox of each pod that has an address.
    pub(crate) fn witnesses(&self) -> BTreeMap<String, Ipv4Addr> {
        self.sandboxes.values().filter_map(|sandbox| Some((sandbox.pod.clone(), sandbox.live_address()?))).collect()
    }

    /// The sandbox that holds an address in the kernel and is promised it.
    pub(crate) fn holder(&self, address: Ipv4Addr) -> Option<(&AttachmentKey, &Sandbox)> {
        self.sandboxes.iter().find(|(_, sandbox)| !sandbox.stranded && sandbox.live_address() == Some(address))
    }

    /// Begins a new epoch: what was released before is not compared any more.
    pub(crate) fn forget_releases(&mut self) {
        self.epoch += 1;
        self.released.clear();
    }
}

/// The name of a pod for the pool.
pub(crate) fn pod_key(name: &str) -> PodKey {
    PodKey::new("default", name)
}

/// The key of a container.
pub(crate) fn attachment(container: String) -> AttachmentKey {
    AttachmentKey { network: NETWORK.to_owned(), container, interface: "eth0".to_owned() }
}

/// The key under which an address is held when only the kernel was left to say that a pod has it.
pub(crate) fn rebuilt_key(pod: &str) -> AttachmentKey {
    AttachmentKey { network: REBUILT.to_owned(), container: pod.to_owned(), interface: "unknown".to_owned() }
}
