//! The zoo: each engine incident and defect that we know of, as a wrong behaviour that can be switched on. A check that finds
//! none of these animals proves nothing, and an animal that no check finds is a hole in the checks.
//!
//! The animals live between the real engine and the world, in [`crate::mischief`]; the engine itself holds no wrong code.

use serde::Serialize;

use crate::check::Check;
use crate::fault::{FaultClass, FaultSettings};
use crate::mischief::Wrong;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::scenario_check::ScenarioError;

/// The load under which an animal is hunted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    Mixed,
    Bursts,
    /// As `Bursts`, and more is to be held beside the pods than the interfaces can carry.
    Crowded,
    Prefixes,
    Churn,
    Fragmented,
    Resized,
    /// As `Resized`, and the last turn is a day.
    Grown,
    /// As `Resized`, on one interface.
    OneInterface,
}

impl Ground {
    fn text(self) -> &'static str {
        match self {
            Self::Mixed => include_str!("../../../scenarios/mixed.yaml"),
            Self::Bursts | Self::Crowded => include_str!("../../../scenarios/bursts.yaml"),
            Self::Prefixes => include_str!("../../../scenarios/prefixes.yaml"),
            Self::Churn => include_str!("../../../scenarios/churn-at-the-limit.yaml"),
            Self::Fragmented => FRAGMENTED,
            Self::Resized | Self::Grown | Self::OneInterface => RESIZED,
        }
    }
}

/// Prefixes are wanted in a subnet of which foreign addresses leave no aligned /28.
const FRAGMENTED: &str = r#"
name: fragmented
world:
  subnets:
    - { cidr: 10.0.0.0/25, nodes: true, taken_by_others: 60 }
nodes: { count: 1, instance_type: t3.small }
pool: { mode: prefixes, warm_prefix_target: 1 }
workloads:
  - { kind: steady, pods_per_node: 6, lifetime_seconds: 120 }
duration_seconds: 300
settle_seconds: 400
sample_seconds: 60
"#;

/// Pools grow and shrink in turn; the last turn is a night.
const RESIZED: &str = r#"
name: resized
world:
  subnets:
    - { cidr: 10.0.0.0/26, nodes: true }
nodes: { count: 2, instance_type: t3.small }
pool: { warm_ip_target: 1, minimum_ip_target: 2 }
workloads:
  - { kind: nightly-scale-down, day_pods_per_node: 8, night_pods_per_node: 2, half_day_seconds: 100 }
duration_seconds: 600
settle_seconds: 400
sample_seconds: 60
"#;

/// A wrong behaviour, what it re-creates, and which checks must find it.
#[derive(Clone, Copy, Debug)]
pub struct Animal {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// What it does, and in which incident or defect that was seen.
    pub recreates: &'static str,
    /// Where that is written down: an upstream issue, a row of the incumbent's defects, or a fault of our own list.
    pub reference: &'static str,
    /// The checks that must find it, each of them alone.
    pub found_by: &'static [Check],
    wrong: Wrong,
    ground: Ground,
    faults: &'static [FaultClass],
}

/// How one check fared with one animal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The animal.
    pub animal: &'static str,
    /// The check, the only one that was switched on.
    pub check: Check,
    /// How many seeds it took; `None`: it escaped.
    pub seeds: Option<u64>,
    /// What the check said.
    pub said: String,
}

/// Occurrences of each class of fault that an animal needs, in an hour over all nodes.
const RATE: f64 = 60.0;

macro_rules! zoo {
    ($($name:literal $wrong:ident $ground:ident [$($fault:ident),*] [$($check:ident),+] $reference:literal $recreates:literal)*) => {
        /// Every animal.
        pub const ZOO: &[Animal] = &[$(Animal {
            name: $name,
            recreates: $recreates,
            reference: $reference,
            found_by: &[$(Check::$check),+],
            wrong: Wrong::$wrong,
            ground: Ground::$ground,
            faults: &[$(FaultClass::$fault),*],
        }),*];
    };
}

