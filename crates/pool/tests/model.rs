//! Random orders of everything that can happen, against a reference model of who owns what; and the same seed twice.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{Addresses, AttachmentKey, Prefixes, SubnetId};
use freeboard_pool::{AllocationMode, Cause, FailureKind, Policy, PoolSettings, RangePreference, Reply, RequestId};
use jiff::SignedDuration;
use proptest::prelude::*;
use world::{Fault, World, facts, settings, targets};

#[derive(Clone, Debug)]
enum Event {
    Add(u8),
    Del(u8),
    /// The caller of the newest open ADD goes.
    Cancel,
    /// The call at this place of those in flight is answered.
    Answer(u8),
    AnswerWith(u8, Fault),
    Pass(u16),
    Disk(bool),
    WriteDisk,
    Fill(bool, u8),
    Refill(bool, u8),
    RemoveInterface(u8),
    NewSubnet,
    Cordon(bool),
    Restart,
    Collect(u8),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::LoseAnswer),
        prop::sample::select(vec![
            FailureKind::SubnetShort,
            FailureKind::NoFreePrefix,
            FailureKind::AddressLimit,
            FailureKind::AttachmentLimit,
            FailureKind::Throttled,
            FailureKind::NotAuthorized,
            FailureKind::NotFound,
            FailureKind::Uncertain,
            FailureKind::Host,
            FailureKind::Other,
        ])
        .prop_map(Fault::Fail),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0u8..24).prop_map(Event::Add),
        4 => (0u8..24).prop_map(Event::Del),
        1 => Just(Event::Cancel),
        8 => any::<u8>().prop_map(Event::Answer),
        2 => (any::<u8>(), fault()).prop_map(|(place, fault)| Event::AnswerWith(place, fault)),
        4 => (1u16..90).prop_map(Event::Pass),
        1 => any::<bool>().prop_map(Event::Disk),
        4 => Just(Event::WriteDisk),
        1 => (any::<bool>(), 0u8..8).prop_map(|(which, left)| Event::Fill(which, left)),
        1 => (any::<bool>(), 0u8..8).prop_map(|(which, count)| Event::Refill(which, count)),
        1 => any::<u8>().prop_map(Event::RemoveInterface),
        1 => Just(Event::NewSubnet),
        1 => any::<bool>().prop_map(Event::Cordon),
        1 => Just(Event::Restart),
        1 => (0u8..24).prop_map(Event::Collect),
    ]
}

fn any_settings() -> impl Strategy<Value = PoolSettings> {
    let preference = prop::sample::select(vec![
        RangePreference::MostFree,
        RangePreference::SecondaryFirst,
        RangePreference::PrimaryFirst,
    ]);
    (
        any::<bool>(),
        0u32..3,
        prop::option::of(0u32..6),
        prop::option::of(0u32..12),
        0u32..3,
        preference,
        prop::bool::weighted(0.3),
    )
        .prop_map(|(prefixes, warm_eni, warm_ip, minimum_ip, warm_prefix, preference, lean)| {
            let mut settings = settings();
            settings.mode = if prefixes { AllocationMode::Prefixes } else { AllocationMode::SecondaryAddresses };
            targets(&mut settings).warm_eni = warm_eni;
            targets(&mut settings).warm_ip = warm_ip.map(Addresses);
            targets(&mut settings).minimum_ip = minimum_ip.map(Addresses);
            targets(&mut settings).warm_prefix = Prefixes(warm_prefix);
            settings.preference = preference;
            if lean {
                settings.policy = Policy::Lean;
            }
            settings
        })
}

/// Who owns what, by the replies that were released: what a runtime would believe.
#[derive(Default)]
struct Model {
    owners: BTreeMap<AttachmentKey, Ipv4Addr>,
    adds: BTreeMap<RequestId, AttachmentKey>,
    dels: BTreeMap<RequestId, AttachmentKey>,
}

