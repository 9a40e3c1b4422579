//! What an event costs the engine: the same whether the node holds fifty addresses or four thousand. Ratios within one run only;
//! `--nocapture` shows the figures.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "this measures real time")]
#![allow(clippy::print_stdout, reason = "the curve is for people")]

mod world;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use freeboard_address::{Addresses, AttachmentKey, PodKey};
use freeboard_pool::{AddRequest, AllocationMode, DelRequest, Effect, Pool, Reply, RequestId};
use jiff::{SignedDuration, Timestamp};
use world::World;

/// A pool driven without a shell: the disk is written at once, the cloud never answers.
struct Node {
    pool: Pool,
    now: Timestamp,
    requests: u64,
    pods: VecDeque<AttachmentKey>,
    served: usize,
    slowest: Duration,
}

impl Node {
    /// A node that holds `addresses`, with pods on all but a tenth of them.
    fn holding(addresses: u32, mode: AllocationMode) -> Self {
        let slots = addresses.div_ceil(if mode == AllocationMode::Prefixes { 16 * 4 } else { 4 });
        let mut settings = world::settings();
        settings.mode = mode;
        world::targets(&mut settings).warm_ip = Some(Addresses(1));
        world::targets(&mut settings).minimum_ip = Some(Addresses(addresses));
        let facts = world::facts(4, slots + 1, addresses);
        let mut world = World::started(settings, facts, "10.0.0.0/16");
        world.pass(60);
        assert!(world.pool.view().tally.total >= addresses, "{}", world.figures());
        let mut node = Self {
            pool: world.pool,
            now: world.now,
            requests: 1_000_000,
            pods: VecDeque::new(),
            served: 0,
            slowest: Duration::ZERO,
        };
        (0..addresses * 9 / 10).for_each(|_| node.add());
        node.served = 0;
        node.slowest = Duration::ZERO;
        node
    }

    fn add(&mut self) {
        self.requests += 1;
        let name = format!("pod-{}", self.requests);
        let key = World::key(&name);
        self.pods.push_back(key.clone());
        let add = AddRequest { key, pod: Some(PodKey::new("test", &name)) };
        let (request, now) = (RequestId(self.requests), self.now);
        self.step(|pool| pool.handle_add(request, add, now));
    }

    fn del(&mut self) {
        self.requests += 1;
        let del = DelRequest { key: self.pods.pop_front().unwrap(), pod: None };
        let (request, now) = (RequestId(self.requests), self.now);
        self.step(|pool| pool.handle_del(request, del, now));
    }

    /// One event, to the end: everything that it leads to, its write included.
    fn step(&mut self, event: impl FnOnce(&mut Pool)) {
        let begin = Instant::now();
        event(&mut self.pool);
        while let Some(effect) = self.pool.poll_effect() {
            match effect {
                Effect::Persist(revision) => self.pool.handle_persisted(Ok(revision), self.now),
                Effect::Reply(_, Reply::Assigned { .. } | Reply::Released { .. }) => self.served += 1,
                Effect::Reply(..) | Effect::Cloud(..) | Effect::Signal(_) => {}
            }
        }
        self.slowest = self.slowest.max(begin.elapsed());
        // Slowly enough for the cool-down of 30 s: one address in a tenth of the pool.
        self.now += SignedDuration::from_secs(4);
    }

    /// Time per event over a churn of `events`.
    fn churn(&mut self, events: usize) -> Duration {
        let begin = Instant::now();
        let before = self.served;
        for _ in 0..events / 2 {
            self.del();
            self.add();
        }
        assert_eq!(self.served - before, events / 2 * 2, "every event is answered at once");
        begin.elapsed() / u32::try_from(events).unwrap()
    }
}

fn curve(mode: AllocationMode) {
    const SIZES: [u32; 4] = [50, 250, 1_000, 4_000];
    let mut nodes = SIZES.map(|size| Node::holding(size, mode));
    // The best of several rounds, in turns, so that what else the machine does falls on all of them alike.
    let mut best = [Duration::MAX; SIZES.len()];
    for _ in 0..8 {
        for (node, best) in nodes.iter_mut().zip(&mut best) {
            *best = (*best).min(node.churn(400));
        }
    }
    for ((size, best), node) in SIZES.iter().zip(best).zip(&nodes) {
        let rate = 1e9 / best.as_nanos().max(1) as f64;
        println!("{mode:?}: {size} addresses held, {best:?} per event, {rate:.0} events/s, slowest {:?}", node.slowest);
    }
    let (few, many) = (best[0], best[SIZES.len() - 1]);
    assert!(many <= few * 3, "an event costs {few:?} with {} addresses and {many:?} with {}", SIZES[0], SIZES[3]);
}

#[test]
fn an_event_costs_the_same_however_many_single_addresses_are_held() {
    curve(AllocationMode::SecondaryAddresses);
}

#[test]
fn an_event_costs_the_same_however_many_prefixes_are_held() {
    curve(AllocationMode::Prefixes);
}
