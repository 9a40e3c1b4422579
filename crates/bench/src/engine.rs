//! The pool engine alone, without a shell: how many pod events it takes in a second, and how long its longest step is.
//!
//! A pod event is an ADD or a DEL taken to its end: handed in, its consequences drawn, its record confirmed as durable, its reply
//! taken out. Nothing is written and nothing is called, so what is measured is the engine.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use freeboard_address::{
    Addresses, AttachmentKey, Cidr, EniId, InstanceId, MacAddress, PodKey, Prefixes, SubnetId, VpcId,
};
use freeboard_pool::{
    AddRequest, AllocationMode, CloudOperation, CloudSuccess, DelRequest, Effect, NodeFacts, ObservedInterface,
    ObservedSubnet, OperationId, Pacing, Policy, Pool, PoolSettings, RangePreference, Reply, RequestId, Targets,
};
use jiff::{SignedDuration, Timestamp};
use nix::errno::Errno;

/// How a node of the bench is set up.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Addresses that it holds.
    pub addresses: u32,
    /// Single addresses, or prefixes of 16.
    pub mode: AllocationMode,
    /// Whether the lean policy decides, instead of targets.
    pub is_lean: bool,
    /// Interfaces that carry the addresses.
    pub interfaces: u32,
}

impl Shape {
    /// Pods on the node: nine of ten addresses, so that released ones have room to rest.
    #[must_use]
    pub fn pods(&self) -> u32 {
        self.addresses * 9 / 10
    }
}

/// A node with pods on it.
#[derive(Clone, Debug)]
pub struct Node {
    pool: Pool,
    now: Timestamp,
    requests: u64,
    pods: VecDeque<AttachmentKey>,
    interfaces: Vec<ObservedInterface>,
    served: u64,
    reads: u64,
    last_address: u32,
}

/// How often each step is made.
const REPETITIONS: usize = 5;
/// Simulated time between two events: a node under as much load as a burst brings, for minutes.
const PACE: SignedDuration = SignedDuration::from_millis(10);

