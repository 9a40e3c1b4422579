//! Cases in which addresses are to be found: a burst, fragments, full ranges, full slots.

use std::net::Ipv4Addr;
use std::time::Duration;

use freeboard_address::SubnetId;
use freeboard_lab::Machine;
use freeboard_vpc::{CreateNetworkInterface, DeleteNetworkInterface, Fault};

use crate::books;
use crate::fleet::{Fleet, names, never_silent, only};
use crate::support::{Outcome, Stage, require, wait_until, wait_within};

/// One m5.4xlarge: 8 interfaces with 29 pod addresses each.
pub(crate) const LARGE: &str = r#"
region: us-west-2
seed: 11
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { api_latency_milliseconds: 100, attach_seconds: 2, metadata_lag_seconds: 1 }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.0.0/20, zone: us-west-2a }
instances:
  - id: i-00000000000000001
    type: m5.4xlarge
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.0.10 }]
"#;

/// One m5.large (3 interfaces with 9 slots each) in a /24 that the case makes a chequer-board of.
pub(crate) const CHEQUERED: &str = r#"
region: us-west-2
seed: 12
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { attach_seconds: 2, metadata_lag_seconds: 1 }
throttling: { enabled: false }
behaviour: { address_order: lowest }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.1.0/24, zone: us-west-2a }
instances:
  - id: i-00000000000000001
    type: m5.large
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.1.4 }]
"#;

/// One m5.xlarge (4 interfaces with 14 slots each) and three ranges, each of 11 addresses: room for one interface and 10 pods.
pub(crate) const THREE_RANGES: &str = r#"
region: us-west-2
seed: 13
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { attach_seconds: 2, metadata_lag_seconds: 1 }
throttling: { enabled: false }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    secondary_cidrs: [100.64.0.0/20, 100.65.0.0/20]
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.208.0/28, zone: us-west-2a }
      - { id: subnet-00000000000000002, cidr: 100.64.1.0/28, zone: us-west-2a, tags: { kubernetes.io/role/cni: "1" } }
      - { id: subnet-00000000000000003, cidr: 100.65.1.0/28, zone: us-west-2a, tags: { kubernetes.io/role/cni: "1" } }
instances:
  - id: i-00000000000000001
    type: m5.xlarge
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.208.4 }]
"#;

/// One t3.small (3 interfaces with 3 slots each) whose own subnet is full with 3 interfaces and 8 pods; another is somebody else's
/// at first.
pub(crate) const FULL_SLOTS: &str = r#"
region: us-west-2
seed: 14
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { attach_seconds: 2, metadata_lag_seconds: 1 }
throttling: { enabled: false }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    secondary_cidrs: [100.64.0.0/20]
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.208.0/28, zone: us-west-2a }
      - { id: subnet-00000000000000002, cidr: 100.64.1.0/27, zone: us-west-2a, tags: { kubernetes.io/role/cni: "1" } }
instances:
  - id: i-00000000000000001
    type: t3.small
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.208.4 }]
"#;

/// Short periods, so that a case does not wait for them.
pub(crate) const QUICK: [(&str, &str); 6] = [
    ("IP_COOLDOWN_PERIOD", "1"),
    ("FREEBOARD_SHRINK_SECONDS", "1"),
    ("FREEBOARD_RECONCILE_SECONDS", "2"),
    ("FREEBOARD_SUBNETS_SHORT_SECONDS", "1"),
    ("FREEBOARD_BACKOFF_MAX_SECONDS", "5"),
    ("FREEBOARD_ADD_WAIT_SECONDS", "5"),
];

/// An interface that carried addresses makes way a minute after it came, at the earliest.
const AGED: Duration = Duration::from_secs(120);

/// The quick settings and more.
pub(crate) fn quick<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    QUICK.iter().chain(more).copied().collect()
}

fn subnet(number: u32) -> SubnetId {
    SubnetId::new(format!("subnet-{number:017}"))
}

