//! Fleets: thousands of real pool engines under the request limits of their accounts, in virtual time.
//!
//! What is the same as everywhere: the engine, and the account's front door with its token buckets (`freeboard_vpc::Cloud`).
//! What is thinner than in [`crate::Run`]: subnets are exact free space ([`freeboard_address::FreeSpace`], lowest first) without
//! reservations; an interface is what its node sees of it; there is no eventual consistency, no fault but the throttle, and the
//! disk answers at once. Accounts have nothing in common, so each is run by one thread, and the same fleet brings the same
//! result to the byte on any number of threads.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering as Memory};

use freeboard_address::{AttachmentKey, PodKey, VpcId};
use freeboard_pool::{
    AddRequest, AllocationMode, CloudFailure, CloudSuccess, DelRequest, Effect, NodeFacts, ObservedInterface,
    OperationId, Pacing, Policy, Pool, PoolSettings, RangePreference, Reply, RequestId, Share,
};
use freeboard_vpc::WorldError;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub use crate::fleet_account::CallCount;
use crate::fleet_account::{Account, SUBNETS};
use crate::random::Random;
use crate::world::{VPC, ZONE, instance_id, subnet_id};

/// The runtime asks again for a refused pod after about so many seconds.
const RETRY_SECONDS: (f64, f64) = (10.0, 15.0);

/// A fleet, and what happens to it.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Accounts; each has its own request limits and subnets.
    pub accounts: usize,
    /// Nodes of each account.
    pub nodes: u32,
    /// Pods of each node.
    pub pods: u32,
    /// Interfaces and addresses per interface of each node.
    pub shape: Shape,
    /// The policy of every node.
    pub policy: Policy,
    /// The nodes start evenly within this time; all at once when it is zero.
    pub start_within: SignedDuration,
    /// How long a pod lives on average; `None`: for ever.
    pub lifetime: Option<SignedDuration>,
    /// The end. Without churn, a run ends when every pod has an address.
    pub length: SignedDuration,
    /// A controller tells each node its share from its start on.
    pub shared: bool,
    /// The seed.
    pub seed: u64,
}

/// The limits of a node's instance type.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Interfaces.
    pub interfaces: u32,
    /// Addresses per interface, its primary one included.
    pub addresses: u32,
}

/// What came of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FleetResult {
    /// Inputs that the engines took.
    pub events: u64,
    /// ADDs that got an address.
    pub served: u64,
    /// ADDs that were refused; the runtime asked again.
    pub refused: u64,
    /// Pods without an address at the end.
    pub waiting: u64,
    /// Milliseconds from the start until the last of the first pods had its address; `None`: not all got one.
    pub complete_after_milliseconds: Option<i64>,
    /// Calls by action, until then; in a run with churn, until the end.
    pub calls: BTreeMap<&'static str, CallCount>,
    /// Of the first pods, how many were served in each second since the start.
    pub served_by_second: Vec<u64>,
    /// Milliseconds from the first ask to the address: half of the pods, 99 of 100, the longest.
    pub wait_milliseconds: Waits,
    /// A number that follows from every event in its order.
    pub digest: u64,
}

/// Times from the first ask to the address, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// Half of the pods waited at most this.
    pub p50: i64,
    /// 99 of 100.
    pub p99: i64,
    /// All.
    pub longest: i64,
}

impl FleetResult {
    /// All calls, throttled or not.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.calls.values().map(|count| count.passed + count.throttled).sum()
    }

    /// Calls that passed and changed something: the reads are left out.
    #[must_use]
    pub fn changes(&self) -> u64 {
        let changing = self.calls.iter().filter(|(action, _)| !action.starts_with("Describe"));
        changing.map(|(_, count)| count.passed).sum()
    }

    /// Throttled calls.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.calls.values().map(|count| count.throttled).sum()
    }

    /// The earliest time at which one account's buckets let the calls pass that did pass, in seconds.
    #[must_use]
    pub fn bound_seconds(&self) -> f64 {
        let needed = |(action, count): (&&str, &CallCount)| {
            let (capacity, per_second) = match *action {
                "DescribeSubnets" | "DescribeNetworkInterfaces" => (100, 20),
                "AttachNetworkInterface" | "DetachNetworkInterface" => (50, 5),
                _ => (100, 5),
            };
            count.passed.saturating_sub(capacity) as f64 / f64::from(per_second)
        };
        self.calls.iter().map(needed).fold(0.0, f64::max)
    }
}

