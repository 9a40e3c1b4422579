//! Packet filter tables: written, compared, and seen to do what they say to packets.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use freeboard_address::{Cidr, MacAddress};
use freeboard_datapath::names::{MAIN_TABLE, MARK_PRIORITY};
use freeboard_datapath::netlink::{
    InterfaceAddress, Request, Route, RouteSocket, Rule as PolicyRule, Scope, Veth, VethEnd,
};
use freeboard_datapath::nft::{
    AddressSet, BaseChain, Chain, ChainKind, Hook, NftSocket, NodeNat, PortRandomisation, Protocol, Rule, Table,
    find_leftovers, remove_leftovers,
};
use freeboard_datapath::{DatapathError, NetworkNamespace, sysctl};

use crate::pod::pod;
use crate::sandbox::{Pinned, Test};

const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 208, 4);
const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const PEER_IN_VPC: Ipv4Addr = Ipv4Addr::new(10, 0, 186, 5);
const POD: Ipv4Addr = Ipv4Addr::new(100, 64, 1, 21);
const POD_TABLE: u32 = 2;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("a_table_that_is_right_is_left_alone", a_table_that_is_right_is_left_alone),
        ("a_flushed_table_is_written_again", a_flushed_table_is_written_again),
        ("a_table_that_the_kernel_refuses_leaves_the_old_one", a_table_that_the_kernel_refuses_leaves_the_old_one),
        ("traffic_out_of_the_vpc_has_the_nodes_address", traffic_out_of_the_vpc_has_the_nodes_address),
        ("external_translation_keeps_the_pods_address", external_translation_keeps_the_pods_address),
        ("answers_of_a_node_port_go_back_by_the_primary_interface", answers_of_a_node_port_go_back),
        ("a_forward_chain_drops_and_counts", a_forward_chain_drops_and_counts),
        ("the_incumbents_rules_go_and_others_stay", the_incumbents_rules_go_and_others_stay),
    ]
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn node_nat() -> NodeNat {
    NodeNat {
        primary_interface: "eth0".to_owned(),
        primary_address: NODE,
        vpc_cidrs: BTreeSet::from([cidr("10.0.0.0/16"), cidr("100.64.0.0/20")]),
        excluded_cidrs: BTreeSet::from([cidr("192.168.0.0/16"), cidr("192.168.7.0/24")]),
        veth_prefix: "eni".to_owned(),
        source_nat: Some(PortRandomisation::Random),
        node_port_support: true,
        mark: 0x80,
    }
}

fn ensure(table: &Table) -> bool {
    NftSocket::open().unwrap().ensure(table).unwrap()
}

/// A node with `eth0`, whose other end is a host on the internet and in the VPC at once, and a pod on a second interface.
struct World {
    outside: Pinned,
    sandbox: Pinned,
}

fn world() -> World {
    let (outside, sandbox) = (Pinned::new(), Pinned::new());
    let mut node = RouteSocket::open().unwrap();
    let far = NetworkNamespace::open(&outside.path()).unwrap();
    for (name, last) in [("eth0", 1), ("eth1", 2)] {
        let end = |namespace| VethEnd { name: name.to_owned(), mac: MacAddress::new([2, 0, 0, 0, last, 1]), namespace };
        let mut far_end = end(Some(far.file().clone()));
        far_end.mac = MacAddress::new([2, 0, 0, 0, last, 2]);
        let veth = Veth { near: end(None), far: far_end, mtu_bytes: 1500 };
        node.execute(&[Request::AddVeth(veth)]).unwrap();
    }
    address(&mut node, "eth0", NODE);
    let second = index(&mut node, "eth1");
    node.execute(&[Request::SetLinkUp { index: second, mtu_bytes: None }]).unwrap();
    let default = |interface, table| Route { table, ..Route::on_link(cidr("0.0.0.0/0"), interface) };
    let routes = [default(index(&mut node, "eth0"), MAIN_TABLE), default(second, POD_TABLE)];
    node.execute(&routes.map(Request::ReplaceRoute)).unwrap();
    let mark = PolicyRule {
        priority: MARK_PRIORITY,
        from: None,
        to: None,
        mark: Some((0x80, 0x80)),
        input_interface: None,
        table: MAIN_TABLE,
    };
    node.execute(&[Request::AddRule(mark)]).unwrap();
    sysctl::ensure("net/ipv4/ip_forward", "1").unwrap();
    for link in ["all", "eth0", "eth1"] {
        sysctl::ensure(&format!("net/ipv4/conf/{link}/rp_filter"), "0").unwrap();
    }
    let mut far = RouteSocket::open_in(&far).unwrap();
    address(&mut far, "eth0", INTERNET);
    address(&mut far, "eth0", PEER_IN_VPC);
    let interface = index(&mut far, "eth0");
    let to_pod = Route {
        table: MAIN_TABLE,
        destination: Cidr::host(POD),
        gateway: Some(NODE),
        interface: Some(interface),
        scope: Scope::Universe,
    };
    let routes = [Route::on_link(Cidr::host(NODE), interface), to_pod];
    far.execute(&routes.map(Request::ReplaceRoute)).unwrap();
    pod(&sandbox, "web", POD, POD_TABLE).set_up().unwrap();
    World { outside, sandbox }
}

