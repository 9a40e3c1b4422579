//! Scenarios as text: what is refused, and how; replays; traces; known figures.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test that cannot go on fails")]

use freeboard_simulator::{Replay, Run, Scenario};

const SMALL: &str = r#"
name: small
nodes: { count: 1, instance_type: t3.small }
workloads:
  - { kind: steady, pods_per_node: 3, lifetime_seconds: 60 }
duration_seconds: 120
"#;

fn refused(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    Scenario::parse(&SMALL.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn a_scenario_that_makes_no_sense_is_refused_by_name_before_it_starts() {
    for (from, to, parts) in [
        ("name: small", "name: small\ncolour: red", vec!["colour"]),
        ("duration_seconds: 120", "duration_seconds: -1", vec!["duration_seconds is -1", "from 0"]),
        ("count: 1", "count: 0", vec!["nodes.count is 0", "at least 1"]),
        ("t3.small", "t3.smal", vec!["nodes.instance_type is t3.smal", "t3.small"]),
        ("lifetime_seconds: 60", "lifetime_seconds: 0", vec!["lifetime_seconds is 0", "above 0"]),
        ("pods_per_node: 3", "pods_per_node: 30", vec!["30 pods at once on node 0", "carry 9", "lower the pods"]),
        ("duration_seconds: 120", "duration_seconds: 120\nfaults: { per_hour: { crash: -2 } }", vec!["Crash is -2"]),
        (
            "duration_seconds: 120",
            "duration_seconds: 120\npool: { mode: prefixes, warm_prefix_target: 0 }",
            vec!["warm_prefix_target is 0", "at least one"],
        ),
        (
            "duration_seconds: 120",
            "duration_seconds: 120\nworld: { subnets: [{ cidr: 10.0.0.0/28, taken_by_others: 9 }] }",
            vec!["3 pods at once", "1 addresses", "add a subnet"],
        ),
    ] {
        let message = refused(from, to);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

#[test]
fn a_quiet_run_serves_every_pod_and_settles() {
    let summary = Run::new(&Scenario::parse(SMALL).unwrap(), 1).unwrap().finish().unwrap();
    assert!(summary.time_to_address.count >= 3, "{summary:?}");
    assert_eq!(summary.waiting_at_end, 0);
    assert!(summary.calls["DescribeNetworkInterfaces"] > 0);
    assert!(summary.samples.len() > 10);
}

#[test]
fn a_trace_is_followed_and_a_bad_line_is_named() {
    let csv = "at_seconds,node,event,pod\\n0,0,create,a\\n1.5,0,create,b\\n30,0,delete,a\\n";
    let text = SMALL.replace(
        "{ kind: steady, pods_per_node: 3, lifetime_seconds: 60 }",
        &format!("{{ kind: trace, csv: \"{csv}\" }}"),
    );
    let summary = Run::new(&Scenario::parse(&text).unwrap(), 1).unwrap().finish().unwrap();
    assert_eq!(summary.time_to_address.count, 2);
    assert_eq!(summary.samples.last().unwrap().used, 1);
    for (bad, part) in
        [("1.5,0,create", "-1,0,create"), ("1.5,0,create", "1.5,7,create"), ("1.5,0,create", "1.5,0,make")]
            .map(|(from, to)| (text.replace(from, to), to))
    {
        let message = Scenario::parse(&bad).unwrap_err().to_string();
        assert!(message.contains("trace line 3"), "{part}: {message}");
    }
}

#[test]
fn a_replay_shows_a_step_its_state_and_what_it_changed() {
    let replay = Replay::new(Scenario::parse(SMALL).unwrap(), 5);
    let text = replay.text().unwrap();
    let again = Replay::parse(&text).unwrap();
    assert_eq!(again, replay);
    let shown = again.until(20).unwrap();
    assert_eq!(shown.step.number, 20);
    assert_eq!(shown, again.until(20).unwrap());
    assert!(shown.state.keys().any(|name| name.contains("eni-")), "{:?}", shown.state);
    let changes = (2..60).filter(|step| !again.until(*step).unwrap().diff.is_empty()).count();
    assert!(changes > 5, "{changes}");
    assert!(again.until(1_000_000).unwrap_err().to_string().contains("no step 1000000"));
}

#[test]
fn a_replay_of_another_version_or_cut_short_is_refused() {
    let text = Replay::new(Scenario::parse(SMALL).unwrap(), 5).text().unwrap();
    let other = text.replace("freeboard-replay/1", "freeboard-replay/9");
    let message = Replay::parse(&other).unwrap_err().to_string();
    assert!(message.contains("freeboard-replay/9") && message.contains("expected freeboard-replay/1"), "{message}");
    let message = Replay::parse(&text[..text.len() / 2]).unwrap_err().to_string();
    assert!(message.contains("cut short"), "{message}");
}
