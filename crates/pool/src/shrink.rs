//! Giving back: addresses and prefixes over the targets, unused interfaces, and interfaces whose slot is needed elsewhere.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{Addresses, Cidr, EniId, Prefixes, SubnetId};
use jiff::{SignedDuration, Timestamp};

use crate::backoff::{Action, later};
use crate::decision::{Choice, Reason};
use crate::effect::CloudOperation;
use crate::growth::Way;
use crate::input::AllocationMode;
use crate::policy::{self, Excess, Figures, Others};
use crate::pool::{Pool, interface_of};
use crate::store::{Interface, Phase};
use crate::subnets::Allowance;

/// An attachment that takes longer never completes: mostly it takes seconds, at worst one minute.
const ATTACHED_WITHIN: SignedDuration = SignedDuration::from_mins(3);

impl Pool {
    /// Starts what is to be given back now.
    pub(crate) fn shrink(&mut self, now: Timestamp) {
        self.finish_releases(now);
        if !self.terminating && self.is_ready() && !self.store.interfaces.are_steady() {
            self.give_up_attachments(now);
        }
        if self.terminating || !self.is_ready() || self.settings.provisioning_disabled {
            return;
        }
        self.make_way(now);
        if self.waiting.demand() > 0 {
            return;
        }
        if self.operations.values().any(|in_flight| is_change(&in_flight.operation)) || !self.subnets_answered {
            return;
        }
        if self.may_release(Action::Release, "an interface may be given back again", now) {
            self.give_back_interface(now);
        }
        if self.may_release(Action::Unassign, "addresses may be given back again", now) {
            self.give_back_blocks(now);
        }
    }

    /// Goes on with interfaces that are to go, until they are gone.
    fn finish_releases(&mut self, now: Timestamp) {
        if self.store.interfaces.are_steady() {
            return;
        }
        if let Some(until) = self.paused(Action::Release, now).and_then(|obstacle| self.gone_at(&obstacle)) {
            if self.store.interfaces.values().any(|interface| interface.phase == Phase::Releasing) {
                self.wake(until, "an interface is still to be given back", now);
            }
            return;
        }
        let idle: Vec<_> = self
            .store
            .interfaces
            .values()
            .filter(|interface| interface.phase == Phase::Releasing && interface.operation.is_none())
            .map(|interface| interface.id.clone())
            .collect();
        for interface in idle {
            self.start(CloudOperation::ReleaseInterface { interface }, now);
        }
    }

    /// Every slot is taken, the pool is short, and another subnet has room: new pods avoid one interface in a full subnet, and it
    /// makes way as soon as nothing is on it. No pod is moved for it.
    fn make_way(&mut self, now: Timestamp) {
        let Some((id, target)) = self.to_make_way(now) else {
            self.leaving = None;
            return;
        };
        if self.leaving.as_ref() != Some(&id) {
            let why = self.room_elsewhere(&target, false);
            self.decide(Choice::AvoidInterface { interface: id.clone() }, why);
            self.leaving = Some(id.clone());
        }
        let Some(interface) = self.store.interfaces.get(&id) else { return };
        // One with addresses stays for a while: its room may be taken again in the same subnet, and must not go to and fro.
        let old_enough = later(interface.since, self.settings.pacing.interface_min_age);
        let is_empty = self.may_be_given_back(interface);
        if is_empty && !interface.blocks.is_empty() && old_enough > now {
            return self.wake(old_enough, "an unused interface is old enough to make way", now);
        }
        let is_calm = !self.operations.values().any(|in_flight| is_change(&in_flight.operation));
        if is_empty && is_calm && self.paused(Action::Release, now).is_none() {
            self.give_back(&id, self.room_elsewhere(&target, true), now);
        }
    }

    fn room_elsewhere(&self, subnet: &SubnetId, unused: bool) -> Reason {
        let cidr = self.subnets.get(subnet).map(|subnet| subnet.cidr);
        Reason::RoomElsewhere { subnet: subnet.clone(), cidr, unused }
    }

