//! What the tests of pods share: a lab with agents, what an agent says of itself, conditions, and echo requests without end.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_lab::{Lab, LabOptions, Machine, Namespace, Pod, Program};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

/// Why a test fails.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;
/// What a test ends with.
pub type Outcome<T = ()> = Result<T, Problem>;

/// How long anything may take that must happen.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How long is waited for what must not happen.
pub const BRIEFLY: Duration = Duration::from_millis(400);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How much faster than real the cloud is.
const SPEED: f64 = 20.0;
/// What tells that a node can give addresses.
const CONFLIST: &str = "/etc/cni/net.d/10-aws.conflist";

/// Fails unless `holds`.
pub fn require(holds: bool, what: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

/// Waits until `holds`, and fails with its last word when it does not within [`LIMIT`].
pub fn wait_until(what: impl Display, mut holds: impl FnMut() -> Outcome<Result<(), String>>) -> Outcome {
    let started = Instant::now();
    loop {
        match holds()? {
            Ok(()) => return Ok(()),
            Err(why) if started.elapsed() > LIMIT => {
                return Err(format!("after {LIMIT:?} still not: {what}: {why}").into());
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// A lab with its runtime.
pub struct Stage {
    pub lab: Lab,
    /// Holds the cloud's tasks; dropped after the lab.
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// Brings up the machines of a world (YAML), without agents.
    pub fn set(world: &str) -> Outcome<Self> {
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
    pub fn start_agent(&self, machine: &Machine, settings: &[(&str, &str)]) -> Outcome<Program> {
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
fn program(variable: &str, name: &str) -> Outcome<PathBuf> {
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
pub fn start_pod(machine: &Machine, name: &str) -> Outcome<(Pod, Ipv4Addr)> {
    let mut pod = Pod::create(machine, PodKey::new("test", name))?;
    let address = pod.add().map_err(|error| format!("{name} on {}: {error}", machine.name))?;
    Ok((pod, address))
}

/// The body of a GET on a machine's loopback.
pub fn get(machine: &Machine, port: u16, path: &str) -> Outcome<String> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = machine.namespace().run(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })??;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.lines().next().is_some_and(|line| line.contains(" 200")) => Ok(body.to_owned()),
        _ => Err(format!("GET {path} on {} answered {answer:?}", machine.name).into()),
    }
}

/// What an agent says of its addresses.
#[derive(Debug, Default)]
pub struct Held {
    /// Addresses that the node holds for pods.
    pub total: usize,
    /// Those that are assigned, with the pod's name.
    pub assigned: BTreeMap<Ipv4Addr, String>,
    /// Those that are assigned or have been.
    pub every_address: Vec<Ipv4Addr>,
}

/// Reads `/v1/enis` of a machine's agent.
pub fn held(machine: &Machine) -> Outcome<Held> {
    let body: Value = serde_json::from_str(&get(machine, 61679, "/v1/enis")?)?;
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

/// Echo requests from one namespace to some targets, every few milliseconds, until it is stopped.
pub struct SteadyPing {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Outcome<Vec<Steady>>>,
}

/// What became of the echo requests to one target.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    pub target: Ipv4Addr,
    pub sent: usize,
    pub lost: usize,
}

impl SteadyPing {
    /// Begins; every target is asked once per `interval`.
    pub fn start(namespace: &Namespace, targets: &[Ipv4Addr], interval: Duration) -> Outcome<Self> {
        let socket = namespace.run(|| -> std::io::Result<UdpSocket> {
            // The raw socket is used through the type that reads and writes datagrams safely.
            Ok(UdpSocket::from(std::os::fd::OwnedFd::from(Socket::new(
                Domain::IPV4,
                Type::RAW,
                Some(Protocol::ICMPV4),
            )?)))
        })??;
        let stop = Arc::new(AtomicBool::new(false));
        let (told, targets) = (Arc::clone(&stop), targets.to_vec());
        let worker = std::thread::spawn(move || ping_until(&socket, &targets, interval, &told));
        Ok(Self { stop, worker })
    }

    /// Ends, and waits a moment for the last answers.
    pub fn stop(self) -> Outcome<Vec<Steady>> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().map_err(|_| "the pinging thread panicked")?
    }
}

/// How long a late answer is waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

fn ping_until(socket: &UdpSocket, targets: &[Ipv4Addr], interval: Duration, stop: &AtomicBool) -> Outcome<Vec<Steady>> {
    let identifier = u16::try_from(std::process::id() % 0xffff)?;
    let mut answered: Vec<Vec<bool>> = targets.iter().map(|_| Vec::new()).collect();
    let mut next = Instant::now();
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && stop.load(Ordering::Relaxed) {
            end = Some(now + LAST_ANSWERS);
        }
        let done = answered.iter().flatten().all(|answered| *answered);
        if end.is_some_and(|end| done || now > end) {
            break;
        }
        if end.is_none() && now >= next {
            next += interval;
            for (target, answered) in targets.iter().zip(&mut answered) {
                let sequence = u16::try_from(answered.len() % 0x1_0000)?;
                // A refusal by the kernel is a loss like any other: the request stays unanswered.
                let _ = socket.send_to(&echo_request(identifier, sequence), (*target, 0));
                answered.push(false);
            }
        }
        let wait = next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), interval);
        socket.set_read_timeout(Some(wait))?;
        let mut buffer = [0; 256];
        let Ok((length, SocketAddr::V4(source))) = socket.recv_from(&mut buffer) else { continue };
        let Some(sequence) = reply_to(&buffer[..length], identifier) else { continue };
        let Some(index) = targets.iter().position(|target| target == source.ip()) else { continue };
        mark(&mut answered[index], sequence);
    }
    let steady = |(target, answered): (&Ipv4Addr, &Vec<bool>)| Steady {
        target: *target,
        sent: answered.len(),
        lost: answered.iter().filter(|answered| !**answered).count(),
    };
    Ok(targets.iter().zip(&answered).map(steady).collect())
}

/// Notes the answer to the latest request of this sequence number, which wraps after 65,536.
fn mark(answered: &mut [bool], sequence: u16) {
    let sequence = usize::from(sequence);
    let latest = (0..answered.len()).rev().find(|index| index % 0x1_0000 == sequence);
    if let Some(answered) = latest.and_then(|index| answered.get_mut(index)) {
        *answered = true;
    }
}

fn echo_request(identifier: u16, sequence: u16) -> [u8; 8] {
    let mut packet = [8, 0, 0, 0, 0, 0, 0, 0];
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let mut sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap_or(u16::MAX);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The sequence number of a reply to one of ours.
fn reply_to(packet: &[u8], identifier: u16) -> Option<u16> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(header..).filter(|message| message.len() >= 8)?;
    let ours = message[0] == 0 && message[4..6] == identifier.to_be_bytes();
    ours.then(|| u16::from_be_bytes([message[6], message[7]]))
}
