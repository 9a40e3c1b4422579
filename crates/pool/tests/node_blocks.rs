//! A node with blocks of its own: which address a pod gets, how blocks come and go under pods, what is refused, and what survives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, Cidr, PodKey};
use freeboard_pool::{
    AddRequest, AllocationMode, Cause, CheckpointState, DelRequest, Effect, Pacing, Place, Policy, Pool, PoolSettings,
    RangePreference, Refusal, Reply, RequestId, Signal,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const COOLDOWN: i64 = 30;

fn settings() -> PoolSettings {
    PoolSettings {
        mode: AllocationMode::SecondaryAddresses,
        policy: Policy::Lean,
        max_eni: None,
        cooldown: SignedDuration::from_secs(COOLDOWN),
        preference: RangePreference::MostFree,
        add_wait: SignedDuration::from_secs(20),
        add_queue: 64,
        subnet_discovery: true,
        cluster_name: None,
        manage_untagged: true,
        manage_non_schedulable: false,
        provisioning_disabled: false,
        pacing: Pacing::default(),
    }
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn blocks(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| cidr(text)).collect()
}

/// The pool with a disk that can fail, and what was answered.
struct Node {
    now: Timestamp,
    pool: Pool,
    disk: CheckpointState,
    disk_fails: bool,
    next: u64,
    replies: BTreeMap<RequestId, Reply>,
    alarms: Vec<String>,
}

impl Node {
    fn new(texts: &[&str]) -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut node = Self::start(now, CheckpointState::default());
        node.give(texts);
        node
    }

    /// As the agent starts: what is recorded first, then the state.
    fn start(now: Timestamp, disk: CheckpointState) -> Self {
        let mut pool = Pool::on_blocks(settings(), now);
        if !disk.blocks.is_empty() {
            pool.handle_blocks(&disk.blocks, now).unwrap();
        }
        let mut allocations = disk.allocations.clone();
        allocations.extend(disk.conflicting.clone());
        pool.handle_restore(allocations, disk.cooling.clone(), now);
        let (replies, alarms) = (BTreeMap::new(), Vec::new());
        let mut node = Self { now, pool, disk, disk_fails: false, next: 0, replies, alarms };
        node.settle();
        node
    }

    fn restart(&mut self) {
        let disk = self.disk.clone();
        let next = self.next;
        *self = Self { next, ..Self::start(self.now, disk) };
    }

    fn give(&mut self, texts: &[&str]) {
        self.pool.handle_blocks(&blocks(texts), self.now).unwrap();
        self.settle();
    }

    /// Carries out effects until there are none.
    fn settle(&mut self) {
        loop {
            let mut unwritten = false;
            while let Some(effect) = self.pool.poll_effect() {
                match effect {
                    Effect::Persist(_) => unwritten = true,
                    Effect::Reply(request, reply) => assert!(self.replies.insert(request, reply).is_none()),
                    Effect::Cloud(_, operation) => panic!("{operation:?} is asked of a cloud"),
                    Effect::Signal(Signal::Alarm { what, .. }) => self.alarms.push(what),
                    Effect::Signal(Signal::Decision { .. } | Signal::Waiting { .. }) => {}
                }
            }
            assert_eq!(self.pool.audit(), Vec::<String>::new());
            if !unwritten {
                return;
            }
            let state = self.pool.checkpoint();
            let revision = state.revision;
            let outcome = if self.disk_fails { Err("no space left".to_owned()) } else { Ok(revision) };
            if outcome.is_ok() {
                self.disk = state;
            }
            self.pool.handle_persisted(outcome, self.now);
        }
    }

    /// Lets time pass, with every wake-up on the way.
    fn pass(&mut self, seconds: i64) {
        let end = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        while let Some((at, _)) = self.pool.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.pool.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    fn ask(&mut self, name: &str) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        let add = AddRequest { key: key(name), pod: Some(PodKey::new("test", name)) };
        self.pool.handle_add(request, add, self.now);
        self.settle();
        request
    }

    fn add(&mut self, name: &str) -> Ipv4Addr {
        let request = self.ask(name);
        match self.replies.get(&request) {
            Some(Reply::Assigned { address, interface: None, device_index: 0 }) => *address,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn refused(&mut self, name: &str) -> Refusal {
        let request = self.ask(name);
        match self.replies.get(&request) {
            Some(Reply::Refused(refusal)) => refusal.clone(),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn del(&mut self, name: &str) -> Option<Reply> {
        self.next += 1;
        let request = RequestId(self.next);
        self.pool.handle_del(request, DelRequest { key: key(name), pod: None }, self.now);
        self.settle();
        self.replies.get(&request).cloned()
    }

    fn decisions(&self) -> Vec<String> {
        self.pool.decisions().map(ToString::to_string).collect()
    }
}

fn key(name: &str) -> AttachmentKey {
    AttachmentKey { network: "aws-cni".to_owned(), container: name.to_owned(), interface: "eth0".to_owned() }
}

#[test]
fn blocks_are_used_in_their_order_and_spill_over() {
    let mut node = Node::new(&["192.168.0.0/30", "10.4.0.0/30"]);
    let given: Vec<String> = (0..6).map(|number| node.add(&format!("web-{number}")).to_string()).collect();
    assert_eq!(given, ["192.168.0.0", "192.168.0.1", "192.168.0.2", "192.168.0.3", "10.4.0.0", "10.4.0.1"]);
    assert_eq!(node.add("web-1").to_string(), "192.168.0.1", "the same sandbox keeps its address");
}

#[test]
fn the_longest_released_address_comes_first_when_none_is_fresh() {
    let mut node = Node::new(&["10.4.0.0/30"]);
    for name in ["a", "b", "c", "d"] {
        node.add(name);
    }
    for name in ["c", "a", "d"] {
        node.del(name);
        node.pass(1);
    }
    node.pass(COOLDOWN);
    let given: Vec<String> = ["e", "f", "g"].iter().map(|name| node.add(name).to_string()).collect();
    assert_eq!(given, ["10.4.0.2", "10.4.0.0", "10.4.0.3"]);
}

#[test]
fn a_full_node_refuses_by_name_size_and_remedy_and_one_more_block_helps() {
    let mut node = Node::new(&["10.4.0.0/31"]);
    node.add("a");
    node.add("b");
    let refusal = node.refused("c");
    assert_eq!(
        (refusal.cause, &refusal.place),
        (Cause::NodeBlockExhausted, &Place::Block { cidr: cidr("10.4.0.0/31") })
    );
    assert_eq!(refusal.message, "the node's block 10.4.0.0/31 (2 addresses) is full: 2 are assigned");
    assert!(refusal.remedy.contains("one more block"), "{}", refusal.remedy);
    assert_eq!(node.pool.can_give(node.now).unwrap_err(), refusal);
    node.give(&["10.4.0.0/31", "100.64.0.0/31"]);
    assert_eq!(node.add("c").to_string(), "100.64.0.0");
}

#[test]
fn a_waiting_pod_is_served_by_a_block_that_comes_and_by_an_address_that_has_rested() {
    let mut node = Node::start(Timestamp::UNIX_EPOCH, CheckpointState::default());
    let request = node.ask("a");
    assert_eq!(node.replies.get(&request), None, "it waits for the first block");
    assert_eq!(node.pool.can_give(node.now).unwrap_err().cause, Cause::NodeBlockMissing);
    node.give(&["10.4.0.0/32"]);
    assert!(matches!(node.replies.get(&request), Some(Reply::Assigned { .. })), "{:?}", node.replies);
    node.del("a");
    let request = node.ask("b");
    assert_eq!(node.replies.get(&request), None, "it waits for the cool-down's floor");
    node.pass(5);
    assert!(matches!(node.replies.get(&request), Some(Reply::Assigned { .. })), "{:?}", node.replies);
}

#[test]
fn without_a_block_an_add_waits_as_long_as_it_may_and_says_what_is_missing() {
    let mut node = Node::start(Timestamp::UNIX_EPOCH, CheckpointState::default());
    let request = node.ask("a");
    node.pass(21);
    let Some(Reply::Refused(refusal)) = node.replies.get(&request) else { panic!("{:?}", node.replies) };
    assert_eq!(refusal.cause, Cause::NodeBlockMissing);
    assert_eq!(refusal.message, "this node has no block of pod addresses");
}

#[test]
fn a_block_that_is_taken_away_drains_and_says_for_whom_it_waits() {
    let mut node = Node::new(&["10.4.0.0/30", "10.5.0.0/30"]);
    node.add("stays");
    node.add("goes");
    node.del("goes");
    node.give(&["10.5.0.0/30"]);
    assert_eq!(node.add("new").to_string(), "10.5.0.0");
    let view = node.pool.view();
    let draining = view.node_blocks.iter().find(|block| block.cidr == cidr("10.4.0.0/30")).unwrap();
    assert_eq!(draining.waits_for, [PodKey::new("test", "stays")]);
    assert!(draining.draining_since.is_some());
    let told = node.decisions().pop().unwrap();
    assert!(told.contains("no more addresses of the block 10.4.0.0/30"), "{told}");
    assert!(told.contains("test/stays (10.4.0.0) is gone"), "{told}");

    node.restart();
    assert_eq!(node.pool.holds(&key("stays")).unwrap().device_index, Some(0), "a restart keeps its place");
    node.give(&["10.5.0.0/30"]);
    node.del("stays");
    node.pass(COOLDOWN);
    let left: Vec<Cidr> = node.pool.view().node_blocks.iter().map(|block| block.cidr).collect();
    assert_eq!(left, blocks(&["10.5.0.0/30"]));
    assert_eq!(node.disk.blocks, left, "the disk knows");
}

#[test]
fn a_draining_block_that_comes_back_gives_again_and_keeps_its_cool_downs() {
    let mut node = Node::new(&["10.4.0.0/31"]);
    node.add("a");
    node.add("b");
    node.del("a");
    node.give(&["10.5.0.0/32"]);
    node.give(&["10.4.0.0/31"]);
    let request = node.ask("c");
    assert_eq!(node.replies.get(&request), None, "10.4.0.0 still rests");
    node.pass(5);
    assert!(matches!(node.replies.get(&request), Some(Reply::Assigned { .. })));
    assert_eq!(node.pool.view().node_blocks.len(), 1, "the other had nothing on it and is gone");
}

#[test]
fn a_block_that_overlaps_a_draining_one_comes_when_that_is_gone() {
    let mut node = Node::new(&["10.4.0.0/30"]);
    node.add("a");
    node.give(&["10.4.0.0/29"]);
    assert_eq!(node.refused("b").cause, Cause::NodeBlockMissing);
    node.del("a");
    node.pass(COOLDOWN);
    assert_eq!(node.add("b").to_string(), "10.4.0.0");
    assert_eq!(node.pool.view().tally.total, 8);
}

#[test]
fn blocks_that_make_no_sense_are_refused_whole() {
    let mut node = Node::new(&["10.4.0.0/30"]);
    for (texts, words) in [
        (&["10.5.0.0/30", "10.5.0.0/31"][..], "10.5.0.0/30 and 10.5.0.0/31 overlap"),
        (&["10.0.0.0/8"][..], "10.0.0.0/8 is too wide: expected a /16"),
    ] {
        let message = node.pool.handle_blocks(&blocks(texts), node.now).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
        node.settle();
    }
    let left: Vec<Cidr> = node.pool.view().node_blocks.iter().map(|block| block.cidr).collect();
    assert_eq!(left, blocks(&["10.4.0.0/30"]));
}

#[test]
fn what_the_disk_says_of_an_address_outside_of_all_blocks_is_contained_and_reported() {
    let mut node = Node::new(&["10.4.0.0/30"]);
    node.add("a");
    node.disk.blocks = blocks(&["10.9.0.0/30"]);
    node.restart();
    assert!(
        node.alarms.iter().any(|alarm| alarm.contains("10.4.0.0 lies in none of the node's blocks")),
        "{:?}",
        node.alarms
    );
    assert_eq!(node.pool.holds(&key("a")).unwrap().device_index, None);
    node.give(&["10.4.0.0/30"]);
    assert_eq!(node.pool.holds(&key("a")).unwrap().device_index, Some(0), "it is the node's again");
    assert_ne!(node.add("b").to_string(), "10.4.0.0");
}

#[test]
fn a_write_that_fails_takes_back_what_it_promised() {
    let mut node = Node::new(&["10.4.0.0/31"]);
    node.disk_fails = true;
    assert_eq!(node.refused("a").cause, Cause::CheckpointFailed);
    node.disk_fails = false;
    node.pass(10);
    assert_eq!(node.add("b").to_string(), "10.4.0.0", "the address was never given");
}

/// A wide block costs no look at each of its addresses: the order of the free ones is kept.
#[test]
fn a_wide_block_gives_all_its_addresses_once() {
    let mut node = Node::new(&["10.4.0.0/22"]);
    let given: BTreeSet<Ipv4Addr> = (0..1024).map(|number| node.add(&format!("pod-{number}"))).collect();
    assert_eq!(given.len(), 1024);
    assert_eq!(node.refused("one-more").cause, Cause::NodeBlockExhausted);
}

#[derive(Clone, Debug)]
enum Act {
    Add(u8),
    Del(u8),
    Blocks(Vec<usize>),
    Pass(i64),
    Restart,
    DiskFails(bool),
}

const CHOICE: [&str; 5] = ["10.4.0.0/30", "10.4.0.0/29", "192.168.0.0/31", "100.64.0.8/29", "172.16.0.4/32"];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_u8..20).prop_map(Act::Add),
        5 => (0_u8..20).prop_map(Act::Del),
        2 => proptest::sample::subsequence((0..CHOICE.len()).collect::<Vec<_>>(), 0..4).prop_shuffle().prop_map(Act::Blocks),
        3 => (0_i64..40).prop_map(Act::Pass),
        1 => Just(Act::Restart),
        1 => any::<bool>().prop_map(Act::DiskFails),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever comes in whatever order: no address has two holders, what was promised is held until its DEL, and the audit
    /// (after each step) finds nothing.
    #[test]
    fn no_order_of_events_doubles_or_loses_an_address(acts in proptest::collection::vec(act(), 1..80)) {
        let mut node = Node::new(&["10.4.0.0/30"]);
        let mut living: BTreeMap<u8, Ipv4Addr> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Add(pod) => {
                    let request = node.ask(&pod.to_string());
                    if let Some(Reply::Assigned { address, .. }) = node.replies.get(&request) {
                        let address = *address;
                        let holder = living.iter().find(|(other, held)| **other != pod && **held == address);
                        prop_assert!(holder.is_none(), "{address} of {pod} is {holder:?}'s");
                        prop_assert!(living.insert(pod, address).is_none_or(|before| before == address));
                    } else if !node.replies.contains_key(&request) {
                        node.pool.handle_cancel(request, node.now);
                        node.settle();
                    }
                }
                Act::Del(pod) => {
                    let reply = node.del(&pod.to_string());
                    if matches!(reply, Some(Reply::Released { .. } | Reply::UnknownPod)) {
                        living.remove(&pod);
                    }
                }
                Act::Blocks(places) => {
                    let chosen: Vec<&str> = places.into_iter().map(|place| CHOICE[place]).collect();
                    // Two of the choices overlap; then nothing changes.
                    let _ = node.pool.handle_blocks(&blocks(&chosen), node.now);
                    node.settle();
                }
                Act::Pass(seconds) => node.pass(seconds),
                Act::Restart => node.restart(),
                Act::DiskFails(fails) => node.disk_fails = fails,
            }
            for (pod, address) in &living {
                let held = node.pool.holds(&key(&pod.to_string()));
                prop_assert_eq!(held.map(|held| held.address), Some(*address), "pod {}", pod);
            }
        }
        // When all is well again everything comes to rest.
        node.disk_fails = false;
        node.give(&["10.4.0.0/29"]);
        for pod in living.keys() {
            node.del(&pod.to_string());
        }
        node.pass(120);
        let tally = node.pool.view().tally;
        prop_assert_eq!((tally.total, tally.free), (8, 8), "{:?}", node.pool.view());
    }
}
