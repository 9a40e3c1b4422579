//! What pods do: a list of creations and deletions, made from a few well-known shapes or read from a trace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// A shape of load. Pods are counted per node unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Workload {
    /// So many pods, each replaced by a new one after a random life.
    Steady {
        /// Pods on each node.
        pods_per_node: u32,
        /// The mean life of a pod.
        lifetime_seconds: f64,
        /// The first pods come one after the other over so long, not all at the start.
        #[serde(default)]
        ramp_seconds: f64,
    },
    /// So many pods at once, again and again; each burst ends before the next begins.
    Bursts {
        /// Pods on each node.
        pods_per_node: u32,
        /// From the start of one burst to the next.
        every_seconds: f64,
        /// How long its pods live.
        lifetime_seconds: f64,
    },
    /// So many pods; at a steady pace the oldest is deleted and a new one made at once.
    Churn {
        /// Pods on each node.
        pods_per_node: u32,
        /// Replacements on each node.
        replaced_per_second: f64,
    },
    /// So many pods over all nodes, every one replaced by another in each round.
    ExactFit {
        /// Pods over all nodes.
        pods: u32,
        /// How often all are replaced.
        rounds: u32,
        /// The length of a round.
        round_seconds: f64,
    },
    /// Many pods by day, few by night.
    NightlyScaleDown {
        /// Pods on each node by day.
        day_pods_per_node: u32,
        /// Pods on each node by night.
        night_pods_per_node: u32,
        /// The length of a day, and of a night.
        half_day_seconds: f64,
    },
    /// A deployment is restarted: new pods first, then the old ones go, a few at a time.
    RollingRestart {
        /// Pods on each node.
        pods_per_node: u32,
        /// New pods that are made before old ones go.
        surge: u32,
        /// From one step to the next.
        step_seconds: f64,
    },
    /// Pods with fixed names; each comes back under its name in a new sandbox.
    StatefulSet {
        /// Pods on each node.
        pods_per_node: u32,
        /// From one restart of a pod to the next.
        restart_seconds: f64,
    },
    /// One node after the other is emptied onto the others, and filled again.
    Drain {
        /// Pods on each node while all take part.
        pods_per_node: u32,
        /// From one drain to the next.
        every_seconds: f64,
    },
    /// A trace: text with the header `at_seconds,node,event,pod`; `event` is `create` or `delete`.
    Trace {
        /// The text.
        csv: String,
    },
}

/// What happens to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodAction {
    /// It is wanted on the node.
    Create,
    /// It is not wanted any more.
    Delete,
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodEvent {
    /// So long after the start.
    pub at_seconds: f64,
    /// On which node, from 0.
    pub node: u32,
    /// What.
    pub event: PodAction,
    /// The pod's name.
    pub pod: String,
}

/// Why a workload makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// A figure out of its range.
    #[error("workloads: {field} is {value}: expected {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// A line of a trace.
    #[error("workloads: trace line {line}: {reason}; expected at_seconds,node,event,pod with event create or delete")]
    Trace {
        /// The line, the header is 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A node that is not there.
    #[error("workloads: trace line {line} names node {node}: expected 0 to {last}")]
    Node {
        /// The line.
        line: u64,
        /// The node.
        node: u32,
        /// The last one that exists.
        last: u32,
    },
}

fn check_positive(field: &'static str, value: f64) -> Result<(), WorkloadError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(WorkloadError::Value { field, value, expected: "a number above 0" })
}

