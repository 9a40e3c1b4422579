//! The invariants: at each reply, at each call's effect, after each step, and at the end.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, Cidr, EniId};
use freeboard_pool::{
    AddressState, AllocationMode, Cause, CloudOperation, InterfaceState, InterfaceView, Place, Pool, PoolView, Refusal,
};
use freeboard_vpc::{AttachmentStatus, Describe, Filter, NetworkInterface};
use jiff::SignedDuration;

use crate::call::{Ec2Call, INSTANCE_TAG};
use crate::check::Check;
use crate::fault::FaultClass;
use crate::node::{Asked, Node, SandboxState, rebuilt_key};
use crate::node_blocks;
use crate::run::Run;
use crate::scenario::Checking;

/// A DEL, and an ADD beyond its wait, is answered within this: several writes to a slow disk.
const ANSWER_SLACK: SignedDuration = SignedDuration::from_secs(30);
/// A node makes at most so many calls to EC2 within so long.
const CALLS_WITHIN: SignedDuration = SignedDuration::from_secs(10);
const MOST_CALLS: usize = 80;
/// A write, and the time until a pod's turn comes.
const REST_SLACK: SignedDuration = SignedDuration::from_secs(2);
/// Faults after which a restarted agent can still make every call that it wants to make.
const CRASHES: [FaultClass; 4] =
    [FaultClass::Crash, FaultClass::CrashBeforeWrite, FaultClass::CrashAfterWrite, FaultClass::CrashAfterCreate];
/// No change in the last part of the liveness phase.
const AT_REST: SignedDuration = SignedDuration::from_secs(60);

impl Run {
    /// An interface as the cloud has it at this moment.
    pub(crate) fn interface(&self, id: &EniId) -> Option<NetworkInterface> {
        let page = self.cloud.describe_network_interfaces(&Describe::by_id([id.clone()])).ok()?;
        page.items.into_iter().next()
    }

