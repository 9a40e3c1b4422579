//! A tiny cloud and shell around the pool, for its tests: subnets with limited addresses, faults on demand, virtual time.

#![allow(dead_code, reason = "each test program uses its own part of the world")]
#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "clippy does not know that this module is a test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use freeboard_address::{
    Addresses, AttachmentKey, Cidr, EniId, FreeSpace, InstanceId, MacAddress, PodKey, Prefixes, SubnetId, VpcId,
};
use freeboard_pool::{
    AddRequest, AllocationMode, CheckpointState, CloudFailure, CloudOperation, CloudSuccess, DelRequest, Effect,
    FailureKind, NodeFacts, ObservedInterface, ObservedSubnet, OperationId, Pacing, Policy, Pool, PoolSettings,
    RangePreference, Refusal, Reply, RequestId, Signal, Targets,
};
use jiff::{SignedDuration, Timestamp};

pub(crate) struct Subnet {
    pub cidr: Cidr,
    pub space: FreeSpace,
    pub in_primary_range: bool,
    pub tags: BTreeMap<String, String>,
}

pub(crate) struct Interface {
    pub seen: ObservedInterface,
    pub on_instance: bool,
    pub token: String,
}

/// What the cloud does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails without effect.
    Fail(FailureKind),
    /// It has its effect, and the answer is lost.
    LoseAnswer,
}

