//! What goes into the engine: settings, facts about nodes and answers of the API.

use std::sync::Arc;

use freeboard_address::{Cidr, NodeName, NodeUid};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::range::Exclusion;
use crate::selector::Labels;

/// The number of one API operation; the engine chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId(pub u64);

/// A resource version of the API: grows with every change. (Comparable by the API's contract since Kubernetes 1.35; etcd's
/// revisions always were.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceVersion(pub u64);

/// The settings that the engine obeys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocksSettings {
    /// How long a block rests after its node is gone.
    pub cooldown: SignedDuration,
    /// When a node waits, a block may be given again after this much of its cool-down, the longest-cooled first.
    pub cooldown_floor: SignedDuration,
    /// For so long, what becomes free in one block of the size that the longest-waiting node needs is kept for that node, when
    /// others wait that need less. With zero nothing is kept, and small nodes can keep a large one waiting for ever.
    pub hold_for: SignedDuration,
    /// Nothing is given for so long after the start: what an earlier leader wrote last may still land. The shell passes zero
    /// when it knows that there was none, or that it has stopped (a lease that was given up).
    pub takeover_wait: SignedDuration,
    /// How many writes may be in flight at once.
    pub writes_in_flight: usize,
    /// The first pause after a failed write, doubled up to `retry_max`.
    pub retry_min: SignedDuration,
    /// The longest such pause.
    pub retry_max: SignedDuration,
    /// Max-pods of a node that does not tell it; without this setting such a node is refused.
    pub default_max_pods: Option<u32>,
    /// A higher max-pods is taken for a mistake.
    pub max_pods_limit: u32,
    /// Addresses that no node may have: service ranges, reservations.
    pub excluded: Vec<Exclusion>,
}

impl Default for BlocksSettings {
    fn default() -> Self {
        Self {
            cooldown: SignedDuration::from_secs(60),
            cooldown_floor: SignedDuration::from_secs(10),
            hold_for: SignedDuration::from_mins(10),
            takeover_wait: SignedDuration::from_secs(10),
            writes_in_flight: 64,
            retry_min: SignedDuration::from_secs(1),
            retry_max: SignedDuration::from_secs(30),
            default_max_pods: None,
            // GKE's limit of pods per node.
            max_pods_limit: 256,
            excluded: Vec::new(),
        }
    }
}

/// A Node as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNode {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`.
    pub uid: NodeUid,
    /// `metadata.resourceVersion`.
    pub version: ResourceVersion,
    /// `metadata.labels`.
    pub labels: Arc<Labels>,
    /// `status.capacity.pods`, as it is given; none when it is missing.
    pub max_pods: Option<i64>,
    /// `spec.podCIDRs`, as they are given; `[spec.podCIDR]` when only that is set.
    pub pod_cidrs: Vec<String>,
    /// Whether `metadata.deletionTimestamp` is set: the node still has its block until it is really gone.
    pub is_deleting: bool,
}

/// A block that was cooling down when another leader (or an earlier run) wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredCooling {
    /// The block.
    pub cidr: Cidr,
    /// When it was released.
    pub released: Timestamp,
}

/// What became of an API operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The write is done: the Node has the blocks.
    Written,
    /// The Node as a consistent read shows it: the answer to a read, or the body of a refused write.
    Node(ObservedNode),
    /// There is no Node of this name and uid (any more).
    NotFound,
    /// The API refused the write: a conflict, or the Node has other blocks. The Node is read next.
    Conflict,
    /// The answer was lost after the request had left: the write may have happened. It is repeated, which changes nothing when it
    /// had happened.
    Uncertain,
    /// The API surely did not do it: throttled, unreachable, an error before anything was written. Repeated after a pause.
    Failed(String),
}