fn index(socket: &mut RouteSocket, name: &str) -> u32 {
    socket.link(name).unwrap().unwrap().index
}

fn address(socket: &mut RouteSocket, name: &str, address: Ipv4Addr) {
    let interface = index(socket, name);
    let address = InterfaceAddress { interface, address, prefix_length: 32, connected_route: true };
    socket.execute(&[Request::SetLinkUp { index: interface, mtu_bytes: None }, Request::AddAddress(address)]).unwrap();
}

fn socket(at: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((at, port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Sends from the pod to port 7 of `to`, waits for the answer, and returns the source that was seen there.
fn exchange(world: &World, to: Ipv4Addr) -> SocketAddr {
    let server = world.outside.run(|| socket(to, 7));
    let client = world.sandbox.run(|| socket(POD, 0));
    client.send_to(b"ping", (to, 7)).unwrap();
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"pong", from).unwrap();
    assert_eq!(client.recv_from(&mut buffer).unwrap(), (4, SocketAddr::from((to, 7))));
    from
}

fn a_table_that_is_right_is_left_alone() {
    let mut nat = node_nat();
    assert!(ensure(&nat.table()));
    assert!(!ensure(&nat.table()));
    nat.vpc_cidrs.insert(cidr("100.65.0.0/16"));
    assert!(ensure(&nat.table()));
    assert!(!ensure(&nat.table()));
    nat.excluded_cidrs.insert(cidr("0.0.0.0/0"));
    assert!(ensure(&nat.table()));
    nat.source_nat = None;
    nat.node_port_support = false;
    assert!(ensure(&nat.table()));
    assert_eq!(NftSocket::open().unwrap().chains("freeboard").unwrap(), Vec::<String>::new());
    assert!(NftSocket::open().unwrap().remove("freeboard").unwrap());
    assert!(!NftSocket::open().unwrap().remove("freeboard").unwrap());
}

fn a_flushed_table_is_written_again() {
    let table = node_nat().table();
    ensure(&table);
    // Somebody deletes a rule and leaves the table.
    let mut poorer = table.clone();
    poorer.chains[0].rules.clear();
    assert!(ensure(&poorer));
    assert!(ensure(&table));
    assert!(!ensure(&table));
}

fn a_table_that_the_kernel_refuses_leaves_the_old_one() {
    let good = node_nat().table();
    ensure(&good);
    let mut bad = good.clone();
    bad.chains[0].rules.push(Rule::new("into nowhere").jump("no-such-chain"));
    let error = NftSocket::open().unwrap().ensure(&bad).unwrap_err();
    assert!(matches!(&error, DatapathError::Refused { request, .. } if request.contains("into nowhere")), "{error}");
    assert!(!ensure(&good));
}

fn traffic_out_of_the_vpc_has_the_nodes_address() {
    let world = world();
    ensure(&node_nat().table());
    assert_eq!(exchange(&world, INTERNET).ip(), NODE);
    let counters = NftSocket::open().unwrap().counters("freeboard").unwrap();
    let translated = counters.iter().find(|counter| counter.chain == "postrouting").unwrap();
    assert_eq!(translated.packets, 1);
    // Inside the VPC the pod's own address is seen; the way there is the primary interface's in this world.
    let main = PolicyRule::from_block(Cidr::host(POD), MAIN_TABLE, 1500);
    RouteSocket::open().unwrap().execute(&[Request::AddRule(main)]).unwrap();
    assert_eq!(exchange(&world, PEER_IN_VPC).ip(), POD);
}

fn external_translation_keeps_the_pods_address() {
    let world = world();
    ensure(&NodeNat { source_nat: None, ..node_nat() }.table());
    let main = PolicyRule::from_block(Cidr::host(POD), MAIN_TABLE, 1500);
    RouteSocket::open().unwrap().execute(&[Request::AddRule(main)]).unwrap();
    assert_eq!(exchange(&world, INTERNET).ip(), POD);
}

/// What kube-proxy does for a node port: the node's address and port become the pod's.
fn service() -> Table {
    let to_pod = Rule::new("node port")
        .to_block(Cidr::host(NODE))
        .protocol(Protocol::Udp)
        .destination_port(30_007)
        .destination_nat(POD, 7);
    let base = BaseChain { kind: ChainKind::Nat, hook: Hook::Prerouting, priority: -100 };
    let chain = Chain { name: "prerouting".to_owned(), base: Some(base), rules: vec![to_pod] };
    Table { name: "service".to_owned(), sets: Vec::new(), chains: vec![chain] }
}

fn answers_of_a_node_port_go_back() {
    let world = world();
    ensure(&service());
    let try_once = |patience: Duration| {
        let server = world.sandbox.run(|| socket(POD, 7));
        let client = world.outside.run(|| socket(INTERNET, 0));
        client.set_read_timeout(Some(patience)).unwrap();
        client.send_to(b"ping", (NODE, 30_007)).unwrap();
        let mut buffer = [0; 16];
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(from.ip(), INTERNET);
        server.send_to(b"pong", from).unwrap();
        client.recv_from(&mut buffer).map(|(_, from)| from)
    };
    // Without marks the answer takes the second interface, and nobody is there.
    assert!(try_once(Duration::from_millis(300)).is_err());
    ensure(&node_nat().table());
    assert_eq!(try_once(Duration::from_secs(10)).unwrap(), SocketAddr::from((NODE, 30_007)));
}

fn a_forward_chain_drops_and_counts() {
    let world = world();
    let set = AddressSet { name: "pods".to_owned(), blocks: BTreeSet::from([cidr("100.64.0.0/20")]) };
    let drop = Rule::new("no new connections from outside")
        .input_interface("eth0")
        .to_set("pods")
        .connection_is_new_or_invalid()
        .counter()
        .drop();
    let base = BaseChain { kind: ChainKind::Filter, hook: Hook::Forward, priority: 0 };
    let chain = Chain { name: "forward".to_owned(), base: Some(base), rules: vec![drop] };
    ensure(&Table { name: "fabric".to_owned(), sets: vec![set], chains: vec![chain] });
    ensure(&node_nat().table());
    // Answers pass.
    exchange(&world, INTERNET);
    let client = world.outside.run(|| socket(INTERNET, 0));
    client.send_to(b"ping", (POD, 7)).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let dropped = || NftSocket::open().unwrap().counters("fabric").unwrap()[0].packets;
    while dropped() == 0 {
        assert!(std::time::Instant::now() < deadline, "the packet was not dropped");
        std::thread::yield_now();
    }
    assert_eq!(dropped(), 1);
}

fn the_incumbents_rules_go_and_others_stay() {
    let base = |hook, priority| Some(BaseChain { kind: ChainKind::Nat, hook, priority });
    let chain = |name: &str, base, rules| Chain { name: name.to_owned(), base, rules };
    let others = || Rule::new("kubernetes postrouting rules").counter().jump("KUBE-POSTROUTING");
    let postrouting = vec![others(), Rule::new("AWS SNAT CHAIN").jump("AWS-SNAT-CHAIN-0")];
    let prerouting = vec![
        Rule::new("AWS, outbound connections").input_interface("eni*").jump("AWS-CONNMARK-CHAIN-0"),
        Rule::new("AWS, CONNMARK").connection_mark_has(0x80).set_mark(0x80),
    ];
    let snat = vec![Rule::new("AWS SNAT CHAIN").to_block(cidr("10.0.0.0/16")).return_to_caller()];
    let nat = Table {
        name: "nat".to_owned(),
        sets: Vec::new(),
        chains: vec![
            chain("KUBE-POSTROUTING", None, Vec::new()),
            chain("AWS-SNAT-CHAIN-0", None, snat),
            chain("AWS-CONNMARK-CHAIN-0", None, Vec::new()),
            chain("POSTROUTING", base(Hook::Postrouting, 100), postrouting),
            chain("PREROUTING", base(Hook::Prerouting, -100), prerouting),
        ],
    };
    let own = vec![Rule::new("").connection_mark_has(0x80).set_mark(0x80)];
    let native = Table {
        name: "aws-cni".to_owned(),
        sets: Vec::new(),
        chains: vec![chain("nat-prerouting", base(Hook::Prerouting, -90), own)],
    };
    let mut socket = NftSocket::open().unwrap();
    assert!(find_leftovers(&mut socket).unwrap().is_empty());
    ensure(&nat);
    ensure(&native);
    let found = find_leftovers(&mut socket).unwrap();
    assert_eq!(found.shared_rules(), 4);
    assert_eq!(
        found.names(),
        ["chain AWS-CONNMARK-CHAIN-0 in table ip nat", "chain AWS-SNAT-CHAIN-0 in table ip nat", "table ip aws-cni"]
    );
    remove_leftovers(&mut socket, &found).unwrap();
    assert!(find_leftovers(&mut socket).unwrap().is_empty());
    assert_eq!(socket.tables().unwrap(), ["nat"]);
    assert_eq!(socket.chains("nat").unwrap(), ["KUBE-POSTROUTING", "POSTROUTING", "PREROUTING"]);
    let left = socket.counters("nat").unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].comment, "kubernetes postrouting rules");
}
