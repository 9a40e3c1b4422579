//! One pod: set up, checked, torn down.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use freeboard_address::{Cidr, MacAddress, PodKey};
use freeboard_datapath::names::{MAIN_TABLE, host_interface};
use freeboard_datapath::netlink::{InterfaceAddress, Request, RouteSocket, Rule};
use freeboard_datapath::nft::{NftSocket, Protocol};
use freeboard_datapath::{DatapathError, HostPort, PodNetwork, PodRemains};

use crate::sandbox::{Pinned, Test};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 208, 9);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 208, 4);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("a_pod_is_set_up_checked_and_torn_down", a_pod_is_set_up_checked_and_torn_down),
        ("a_pod_and_its_host_exchange_packets", a_pod_and_its_host_exchange_packets),
        ("stale_rules_of_the_address_are_removed_first", stale_rules_of_the_address_are_removed_first),
        ("a_pod_of_the_same_name_replaces_the_old_link", a_pod_of_the_same_name_replaces_the_old_link),
        ("a_failed_set_up_leaves_nothing", a_failed_set_up_leaves_nothing),
        ("a_sandbox_that_is_gone_is_refused_before_anything_changes", a_sandbox_that_is_gone_is_refused),
        ("tearing_down_twice_is_no_error", tearing_down_twice_is_no_error),
        ("what_another_pod_has_by_now_is_left_alone", what_another_pod_has_by_now_is_left_alone),
        ("a_disconnected_sandbox_is_connected_again", a_disconnected_sandbox_is_connected_again),
        ("the_sandbox_says_what_is_its_own", the_sandbox_says_what_is_its_own),
        ("a_check_names_every_difference", a_check_names_every_difference),
        ("a_udp_port_of_the_node_leads_to_the_pod_also_in_a_flow_that_runs", a_udp_port_leads_to_the_pod),
    ]
}

pub(crate) fn pod(sandbox: &Pinned, name: &str, address: Ipv4Addr, table: u32) -> PodNetwork {
    PodNetwork {
        host_interface: host_interface("eni", &PodKey::new("default", name)),
        pod_interface: "eth0".to_owned(),
        namespace: sandbox.path(),
        address,
        table,
        mtu_bytes: 9001,
        host_mac: MacAddress::new([2, 0, 0, 0, 0, 1]),
        pod_mac: MacAddress::new([2, 0, 0, 0, 0, 2]),
        host_ports: Vec::new(),
    }
}

/// Links, main routes and rules: enough to see that something changed.
fn everything() -> (usize, usize, Vec<Rule>) {
    let mut socket = RouteSocket::open().unwrap();
    (socket.links().unwrap().len(), socket.routes(MAIN_TABLE).unwrap().len(), socket.rules().unwrap())
}

fn a_pod_is_set_up_checked_and_torn_down() {
    let sandbox = Pinned::new();
    let before = everything();
    let network = pod(&sandbox, "web", ADDRESS, 2);
    network.set_up().unwrap();
    network.check().unwrap();
    let mut socket = RouteSocket::open().unwrap();
    let link = socket.link(&network.host_interface).unwrap().unwrap();
    assert_eq!((link.mac, link.mtu_bytes, link.is_up), (Some(network.host_mac), 9001, true));
    let block = Cidr::host(ADDRESS);
    let rules = socket.rules().unwrap();
    assert!(rules.contains(&Rule::to_block(block, MAIN_TABLE, 512)), "{rules:?}");
    assert!(rules.contains(&Rule::from_block(block, 2, 1536)), "{rules:?}");
    network.remains().tear_down().unwrap();
    assert_eq!(everything(), before);
}

/// Gives the host an address of its own, on its loopback link.
fn address_the_host() {
    let mut socket = RouteSocket::open().unwrap();
    let loopback = socket.link("lo").unwrap().unwrap().index;
    let host_address =
        InterfaceAddress { interface: loopback, address: HOST, prefix_length: 32, connected_route: true };
    let requests = [Request::SetLinkUp { index: loopback, mtu_bytes: None }, Request::AddAddress(host_address)];
    socket.execute(&requests).unwrap();
}

