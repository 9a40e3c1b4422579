//! The node: observed, planned, applied.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, MacAddress};
use freeboard_datapath::host::{DesiredHost, ObservedHost, PodRoute, PrimaryInterface, SecondaryInterface, Witness};
use freeboard_datapath::host::{apply, plan};
use freeboard_datapath::names::MAIN_TABLE;
use freeboard_datapath::netlink::{InterfaceAddress, Request, Route, RouteSocket, Rule, Veth, VethEnd};

use crate::pod::pod;
use crate::sandbox::{Pinned, Test};

fn primary() -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 1, 0])
}

fn secondary() -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 2, 0])
}

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("a_second_plan_is_empty", a_second_plan_is_empty),
        ("a_secondary_interface_is_set_up_whole", a_secondary_interface_is_set_up_whole),
        ("only_what_differs_is_changed", only_what_differs_is_changed),
        ("a_link_that_is_not_there_is_reported", a_link_that_is_not_there_is_reported),
        ("the_rules_of_a_removed_interface_go", the_rules_of_a_removed_interface_go),
        ("orphans_go_only_when_asked", orphans_go_only_when_asked),
        ("the_kernel_bears_witness_of_its_pods", the_kernel_bears_witness_of_its_pods),
    ]
}

fn add_link(name: &str, mac: MacAddress) {
    let end = |name: String, mac| VethEnd { name, mac, namespace: None };
    let veth = Veth {
        near: end(name.to_owned(), mac),
        far: end(format!("{name}far"), MacAddress::new([2, 9, mac.bytes()[4], 0, 0, 0])),
        mtu_bytes: 1500,
    };
    RouteSocket::open().unwrap().execute(&[Request::AddVeth(veth)]).unwrap();
}

fn desired() -> DesiredHost {
    DesiredHost {
        primary: PrimaryInterface { mac: primary(), mtu_bytes: 9001 },
        secondaries: vec![SecondaryInterface {
            mac: secondary(),
            address: Ipv4Addr::new(100, 64, 1, 20),
            subnet: "100.64.1.0/24".parse().unwrap(),
            table: 2,
            mtu_bytes: 9001,
        }],
        pods: vec![PodRoute {
            address: Ipv4Addr::new(100, 64, 1, 21),
            table: 2,
            host_interface: "eni0123456789a".to_owned(),
        }],
        mark: Some(0x80),
        external_service_cidrs: BTreeSet::from(["192.0.2.0/24".parse().unwrap()]),
        remove_orphans: false,
    }
}

fn converge(desired: &DesiredHost) {
    apply(&plan(desired, &ObservedHost::read(desired).unwrap())).unwrap();
    let left = plan(desired, &ObservedHost::read(desired).unwrap());
    assert!(left.is_empty(), "{left:?}");
}

fn a_second_plan_is_empty() {
    add_link("eth0", primary());
    add_link("eth1", secondary());
    converge(&desired());
}

fn a_secondary_interface_is_set_up_whole() {
    add_link("eth0", primary());
    add_link("eth1", secondary());
    let mut socket = RouteSocket::open().unwrap();
    let index = socket.link("eth1").unwrap().unwrap().index;
    // What a DHCP client of the distribution may have left.
    let stranger = InterfaceAddress {
        interface: index,
        address: Ipv4Addr::new(100, 64, 1, 99),
        prefix_length: 24,
        connected_route: true,
    };
    let requests = [Request::SetLinkUp { index, mtu_bytes: None }, Request::AddAddress(stranger)];
    socket.execute(&requests).unwrap();
    converge(&desired());
    let link = socket.link("eth1").unwrap().unwrap();
    assert!(link.is_up && link.mtu_bytes == 9001);
    let addresses = socket.addresses(Some(index)).unwrap();
    assert_eq!(addresses.len(), 1);
    assert_eq!((addresses[0].address, addresses[0].prefix_length), (Ipv4Addr::new(100, 64, 1, 20), 24));
    let routes: Vec<String> = socket.routes(2).unwrap().iter().map(Route::to_string).collect();
    let expected = [
        format!("route 0.0.0.0/0 via 100.64.1.1 on link {index} in table 2"),
        format!("route 100.64.1.1/32 on link {index} in table 2"),
    ];
    assert_eq!(routes, expected);
    assert!(socket.routes(MAIN_TABLE).unwrap().iter().all(|route| route.interface != Some(index)));
    let own = Rule::from_block(Cidr::host(Ipv4Addr::new(100, 64, 1, 20)), 2, 32765);
    assert!(socket.rules().unwrap().contains(&own));
}

fn only_what_differs_is_changed() {
    add_link("eth0", primary());
    add_link("eth1", secondary());
    converge(&desired());
    let mut wanted = desired();
    wanted.pods[0].table = 3;
    wanted.mark = None;
    wanted.external_service_cidrs.clear();
    let changes: Vec<String> =
        plan(&wanted, &ObservedHost::read(&wanted).unwrap()).changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "add rule from 100.64.1.21/32 look up 3 priority 1536",
            "delete rule mark 0x80/0x80 look up 254 priority 1024",
            "delete rule to 192.0.2.0/24 look up 254 priority 1535",
            "delete rule from 100.64.1.21/32 look up 2 priority 1536",
        ]
    );
    converge(&wanted);
}

fn a_link_that_is_not_there_is_reported() {
    add_link("eth0", primary());
    let desired = desired();
    let plan = plan(&desired, &ObservedHost::read(&desired).unwrap());
    assert_eq!(plan.missing_links, [secondary()]);
    apply(&plan).unwrap();
}

fn the_rules_of_a_removed_interface_go() {
    add_link("eth0", primary());
    add_link("eth1", secondary());
    converge(&desired());
    RouteSocket::open().unwrap().execute(&[Request::DeleteLink("eth1".to_owned())]).unwrap();
    let without = DesiredHost { secondaries: Vec::new(), pods: Vec::new(), ..desired() };
    converge(&without);
    let rules = RouteSocket::open().unwrap().rules().unwrap();
    assert!(rules.iter().all(|rule| rule.priority != 32765), "{rules:?}");
}

fn orphans_go_only_when_asked() {
    add_link("eth0", primary());
    add_link("eth1", secondary());
    let orphan = Rule::from_block(Cidr::host(Ipv4Addr::new(100, 64, 1, 77)), 2, 1536);
    RouteSocket::open().unwrap().execute(&[Request::AddRule(orphan.clone())]).unwrap();
    converge(&desired());
    assert!(RouteSocket::open().unwrap().rules().unwrap().contains(&orphan));
    converge(&DesiredHost { remove_orphans: true, ..desired() });
    assert!(!RouteSocket::open().unwrap().rules().unwrap().contains(&orphan));
}

fn the_kernel_bears_witness_of_its_pods() {
    let (one, two) = (Pinned::new(), Pinned::new());
    let first = pod(&one, "web", Ipv4Addr::new(10, 0, 208, 9), MAIN_TABLE);
    let second = pod(&two, "db", Ipv4Addr::new(100, 64, 1, 21), 2);
    first.set_up().unwrap();
    second.set_up().unwrap();
    let witness = |of: &freeboard_datapath::PodNetwork| Witness {
        address: of.address,
        host_interface: of.host_interface.clone(),
        table: of.table,
    };
    let seen = ObservedHost::read_tables([]).unwrap().witnesses("eni");
    assert_eq!(seen, [witness(&first), witness(&second)]);
}