pub(crate) struct World {
    pub now: Timestamp,
    pub pool: Pool,
    pub subnets: BTreeMap<SubnetId, Subnet>,
    pub interfaces: BTreeMap<EniId, Interface>,
    pub attachment_limit: u32,
    pub address_slots: u32,
    pub in_flight: VecDeque<(OperationId, CloudOperation)>,
    pub faults: VecDeque<Fault>,
    /// A fault for every call of this kind, as long as it is set.
    pub standing_fault: Option<(&'static str, Fault)>,
    pub disk_fails: bool,
    pub disk: CheckpointState,
    pub replies: BTreeMap<RequestId, Reply>,
    /// Addresses that an interface took with it behind the node's back; the node may have got them again since.
    pub lost: BTreeSet<Ipv4Addr>,
    /// The replies in the order in which they were given.
    pub answered: Vec<(RequestId, Reply)>,
    pub signals: Vec<Signal>,
    pub calls: Vec<String>,
    pub trace: String,
    pub persist_pending: bool,
    /// Writes to the disk do not come to an end for now.
    pub persist_held: bool,
    pub(crate) foreign: BTreeMap<SubnetId, Vec<Cidr>>,
    next_request: u64,
    next_interface: u32,
}

pub(crate) fn settings() -> PoolSettings {
    PoolSettings {
        mode: AllocationMode::SecondaryAddresses,
        policy: Policy::Compatible(Targets { warm_eni: 1, warm_ip: None, minimum_ip: None, warm_prefix: Prefixes(0) }),
        max_eni: None,
        cooldown: SignedDuration::from_secs(30),
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

/// The targets of settings under the compatible policy.
pub(crate) fn targets(settings: &mut PoolSettings) -> &mut Targets {
    match &mut settings.policy {
        Policy::Compatible(targets) => targets,
        Policy::Lean => panic!("the lean policy has no targets"),
    }
}

/// A node of `interfaces` × `per_interface` (primary address included).
pub(crate) fn facts(interfaces: u32, per_interface: u32, max_pods: u32) -> NodeFacts {
    NodeFacts {
        instance: InstanceId::new("i-0a"),
        instance_type: "t3.small".to_owned(),
        interface_limit: interfaces,
        addresses_per_interface: per_interface,
        prefixes_supported: true,
        max_pods,
        vpc: VpcId::new("vpc-0a"),
        zone: "ap-southeast-2a".to_owned(),
        primary_interface: EniId::new("eni-0"),
        primary_subnet: SubnetId::new("subnet-a"),
    }
}

impl World {
    /// A world with one subnet `subnet-a` and the node's primary interface in it; nothing has happened yet.
    pub(crate) fn new(settings: PoolSettings, facts: NodeFacts, cidr: &str) -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut world = Self {
            now,
            attachment_limit: facts.interface_limit,
            address_slots: facts.addresses_per_interface - 1,
            pool: Pool::new(settings, facts, now),
            subnets: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            in_flight: VecDeque::new(),
            faults: VecDeque::new(),
            standing_fault: None,
            disk_fails: false,
            disk: CheckpointState::default(),
            replies: BTreeMap::new(),
            lost: BTreeSet::new(),
            answered: Vec::new(),
            signals: Vec::new(),
            calls: Vec::new(),
            trace: String::new(),
            persist_pending: false,
            persist_held: false,
            foreign: BTreeMap::new(),
            next_request: 0,
            next_interface: 0,
        };
        world.add_subnet("subnet-a", cidr, true, &[]);
        let id = world.make_interface(&SubnetId::new("subnet-a"), 0, 0, "").unwrap();
        let primary = world.interfaces.get_mut(&id).unwrap();
        primary.on_instance = true;
        primary.seen.attached = true;
        world
    }

    /// The world after its start: interfaces read, nothing restored, warm addresses there.
    pub(crate) fn started(settings: PoolSettings, facts: NodeFacts, cidr: &str) -> Self {
        let mut world = Self::new(settings, facts, cidr);
        world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
        world.settle();
        world
    }

    pub(crate) fn add_subnet(&mut self, id: &str, cidr: &str, in_primary_range: bool, tags: &[(&str, &str)]) {
        let cidr: Cidr = cidr.parse().unwrap();
        let mut space = FreeSpace::all_free(cidr);
        for reserved in cidr.addresses().take(4).chain([cidr.last()]) {
            space.take(Cidr::host(reserved));
        }
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.subnets.insert(SubnetId::new(id), Subnet { cidr, space, in_primary_range, tags });
    }

    /// Somebody else takes addresses until `left` remain.
    pub(crate) fn fill(&mut self, subnet: &str, left: u64) {
        let space = &mut self.subnets.get_mut(&SubnetId::new(subnet)).unwrap().space;
        while space.free_addresses() > left {
            let address = space.lowest_address().unwrap();
            assert!(space.take(Cidr::host(address)));
            self.foreign.entry(SubnetId::new(subnet)).or_default().push(Cidr::host(address));
        }
    }

    /// They give some back.
    pub(crate) fn refill(&mut self, subnet: &str, count: usize) {
        let subnet = SubnetId::new(subnet);
        let foreign = self.foreign.entry(subnet.clone()).or_default();
        for block in foreign.drain(..count.min(foreign.len())) {
            assert!(self.subnets.get_mut(&subnet).unwrap().space.give(block));
        }
    }

    /// The agent dies and starts again with what the disk has. Effects that were not carried out are lost.
    pub(crate) fn restart(&mut self, settings: PoolSettings, facts: NodeFacts, disk: CheckpointState) {
        self.pool = Pool::new(settings, facts, self.now);
        self.persist_pending = false;
        let allocations = disk.allocations.into_iter().chain(disk.conflicting).collect();
        self.pool.handle_returned(disk.returned, self.now);
        self.pool.handle_intents(disk.creating, self.now);
        self.pool.handle_restore(allocations, disk.cooling, self.now);
        self.disk.revision = freeboard_pool::Revision(0);
    }

    /// The call first in flight has its effect, and nobody hears of it.
    pub(crate) fn answer_nobody(&mut self) {
        if let Some((_, operation)) = self.in_flight.pop_front() {
            let _ = self.execute(&operation);
        }
    }

    /// The primary interface carries this address already.
    pub(crate) fn own(&mut self, address: Ipv4Addr) {
        let primary = self.interfaces.get_mut(&EniId::new("eni-0")).unwrap();
        primary.seen.secondary_addresses.push(address);
        let subnet = self.subnets.get_mut(&primary.seen.subnet).unwrap();
        assert!(subnet.space.take(Cidr::host(address)), "{address} is taken");
    }

    pub(crate) fn key(name: &str) -> AttachmentKey {
        AttachmentKey { network: "aws-cni".to_owned(), container: name.to_owned(), interface: "eth0".to_owned() }
    }

    pub(crate) fn add(&mut self, name: &str) -> RequestId {
        let request = self.request();
        let add = AddRequest { key: Self::key(name), pod: Some(PodKey::new("test", name)) };
        self.pool.handle_add(request, add, self.now);
        request
    }

    pub(crate) fn del(&mut self, name: &str) -> RequestId {
        let request = self.request();
        let del = DelRequest { key: Self::key(name), pod: Some(PodKey::new("test", name)) };
        self.pool.handle_del(request, del, self.now);
        request
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// Adds one pod, lets the cloud work, and returns its address.
    pub(crate) fn pod(&mut self, name: &str) -> Ipv4Addr {
        let request = self.add(name);
        self.settle();
        match self.replies.get(&request) {
            Some(Reply::Assigned { address, .. }) => *address,
            other => panic!("{name} got {other:?}; {}", self.figures()),
        }
    }

    pub(crate) fn refusal(&self, request: RequestId) -> &Refusal {
        match self.replies.get(&request) {
            Some(Reply::Refused(refusal)) => refusal,
            other => panic!("expected a refusal, got {other:?}; {}", self.figures()),
        }
    }

    pub(crate) fn is_assigned(&self, request: RequestId) -> bool {
        matches!(self.replies.get(&request), Some(Reply::Assigned { .. }))
    }

    /// `interfaces/total/free`, as the tables of aws-vpc-cni §4.8 have it.
    pub(crate) fn figures(&self) -> String {
        let view = self.pool.view();
        format!("{}/{}/{}", view.interfaces.len(), view.tally.total, view.tally.free)
    }

    /// Takes the effects that are there; writes the disk at once; leaves cloud calls in flight.
    pub(crate) fn drain(&mut self) {
        loop {
            while let Some(effect) = self.pool.poll_effect() {
                let _ = writeln!(self.trace, "{} {effect:?}", self.now);
                match effect {
                    Effect::Persist(_) => self.persist_pending = true,
                    Effect::Reply(request, reply) => {
                        self.answered.push((request, reply.clone()));
                        assert!(self.replies.insert(request, reply).is_none(), "{request:?} was answered twice");
                    }
                    Effect::Cloud(id, operation) => {
                        self.calls.push(name(&operation).to_owned());
                        self.in_flight.push_back((id, operation));
                    }
                    Effect::Signal(signal) => self.signals.push(signal),
                }
            }
            self.check();
            if !self.persist_pending || self.persist_held {
                return;
            }
            self.write_disk();
        }
    }

    pub(crate) fn write_disk(&mut self) {
        self.persist_pending = false;
        let state = self.pool.checkpoint();
        if self.disk_fails {
            self.pool.handle_persisted(Err("no space left on device".to_owned()), self.now);
        } else {
            self.disk = state;
            self.pool.handle_persisted(Ok(self.disk.revision), self.now);
        }
    }

    pub(crate) fn check(&self) {
        let violations = self.pool.audit();
        assert!(violations.is_empty(), "{violations:#?}");
        let view = self.pool.view();
        let tally = view.tally;
        assert_eq!(tally.total, tally.assigned + tally.cooling + tally.free + tally.quarantined, "accounting closes");
        if let Some((at, why)) = self.pool.poll_timeout() {
            assert!(at > self.now, "a timeout in the past would spin: {at} {why}");
        }
    }

    /// Answers every call in flight, and those that follow, without time passing.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1000 {
            self.drain();
            if self.in_flight.is_empty() {
                return;
            }
            self.answer(0);
        }
        panic!("the pool and the cloud never come to rest:\n{}", &self.trace[self.trace.len().saturating_sub(3000)..]);
    }

    /// Lets time pass; every timeout on the way is served, and the cloud answers at once.
    pub(crate) fn pass(&mut self, seconds: i64) {
        let end = self.now + SignedDuration::from_secs(seconds);
        self.settle();
        while let Some((at, _)) = self.pool.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at;
            self.pool.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
        self.pool.handle_timeout(self.now);
        self.settle();
    }

    /// Answers the call at this place of those in flight.
    pub(crate) fn answer(&mut self, index: usize) {
        let Some((id, operation)) = self.in_flight.remove(index) else { return };
        let fault = match self.standing_fault {
            Some((action, fault)) if action == name(&operation) => Some(fault),
            _ => self.faults.pop_front(),
        };
        let outcome = match fault {
            Some(Fault::Fail(kind)) => Err(kind),
            Some(Fault::LoseAnswer) => {
                let _ = self.execute(&operation);
                Err(FailureKind::Uncertain)
            }
            None => self.execute(&operation),
        };
        let outcome = outcome.map_err(|kind| CloudFailure {
            kind,
            action: name(&operation).to_owned(),
            detail: format!("{kind:?}"),
            at: self.now,
        });
        self.pool.handle_cloud(id, outcome, self.now);
    }

    fn execute(&mut self, operation: &CloudOperation) -> Result<CloudSuccess, FailureKind> {
        match operation {
            CloudOperation::DescribeSubnets => Ok(CloudSuccess::Subnets(self.observed_subnets())),
            CloudOperation::DescribeInterfaces => Ok(CloudSuccess::Interfaces(self.observed_interfaces())),
            CloudOperation::CreateInterface { subnet, addresses, prefixes, token, .. } => {
                if let Some(known) = self.interfaces.values().find(|known| known.token == *token) {
                    return Ok(CloudSuccess::Created(known.seen.clone()));
                }
                let id = self.make_interface(subnet, addresses.0, prefixes.0, token)?;
                Ok(CloudSuccess::Created(self.interfaces[&id].seen.clone()))
            }
            CloudOperation::AttachInterface { interface, device_index } => {
                let attached = self.interfaces.values().filter(|i| i.on_instance).count();
                let known = self.interfaces.get_mut(interface).ok_or(FailureKind::NotFound)?;
                if !known.on_instance && attached >= usize::try_from(self.attachment_limit).unwrap() {
                    return Err(FailureKind::AttachmentLimit);
                }
                known.on_instance = true;
                known.seen.attached = true;
                known.seen.device_index = *device_index;
                Ok(CloudSuccess::Attached(interface.clone()))
            }
            CloudOperation::PrepareInterface { interface, .. } => self
                .interfaces
                .get(interface)
                .map(|_| CloudSuccess::Attached(interface.clone()))
                .ok_or(FailureKind::NotFound),
            CloudOperation::AssignAddresses { interface, count } => {
                let taken = self.take(interface, count.0, 0)?;
                let addresses: Vec<_> = taken.into_iter().map(Cidr::network).collect();
                self.interfaces.get_mut(interface).unwrap().seen.secondary_addresses.extend(&addresses);
                Ok(CloudSuccess::AssignedAddresses(interface.clone(), addresses))
            }
            CloudOperation::AssignPrefixes { interface, count } => {
                let taken = self.take(interface, 0, count.0)?;
                self.interfaces.get_mut(interface).unwrap().seen.prefixes.extend(&taken);
                Ok(CloudSuccess::AssignedPrefixes(interface.clone(), taken))
            }
            CloudOperation::Unassign { interface, addresses, prefixes } => {
                let known = self.interfaces.get_mut(interface).ok_or(FailureKind::NotFound)?;
                known.seen.secondary_addresses.retain(|address| !addresses.contains(address));
                known.seen.prefixes.retain(|prefix| !prefixes.contains(prefix));
                let subnet = self.subnets.get_mut(&known.seen.subnet).unwrap();
                for block in addresses.iter().copied().map(Cidr::host).chain(prefixes.iter().copied()) {
                    subnet.space.give(block);
                }
                Ok(CloudSuccess::Unassigned(interface.clone()))
            }
            CloudOperation::ReleaseInterface { interface } => {
                self.remove_interface(interface).ok_or(FailureKind::NotFound)?;
                Ok(CloudSuccess::Released(interface.clone()))
            }
        }
    }

    /// Removes an interface from the cloud, as a release does, or somebody behind our back.
    pub(crate) fn remove_interface(&mut self, id: &EniId) -> Option<()> {
        let known = self.interfaces.remove(id)?;
        let subnet = self.subnets.get_mut(&known.seen.subnet).unwrap();
        let own = [known.seen.primary_address].into_iter().chain(known.seen.secondary_addresses).map(Cidr::host);
        for block in own.chain(known.seen.prefixes) {
            self.lost.extend(block.addresses());
            subnet.space.give(block);
        }
        Some(())
    }

    fn make_interface(
        &mut self,
        subnet: &SubnetId,
        addresses: u32,
        prefixes: u32,
        token: &str,
    ) -> Result<EniId, FailureKind> {
        let space = &mut self.subnets.get_mut(subnet).ok_or(FailureKind::NotFound)?.space;
        let mut trial = space.clone();
        let primary = trial.lowest_address().ok_or(FailureKind::SubnetShort)?;
        trial.take(Cidr::host(primary));
        let secondary = take_addresses(&mut trial, addresses)?;
        let prefixes = take_prefixes(&mut trial, prefixes)?;
        *space = trial;
        let id = EniId::new(format!("eni-{}", self.next_interface));
        let [.., low] = self.next_interface.to_be_bytes();
        self.next_interface += 1;
        let seen = ObservedInterface {
            id: id.clone(),
            mac: MacAddress::local([2, 0, 0, 0, 0, low]),
            device_index: 0,
            network_card: 0,
            subnet: subnet.clone(),
            primary_address: primary,
            secondary_addresses: secondary.into_iter().map(Cidr::network).collect(),
            prefixes,
            tags: BTreeMap::new(),
            attached: false,
            special: false,
        };
        self.interfaces.insert(id.clone(), Interface { seen, on_instance: false, token: token.to_owned() });
        Ok(id)
    }

    fn take(&mut self, interface: &EniId, addresses: u32, prefixes: u32) -> Result<Vec<Cidr>, FailureKind> {
        let seen = &self.interfaces.get(interface).ok_or(FailureKind::NotFound)?.seen;
        let held = u32::try_from(seen.secondary_addresses.len() + seen.prefixes.len()).unwrap();
        if held + addresses + prefixes > self.address_slots {
            return Err(FailureKind::AddressLimit);
        }
        let space = &mut self.subnets.get_mut(&seen.subnet).unwrap().space;
        let mut trial = space.clone();
        let mut taken = take_addresses(&mut trial, addresses)?;
        taken.extend(take_prefixes(&mut trial, prefixes)?);
        *space = trial;
        Ok(taken)
    }

    pub(crate) fn observed_interfaces(&self) -> Vec<ObservedInterface> {
        self.interfaces.values().filter(|i| i.on_instance).map(|i| i.seen.clone()).collect()
    }

    pub(crate) fn observed_subnets(&self) -> Vec<ObservedSubnet> {
        let observe = |(id, subnet): (&SubnetId, &Subnet)| ObservedSubnet {
            id: id.clone(),
            cidr: subnet.cidr,
            zone: "ap-southeast-2a".to_owned(),
            free: Addresses(u32::try_from(subnet.space.free_addresses()).unwrap()),
            in_primary_range: subnet.in_primary_range,
            tags: subnet.tags.clone(),
        };
        self.subnets.iter().map(observe).collect()
    }

    /// Every address that the cloud says is this node's, for pods.
    pub(crate) fn owned(&self) -> BTreeSet<Ipv4Addr> {
        let seen = self.interfaces.values().filter(|i| i.on_instance).map(|i| &i.seen);
        let blocks =
            seen.flat_map(|s| s.secondary_addresses.iter().copied().map(Cidr::host).chain(s.prefixes.iter().copied()));
        blocks.flat_map(Cidr::addresses).collect()
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|known| *known == call).count()
    }
}

