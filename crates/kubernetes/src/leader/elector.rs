//! What to do with a lease as it was found. Without I/O, so that it can be tested with any clock.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::{LeaderOptions, Term};

/// The next request.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Create(Lease),
    /// Replace the lease that was found; its version says whether it is still that one.
    Replace(Lease),
    Wait {
        holder: String,
    },
}

/// One replica's part in the election.
#[derive(Debug)]
pub(super) struct Elector {
    pub(super) options: LeaderOptions,
    /// The lease's version as it was seen last, and since when by this replica's own clock.
    seen: Option<(String, Instant)>,
}

impl Elector {
    pub(super) fn new(options: LeaderOptions) -> Self {
        Self { options, seen: None }
    }

    /// What to do with the lease as it is now.
    pub(super) fn next(&mut self, found: Option<&Lease>, now: Instant, time: Timestamp) -> Step {
        let Some(found) = found else { return Step::Create(self.first(time)) };
        let version = found.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let spec = found.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder == self.options.identity {
            return Step::Replace(self.with(found, LeaseSpec { renew_time: Some(MicroTime(time)), ..spec }));
        }
        // By what its holder promised; our own promise where it says nothing.
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(self.options.lease_duration, Duration::from_secs);
        if !holder.is_empty() && now.duration_since(since) < duration {
            return Step::Wait { holder };
        }
        let transitions = spec.lease_transitions.unwrap_or(0).saturating_add(1);
        Step::Replace(self.with(found, self.held(transitions, time)))
    }

    /// Gives the lease back, if it is held.
    pub(super) fn resign(&mut self, found: Option<&Lease>, time: Timestamp) -> Step {
        let held = found.and_then(|found| Some((found, found.spec.clone()?)));
        match held {
            Some((found, spec)) if spec.holder_identity.as_deref() == Some(&self.options.identity) => {
                let spec = LeaseSpec {
                    holder_identity: Some(String::new()),
                    lease_duration_seconds: Some(1),
                    renew_time: Some(MicroTime(time)),
                    ..spec
                };
                Step::Replace(self.with(found, spec))
            }
            other => Step::Wait { holder: other.and_then(|(_, spec)| spec.holder_identity).unwrap_or_default() },
        }
    }

    /// The term that begins or goes on with a lease that was written by a request made at `asked`.
    pub(super) fn written(&mut self, lease: &Lease, asked: Instant) -> Option<Term> {
        self.seen = lease.metadata.resource_version.clone().map(|version| (version, asked));
        let spec = lease.spec.as_ref()?;
        if spec.holder_identity.as_deref() != Some(&self.options.identity) {
            return None;
        }
        let number = spec.lease_transitions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        Some(Term { number, until: asked + self.options.renew_deadline })
    }

    fn first(&self, time: Timestamp) -> Lease {
        let LeaderOptions { namespace, name, .. } = &self.options;
        let metadata =
            ObjectMeta { name: Some(name.clone()), namespace: Some(namespace.clone()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(self.held(0, time)) }
    }

    fn held(&self, transitions: i32, time: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: i32::try_from(self.options.lease_duration.as_secs()).ok(),
            lease_transitions: Some(transitions),
            acquire_time: Some(MicroTime(time)),
            renew_time: Some(MicroTime(time)),
            ..LeaseSpec::default()
        }
    }

    fn with(&self, found: &Lease, spec: LeaseSpec) -> Lease {
        Lease { metadata: found.metadata.clone(), spec: Some(spec) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The API server's part: the lease and its version; a write with an old version is refused.
    #[derive(Default)]
    struct Server {
        lease: Option<Lease>,
        version: u32,
    }

    impl Server {
        fn write(&mut self, step: Step) -> Option<Lease> {
            let (mut lease, expected) = match step {
                Step::Create(lease) => (lease, None),
                Step::Replace(lease) => (lease.clone(), lease.metadata.resource_version),
                Step::Wait { .. } => return None,
            };
            let current = self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            if current != expected {
                return None;
            }
            self.version += 1;
            lease.metadata.resource_version = Some(self.version.to_string());
            self.lease = Some(lease.clone());
            Some(lease)
        }

        fn turn(&mut self, elector: &mut Elector, now: Instant) -> Option<Term> {
            let step = elector.next(self.lease.as_ref(), now, Timestamp::UNIX_EPOCH);
            let lease = self.write(step)?;
            elector.written(&lease, now)
        }
    }

    fn elector(identity: &str) -> Elector {
        Elector::new(LeaderOptions::new("kube-system", "freeboard-controller", identity))
    }

    #[test]
    fn the_first_leads_the_second_waits_until_the_lease_has_run_out_by_its_own_clock() {
        let (mut server, start) = (Server::default(), Instant::now());
        let (mut first, mut second) = (elector("first"), elector("second"));
        let term = server.turn(&mut first, start).unwrap();
        assert_eq!(term, Term { number: 0, until: start + 10 * SECOND });
        for at in 0..15 {
            assert_eq!(server.turn(&mut second, start + at * SECOND), None, "after {at} s");
        }
        // The first one has stopped five seconds before.
        let term = server.turn(&mut second, start + 15 * SECOND).unwrap();
        assert_eq!(term.number, 1);
        assert_eq!(server.turn(&mut first, start + 16 * SECOND), None, "the first one finds another holder");
    }

    #[test]
    fn a_renewed_lease_is_waited_for_again_from_its_renewal() {
        let (mut server, start) = (Server::default(), Instant::now());
        let (mut first, mut second) = (elector("first"), elector("second"));
        server.turn(&mut first, start);
        server.turn(&mut second, start);
        let term = server.turn(&mut first, start + 9 * SECOND).unwrap();
        assert_eq!(term, Term { number: 0, until: start + 19 * SECOND });
        assert_eq!(server.turn(&mut second, start + 15 * SECOND), None, "it sees the renewal only now");
        assert_eq!(server.turn(&mut second, start + 29 * SECOND), None);
        assert!(server.turn(&mut second, start + 30 * SECOND).is_some());
    }

    #[test]
    fn of_two_that_ask_at_once_one_is_refused() {
        let (mut server, start) = (Server::default(), Instant::now());
        let (mut first, mut second) = (elector("first"), elector("second"));
        let one = first.next(server.lease.as_ref(), start, Timestamp::UNIX_EPOCH);
        let other = second.next(server.lease.as_ref(), start, Timestamp::UNIX_EPOCH);
        assert!(server.write(one).is_some());
        assert!(server.write(other).is_none());
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let (mut server, start) = (Server::default(), Instant::now());
        let (mut first, mut second) = (elector("first"), elector("second"));
        server.turn(&mut first, start);
        server.turn(&mut second, start);
        let step = first.resign(server.lease.as_ref(), Timestamp::UNIX_EPOCH);
        assert!(server.write(step).is_some());
        assert_eq!(server.turn(&mut second, start + SECOND).map(|term| term.number), Some(1));
        let step = first.resign(server.lease.as_ref(), Timestamp::UNIX_EPOCH);
        assert_eq!(step, Step::Wait { holder: "second".to_owned() }, "what is not held is not given back");
    }
}
