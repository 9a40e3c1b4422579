//! Why an address cannot be given: one declaration per cause, used in replies, events, logs, metric labels and documents.

use std::fmt;

use freeboard_address::{Cidr, EniId, SubnetId};
use serde::{Deserialize, Serialize};

/// Why no address can be given now. The variant's name is the word that people see everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Every subnet that this node may use has no free address left.
    SubnetExhausted,
    /// The subnet has free addresses, but no aligned /28 is left and single addresses could not help.
    SubnetFragmented,
    /// Every block of addresses that the node has of its own is full.
    NodeBlockExhausted,
    /// The node's pods have addresses from blocks of its own, and it has none that gives any.
    NodeBlockMissing,
    /// Every interface slot, or every address slot on them, of this instance type is taken.
    InterfaceLimit,
    /// No subnet in the node's zone is allowed for pods.
    NoSubnetAllowed,
    /// The cloud refuses calls at this rate.
    Throttled,
    /// The node's role may not make the call.
    NotAuthorized,
    /// The cloud did not answer in time, or failed.
    CloudUnavailable,
    /// Free addresses exist, but all of them are cooling down after use.
    CoolingDown,
    /// Room is on its way (an assign or attach call is in flight) but did not arrive in the time an ADD may wait.
    StillGrowing,
    /// The node is cordoned, so the pool is not grown.
    NodeCordoned,
    /// `DISABLE_NETWORK_RESOURCE_PROVISIONING` forbids to take more addresses.
    ProvisioningDisabled,
    /// The agent has not finished its start.
    NotReady,
    /// The agent is shutting down.
    Terminating,
    /// Too many ADDs wait already.
    QueueFull,
    /// The state could not be written to disk, so nothing may be promised.
    CheckpointFailed,
}

impl Cause {
    /// Every cause, for metric labels and reference pages.
    pub const ALL: [Self; 17] = [
        Self::SubnetExhausted,
        Self::SubnetFragmented,
        Self::NodeBlockExhausted,
        Self::NodeBlockMissing,
        Self::InterfaceLimit,
        Self::NoSubnetAllowed,
        Self::Throttled,
        Self::NotAuthorized,
        Self::CloudUnavailable,
        Self::CoolingDown,
        Self::StillGrowing,
        Self::NodeCordoned,
        Self::ProvisioningDisabled,
        Self::NotReady,
        Self::Terminating,
        Self::QueueFull,
        Self::CheckpointFailed,
    ];

    /// The word that people see, equal to the variant's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SubnetExhausted => "SubnetExhausted",
            Self::SubnetFragmented => "SubnetFragmented",
            Self::NodeBlockExhausted => "NodeBlockExhausted",
            Self::NodeBlockMissing => "NodeBlockMissing",
            Self::InterfaceLimit => "InterfaceLimit",
            Self::NoSubnetAllowed => "NoSubnetAllowed",
            Self::Throttled => "Throttled",
            Self::NotAuthorized => "NotAuthorized",
            Self::CloudUnavailable => "CloudUnavailable",
            Self::CoolingDown => "CoolingDown",
            Self::StillGrowing => "StillGrowing",
            Self::NodeCordoned => "NodeCordoned",
            Self::ProvisioningDisabled => "ProvisioningDisabled",
            Self::NotReady => "NotReady",
            Self::Terminating => "Terminating",
            Self::QueueFull => "QueueFull",
            Self::CheckpointFailed => "CheckpointFailed",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where the shortage is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// A subnet and its block.
    Subnet {
        /// The subnet.
        id: SubnetId,
        /// Its block.
        cidr: Cidr,
    },
    /// A block of the node's own.
    Block {
        /// The block.
        cidr: Cidr,
    },
    /// A network interface.
    Interface {
        /// The interface.
        id: EniId,
    },
    /// The node itself: its limits, its queue, its disk.
    Node,
    /// An API action, for example `ec2:AssignPrivateIpAddresses`.
    Api {
        /// The action.
        action: String,
    },
}

/// A typed refusal: what is missing, where, in figures, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The cause.
    pub cause: Cause,
    /// Where it is.
    pub place: Place,
    /// One sentence with the figures, for example `subnet 10.0.208.0/27 is full (0 of 27 addresses free)`.
    pub message: String,
    /// What a person can do about it, as one sentence.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]; {}", self.message, self.cause, self.remedy)
    }
}
