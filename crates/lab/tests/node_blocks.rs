//! Nodes with blocks of their own, with real packets: no network interface is taken and no cloud is asked; blocks of several
//! ranges, full ones, and such that come and go while pods live.

#![allow(clippy::print_stderr, reason = "a test says why it cannot run")]

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use freeboard_address::{Cidr, PodKey};
use freeboard_lab::{
    INTERNET_HOST, LabError, Machine, Mirror, Pod, Program, internet_mirror, ping_all, source_seen_by,
};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::{LIMIT, Outcome, Stage, require, start_pod, wait_until};

/// Two nodes. Pods have addresses of two ranges that do not touch each other, nor the nodes' own subnet.
const WORLD: &str = r#"
region: us-west-2
seed: 7
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
throttling: { enabled: false }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    secondary_cidrs: [10.4.0.0/20, 100.64.0.0/20]
    internet_gateway: igw-00000000000000001
    subnets: [{ id: subnet-00000000000000001, cidr: 10.0.208.0/27, zone: us-west-2a }]
instances:
  - id: i-00000000000000001
    type: t3.small
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.208.11 }]
  - id: i-00000000000000002
    type: t3.small
    interfaces: [{ id: eni-00000000000000002, subnet: subnet-00000000000000001, address: 10.0.208.12 }]
"#;
/// Where the agents find their blocks.
const FILE: &str = "/run/node-blocks";
const FIRST: [&str; 2] = ["10.4.0.0/30", "10.4.0.8/30"];
const SECOND: [&str; 2] = ["100.64.1.0/29", "100.64.2.0/29"];
/// Addresses of a block of each range.
const SIZES: [usize; 2] = [4, 8];

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![Trial::test("pods_of_two_ranges_reach_each_other_and_blocks_come_and_go_under_them", || {
        Stage::play(WORLD, blocks).map_err(|error| Failed::from(error.to_string()))
    })];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Gives a node its blocks, as the fabric and as the agent's file have them.
fn give(stage: &Stage, machine: &Machine, blocks: &[&str]) -> Outcome {
    let parsed: Vec<Cidr> = blocks.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    stage.lab.set_node_blocks(machine, &parsed)?;
    let text = blocks.join("\n");
    Ok(machine.namespace().run(|| std::fs::write(FILE, text))??)
}

