//! ADD, DEL and GC: who gets an address, who waits, who is refused; and what is promised before it is durable.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use freeboard_address::{Addresses, AttachmentKey};
use jiff::{SignedDuration, Timestamp};

use crate::backoff::later;
use crate::cause::{Cause, Refusal};
use crate::decision::{Choice, Reason};
use crate::effect::{Effect, Reply, Signal};
use crate::input::{RequestId, Revision};
use crate::persist::{Promise, Undo};
use crate::pool::Pool;
use crate::store::{Assignment, Carrier, Cell, Claim};
use crate::view::Holding;
use crate::waiting::Waiter;

/// EC2's lists may show for so long what was given back: they are consistent in the end, mostly within seconds. What is not
/// taken in meanwhile costs nothing but its slot.
pub(crate) const LISTS_MAY_BE_LATE: SignedDuration = SignedDuration::from_mins(3);
/// A runtime that made an ADD in vain makes its DEL within this, or never.
const UNSERVED_FOR: SignedDuration = SignedDuration::from_hours(1);

impl Pool {
    /// The checkpoint was written, covering `Ok(revision)`; or the write failed, with the reason. After a failure everything that
    /// was not durable is undone and refused, and the state is written again after a pause.
    pub fn handle_persisted(&mut self, outcome: Result<Revision, String>, now: Timestamp) {
        let now = self.begin(now);
        match outcome {
            Ok(revision) => {
                self.keep_promises(revision, now);
                self.create_durably();
                self.give_back_durably(now);
            }
            Err(reason) => {
                let since = self.journal.failing.as_ref().map_or(now, |(since, _)| *since);
                self.journal.failing = Some((since, reason.clone()));
                self.journal.retry_at = Some(later(now, self.settings.pacing.backoff_min));
                self.keep_what_was_to_go();
                self.drop_intents();
                let refusal = Refusal::checkpoint_failed(&reason);
                self.alarm(
                    format!("the pool's state could not be written: {reason}"),
                    "what was not durable is undone and refused; the write is repeated",
                );
                for promise in self.journal.break_all() {
                    self.undo(promise.undo, now);
                    for request in promise.requests {
                        self.reply(request, Reply::Refused(refusal.clone()));
                    }
                }
                self.advance(now);
            }
        }
    }

    /// Gives the replies whose records are durable. What follows from it is only that released addresses begin to rest: unless
    /// somebody waits for one, or the disk was failing, no other consequence needs to be drawn.
    fn keep_promises(&mut self, revision: Revision, now: Timestamp) {
        if self.journal.failing.take().is_some() || self.waiting.len() > 0 {
            self.advance(now);
        }
        while let Some(promise) = self.journal.keep(revision) {
            let address = match promise.undo {
                Undo::Del { address, .. } => Some(address),
                Undo::Claim(claim) => Some(claim.address),
                Undo::Add { replaced, .. } => replaced.map(|claim| claim.address),
            };
            if let Some(released) = address.and_then(|address| self.store.release_is_durable(address)) {
                let rested = later(released, self.settings.cooldown);
                if rested > now {
                    self.wake(rested, "an address has cooled down", now);
                } else {
                    self.advance(now);
                }
            }
            let mut requests = promise.requests;
            if let Some(last) = requests.pop() {
                for request in requests {
                    self.reply(request, promise.reply.clone());
                }
                self.reply(last, promise.reply);
            }
        }
    }

    fn undo(&mut self, undo: Undo, now: Timestamp) {
        match undo {
            Undo::Add { assignment, previous, replaced } => {
                self.unserved.insert(assignment.key.clone(), now);
                if self.store.vacate(&assignment.key, previous).is_none() {
                    // Its address went away meanwhile; nobody was told of it, so nobody claims it.
                    self.store.claims.remove(&assignment.key);
                }
                if let Some(claim) = replaced {
                    self.claim_again(*claim);
                }
            }
            Undo::Del { assignment, address } => match self.store.cell(address) {
                Some(Cell::Cooling { .. } | Cell::Quarantined | Cell::Free { .. }) => {
                    self.store.assign(address, assignment);
                }
                // The address went away, or a quarantined claim got it back, while the write was under way.
                Some(Cell::Assigned(_)) | None => {
                    self.store.quarantine(assignment, address, "its release could not be made durable", now);
                }
            },
            Undo::Claim(claim) => self.claim_again(*claim),
        }
    }