impl Fleet {
    /// Runs the fleet on this many threads.
    ///
    /// # Errors
    /// When an account cannot be made.
    pub fn run(&self, threads: usize) -> Result<FleetResult, WorldError> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let account = next.fetch_add(1, Memory::Relaxed);
                        if account >= self.accounts {
                            return;
                        }
                        let result = Simulation::new(self, account).map(Simulation::run);
                        results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(account, result);
                    }
                });
            }
        });
        let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut sum = FleetResult { complete_after_milliseconds: Some(0), ..FleetResult::default() };
        let mut waits = Vec::new();
        for result in results.into_values() {
            let (result, own_waits) = result?;
            sum.add(result);
            waits.extend(own_waits);
        }
        waits.sort_unstable();
        let at = |part: usize| waits.get(waits.len().saturating_sub(1) * part / 100).copied().map_or(0, i64::from);
        sum.wait_milliseconds = Waits { p50: at(50), p99: at(99), longest: at(100) };
        Ok(sum)
    }

    fn settings(&self) -> PoolSettings {
        PoolSettings {
            mode: AllocationMode::SecondaryAddresses,
            policy: self.policy,
            max_eni: None,
            cooldown: SignedDuration::from_secs(30),
            preference: RangePreference::MostFree,
            add_wait: SignedDuration::from_secs(20),
            add_queue: 256,
            subnet_discovery: false,
            cluster_name: None,
            manage_untagged: true,
            manage_non_schedulable: false,
            provisioning_disabled: false,
            pacing: Pacing::default(),
        }
    }
}

impl FleetResult {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.served += other.served;
        self.refused += other.refused;
        self.waiting += other.waiting;
        self.complete_after_milliseconds =
            self.complete_after_milliseconds.zip(other.complete_after_milliseconds).map(|(a, b)| a.max(b));
        for (action, count) in other.calls {
            let sum = self.calls.entry(action).or_default();
            sum.passed += count.passed;
            sum.throttled += count.throttled;
        }
        self.served_by_second.resize(self.served_by_second.len().max(other.served_by_second.len()), 0);
        for (sum, own) in self.served_by_second.iter_mut().zip(other.served_by_second) {
            *sum += own;
        }
        self.digest = mix(self.digest, other.digest);
    }
}

fn mix(digest: u64, value: u64) -> u64 {
    (digest.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[derive(Debug)]
enum What {
    Start,
    Ask { slot: u32 },
    Stop { slot: u32 },
    Wake,
    Answer(OperationId, Box<Result<CloudSuccess, CloudFailure>>),
}

#[derive(Debug)]
struct Event {
    at: i64,
    number: u64,
    node: u32,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A pod's place on a node: its pods come one after the other.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    attempt: u32,
    asked: i64,
}

struct Node {
    pool: Pool,
    interfaces: Vec<ObservedInterface>,
    slots: Vec<Slot>,
    wake: i64,
}

struct Simulation<'a> {
    fleet: &'a Fleet,
    account: Account,
    number: usize,
    nodes: Vec<Option<Node>>,
    queue: BinaryHeap<Reverse<Event>>,
    next: u64,
    random: Random,
    first_left: u64,
    waits: Vec<u32>,
    result: FleetResult,
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).unwrap_or(Timestamp::MAX)
}

impl<'a> Simulation<'a> {
    fn new(fleet: &'a Fleet, number: usize) -> Result<Self, WorldError> {
        let seed = mix(fleet.seed, number as u64 + 1);
        let mut simulation = Self {
            fleet,
            account: Account::new(seed, time(0))?,
            number,
            nodes: (0..fleet.nodes).map(|_| None).collect(),
            queue: BinaryHeap::new(),
            next: 0,
            random: Random::new(seed, "pods"),
            first_left: u64::from(fleet.nodes) * u64::from(fleet.pods),
            waits: Vec::new(),
            result: FleetResult::default(),
        };
        for node in 0..fleet.nodes {
            let within = i64::try_from(fleet.start_within.as_millis()).unwrap_or(0);
            simulation.push(within * i64::from(node) / i64::from(fleet.nodes), node, What::Start);
        }
        Ok(simulation)
    }

    fn push(&mut self, at: i64, node: u32, what: What) {
        self.next += 1;
        self.queue.push(Reverse(Event { at, number: self.next, node, what }));
    }