    /// The interface that should make way, and the subnet that has room: of those in a full subnet the one with the fewest pods.
    fn to_make_way(&self, now: Timestamp) -> Option<(EniId, SubnetId)> {
        if self.interface_slots_left() > 0 || !self.may_grow() || self.shortage(false).is_none() {
            return None;
        }
        if self.routes(now).iter().any(|route| route.obstacle.is_none() && !matches!(route.way, Way::Prepare(_))) {
            return None;
        }
        let roomy = |subnet: &_| matches!(self.subnets.allowance(subnet, 2, now), Allowance::UpTo(most) if most >= 2);
        let target = self.candidates().into_iter().find(roomy)?;
        let slots = self.slots_per_interface();
        let in_full_subnets = self.store.interfaces.values().filter(|interface| {
            interface.id != self.facts.primary_interface
                && interface.phase == Phase::Ready
                && !self.is_excluded(interface)
                && !roomy(&interface.subnet)
                && self.slots_taken(interface) < slots
        });
        let fewest = in_full_subnets.min_by_key(|i| (i.tally().total - i.tally().free, Reverse(i.device_index)))?;
        Some((fewest.id.clone(), target))
    }

    /// What no rule about targets may override: not the primary one, nothing on it, nothing going on.
    fn may_be_given_back(&self, interface: &Interface) -> bool {
        let tally = interface.tally();
        interface.id != self.facts.primary_interface
            && tally.free == tally.total
            && interface.phase == Phase::Ready
            && interface.attached
            && interface.operation.is_none()
            && interface.unsettled.is_none()
            && interface.missing_since.is_none()
            && interface.blocks.sums().open_blocks == interface.blocks.len()
            && !self
                .store
                .claims
                .values()
                .any(|claim| interface.blocks.keys().any(|block| block.contains(claim.address)))
    }

    fn give_back_interface(&mut self, now: Timestamp) {
        let is_candidate = |interface: &&Interface| self.may_be_given_back(interface);
        if self.store.interfaces.unused() == 0
            || !self.store.interfaces.values().any(|interface| is_candidate(&interface))
        {
            return;
        }
        let figures = self.figures();
        let min_age = self.settings.pacing.interface_min_age;
        let mut best: Option<(_, EniId)> = None;
        let mut ages = Vec::new();
        for interface in self.store.interfaces.values().filter(is_candidate) {
            if !self.targets_let_go(interface, &figures) {
                continue;
            }
            if later(interface.since, min_age) > now {
                ages.push(later(interface.since, min_age));
                continue;
            }
            let full = self.subnets.is_exhausted(&interface.subnet, now);
            let order = (self.is_excluded(interface), full, self.rank(&interface.subnet), interface.device_index);
            if best.as_ref().is_none_or(|(known, _)| order > *known) {
                best = Some((order, interface.id.clone()));
            }
        }
        for at in ages {
            self.wake(at, "an unused interface is old enough to be given back", now);
        }
        if let Some((_, id)) = best {
            self.give_back(&id, self.aim.reason(true), now);
        }
    }

    fn targets_let_go(&self, interface: &Interface, figures: &Figures) -> bool {
        if self.is_excluded(interface) {
            return true;
        }
        let others = || {
            self.store
                .interfaces
                .values()
                .filter(|other| other.id != interface.id && other.is_open() && !self.is_excluded(other))
        };
        let free_prefixes = others().map(|interface| interface.blocks.sums().unused_prefixes).sum();
        let tally = crate::store::sum(others().map(Interface::tally));
        let own = interface.tally().total;
        let beside = Others { free: tally.free, total: tally.total, free_prefixes, own };
        // Nothing is on it, so all its prefixes are unused ones.
        let sums = interface.blocks.sums();
        let mut after = *figures;
        after.total = after.total.saturating_sub(sums.all.total);
        after.total_prefixes = after.total_prefixes.saturating_sub(sums.unused_prefixes);
        after.free_prefixes = after.free_prefixes.saturating_sub(sums.unused_prefixes);
        policy::interface_may_go(self.mode(), &self.aim, figures, &beside)
            && policy::shortage(self.mode(), &self.aim, &after, false).is_none()
    }