impl Node {
    /// A node that holds its addresses and has its pods.
    ///
    /// # Panics
    /// When the engine does not do what it is asked: then there is nothing to measure.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 50);
        let interfaces = interfaces(shape);
        let facts = facts(shape);
        let mut node = Self {
            pool: Pool::new(settings(shape), facts, now),
            now,
            requests: 0,
            pods: VecDeque::new(),
            interfaces,
            served: 0,
            reads: 0,
            last_address: u32::from(Ipv4Addr::new(10, 1, 0, 0)),
        };
        node.pool.handle_restore(Vec::new(), Vec::new(), now);
        node.settle();
        for _ in 0..shape.pods() {
            node.add();
        }
        assert_eq!(node.served, u64::from(shape.pods()), "the node has its pods: {:?}", node.pool.view().tally);
        node
    }

    /// Takes out everything that is to be done, and answers what can be answered at once.
    fn settle(&mut self) {
        while let Some(effect) = self.pool.poll_effect() {
            match effect {
                Effect::Persist(revision) => self.pool.handle_persisted(Ok(revision), self.now),
                Effect::Reply(_, Reply::Assigned { .. } | Reply::Released { .. }) => self.served += 1,
                Effect::Cloud(id, operation) => self.answer(id, &operation),
                Effect::Reply(_, Reply::Refused(_) | Reply::UnknownPod) | Effect::Signal(_) => {}
            }
        }
    }

    /// Answers a call at once.
    fn answer(&mut self, id: OperationId, operation: &CloudOperation) {
        let success = self.carry_out(operation);
        self.pool.handle_cloud(id, Ok(success), self.now);
    }

    /// The cloud, as far as a node needs it that has all its interfaces.
    fn carry_out(&mut self, operation: &CloudOperation) -> CloudSuccess {
        match operation {
            CloudOperation::DescribeSubnets => CloudSuccess::Subnets(vec![subnet()]),
            CloudOperation::DescribeInterfaces => {
                self.reads += 1;
                CloudSuccess::Interfaces(self.interfaces.clone())
            }
            CloudOperation::AttachInterface { interface, .. } | CloudOperation::PrepareInterface { interface, .. } => {
                CloudSuccess::Attached(interface.clone())
            }
            CloudOperation::AssignAddresses { interface, count } => {
                let new: Vec<_> = (1..=count.0).map(|index| Ipv4Addr::from(self.last_address + index)).collect();
                self.last_address += count.0;
                self.change(interface, |seen| seen.secondary_addresses.extend(&new));
                CloudSuccess::AssignedAddresses(interface.clone(), new)
            }
            CloudOperation::Unassign { interface, addresses, prefixes } => {
                self.change(interface, |seen| {
                    seen.secondary_addresses.retain(|address| !addresses.contains(address));
                    seen.prefixes.retain(|prefix| !prefixes.contains(prefix));
                });
                CloudSuccess::Unassigned(interface.clone())
            }
            CloudOperation::ReleaseInterface { interface } => {
                self.interfaces.retain(|seen| seen.id != *interface);
                CloudSuccess::Released(interface.clone())
            }
            CloudOperation::AssignPrefixes { .. } | CloudOperation::CreateInterface { .. } => {
                unreachable!("the node has all its interfaces and prefixes: {operation:?}")
            }
        }
    }

    fn change(&mut self, interface: &EniId, change: impl FnOnce(&mut ObservedInterface)) {
        if let Some(seen) = self.interfaces.iter_mut().find(|seen| seen.id == *interface) {
            change(seen);
        }
    }

    fn add(&mut self) {
        let (request, add) = self.next_add();
        self.pool.handle_add(request, add, self.now);
        self.settle();
    }

    fn next_add(&mut self) -> (RequestId, AddRequest) {
        self.requests += 1;
        // As long as real ones: 64 hexadecimal digits.
        let container = format!("{:016x}{:048x}", self.requests.wrapping_mul(0x9e37_79b9_7f4a_7c15), self.requests);
        let key = AttachmentKey { network: "aws-cni".to_owned(), container, interface: "eth0".to_owned() };
        self.pods.push_back(key.clone());
        let pod = Some(PodKey::new("default", format!("web-7d4b9c6f5-{:05}", self.requests)));
        (RequestId(self.requests), AddRequest { key, pod })
    }

    fn next_del(&mut self) -> (RequestId, DelRequest) {
        self.requests += 1;
        let key = self.pods.pop_front().expect("the node has pods");
        (RequestId(self.requests), DelRequest { key, pod: None })
    }

    /// Requests for `count` DELs and as many ADDs, in turns, made before the clock starts.
    fn requests(&mut self, count: usize) -> Vec<Request> {
        (0..count)
            .map(|_| {
                let del = self.next_del();
                Request { del, add: self.next_add() }
            })
            .collect()
    }

    /// The processor time per pod event, over `pairs` DELs and as many ADDs, one after the other.
    ///
    /// # Errors
    /// When the system does not tell a thread's processor time.
    ///
    /// # Panics
    /// When an event is not answered at once.
    pub fn churn(&mut self, pairs: usize) -> Result<Duration, Errno> {
        let requests = self.requests(pairs);
        let before = self.served;
        let begin = thread_time()?;
        for Request { del, add } in requests {
            self.pool.handle_del(del.0, del.1, self.now);
            self.settle();
            self.now += PACE;
            self.pool.handle_add(add.0, add.1, self.now);
            self.settle();
            self.now += PACE;
        }
        let took = thread_time()?.saturating_sub(begin);
        assert_eq!(self.served - before, 2 * pairs as u64, "every event is answered: {:?}", self.pool.view().tally);
        Ok(took / u32::try_from(2 * pairs).unwrap_or(u32::MAX))
    }

    /// The same with as many events handed in before the effects are taken as the agent does under load: one confirmation for all.
    ///
    /// # Errors
    /// When the system does not tell a thread's processor time.
    ///
    /// # Panics
    /// When an event is not answered at once.
    pub fn churn_in_batches(&mut self, pairs: usize, batch: usize) -> Result<Duration, Errno> {
        let requests = self.requests(pairs);
        let before = self.served;
        let begin = thread_time()?;
        let mut in_batch = 0;
        for Request { del, add } in requests {
            self.pool.handle_del(del.0, del.1, self.now);
            self.pool.handle_add(add.0, add.1, self.now);
            in_batch += 2;
            self.now += PACE * 2;
            if in_batch >= batch {
                in_batch = 0;
                self.settle();
            }
        }
        self.settle();
        let took = thread_time()?.saturating_sub(begin);
        assert_eq!(self.served - before, 2 * pairs as u64, "every event is answered: {:?}", self.pool.view().tally);
        Ok(took / u32::try_from(2 * pairs).unwrap_or(u32::MAX))
    }

    /// How long single steps take, in the processor time of this thread: all that one input leads to, reads of the interfaces
    /// every minute of the simulated time included. Each step is made several times from the same state, and the shortest counts.
    ///
    /// # Errors
    /// When the system does not tell a thread's processor time.
    pub fn steps(&mut self, pairs: usize) -> Result<Vec<Duration>, Errno> {
        let requests = self.requests(pairs);
        let mut best = self.clone().steps_once(requests.clone(), pairs)?;
        for _ in 1..REPETITIONS {
            // The engine does the same each time, so what a step took longer was not its own.
            let again = self.clone().steps_once(requests.clone(), pairs)?;
            assert_eq!(best.len(), again.len(), "the same inputs make the same steps");
            for (best, again) in best.iter_mut().zip(again) {
                *best = (*best).min(again);
            }
        }
        Ok(best)
    }

    fn steps_once(mut self, requests: Vec<Request>, pairs: usize) -> Result<Vec<Duration>, Errno> {
        let mut steps = Vec::with_capacity(3 * pairs);
        for Request { del, add } in requests {
            for event in [Event::Del(del.0, del.1), Event::Add(add.0, add.1)] {
                if self.pool.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    self.timed(&mut steps, Box::new(|pool, now| pool.handle_timeout(now)))?;
                }
                let input = move |pool: &mut Pool, now| match event {
                    Event::Del(request, del) => pool.handle_del(request, del, now),
                    Event::Add(request, add) => pool.handle_add(request, add, now),
                };
                self.timed(&mut steps, Box::new(input))?;
                self.now += PACE;
            }
        }
        Ok(steps)
    }

    /// One input and what the engine makes of it; the effects that are ready then are taken out without a clock.
    fn timed(&mut self, steps: &mut Vec<Duration>, input: Input) -> Result<(), Errno> {
        let begin = thread_time()?;
        input(&mut self.pool, self.now);
        let mut next = self.pool.poll_effect();
        steps.push(thread_time()?.saturating_sub(begin));
        while let Some(effect) = next {
            match effect {
                Effect::Persist(revision) => {
                    self.timed(steps, Box::new(move |pool, now| pool.handle_persisted(Ok(revision), now)))?;
                }
                Effect::Cloud(id, operation) => {
                    let outcome = Ok(self.carry_out(&operation));
                    self.timed(steps, Box::new(move |pool, now| pool.handle_cloud(id, outcome, now)))?;
                }
                Effect::Reply(_, Reply::Assigned { .. } | Reply::Released { .. }) => self.served += 1,
                Effect::Reply(_, Reply::Refused(_) | Reply::UnknownPod) | Effect::Signal(_) => {}
            }
            next = self.pool.poll_effect();
        }
        Ok(())
    }

    /// The processor time to list the durable state once; the agent does it once for each write, however many events share it.
    ///
    /// # Errors
    /// When the system does not tell a thread's processor time.
    pub fn checkpoint(&self) -> Result<Duration, Errno> {
        let begin = thread_time()?;
        let state = self.pool.checkpoint();
        let took = thread_time()?.saturating_sub(begin);
        std::hint::black_box(state);
        Ok(took)
    }

    /// How often the interfaces or subnets were read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads
    }
}

