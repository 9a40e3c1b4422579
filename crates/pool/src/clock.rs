//! A clock that was set back: nothing may wait for a time that it has shown already and will show again much later.

use freeboard_address::EniId;
use jiff::Timestamp;

use crate::pool::Pool;
use crate::subnets::Subnets;

impl Pool {
    /// Notices that the clock was set back; then every wait that runs begins anew.
    pub(crate) fn watch_clock(&mut self, now: Timestamp) {
        let latest = std::mem::replace(&mut self.latest, now);
        if latest > now {
            self.rewind(now);
            self.decide(
                format!("let every pause begin anew at {now}"),
                format!("the clock was set back from {latest}"),
            );
        }
    }

    fn rewind(&mut self, now: Timestamp) {
        let pauses = self.actions.values_mut().chain(self.hosts.values_mut());
        pauses.for_each(|pause| pause.backoff.rewind(now));
        self.subnets.rewind(now);
        self.budget.rewind(now);
        for at in [&mut self.last_change, &mut self.last_look] {
            *at = (*at).min(now);
        }
        let times = [&mut self.last_shrink, &mut self.look_due, &mut self.subnets_asked_at, &mut self.journal.retry_at];
        for at in times.into_iter().flatten() {
            *at = (*at).min(now);
        }
        for operation in self.operations.values_mut() {
            operation.since = operation.since.min(now);
        }
        for waiter in &mut self.waiting.queue {
            waiter.since = waiter.since.min(now);
        }
        if let Some((_, until)) = &mut self.learned_limit {
            *until = (*until).min(crate::backoff::later(now, crate::cloud::LEARNED_LIMIT_FOR));
        }
        let ids: Vec<EniId> = self.store.interfaces.keys().cloned().collect();
        for id in ids {
            self.rewind_interface(&id, now);
        }
    }

    fn rewind_interface(&mut self, id: &EniId, now: Timestamp) {
        let Some(interface) = self.store.interfaces.get_mut(id) else { return };
        interface.since = interface.since.min(now);
        for at in [&mut interface.missing_since, &mut interface.full_since].into_iter().flatten() {
            *at = (*at).min(now);
        }
        if let Some((_, not_before)) = &mut interface.unsettled {
            *not_before = (*not_before).min(crate::backoff::later(now, self.settings.pacing.look_apart));
        }
        let missing = interface.blocks.iter().filter(|(_, block)| block.missing_since.is_some_and(|at| at > now));
        let missing: Vec<_> = missing.map(|(cidr, _)| *cidr).collect();
        for cidr in missing {
            interface.blocks.change(cidr, |block| block.missing_since = Some(now));
        }
    }
}

impl Subnets {
    /// The clock was set back to `now`.
    fn rewind(&mut self, now: Timestamp) {
        self.looked_at = self.looked_at.map(|at| at.min(now));
        for room in self.rooms.values_mut() {
            room.looked_at = room.looked_at.map(|at| at.min(now));
            [&mut room.exhausted, &mut room.fragmented].into_iter().flatten().for_each(|backoff| backoff.rewind(now));
        }
    }
}