    fn soon(&mut self, low: f64, high: f64) -> i64 {
        i64::try_from(self.random.seconds(low, high).as_millis()).unwrap_or(0)
    }

    fn run(mut self) -> (FleetResult, Vec<u32>) {
        let end = i64::try_from(self.fleet.length.as_millis()).unwrap_or(i64::MAX);
        while let Some(Reverse(event)) = self.queue.pop() {
            if event.at > end || (self.first_left == 0 && self.fleet.lifetime.is_none()) {
                break;
            }
            self.step(event);
        }
        self.result.waiting = self.nodes.iter().flatten().map(|node| u64::from(node.pool.view().waiting)).sum();
        self.result.calls = std::mem::take(&mut self.account.calls);
        (self.result, self.waits)
    }

    fn step(&mut self, event: Event) {
        let Event { at, node, what, .. } = event;
        let now = time(at);
        if let What::Start = what {
            return self.start(node, at);
        }
        let Some(known) = self.nodes.get_mut(node as usize).and_then(Option::as_mut) else { return };
        let kind = match what {
            What::Start => 0,
            What::Wake if known.wake != at => return,
            What::Wake => {
                known.pool.handle_timeout(now);
                1
            }
            What::Ask { slot } => {
                let Some(place) = known.slots.get_mut(slot as usize) else { return };
                place.attempt += 1;
                let request = RequestId(u64::from(slot) << 1);
                let add = AddRequest { key: key(node, slot, *place), pod: Some(pod(node, slot, *place)) };
                known.pool.handle_add(request, add, now);
                2
            }
            What::Stop { slot } => {
                let Some(place) = known.slots.get(slot as usize) else { return };
                let del = DelRequest { key: key(node, slot, *place), pod: None };
                known.pool.handle_del(RequestId((u64::from(slot) << 1) | 1), del, now);
                3
            }
            What::Answer(id, outcome) => {
                known.pool.handle_cloud(id, *outcome, now);
                4
            }
        };
        self.result.events += 1;
        self.result.digest = mix(self.result.digest, ((at as u64) << 24) ^ (u64::from(node) << 4) ^ kind);
        self.drain(node, at);
    }

    fn start(&mut self, node: u32, at: i64) {
        let subnet = node as usize % SUBNETS;
        // The subnets are larger than their nodes can ever need; a node that finds no place does not start and is missed.
        let Ok(primary) = self.account.launch(subnet) else { return };
        let Shape { interfaces, addresses } = self.fleet.shape;
        let facts = NodeFacts {
            instance: instance_id(self.number * 1_000_000 + node as usize),
            instance_type: "m5.4xlarge".to_owned(),
            interface_limit: interfaces,
            addresses_per_interface: addresses,
            prefixes_supported: true,
            max_pods: interfaces * (addresses - 1) + 2,
            vpc: VpcId::new(VPC),
            zone: ZONE.to_owned(),
            primary_interface: primary.id.clone(),
            primary_subnet: subnet_id(subnet),
        };
        let mut pool = Pool::new(self.fleet.settings(), facts, time(at));
        pool.handle_restore(Vec::new(), Vec::new(), time(at));
        if self.fleet.shared {
            let nodes = self.fleet.nodes;
            let until = time(at + i64::from(nodes) * 300 + 60_000);
            pool.handle_budget(Share { nodes, until }, time(at));
        }
        let mut slots = Vec::new();
        for slot in 0..self.fleet.pods {
            let asked = at + self.soon(0.0, 2.0);
            slots.push(Slot { generation: 0, attempt: 0, asked });
            self.push(asked, node, What::Ask { slot });
        }
        if let Some(place) = self.nodes.get_mut(node as usize) {
            *place = Some(Node { pool, interfaces: vec![primary], slots, wake: 0 });
        }
        self.drain(node, at);
    }

