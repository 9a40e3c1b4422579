//! The agent is killed at random in the middle of ADDs and DELs, again and again: what it has promised still holds.

#![allow(clippy::print_stderr, reason = "a test says why it cannot run")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_lab::{INTERNET_HOST, LabError, Machine, Pod, SteadyPing, ping_all};
use freeboard_vpc::Describe;
use libtest_mimic::{Arguments, Failed, Trial};
use support::{LIMIT, Outcome, Problem, Stage, held, require, start_pod, wait_until};

/// Two m5.xlarge nodes: 56 pod addresses each.
const WORLD: &str = r#"
region: us-west-2
seed: 1
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { api_latency_milliseconds: 100, attach_seconds: 2, metadata_lag_seconds: 1 }
throttling: { enabled: false }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.0.0/20, zone: us-west-2a }
instances:
  - id: i-00000000000000001
    type: m5.xlarge
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.0.10 }]
  - id: i-00000000000000002
    type: m5.xlarge
    interfaces: [{ id: eni-00000000000000002, subnet: subnet-00000000000000001, address: 10.0.0.11 }]
"#;

/// Half of the 50 calls of a burst are ADDs, half DELs.
const PODS: usize = 25;
/// Calls in flight at once; kubelet starts and stops this many pods at a time.
const IN_FLIGHT: usize = 10;
/// Pods that run all the time.
const LASTING: usize = 5;
/// The agent is killed up to so long after a random number of the burst's calls have ended: between two calls or within one.
const WITHIN: Duration = Duration::from_millis(2);
/// Every lasting pod is asked this often.
const EVERY: Duration = Duration::from_millis(20);
/// An address rests for a moment only, so that 56 are enough; longer than a DEL, and the look of an agent that starts, can take.
const REST: (&str, &str) = ("IP_COOLDOWN_PERIOD", "2");
/// A node that holds all its addresses from the start.
const STEADY: &[(&str, &str)] = &[REST, ("FREEBOARD_ADD_WAIT_SECONDS", "5"), ("WARM_ENI_TARGET", "4")];
/// A node that takes and gives back addresses and interfaces with every burst.
const BREATHING: &[(&str, &str)] =
    &[REST, ("FREEBOARD_ADD_WAIT_SECONDS", "5"), ("WARM_IP_TARGET", "2"), ("FREEBOARD_SHRINK_SECONDS", "1")];

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        trial("fifty_kills_in_the_middle_of_bursts_lose_and_double_no_address_and_no_ping", 50, STEADY),
        trial("ten_kills_while_the_pool_grows_and_shrinks_lose_and_double_no_address_and_no_ping", 10, BREATHING),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, rounds: u32, settings: &'static [(&str, &str)]) -> Trial {
    Trial::test(name, move || {
        Stage::play(WORLD, |stage| kills(stage, rounds, settings)).map_err(|error| Failed::from(error.to_string()))
    })
}

/// Random numbers that a failure can be repeated with (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound
    }
}

