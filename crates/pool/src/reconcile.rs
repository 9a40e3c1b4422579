//! Looks at the cloud: EC2 is the authority on what the node holds, but nothing is dropped on one look alone.

use std::collections::BTreeSet;

use freeboard_address::{AttachmentKey, Cidr, EniId};
use jiff::{SignedDuration, Timestamp};

use crate::backoff::{Action, later};
use crate::effect::CloudOperation;
use crate::growth::{Obstacle, Route, Way};
use crate::input::{ObservedInterface, RestoredAllocation};
use crate::pool::Pool;
use crate::requests::LISTS_MAY_BE_LATE;
use crate::store::{Cell, Interface, Phase, Step};
use crate::view::Corrections;

const NO_MANAGE_TAG: &str = "node.k8s.amazonaws.com/no_manage";
const INSTANCE_TAG: &str = "node.k8s.amazonaws.com/instance_id";
const CONTAINED: &str = "the sandboxes keep their addresses, which are given to nobody else";

/// When a look was started: what became known later than that cannot be judged by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) step: Step,
    pub(crate) at: Timestamp,
}

/// Whether something that a look did not show is gone: two looks, apart in time, must agree.
fn is_gone(missing_since: &mut Option<Timestamp>, look: Look, apart: SignedDuration) -> bool {
    let first = *missing_since.get_or_insert(look.at);
    later(first, apart) <= look.at
}

/// How the blocks of an interface differ from what a look shows.
struct Comparison {
    /// Not shown for long enough.
    gone: Vec<Cidr>,
    /// Shown, and not known.
    unknown: Vec<Cidr>,
    /// Whether others were not shown, for the first time.
    missing: bool,
}

impl Interface {
    /// Takes in how a look shows the interface itself. Returns whether it settled what was in doubt; `None` when the look is too
    /// old to tell anything.
    fn look(&mut self, seen: &ObservedInterface, look: Look) -> Option<bool> {
        if look.step < self.known {
            return None;
        }
        let settled = self.settle(look);
        if self.phase == Phase::Created && self.operation.is_none() {
            self.phase = Phase::Unprepared;
        }
        if self.operation.is_none() && self.phase != Phase::Created {
            self.device_index = seen.device_index;
        }
        self.attached = seen.attached;
        self.missing_since = None;
        self.mac = seen.mac;
        Some(settled)
    }

    fn settle(&mut self, look: Look) -> bool {
        let settled = self.unsettled.is_some_and(|(since, not_before)| look.step >= since && look.at >= not_before);
        if settled {
            self.unsettled = None;
        }
        settled
    }

    /// Compares the blocks with those that a look shows. `settled`: whether it tells what became of a lost answer.
    fn compare(&mut self, shown: &BTreeSet<Cidr>, settled: bool, look: Look, apart: SignedDuration) -> Comparison {
        let idle = self.operation.is_none();
        let (mut gone, mut missing) = (Vec::new(), false);
        self.blocks.change_each(|cidr, block| {
            if block.known > look.step {
                return;
            }
            if shown.contains(&cidr) {
                block.missing_since = None;
                // An unassignment whose answer was lost did not happen.
                block.releasing &= !settled;
            } else if (block.releasing && settled && idle) || is_gone(&mut block.missing_since, look, apart) {
                gone.push(cidr);
            } else {
                missing = true;
            }
        });
        let unknown = shown.iter().filter(|cidr| !self.blocks.contains_key(cidr)).copied().collect();
        Comparison { gone, unknown, missing }
    }

    /// A look does not show the interface. Returns whether it is gone, as far as that is to be judged.
    fn miss(&mut self, look: Look, apart: SignedDuration) -> Option<bool> {
        if look.step < self.known {
            return None;
        }
        self.settle(look);
        // Not attached yet, or about to go: it need not show.
        let must_show = !matches!(self.phase, Phase::Created | Phase::Releasing);
        must_show.then(|| is_gone(&mut self.missing_since, look, apart))
    }
}

