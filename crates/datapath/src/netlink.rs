//! Route netlink: links, addresses, routes, rules and neighbours as typed values, sent in batches.

mod batch;
mod facts;
mod kernel;
mod request;
mod socket;
mod transport;

pub use batch::Outcome;
pub use facts::{InterfaceAddress, Link, Neighbour, Route, Rule, Scope};
pub use request::{Request, RuleSelector, Veth, VethEnd};
pub use socket::RouteSocket;
pub(crate) use transport::{Answer, REQUEST_ACKNOWLEDGED, Transport};
