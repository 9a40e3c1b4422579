//! Host ports: connections to a port of the node that go on to a pod.
//!
//! Each pod that has some gets one nf_tables table, named by the pod's address and replaced or removed as a whole, like the rules
//! on the address: whoever removes those removes it too, so no port of an earlier pod leads to a later one.

use std::net::Ipv4Addr;

use freeboard_address::Cidr;

use crate::nft::{BaseChain, Chain, ChainKind, Hook, NftSocket, Protocol, Rule, Table};
use crate::{DatapathError, conntrack, sysctl};

/// The start of the tables' names; the pod's address follows.
const TABLE_PREFIX: &str = "freeboard-ports-";
/// Before connection tracking, which turns the answers to a connection from the node's loopback address back.
const RAW_PRIORITY: i32 = -300;
const DESTINATION_NAT_PRIORITY: i32 = -100;
const SOURCE_NAT_PRIORITY: i32 = 100;

/// A port of the node that leads to a pod: an entry of the CNI capability `portMappings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port of the node.
    pub host_port: u16,
    /// The port of the pod.
    pub container_port: u16,
    /// The only address of the node whose port leads to the pod; every one when there is none.
    pub host_address: Option<Ipv4Addr>,
}

/// What makes a node's ports lead to a pod.
pub(crate) fn table(pod: Ipv4Addr, host_interface: &str, ports: &[HostPort]) -> Table {
    let chain = |name: &str, kind, hook, priority, rules| {
        let base = Some(BaseChain { kind, hook, priority });
        Chain { name: name.to_owned(), base, rules }
    };
    let lead: Vec<Rule> = ports.iter().map(|port| lead(pod, port)).collect();
    let answers = [
        ("the pod calls itself by a port of the node", Cidr::host(pod)),
        ("the node calls by its loopback address", loopback()),
    ];
    let answers = answers.map(|(why, source)| Rule::new(why).from_block(source).to_block(Cidr::host(pod)).masquerade());
    // With the setting that lets loopback addresses through, the pod could call what listens on the node's loopback alone.
    let guard = Rule::new("the node's loopback addresses are not for the pod");
    let guard = guard.input_interface(host_interface).to_block(loopback()).counter().drop();
    Table {
        name: table_name(pod),
        sets: Vec::new(),
        chains: vec![
            chain("guard", ChainKind::Filter, Hook::Prerouting, RAW_PRIORITY, vec![guard]),
            chain("prerouting", ChainKind::Nat, Hook::Prerouting, DESTINATION_NAT_PRIORITY, lead.clone()),
            chain("output", ChainKind::Nat, Hook::Output, DESTINATION_NAT_PRIORITY, lead),
            chain("postrouting", ChainKind::Nat, Hook::Postrouting, SOURCE_NAT_PRIORITY, answers.to_vec()),
        ],
    }
}

/// Makes the ports lead to the pod, whose host interface exists.
pub(crate) fn open(pod: Ipv4Addr, host_interface: &str, ports: &[HostPort]) -> Result<(), DatapathError> {
    // Without it the kernel drops what goes from the node's loopback address to another machine, as a pod is one.
    sysctl::ensure(&format!("net/ipv4/conf/{host_interface}/route_localnet"), "1")?;
    NftSocket::open()?.ensure(&table(pod, host_interface, ports))?;
    let udp = ports.iter().filter(|port| port.protocol == Protocol::Udp).map(|port| port.host_port);
    conntrack::forget_udp(&udp.collect());
    Ok(())
}

/// Removes the ports of every pod that had one of these addresses; an address without ports costs one look.
pub(crate) fn close(addresses: &[Ipv4Addr]) -> Result<(), DatapathError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut socket = NftSocket::open()?;
    for address in addresses {
        let name = table_name(*address);
        if socket.has(&name)? {
            socket.remove(&name)?;
        }
    }
    Ok(())
}

/// What of the ports is missing, as a phrase.
pub(crate) fn missing(
    pod: Ipv4Addr,
    host_interface: &str,
    ports: &[HostPort],
) -> Result<Option<String>, DatapathError> {
    if ports.is_empty() {
        return Ok(None);
    }
    let table = table(pod, host_interface, ports);
    let is_right = NftSocket::open()?.is_as(&table)?;
    Ok((!is_right).then(|| format!("table ip {} with the pod's host ports", table.name)))
}

/// The pods that have host ports, each with the name of its table.
///
/// # Errors
/// When the kernel refuses, or keeps changing while it is read.
pub fn ports_of_pods(socket: &mut NftSocket) -> Result<Vec<(Ipv4Addr, String)>, DatapathError> {
    let pod = |table: &String| table.strip_prefix(TABLE_PREFIX)?.parse().ok();
    Ok(socket.tables()?.into_iter().filter_map(|table| Some((pod(&table)?, table))).collect())
}

fn table_name(pod: Ipv4Addr) -> String {
    format!("{TABLE_PREFIX}{pod}")
}

fn lead(pod: Ipv4Addr, port: &HostPort) -> Rule {
    let rule = Rule::new(format!("port {} of the node", port.host_port));
    let rule = match port.host_address {
        Some(address) => rule.to_block(Cidr::host(address)),
        None => rule.destination_is_local(),
    };
    rule.protocol(port.protocol).destination_port(port.host_port).counter().destination_nat(pod, port.container_port)
}

fn loopback() -> Cidr {
    Cidr::containing(Ipv4Addr::LOCALHOST, 8).unwrap_or_else(|_| Cidr::host(Ipv4Addr::LOCALHOST))
}