impl Workload {
    pub(crate) fn check(&self, nodes: u32) -> Result<(), WorkloadError> {
        match self {
            Self::Steady { lifetime_seconds, ramp_seconds, .. } => {
                if !ramp_seconds.is_finite() || *ramp_seconds < 0.0 {
                    let expected = "a number from 0 up";
                    return Err(WorkloadError::Value { field: "ramp_seconds", value: *ramp_seconds, expected });
                }
                check_positive("lifetime_seconds", *lifetime_seconds)
            }
            Self::Bursts { every_seconds, lifetime_seconds, .. } => {
                check_positive("every_seconds", *every_seconds)?;
                check_positive("lifetime_seconds", *lifetime_seconds)?;
                if lifetime_seconds < every_seconds {
                    return Ok(());
                }
                let expected = "less than every_seconds, so that one burst ends before the next";
                Err(WorkloadError::Value { field: "lifetime_seconds", value: *lifetime_seconds, expected })
            }
            Self::Churn { replaced_per_second, .. } => check_positive("replaced_per_second", *replaced_per_second),
            Self::ExactFit { round_seconds, .. } => check_positive("round_seconds", *round_seconds),
            Self::NightlyScaleDown { half_day_seconds, .. } => check_positive("half_day_seconds", *half_day_seconds),
            Self::RollingRestart { step_seconds, surge, .. } => {
                check_positive("surge", f64::from(*surge))?;
                check_positive("step_seconds", *step_seconds)
            }
            Self::StatefulSet { restart_seconds, .. } => check_positive("restart_seconds", *restart_seconds),
            Self::Drain { every_seconds, .. } => {
                if nodes < 2 {
                    let expected = "2 nodes or more, so that pods have somewhere to go";
                    return Err(WorkloadError::Value { field: "nodes", value: f64::from(nodes), expected });
                }
                check_positive("every_seconds", *every_seconds)
            }
            Self::Trace { csv } => parse_trace(csv, nodes).map(|_| ()),
        }
    }

    /// The most pods at once on each node.
    fn peak(&self, nodes: u32) -> Result<Vec<u32>, WorkloadError> {
        let all = |pods: u32| Ok((0..nodes).map(|_| pods).collect());
        match self {
            Self::Steady { pods_per_node, .. }
            | Self::Bursts { pods_per_node, .. }
            | Self::Churn { pods_per_node, .. }
            | Self::StatefulSet { pods_per_node, .. } => all(*pods_per_node),
            Self::ExactFit { pods, .. } => Ok((0..nodes).map(|node| share(*pods, nodes, node)).collect()),
            Self::NightlyScaleDown { day_pods_per_node, night_pods_per_node, .. } => {
                all(*day_pods_per_node.max(night_pods_per_node))
            }
            Self::RollingRestart { pods_per_node, surge, .. } => all(pods_per_node + surge),
            Self::Drain { pods_per_node, .. } => all(pods_per_node + pods_per_node.div_ceil(nodes.max(2) - 1)),
            Self::Trace { csv } => {
                let mut now: BTreeMap<u32, u32> = BTreeMap::new();
                let mut peak: BTreeMap<u32, u32> = BTreeMap::new();
                for event in parse_trace(csv, nodes)? {
                    let count = now.entry(event.node).or_default();
                    *count = match event.event {
                        PodAction::Create => *count + 1,
                        PodAction::Delete => count.saturating_sub(1),
                    };
                    let most = peak.entry(event.node).or_default();
                    *most = (*most).max(*count);
                }
                Ok((0..nodes).map(|node| peak.get(&node).copied().unwrap_or(0)).collect())
            }
        }
    }