    /// What a look for leftovers found. An interface that its creator did not live to hear of is in the creator's record, so its
    /// successor has taken it on by then, unless calls fail.
    pub(crate) fn check_leftovers<'a>(&mut self, index: usize, found: impl Iterator<Item = &'a EniId>) {
        let forgotten: Vec<_> = found.filter(|id| self.unheard.contains(*id)).map(ToString::to_string).collect();
        let only_crashes = self.scenario.faults.per_hour.keys().all(|class| CRASHES.contains(class));
        if only_crashes && !forgotten.is_empty() {
            let what = format!("node {index}: {} is left to the look for leftovers", forgotten.join(", "));
            self.fail(Check::NothingLeaked, what);
        }
    }

    /// All interfaces of a node as the cloud has them at this moment.
    pub(crate) fn interfaces_of(&self, index: usize) -> Vec<NetworkInterface> {
        if self.is_on_blocks() {
            return Vec::new();
        }
        let Some(node) = self.nodes.get(index) else { return Vec::new() };
        let filter = Filter::new("attachment.instance-id", [node.facts.instance.as_str()]);
        let page = self.cloud.describe_network_interfaces(&Describe::by_filter([filter]));
        page.map(|page| page.items).unwrap_or_default()
    }

    pub(crate) fn checks_every_step(&self) -> bool {
        self.scenario.checking == Checking::EveryStep
    }

    /// At the release of an address to a pod.
    pub(crate) fn check_assigned(&mut self, index: usize, key: &AttachmentKey, address: Ipv4Addr, interface: &EniId) {
        let other = self.other_holder(index, key, address);
        // On an interface that is gone already the pod has nothing that another could have too.
        if let Some(other) = other.filter(|_| !self.removed.contains(interface)) {
            self.fail(Check::AddressOnce, format!("{address} was given to {key} on node {index}; {other} has it"));
        }
        let Some(node) = self.nodes.get(index) else { return };
        let lost = self.removed.contains(interface) || node.uncertain.contains(interface);
        let repeated = node.sandboxes.get(key).is_some_and(|sandbox| sandbox.state != SandboxState::Adding);
        if !lost && !repeated {
            let shown = self.interface(interface);
            let has = shown
                .as_ref()
                .is_some_and(|shown| shown.instance_id() == Some(&node.facts.instance) && carries(shown, address));
            if !has {
                let what =
                    format!("node {index} gave {address} of {interface} to {key}; the cloud does not have it there");
                self.fail(Check::CloudHasIt, what);
            }
        }
        self.check_cooldown(index, address);
    }

    /// At the release of an address of a node's own block to a pod.
    pub(crate) fn check_of_block(&mut self, index: usize, key: &AttachmentKey, address: Ipv4Addr) {
        if let Some(other) = self.other_holder(index, key, address) {
            self.fail(Check::AddressOnce, format!("{address} was given to {key} on node {index}; {other} has it"));
        }
        let node = self.nodes.get(index);
        let sandbox = node.and_then(|node| node.sandboxes.get(key));
        // An answer that is given again is as old as the first.
        if sandbox.is_none_or(|sandbox| sandbox.state == SandboxState::Adding) {
            self.check_block_of(index, key, address);
        }
        self.check_cooldown(index, address);
    }

    /// Another sandbox that has an address.
    fn other_holder(&self, index: usize, key: &AttachmentKey, address: Ipv4Addr) -> Option<String> {
        self.nodes.iter().enumerate().find_map(|(number, node)| {
            let (holder, sandbox) = node.holder(address)?;
            let same_pod = number == index && holder == key;
            (!same_pod).then(|| format!("{holder} of pod {} on node {number}", sandbox.pod))
        })
    }

    fn check_cooldown(&mut self, index: usize, address: Ipv4Addr) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let time = node.time(self.now);
        let floor = node.settings.cooldown.min(node.settings.pacing.cooldown_floor);
        let epoch = node.epoch;
        let Some(release) = node.released.remove(&address).filter(|release| release.epoch == epoch) else { return };
        let rested = time.duration_since(release.at);
        if rested < floor {
            let what =
                format!("node {index} gave {address} again after {rested:#}; its cool-down is at least {floor:#}");
            self.fail(Check::CooldownRespected, what);
        }
    }

    /// At each refusal.
    pub(crate) fn check_refusal(&mut self, index: usize, refusal: &Refusal) {
        let figures = refusal.message.chars().any(|c| c.is_ascii_digit());
        let without = matches!(
            refusal.cause,
            Cause::NotReady
                | Cause::Terminating
                | Cause::CheckpointFailed
                | Cause::NotAuthorized
                | Cause::Throttled
                | Cause::NodeBlockMissing
        );
        let placed = match &refusal.place {
            Place::Api { action } => action.starts_with("ec2:") && action.len() > 4,
            Place::Subnet { .. } | Place::Block { .. } | Place::Interface { .. } | Place::Node => true,
        };
        if refusal.message.is_empty() || refusal.remedy.is_empty() || !placed || !(figures || without) {
            self.fail(Check::RefusalComplete, format!("node {index}: {refusal:?} lacks place, figures or remedy"));
        }
    }

    /// Before a call takes effect: does it take something from a living pod?
    pub(crate) fn check_call(&mut self, call: &Ec2Call) {
        let (interface, blocks): (&EniId, Option<Vec<Cidr>>) = match call {
            Ec2Call::Unassign { interface, addresses, prefixes } => {
                let hosts = addresses.iter().map(|address| Cidr::host(*address));
                (interface, Some(hosts.chain(prefixes.iter().copied()).collect()))
            }
            Ec2Call::Detach { interface, .. } | Ec2Call::Delete(interface) => (interface, None),
            Ec2Call::DescribeSubnets
            | Ec2Call::DescribeInterfaces(_)
            | Ec2Call::DescribeInterface(_)
            | Ec2Call::DescribeLeftovers(_)
            | Ec2Call::Create { .. }
            | Ec2Call::Attach { .. }
            | Ec2Call::SetDeleteOnTermination { .. }
            | Ec2Call::Assign { .. } => return,
        };
        let Some(shown) = self.interface(interface) else { return };
        let taken = blocks.unwrap_or_else(|| shown.cidrs());
        let Some(index) = shown.instance_id().and_then(|instance| self.by_instance.get(instance)).copied() else {
            return;
        };
        let Some(node) = self.nodes.get(index) else { return };
        let hit = node.sandboxes.iter().find_map(|(key, sandbox)| {
            let address =
                sandbox.live_address().filter(|_| sandbox.state == SandboxState::Live && !sandbox.stranded)?;
            taken.iter().any(|cidr| cidr.contains(address)).then(|| format!("{address} of {key}"))
        });
        if let Some(hit) = hit {
            let what =
                format!("node {index} gives back what a living pod has: {hit} by {} on {interface}", call.action());
            self.fail(Check::LiveNotReleased, what);
        }
    }

    /// At each refusal of an ADD: where nothing has gone wrong, there must be no room.
    pub(crate) fn check_room(&mut self, index: usize, refusal: &Refusal) {
        if self.troubled || !self.checks_every_step() || refusal.cause == Cause::Throttled {
            return;
        }
        let Some(node) = self.nodes.get(index) else { return };
        let Some(view) = node.pool.as_ref().map(Pool::view) else { return };
        let room = self.room(node, &view, &self.interfaces_of(index)).or_else(|| rested(node, &view, self.now));
        if let Some(room) = room {
            let what = format!("node {index} refused an ADD ({}: {}) although {room}", refusal.cause, refusal.message);
            self.fail(Check::RefusedWithoutRoom, what);
        }
    }

    /// At each call to EC2.
    pub(crate) fn count_call(&mut self, index: usize) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.calls.push_back(now);
        node.calls.retain(|at| now.duration_since(*at) < CALLS_WITHIN);
        let count = node.calls.len();
        if count > MOST_CALLS {
            let what = format!("node {index} made {count} calls within {CALLS_WITHIN:#}");
            self.fail(Check::CallsBounded, what);
        }
    }

    /// After each step, for each node that it touched.
    pub(crate) fn check_node(&mut self, index: usize) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(pool) = &node.pool else { return };
        let audit = pool.audit();
        let view = pool.view();
        node.ready_since = view.ready.then(|| node.ready_since.unwrap_or(now));
        let view = self.told(index, view);
        let Some(node) = self.nodes.get(index) else { return };
        let survives = lost_promise(node);
        let late = late_answer(node, self.now);
        let busy = busy(node, &view);
        let books = self.open_books(node, &view).or_else(|| self.open_blocks(index, &view));
        if !audit.is_empty() {
            self.fail(Check::PoolAudit, format!("node {index}: {}", audit.join("; ")));
        }
        let found = [
            (Check::AcknowledgedSurvives, survives),
            (Check::AnsweredInTime, late),
            (Check::CallsBounded, busy),
            (Check::BooksClose, books),
        ];
        for (check, what) in found {
            if let Some(what) = what {
                self.fail(check, format!("node {index}: {what}"));
            }
        }
    }

    /// What the pool may give must be in the cloud; the sums must close.
    fn open_books(&self, node: &Node, view: &PoolView) -> Option<String> {
        let tally = view.tally;
        if tally.total != tally.assigned + tally.cooling + tally.free + tally.quarantined {
            return Some(format!("the sums do not close: {tally:?}"));
        }
        let stale = node.stale.as_ref().is_some_and(|stale| self.now < stale.until);
        let usable = |interface: &&InterfaceView| interface.state == InterfaceState::Ready;
        for interface in view.interfaces.iter().filter(usable) {
            let sum: u32 = interface.blocks.iter().map(|block| block.tally.total).sum();
            if sum != interface.tally.total {
                return Some(format!("{} counts {} addresses, its blocks {sum}", interface.id, interface.tally.total));
            }
            if stale || self.removed.contains(&interface.id) || node.uncertain.contains(&interface.id) {
                continue;
            }
            let Some(shown) = self.interface(&interface.id) else {
                return Some(format!("{} is usable for the pool and gone from the cloud", interface.id));
            };
            let open = interface.blocks.iter().filter(|block| block.missing_since.is_none() && !block.releasing);
            let has: BTreeSet<Cidr> = shown.cidrs().into_iter().collect();
            for block in open {
                if !has.contains(&block.cidr) {
                    return Some(format!(
                        "{} of {} is usable for the pool; the cloud does not have it there",
                        block.cidr, shown.network_interface_id
                    ));
                }
            }
        }
        None
    }

    /// The end: everything is served, at rest, and nobody's things are nobody's.
    pub(crate) fn check_end(&mut self) {
        for index in 0..self.nodes.len() {
            self.check_node(index);
            let Some(node) = self.nodes.get(index) else { return };
            let Some(view) = node.pool.as_ref().map(|pool| pool.view()) else {
                self.fail(Check::Served, format!("node {index}: its agent is down at the end"));
                return;
            };
            let shown = self.interfaces_of(index);
            let waiting = node.pods.iter().filter(|(_, pod)| pod.wanted && !is_live(node, pod.sandbox.as_ref()));
            let waiting: Vec<&str> = waiting.map(|(name, _)| name.as_str()).collect();
            let room = self.room(node, &view, &shown);
            let unserved = room.filter(|_| !waiting.is_empty()).map(|room| {
                format!("{} pods wait on a healthy cloud ({}) although {room}", waiting.len(), waiting.join(", "))
            });
            let unrest = waiting.is_empty().then(|| self.unrest(node, &view)).flatten();
            let leak = self.leak(node, &view, &shown).or_else(|| node_blocks::left_over(&view));
            for (check, what) in [(Check::Served, unserved), (Check::Settles, unrest), (Check::NothingLeaked, leak)] {
                if let Some(what) = what {
                    self.fail(check, format!("node {index}: {what}"));
                }
            }
        }
    }

    /// Where one more pod would find an address, if anywhere.
    fn room(&self, node: &Node, view: &PoolView, shown: &[NetworkInterface]) -> Option<String> {
        if self.is_on_blocks() {
            return node_blocks::room(node, view);
        }
        let held = view.interfaces.iter().filter(|interface| !interface.excluded).map(|i| i.tally);
        let (free, assigned) = held.fold((0, 0), |(free, assigned), t| (free + t.free, assigned + t.assigned));
        if free > 0 {
            return Some(format!("the node holds {free} free addresses"));
        }
        if assigned >= node.facts.max_pods {
            return None;
        }
        let subnets = self.cloud.describe_subnets(&Describe::default()).map(|page| page.items).unwrap_or_default();
        let free_in = |id: &freeboard_address::SubnetId| {
            subnets.iter().find(|subnet| subnet.subnet_id == *id).map_or(0, |s| s.available_ip_address_count)
        };
        let limit = usize::try_from(node.facts.addresses_per_interface).unwrap_or(usize::MAX);
        let excluded = |id: &EniId| view.interfaces.iter().any(|interface| interface.id == *id && interface.excluded);
        for interface in shown.iter().filter(|interface| !excluded(&interface.network_interface_id)) {
            if interface.used_slots() < limit && free_in(&interface.subnet_id) > 0 {
                let id = &interface.network_interface_id;
                return Some(format!("{id} has slots left and its subnet {} free", free_in(&interface.subnet_id)));
            }
        }
        let slots = usize::try_from(view.interface_limit).unwrap_or(usize::MAX);
        let open = view.subnets.iter().filter(|subnet| subnet.allowed).find(|subnet| free_in(&subnet.id) >= 2);
        let open = open.filter(|_| shown.len() < slots)?;
        Some(format!("there are interface slots and {} has {} free", open.id, free_in(&open.id)))
    }

    fn unrest(&self, node: &Node, view: &PoolView) -> Option<String> {
        let rested = self.now.duration_since(node.last_change);
        if rested < AT_REST && self.scenario.settle_seconds > 2.0 * AT_REST.as_secs_f64() {
            return Some(format!("the pool made its last change {rested:#} ago, without any load"));
        }
        let pool = self.scenario.final_pool();
        let warm = pool.warm_ip_target.unwrap_or(0);
        let minimum = pool.minimum_ip_target.unwrap_or(0);
        if warm == 0 && minimum == 0 {
            return None;
        }
        let tally = view.tally;
        let wanted = warm.max(minimum.saturating_sub(tally.assigned));
        // A prefix with a pod on it stays, also after a change to single addresses.
        let in_prefixes = pool.mode == AllocationMode::Prefixes || view.prefixes > 0;
        let grain = if in_prefixes { 31 } else { 0 };
        // What is contained counts as held by the pool's formulas until it is explained.
        (tally.free > wanted + grain + tally.quarantined)
            .then(|| format!("{} addresses are free, the target is {wanted}: {tally:?}", tally.free))
    }

    fn leak(&self, node: &Node, view: &PoolView, shown: &[NetworkInterface]) -> Option<String> {
        let filters = [
            Filter::new(format!("tag:{INSTANCE_TAG}"), [node.facts.instance.as_str()]),
            Filter::new("status", ["available"]),
        ];
        let page = self.cloud.describe_network_interfaces(&Describe::by_filter(filters));
        if let Some(left) = page.map(|page| page.items).unwrap_or_default().first() {
            return Some(format!("{} is ours and attached to nothing", left.network_interface_id));
        }
        for interface in shown {
            let id = &interface.network_interface_id;
            let attached = interface.attachment.as_ref().is_some_and(|a| a.status == AttachmentStatus::Attached);
            let Some(known) = view.interfaces.iter().find(|known| known.id == *id) else {
                return Some(format!("{id} is attached and the pool does not know it"));
            };
            let has: BTreeSet<Cidr> = interface.cidrs().into_iter().skip(1).collect();
            let books: BTreeSet<Cidr> = known.blocks.iter().map(|block| block.cidr).collect();
            if attached && has != books {
                let extra: Vec<String> = has.symmetric_difference(&books).map(ToString::to_string).collect();
                return Some(format!("pool and cloud differ on {id}: {}", extra.join(", ")));
            }
        }
        let of_sandbox = |key: &AttachmentKey| {
            let rebuilt = || node.sandboxes.values().any(|sandbox| rebuilt_key(&sandbox.pod) == *key);
            node.sandboxes.contains_key(key) || rebuilt()
        };
        let on_interfaces = view.interfaces.iter().flat_map(|i| &i.blocks).flat_map(|block| &block.addresses);
        let assigned = on_interfaces.chain(view.node_blocks.iter().flat_map(|block| &block.addresses));
        let keys = assigned.filter_map(|address| match &address.state {
            AddressState::Assigned { key, .. } => Some((key, address.address)),
            AddressState::Free { .. } | AddressState::Cooling { .. } | AddressState::Quarantined => None,
        });
        let claims = view.quarantined.iter().map(|holding| (&holding.key, holding.address));
        let orphan = keys.chain(claims).find(|(key, _)| !of_sandbox(key));
        orphan.map(|(key, address)| format!("{address} is held for {key}, whose sandbox is gone"))
    }
}