    fn claim_again(&mut self, claim: Claim) {
        self.store.resting.remove(&claim.address);
        if matches!(self.store.cell(claim.address), Some(Cell::Cooling { .. } | Cell::Free { .. })) {
            self.store.rest(claim.address, Cell::Quarantined);
        }
        self.store.claims.insert(claim.assignment.key.clone(), claim);
    }

    /// Asks for another write when the last one failed, so that the disk does not keep what was undone.
    pub(crate) fn rewrite_state(&mut self, now: Timestamp) {
        match self.journal.retry_at {
            Some(at) if at <= now => {
                self.journal.retry_at = None;
                self.persist();
            }
            Some(at) => self.wake(at, "the state is to be written again", now),
            None => {}
        }
    }

    pub(crate) fn persist(&mut self) -> Revision {
        let revision = self.journal.advance();
        self.effects.push_back(Effect::Persist(revision));
        revision
    }

    /// Lets cool-downs, memories and learned limits end.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.end_cooldowns(now);
        if let Some(at) = self.waiting.expire(self.settings.pacing.demand_memory, now) {
            self.wake(at, "a refused pod no longer counts as demand", now);
        }
        if self.learned_limit.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.learned_limit = None;
        }
        self.given_back.retain(|_, (_, at)| later(*at, LISTS_MAY_BE_LATE) > now);
        self.interfaces_given_back.retain(|_, (_, at)| later(*at, LISTS_MAY_BE_LATE) > now);
        self.unserved.retain(|_, at| later(*at, UNSERVED_FOR) > now);
        let cooldown = self.settings.cooldown;
        self.store.resting.retain(|_, (released, _)| later(*released, cooldown) > now);
    }

    /// Frees what has cooled down. The addresses are in the order of their release, so this stops at the first that still rests.
    fn end_cooldowns(&mut self, now: Timestamp) {
        let cooldown = self.settings.cooldown;
        let mut rested = Vec::new();
        let mut next: Option<Timestamp> = None;
        for (address, released, _) in self.store.cooling().filter(|(.., durable)| *durable) {
            let until = later(released, cooldown);
            if until > now {
                next = Some(until);
                break;
            }
            rested.push((address, released));
        }
        for (address, released) in rested {
            self.store.rest(address, Cell::Free { released: Some(released) });
        }
        if let Some(at) = next {
            self.wake(at, "an address has cooled down", now);
        }
    }

    /// Gives addresses to those who wait, first come first served.
    pub(crate) fn serve(&mut self, now: Timestamp) {
        if !self.is_ready() || self.terminating {
            return;
        }
        while let Some(waiter) = self.waiting.queue.front() {
            let key = &waiter.add.key;
            if self.store.held(key).is_some() {
                if let Some(waiter) = self.waiting.queue.pop_front() {
                    self.repeat(&waiter);
                }
                continue;
            }
            let Some(address) = self.pick().or_else(|| self.pick_under_pressure(now)) else { return };
            if let Some(waiter) = self.waiting.queue.pop_front() {
                self.grant(waiter, address, now);
            }
        }
    }

    /// The least part of its cool-down that an address gets even under pressure: five seconds by default, within which a runtime
    /// and the kernel's caches have forgotten the former holder.
    fn cooldown_floor(&self) -> SignedDuration {
        self.settings.cooldown.min(self.settings.pacing.cooldown_floor)
    }

    /// Addresses in cool-down that may be given under pressure, with the time from which on, longest released first.
    pub(crate) fn cooling_soon(&self) -> impl Iterator<Item = (Timestamp, Ipv4Addr)> {
        let floor = self.cooldown_floor();
        let usable = self.store.cooling().filter(|(address, _, durable)| *durable && self.is_usable(*address));
        usable.map(move |(address, released, _)| (later(released, floor), address))
    }

    fn is_usable(&self, address: Ipv4Addr) -> bool {
        self.store.locate(address).is_some_and(|(carrier, block)| match carrier {
            Carrier::Interface(interface) => interface.is_open() && !self.is_excluded(interface) && block.is_open(),
            Carrier::NodeBlock(block) => block.is_open(),
        })
    }

    /// With pods waiting and not enough arriving, the cool-down is shortened to its floor.
    fn pick_under_pressure(&mut self, now: Timestamp) -> Option<Ipv4Addr> {
        if self.waiting.len() <= self.arriving() {
            return None;
        }
        let (from, address) = self.cooling_soon().next()?;
        if from > now {
            self.wake(from, "an address may be given before its cool-down ends, because pods wait", now);
            return None;
        }
        let arriving = Addresses(self.arriving());
        let why = Reason::NothingElseFree { waiting: self.waiting.len(), arriving };
        self.decide(Choice::ShortenCooldown { address }, why);
        Some(address)
    }

    fn grant(&mut self, waiter: Waiter, address: Ipv4Addr, now: Timestamp) {
        let Waiter { request, add, since, .. } = waiter;
        self.waiting.forget(&add);
        // With a claim in quarantine, the sandbox asks anew and no longer uses what it had before.
        self.unserved.remove(&add.key);
        let replaced = self.store.claims.remove(&add.key).map(Box::new);
        if let Some(claim) = &replaced {
            self.unblock(claim.address, now);
        }
        let assignment = Arc::new(Assignment { key: add.key, pod: add.pod, since: now });
        self.lean.arrived(since, now);
        let Some((carrier, previous)) = self.store.assign(address, Arc::clone(&assignment)) else { return };
        let reply = assigned(carrier, address);
        let revision = self.persist();
        self.journal.promise(Promise {
            revision,
            requests: vec![request],
            reply,
            undo: Undo::Add { assignment, previous, replaced },
        });
    }

    /// Answers an ADD whose key holds an address already.
    fn repeat(&mut self, waiter: &Waiter) {
        self.waiting.forget(&waiter.add);
        if let Some(promise) = self.journal.open_mut(&waiter.add.key)
            && matches!(promise.undo, Undo::Add { .. })
        {
            promise.requests.push(waiter.request);
            return;
        }
        if let Some(reply) = self.store.held(&waiter.add.key).and_then(|address| self.assigned_reply(address)) {
            self.reply(waiter.request, reply);
        }
    }

    fn assigned_reply(&self, address: Ipv4Addr) -> Option<Reply> {
        let (carrier, _) = self.store.locate(address)?;
        Some(assigned(carrier, address))
    }

    /// DEL.
    pub(crate) fn release(&mut self, request: RequestId, key: &AttachmentKey, now: Timestamp) {
        let given_up: Vec<_> = self.waiting.queue.iter().filter(|w| w.add.key == *key).map(|w| w.request).collect();
        self.unserved.remove(key);
        if !given_up.is_empty() {
            self.waiting.queue.retain(|waiter| waiter.add.key != *key);
            let refusal = self.explain(now);
            for waiting in given_up {
                self.reply(waiting, Reply::Refused(refusal.clone()));
            }
        }
        let let_go = self.let_go(key, now).or_else(|| {
            let migrated = AttachmentKey {
                network: "_migrated-from-cri".to_owned(),
                container: key.container.clone(),
                interface: "unknown".to_owned(),
            };
            self.let_go(&migrated, now)
        });
        if let Some((reply, undo)) = let_go {
            let revision = self.persist();
            self.journal.promise(Promise { revision, requests: vec![request], reply, undo });
            return;
        }
        match self.journal.open_mut(key) {
            Some(promise) if !matches!(promise.undo, Undo::Add { .. }) => promise.requests.push(request),
            Some(_) | None => self.reply(request, Reply::UnknownPod),
        }
    }

    /// Takes what a key holds from it: into cool-down, or out of quarantine.
    fn let_go(&mut self, key: &AttachmentKey, now: Timestamp) -> Option<(Reply, Undo)> {
        if let Some(claim) = self.store.claims.remove(key) {
            self.unblock(claim.address, now);
            let device_index = self.store.locate(claim.address).map_or(0, |(carrier, _)| carrier.device_index());
            return Some((Reply::Released { address: claim.address, device_index }, Undo::Claim(Box::new(claim))));
        }
        let (assignment, address) = self.store.take_from(key)?;
        let rest = if self.store.is_claimed(address) {
            Cell::Quarantined
        } else {
            Cell::Cooling { released: now, durable: false }
        };
        let device_index = self.store.put(address, rest).map_or(0, |(carrier, _)| carrier.device_index());
        Some((Reply::Released { address, device_index }, Undo::Del { assignment, address }))
    }

    /// The last claim beside the holder is gone: the address rests like any other.
    fn unblock(&mut self, address: Ipv4Addr, now: Timestamp) {
        if self.store.is_claimed(address) {
            return;
        }
        match self.store.cell(address) {
            Some(Cell::Quarantined) => self.store.rest(address, Cell::Cooling { released: now, durable: false }),
            // It is on no interface now; should it come back before it has rested, it rests on.
            None => drop(self.store.resting.insert(address, (now, false))),
            Some(Cell::Free { .. } | Cell::Assigned(_) | Cell::Cooling { .. }) => {}
        }
    }

    pub(crate) fn collect(&mut self, network: &str, valid: &BTreeSet<AttachmentKey>, now: Timestamp) -> Vec<Holding> {
        let held = self.store.holders().map(|(key, _)| key).chain(self.store.claims.keys());
        let stale: Vec<_> = held.filter(|key| key.network == network && !valid.contains(*key)).cloned().collect();
        let mut released = Vec::new();
        for key in stale {
            if self.journal.open_mut(&key).is_some() {
                // Its ADD or DEL is under way, so the runtime's list is older than what it asked for.
                continue;
            }
            released.extend(self.holds(&key));
            if let Some((reply, undo)) = self.let_go(&key, now) {
                let revision = self.persist();
                self.journal.promise(Promise { revision, requests: Vec::new(), reply, undo });
            }
        }
        if !released.is_empty() {
            self.decide(
                format!("release {} sandboxes", released.len()),
                format!("the runtime does not know them any more (GC of network {network})"),
            );
        }
        released
    }

    /// Refuses who waited long enough, who waits beyond the queue's length, and everybody when no room can come.
    pub(crate) fn refuse_waiting(&mut self, now: Timestamp) {
        while self.waiting.queue.len() > self.settings.add_queue {
            if let Some(waiter) = self.waiting.queue.pop_back() {
                let refusal = Refusal::queue_full(self.settings.add_queue);
                self.refuse(&waiter, refusal, now);
            }
        }
        while let Some(waiter) = self.waiting.take_expired(self.settings.add_wait, now) {
            let refusal = self.explain(now);
            self.refuse(&waiter, refusal, now);
        }
        let mut position = 0;
        while let Some(waiter) = self.waiting.queue.get(position) {
            let deadline = later(waiter.since, self.settings.add_wait);
            if self.is_room_coming(position, deadline, now) {
                self.wake(deadline, "an ADD has waited as long as it may", now);
                position += 1;
            } else if let Some(waiter) = self.waiting.queue.remove(position) {
                let refusal = self.explain(now);
                self.refuse(&waiter, refusal, now);
            }
        }
    }

    fn refuse(&mut self, waiter: &Waiter, refusal: Refusal, now: Timestamp) {
        self.unserved.insert(waiter.add.key.clone(), now);
        if !matches!(refusal.cause, Cause::Terminating) {
            self.waiting.remember(&waiter.add, now);
            self.wake(later(now, self.settings.pacing.demand_memory), "a refused pod no longer counts as demand", now);
        }
        self.reply(waiter.request, Reply::Refused(refusal));
    }

    /// Tells people about ADDs that begin to wait.
    pub(crate) fn announce(&mut self, now: Timestamp) {
        if self.waiting.queue.iter().all(|waiter| waiter.announced) {
            return;
        }
        let refusal = self.explain(now);
        for waiter in self.waiting.queue.iter_mut().filter(|waiter| !waiter.announced) {
            waiter.announced = true;
            let signal = Signal::Waiting { pod: waiter.add.pod.clone(), refusal: refusal.clone() };
            self.effects.push_back(Effect::Signal(signal));
        }
    }
}

fn assigned(carrier: Carrier<'_>, address: Ipv4Addr) -> Reply {
    let interface = carrier.interface().map(|interface| interface.id.clone());
    Reply::Assigned { address, interface, device_index: carrier.device_index() }
}