fn inject(stage: &Stage, fault: &Fault) -> Outcome {
    Ok(stage.lab.server().with_cloud(|cloud, now| cloud.inject(fault, now))?)
}

fn fill(stage: &Stage, number: u32) -> Outcome {
    inject(stage, &Fault::FillSubnet { subnet: subnet(number), take: None, leave_free: Some(0) })
}

/// Default settings: the node holds nearly nothing when the burst comes.
pub(crate) fn burst(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let _agent = stage.start_agent(machine, &[("IP_COOLDOWN_PERIOD", "1")])?;
    let mut fleet = Fleet::new(stage, machine);
    fleet.start(names("lasting", 1))?;
    let watched = fleet.watch(&names("lasting", 1))?;
    let refusals = fleet.start(names("burst", 110))?;
    // On a machine that is busy with other things an ADD may come to the end of its wait.
    only(&refusals, &["StillGrowing"])?;
    fleet.reaches_all()?;
    fleet.close()?;
    fleet.stop(&names("burst", 110))?;
    fleet.close()?;
    never_silent(watched)
}

/// Somebody else has one address of every /28 but one.
pub(crate) fn fragments(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let mut foreign = Vec::new();
    for block in (1..16u8).filter(|block| *block != 4) {
        let request = CreateNetworkInterface {
            primary_address: Some(Ipv4Addr::new(10, 0, 1, block * 16 + 5)),
            ..CreateNetworkInterface::in_subnet(subnet(1))
        };
        let made = stage.lab.server().with_cloud(|cloud, now| cloud.create_network_interface(&request, now));
        foreign.push(made.map_err(|error| format!("CreateNetworkInterface: {error}"))?.network_interface_id);
    }
    let settings = quick(&[("ENABLE_PREFIX_DELEGATION", "true"), ("WARM_PREFIX_TARGET", "1")]);
    let _agent = stage.start_agent(machine, &settings)?;
    let mut fleet = Fleet::new(stage, machine);
    fleet.start(names("early", 16))?;
    let watched = fleet.watch(&names("early", 2))?;
    let only_prefix = |address: Ipv4Addr| (64..80).contains(&address.octets()[3]);
    require(fleet.addresses().into_iter().all(only_prefix), format!("the only /28 serves: {:?}", fleet.addresses()))?;
    let refusals = fleet.start(names("beside", 6))?;
    require(refusals.is_empty(), format!("single addresses serve without a refusal: {refusals:?}"))?;
    let beside = fleet.addresses().into_iter().filter(|address| !only_prefix(*address)).count();
    require(beside == 6, "the others have single addresses")?;
    fleet.reaches_all()?;
    fleet.close()?;

    for interface in foreign.iter().take(6) {
        let request = DeleteNetworkInterface { network_interface_id: interface.clone() };
        let gone = stage.lab.server().with_cloud(|cloud, now| cloud.delete_network_interface(&request, now));
        gone.map_err(|error| format!("DeleteNetworkInterface: {error}"))?;
    }
    wait_until("prefixes are taken again", || {
        let prefixes = books::prefixes(stage, machine)?;
        Ok(if prefixes.len() >= 2 { Ok(()) } else { Err(format!("{prefixes:?}")) })
    })?;
    fleet.stop(&names("beside", 6))?;
    wait_until("the single addresses that nobody uses go", || {
        let singles = books::singles(stage, machine)?;
        Ok(if singles.is_empty() { Ok(()) } else { Err(format!("{singles:?}")) })
    })?;
    fleet.start(names("later", 10))?;
    require(books::singles(stage, machine)?.is_empty(), "new pods have addresses of prefixes")?;
    fleet.reaches_all()?;
    fleet.close()?;
    never_silent(watched)
}

fn in_range(fleet: &Fleet<'_>, first: u8, second: u8) -> usize {
    fleet.addresses().iter().filter(|address| address.octets()[..2] == [first, second]).count()
}

