//! Why a world file makes no sense.

use freeboard_address::Cidr;

use crate::error::ApiError;
use crate::faults::FaultError;

/// Why a world file makes no sense; each text quotes the offending values and says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// A number that is out of range.
    #[error("{key} is {value}: expected {expected}")]
    OutOfRange {
        /// The key.
        key: String,
        /// Its value as text.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Two things with the same id.
    #[error("the id {id} is used twice ({first}, {second}): ids are unique in a world")]
    DuplicateId {
        /// The id.
        id: String,
        /// What has it.
        first: &'static str,
        /// What was to get it.
        second: &'static str,
    },
    /// An id with the wrong prefix or characters.
    #[error("{kind} id {id:?} is malformed: expected {prefix}- and 8 or 17 hexadecimal digits")]
    MalformedId {
        /// The text.
        id: String,
        /// What it should name.
        kind: &'static str,
        /// The right prefix.
        prefix: &'static str,
    },
    /// A reference to nothing.
    #[error("{place} names the {kind} {id}, but the world has none with that id")]
    Unknown {
        /// Who refers.
        place: String,
        /// To what kind of thing.
        kind: &'static str,
        /// Under which id or name.
        id: String,
    },
    /// A subnet that reaches outside its VPC.
    #[error("subnet {subnet} has {cidr}, which lies in no block of {vpc} ({blocks})")]
    SubnetOutsideVpc {
        /// The subnet.
        subnet: String,
        /// Its block.
        cidr: Cidr,
        /// The VPC.
        vpc: String,
        /// The VPC's blocks.
        blocks: String,
    },
    /// Two blocks that share addresses.
    #[error("{first} ({first_cidr}) and {second} ({second_cidr}) overlap")]
    Overlap {
        /// The one.
        first: String,
        /// Its block.
        first_cidr: Cidr,
        /// The other.
        second: String,
        /// Its block.
        second_cidr: Cidr,
    },
    /// An instance type that does not exist.
    #[error("instance {instance} has the type {name:?}, which is not one of the {known} known types{}", suggestion(.near))]
    UnknownInstanceType {
        /// The instance.
        instance: String,
        /// The name.
        name: String,
        /// How many types are known.
        known: usize,
        /// Names that are nearly the same.
        near: Vec<String>,
    },
    /// An instance without an interface.
    #[error("instance {0} has no interface: expected at least one, the first being device 0")]
    NoInterface(String),
    /// Something that the cloud's own rules refuse.
    #[error("{place}: {error}")]
    Refused {
        /// What was to be made.
        place: String,
        /// The cloud's refusal.
        error: ApiError,
    },
    /// A scheduled fault that makes no sense.
    #[error("fault {index} (counted from 1): {error}")]
    Fault {
        /// Its place in the list.
        index: usize,
        /// Why.
        error: FaultError,
    },
}

fn suggestion(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(": did you mean {}?", near.join(" or ")) }
}
