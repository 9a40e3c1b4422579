//! Growth: every way in which the node could come to more addresses, what stands in the way of each, and the calls to make now.

use freeboard_address::{Addresses, EniId, Prefixes, SubnetId};
use jiff::{SignedDuration, Timestamp};

use crate::backoff::{Action, later};
use crate::blocks::Sums;
use crate::decision::{Choice, Reason};
use crate::effect::CloudOperation;
use crate::input::{AllocationMode, InterfaceIntent, Policy};
use crate::lean::Stock;
use crate::policy::{self, Aim, Figures, Shortage};
use crate::pool::Pool;
use crate::store::{Interface, Phase};
use crate::subnets::Allowance;

/// An interface with room that is busy is waited for this long before the need goes elsewhere: an assign takes less than a
/// second, an attach some seconds, and another interface would not be there sooner.
const PATIENCE: SignedDuration = SignedDuration::from_secs(8);

/// One way to more addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Attach an interface that was created.
    Attach(EniId),
    /// Set up the host for an attached interface.
    Prepare(EniId),
    /// Take more addresses on an interface.
    Assign(EniId),
    /// Create an interface in a subnet.
    Create(SubnetId),
}

/// What stands in a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Something is in flight that will settle it. `spare`: slots that will be left on the interface; `patient_until`: as long as
    /// it is worth to wait for them.
    Busy { spare: u32, patient_until: Timestamp },
    /// The subnet is full.
    Exhausted { subnet: SubnetId, until: Option<Timestamp> },
    /// The action failed a short while ago.
    Paused(Action),
    /// The account's limit is shared, and the node's next call of this action is not due yet.
    Share { action: Action, until: Timestamp },
    /// The host could not be set up for the interface a short while ago.
    Host(EniId),
}

/// A way, how preferred its range is, and what stands in it.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) way: Way,
    pub(crate) rank: u8,
    pub(crate) obstacle: Option<Obstacle>,
}

/// What a try to grow came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Started,
    /// It is better to wait for what is in flight.
    Waiting,
    /// No way is open.
    Blocked,
}

impl Pool {
    /// The figures that the formulas look at: what is in service, and what is on its way.
    pub(crate) fn figures(&self) -> Figures {
        match self.counted {
            Some((operations, figures)) if operations == self.last_operation => figures,
            Some(_) | None => self.count(),
        }
    }

    /// The figures, counted anew.
    pub(crate) fn count(&self) -> Figures {
        let mut figures = Figures {
            demand: self.waiting.demand(),
            slots: self.slots_per_interface(),
            max_pods: self.facts.max_pods,
            ..Figures::default()
        };
        let counted = |interface: &&Interface| {
            !self.is_excluded(interface)
                && (interface.is_open() || (interface.is_coming() && self.is_awaited(interface)))
        };
        let sums = if self.store.interfaces.are_steady() && !self.subnets.are_excluded() {
            self.store.interfaces.open()
        } else {
            let mut sums = Sums::default();
            self.store.interfaces.values().filter(counted).for_each(|interface| sums.add(&interface.blocks.sums()));
            sums
        };
        figures.total = sums.open.total - sums.open.quarantined;
        figures.assigned = sums.open.assigned;
        figures.cooling = sums.open.cooling;
        figures.total_prefixes = sums.open_prefixes;
        figures.free_prefixes = sums.unused_open_prefixes;
        for operation in self.operations.values() {
            let (addresses, prefixes) = brought(&operation.operation);
            figures.total += addresses.plus(prefixes.addresses()).0;
            figures.total_prefixes += prefixes.0;
            figures.free_prefixes += prefixes.0;
        }
        figures
    }

    /// Free addresses that calls in flight, or interfaces on their way into service, will bring.
    pub(crate) fn arriving(&self) -> u32 {
        let in_flight: u32 = self
            .operations
            .values()
            .map(|operation| brought(&operation.operation))
            .map(|(addresses, prefixes)| addresses.plus(prefixes.addresses()).0)
            .sum();
        let on_interfaces = |interface: &&Interface| {
            interface.is_coming() && !self.is_excluded(interface) && self.is_awaited(interface)
        };
        if self.store.interfaces.are_steady() {
            return in_flight;
        }
        in_flight + self.store.interfaces.values().filter(on_interfaces).map(|i| i.tally().free).sum::<u32>()
    }

    /// Whether an interface that is not in service yet is really on its way, and not stuck on a failure.
    fn is_awaited(&self, interface: &Interface) -> bool {
        interface.operation.is_some()
            || !(self.hosts.contains_key(&interface.id) || self.actions.contains_key(&Action::Attach))
    }