impl Pool {
    /// Takes in what the cloud shows of the instance's interfaces.
    pub(crate) fn reconcile(&mut self, seen: Vec<ObservedInterface>, look: Look, now: Timestamp) {
        self.look_due = None;
        let first = !self.source_known;
        self.source_known = true;
        let ids: BTreeSet<EniId> = seen.iter().map(|interface| interface.id.clone()).collect();
        self.unmanaged.clear();
        for interface in seen {
            let is_idle = self.store.interfaces.get(&interface.id).is_none_or(|known| known.tally().assigned == 0);
            if !self.is_managed(&interface) && is_idle {
                self.drop_interface(&interface.id, "its interface is not the pool's any more", now);
                // Each network card has slots and device indices of its own; pods use the first.
                if interface.network_card == 0 {
                    self.unmanaged.insert(interface.id, interface.device_index);
                }
            } else {
                self.reconcile_interface(&interface, look, now);
            }
        }
        let unseen: Vec<_> = self.store.interfaces.keys().filter(|id| !ids.contains(*id)).cloned().collect();
        for id in unseen {
            self.miss_interface(&id, look, now);
        }
        self.restore(now);
        self.settle_claims();
        if first {
            self.corrections = Corrections::default();
            let tally = crate::store::sum(self.store.interfaces.values().map(Interface::tally));
            let count = self.store.interfaces.len();
            self.decide(
                format!("start with {count} interfaces and {} addresses", tally.total),
                "first look".to_owned(),
            );
        }
    }

    /// Whether the pool may use an interface (aws-vpc-cni §4.9).
    fn is_managed(&self, seen: &ObservedInterface) -> bool {
        if seen.id == self.facts.primary_interface {
            return true;
        }
        if seen.network_card != 0 || seen.special {
            return false;
        }
        match seen.tags.get(NO_MANAGE_TAG) {
            Some(value) => value != "true",
            None => {
                seen.tags.get(INSTANCE_TAG).is_some_and(|instance| instance == self.facts.instance.as_str())
                    || self.settings.manage_untagged
            }
        }
    }

    fn reconcile_interface(&mut self, seen: &ObservedInterface, look: Look, now: Timestamp) {
        // An interface that is deleted does not come back: the list is late.
        if self.interfaces_given_back.contains_key(&seen.id) {
            return;
        }
        if !self.store.interfaces.contains_key(&seen.id) {
            self.corrections.interfaces_found += 1;
            self.store.interfaces.insert(Interface::new(seen, Phase::Unprepared, now, look.step));
        }
        let looked = self.store.interfaces.change(&seen.id, |interface| interface.look(seen, look));
        let Some((_, Some(settled))) = looked else { return };
        let shown: BTreeSet<Cidr> =
            seen.secondary_addresses.iter().copied().map(Cidr::host).chain(seen.prefixes.iter().copied()).collect();
        self.reconcile_blocks(&seen.id, &shown, settled, look, now);
    }

    fn reconcile_blocks(&mut self, id: &EniId, shown: &BTreeSet<Cidr>, settled: bool, look: Look, now: Timestamp) {
        let apart = self.settings.pacing.look_apart;
        let compared = self.store.interfaces.change(id, |interface| interface.compare(shown, settled, look, apart));
        let Some((_, Comparison { gone, unknown, missing })) = compared else { return };
        for cidr in gone {
            self.corrections.blocks_gone += 1;
            self.drop_block(id, cidr, "the cloud does not show it on its interface any more", now);
        }
        if missing {
            self.look_due = Some(later(look.at, apart));
        }
        for cidr in unknown {
            let late = self.given_back.get(&cidr).is_some_and(|(step, _)| look.step < *step);
            let fading = self.given_back.get(&cidr).is_some_and(|(_, at)| later(*at, LISTS_MAY_BE_LATE) > now);
            // What a restored allocation stands on was never given back, whatever was intended.
            let fading = fading && !self.is_restored_on(cidr);
            if !late && !fading {
                self.corrections.blocks_found += 1;
                self.adopt(id, cidr);
            }
        }
        self.reconcile_slots(id, shown, look);
    }

