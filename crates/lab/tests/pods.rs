//! Pods on the production agent and plugin: who reaches whom, under which address, and what the runtime can ask for.

#![allow(clippy::print_stderr, reason = "a test says why it cannot run")]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use freeboard_address::PodKey;
use freeboard_lab::{
    INTERNET_HOST, LabError, Machine, Mirror, PEERED_HOST, Pod, Program, can_connect, internet_mirror, ping, ping_all,
    source_seen_by,
};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use support::{LIMIT, Outcome, Stage, held, require, start_pod, wait_until};

/// Three t3.small nodes: three interfaces with three pod addresses each. Two of a node come from the unroutable secondary range,
/// the first one from the routable one, so eight pods per node lie in both.
const TWO_RANGES: &str = r#"
region: us-west-2
seed: 7
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { attach_seconds: 2, metadata_lag_seconds: 1 }
throttling: { enabled: false }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    secondary_cidrs: [100.64.0.0/20]
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.208.0/27, zone: us-west-2a }
      - { id: subnet-00000000000000002, cidr: 100.64.1.0/24, zone: us-west-2a, tags: { kubernetes.io/role/cni: "1" } }
instances:
  - id: i-00000000000000001
    type: t3.small
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.208.11 }]
  - id: i-00000000000000002
    type: t3.small
    interfaces: [{ id: eni-00000000000000002, subnet: subnet-00000000000000001, address: 10.0.208.12 }]
  - id: i-00000000000000003
    type: t3.small
    interfaces: [{ id: eni-00000000000000003, subnet: subnet-00000000000000001, address: 10.0.208.13 }]
"#;

/// One t3.small node in a subnet that is full as soon as it holds four pods.
const TINY: &str = r#"
region: us-west-2
seed: 7
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { attach_seconds: 2, metadata_lag_seconds: 1 }
throttling: { enabled: false }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    subnets:
      - id: subnet-00000000000000001
        cidr: 10.0.208.0/28
        zone: us-west-2a
        reservations: [{ cidr: 10.0.208.8/29, type: explicit }]
instances:
  - id: i-00000000000000001
    type: t3.small
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.208.4 }]
"#;

const SETTINGS: [(&str, &str); 2] = [("WARM_IP_TARGET", "1"), ("FREEBOARD_RANGE_PREFERENCE", "secondary-first")];
/// How long is waited for what must not happen.
const BRIEFLY: Duration = Duration::from_millis(400);
const PODS_PER_NODE: usize = 8;

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("every_pod_reaches_every_pod_every_node_and_the_internet", trial(TWO_RANGES, reachability)),
        Trial::test("with_external_snat_the_internet_sees_the_pods_own_address", trial(TWO_RANGES, external_snat)),
        Trial::test("ports_of_the_node_lead_to_its_pods_until_they_are_deleted", trial(TWO_RANGES, host_ports)),
        Trial::test("status_fails_while_no_agent_can_give_an_address", trial(TWO_RANGES, status)),
        Trial::test(
            "gc_releases_what_the_runtime_no_longer_knows_and_check_finds_the_rest",
            trial(TWO_RANGES, collection),
        ),
        Trial::test("a_pod_deleted_while_the_agent_is_down_is_released_when_it_is_back", trial(TWO_RANGES, tombstone)),
        Trial::test("a_full_subnet_is_refused_with_cause_figures_and_remedy", trial(TINY, refusal)),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(world: &'static str, test: fn(&Stage) -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || Stage::play(world, test).map_err(|error| Failed::from(error.to_string()))
}

/// A lab whose nodes all have agents and pods.
struct Cluster<'a> {
    stage: &'a Stage,
    machines: Vec<Machine>,
    _agents: Vec<Program>,
    pods: Vec<(Pod, Ipv4Addr)>,
}

impl<'a> Cluster<'a> {
    fn start(stage: &'a Stage, settings: &[(&str, &str)]) -> Outcome<Self> {
        let machines = stage.lab.machines();
        let agents =
            machines.iter().map(|machine| stage.start_agent(machine, settings)).collect::<Outcome<Vec<_>>>()?;
        let mut pods = Vec::new();
        for (index, machine) in machines.iter().enumerate() {
            for pod in 0..PODS_PER_NODE {
                pods.push(start_pod(machine, &format!("web-{index}-{pod}"))?);
            }
        }
        Ok(Self { stage, machines, _agents: agents, pods })
    }

    /// Pod `index` lies on machine `index / PODS_PER_NODE`.
    fn node_of(&self, index: usize) -> &Machine {
        &self.machines[index / PODS_PER_NODE]
    }
}

fn is_routable(address: Ipv4Addr) -> bool {
    address.octets()[0] == 10
}