    /// Every way to more addresses, best first.
    pub(crate) fn routes(&self, now: Timestamp) -> Vec<Route> {
        let mut interfaces: Vec<_> = self.store.interfaces.values().filter(|i| i.missing_since.is_none()).collect();
        interfaces.sort_by_key(|interface| (interface.device_index, &interface.id));
        let mut routes: Vec<Route> =
            interfaces.iter().filter_map(|interface| self.interface_route(interface, now)).collect();
        let unanswered = !self.subnets_answered;
        let creating = self.operations.values().filter_map(|operation| {
            let CloudOperation::CreateInterface { subnet, addresses, prefixes, .. } = &operation.operation else {
                return None;
            };
            let spare = self.slots_per_interface().saturating_sub(addresses.0 + prefixes.0);
            Some((subnet.clone(), spare, later(operation.since, PATIENCE)))
        });
        for (subnet, spare, patient_until) in creating {
            let rank = self.rank(&subnet);
            routes.push(Route {
                way: Way::Create(subnet),
                rank,
                obstacle: Some(Obstacle::Busy { spare, patient_until }),
            });
        }
        if self.interface_slots_left() > 0 {
            for subnet in self.candidates() {
                let obstacle = if unanswered {
                    Some(Obstacle::Busy { spare: u32::MAX, patient_until: Timestamp::MAX })
                } else {
                    self.unrecorded()
                        .or_else(|| self.paused(Action::Create, now))
                        .or_else(|| self.paused(Action::Attach, now))
                        .or_else(|| self.subnet_obstacle(&subnet, 2, now))
                        .or_else(|| self.is_covered(&subnet).then(|| self.fullness(&subnet)))
                };
                routes.push(Route { rank: self.rank(&subnet), way: Way::Create(subnet), obstacle });
            }
        }
        routes.sort_by_key(|route| (route.rank, matches!(route.way, Way::Create(_))));
        routes
    }

    fn interface_route(&self, interface: &Interface, now: Timestamp) -> Option<Route> {
        let id = interface.id.clone();
        let rank = self.rank(&interface.subnet);
        let spare = self.slots_per_interface().saturating_sub(self.slots_taken(interface));
        let (way, pause) = match interface.phase {
            Phase::Created => (Way::Attach(id), self.paused(Action::Attach, now)),
            Phase::Unprepared => {
                let host = self.hosts.get(&interface.id).filter(|pause| pause.backoff.until > now);
                let pause = host.map(|_| Obstacle::Host(id.clone())).or_else(|| self.paused(Action::Prepare, now));
                (Way::Prepare(id), pause)
            }
            Phase::Ready if spare > 0 && interface.full_since.is_none() && self.may_carry_more(interface) => {
                let obstacle = self.paused(Action::Assign, now);
                (Way::Assign(id), obstacle.or_else(|| self.subnet_obstacle(&interface.subnet, 1, now)))
            }
            Phase::Ready | Phase::Releasing => return None,
        };
        let busy_since = match (interface.operation, interface.unsettled) {
            (Some(operation), _) => self.operations.get(&operation).map(|operation| operation.since),
            (None, Some(_)) => Some(Timestamp::MIN),
            (None, None) if interface.phase == Phase::Unprepared && !interface.attached => Some(interface.since),
            (None, None) => None,
        };
        // What only a look can settle is not on its way while looks fail.
        let pause = match (interface.operation, interface.unsettled) {
            (None, Some(_)) => self.paused(Action::DescribeInterfaces, now).or(pause),
            _ => pause,
        };
        let is_blind =
            interface.operation.is_none() && matches!(pause, Some(Obstacle::Paused(Action::DescribeInterfaces)));
        let busy = busy_since
            .filter(|_| !is_blind)
            .map(|since| Obstacle::Busy { spare, patient_until: later(since, PATIENCE) });
        Some(Route { way, rank, obstacle: busy.or(pause) })
    }

    fn subnet_obstacle(&self, subnet: &SubnetId, least: u32, now: Timestamp) -> Option<Obstacle> {
        match self.subnets.allowance(subnet, least, now) {
            Allowance::Exhausted(until) => Some(Obstacle::Exhausted { subnet: subnet.clone(), until: Some(until) }),
            Allowance::LookWanted => Some(Obstacle::Busy { spare: 0, patient_until: Timestamp::MIN }),
            Allowance::UpTo(most) if most < least => Some(self.fullness(subnet)),
            Allowance::UpTo(_) => None,
        }
    }

    /// What cannot be recorded is not created: a restarted agent would not know of it.
    fn unrecorded(&self) -> Option<Obstacle> {
        let retry_at = self.journal.retry_at.filter(|_| self.journal.failing.is_some());
        retry_at.map(|at| Obstacle::Busy { spare: 0, patient_until: at })
    }

