//! What the engine asks its shell to do.

use freeboard_address::{Cidr, NodeName, NodeUid, RangeName};
use jiff::SignedDuration;

use crate::cause::Refusal;
use crate::findings::Finding;
use crate::input::OperationId;

/// One thing to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start an API operation; report its outcome with `Blocks::handle_answer`.
    Api(OperationId, ApiOperation),
    /// The range is gone: let the object that declared it go (remove its finalizer).
    ForgetRange(RangeName),
    /// List the nodes with a consistent read that begins now, and report it with `Blocks::handle_nodes`: what an earlier leader
    /// wrote last has landed, and must be seen before anything is given.
    ListNodes,
    /// Something that people or machines should see.
    Signal(Signal),
}

/// An operation on the API. Each is one thing that can succeed, fail, or be uncertain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiOperation {
    /// Set `spec.podCIDR` and `spec.podCIDRs` of the Node with this uid; no other field is touched. Repeating it is harmless.
    SetPodCidrs {
        /// The node.
        node: NodeName,
        /// Its uid, as a precondition: a node that was created again under this name must not get the block.
        uid: NodeUid,
        /// The block.
        cidr: Cidr,
    },
    /// Read the Node with a consistent read.
    ReadNode {
        /// The node.
        node: NodeName,
    },
}

/// Something that people or machines should see; the shell turns it into a log line, a metric, an event, a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A node has its block, confirmed by the API.
    Served {
        /// The node.
        node: NodeName,
        /// Its block.
        cidr: Cidr,
        /// The range it comes from.
        range: RangeName,
        /// How long the node waited, from when it was first seen.
        waited: SignedDuration,
    },
    /// A node waits for a block, or waits for another reason than before: a Warning event and a condition on the Node.
    Waiting {
        /// The node.
        node: NodeName,
        /// What it waits for.
        refusal: Refusal,
    },
    /// A block was released and cools down.
    Released {
        /// The node that had it.
        node: NodeName,
        /// The block.
        cidr: Cidr,
        /// The range it lies in, if it lies in one.
        range: Option<RangeName>,
    },
    /// A write failed and is tried again.
    WriteFailed {
        /// The node.
        node: NodeName,
        /// What the API said.
        detail: String,
    },
    /// Something is wrong with a node's block, and was contained.
    Found(Finding),
    /// What was found is right again, or its node is gone.
    Cleared(Finding),
    /// A range has no room for nodes that wait for it, or has room again: a condition on the range.
    RangeExhausted {
        /// The range.
        name: RangeName,
        /// Whether it is exhausted now.
        is_exhausted: bool,
    },
    /// A list of nodes was older than what is known, and was not believed.
    StaleListIgnored,
}