fn reachability(stage: &Stage) -> Outcome {
    let cluster = Cluster::start(stage, &SETTINGS)?;
    let addresses: Vec<Ipv4Addr> = cluster.pods.iter().map(|(_, address)| *address).collect();
    require(addresses.iter().collect::<BTreeSet<_>>().len() == addresses.len(), "no address on two pods")?;
    for node in 0..cluster.machines.len() {
        let own = &addresses[node * PODS_PER_NODE..(node + 1) * PODS_PER_NODE];
        let routable = own.iter().filter(|address| is_routable(**address)).count();
        require((1..PODS_PER_NODE).contains(&routable), format!("node {node} has pods of both ranges: {own:?}"))?;
    }
    let mut targets = addresses.clone();
    targets.extend(cluster.machines.iter().map(|machine| machine.address));
    targets.push(INTERNET_HOST);
    for (pod, address) in &cluster.pods {
        let silent: Vec<Ipv4Addr> = ping_all(pod.namespace(), &targets, Duration::from_secs(5))?
            .into_iter()
            .filter_map(|echo| (!echo.answered).then_some(echo.target))
            .collect();
        require(silent.is_empty(), format!("{address} reaches all; silent: {silent:?}"))?;
    }
    for machine in &cluster.machines {
        let silent: Vec<_> =
            ping_all(machine.namespace(), &addresses, LIMIT)?.into_iter().filter(|echo| !echo.answered).collect();
        require(silent.is_empty(), format!("{} reaches every pod; silent: {silent:?}", machine.name))?;
    }
    sources(&cluster, |cluster, index| cluster.node_of(index).address)?;
    outside(&cluster)
}

/// The internet host sees each pod's connection come from the expected address.
fn sources(cluster: &Cluster<'_>, expected: impl Fn(&Cluster<'_>, usize) -> Ipv4Addr) -> Outcome {
    let mirror = Mirror::start(&cluster.stage.lab.internet(), internet_mirror())?;
    for (index, (pod, address)) in cluster.pods.iter().enumerate() {
        let seen = source_seen_by(pod.namespace(), mirror.address(), Duration::from_secs(5))?;
        let expected = expected(cluster, index);
        require(seen == Some(expected), format!("the internet sees {address} as {expected}; it sees {seen:?}"))?;
    }
    Ok(())
}

/// Nobody on the internet opens a connection to a pod; the peered network knows the routable range only.
fn outside(cluster: &Cluster<'_>) -> Outcome {
    let lab = &cluster.stage.lab;
    for (pod, address) in &cluster.pods {
        let service = SocketAddr::from((*address, 8080));
        let _service = Mirror::start(pod.namespace(), service)?;
        require(
            can_connect(cluster.machines[0].namespace(), service, LIMIT)?,
            format!("{service} is open in the VPC"),
        )?;
        let internet = can_connect(&lab.internet(), service, BRIEFLY)?;
        require(!internet, format!("the internet opens no connection to {service}"))?;
        if is_routable(*address) {
            require(can_connect(&lab.peer(), service, LIMIT)?, format!("the peered network reaches {service}"))?;
        } else {
            let peer = can_connect(&lab.peer(), service, BRIEFLY)?;
            require(!peer, format!("the peered network does not reach {service}"))?;
        }
        require(ping(pod.namespace(), PEERED_HOST, LIMIT)?, format!("{address} reaches the peered network"))?;
    }
    Ok(())
}

fn external_snat(stage: &Stage) -> Outcome {
    let settings = [SETTINGS.as_slice(), &[("AWS_VPC_K8S_CNI_EXTERNALSNAT", "true")]].concat();
    let cluster = Cluster::start(stage, &settings)?;
    sources(&cluster, |cluster, index| cluster.pods[index].1)
}