    /// What happens, in no order. `number` keeps the names of several workloads apart.
    fn events(
        &self,
        number: usize,
        nodes: u32,
        duration: f64,
        random: &mut Random,
    ) -> Result<Vec<PodEvent>, WorkloadError> {
        let mut plan = Plan { number, duration, events: Vec::new() };
        match self {
            Self::Steady { pods_per_node, lifetime_seconds, ramp_seconds } => {
                for (node, pod) in each(nodes, *pods_per_node) {
                    let first = ramp_seconds * f64::from(pod) / f64::from(*pods_per_node);
                    plan.lives(node, pod, first, || random.exponential(*lifetime_seconds).max(1.0));
                }
            }
            Self::Bursts { pods_per_node, every_seconds, lifetime_seconds } => {
                let bursts = (duration / every_seconds).ceil() as u32;
                for burst in 0..bursts {
                    for (node, pod) in each(nodes, *pods_per_node) {
                        let at = f64::from(burst) * every_seconds;
                        let name = format!("burst{burst}-{pod}");
                        plan.create(at, node, &name);
                        plan.delete(at + lifetime_seconds, node, &name);
                    }
                }
            }
            Self::Churn { pods_per_node, replaced_per_second } => {
                let round = f64::from(*pods_per_node) / replaced_per_second;
                for (node, pod) in each(nodes, *pods_per_node) {
                    plan.rounds(node, pod, f64::from(pod) / replaced_per_second, round);
                }
            }
            Self::ExactFit { pods, rounds, round_seconds } => {
                for node in 0..nodes {
                    let share = share(*pods, nodes, node);
                    for pod in 0..share {
                        let offset = round_seconds * f64::from(pod) / f64::from(share.max(1));
                        plan.some_rounds(node, pod, offset, *round_seconds, *rounds);
                    }
                }
            }
            Self::NightlyScaleDown { day_pods_per_node, night_pods_per_node, half_day_seconds } => {
                plan.nights(nodes, *day_pods_per_node, *night_pods_per_node, *half_day_seconds);
            }
            Self::RollingRestart { pods_per_node, surge, step_seconds } => {
                plan.restarts(nodes, *pods_per_node, *surge, *step_seconds);
            }
            Self::StatefulSet { pods_per_node, restart_seconds } => {
                for (node, pod) in each(nodes, *pods_per_node) {
                    let name = format!("db-{pod}");
                    plan.create(0.0, node, &name);
                    let mut at = restart_seconds * (1.0 + f64::from(pod) / f64::from(*pods_per_node));
                    while at < duration {
                        plan.delete(at, node, &name);
                        plan.create(at, node, &name);
                        at += restart_seconds;
                    }
                }
            }
            Self::Drain { pods_per_node, every_seconds } => plan.drains(nodes, *pods_per_node, *every_seconds),
            Self::Trace { csv } => plan.events = parse_trace(csv, nodes)?,
        }
        Ok(plan.events)
    }
}

fn each(nodes: u32, pods: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..nodes).flat_map(move |node| (0..pods).map(move |pod| (node, pod)))
}

/// The pods of one node when `pods` are dealt out evenly.
fn share(pods: u32, nodes: u32, node: u32) -> u32 {
    pods / nodes.max(1) + u32::from(node < pods % nodes.max(1))
}

struct Plan {
    number: usize,
    duration: f64,
    events: Vec<PodEvent>,
}

impl Plan {
    fn push(&mut self, at_seconds: f64, node: u32, event: PodAction, name: &str) {
        if at_seconds < self.duration {
            let pod = format!("w{}-n{node}-{name}", self.number);
            self.events.push(PodEvent { at_seconds, node, event, pod });
        }
    }

    fn create(&mut self, at: f64, node: u32, name: &str) {
        self.push(at, node, PodAction::Create, name);
    }

    fn delete(&mut self, at: f64, node: u32, name: &str) {
        self.push(at, node, PodAction::Delete, name);
    }

    /// One pod after another, from `first` until the end.
    fn lives(&mut self, node: u32, pod: u32, first: f64, mut life: impl FnMut() -> f64) {
        let (mut at, mut generation) = (first, 0);
        while at < self.duration {
            let name = format!("{pod}-{generation}");
            self.create(at, node, &name);
            at += life();
            self.delete(at, node, &name);
            generation += 1;
        }
    }

    fn rounds(&mut self, node: u32, pod: u32, offset: f64, round: f64) {
        self.some_rounds(node, pod, offset, round, u32::MAX);
    }

    /// A pod from the start, replaced `rounds` times.
    fn some_rounds(&mut self, node: u32, pod: u32, offset: f64, round: f64, rounds: u32) {
        self.create(0.0, node, &format!("{pod}-0"));
        for generation in 0..rounds {
            let at = offset + round * (f64::from(generation) + 1.0);
            if at >= self.duration {
                return;
            }
            self.delete(at, node, &format!("{pod}-{generation}"));
            self.create(at, node, &format!("{pod}-{}", generation + 1));
        }
    }