    fn give_back(&mut self, id: &EniId, why: Reason, now: Timestamp) {
        self.decide(Choice::GiveBackInterface { interface: id.clone() }, why);
        self.lean.gave_back();
        self.store.interfaces.change(id, |interface| interface.phase = Phase::Releasing);
        self.finish_releases(now);
    }

    fn give_back_blocks(&mut self, now: Timestamp) {
        let mut figures = self.figures();
        let Excess { mut addresses, mut prefixes } = policy::excess(self.mode(), &self.aim, &figures);
        let nothing_over = addresses.is_zero() && prefixes.is_zero();
        let is_any_excluded =
            || self.subnets.are_excluded() && self.store.interfaces.values().any(|i| self.is_excluded(i));
        if nothing_over && !is_any_excluded() {
            return;
        }
        let due = self.last_shrink.map_or(now, |last| later(last, self.settings.pacing.shrink_interval));
        if due > now {
            if self.store.interfaces.values().any(|interface| interface.blocks.unused().next().is_some()) {
                self.wake(due, "addresses over the target are to be given back", now);
            }
            return;
        }
        let mut chosen: BTreeMap<EniId, Vec<Cidr>> = BTreeMap::new();
        for (id, cidr, excluded) in self.unused_blocks(now) {
            if excluded {
                chosen.entry(id).or_default().push(cidr);
                continue;
            }
            let size = Addresses(u32::try_from(cidr.size()).unwrap_or(u32::MAX));
            let is_prefix = cidr.length() < 32;
            let fits = match (self.mode(), is_prefix) {
                (AllocationMode::Prefixes, true) => !prefixes.is_zero(),
                (AllocationMode::Prefixes, false) | (AllocationMode::SecondaryAddresses, _) => size <= addresses,
            };
            let mut after = figures;
            without(&mut after, cidr);
            // Left from before a change to single addresses: fewer of those stand in for it at once, by the next call.
            let is_left_over = is_prefix
                && self.mode() == AllocationMode::SecondaryAddresses
                && !addresses.is_zero()
                && size > addresses
                && self.may_grow()
                && size.minus(addresses).0 <= self.room_in_service(now) + 1
                && self.paused(Action::Assign, now).is_none();
            if is_left_over {
                figures = after;
                addresses = Addresses::ZERO;
                chosen.entry(id).or_default().push(cidr);
                continue;
            }
            if fits && policy::shortage(self.mode(), &self.aim, &after, false).is_none() {
                figures = after;
                addresses = addresses.minus(size);
                prefixes = prefixes.minus(Prefixes(u32::from(is_prefix)));
                chosen.entry(id).or_default().push(cidr);
            }
        }
        if chosen.is_empty() {
            return;
        }
        self.last_shrink = Some(now);
        self.lean.gave_back();
        for (interface, blocks) in chosen {
            let prefixes = blocks.iter().filter(|block| block.length() < 32).count();
            let count = |blocks: usize| u32::try_from(blocks).unwrap_or(u32::MAX);
            let (addresses, prefixes) = (Addresses(count(blocks.len() - prefixes)), Prefixes(count(prefixes)));
            let what = Choice::GiveBackBlocks { interface: interface.clone(), addresses, prefixes };
            self.decide(what, self.aim.reason(false));
            self.unassign(interface, blocks);
        }
    }

