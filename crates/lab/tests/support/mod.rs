//! What the tests of pods share: a lab with agents, what an agent says of itself, and conditions.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_lab::{Lab, LabOptions, Machine, Pod, Program};
use serde_json::Value;

/// Why a test fails.
pub(crate) type Problem = Box<dyn std::error::Error + Send + Sync>;
/// What a test ends with.
pub(crate) type Outcome<T = ()> = Result<T, Problem>;

/// How long anything may take that must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How much faster than real the cloud is.
const SPEED: f64 = 20.0;
/// What tells that a node can give addresses.
const CONFLIST: &str = "/etc/cni/net.d/10-aws.conflist";

/// Fails unless `holds`.
pub(crate) fn require(holds: bool, what: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

/// Waits until `holds`, and fails with its last word when it does not within [`LIMIT`].
pub(crate) fn wait_until(what: impl Display, holds: impl FnMut() -> Outcome<Result<(), String>>) -> Outcome {
    wait_within(LIMIT, what, holds)
}

/// Waits until `holds`, and fails with its last word when it does not within `limit`.
pub(crate) fn wait_within(
    limit: Duration,
    what: impl Display,
    mut holds: impl FnMut() -> Outcome<Result<(), String>>,
) -> Outcome {
    let started = Instant::now();
    loop {
        match holds()? {
            Ok(()) => return Ok(()),
            Err(why) if started.elapsed() > limit => {
                return Err(format!("after {limit:?} still not: {what}: {why}").into());
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// A lab with its runtime.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    /// Holds the cloud's tasks; dropped after the lab.
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// Runs a test on the machines of a world (YAML), on which no agent runs yet. Of a failed test the nodes' logs are kept in
    /// the directory that `FREEBOARD_TEST_LOGS` names, if it does.
    pub(crate) fn play(world: &str, test: impl FnOnce(&Self) -> Outcome) -> Outcome {
        let stage = Self::set(world)?;
        let outcome = test(&stage);
        if outcome.is_err()
            && let Ok(directory) = std::env::var("FREEBOARD_TEST_LOGS")
        {
            for machine in stage.lab.machines() {
                let target = format!("{directory}/{}-{}", machine.instance, stage.lab.ec2_endpoint().replace('/', ""));
                // A machine on which no agent ran has no logs; the test's own failure is what counts.
                let _ = machine.output("cp", &["-r", "/var/log/aws-routed-eni", &target]);
            }
        }
        outcome
    }

    fn set(world: &str) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let world = freeboard_vpc_server::parse_world("the test's world", world)?;
        let options = LabOptions {
            agent: program("FREEBOARD_AGENT", "freeboard-agent")?,
            plugin: program("FREEBOARD_PLUGIN", "aws-cni")?,
            speed: SPEED,
        };
        let lab = runtime.block_on(Lab::start(world, options))?;
        Ok(Self { lab, _runtime: runtime })
    }

    /// Starts the agent of a machine and waits until its node can give addresses.
    pub(crate) fn start_agent(&self, machine: &Machine, settings: &[(&str, &str)]) -> Outcome<Program> {
        let mut agent = self.lab.start_agent(machine, settings)?;
        agent.wait_for_file(Path::new(CONFLIST), LIMIT)?;
        // The file of an agent that was killed is still there; an answer is not.
        wait_until(format!("the agent of {} answers", machine.name), || {
            Ok(held(machine).map(drop).map_err(|error| error.to_string()))
        })?;
        Ok(agent)
    }
}

/// A program of the workspace: named by a variable, or built next to the test.
pub(crate) fn program(variable: &str, name: &str) -> Outcome<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe()?;
            let directory = test.parent().and_then(Path::parent).ok_or("the test lies in no target directory")?;
            directory.join(name)
        }
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing: cargo build -p freeboard-agent -p freeboard-cni, or name one in {variable}",
        path.display()
    )
    .into())
}

/// Starts a pod that must get an address.
pub(crate) fn start_pod(machine: &Machine, name: &str) -> Outcome<(Pod, Ipv4Addr)> {
    let mut pod = Pod::create(machine, PodKey::new("test", name))?;
    let address = pod.add().map_err(|error| format!("{name} on {}: {error}", machine.name))?;
    Ok((pod, address))
}

/// What an agent says of its addresses.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Addresses that the node holds for pods.
    pub(crate) total: usize,
    /// Those that are assigned, with the pod's name.
    pub(crate) assigned: BTreeMap<Ipv4Addr, String>,
    /// Those that are assigned or have been.
    pub(crate) every_address: Vec<Ipv4Addr>,
}

/// Reads `/v1/enis` of a machine's agent.
pub(crate) fn held(machine: &Machine) -> Outcome<Held> {
    let body: Value = serde_json::from_str(&machine.get(61679, "/v1/enis")?)?;
    let mut held = Held::default();
    let interfaces = body["0"]["ENIs"].as_object().ok_or_else(|| format!("/v1/enis has no interfaces: {body}"))?;
    for block in interfaces.values().filter_map(|interface| interface["AvailableIPv4Cidrs"].as_object()).flatten() {
        let (cidr, block) = block;
        let host = cidr.split('/').next().unwrap_or_default();
        held.every_address.push(host.parse()?);
        held.total += 1;
        for address in block["IPAddresses"].as_object().into_iter().flat_map(|addresses| addresses.values()) {
            // A cooling address is listed too; only one that a pod holds names a network.
            if address["IPAMKey"]["networkName"].as_str().is_some_and(|network| !network.is_empty()) {
                let pod = address["IPAMMetadata"]["k8sPodName"].as_str().unwrap_or_default().to_owned();
                held.assigned.insert(address["Address"].as_str().unwrap_or_default().parse()?, pod);
            }
        }
    }
    Ok(held)
}