fn is_live(node: &Node, sandbox: Option<&AttachmentKey>) -> bool {
    sandbox.and_then(|key| node.sandboxes.get(key)).is_some_and(|sandbox| sandbox.state == SandboxState::Live)
}

/// Whether an interface carries an address for pods.
fn carries(interface: &NetworkInterface, address: Ipv4Addr) -> bool {
    interface.cidrs().into_iter().skip(1).any(|cidr| cidr.contains(address))
}

/// A living sandbox whose address the pool does not hold for it any more.
fn lost_promise(node: &Node) -> Option<String> {
    let pool = node.pool.as_ref()?;
    node.sandboxes.iter().filter(|(_, s)| s.state == SandboxState::Live && !s.stranded).find_map(|(key, sandbox)| {
        let address = sandbox.address?;
        let held = |key: &AttachmentKey| pool.holds(key).is_some_and(|holding| holding.address == address);
        (!held(key) && !held(&rebuilt_key(&sandbox.pod)))
            .then(|| format!("{address} was promised to {key} ({}) and is not held for it any more", sandbox.pod))
    })
}

fn late_answer(node: &Node, now: jiff::Timestamp) -> Option<String> {
    let ready = node.ready_since?;
    node.open.values().find_map(|open| {
        let wait = match &open.asked {
            Asked::Add { .. } => node.settings.add_wait.saturating_add(ANSWER_SLACK),
            Asked::Del { .. } => ANSWER_SLACK,
        };
        (now.duration_since(open.at.max(ready)) > wait)
            .then(|| format!("{:?} is not answered since {}", open.asked, open.at))
    })
}

