//! Tables, chains and rules as values.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freeboard_address::Cidr;

use super::node::PortRandomisation;

/// A table of the IPv4 family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Sets of address blocks that its rules look up.
    pub sets: Vec<AddressSet>,
    /// Its chains; one that is jumped to stands before the chain that jumps.
    pub chains: Vec<Chain>,
}

/// A named set of address blocks; blocks may overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet {
    /// Its name, for [`Rule::to_set`].
    pub name: String,
    /// The blocks.
    pub blocks: BTreeSet<Cidr>,
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it; none for a chain that is only jumped to.
    pub base: Option<BaseChain>,
    /// Its rules, in order. A packet that passes all of them is accepted.
    pub rules: Vec<Rule>,
}

/// Where packets enter a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// What the chain may do.
    pub kind: ChainKind,
    /// At which point of a packet's way.
    pub hook: Hook,
    /// Its place among the chains there; lower is earlier.
    pub priority: i32,
}

/// What a chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// See every packet.
    Filter,
    /// Translate addresses; sees only the first packet of each connection.
    Nat,
}

/// A point of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before the routing decision.
    Prerouting,
    /// To the host itself.
    Input,
    /// Through the host.
    Forward,
    /// From the host itself.
    Output,
    /// After the routing decision.
    Postrouting,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A rule: conditions and then what to do, in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// For people, and to find the rule's counter again; at most 250 bytes are kept.
    pub comment: String,
    pub(super) expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    InputInterface { name: String, is: bool },
    OutputInterface { name: String, is: bool },
    AddressInSet { address: AddressField, set: String, is: bool },
    AddressInBlock { address: AddressField, block: Cidr },
    DestinationIsLocal { is: bool },
    DestinationIsLocalOnInput,
    ConnectionStateIn(u32),
    ConnectionMarkHas { bits: u32, is: bool },
    ProtocolIs(Protocol),
    DestinationPortIs(u16),
    Counter,
    SetConnectionMark { bits: u32 },
    SetMark { bits: u32, clear: bool },
    Verdict { code: i32, chain: Option<String> },
    Masquerade,
    SourceNat { address: Ipv4Addr, ports: PortRandomisation },
    DestinationNat { address: Ipv4Addr, port: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressField {
    Source,
    Destination,
}

/// Connection tracking's bits for the states of a packet.
const STATE_INVALID: u32 = 1;
const STATE_NEW: u32 = 8;

impl Rule {
    /// A rule without conditions that does nothing yet.
    #[must_use]
    pub fn new(comment: impl Into<String>) -> Self {
        Self { comment: comment.into(), expressions: Vec::new() }
    }

    fn and(mut self, expression: Expression) -> Self {
        self.expressions.push(expression);
        self
    }

    /// Only packets that came in on this link; a name that ends in `*` means every link that starts so.
    #[must_use]
    pub fn input_interface(self, name: &str) -> Self {
        self.and(Expression::InputInterface { name: name.to_owned(), is: true })
    }

    /// Only packets that came in on another link.
    #[must_use]
    pub fn input_interface_not(self, name: &str) -> Self {
        self.and(Expression::InputInterface { name: name.to_owned(), is: false })
    }

    /// Only packets that go out on this link.
    #[must_use]
    pub fn output_interface(self, name: &str) -> Self {
        self.and(Expression::OutputInterface { name: name.to_owned(), is: true })
    }

    /// Only packets that go out on another link.
    #[must_use]
    pub fn output_interface_not(self, name: &str) -> Self {
        self.and(Expression::OutputInterface { name: name.to_owned(), is: false })
    }

    /// Only packets to an address in the set.
    #[must_use]
    pub fn to_set(self, set: &str) -> Self {
        self.and(Expression::AddressInSet { address: AddressField::Destination, set: set.to_owned(), is: true })
    }

    /// Only packets to an address that is not in the set.
    #[must_use]
    pub fn not_to_set(self, set: &str) -> Self {
        self.and(Expression::AddressInSet { address: AddressField::Destination, set: set.to_owned(), is: false })
    }

    /// Only packets from an address in the set.
    #[must_use]
    pub fn from_set(self, set: &str) -> Self {
        self.and(Expression::AddressInSet { address: AddressField::Source, set: set.to_owned(), is: true })
    }

    /// Only packets from an address that is not in the set.
    #[must_use]
    pub fn not_from_set(self, set: &str) -> Self {
        self.and(Expression::AddressInSet { address: AddressField::Source, set: set.to_owned(), is: false })
    }

    /// Only packets to this block.
    #[must_use]
    pub fn to_block(self, block: Cidr) -> Self {
        self.and(Expression::AddressInBlock { address: AddressField::Destination, block })
    }

    /// Only packets from this block.
    #[must_use]
    pub fn from_block(self, block: Cidr) -> Self {
        self.and(Expression::AddressInBlock { address: AddressField::Source, block })
    }

    /// Only packets to an address of the host.
    #[must_use]
    pub fn destination_is_local(self) -> Self {
        self.and(Expression::DestinationIsLocal { is: true })
    }

    /// Only packets to an address that is not the host's.
    #[must_use]
    pub fn destination_is_not_local(self) -> Self {
        self.and(Expression::DestinationIsLocal { is: false })
    }

    /// Only packets to an address of the link by which they came.
    #[must_use]
    pub fn destination_is_local_on_input(self) -> Self {
        self.and(Expression::DestinationIsLocalOnInput)
    }

    /// Only packets that open a connection.
    #[must_use]
    pub fn connection_is_new(self) -> Self {
        self.and(Expression::ConnectionStateIn(STATE_NEW))
    }

    /// Only packets that open a connection or belong to none.
    #[must_use]
    pub fn connection_is_new_or_invalid(self) -> Self {
        self.and(Expression::ConnectionStateIn(STATE_NEW | STATE_INVALID))
    }

    /// Only packets of connections whose mark has one of these bits.
    #[must_use]
    pub fn connection_mark_has(self, bits: u32) -> Self {
        self.and(Expression::ConnectionMarkHas { bits, is: true })
    }

    /// Only packets of connections whose mark has none of these bits.
    #[must_use]
    pub fn connection_mark_lacks(self, bits: u32) -> Self {
        self.and(Expression::ConnectionMarkHas { bits, is: false })
    }

    /// Only packets of this protocol.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.and(Expression::ProtocolIs(protocol))
    }

    /// Only packets to this port; stands after [`Self::protocol`].
    #[must_use]
    pub fn destination_port(self, port: u16) -> Self {
        self.and(Expression::DestinationPortIs(port))
    }

    /// Counts the packets that come this far.
    #[must_use]
    pub fn counter(self) -> Self {
        self.and(Expression::Counter)
    }

    /// Sets these bits in the connection's mark and leaves the others.
    #[must_use]
    pub fn set_connection_mark(self, bits: u32) -> Self {
        self.and(Expression::SetConnectionMark { bits })
    }

    /// Sets these bits in the packet's mark and leaves the others.
    #[must_use]
    pub fn set_mark(self, bits: u32) -> Self {
        self.and(Expression::SetMark { bits, clear: false })
    }

    /// Clears these bits in the packet's mark and leaves the others.
    #[must_use]
    pub fn clear_mark(self, bits: u32) -> Self {
        self.and(Expression::SetMark { bits, clear: true })
    }

    /// Lets the packet pass this chain.
    #[must_use]
    pub fn accept(self) -> Self {
        self.and(Expression::Verdict { code: super::kernel::VERDICT_ACCEPT, chain: None })
    }

    /// Drops the packet.
    #[must_use]
    pub fn drop(self) -> Self {
        self.and(Expression::Verdict { code: super::kernel::VERDICT_DROP, chain: None })
    }

    /// Leaves the chain.
    #[must_use]
    pub fn return_to_caller(self) -> Self {
        self.and(Expression::Verdict { code: super::kernel::VERDICT_RETURN, chain: None })
    }

    /// Goes through another chain of the table first.
    #[must_use]
    pub fn jump(self, chain: &str) -> Self {
        self.and(Expression::Verdict { code: super::kernel::VERDICT_JUMP, chain: Some(chain.to_owned()) })
    }

    /// Gives the connection an address of the host as its source, one that suits the link by which it leaves.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.and(Expression::Masquerade)
    }

    /// Gives the connection this source address.
    #[must_use]
    pub fn source_nat(self, address: Ipv4Addr, ports: PortRandomisation) -> Self {
        self.and(Expression::SourceNat { address, ports })
    }

    /// Sends the connection to this address and port.
    #[must_use]
    pub fn destination_nat(self, address: Ipv4Addr, port: u16) -> Self {
        self.and(Expression::DestinationNat { address, port })
    }
}

impl AddressSet {
    /// The blocks as disjoint runs of first and last address, in order; adjacent runs are one.
    pub(super) fn runs(&self) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        // The order of blocks is by first address, then from the wider to the narrower.
        for block in &self.blocks {
            let (first, last) = (u32::from(block.network()), u32::from(block.last()));
            match runs.last_mut() {
                Some(run) if first <= run.1.saturating_add(1) => run.1 = run.1.max(last),
                _ => runs.push((first, last)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_and_adjacent_blocks_are_one_run() {
        let blocks = ["10.0.0.0/16", "10.0.208.0/27", "10.1.0.0/16", "100.64.0.0/20", "255.0.0.0/8"];
        let set = AddressSet { name: "x".to_owned(), blocks: blocks.iter().map(|b| b.parse().unwrap()).collect() };
        let runs: Vec<String> = set
            .runs()
            .iter()
            .map(|(first, last)| format!("{}-{}", Ipv4Addr::from(*first), Ipv4Addr::from(*last)))
            .collect();
        assert_eq!(runs, ["10.0.0.0-10.1.255.255", "100.64.0.0-100.64.15.255", "255.0.0.0-255.255.255.255"]);
    }
}
