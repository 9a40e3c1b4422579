//! The fabric behaves as a VPC does: what no interface owns is unreachable, nobody spoofs, links come and go with attachments.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may say why it cannot run, and panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use freeboard_address::{Cidr, EniId, InstanceId, MacAddress, SubnetId, VpcId};
use freeboard_lab::{
    CONTROL_PLANE_HOST, INTERNET_HOST, Machine, Mirror, Namespace, Network, PEERED_HOST, can_connect, internet_mirror,
    ping, source_seen_by,
};
use freeboard_vpc::{CloudEffect, InterfaceLink, LaunchedInstance};
use libtest_mimic::{Arguments, Failed, Trial};

/// Long enough for a packet in a busy machine, short enough to wait for one that must not come.
const SOON: Duration = Duration::from_secs(2);
const BRIEFLY: Duration = Duration::from_millis(400);

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("nodes_reach_each_other_the_internet_and_no_unowned_address", trial(reachability)),
        Trial::test("a_packet_with_a_foreign_source_is_dropped", trial(spoofing)),
        Trial::test("an_interface_appears_with_its_attachment_and_vanishes_with_it", trial(links)),
        Trial::test("addresses_follow_what_the_cloud_assigns", trial(assignment)),
        Trial::test("the_internet_opens_no_connection_and_the_peer_knows_only_the_primary_range", trial(outside)),
        Trial::test("nodes_and_the_control_plane_reach_each_other", trial(control_plane)),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The control plane is in the lab's own namespace, so only one test of this program may link it.