#[derive(Clone)]
struct Request {
    del: (RequestId, DelRequest),
    add: (RequestId, AddRequest),
}

/// Something that is handed to the engine.
type Input = Box<dyn FnOnce(&mut Pool, Timestamp)>;

enum Event {
    Del(RequestId, DelRequest),
    Add(RequestId, AddRequest),
}

/// The processor time of this thread: it does not count what else the machine does.
pub(crate) fn thread_time() -> Result<Duration, Errno> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from)
}

fn settings(shape: &Shape) -> PoolSettings {
    let targets = Targets {
        warm_eni: 0,
        warm_ip: Some(Addresses(1)),
        minimum_ip: Some(Addresses(shape.addresses)),
        warm_prefix: Prefixes::ZERO,
    };
    PoolSettings {
        mode: shape.mode,
        policy: if shape.is_lean { Policy::Lean } else { Policy::Compatible(targets) },
        max_eni: None,
        // As long as half of the addresses that no pod has can rest at the pace of the bench: the more addresses, the more rest.
        cooldown: PACE * 2 * i32::try_from((shape.addresses - shape.pods()) / 2).unwrap_or(1),
        preference: RangePreference::MostFree,
        add_wait: SignedDuration::from_secs(20),
        add_queue: 256,
        subnet_discovery: true,
        cluster_name: None,
        manage_untagged: true,
        manage_non_schedulable: false,
        provisioning_disabled: false,
        pacing: Pacing::default(),
    }
}

