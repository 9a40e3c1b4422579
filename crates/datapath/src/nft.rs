//! Packet filter tables as values, written by nf_tables netlink: one batch replaces a whole table or changes nothing.

mod encode;
mod incumbent;
mod kernel;
mod node;
mod socket;
mod table;

pub(crate) use encode::family_header;
pub use incumbent::{Leftovers, find_leftovers, remove_leftovers};
pub(crate) use kernel::FAMILY_IPV4;
pub use node::{NODE_TABLE, NodeNat, PortRandomisation};
pub use socket::{NftSocket, RuleCounter};
pub use table::{AddressSet, BaseChain, Chain, ChainKind, Hook, Protocol, Rule, Table};