fn patient(socket: UdpSocket) -> UdpSocket {
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// A flow that began before the pod came is tracked as one to the host itself, and would go on there.
fn a_udp_port_leads_to_the_pod() {
    address_the_host();
    let port = |host_port| HostPort { protocol: Protocol::Udp, host_port, container_port: 53, host_address: None };
    // Its table makes the kernel track connections.
    let other = Pinned::new();
    let earlier = pod(&other, "earlier", Ipv4Addr::new(10, 0, 208, 10), MAIN_TABLE);
    PodNetwork { host_ports: vec![port(5454)], ..earlier }.set_up().unwrap();
    let client = patient(UdpSocket::bind((HOST, 0)).unwrap());
    client.send_to(b"lost", (HOST, 5353)).unwrap();

    let sandbox = Pinned::new();
    let network = PodNetwork { host_ports: vec![port(5353)], ..pod(&sandbox, "web", ADDRESS, MAIN_TABLE) };
    network.set_up().unwrap();
    network.check().unwrap();
    let server = patient(sandbox.run(|| UdpSocket::bind((ADDRESS, 53))).unwrap());
    // The socket may still have the refusal of the first packet to report.
    while client.send_to(b"ping", (HOST, 5353)).is_err() {}
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"ping");
    server.send_to(b"pong", from).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 4);

    network.remains().tear_down().unwrap();
    assert_eq!(NftSocket::open().unwrap().tables().unwrap(), ["freeboard-ports-10.0.208.10"]);
    assert!(network.check().is_err());
}

fn a_pod_and_its_host_exchange_packets() {
    let sandbox = Pinned::new();
    pod(&sandbox, "web", ADDRESS, MAIN_TABLE).set_up().unwrap();
    address_the_host();
    let server = patient(sandbox.run(|| UdpSocket::bind((ADDRESS, 7))).unwrap());
    let client = patient(UdpSocket::bind((HOST, 0)).unwrap());
    client.send_to(b"ping", (ADDRESS, 7)).unwrap();
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"ping");
    server.send_to(b"pong", from).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 4);
}

fn stale_rules_of_the_address_are_removed_first() {
    let sandbox = Pinned::new();
    let block = Cidr::host(ADDRESS);
    let stale = [
        Rule::from_block(block, 7, 1536),
        Rule::from_block(block, 8, 1536),
        Rule::from_block(block, 10_101, 1000),
        Rule::to_block(block, 9, 512),
    ];
    let other = Rule::from_block(Cidr::host(Ipv4Addr::new(10, 0, 208, 10)), 7, 1536);
    let mut socket = RouteSocket::open().unwrap();
    let requests: Vec<Request> = stale.iter().chain([&other]).cloned().map(Request::AddRule).collect();
    socket.execute(&requests).unwrap();
    pod(&sandbox, "web", ADDRESS, 3).set_up().unwrap();
    let rules = socket.rules().unwrap();
    let of_address: Vec<_> = rules.iter().filter(|r| r.from == Some(block) || r.to == Some(block)).collect();
    assert_eq!(of_address, [&Rule::to_block(block, MAIN_TABLE, 512), &Rule::from_block(block, 3, 1536)]);
    assert!(rules.contains(&other));
}

fn a_pod_of_the_same_name_replaces_the_old_link() {
    let (old, new) = (Pinned::new(), Pinned::new());
    pod(&old, "web-0", ADDRESS, 2).set_up().unwrap();
    let second = pod(&new, "web-0", Ipv4Addr::new(10, 0, 208, 10), 2);
    second.set_up().unwrap();
    second.check().unwrap();
    assert!(old.run(|| RouteSocket::open().unwrap().link("eth0").unwrap()).is_none());
}