    fn nights(&mut self, nodes: u32, day: u32, night: u32, half: f64) {
        for (node, pod) in each(nodes, day.max(night)) {
            let (by_day, by_night) = (pod < day, pod < night);
            let mut at = 0.0;
            let mut alive = false;
            let mut number = 0;
            while at < self.duration {
                let wanted = if number % 2 == 0 { by_day } else { by_night };
                if wanted && !alive {
                    self.create(at, node, &format!("{pod}"));
                } else if !wanted && alive {
                    self.delete(at, node, &format!("{pod}"));
                }
                alive = wanted;
                number += 1;
                at += half;
            }
        }
    }

    fn restarts(&mut self, nodes: u32, pods: u32, surge: u32, step: f64) {
        for node in 0..nodes {
            let mut oldest: std::collections::VecDeque<u32> = (0..pods).collect();
            for pod in 0..pods {
                self.create(0.0, node, &format!("{pod}"));
            }
            let (mut at, mut next) = (step, pods);
            while at < self.duration {
                for _ in 0..surge {
                    self.create(at, node, &format!("{next}"));
                    oldest.push_back(next);
                    next += 1;
                }
                for _ in 0..surge {
                    if let Some(old) = oldest.pop_front() {
                        self.delete(at + step / 2.0, node, &format!("{old}"));
                    }
                }
                at += step;
            }
        }
    }

    fn drains(&mut self, nodes: u32, pods: u32, every: f64) {
        for (node, pod) in each(nodes, pods) {
            self.create(0.0, node, &format!("{pod}"));
        }
        let (mut at, mut drained) = (every, 0);
        while at < self.duration {
            for pod in 0..pods {
                let other = (drained + 1 + pod % (nodes - 1)) % nodes;
                let guest = format!("guest{drained}-{pod}");
                self.delete(at, drained, &format!("{pod}"));
                self.create(at, other, &guest);
                self.delete(at + every * 0.6, other, &guest);
                self.create(at + every * 0.6, drained, &format!("{pod}"));
            }
            at += every;
            drained = (drained + 1) % nodes;
        }
    }
}

/// Reads a trace.
fn parse_trace(text: &str, nodes: u32) -> Result<Vec<PodEvent>, WorkloadError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut events = Vec::new();
    for (line, row) in (2_u64..).zip(reader.deserialize::<PodEvent>()) {
        let event = row.map_err(|error| WorkloadError::Trace { line, reason: error.to_string() })?;
        if !event.at_seconds.is_finite() || event.at_seconds < 0.0 {
            let reason = format!("at_seconds is {}, not a number from 0 up", event.at_seconds);
            return Err(WorkloadError::Trace { line, reason });
        }
        if event.node >= nodes {
            return Err(WorkloadError::Node { line, node: event.node, last: nodes.saturating_sub(1) });
        }
        events.push(event);
    }
    events.sort_by(|a, b| a.at_seconds.total_cmp(&b.at_seconds));
    Ok(events)
}

/// The most pods at once on each node, over all workloads.
pub(crate) fn peaks(workloads: &[Workload], nodes: u32) -> Result<Vec<u32>, WorkloadError> {
    let mut total = vec![0_u32; usize::try_from(nodes).unwrap_or(usize::MAX)];
    for workload in workloads {
        for (sum, peak) in total.iter_mut().zip(workload.peak(nodes)?) {
            *sum = sum.saturating_add(peak);
        }
    }
    Ok(total)
}

/// Everything that happens to pods, in order of time; events at one time in the order of the workloads, deletions first.
pub(crate) fn plan(
    workloads: &[Workload],
    nodes: u32,
    duration: f64,
    random: &mut Random,
) -> Result<Vec<PodEvent>, WorkloadError> {
    let mut events = Vec::new();
    for (number, workload) in workloads.iter().enumerate() {
        events.extend(workload.events(number, nodes, duration, random)?);
    }
    events.sort_by(|a, b| {
        a.at_seconds.total_cmp(&b.at_seconds).then((a.event == PodAction::Create).cmp(&(b.event == PodAction::Create)))
    });
    Ok(events)
}