fn facts(shape: &Shape) -> NodeFacts {
    let slots = match shape.mode {
        AllocationMode::SecondaryAddresses => shape.addresses.div_ceil(shape.interfaces),
        AllocationMode::Prefixes => shape.addresses.div_ceil(shape.interfaces * Prefixes::SIZE),
    };
    NodeFacts {
        instance: InstanceId::new("i-0123456789abcdef0"),
        instance_type: "bench".to_owned(),
        interface_limit: shape.interfaces,
        // The lean policy sees a storm of pods here and wants more.
        addresses_per_interface: if shape.is_lean { 2 * slots + 1 } else { slots + 1 },
        prefixes_supported: true,
        max_pods: shape.addresses,
        vpc: VpcId::new("vpc-0123456789abcdef0"),
        zone: "ap-southeast-2a".to_owned(),
        primary_interface: interface_id(0),
        primary_subnet: subnet().id,
    }
}

fn subnet() -> ObservedSubnet {
    let cidr = Cidr::containing(Ipv4Addr::new(10, 0, 0, 0), 16).unwrap_or_else(|_| Cidr::host(Ipv4Addr::UNSPECIFIED));
    ObservedSubnet {
        id: SubnetId::new("subnet-0123456789abcdef0"),
        cidr,
        zone: "ap-southeast-2a".to_owned(),
        free: Addresses(10_000),
        in_primary_range: true,
        tags: [("Name".to_owned(), "bench".to_owned())].into(),
    }
}

fn interface_id(number: u32) -> EniId {
    EniId::new(format!("eni-0123456789ab{number:05x}"))
}

/// Interfaces that carry the addresses, dealt out evenly.
fn interfaces(shape: &Shape) -> Vec<ObservedInterface> {
    let mut left = shape.addresses;
    let mut interfaces = Vec::new();
    for number in 0..shape.interfaces {
        // Each has 2,048 addresses of its own to take from, aligned as prefixes must be.
        let base = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number * 4_096;
        let share = left.div_ceil(shape.interfaces - number);
        let mut seen = ObservedInterface {
            id: interface_id(number),
            mac: MacAddress::new([2, 0, 0, 0, 0, u8::try_from(number).unwrap_or(u8::MAX)]),
            device_index: number,
            network_card: 0,
            subnet: subnet().id,
            primary_address: Ipv4Addr::from(base + 4_095),
            secondary_addresses: Vec::new(),
            prefixes: Vec::new(),
            tags: [].into(),
            attached: true,
            special: false,
        };
        match shape.mode {
            AllocationMode::SecondaryAddresses => {
                seen.secondary_addresses = (0..share).map(|index| Ipv4Addr::from(base + index)).collect();
                left -= share;
            }
            AllocationMode::Prefixes => {
                let prefixes = Prefixes::holding(Addresses(share)).0;
                let blocks = (0..prefixes).map(|index| Cidr::containing(Ipv4Addr::from(base + index * 16), 28));
                seen.prefixes = blocks.filter_map(Result::ok).collect();
                left = left.saturating_sub(prefixes * Prefixes::SIZE);
            }
        }
        interfaces.push(seen);
    }
    interfaces
}