fn a_failed_set_up_leaves_nothing() {
    let sandbox = Pinned::new();
    let before = everything();
    // The kernel refuses a veth of this MTU.
    let network = PodNetwork { mtu_bytes: 70_000, ..pod(&sandbox, "web", ADDRESS, 2) };
    let message = network.set_up().unwrap_err().to_string();
    assert!(message.contains(&format!("make the veth pair {} and eth0", network.host_interface)), "{message}");
    assert_eq!(everything(), before);
    // The name is taken in the sandbox.
    let taken = PodNetwork { pod_interface: "lo".to_owned(), ..pod(&sandbox, "web", ADDRESS, 2) };
    let message = taken.set_up().unwrap_err().to_string();
    assert!(message.contains("\"lo\""), "{message}");
    assert_eq!(everything(), before);
}

fn a_sandbox_that_is_gone_is_refused() {
    let sandbox = Pinned::new();
    let before = everything();
    let gone = PodNetwork { namespace: "/run/netns/gone".into(), ..pod(&sandbox, "web", ADDRESS, 2) };
    let error = gone.set_up().unwrap_err();
    assert!(matches!(error, DatapathError::NoNamespace { .. }) && error.to_string().contains("/run/netns/gone"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let wrong = PodNetwork { namespace: file.path().to_owned(), ..pod(&sandbox, "web", ADDRESS, 2) };
    assert!(matches!(wrong.set_up().unwrap_err(), DatapathError::NoNamespace { .. }));
    assert_eq!(everything(), before);
}

fn tearing_down_twice_is_no_error() {
    let sandbox = Pinned::new();
    let network = pod(&sandbox, "web", ADDRESS, 2);
    network.remains().tear_down().unwrap();
    network.set_up().unwrap();
    network.remains().tear_down().unwrap();
    network.remains().tear_down().unwrap();
}

fn a_check_names_every_difference() {
    let sandbox = Pinned::new();
    let network = pod(&sandbox, "web", ADDRESS, 2);
    network.set_up().unwrap();
    let moved = PodNetwork { table: 3, address: Ipv4Addr::new(10, 0, 208, 10), ..network.clone() };
    let message = moved.check().unwrap_err().to_string();
    for part in ["route 10.0.208.10/32", "from 10.0.208.10/32 look up 3", "address 10.0.208.10/32 on eth0"] {
        assert!(message.contains(part), "{message}");
    }
    network.remains().tear_down().unwrap();
    let message = network.check().unwrap_err().to_string();
    assert!(message.contains("link eth0 in the sandbox"), "{message}");
}

fn what_another_pod_has_by_now_is_left_alone() {
    let (old, new) = (Pinned::new(), Pinned::new());
    let first = pod(&old, "web", ADDRESS, 2);
    first.set_up().unwrap();
    first.remains().tear_down().unwrap();
    // The same address for another pod, then the same pod name in another sandbox: the late second DEL of the first pod.
    let second = pod(&new, "db", ADDRESS, 2);
    second.set_up().unwrap();
    first.remains().tear_down().unwrap();
    second.check().unwrap();
    let third = pod(&old, "web", Ipv4Addr::new(10, 0, 208, 10), 2);
    third.set_up().unwrap();
    first.remains().tear_down().unwrap();
    second.check().unwrap();
    third.check().unwrap();
}

fn the_sandbox_says_what_is_its_own() {
    let (old, new) = (Pinned::new(), Pinned::new());
    let network = pod(&new, "web", ADDRESS, 2);
    network.set_up().unwrap();
    let found = PodRemains::from_sandbox(&new.path(), "eth0", &network.host_interface).unwrap();
    assert_eq!(found, Some(network.remains()));
    assert_eq!(PodRemains::from_sandbox(&old.path(), "eth0", &network.host_interface).unwrap(), None);
    assert_eq!(PodRemains::from_sandbox(&new.path(), "lo", &network.host_interface).unwrap(), None);
}

fn a_disconnected_sandbox_is_connected_again() {
    let sandbox = Pinned::new();
    let (_, routes, rules) = everything();
    let network = pod(&sandbox, "web", ADDRESS, 2);
    network.set_up().unwrap();
    network.remains().disconnect().unwrap();
    assert_eq!((everything().1, everything().2), (routes, rules));
    let again = PodNetwork { address: Ipv4Addr::new(10, 0, 208, 10), ..network };
    again.set_up().unwrap();
    again.check().unwrap();
}
