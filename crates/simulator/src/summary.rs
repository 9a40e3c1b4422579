//! What a run brought: figures over time, how long pods waited, and what was asked of EC2.

use std::collections::BTreeMap;

use freeboard_pool::Cause;
use jiff::SignedDuration;
use serde::Serialize;

use crate::run::Run;

/// Addresses and pods at one moment, over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the start.
    pub at_seconds: f64,
    /// Addresses that the pools hold for pods; the interfaces' own are not among them.
    pub held: u32,
    /// Those of them that pods have.
    pub used: u32,
    /// Those of them that cool down.
    pub cooling: u32,
    /// Those of them that nobody has.
    pub free: u32,
    /// Pods that are wanted and have no address.
    pub waiting: u32,
    /// Interfaces in the cloud's books that the pools manage.
    pub interfaces: u32,
}

/// How long pods waited from when they were wanted to their address, retries included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TimeToAddress {
    /// Pods that got one.
    pub count: usize,
    /// Half of them waited at most so long, in seconds.
    pub p50: f64,
    /// 90 % of them.
    pub p90: f64,
    /// 99 % of them.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// The result of a run in which every invariant held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Steps made.
    pub steps: u64,
    /// Simulated seconds.
    pub simulated_seconds: f64,
    /// Nodes.
    pub nodes: usize,
    /// How long pods waited.
    pub time_to_address: TimeToAddress,
    /// Requests to EC2 by action, those that were refused included.
    pub calls: BTreeMap<&'static str, u64>,
    /// Requests that EC2 refused, by action and code.
    pub refused_calls: BTreeMap<String, u64>,
    /// ADDs that were refused, by cause.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Figures over time.
    pub samples: Vec<Sample>,
    /// The most addresses held at once, of the samples.
    pub most_held: u32,
    /// Idle address-seconds: held and used by no pod, integrated over the samples.
    pub idle_address_seconds: f64,
    /// When the last pod got its first address, in seconds since the start.
    pub last_served_seconds: f64,
    /// Pods that wait at the end.
    pub waiting_at_end: u32,
}

/// What is gathered while a run is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    samples: Vec<Sample>,
    waited: Vec<SignedDuration>,
    calls: BTreeMap<&'static str, u64>,
    refused_calls: BTreeMap<String, u64>,
    refusals: BTreeMap<&'static str, u64>,
}

impl Series {
    pub(crate) fn count_call(&mut self, action: &'static str) {
        *self.calls.entry(action).or_default() += 1;
    }

    pub(crate) fn count_refusal(&mut self, action: &str, code: &str) {
        *self.refused_calls.entry(format!("{action} {code}")).or_default() += 1;
    }

    pub(crate) fn served(&mut self, waited: SignedDuration) {
        self.waited.push(waited);
    }

    pub(crate) fn refused(&mut self, cause: Cause) {
        *self.refusals.entry(cause.as_str()).or_default() += 1;
    }
}

impl Run {
    /// Figures at this moment.
    #[must_use]
    pub fn figures(&self) -> Sample {
        let mut sample = Sample { at_seconds: self.elapsed(), ..Sample::default() };
        for node in &self.nodes {
            let live = |key: &freeboard_address::AttachmentKey| {
                node.sandboxes.get(key).is_some_and(|sandbox| sandbox.state == crate::node::SandboxState::Live)
            };
            let waiting =
                node.pods.values().filter(|pod| pod.wanted && !pod.sandbox.as_ref().is_some_and(live)).count();
            sample.waiting += u32::try_from(waiting).unwrap_or(u32::MAX);
            let Some(pool) = &node.pool else { continue };
            let view = pool.view();
            sample.held += view.tally.total;
            sample.used += view.tally.assigned;
            sample.cooling += view.tally.cooling;
            sample.free += view.tally.free;
            sample.interfaces += u32::try_from(view.interfaces.len()).unwrap_or(u32::MAX);
        }
        sample
    }

    fn elapsed(&self) -> f64 {
        self.now.duration_since(self.start).as_secs_f64()
    }

    pub(crate) fn sample(&mut self) {
        let sample = self.figures();
        self.series.samples.push(sample);
    }

    pub(crate) fn summary(mut self) -> Summary {
        self.sample();
        let elapsed = self.elapsed();
        let series = self.series;
        let mut waited: Vec<f64> = series.waited.iter().map(|wait| wait.as_secs_f64()).collect();
        waited.sort_by(f64::total_cmp);
        let idle = series.samples.windows(2).map(|pair| match pair {
            [one, next] => f64::from(one.held.saturating_sub(one.used)) * (next.at_seconds - one.at_seconds),
            _ => 0.0,
        });
        let settled = series.samples.iter().rev().take_while(|sample| sample.waiting == 0).last();
        Summary {
            scenario: self.scenario.name,
            seed: self.seed,
            steps: self.steps,
            simulated_seconds: elapsed,
            nodes: self.nodes.len(),
            time_to_address: percentiles(&waited),
            calls: series.calls,
            refused_calls: series.refused_calls,
            refusals: series.refusals,
            most_held: series.samples.iter().map(|sample| sample.held).max().unwrap_or(0),
            idle_address_seconds: idle.sum(),
            last_served_seconds: settled.map_or(elapsed, |sample| sample.at_seconds),
            waiting_at_end: series.samples.last().map_or(0, |sample| sample.waiting),
            samples: series.samples,
        }
    }
}

fn percentiles(sorted: &[f64]) -> TimeToAddress {
    let at = |share: f64| {
        let index = ((sorted.len() as f64) * share).ceil() as usize;
        sorted.get(index.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    TimeToAddress { count: sorted.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
}
