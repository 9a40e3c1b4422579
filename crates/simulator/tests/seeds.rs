//! Thousands of seeds of mixed workloads and faults, with every invariant after every step.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test that cannot go on fails")]

use freeboard_simulator::{FaultSettings, Run, Scenario};

/// Scenarios that seeds are dealt over: small, so that many seeds fit in a minute.
const MIXED: &str = r#"
name: mixed
world:
  vpc_cidr: 10.0.0.0/16
  subnets:
    - { cidr: 10.0.0.0/26, nodes: true }
    - { cidr: 10.0.1.0/26, tags: { kubernetes.io/role/cni: "1" } }
  throttling: true
nodes: { count: 2, instance_type: t3.small }
pool: { warm_ip_target: 2, minimum_ip_target: 3, cooldown_seconds: 30 }
workloads:
  - { kind: steady, pods_per_node: 5, lifetime_seconds: 60 }
  - { kind: stateful-set, pods_per_node: 2, restart_seconds: 70 }
duration_seconds: 300
settle_seconds: 400
sample_seconds: 60
"#;

const BURSTS: &str = r#"
name: bursts
world:
  subnets:
    - { cidr: 10.0.0.0/27, nodes: true }
    - { cidr: 10.0.1.0/27, tags: { kubernetes.io/role/cni: "1" } }
nodes: { count: 2, instance_type: t3.medium }
workloads:
  - { kind: bursts, pods_per_node: 10, every_seconds: 120, lifetime_seconds: 60 }
duration_seconds: 300
settle_seconds: 400
sample_seconds: 60
"#;

const PREFIXES: &str = r#"
name: prefixes
world:
  subnets:
    - { cidr: 10.0.0.0/25, nodes: true }
    - { cidr: 10.0.1.0/25, tags: { kubernetes.io/role/cni: "1" } }
nodes: { count: 2, instance_type: t3.small }
pool: { mode: prefixes, warm_prefix_target: 1 }
workloads:
  - { kind: rolling-restart, pods_per_node: 12, surge: 3, step_seconds: 20 }
  - { kind: drain, pods_per_node: 4, every_seconds: 90 }
duration_seconds: 300
settle_seconds: 400
sample_seconds: 60
"#;

const CHURN: &str = r#"
name: churn-at-the-limit
world:
  subnets:
    - { cidr: 10.0.0.0/26, nodes: true }
nodes: { count: 2, instance_type: t3.small }
pool: { warm_eni_target: 0 }
workloads:
  - { kind: churn, pods_per_node: 9, replaced_per_second: 0.1 }
duration_seconds: 300
settle_seconds: 400
sample_seconds: 60
"#;

fn scenario(text: &str, rate: f64) -> Scenario {
    let mut scenario = Scenario::parse(text).unwrap();
    scenario.faults = FaultSettings::all(rate, true);
    scenario
}

/// Seeds of one part of a scenario; the parts run beside each other.
fn hold(text: &str, rate: f64, seeds: std::ops::Range<u64>) {
    let scenario = scenario(text, rate);
    let failures: Vec<String> = seeds
        .filter_map(|seed| Run::new(&scenario, seed).unwrap().finish().err())
        .map(|failure| failure.to_string())
        .collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn mixed_load_with_faults_keeps_every_invariant() {
    hold(MIXED, 20.0, 0..600);
}

#[test]
fn bursts_with_faults_keep_every_invariant() {
    hold(BURSTS, 20.0, 0..500);
}

#[test]
fn prefixes_with_faults_keep_every_invariant() {
    hold(PREFIXES, 20.0, 0..500);
}

#[test]
fn churn_at_the_limit_with_faults_keeps_every_invariant() {
    hold(CHURN, 20.0, 0..500);
}

#[test]
fn one_seed_run_twice_gives_the_same_trace_to_the_byte() {
    for text in [MIXED, BURSTS, PREFIXES, CHURN] {
        let scenario = scenario(text, 30.0);
        let trace = || {
            let mut run = Run::new(&scenario, 7).unwrap();
            let mut lines = String::new();
            while let Some(step) = run.step() {
                lines.push_str(&step.line());
                lines.push('\n');
            }
            lines
        };
        let first = trace();
        assert!(first.lines().count() > 500, "{} steps", first.lines().count());
        assert!(first == trace(), "{} differs from itself", scenario.name);
    }
}