    fn is_restored_on(&self, block: Cidr) -> bool {
        let allocations = self.to_restore.as_ref().map(|(allocations, _)| allocations.as_slice()).unwrap_or_default();
        allocations.iter().any(|allocation| block.contains(allocation.address))
    }

    /// What fills the slots of an interface beside the pool's blocks; and whether that explains that the cloud called it full.
    fn reconcile_slots(&mut self, id: &EniId, shown: &BTreeSet<Cidr>, look: Look) {
        let slots = self.slots_per_interface();
        let apart = self.settings.pacing.look_apart;
        let doubtful_since = self.store.interfaces.change(id, |interface| {
            let foreign = shown.iter().filter(|cidr| !interface.blocks.contains_key(cidr)).count();
            interface.foreign_blocks = u32::try_from(foreign).unwrap_or(u32::MAX);
            let explained = u32::try_from(shown.len()).is_ok_and(|shown| shown >= slots);
            interface.full_since = interface.full_since.filter(|since| !explained && later(*since, apart) > look.at);
            interface.full_since
        });
        if let Some((_, Some(since))) = doubtful_since {
            self.look_due = Some(later(since, apart));
        }
    }

    fn miss_interface(&mut self, id: &EniId, look: Look, now: Timestamp) {
        let apart = self.settings.pacing.look_apart;
        match self.store.interfaces.change(id, |interface| interface.miss(look, apart)) {
            Some((_, Some(true))) => {
                self.corrections.interfaces_gone += 1;
                self.drop_interface(id, "the cloud does not show its interface any more", now);
            }
            Some((_, Some(false))) => self.look_due = Some(later(look.at, apart)),
            Some((_, None)) | None => {}
        }
    }

    /// Drops a block; whoever holds an address of it is quarantined and reported.
    pub(crate) fn drop_block(&mut self, id: &EniId, block: Cidr, why: &str, now: Timestamp) {
        let stranded = self.store.drop_block(id, block, why, now);
        self.report_stranded(&stranded, &format!("{block} of {id}"), why);
    }

    /// Drops an interface; whoever holds an address of it is quarantined and reported.
    pub(crate) fn drop_interface(&mut self, id: &EniId, why: &str, now: Timestamp) {
        let Some(interface) = self.store.interfaces.get(id) else { return };
        let blocks: Vec<_> = interface.blocks.keys().copied().collect();
        let mut stranded = Vec::new();
        for block in blocks {
            stranded.extend(self.store.drop_block(id, block, why, now));
        }
        self.store.interfaces.remove(id);
        self.hosts.remove(id);
        self.intent_is_settled(id);
        self.decide(format!("forget {id}"), why.to_owned());
        self.report_stranded(&stranded, &format!("interface {id}"), why);
    }

    fn report_stranded(&mut self, stranded: &[AttachmentKey], place: &str, why: &str) {
        if !stranded.is_empty() {
            let keys: Vec<_> = stranded.iter().map(ToString::to_string).collect();
            self.alarm(format!("{place} went away under {}: {why}", keys.join(", ")), CONTAINED);
        }
    }

    /// Gives those who hold an address that had gone away their place again, when the cloud says that it is ours again.
    pub(crate) fn settle_claims(&mut self) {
        for key in self.store.settle_claims() {
            self.decide(format!("{key} holds its address again"), "the cloud shows it again".to_owned());
        }
    }