    fn drain(&mut self, number: u32, at: i64) {
        let now = time(at);
        let mut replies = Vec::new();
        let mut answers = Vec::new();
        let Some(node) = self.nodes.get_mut(number as usize).and_then(Option::as_mut) else { return };
        while let Some(effect) = node.pool.poll_effect() {
            match effect {
                Effect::Persist(revision) => node.pool.handle_persisted(Ok(revision), now),
                Effect::Reply(request, reply) => replies.push((request, reply)),
                Effect::Cloud(id, operation) => {
                    answers.push((id, self.account.execute(&operation, &mut node.interfaces, now)));
                }
                Effect::Signal(_) => {}
            }
        }
        let wake = node.pool.poll_timeout().map(|(when, _)| {
            let after = when.duration_since(now);
            // Up to the next millisecond, from whatever fraction: an engine that is woken before its time asks for the same time
            // again, and would sleep for ever here.
            at + i64::try_from(after.as_nanos().max(0)).unwrap_or(i64::MAX / 2).saturating_add(999_999) / 1_000_000
        });
        let changed = wake.filter(|wake| node.wake != *wake);
        node.wake = wake.unwrap_or(i64::MIN);
        if let Some(wake) = changed {
            self.push(wake.max(at + 1), number, What::Wake);
            if let Some(node) = self.nodes.get_mut(number as usize).and_then(Option::as_mut) {
                node.wake = wake.max(at + 1);
            }
        }
        for (id, answer) in answers {
            let after = i64::try_from(answer.after.as_millis()).unwrap_or(0);
            self.push(at + after, number, What::Answer(id, Box::new(answer.outcome)));
        }
        for (request, reply) in replies {
            self.replied(number, request, &reply, at);
        }
    }

    fn replied(&mut self, node: u32, request: RequestId, reply: &Reply, at: i64) {
        let slot = u32::try_from(request.0 >> 1).unwrap_or(0);
        self.result.digest = mix(self.result.digest, request.0 ^ (u64::from(node) << 20));
        let is_del = request.0 & 1 == 1;
        let pause = match (reply, is_del) {
            (Reply::Assigned { address, .. }, _) => {
                self.result.digest = mix(self.result.digest, u64::from(u32::from(*address)));
                return self.assigned(node, slot, at);
            }
            (Reply::Refused(_), false) => {
                self.result.refused += 1;
                self.soon(RETRY_SECONDS.0, RETRY_SECONDS.1)
            }
            // A pod is deleted until that succeeds, and then another one comes.
            (Reply::Refused(_), true) => return self.push(at + 1_000, node, What::Stop { slot }),
            (Reply::Released { .. } | Reply::UnknownPod, _) => {
                let pause = self.soon(0.5, 2.0);
                if let Some(place) = self.place(node, slot) {
                    *place = Slot { generation: place.generation + 1, attempt: 0, asked: at + pause };
                }
                pause
            }
        };
        self.push(at + pause, node, What::Ask { slot });
    }

    fn place(&mut self, node: u32, slot: u32) -> Option<&mut Slot> {
        self.nodes.get_mut(node as usize)?.as_mut()?.slots.get_mut(slot as usize)
    }

    fn assigned(&mut self, node: u32, slot: u32, at: i64) {
        let Some(place) = self.place(node, slot).copied() else { return };
        self.result.served += 1;
        self.waits.push(u32::try_from(at - place.asked).unwrap_or(0));
        if place.generation == 0 {
            self.first_left = self.first_left.saturating_sub(1);
            let second = usize::try_from(at / 1_000).unwrap_or(0);
            if self.result.served_by_second.len() <= second {
                self.result.served_by_second.resize(second + 1, 0);
            }
            if let Some(count) = self.result.served_by_second.get_mut(second) {
                *count += 1;
            }
            if self.first_left == 0 {
                self.result.complete_after_milliseconds = Some(at);
            }
        }
        if let Some(lifetime) = self.fleet.lifetime {
            let lives = self.random.exponential(lifetime.as_secs_f64());
            let lives = i64::try_from(crate::random::duration(lives).as_millis()).unwrap_or(0);
            self.push(at + lives.max(1_000), node, What::Stop { slot });
        }
    }
}

fn key(node: u32, slot: u32, place: Slot) -> AttachmentKey {
    // As with real sandboxes, the first digits already tell two of them apart.
    let first = mix((u64::from(slot) << 32) | u64::from(place.generation), u64::from(node));
    let container = format!("{first:016x}{node:016x}{slot:016x}{:08x}{:08x}", place.generation, place.attempt);
    AttachmentKey { network: "aws-cni".to_owned(), container, interface: "eth0".to_owned() }
}

fn pod(node: u32, slot: u32, place: Slot) -> PodKey {
    PodKey::new("default", format!("web-{node}-{slot}-{}", place.generation))
}