fn take_addresses(space: &mut FreeSpace, count: u32) -> Result<Vec<Cidr>, FailureKind> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let block = Cidr::host(space.lowest_address().ok_or(FailureKind::SubnetShort)?);
        space.take(block);
        taken.push(block);
    }
    Ok(taken)
}

fn take_prefixes(space: &mut FreeSpace, count: u32) -> Result<Vec<Cidr>, FailureKind> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let block = space.lowest_block(28).ok_or(FailureKind::NoFreePrefix)?;
        space.take(block);
        taken.push(block);
    }
    Ok(taken)
}

pub(crate) fn name(operation: &CloudOperation) -> &'static str {
    match operation {
        CloudOperation::DescribeSubnets => "DescribeSubnets",
        CloudOperation::DescribeInterfaces => "DescribeNetworkInterfaces",
        CloudOperation::CreateInterface { .. } => "CreateNetworkInterface",
        CloudOperation::AttachInterface { .. } => "AttachNetworkInterface",
        CloudOperation::PrepareInterface { .. } => "Prepare",
        CloudOperation::AssignAddresses { .. } | CloudOperation::AssignPrefixes { .. } => "AssignPrivateIpAddresses",
        CloudOperation::Unassign { .. } => "UnassignPrivateIpAddresses",
        CloudOperation::ReleaseInterface { .. } => "DeleteNetworkInterface",
    }
}