zoo! {
    "empty-start" EmptyStart Mixed [Crash] [AddressOnce, AcknowledgedSurvives] "vpc-cni#711 (B4)"
        "a restarted agent finds an empty list of pods and gives their addresses again"
    "lengths-compared" LengthsCompared OneInterface [] [CloudHasIt, BooksClose] "vpc-cni#3019 (B4)"
        "a list of addresses is believed unchanged as long as it is of the same length"
    "incomplete-list" IncompleteList Prefixes [Crash] [AcknowledgedSurvives, LiveNotReleased] "vpc-cni#3824, #3876, #3877 (B4, §12 row 12, §3.7)"
        "allocations that the first list after a start does not show are dropped, and their prefix is given back as empty"
    "stale-metadata" StaleMetadata Resized [Crash] [CloudHasIt, BooksClose] "vpc-cni#3887 (B4, §12 row 13)"
        "after a restart an old list is believed, and an address that the cloud has taken back is given"
    "unlisted-interface-detached" UnlistedDetached Bursts [Crash] [LiveNotReleased] "vpc-cni#1967 (B4)"
        "an interface that an old list does not show is detached with its pods"
    "no-tombstones" NoTombstones Mixed [MissedDelete] [NothingLeaked] "vpc-cni#3109, #1939, #2350 (B4, §12 row 14)"
        "the plugin answers a DEL with success while the agent is down, and leaves no word"
    "deletions-forgotten" DeletionsForgotten Mixed [] [NothingLeaked] "vpc-cni#1204 (B4)"
        "some DELs are answered and not carried out, until the node is full"
    "release-races-assignment" ReleaseRaces Mixed [] [LiveNotReleased, CloudHasIt, BooksClose] "cilium#13412 (B4)"
        "an operator gives back addresses that were free when it looked, and are assigned when it acts"
    "collection-of-the-past" OldCollection Mixed [] [AddressOnce, AcknowledgedSurvives] "calico#5044, #12257, spiderpool#3778 (B4)"
        "garbage collection works from an old list of sandboxes and frees what lives"
    "failure-swallowed" FailureSwallowed Grown [Ec2Error, Throttle] [Served] "cilium#35404 (B4)"
        "an operation that failed is never reported, and the node waits for it for ever"
    "counted-off-twice" CountedOffTwice Bursts [] [BooksClose] "vpc-cni#2041 (§3.11, §12 row 25)"
        "the addresses of a removed interface are taken off the sums twice"
    "torn-state-is-fatal" TornIsFatal Mixed [TornState] [Served] "§3.7, §3.11 (fatal restore)"
        "a state file that cannot be read ends the agent at each start"
    "opaque-refusal" Opaque Bursts [ForeignConsumer, ApiOutage] [RefusalComplete] "vpc-cni#111, #1791 (§12 row 1)"
        "every refusal says \"failed to assign an IP address to container\""
    "cooling-counts-as-available" CoolingCounts Churn [] [RefusedWithoutRoom] "vpc-cni#2896 (§12 row 2, §3.2)"
        "resting addresses are counted as available, so that the pool is not grown while pods wait"
    "rigid-cool-down" RigidCooldown Churn [] [RefusedWithoutRoom] "vpc-cni#2378, #1446, #18 (§12 row 3)"
        "pods that wait are refused rather than given an address before its cool-down ends"
    "never-freed" NeverFreed Resized [] [Settles] "vpc-cni#123, #2203, #2460 (§12 row 4)"
        "addresses and interfaces over the target are never given back"
    "stalls-at-the-minimum" StallsAtMinimum Mixed [] [Served, RefusedWithoutRoom] "vpc-cni#3685 (§12 row 6)"
        "nothing is taken beyond MINIMUM_IP_TARGET while pods wait"
    "add-does-not-wait" AddDoesNotWait Bursts [] [RefusedWithoutRoom] "vpc-cni#405, #420, #1872 (§12 row 7)"
        "an ADD that finds no free address is refused at once, whatever is on its way"
    "no-back-off" NoBackOff Mixed [Throttle] [CallsBounded] "vpc-cni#2730, #873, #810 (§12 row 9)"
        "a refused call is repeated at once, again and again"
    "no-single-addresses" NoSingles Fragmented [] [Served, RefusedWithoutRoom] "vpc-cni#1634, #2045, #2749, #3264 (§12 row 10)"
        "without an aligned /28 nothing is taken, although single addresses are free"
    "leftovers-stay" LeftoversStay Bursts [] [NothingLeaked] "vpc-cni#69, #608, #1223, #1447 (§12 row 16)"
        "the agent dies between creating and attaching an interface, and nobody looks for it"
    "intents-forgotten" IntentsForgotten Bursts [CrashAfterCreate] [NothingLeaked] "vpc-cni#69, #608 (§12 row 16)"
        "a restarted agent does not know what it was about to create, and leaves the interface to the sweep"
    "cool-down-forgotten" CoolingForgotten Churn [Crash] [CooldownRespected] "vpc-cni#1127, #1188 (§12 row 17)"
        "resting addresses are not in the state file, and are given at once after a restart"
    "no-rest" NoRest Churn [] [CooldownRespected] "§3.2 (no cool-down stamp)"
        "an address that was taken from its pod is given again without any cool-down"
    "limit-not-learned" LimitNotLearned Crowded [] [NothingLeaked] "vpc-cni#2309 (§12 row 24)"
        "the table allows more interfaces than the instance takes, and the refusal to attach teaches nothing"
    "reply-before-write" ReplyBeforeWrite Mixed [CrashBeforeWrite] [AcknowledgedSurvives] "B6 (crash before each durable step)"
        "an ADD is answered before its record is durable"
    "another-address-next-time" AnotherAddress Mixed [RepeatedAdd] [SameAddress] "B3 rule 7, B6 (repeated ADD)"
        "an ADD that is repeated gets one more address"
    "answer-lost" AnswerLost Mixed [] [AnsweredInTime] "§13 (no deadline on the plugin's call)"
        "some requests are never answered"
    "answered-twice" AnsweredTwice Mixed [] [AnsweredInTime] "B6 (repeated and reordered requests)"
        "some requests are answered again"
    "primary-among-them" PrimaryAmongThem Prefixes [] [PoolAudit] "§3.8 step 2 (the list has one extra, the primary)"
        "a prefix around an interface's own address is taken for one of the pool's"
    "frozen-clock" FrozenClock Mixed [] [NoSpinning] "B6 (clock jump)"
        "the engine is woken by a clock that stands still, and asks to be woken at once"
}