impl Model {
    /// Takes in the replies that came, and checks them.
    fn learn(&mut self, world: &mut World) {
        for (request, reply) in std::mem::take(&mut world.answered) {
            let (added, deleted) = (self.adds.remove(&request), self.dels.remove(&request));
            match reply {
                Reply::Assigned { address, .. } => {
                    let key = added.unwrap();
                    let twice = self.owners.iter().find(|(owner, held)| **held == address && **owner != key);
                    assert!(twice.is_none(), "{address} was given to {key} and belongs to {twice:?}");
                    if let Some(before) = self.owners.insert(key.clone(), address) {
                        let lost = before != address && world.lost.contains(&before);
                        assert!(
                            before == address || lost,
                            "{key} had {before}, which never went away, and got {address}"
                        );
                    }
                }
                Reply::Released { address, .. } => {
                    let key = deleted.unwrap();
                    if let Some(held) = self.owners.remove(&key) {
                        assert_eq!(held, address);
                    }
                }
                Reply::UnknownPod => {
                    let key = deleted.unwrap();
                    assert!(!self.owners.contains_key(&key), "{key} holds an address, and the pool does not know it");
                }
                Reply::Refused(refusal) => {
                    assert!(!refusal.message.is_empty() && !refusal.remedy.is_empty());
                    assert!(deleted.is_none() || refusal.cause == Cause::CheckpointFailed, "{refusal}");
                }
            }
        }
        let changing: Vec<_> = self.dels.values().chain(self.adds.values()).collect();
        for (key, address) in self.owners.iter().filter(|(key, _)| !changing.contains(key)) {
            let held = world.pool.holds(key).map(|holding| holding.address);
            assert_eq!(held, Some(*address), "{key} was promised {address}");
        }
    }
}

fn name(number: u8) -> String {
    format!("pod-{number}")
}

struct Run {
    world: World,
    model: Model,
    settings: PoolSettings,
    disk_writes: bool,
    slots: (u32, u32),
}

impl Run {
    fn new(settings: PoolSettings, slots: (u32, u32)) -> Self {
        let node = facts(slots.0, slots.1, 29);
        let mut world = World::new(settings.clone(), node, "10.0.0.0/26");
        world.add_subnet("subnet-s", "100.64.1.0/27", false, &[("kubernetes.io/role/cni", "1")]);
        world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
        Self { world, model: Model::default(), settings, disk_writes: true, slots }
    }