    fn fullness(&self, subnet: &SubnetId) -> Obstacle {
        Obstacle::Exhausted { subnet: subnet.clone(), until: self.subnets.exhausted_until(subnet) }
    }

    pub(crate) fn paused(&self, action: Action, now: Timestamp) -> Option<Obstacle> {
        self.actions
            .get(&action)
            .filter(|pause| pause.backoff.until > now)
            .map(|_| Obstacle::Paused(action))
            .or_else(|| self.waits_for_share(action, now))
    }

    /// Whether the cloud may be asked for more at all.
    pub(crate) fn may_grow(&self) -> bool {
        !self.terminating
            && !self.settings.provisioning_disabled
            && (self.schedulable || self.settings.manage_non_schedulable)
    }

    /// Starts every call that is needed now and not in flight yet.
    pub(crate) fn grow(&mut self, now: Timestamp) {
        if self.terminating || !self.is_ready() {
            return;
        }
        self.bring_into_service(now);
        self.repeat_lost_creations(now);
        // Each call counts in the figures at once, so this ends when the need is met or no way is open.
        for _ in 0..256 {
            let Some(shortage) = self.shortage(false) else { return };
            if !self.may_grow() {
                return;
            }
            let step = match self.grow_once(&shortage, false, now) {
                Step::Blocked => self.grow_fragmented(now),
                step @ (Step::Started | Step::Waiting) => step,
            };
            if step != Step::Started {
                self.wake_for_obstacles(now);
                return;
            }
        }
    }

    /// Decides what the pool is to hold from now on.
    pub(crate) fn take_aim(&mut self, now: Timestamp) {
        self.aim = match self.settings.policy {
            Policy::Compatible(targets) => Aim::Targets(targets),
            Policy::Lean => {
                let figures = self.figures();
                let (pods_wait, interface_may_come) = (figures.demand > 0, self.interface_slots_left() > 0);
                let stock = Stock {
                    available: figures.available(),
                    pods_wait,
                    cooling: figures.cooling,
                    // It counts only where an interface may have to come first.
                    room: if interface_may_come && !pods_wait { self.room_in_service(now) } else { 0 },
                    interface_may_come,
                    cooldown: self.settings.cooldown,
                };
                let forecast = self.lean.forecast(&stock, now);
                if let Some(at) = self.lean.look_again(&forecast, now) {
                    self.wake(at, "what pods are expected to need is judged anew", now);
                }
                Aim::Forecast(forecast)
            }
        };
    }

    /// Addresses that one call on an interface in service could bring.
    pub(crate) fn room_in_service(&self, now: Timestamp) -> u32 {
        let open = self.store.interfaces.values().filter(|interface| {
            interface.is_open()
                && interface.full_since.is_none()
                && self.may_carry_more(interface)
                && !self.subnets.is_exhausted(&interface.subnet, now)
        });
        let slots: u32 = open.map(|interface| self.slots_per_interface() - self.slots_taken(interface)).sum();
        match self.mode() {
            AllocationMode::SecondaryAddresses => slots,
            AllocationMode::Prefixes => Prefixes(slots).addresses().0,
        }
    }

    /// Attaches what was created and sets up the host for what is attached.
    fn bring_into_service(&mut self, now: Timestamp) {
        if self.store.interfaces.are_steady() {
            return;
        }
        for route in self.routes(now) {
            match (&route.way, &route.obstacle) {
                (Way::Attach(id), None) => self.attach(id, now),
                (Way::Prepare(id), None) => self.prepare(id, now),
                (Way::Attach(_) | Way::Prepare(_), Some(obstacle)) => self.wake_for(obstacle, now),
                (Way::Assign(_) | Way::Create(_), _) => {}
            }
        }
    }

    pub(crate) fn shortage(&self, fragmented: bool) -> Option<Shortage> {
        policy::shortage(self.mode(), &self.aim, &self.figures(), fragmented)
    }

    /// Single addresses beside prefixes, where no aligned /28 is left.
    fn grow_fragmented(&mut self, now: Timestamp) -> Step {
        match (self.mode(), self.shortage(true)) {
            (AllocationMode::Prefixes, Some(shortage)) => self.grow_once(&shortage, true, now),
            (AllocationMode::Prefixes | AllocationMode::SecondaryAddresses, _) => Step::Blocked,
        }
    }