impl Animal {
    /// The animal of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ZOO.iter().find(|animal| animal.name == name)
    }

    /// The scenario in which it is hunted.
    ///
    /// # Errors
    /// Never in practice: the scenarios come with the program.
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        let mut scenario = Scenario::parse(self.ground.text())?;
        match self.ground {
            Ground::Grown => scenario.duration_seconds = 500.0,
            Ground::Crowded => scenario.pool.warm_ip_target = Some(8),
            Ground::OneInterface => {
                scenario.pool.max_eni = Some(1);
                "m5.large".clone_into(&mut scenario.nodes.instance_type);
            }
            Ground::Mixed
            | Ground::Bursts
            | Ground::Prefixes
            | Ground::Churn
            | Ground::Fragmented
            | Ground::Resized => {}
        }
        let per_hour = self.faults.iter().map(|class| (*class, RATE)).collect();
        scenario.faults = FaultSettings { swarm: false, per_hour };
        Ok(scenario)
    }

    /// A run in which this animal is loose.
    ///
    /// # Errors
    /// [`ScenarioError`], see [`Self::scenario`].
    pub fn run(&self, seed: u64) -> Result<Run, ScenarioError> {
        Ok(Run::new(&self.scenario()?, seed)?.with_wrong(self.wrong))
    }

    /// Hunts it with each of its checks alone, each over at most so many seeds, beginning with seed 0.
    ///
    /// # Errors
    /// [`ScenarioError`], see [`Self::scenario`].
    pub fn hunt(&self, seeds: u64) -> Result<Vec<Trail>, ScenarioError> {
        self.found_by.iter().map(|check| self.follow(*check, seeds)).collect()
    }

    fn follow(&self, check: Check, seeds: u64) -> Result<Trail, ScenarioError> {
        for seed in 0..seeds {
            if let Err(failure) = self.run(seed)?.quiet().only(check).finish() {
                let said = failure.violation.what;
                return Ok(Trail { animal: self.name, check, seeds: Some(seed + 1), said });
            }
        }
        Ok(Trail { animal: self.name, check, seeds: None, said: String::new() })
    }
}
