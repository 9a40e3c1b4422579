//! The node's own table: source NAT for traffic that leaves the VPC, and marks that bring its answers back the same way.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freeboard_address::Cidr;

use super::table::{AddressSet, BaseChain, Chain, ChainKind, Hook, Rule, Table};

/// The name of the node's table.
pub const NODE_TABLE: &str = "freeboard";
/// The set of destinations that see pods' own addresses.
const INSIDE: &str = "inside";
/// Links of pods with their own security groups (`vlan…`) keep their addresses.
const VLAN_LINKS: &str = "vlan*";
/// Before routing, early enough to mark a packet for the routing decision.
const MANGLE_PRIORITY: i32 = -150;
/// After destination NAT (-100), so that a service's address is a pod's by then.
const AFTER_DESTINATION_NAT_PRIORITY: i32 = -90;
const SOURCE_NAT_PRIORITY: i32 = 100;

/// How source ports are chosen when a connection's source address is changed (AWS_VPC_K8S_CNI_RANDOMIZESNAT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortRandomisation {
    /// The port is kept where it is free: `none`.
    None,
    /// By a hash of the connection: `hashrandom`.
    Hashed,
    /// By the kernel's random numbers: `prng`, the default.
    #[default]
    Random,
}

/// What the node's table is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNat {
    /// The name of the primary interface's link.
    pub primary_interface: String,
    /// The primary interface's primary address.
    pub primary_address: Ipv4Addr,
    /// Every block of the VPC.
    pub vpc_cidrs: BTreeSet<Cidr>,
    /// Further destinations that see pods' own addresses (AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS).
    pub excluded_cidrs: BTreeSet<Cidr>,
    /// The prefix of pods' host interfaces.
    pub veth_prefix: String,
    /// How source ports are chosen; none when something outside the node translates (AWS_VPC_K8S_CNI_EXTERNALSNAT).
    pub source_nat: Option<PortRandomisation>,
    /// Whether connections to node ports are marked (AWS_VPC_CNI_NODE_PORT_SUPPORT).
    pub node_port_support: bool,
    /// The mark bit.
    pub mark: u32,
}

impl NodeNat {
    /// The table; without a chain when nothing is to be done.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut sets = Vec::new();
        let mut chains = Vec::new();
        if let Some(ports) = self.source_nat {
            let blocks = self.vpc_cidrs.union(&self.excluded_cidrs).copied().collect();
            sets.push(AddressSet { name: INSIDE.to_owned(), blocks });
            chains.push(self.source_nat_chain(ports));
            chains.push(self.outbound_mark_chain());
        }
        if self.source_nat.is_some() || self.node_port_support {
            chains.push(self.mark_chain());
        }
        Table { name: NODE_TABLE.to_owned(), sets, chains }
    }

    /// Connections that leave the VPC get the primary address; those to the host itself and those of pods with their own
    /// security groups keep theirs.
    fn source_nat_chain(&self, ports: PortRandomisation) -> Chain {
        let translate = Rule::new("leave the VPC with the node's primary address")
            .not_to_set(INSIDE)
            .output_interface_not(VLAN_LINKS)
            .destination_is_not_local()
            .counter()
            .source_nat(self.primary_address, ports);
        chain("postrouting", ChainKind::Nat, Hook::Postrouting, SOURCE_NAT_PRIORITY, vec![translate])
    }

    /// The first packet of a pod's connection out of the VPC: it must leave by the primary interface, whose address it gets,
    /// also when the pod's address is a secondary interface's.
    fn outbound_mark_chain(&self) -> Chain {
        let from_pod = || Rule::new("leave the VPC by the primary interface").input_interface(&self.pod_links());
        let rules = vec![
            Rule::new("to the node itself").destination_is_local().return_to_caller(),
            from_pod().not_to_set(INSIDE).counter().set_connection_mark(self.mark).set_mark(self.mark),
        ];
        chain("outbound", ChainKind::Nat, Hook::Prerouting, AFTER_DESTINATION_NAT_PRIORITY, rules)
    }

    /// Every packet: one to a node port marks its connection, and one from a pod takes over its connection's mark, so that it
    /// goes where the connection's other packets go.
    fn mark_chain(&self) -> Chain {
        let mut rules = Vec::new();
        if self.node_port_support {
            let arrival = Rule::new("came to a node port by the primary interface")
                .input_interface(&self.primary_interface)
                .destination_is_local_on_input()
                .set_connection_mark(self.mark);
            rules.push(arrival);
        }
        rules.extend(self.take_over_mark(&self.pod_links()));
        if self.node_port_support {
            rules.extend(self.take_over_mark(VLAN_LINKS));
        }
        chain("mark", ChainKind::Filter, Hook::Prerouting, MANGLE_PRIORITY, rules)
    }

    /// Two rules stand for "copy the bit": copying between marks under a mask needs Linux 6.13.
    fn take_over_mark(&self, links: &str) -> [Rule; 2] {
        let rule = || Rule::new("take over the connection's mark").input_interface(links);
        [
            rule().connection_mark_has(self.mark).set_mark(self.mark),
            rule().connection_mark_lacks(self.mark).clear_mark(self.mark),
        ]
    }

    fn pod_links(&self) -> String {
        format!("{}*", self.veth_prefix)
    }
}

fn chain(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name: name.to_owned(), base: Some(BaseChain { kind, hook, priority }), rules }
}