/// An address that rests longer than a pod has to wait for one.
fn rested(node: &Node, view: &PoolView, now: jiff::Timestamp) -> Option<String> {
    let floor = node.settings.cooldown.min(node.settings.pacing.cooldown_floor).saturating_add(REST_SLACK);
    let open = view.interfaces.iter().filter(|interface| !interface.excluded);
    let on_interfaces = open.flat_map(|interface| &interface.blocks).flat_map(|block| &block.addresses);
    let of_blocks = node_blocks::open(view).flat_map(|block| &block.addresses);
    on_interfaces.chain(of_blocks).find_map(|address| {
        let AddressState::Cooling { released } = &address.state else { return None };
        let rested = node.time(now).duration_since(*released);
        (rested > floor).then(|| format!("{} has rested for {rested:#}", address.address))
    })
}

fn busy(node: &Node, view: &PoolView) -> Option<String> {
    let mut changed = BTreeSet::new();
    for operation in &view.operations {
        if let Some(interface) = changes(&operation.operation)
            && !changed.insert(interface)
        {
            return Some(format!("two changes of {interface} are in flight: {:?}", view.operations));
        }
    }
    let most = usize::try_from(node.facts.interface_limit).unwrap_or(usize::MAX).saturating_add(3);
    (view.operations.len() > most)
        .then(|| format!("{} calls are in flight: {:?}", view.operations.len(), view.operations))
}

/// The interface that an operation changes.
fn changes(operation: &CloudOperation) -> Option<&EniId> {
    match operation {
        CloudOperation::AttachInterface { interface, .. }
        | CloudOperation::PrepareInterface { interface, .. }
        | CloudOperation::AssignAddresses { interface, .. }
        | CloudOperation::AssignPrefixes { interface, .. }
        | CloudOperation::Unassign { interface, .. }
        | CloudOperation::ReleaseInterface { interface } => Some(interface),
        CloudOperation::DescribeSubnets
        | CloudOperation::DescribeInterfaces
        | CloudOperation::CreateInterface { .. } => None,
    }
}