    /// Starts one call, by the best way that is open. `singles`: single addresses, where the mode is prefixes.
    fn grow_once(&mut self, shortage: &Shortage, singles: bool, now: Timestamp) -> Step {
        let in_prefixes = self.mode() == AllocationMode::Prefixes && !singles;
        let mut need = if in_prefixes { shortage.prefixes.0 } else { shortage.addresses.0 };
        for route in self.routes(now) {
            let subnet = match &route.way {
                Way::Assign(id) => self.store.interfaces.get(id).map(|interface| interface.subnet.clone()),
                Way::Create(subnet) => Some(subnet.clone()),
                Way::Attach(_) | Way::Prepare(_) => None,
            };
            if let Some(Obstacle::Busy { spare, patient_until }) = route.obstacle
                && patient_until > now
            {
                need = need.saturating_sub(spare);
                if need == 0 {
                    return Step::Waiting;
                }
            }
            let (Some(subnet), None) = (subnet, &route.obstacle) else { continue };
            let is_new = u32::from(matches!(route.way, Way::Create(_)));
            let Allowance::UpTo(most) = self.subnets.allowance(&subnet, 1 + is_new, now) else { continue };
            let room = match &route.way {
                Way::Assign(id) => {
                    self.store.interfaces.get(id).map_or(0, |i| self.slots_per_interface() - self.slots_taken(i))
                }
                Way::Create(_) | Way::Attach(_) | Way::Prepare(_) => self.slots_per_interface(),
            };
            // An interface's primary address may take the last one of a /28 that counts as free.
            let prefixes = self.subnets.prefix_allowance(&subnet, now).min((most - is_new) / Prefixes::SIZE);
            if singles && prefixes > 0 {
                continue;
            }
            let by_subnet = if in_prefixes { prefixes } else { most - is_new };
            let count = need.min(room).min(by_subnet);
            if count > 0 {
                self.take(&route.way, count, in_prefixes, shortage.why.clone(), now);
                return Step::Started;
            }
        }
        Step::Blocked
    }

    /// Whether the interfaces in a subnet have slots for all that is left of it: a new one would only cost its primary address.
    fn is_covered(&self, subnet: &SubnetId) -> bool {
        let here = |interface: &&Interface| {
            interface.subnet == *subnet
                && interface.full_since.is_none()
                && self.may_carry_more(interface)
                && (interface.is_open() || interface.is_coming())
        };
        let slots = self.slots_per_interface();
        let spare: u32 = self.store.interfaces.values().filter(here).map(|i| slots - self.slots_taken(i)).sum();
        self.subnets.free(subnet).is_some_and(|free| free <= spare)
    }

    fn take(&mut self, way: &Way, count: u32, in_prefixes: bool, why: Reason, now: Timestamp) {
        match way {
            Way::Assign(interface) if in_prefixes => {
                let (interface, count) = (interface.clone(), Prefixes(count));
                self.decide(Choice::TakePrefixes { interface: interface.clone(), count }, why);
                self.start(CloudOperation::AssignPrefixes { interface, count }, now);
            }
            Way::Assign(interface) => {
                let (interface, count) = (interface.clone(), Addresses(count));
                self.decide(Choice::TakeAddresses { interface: interface.clone(), count }, why);
                self.start(CloudOperation::AssignAddresses { interface, count }, now);
            }
            Way::Create(subnet) => {
                let (addresses, prefixes) =
                    if in_prefixes { (Addresses::ZERO, Prefixes(count)) } else { (Addresses(count), Prefixes::ZERO) };
                let cidr = self.subnets.get(subnet).map(|subnet| subnet.cidr);
                self.decide(Choice::CreateInterface { subnet: subnet.clone(), cidr, addresses, prefixes }, why);
                let token = self.next_token();
                let (subnet, groups) = (subnet.clone(), self.groups());
                self.intend(InterfaceIntent { subnet, addresses, prefixes, groups, token, decided: now }, now);
            }
            Way::Attach(_) | Way::Prepare(_) => {}
        }
    }

    fn attach(&mut self, id: &EniId, now: Timestamp) {
        let device_index = self.lowest_device_index();
        if self.store.interfaces.change(id, |interface| interface.device_index = device_index).is_some() {
            self.start(CloudOperation::AttachInterface { interface: id.clone(), device_index }, now);
        }
    }

    fn prepare(&mut self, id: &EniId, now: Timestamp) {
        if let Some(interface) = self.store.interfaces.get(id) {
            let device_index = interface.device_index;
            self.start(CloudOperation::PrepareInterface { interface: id.clone(), device_index }, now);
        }
    }

