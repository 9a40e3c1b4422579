//! What the engine asks its shell to do.

use std::net::Ipv4Addr;

use freeboard_address::{Addresses, Cidr, EniId, PodKey, Prefixes, SecurityGroupId, SubnetId};
use jiff::Timestamp;

use crate::cause::Refusal;
use crate::decision::{Choice, Reason};
use crate::input::{OperationId, RequestId, Revision};

/// One thing to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write the durable state (`Pool::checkpoint`) and report `Pool::handle_persisted` with a revision that it covers.
    /// Several may be answered by one write: group commit.
    Persist(Revision),
    /// Answer a plugin request; it is released only after what it promises is durable.
    Reply(RequestId, Reply),
    /// Start a cloud operation; report its outcome with `Pool::handle_cloud`.
    Cloud(OperationId, CloudOperation),
    /// Something that people or machines should see.
    Signal(Signal),
}

/// An operation on the cloud. Each is one thing that can succeed, fail, or be uncertain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudOperation {
    /// Read the subnets of the VPC in the node's zone.
    DescribeSubnets,
    /// Read all interfaces attached to this instance from EC2.
    DescribeInterfaces,
    /// Create an interface with secondary addresses or prefixes in the same call.
    CreateInterface {
        /// In which subnet.
        subnet: SubnetId,
        /// Secondary addresses to take with it.
        addresses: Addresses,
        /// Prefixes to take with it.
        prefixes: Prefixes,
        /// Its security groups; the primary interface's when empty.
        groups: Vec<SecurityGroupId>,
        /// `ClientToken`: when the answer is lost, the call is repeated with the same token and brings the same interface.
        token: String,
        /// When it was decided, by the node's clock: a part of the request, which a repetition has to be to the letter.
        decided: Timestamp,
    },
    /// Attach a created interface, set it to be deleted with the instance, wait for its link, set up the host for it.
    AttachInterface {
        /// The interface.
        interface: EniId,
        /// At which device index.
        device_index: u32,
    },
    /// Set up the host for an interface that was found attached (at start, or after a lost answer): wait for its link, set up
    /// the host for it. Repeating it on a host that is right changes nothing.
    PrepareInterface {
        /// The interface.
        interface: EniId,
        /// Its device index.
        device_index: u32,
    },
    /// Take single addresses for an attached interface.
    AssignAddresses {
        /// The interface.
        interface: EniId,
        /// How many.
        count: Addresses,
    },
    /// Take /28 prefixes for an attached interface.
    AssignPrefixes {
        /// The interface.
        interface: EniId,
        /// How many.
        count: Prefixes,
    },
    /// Give addresses and prefixes back to the subnet.
    Unassign {
        /// The interface.
        interface: EniId,
        /// Single addresses.
        addresses: Vec<Ipv4Addr>,
        /// Prefixes.
        prefixes: Vec<Cidr>,
    },
    /// Remove the host's routes for the interface, detach it and delete it.
    ReleaseInterface {
        /// The interface.
        interface: EniId,
    },
}

/// The answer to a plugin request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// ADD: the address that the pod has.
    Assigned {
        /// The address.
        address: Ipv4Addr,
        /// The interface that carries it; none for an address of a block that the node has of its own.
        interface: Option<EniId>,
        /// Its device index (network card 0); that of the primary interface for an address of a block of the node's own.
        device_index: u32,
    },
    /// ADD: no address, and why.
    Refused(Refusal),
    /// DEL: the address that the pod had.
    Released {
        /// The address.
        address: Ipv4Addr,
        /// The device index of the interface that carries it.
        device_index: u32,
    },
    /// DEL: nothing is held under this key.
    UnknownPod,
}

/// Something that people or machines should see; the shell turns it into a log line, a metric, an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A decision and its reason, for the decision log.
    Decision {
        /// What was decided.
        what: Choice,
        /// Why, with the figures.
        why: Reason,
    },
    /// An ADD waits for an address; sent when it starts to wait.
    Waiting {
        /// The pod.
        pod: Option<PodKey>,
        /// What it waits for.
        refusal: Refusal,
    },
    /// An impossible or unexplained state was met and contained.
    Alarm {
        /// What was found.
        what: String,
        /// What was done about it.
        contained: String,
    },
}