fn control_plane() -> Outcome {
    let (mut network, first, second) = two_nodes()?;
    network.link_control_plane()?;
    let host = Namespace::current("control-plane")?;
    for node in [&first, &second] {
        assert!(ping(&host, node.address, SOON)?, "the control plane reaches {}", node.name);
        assert!(ping(node.namespace(), CONTROL_PLANE_HOST, SOON)?, "{} reaches the control plane", node.name);
    }
    assert!(ping(&host, INTERNET_HOST, SOON)?, "the control plane reaches the internet host");
    Ok(())
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn trial(test: fn() -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || test().map_err(|error| Failed::from(error.to_string()))
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// Two machines, 10.0.208.27 and 10.0.224.11, in a VPC 10.0.0.0/16.
fn two_nodes() -> Result<(Network, Machine, Machine), Box<dyn std::error::Error>> {
    let mut network = Network::build()?;
    set_blocks(&mut network, &["10.0.0.0/16"])?;
    let first = node(&mut network, "i-1", [10, 0, 208, 27], "10.0.208.0/27")?;
    let second = node(&mut network, "i-2", [10, 0, 224, 11], "10.0.224.0/27")?;
    Ok((network, first, second))
}

fn set_blocks(network: &mut Network, blocks: &[&str]) -> Outcome {
    let cidrs = blocks.iter().map(|block| cidr(block)).collect();
    Ok(network.apply(&CloudEffect::VpcCidrsChanged { vpc: VpcId::new("vpc-1"), cidrs }).map(drop)?)
}

fn node(
    network: &mut Network,
    instance: &str,
    address: [u8; 4],
    subnet: &str,
) -> Result<Machine, Box<dyn std::error::Error>> {
    let id = InstanceId::new(instance);
    network.apply(&CloudEffect::InstanceLaunched(LaunchedInstance {
        instance: id.clone(),
        instance_type: "t3.medium".into(),
        availability_zone: "ap-southeast-2a".into(),
        primary_address: address.into(),
        private_dns_name: format!("ip-{}", instance),
    }))?;
    network.apply(&CloudEffect::InterfaceAttaching(link(instance, 0, address.into(), subnet)))?;
    Ok(network.machine(&id).ok_or("the machine is missing")?.clone())
}

fn link(instance: &str, device_index: u32, address: Ipv4Addr, subnet: &str) -> InterfaceLink {
    let [_, _, c, d] = address.octets();
    InterfaceLink {
        instance: InstanceId::new(instance),
        eni: EniId::new(format!("eni-{instance}-{device_index}")),
        mac: MacAddress::local([0, 0, u8::try_from(device_index).unwrap(), 0, c, d]),
        device_index,
        network_card_index: 0,
        subnet: SubnetId::new("subnet-1"),
        subnet_cidr: cidr(subnet),
        vpc: VpcId::new("vpc-1"),
        primary_address: address,
        cidrs: vec![Cidr::host(address)],
    }
}

fn require(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

fn reachability() -> Outcome {
    let (network, first, second) = two_nodes()?;
    require(ping(first.namespace(), second.address, SOON)?, "the first node reaches the second")?;
    require(ping(second.namespace(), first.address, SOON)?, "the second node reaches the first")?;
    require(ping(first.namespace(), INTERNET_HOST, SOON)?, "a node reaches the internet")?;
    let unowned = Ipv4Addr::new(10, 0, 224, 12);
    require(!ping(first.namespace(), unowned, BRIEFLY)?, "an address that no interface owns is silent")?;
    let mirror = Mirror::start(network.internet(), internet_mirror())?;
    let seen = source_seen_by(first.namespace(), mirror.address(), SOON)?;
    require(seen == Some(first.address), "the internet sees the node's own address")
}

fn spoofing() -> Outcome {
    let (_network, first, second) = two_nodes()?;
    let stolen = Ipv4Addr::new(10, 0, 208, 9);
    first.output("ip", &["address", "add", &format!("{stolen}/32"), "dev", "eth0"])?;
    first.output(
        "ip",
        &["route", "add", &format!("{}/32", second.address), "via", "10.0.208.1", "src", &stolen.to_string()],
    )?;
    require(!ping(first.namespace(), second.address, BRIEFLY)?, "a packet from an address of nobody is dropped")
}

fn links() -> Outcome {
    let (mut network, first, _second) = two_nodes()?;
    let plug = link("i-1", 1, Ipv4Addr::new(10, 0, 208, 5), "10.0.208.0/27");
    network.apply(&CloudEffect::InterfaceAttaching(plug.clone()))?;
    let shown = first.output("ip", &["link", "show", "eth1"])?;
    require(shown.contains(&plug.mac.to_string()), "the link has the interface's hardware address")?;
    network.apply(&CloudEffect::InterfaceDetached { instance: plug.instance, eni: plug.eni, mac: plug.mac })?;
    require(first.output("ip", &["link", "show", "eth1"]).is_err(), "the link is gone after the detachment")
}

fn assignment() -> Outcome {
    let (mut network, first, second) = two_nodes()?;
    let (extra, prefix) = (Ipv4Addr::new(10, 0, 208, 7), cidr("10.0.208.16/28"));
    let inside = Ipv4Addr::new(10, 0, 208, 20);
    for address in [extra, inside] {
        first.output("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"])?;
        require(!ping(second.namespace(), address, BRIEFLY)?, "an address is silent before it is assigned")?;
    }
    let owned =
        |cidrs| CloudEffect::AddressesChanged { instance: InstanceId::new("i-1"), eni: EniId::new("eni-i-1-0"), cidrs };
    let own = Cidr::host(first.address);
    network.apply(&owned(vec![own, Cidr::host(extra), prefix]))?;
    for address in [extra, inside] {
        require(ping(second.namespace(), address, SOON)?, "an assigned address and one of a prefix answer")?;
    }
    network.apply(&owned(vec![own]))?;
    require(!ping(second.namespace(), extra, BRIEFLY)?, "an address is silent after it was given back")?;
    require(ping(second.namespace(), first.address, SOON)?, "the primary address still answers")
}

fn outside() -> Outcome {
    let (mut network, first, _second) = two_nodes()?;
    let secondary = Ipv4Addr::new(100, 64, 1, 9);
    set_blocks(&mut network, &["10.0.0.0/16", "100.64.0.0/20"])?;
    first.output("ip", &["address", "add", &format!("{secondary}/32"), "dev", "lo"])?;
    let cidrs = vec![Cidr::host(first.address), Cidr::host(secondary)];
    network.apply(&CloudEffect::AddressesChanged {
        instance: InstanceId::new("i-1"),
        eni: EniId::new("eni-i-1-0"),
        cidrs,
    })?;
    let service = |address: Ipv4Addr| SocketAddr::from((address, 8080));
    let _primary = Mirror::start(first.namespace(), service(Ipv4Addr::UNSPECIFIED))?;
    require(can_connect(network.peer(), service(first.address), SOON)?, "the peer reaches the primary range")?;
    require(!can_connect(network.peer(), service(secondary), BRIEFLY)?, "the peer has no way to the secondary range")?;
    require(!can_connect(network.internet(), service(first.address), BRIEFLY)?, "the internet opens no connection")?;
    require(!can_connect(network.internet(), service(secondary), BRIEFLY)?, "the internet opens no connection")?;
    require(ping(first.namespace(), PEERED_HOST, SOON)?, "a node reaches the peer")
}
