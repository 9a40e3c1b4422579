//! The GKE story on a real API server and scheduler.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn freeboard(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freeboard"));
    command.args(arguments).env("NO_COLOR", "1");
    // `cargo xtask test` builds the controller and names its directory.
    if let Some(programs) = std::env::var_os("FREEBOARD_PROGRAMS") {
        command.env("FREEBOARD_CONTROLLER", Path::new(&programs).join("freeboard-controller"));
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn two_nodes_fill_the_range_and_the_third_joins_when_another_is_added() {
    let output = freeboard(&["demo", "gke", "--kubernetes", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), said(&output));
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["ok"], true, "{facts:#}");
    let blocks: Vec<&Value> = facts["blocks"].as_object().unwrap().values().collect();
    assert_eq!(blocks, [&json!("10.0.0.0/27"), &json!("10.0.0.32/27")]);

    let events = facts["events"].as_array().unwrap();
    let of = |reason: &str| events.iter().filter(|event| event["reason"] == reason).collect::<Vec<_>>();
    let said_by_the_scheduler = of("FailedScheduling");
    assert_eq!(said_by_the_scheduler.len(), 2, "{events:#?}");
    for event in said_by_the_scheduler {
        assert_eq!((&event["type"], &event["from"]), (&json!("Warning"), &json!("default-scheduler")));
        assert!(event["message"].as_str().unwrap().contains("Too many pods"), "{event}");
    }
    assert!(of("FailedScaleUp")[0]["message"].as_str().unwrap().contains("IP space exhausted"), "{events:#?}");
    let until = &facts["annotations"]["cloud.google.com/cluster_autoscaler_unhelpable_until"];
    assert_eq!(until, "Inf");

    let refusal = facts["refusal"].as_str().unwrap();
    for figure in ["RangeExhausted", "pod-range 10.0.0.0/26", "2 of 2 blocks of /27", "add a range (PodRange)"] {
        assert!(refusal.contains(figure), "{figure:?} is not in {refusal:?}");
    }
    assert_eq!(facts["block_of_the_third"], "192.168.4.0/27");
}

#[test]
fn without_the_programs_of_kubernetes_the_command_that_makes_them_is_named() {
    let output = freeboard(&["demo", "gke", "--kubernetes"]).env_remove("FREEBOARD_TOOLS").output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("cargo xtask demo gke --kubernetes"), "{}", said(&output));
    let output = freeboard(&["demo", "eks", "--kubernetes"]).output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("--kubernetes is for the GKE story"), "{}", said(&output));
}