    /// Takes in the durable state once the interfaces, or the node's blocks, are known.
    pub(crate) fn restore(&mut self, now: Timestamp) {
        if !self.source_known {
            return;
        }
        let Some((mut allocations, cooling)) = self.to_restore.take() else { return };
        self.restored = true;
        allocations.sort_by(|a: &RestoredAllocation, b| b.since.cmp(&a.since).then_with(|| a.key.cmp(&b.key)));
        for allocation in allocations {
            let key = allocation.key.clone();
            if let Some(why) = self.store.restore(allocation, self.source.nowhere(), now) {
                self.alarm(format!("{key}: {why}"), CONTAINED);
            }
        }
        for entry in cooling {
            if self.store.cell(entry.address).is_none() {
                self.store.resting.insert(entry.address, (entry.released.min(now), true));
            }
            if matches!(self.store.cell(entry.address), Some(Cell::Free { .. })) {
                // A clock that went back must not make a cool-down longer than it is.
                let released = entry.released.min(now);
                self.store.rest(entry.address, Cell::Cooling { released, durable: true });
            }
        }
        for (request, del) in std::mem::take(&mut self.early_dels) {
            self.release(request, &del.key, now);
        }
    }

    /// Starts the reads that are due.
    pub(crate) fn look(&mut self, now: Timestamp) {
        if self.terminating {
            return;
        }
        let pacing = self.settings.pacing;
        let (mut unsettled, mut incomplete) = (None, false);
        let doubtful = if self.store.interfaces.are_steady() { None } else { Some(self.store.interfaces.values()) };
        for interface in doubtful.into_iter().flatten() {
            let settled_at = interface.unsettled.map(|(_, at)| at);
            unsettled = unsettled.into_iter().chain(settled_at).min();
            incomplete |= interface.phase == Phase::Unprepared && !interface.attached;
        }
        let regular = later(self.last_change, pacing.reconcile_interval);
        let soon = incomplete.then(|| later(self.last_look, pacing.look_apart.min(SignedDuration::from_secs(2))));
        let due = [Some(regular), self.look_due, unsettled, soon].into_iter().flatten().min().unwrap_or(regular);
        if self.look_at(CloudOperation::DescribeInterfaces, due, "the interfaces are to be read again", now) {
            self.last_look = now;
            self.last_change = now;
        }

        let interval = if self.figures().deficit() > 0 && self.could_subnets_help(now) {
            pacing.subnets_when_short
        } else {
            pacing.subnets_when_calm
        };
        let due = match self.subnets_asked_at {
            Some(_) if self.subnets.is_look_wanted() => now,
            Some(at) => later(at, interval),
            None => now,
        };
        if self.look_at(CloudOperation::DescribeSubnets, due, "the subnets are to be read again", now) {
            self.subnets_asked_at = Some(now);
        }
    }

    /// Whether a fresh figure, or a new subnet, could open a way to more addresses: a subnet is full, or none allows the
    /// interface that the node may still have. Where calls are refused for another reason, figures change nothing.
    pub(crate) fn could_subnets_help(&self, now: Timestamp) -> bool {
        if !self.may_grow() {
            return false;
        }
        let routes = self.routes(now);
        let is_full = |route: &Route| matches!(route.obstacle, Some(Obstacle::Exhausted { .. }));
        let has_subnet = || routes.iter().any(|route| matches!(route.way, Way::Create(_)));
        routes.iter().any(is_full) || (self.interface_slots_left() > 0 && !has_subnet())
    }

    /// Starts a read when it is due, not in flight and not paused. Returns whether it did.
    fn look_at(&mut self, operation: CloudOperation, due: Timestamp, why: &'static str, now: Timestamp) -> bool {
        if self.operations.values().any(|in_flight| in_flight.operation == operation) {
            return false;
        }
        let action = Action::of(&operation);
        let paused_until =
            self.paused(action, now).and_then(|obstacle| self.gone_at(&obstacle)).unwrap_or(Timestamp::MIN);
        let at = due.max(paused_until);
        if at > now {
            self.wake(at, why, now);
            return false;
        }
        self.start(operation, now);
        true
    }
}