fn kills(stage: &Stage, rounds: u32, settings: &[(&str, &str)]) -> Outcome {
    let seed = std::env::var("FREEBOARD_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    let mut random = Random(seed);
    let machines = stage.lab.machines();
    let [node, other] = machines.as_slice() else { return Err("the world has two machines".into()) };
    let _other_agent = stage.start_agent(other, settings)?;
    let (_far, far) = start_pod(other, "far")?;
    let mut agent = stage.start_agent(node, settings)?;
    let lasting =
        (0..LASTING).map(|index| start_pod(node, &format!("lasting-{index}"))).collect::<Outcome<Vec<_>>>()?;
    let targets = [far, INTERNET_HOST, node.address];
    let pings = lasting
        .iter()
        .map(|(pod, _)| SteadyPing::start(pod.namespace(), &targets, EVERY))
        .collect::<Result<Vec<_>, LabError>>()?;

    let mut running: Vec<(Pod, Ipv4Addr)> = Vec::new();
    let mut cut_short = 0;
    for round in 0..rounds {
        let at = |error: Problem| format!("round {round} of seed {seed}: {error}");
        let (going, names) = (std::mem::take(&mut running), (0..PODS).map(|index| format!("pod-{round}-{index}")));
        let burst = Burst::new(node, going, names.collect());
        let left = 1 + random.below(u64::try_from(burst.left())?);
        let delay = Duration::from_micros(random.below(u64::try_from(WITHIN.as_micros())?));
        std::thread::scope(|scope| -> Outcome {
            let workers: Vec<_> = (0..IN_FLIGHT).map(|_| scope.spawn(|| burst.work())).collect();
            let began = Instant::now();
            while u64::try_from(burst.left())? > left && began.elapsed() < LIMIT {
                std::thread::yield_now();
            }
            let reached = Instant::now();
            while reached.elapsed() < delay {
                std::thread::yield_now();
            }
            cut_short += u32::from(burst.left() > 0);
            agent.kill()?;
            agent = stage.start_agent(node, settings)?;
            workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
        })
        .map_err(at)?;
        running = burst.started.into_inner().map_err(|_| "a worker panicked")?;
        let living: BTreeMap<Ipv4Addr, &str> =
            running.iter().chain(&lasting).map(|(pod, address)| (*address, pod.key.name.as_str())).collect();
        require(living.len() == PODS + LASTING, "no address on two pods").map_err(at)?;
        settled(node, &living).map_err(at)?;
        let addresses: Vec<Ipv4Addr> = living.keys().copied().collect();
        let silent: Vec<_> = ping_all(node.namespace(), &addresses, LIMIT)
            .map_err(|error| at(error.into()))?
            .into_iter()
            .filter(|echo| !echo.answered)
            .collect();
        require(silent.is_empty(), format!("every living pod answers; silent: {silent:?}")).map_err(at)?;
    }
    require(cut_short >= rounds / 2, format!("most kills hit a burst: {cut_short} of {rounds} did"))?;
    for ping in pings {
        for steady in ping.stop()? {
            let what = steady.to_string();
            require(steady.sent > 0 && steady.lost_at.is_empty(), what)?;
        }
    }
    whole_pool(stage, node)?;
    rules(node, &running, &lasting)
}

/// Once what was under way is settled, the agent holds exactly the living pods' addresses, each for its pod.
fn settled(node: &Machine, living: &BTreeMap<Ipv4Addr, &str>) -> Outcome {
    wait_until("the agent holds exactly the addresses of the living pods", || {
        let assigned = held(node)?.assigned;
        let assigned: BTreeMap<Ipv4Addr, &str> =
            assigned.iter().map(|(address, pod)| (*address, pod.as_str())).collect();
        if assigned == *living {
            return Ok(Ok(()));
        }
        let lost: Vec<_> = living.iter().filter(|(address, pod)| assigned.get(address) != Some(pod)).collect();
        let leaked: Vec<_> = assigned.iter().filter(|(address, pod)| living.get(address) != Some(pod)).collect();
        Ok(Err(format!("lost {lost:?}, leaked {leaked:?}")))
    })
}

/// No address fell out of the pool: the agent knows every secondary address that EC2 has assigned to the node's interfaces.
fn whole_pool(stage: &Stage, node: &Machine) -> Outcome {
    wait_until("the pool holds what EC2 has assigned to the node", || {
        let interfaces =
            stage.lab.server().with_cloud(|cloud, _| cloud.describe_network_interfaces(&Describe::default()));
        let assigned: BTreeSet<Ipv4Addr> = interfaces
            .map_err(|error| format!("DescribeNetworkInterfaces: {error}"))?
            .items
            .iter()
            .filter(|interface| {
                interface.attachment.as_ref().is_some_and(|one| one.instance_id.as_ref() == Some(&node.instance))
            })
            .flat_map(|interface| &interface.private_ip_addresses)
            .filter(|address| !address.primary)
            .map(|address| address.private_ip_address)
            .collect();
        let held = held(node)?;
        let known: BTreeSet<Ipv4Addr> = held.every_address.iter().copied().collect();
        let whole = known == assigned && held.total == known.len();
        Ok(if whole { Ok(()) } else { Err(format!("known {known:?}, assigned {assigned:?}")) })
    })
}

/// The kernel has exactly one rule to each living pod, and none to any other.
fn rules(node: &Machine, running: &[(Pod, Ipv4Addr)], lasting: &[(Pod, Ipv4Addr)]) -> Outcome {
    let text = node.output("ip", &["-4", "rule", "list"])?;
    let mut pointed: Vec<Ipv4Addr> =
        text.lines().filter_map(|line| line.split_once(" to ")?.1.split(' ').next()?.parse().ok()).collect();
    let mut living: Vec<Ipv4Addr> = running.iter().chain(lasting).map(|(_, address)| *address).collect();
    pointed.sort_unstable();
    living.sort_unstable();
    require(pointed == living, format!("one rule to each living pod {living:?} and no other: {pointed:?}"))
}

/// One pod's part in a burst.
enum Call {
    Delete(Box<Pod>),
    Add(String),
}

/// ADDs and DELs, taken one after another by several workers, each repeated until it succeeds as kubelet does.
struct Burst<'a> {
    node: &'a Machine,
    calls: Mutex<Vec<Call>>,
    open: AtomicUsize,
    started: Mutex<Vec<(Pod, Ipv4Addr)>>,
}

impl<'a> Burst<'a> {
    fn new(node: &'a Machine, going: Vec<(Pod, Ipv4Addr)>, coming: Vec<String>) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        let mut going = going.into_iter().map(|(pod, _)| Call::Delete(Box::new(pod)));
        for name in coming {
            calls.extend(going.next());
            calls.push(Call::Add(name));
        }
        let open = AtomicUsize::new(calls.len());
        Self { node, calls: Mutex::new(calls), open, started: Mutex::new(Vec::new()) }
    }

    /// Calls that have not ended.
    fn left(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn work(&self) -> Outcome {
        loop {
            let call = self.calls.lock().map_err(|_| "another worker panicked")?.pop();
            match call {
                Some(Call::Delete(mut pod)) => wait_until(format!("DEL of {} succeeds", pod.key), || {
                    Ok(pod.delete().map_err(|error| error.to_string()))
                })?,
                Some(Call::Add(name)) => {
                    let pod = self.add(&name)?;
                    self.started.lock().map_err(|_| "another worker panicked")?.push(pod);
                }
                None => return Ok(()),
            }
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A failed ADD is followed by a DEL of its sandbox and an ADD for a new one, as kubelet and its runtime do.
    fn add(&self, name: &str) -> Outcome<(Pod, Ipv4Addr)> {
        let began = Instant::now();
        loop {
            let mut pod = Pod::create(self.node, PodKey::new("test", name))?;
            let error = match pod.add() {
                Ok(address) => return Ok((pod, address)),
                Err(error) => error,
            };
            wait_until(format!("DEL after a failed ADD of {name} succeeds"), || {
                Ok(pod.delete().map_err(|error| error.to_string()))
            })?;
            require(began.elapsed() < LIMIT, format!("{name} gets an address; last: {error}"))?;
        }
    }
}