    /// The lowest device index that no other interface of the instance has, or is about to get.
    fn lowest_device_index(&self) -> u32 {
        let managed = self.store.interfaces.values().filter(|i| i.phase != Phase::Created || i.operation.is_some());
        let taken: std::collections::BTreeSet<u32> =
            managed.map(|interface| interface.device_index).chain(self.unmanaged.values().copied()).collect();
        (0..).find(|index| !taken.contains(index)).unwrap_or(0)
    }

    /// More addresses are needed and no way is open: look again when the first obstacle may be gone.
    fn wake_for_obstacles(&mut self, now: Timestamp) {
        for obstacle in self.routes(now).into_iter().filter_map(|route| route.obstacle) {
            self.wake_for(&obstacle, now);
        }
    }

    fn wake_for(&mut self, obstacle: &Obstacle, now: Timestamp) {
        if let Some(at) = self.gone_at(obstacle).filter(|at| *at != Timestamp::MAX) {
            self.wake(at, "a way to more addresses may be open again", now);
        }
    }

    /// When an obstacle may be gone, as far as that is known.
    pub(crate) fn gone_at(&self, obstacle: &Obstacle) -> Option<Timestamp> {
        match obstacle {
            Obstacle::Busy { patient_until, .. } => Some(*patient_until),
            Obstacle::Exhausted { until, .. } => *until,
            Obstacle::Share { until, .. } => Some(*until),
            Obstacle::Paused(action) => self.actions.get(action).map(|pause| pause.backoff.until),
            Obstacle::Host(id) => self.hosts.get(id).map(|pause| pause.backoff.until),
        }
    }

    /// Addresses and prefixes that an interface carries, slot by slot.
    pub(crate) fn slots_taken(&self, interface: &Interface) -> u32 {
        let in_flight = interface.operation.and_then(|id| self.operations.get(&id)).map_or(0, |operation| {
            let (addresses, prefixes) = brought(&operation.operation);
            addresses.0 + prefixes.0
        });
        u32::try_from(interface.blocks.len())
            .unwrap_or(u32::MAX)
            .saturating_add(interface.foreign_blocks)
            .saturating_add(in_flight)
            .min(self.slots_per_interface())
    }

    /// How many more interfaces the node may have.
    pub(crate) fn interface_slots_left(&self) -> u32 {
        let creating =
            self.operations.values().filter(|o| matches!(o.operation, CloudOperation::CreateInterface { .. })).count();
        let taken = self.store.interfaces.len() + self.unmanaged.len() + creating + self.lost_creations.len();
        self.interface_limit().saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// The interfaces that the node may have: the type's limit, `MAX_ENI`, or fewer as learned from the cloud.
    pub(crate) fn interface_limit(&self) -> u32 {
        let configured = self.settings.max_eni.filter(|limit| *limit >= 1).unwrap_or(u32::MAX);
        let learned = self.learned_limit.as_ref().map_or(u32::MAX, |(limit, _)| *limit);
        self.facts.interface_limit.min(configured).min(learned)
    }

    pub(crate) fn slots_per_interface(&self) -> u32 {
        self.facts.addresses_per_interface.saturating_sub(1)
    }

    /// Prefixes only where the instance type supports them.
    pub(crate) fn mode(&self) -> AllocationMode {
        if self.facts.prefixes_supported { self.settings.mode } else { AllocationMode::SecondaryAddresses }
    }

    pub(crate) fn rank(&self, subnet: &SubnetId) -> u8 {
        self.subnets.rank(subnet, self.settings.preference, &self.facts)
    }

    /// Whether more addresses for pods may be taken on an interface. What it carries already is used in any case.
    fn may_carry_more(&self, interface: &Interface) -> bool {
        let is_reserved = interface.id == self.facts.primary_interface && self.is_primary_reserved();
        !is_reserved && !self.is_excluded(interface)
    }

    pub(crate) fn is_excluded(&self, interface: &Interface) -> bool {
        self.subnets.is_excluded(&interface.subnet)
    }
}

/// What an operation in flight will bring.
pub(crate) fn brought(operation: &CloudOperation) -> (Addresses, Prefixes) {
    match operation {
        CloudOperation::CreateInterface { addresses, prefixes, .. } => (*addresses, *prefixes),
        CloudOperation::AssignAddresses { count, .. } => (*count, Prefixes::ZERO),
        CloudOperation::AssignPrefixes { count, .. } => (Addresses::ZERO, *count),
        CloudOperation::DescribeSubnets
        | CloudOperation::DescribeInterfaces
        | CloudOperation::AttachInterface { .. }
        | CloudOperation::PrepareInterface { .. }
        | CloudOperation::Unassign { .. }
        | CloudOperation::ReleaseInterface { .. } => (Addresses::ZERO, Prefixes::ZERO),
    }
}