    fn unassign(&mut self, interface: EniId, blocks: Vec<Cidr>) {
        self.store.interfaces.change(&interface, |known| {
            for cidr in &blocks {
                known.blocks.change(*cidr, |block| block.releasing = true);
            }
        });
        let (singles, prefixes): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block.length() == 32);
        let addresses: Vec<Ipv4Addr> = singles.into_iter().map(Cidr::network).collect();
        let revision = self.persist();
        self.to_give_back.push((revision, CloudOperation::Unassign { interface, addresses, prefixes }));
    }

    /// The disk knows what is to go: the calls are made, unless something else has begun on the interface meanwhile.
    pub(crate) fn give_back_durably(&mut self, now: Timestamp) {
        let durable = self.journal.durable;
        let (due, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.to_give_back).into_iter().partition(|(revision, _)| *revision <= durable);
        self.to_give_back = waiting;
        if !due.is_empty() {
            self.advance(now);
        }
        for (_, operation) in due {
            let interface = interface_of(&operation).and_then(|id| self.store.interfaces.get(id));
            let calm = interface.is_some_and(|i| i.is_open() && i.operation.is_none() && i.unsettled.is_none());
            if calm {
                self.start(operation, now);
            } else {
                self.refused_whole(&operation);
            }
        }
    }

    /// The disk cannot be told what is to go, so it stays.
    pub(crate) fn keep_what_was_to_go(&mut self) {
        for (_, operation) in std::mem::take(&mut self.to_give_back) {
            self.refused_whole(&operation);
        }
    }

    /// Gives interfaces back whose attachment the cloud does not complete: they hold a slot and addresses that nobody can use.
    fn give_up_attachments(&mut self, now: Timestamp) {
        let stuck = |interface: &&Interface| {
            interface.phase == Phase::Unprepared
                && !interface.attached
                && interface.id != self.facts.primary_interface
                && interface.operation.is_none()
                // Whoever claims an address of it cannot have it from an interface that never was on the node.
                && interface.tally().assigned == 0
        };
        let stuck: Vec<_> = self
            .store
            .interfaces
            .values()
            .filter(stuck)
            .map(|i| (i.id.clone(), later(i.since, ATTACHED_WITHIN)))
            .collect();
        for (id, until) in stuck {
            if until > now {
                self.wake(until, "an attachment has not completed in time", now);
            } else {
                self.give_back(
                    &id,
                    format!("the cloud has not completed its attachment in {ATTACHED_WITHIN:#}").into(),
                    now,
                );
            }
        }
    }

    /// Blocks with nothing on them, in the order in which they are given back: excluded and full subnets first, the other kind
    /// than the mode's, the emptiest interface, the highest device index, the highest address.
    fn unused_blocks(&self, now: Timestamp) -> Vec<(EniId, Cidr, bool)> {
        let mut unused = Vec::new();
        let usable =
            self.store.interfaces.values().filter(|i| i.is_open() && i.operation.is_none() && i.unsettled.is_none());
        for interface in usable {
            let excluded = self.is_excluded(interface);
            let full = self.subnets.is_exhausted(&interface.subnet, now);
            let assigned = interface.tally().assigned;
            for cidr in interface.blocks.unused() {
                let other_kind = (cidr.length() == 32) != (self.mode() == AllocationMode::SecondaryAddresses);
                let order = (
                    Reverse((excluded, full, other_kind, self.rank(&interface.subnet))),
                    assigned,
                    Reverse((interface.device_index, cidr)),
                );
                unused.push((order, interface.id.clone(), cidr, excluded));
            }
        }
        unused.sort_by_key(|(order, ..)| *order);
        unused.into_iter().map(|(_, id, cidr, excluded)| (id, cidr, excluded)).collect()
    }
}

/// The figures without an unused block.
fn without(figures: &mut Figures, cidr: Cidr) {
    let size = u32::try_from(cidr.size()).unwrap_or(u32::MAX);
    figures.total = figures.total.saturating_sub(size);
    if cidr.length() < 32 {
        figures.total_prefixes = figures.total_prefixes.saturating_sub(1);
        figures.free_prefixes = figures.free_prefixes.saturating_sub(1);
    }
}

/// Whether an operation changes what the node holds.
pub(crate) fn is_change(operation: &CloudOperation) -> bool {
    !matches!(operation, CloudOperation::DescribeSubnets | CloudOperation::DescribeInterfaces)
}