fn start_agent(stage: &Stage, machine: &Machine) -> Outcome<Program> {
    let settings = [
        ("FREEBOARD_SOURCE", "block"),
        ("FREEBOARD_NODE_BLOCKS_FILE", FILE),
        ("FREEBOARD_ADD_WAIT_SECONDS", "5"),
        ("IP_COOLDOWN_PERIOD", "1"),
        ("FREEBOARD_CNI_VERSION", "1.1.0"),
        // Without them a call to the cloud would have nowhere to go.
        ("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:9"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9"),
    ];
    stage.start_agent(machine, &settings)
}

/// What the agent says of its blocks: each with its figures.
fn shown(machine: &Machine) -> Outcome<Vec<Value>> {
    let body: Value = serde_json::from_str(&machine.get(61679, "/v1/freeboard/pool")?)?;
    Ok(body["nodeBlocks"].as_array().cloned().ok_or_else(|| format!("no node blocks: {body}"))?)
}

fn is_in(address: Ipv4Addr, block: &str) -> Outcome<bool> {
    Ok(block.parse::<Cidr>()?.contains(address))
}

/// An ADD that must be refused, with these words.
fn refused(machine: &Machine, words: &[&str]) -> Outcome {
    let mut pod = Pod::create(machine, PodKey::new("test", "one-too-many"))?;
    let answer = pod.add();
    pod.delete()?;
    let Err(LabError::Cni(refusal)) = answer else { return Err(format!("a refusal; instead {answer:?}").into()) };
    let text = format!("{} {}", refusal.message, refusal.details);
    words.iter().try_for_each(|word| require(text.contains(word), format!("{word:?} is in {text:?}")))
}

/// Each pod reaches each pod, each node and the internet.
fn all_reach_all(pods: &[(Pod, Ipv4Addr)], machines: &[Machine]) -> Outcome {
    let mut targets: Vec<Ipv4Addr> = pods.iter().map(|(_, address)| *address).collect();
    targets.extend(machines.iter().map(|machine| machine.address));
    targets.push(INTERNET_HOST);
    for (pod, address) in pods {
        let echoes = ping_all(pod.namespace(), &targets, LIMIT)?;
        let silent: Vec<Ipv4Addr> = echoes.iter().filter(|echo| !echo.answered).map(|echo| echo.target).collect();
        require(silent.is_empty(), format!("{} ({address}) reaches all; silent: {silent:?}", pod.key))?;
    }
    Ok(())
}

fn blocks(stage: &Stage) -> Outcome {
    let machines = stage.lab.machines();
    let mut agents = Vec::new();
    let mut pods = Vec::new();
    for (place, machine) in machines.iter().enumerate() {
        give(stage, machine, &[FIRST[place], SECOND[place]])?;
        agents.push(start_agent(stage, machine)?);
        // The first block is used up before the second is begun.
        for number in 0..SIZES[0] + 2 {
            let (pod, address) = start_pod(machine, &format!("web-{place}-{number}"))?;
            let block = if number < SIZES[0] { FIRST[place] } else { SECOND[place] };
            require(is_in(address, block)?, format!("pod {number} of {} has {address} of {block}", machine.name))?;
            pods.push((pod, address));
        }
    }
    let distinct: BTreeSet<Ipv4Addr> = pods.iter().map(|(_, address)| *address).collect();
    require(distinct.len() == pods.len(), "no address is given twice")?;
    all_reach_all(&pods, &machines)?;
    for (pod, address) in &pods {
        pod.check().map_err(|error| format!("CHECK of {} ({address}): {error}", pod.key))?;
    }
    sources(stage, &pods, &machines)?;

    let machine = &machines[0];
    exhaustion(stage, machine, &mut pods)?;
    restart(stage, machine, &mut agents[0], &pods)?;
    drain(stage, machine, &mut pods)?;
    all_reach_all(&pods, &machines)?;
    nothing_was_asked_of_the_cloud(stage, &machines)
}

/// Pods see each other under their own addresses; the internet sees the node.
fn sources(stage: &Stage, pods: &[(Pod, Ipv4Addr)], machines: &[Machine]) -> Outcome {
    let _mirror = Mirror::start(&stage.lab.internet(), internet_mirror())?;
    let seen = source_seen_by(pods[0].0.namespace(), internet_mirror(), LIMIT)?;
    require(seen == Some(machines[0].address), format!("the internet sees {}, not {seen:?}", machines[0].address))?;
    let (far, address) = &pods[pods.len() - 1];
    let listen = std::net::SocketAddr::from((*address, 80));
    let _mirror = Mirror::start(far.namespace(), listen)?;
    let seen = source_seen_by(pods[0].0.namespace(), listen, LIMIT)?;
    require(seen == Some(pods[0].1), format!("a pod sees {}, not {seen:?}", pods[0].1))
}

/// All addresses are used: the next pod is refused by name, and served when the node gets one more block.
fn exhaustion(stage: &Stage, machine: &Machine, pods: &mut Vec<(Pod, Ipv4Addr)>) -> Outcome {
    for number in 2..SIZES[1] {
        pods.push(start_pod(machine, &format!("full-{number}"))?);
    }
    refused(
        machine,
        &["NodeBlockExhausted", FIRST[0], SECOND[0], "12 addresses", "12 are assigned", "one more block"],
    )?;
    require(machine.cni_status().is_err(), "STATUS says that no address can be given")?;
    give(stage, machine, &[FIRST[0], SECOND[0], "10.4.2.0/29"])?;
    wait_until("the third block is there", || {
        let blocks = shown(machine)?;
        Ok(if blocks.len() == 3 { Ok(()) } else { Err(format!("{blocks:?}")) })
    })?;
    let (pod, address) = start_pod(machine, "third-0")?;
    require(is_in(address, "10.4.2.0/29")?, format!("{address} is of the third block"))?;
    pods.push((pod, address));
    Ok(())
}

/// A killed agent finds all of it again, also while its file is away; an address that rested rests on.
fn restart(stage: &Stage, machine: &Machine, agent: &mut Program, pods: &[(Pod, Ipv4Addr)]) -> Outcome {
    let before = shown(machine)?;
    agent.kill()?;
    machine.output("mv", &[FILE, "/run/away"])?;
    *agent = start_agent(stage, machine)?;
    wait_until("the blocks are known again", || {
        let after = shown(machine)?;
        let figures = |blocks: &[Value]| -> Vec<(Value, Value)> {
            blocks.iter().map(|block| (block["cidr"].clone(), block["tally"]["assigned"].clone())).collect()
        };
        Ok(if figures(&before) == figures(&after) { Ok(()) } else { Err(format!("{before:?}, then {after:?}")) })
    })?;
    machine.output("mv", &["/run/away", FILE])?;
    pods.iter().try_for_each(|(pod, address)| {
        Ok(pod.check().map_err(|error| format!("CHECK of {} ({address}) after a restart: {error}", pod.key))?)
    })
}

/// A block that is taken away gives nothing more and waits for its pods; then it is gone.
fn drain(stage: &Stage, machine: &Machine, pods: &mut Vec<(Pod, Ipv4Addr)>) -> Outcome {
    // The fabric still leads to it: its pods live on.
    machine.namespace().run(|| std::fs::write(FILE, format!("{}\n10.4.2.0/29\n", FIRST[0])))??;
    wait_until("the second block drains, and says for whom it waits", || {
        let blocks = shown(machine)?;
        let waits = blocks.iter().find(|block| block["cidr"] == SECOND[0]).map(|block| block["waits_for"].clone());
        let count = waits.as_ref().and_then(Value::as_array).map(Vec::len);
        Ok(if count == Some(SIZES[1]) { Ok(()) } else { Err(format!("{waits:?}")) })
    })?;
    let (pod, address) = start_pod(machine, "while-it-drains")?;
    require(is_in(address, "10.4.2.0/29")?, format!("{address} is not of the draining block"))?;
    pods.push((pod, address));
    let (leaving, staying): (Vec<_>, Vec<_>) =
        std::mem::take(pods).into_iter().partition(|(_, address)| is_in(*address, SECOND[0]).unwrap_or(false));
    *pods = staying;
    for (mut pod, _) in leaving {
        pod.delete()?;
    }
    wait_until("the drained block is gone", || {
        let blocks = shown(machine)?;
        Ok(if blocks.len() == 2 { Ok(()) } else { Err(format!("{blocks:?}")) })
    })?;
    give(stage, machine, &[FIRST[0], "10.4.2.0/29"])
}

fn nothing_was_asked_of_the_cloud(stage: &Stage, machines: &[Machine]) -> Outcome {
    for machine in machines {
        let metrics = machine.get(61678, "/metrics")?;
        let calls: Vec<&str> = metrics.lines().filter(|line| line.starts_with("awscni_ec2api_req_count")).collect();
        require(calls.is_empty(), format!("no call to EC2 was made: {calls:?}"))?;
        let alarms = metrics.lines().find_map(|line| line.strip_prefix("freeboard_alarms "));
        require(alarms == Some("0"), format!("nothing impossible was met: {alarms:?}"))?;
        let rules = machine.output("ip", &["-4", "rule", "list"])?;
        require(!rules.contains("1536:"), format!("no rule leads to an interface's own table: {rules}"))?;
    }
    drop(stage.lab.server().with_cloud(|cloud, _| cloud.audit()));
    Ok(())
}