/// Pods of both ranges behind ports of their node: called from another node, from its pods, from the same node, its loopback
/// address and its pods, from the pod itself, and from outside the VPC.
fn host_ports(stage: &Stage) -> Outcome {
    let machines = stage.lab.machines();
    let (node, other) = (&machines[0], &machines[1]);
    let _agents = [stage.start_agent(node, &SETTINGS)?, stage.start_agent(other, &SETTINGS)?];
    let (caller, _) = start_pod(other, "caller")?;
    let mut pods = Vec::new();
    for number in 0..8 {
        let port = 8080 + number;
        let mut pod = Pod::create(node, PodKey::new("test", format!("web-{number}")))?;
        pod.attachment.port_mappings = vec![json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"})];
        let address = pod.add()?;
        let _service = Mirror::start(pod.namespace(), SocketAddr::from(([0, 0, 0, 0], 80)))?;
        pods.push((pod, address, port));
    }
    let routable = pods.iter().filter(|(_, address, _)| is_routable(*address)).count();
    require((1..pods.len()).contains(&routable), format!("pods of both ranges: {routable} of {}", pods.len()))?;
    for (index, (pod, address, port)) in pods.iter().enumerate() {
        pod.check()?;
        let door = SocketAddr::from((node.address, *port));
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let (neighbour, neighbour_address, _) = &pods[(index + 1) % pods.len()];
        for (who, namespace, target, seen) in [
            ("another node", other.namespace(), door, Some(other.address)),
            ("its own node", node.namespace(), door, Some(node.address)),
            // By an address of the node, which one is the kernel's choice.
            ("its node's loopback address", node.namespace(), local, None),
            ("a pod beside it", neighbour.namespace(), door, Some(*neighbour_address)),
            ("the pod itself", pod.namespace(), door, None),
            ("a peered host", &stage.lab.peer(), door, Some(PEERED_HOST)),
        ] {
            let found = source_seen_by(namespace, target, Duration::from_secs(5))?;
            let is_right = found.is_some_and(|found| seen.is_none_or(|seen| seen == found));
            require(is_right, format!("{who} reaches {address} by {target} as {seen:?}: {found:?}"))?;
        }
        let found = source_seen_by(caller.namespace(), door, Duration::from_secs(5))?;
        require(found.is_some(), format!("a pod of another node reaches {address} by {door}"))?;
    }
    let (mut gone, _, port) = pods.remove(0);
    gone.delete()?;
    let door = SocketAddr::from((node.address, port));
    require(!can_connect(other.namespace(), door, BRIEFLY)?, "the deleted pod's port leads nowhere")?;
    let (stays, address, port) = &pods[0];
    stays.check()?;
    let door = SocketAddr::from((node.address, *port));
    require(can_connect(other.namespace(), door, LIMIT)?, format!("the port of {address} still leads to it"))
}

fn status(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let mut agent = stage.start_agent(machine, &[("FREEBOARD_CNI_VERSION", "1.1.0")])?;
    machine.cni_status()?;
    agent.kill()?;
    match machine.cni_status() {
        Err(LabError::Cni(error)) => require(error.code == 50, format!("without agent STATUS is 50, not {error}"))?,
        other => return Err(format!("STATUS without agent: {other:?}").into()),
    }
    let _agent = stage.start_agent(machine, &[("FREEBOARD_CNI_VERSION", "1.1.0")])?;
    wait_until("STATUS succeeds again", || Ok(machine.cni_status().map_err(|error| error.to_string())))
}

fn collection(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let _agent = stage.start_agent(machine, &[("FREEBOARD_CNI_VERSION", "1.1.0")])?;
    let (kept, kept_address) = start_pod(machine, "kept")?;
    let (forgotten, forgotten_address) = start_pod(machine, "forgotten")?;
    kept.check()?;
    forgotten.check()?;
    machine.cni_collect(&[&kept])?;
    let assigned = held(machine)?.assigned;
    require(assigned.contains_key(&kept_address), "the pod that the runtime knows keeps its address")?;
    require(!assigned.contains_key(&forgotten_address), "the other one's address is released")?;
    kept.check()?;
    require(forgotten.check().is_err(), "CHECK of the released pod fails")?;
    require(ping(machine.namespace(), kept_address, LIMIT)?, "the kept pod still answers")?;
    require(!ping(machine.namespace(), forgotten_address, BRIEFLY)?, "the host has no way to the released pod")
}

fn tombstone(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let mut agent = stage.start_agent(machine, &SETTINGS)?;
    let (mut gone, gone_address) = start_pod(machine, "gone")?;
    let (stays, stays_address) = start_pod(machine, "stays")?;
    agent.kill()?;
    gone.delete()?;
    require(!ping(machine.namespace(), gone_address, BRIEFLY)?, "the host has no way to the deleted pod")?;
    require(ping(machine.namespace(), stays_address, LIMIT)?, "the other pod answers without an agent")?;
    let _agent = stage.start_agent(machine, &SETTINGS)?;
    wait_until("the deleted pod's address is released", || {
        let assigned = held(machine)?.assigned;
        Ok(if assigned.contains_key(&gone_address) { Err(format!("{assigned:?}")) } else { Ok(()) })
    })?;
    require(held(machine)?.assigned.contains_key(&stays_address), "the other pod keeps its address")?;
    require(ping(stays.namespace(), INTERNET_HOST, LIMIT)?, "and reaches the internet")
}

fn refusal(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let settings = [("WARM_IP_TARGET", "1"), ("IP_COOLDOWN_PERIOD", "1"), ("FREEBOARD_ADD_WAIT_SECONDS", "2")];
    let _agent = stage.start_agent(machine, &settings)?;
    let mut pods = Vec::new();
    let refused = loop {
        let mut pod = Pod::create(machine, PodKey::new("test", format!("web-{}", pods.len())))?;
        match pod.add() {
            Ok(_) => pods.push(pod),
            Err(LabError::Cni(error)) => break error,
            Err(error) => return Err(error.into()),
        }
        require(pods.len() < 8, "a /28 with an explicit reservation of half of it is full before eight pods")?;
    };
    let words = format!("{} {}", refused.message, refused.details);
    for word in ["failed to assign an IP address to container", "SubnetExhausted", "10.0.208.0/28"] {
        require(words.contains(word), format!("the refusal says {word:?}: {words}"))?;
    }
    require(!refused.details.is_empty(), "the refusal names a remedy")?;
    // The remedy at hand: a pod goes, and the next one is served by the same agent.
    let mut gone = pods.pop().ok_or("no pod was served")?;
    gone.delete()?;
    wait_until("a pod is served after another has gone", || {
        let mut pod = Pod::create(machine, PodKey::new("test", "next"))?;
        Ok(pod.add().map(drop).map_err(|error| error.to_string()))
    })
}
