//! The route netlink socket.

use netlink_sys::protocols::NETLINK_ROUTE;

use super::batch::{Outcome, send};
use super::facts::{InterfaceAddress, Link, Neighbour, Route, Rule};
use super::kernel as k;
use super::request::Request;
use super::transport::Transport;
use crate::wire::Writer;
use crate::{DatapathError, NetworkNamespace};

/// A route netlink socket. It stays in the namespace in which it was opened, whatever its thread does later.
#[derive(Debug)]
pub struct RouteSocket {
    transport: Transport,
}

impl RouteSocket {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// [`DatapathError::Io`] when the kernel refuses.
    pub fn open() -> Result<Self, DatapathError> {
        let transport = Transport::open(NETLINK_ROUTE)?;
        transport.check_strictly();
        Ok(Self { transport })
    }

    /// Opens a socket in another namespace; the calling thread is back in its own when this returns.
    ///
    /// # Errors
    /// [`DatapathError::NoNamespace`] when it cannot be entered, [`DatapathError::Io`] when the kernel refuses the socket.
    pub fn open_in(namespace: &NetworkNamespace) -> Result<Self, DatapathError> {
        namespace.run(Self::open)?
    }

    /// Sends all requests, in one system call per 64, and says what became of each. A refusal does not stop those after it.
    ///
    /// # Errors
    /// Only when the socket itself fails.
    pub fn send(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, DatapathError> {
        send(&mut self.transport, requests)
    }

    /// Sends all requests and fails with every refusal, each naming its request.
    ///
    /// # Errors
    /// [`DatapathError::Refused`], or [`DatapathError::Several`] of them.
    pub fn execute(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, DatapathError> {
        let outcomes = self.send(requests)?;
        let mut errors = Vec::new();
        for (request, outcome) in requests.iter().zip(&outcomes) {
            if let Outcome::Refused { errno, explanation } = outcome {
                errors.push(DatapathError::Refused {
                    request: request.to_string(),
                    errno: *errno,
                    explanation: explanation.clone(),
                });
            }
        }
        DatapathError::collected(errors)?;
        Ok(outcomes)
    }

    /// The link of this name, if there is one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, DatapathError> {
        let outcomes = self.execute(&[Request::GetLink(name.to_owned())])?;
        Ok(outcomes.into_iter().find_map(|outcome| match outcome {
            Outcome::Link(link) => Some(link),
            Outcome::Done | Outcome::Unchanged | Outcome::Route(_) | Outcome::Refused { .. } => None,
        }))
    }

    /// Every link.
    ///
    /// # Errors
    /// When the kernel refuses, or the list changed during five readings.
    pub fn links(&mut self) -> Result<Vec<Link>, DatapathError> {
        let body = |w: &mut Writer| {
            w.raw(&[0; 16]);
            w.number(k::IFLA_EXT_MASK, k::EXT_MASK_SKIP_STATISTICS);
        };
        self.transport.dump("links", k::GET_LINK, body, Link::read)
    }

    /// Every IPv4 address, or those of one link.
    ///
    /// # Errors
    /// As [`Self::links`].
    pub fn addresses(&mut self, interface: Option<u32>) -> Result<Vec<InterfaceAddress>, DatapathError> {
        let body = |w: &mut Writer| {
            w.raw(&[k::FAMILY_IPV4, 0, 0, 0]);
            w.raw(&interface.unwrap_or(0).to_ne_bytes());
        };
        let read = |payload: &[u8]| {
            InterfaceAddress::read(payload).filter(|a| interface.is_none_or(|wanted| wanted == a.interface))
        };
        self.transport.dump("addresses", k::GET_ADDRESS, body, read)
    }

    /// Every unicast IPv4 route of one table.
    ///
    /// # Errors
    /// As [`Self::links`].
    pub fn routes(&mut self, table: u32) -> Result<Vec<Route>, DatapathError> {
        let body = |w: &mut Writer| {
            w.raw(&[k::FAMILY_IPV4, 0, 0, 0, 0, 0, 0, k::ROUTE_UNICAST]);
            w.raw(&[0; 4]);
            w.number(k::RTA_TABLE, table);
        };
        let read = |payload: &[u8]| Route::read(payload).filter(|route| route.table == table);
        self.transport.dump("routes", k::GET_ROUTE, body, read)
    }

    /// Every IPv4 policy rule that looks up a table.
    ///
    /// # Errors
    /// As [`Self::links`].
    pub fn rules(&mut self) -> Result<Vec<Rule>, DatapathError> {
        let body = |w: &mut Writer| {
            w.raw(&[k::FAMILY_IPV4, 0, 0, 0, 0, 0, 0, 0]);
            w.raw(&[0; 4]);
        };
        self.transport.dump("policy rules", k::GET_RULE, body, Rule::read)
    }

    /// Every permanent IPv4 neighbour of one link.
    ///
    /// # Errors
    /// As [`Self::links`].
    pub fn permanent_neighbours(&mut self, interface: u32) -> Result<Vec<Neighbour>, DatapathError> {
        let body = |w: &mut Writer| {
            w.raw(&[k::FAMILY_IPV4, 0, 0, 0]);
            w.raw(&[0; 8]);
        };
        let read = |payload: &[u8]| Neighbour::read(payload).filter(|n| n.interface == interface);
        self.transport.dump("neighbours", k::GET_NEIGHBOUR, body, read)
    }
}