    fn subnet(which: bool) -> &'static str {
        if which { "subnet-a" } else { "subnet-s" }
    }

    fn apply(&mut self, event: &Event) {
        let world = &mut self.world;
        match event {
            Event::Add(number) => {
                let request = world.add(&name(*number));
                self.model.adds.insert(request, World::key(&name(*number)));
            }
            Event::Del(number) => {
                let request = world.del(&name(*number));
                self.model.dels.insert(request, World::key(&name(*number)));
            }
            Event::Cancel => {
                if let Some((request, _)) = self.model.adds.iter().next_back() {
                    world.pool.handle_cancel(*request, world.now);
                }
            }
            Event::Answer(place) if !world.in_flight.is_empty() => {
                world.answer(usize::from(*place) % world.in_flight.len())
            }
            Event::AnswerWith(place, fault) if !world.in_flight.is_empty() => {
                world.faults.push_back(*fault);
                world.answer(usize::from(*place) % world.in_flight.len());
                world.faults.clear();
            }
            Event::Answer(_) | Event::AnswerWith(..) => {}
            Event::Pass(seconds) => self.pass(i64::from(*seconds)),
            Event::Disk(fails) => world.disk_fails = *fails,
            Event::WriteDisk => {
                self.disk_writes = !self.disk_writes;
                world.persist_held = !self.disk_writes;
            }
            Event::Fill(which, left) => world.fill(Self::subnet(*which), u64::from(*left)),
            Event::Refill(which, count) => world.refill(Self::subnet(*which), usize::from(*count)),
            Event::RemoveInterface(place) => {
                let secondary: Vec<_> = world.interfaces.keys().filter(|id| id.as_str() != "eni-0").cloned().collect();
                if !secondary.is_empty() {
                    world.remove_interface(&secondary[usize::from(*place) % secondary.len()]);
                }
            }
            Event::NewSubnet => {
                if !world.subnets.contains_key(&SubnetId::new("subnet-n")) {
                    world.add_subnet("subnet-n", "100.64.2.0/26", false, &[("kubernetes.io/role/cni", "1")]);
                }
            }
            Event::Cordon(cordoned) => world.pool.handle_schedulable(!cordoned, world.now),
            Event::Restart => {
                let disk = world.disk.clone();
                // Callers of the old process see their connection break; its calls to the cloud may still arrive.
                self.model.adds.clear();
                self.model.dels.clear();
                while !world.in_flight.is_empty() {
                    world.answer_nobody();
                }
                world.restart(self.settings.clone(), facts(self.slots.0, self.slots.1, 29), disk);
                self.disk_writes = true;
                world.persist_held = false;
            }
            Event::Collect(number) => {
                let mut valid: std::collections::BTreeSet<_> = self.model.owners.keys().cloned().collect();
                valid.extend(self.model.adds.values().cloned());
                valid.remove(&World::key(&name(*number)));
                for holding in world.pool.handle_collect("aws-cni", &valid, world.now) {
                    self.model.owners.remove(&holding.key);
                }
            }
        }
    }

    fn pass(&mut self, seconds: i64) {
        let end = self.world.now + SignedDuration::from_secs(seconds);
        self.world.drain();
        while let Some((at, _)) = self.world.pool.poll_timeout().filter(|(at, _)| *at <= end) {
            self.world.now = at;
            self.world.pool.handle_timeout(at);
            self.world.drain();
            self.model.learn(&mut self.world);
        }
        self.world.now = end;
    }

    fn step(&mut self, event: &Event) {
        self.apply(event);
        self.world.drain();
        self.model.learn(&mut self.world);
        self.world.check();
    }

    /// The faults end: whoever asks is served, or refused for a cause that is true.
    fn heal(&mut self) {
        let world = &mut self.world;
        world.disk_fails = false;
        world.persist_held = false;
        world.pool.handle_schedulable(true, world.now);
        world.pass(700);
        self.model.learn(&mut self.world);
        for number in 100..106 {
            let request = self.world.add(&name(number));
            self.model.adds.insert(request, World::key(&name(number)));
            self.world.pass(70);
            let view = self.world.pool.view();
            match self.world.replies.get(&request) {
                Some(Reply::Assigned { .. }) => {}
                Some(Reply::Refused(refusal)) => match refusal.cause {
                    Cause::SubnetExhausted | Cause::SubnetFragmented => {
                        let room = self.world.subnets.values().filter(|s| s.space.free_addresses() >= 2).count();
                        let slots = view.interfaces.len() < usize::try_from(view.interface_limit).unwrap();
                        assert!(room == 0 || !slots, "{refusal}\n{}", self.world.trace);
                    }
                    Cause::InterfaceLimit => {
                        assert_eq!(view.interfaces.len(), usize::try_from(view.interface_limit).unwrap(), "{refusal}");
                        assert_eq!(view.tally.free, 0, "{refusal}\n{}", self.world.trace);
                    }
                    Cause::CoolingDown
                    | Cause::StillGrowing
                    | Cause::NoSubnetAllowed
                    | Cause::Throttled
                    | Cause::NotAuthorized
                    | Cause::CloudUnavailable
                    | Cause::NodeCordoned
                    | Cause::ProvisioningDisabled
                    | Cause::NotReady
                    | Cause::Terminating
                    | Cause::QueueFull
                    | Cause::NodeBlockExhausted
                    | Cause::NodeBlockMissing
                    | Cause::CheckpointFailed => panic!("{refusal}\n{}", self.world.trace),
                },
                other => panic!("an ADD is never left without an answer: {other:?}\n{}", self.world.trace),
            }
            self.model.learn(&mut self.world);
        }
        let owned = self.world.owned();
        for (key, address) in &self.model.owners {
            let holding = self.world.pool.holds(key).unwrap();
            assert!(
                owned.contains(address) || holding.interface.is_none(),
                "{key} holds {address}, which is not the node's"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_address_has_two_owners_and_nobody_is_forgotten(
        settings in any_settings(),
        slots in (1u32..4, 2u32..8),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut run = Run::new(settings, slots);
        for event in &events {
            run.step(event);
        }
        run.heal();
    }

    #[test]
    fn the_same_inputs_have_the_same_effects(
        settings in any_settings(),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let trace = || {
            let mut run = Run::new(settings.clone(), (3, 5));
            for event in &events {
                run.step(event);
            }
            run.world.trace
        };
        prop_assert_eq!(trace(), trace());
    }
}