/// The first range fills, then the second; the third is somebody else's, until it is freed.
pub(crate) fn spill_over(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    fill(stage, 3)?;
    let settings = quick(&[("FREEBOARD_RANGE_PREFERENCE", "primary-first")]);
    let _agent = stage.start_agent(machine, &settings)?;
    let mut fleet = Fleet::new(stage, machine);
    only(&fleet.start(names("first", 20))?, &["StillGrowing"])?;
    require((in_range(&fleet, 10, 0), in_range(&fleet, 100, 64)) == (10, 10), format!("{:?}", fleet.addresses()))?;
    let watched = fleet.watch(&names("first", 20))?;
    wait_until("a pod beyond the room is refused for lack of addresses", || {
        let refusal = fleet.refused("beyond")?;
        let words = format!("{} {}", refusal.message, refusal.details);
        Ok(if words.contains("SubnetExhausted") { Ok(()) } else { Err(words) })
    })?;
    fleet.close()?;
    inject(stage, &Fault::ReleaseSubnet { subnet: subnet(3) })?;
    only(&fleet.start(names("second", 10))?, &["SubnetExhausted", "StillGrowing"])?;
    require(in_range(&fleet, 100, 65) == 10, format!("the third range serves: {:?}", fleet.addresses()))?;
    fleet.reaches_all()?;
    fleet.close()?;
    // The foreign consumer comes back for what is left; pods do not notice, and what they free stays theirs.
    fill(stage, 3)?;
    fleet.stop(&names("second", 10))?;
    fleet.start(names("third", 10))?;
    fleet.reaches_all()?;
    fleet.close()?;
    never_silent(watched)
}

fn pods_on(stage: &Stage, machine: &Machine, fleet: &Fleet<'_>, device_index: u32) -> Outcome<Vec<String>> {
    let interfaces = books::interfaces(stage, machine)?;
    let there = interfaces.iter().find(|one| one.attachment.as_ref().is_some_and(|at| at.device_index == device_index));
    let addresses = &there.ok_or_else(|| format!("no interface at {device_index}"))?.private_ip_addresses;
    let on = fleet.pods.iter().filter(|(_, (_, pod))| addresses.iter().any(|one| one.private_ip_address == *pod));
    Ok(on.map(|(name, _)| name.clone()).collect())
}

/// All three slots are taken by interfaces of a full subnet. One empties, and one in a subnet with room takes its place.
pub(crate) fn replacement(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    fill(stage, 2)?;
    let _agent = stage.start_agent(machine, &quick(&[("WARM_IP_TARGET", "3")]))?;
    let mut fleet = Fleet::new(stage, machine);
    only(&fleet.start(names("old", 8))?, &["StillGrowing", "SubnetExhausted"])?;
    require(books::interfaces(stage, machine)?.len() == 3, "every slot is taken")?;
    fleet.refused("beyond")?;
    fleet.close()?;
    // The interface with a slot that its subnet cannot fill is the one that is to go.
    let mut loads = (1..3).map(|index| pods_on(stage, machine, &fleet, index)).collect::<Outcome<Vec<_>>>()?;
    loads.sort_by_key(Vec::len);
    let [leaving, staying] = loads.as_slice() else { return Err("two secondary interfaces".into()) };
    require((leaving.len(), staying.len()) == (2, 3), format!("{leaving:?} {staying:?}"))?;
    let watched = fleet.watch(staying)?;
    inject(stage, &Fault::ReleaseSubnet { subnet: subnet(2) })?;
    fleet.stop(leaving)?;
    wait_within(AGED, "an interface in the subnet with room takes the place", || {
        let subnets: Vec<_> = books::interfaces(stage, machine)?.into_iter().map(|one| one.subnet_id).collect();
        Ok(if subnets.contains(&subnet(2)) { Ok(()) } else { Err(format!("{subnets:?}")) })
    })?;
    fleet.start(names("new", 3))?;
    require(in_range(&fleet, 100, 64) >= 2, format!("new pods are there: {:?}", fleet.addresses()))?;
    require(books::interfaces(stage, machine)?.len() == 3, "one for one")?;
    fleet.reaches_all()?;
    fleet.close()?;
    never_silent(watched)
}
