//! `freeboard status` and `freeboard explain` on dumps and on the simulated EC2.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod common;

use std::process::Output;

use common::{freeboard_in, serve, text, words};
use serde_json::{Value, json};

fn freeboard(arguments: &[&str]) -> Output {
    freeboard_in("../evidence/tests/dumps", arguments)
}

#[test]
fn the_tree_of_the_first_seed_has_the_figures_of_its_screenshot() {
    let output = freeboard(&["status", "broken/eks-seed"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output);
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    for line in [
        "├─ PrivateSubnet01          10.0.186.0/27       18.75 %",
        "└─ PublicSubnet02           10.0.224.0/27      100.00 %",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(shown.contains("10.0.0.0/16          0.20 %"), "{shown}");
    let words = words(&output);
    assert!(words.contains("✗ ap-southeast-2a · full · 1 pod waiting"), "{shown}");
    assert!(words.contains("2 pods wait for an address."), "{shown}");
    assert!(
        words.contains("test/alpine-curl-648f8f669c-wltzt SubnetExhausted, PublicSubnet01 10.0.208.0/27"),
        "{shown}"
    );
}

#[test]
fn programs_get_json_and_yaml_with_the_same_figures() {
    let json: Value = serde_json::from_str(&text(&freeboard(&["status", "broken/eks-seed", "-o", "json"]))).unwrap();
    let yaml: Value = serde_saphyr::from_str(&text(&freeboard(&["status", "broken/eks-seed", "-o", "yaml"]))).unwrap();
    assert_eq!(json, yaml);
    let full = &json["ranges"][0]["inside"][2];
    assert_eq!(
        (&full["name"], &full["free_addresses"], &full["waiting"]),
        (&json!("PublicSubnet01"), &json!(0), &json!(1))
    );
    assert_eq!(full["usage"], json!({ "used": 32, "size": 32 }));
}

#[test]
fn a_healthy_cluster_has_nothing_full_and_no_pod_waiting() {
    for dump in ["healthy/agent", "healthy/custom-networking", "healthy/gke"] {
        let output = freeboard(&["status", dump]);
        assert_eq!(output.status.code(), Some(0), "{dump}: {}", text(&output));
    }
    let output = freeboard(&["status", "healthy/gke"]);
    assert!(words(&output).contains("No pod is known to wait"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_ec2_is_asked_itself() {
    let (server, announcement) = serve().await;
    let url = format!("http://{}", announcement.ec2);
    let output =
        tokio::task::spawn_blocking(move || freeboard(&["status", "--ec2", &url, "-o", "json"])).await.unwrap();
    let status: Value = serde_json::from_str(&text(&output)).unwrap();
    let subnets = status["ranges"][0]["inside"].as_array().unwrap();
    let public = subnets.iter().find(|one| one["cidr"] == "10.0.208.0/27").unwrap();
    assert_eq!(public["free_addresses"], 24, "{public:#}");
    assert_eq!(public["fits"], json!([{ "count": 24, "of": "pods" }, { "count": 1, "of": "full t3.medium" }]));
    assert_eq!(public["largest_free_length"], 30);
    assert_eq!(status["nodes"].as_array().unwrap().len(), 6);
    server.shutdown().await;
}

#[test]
fn a_waiting_pod_is_explained_from_the_symptom_to_the_remedy() {
    let output = freeboard(&["explain", "pod", "alpine-curl-648f8f669c-wltzt", "broken/eks-seed"]);
    assert_eq!(output.status.code(), Some(1));
    let words = words(&output);
    let order = [
        "test/alpine-curl-648f8f669c-wltzt has no address",
        "Its state is ContainerCreating; it is on node ip-10-0-208-27",
        "failed to assign an IP address to container",
        "SubnetExhausted, PublicSubnet01 10.0.208.0/27: 27 of 27 usable addresses are taken.",
        "ipamd.log:",
        "PrivateSubnet01 (10.0.186.0/27) in the same zone has 26 addresses free",
        "throttling",
        "aws ec2 create-tags --resources subnet-0bae4d2bf017995b8",
    ];
    let mut rest = words.as_str();
    for said in order {
        let (_, after) = rest
            .split_once(said)
            .unwrap_or_else(|| panic!("{said:?} is missing, or out of order, in\n{}", text(&output)));
        rest = after;
    }
}

#[test]
fn a_pod_with_an_address_is_told_its_range() {
    let output = freeboard(&["explain", "pod", "web-0", "healthy/custom-networking"]);
    let said = text(&output) + &String::from_utf8_lossy(&output.stderr);
    // The dump holds no pods: that is said, with what would help.
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("kubectl get pods"), "{said}");
}

#[test]
fn a_range_is_explained_by_its_name_its_id_and_its_block() {
    for name in ["PublicSubnet01", "subnet-0cd55c38980375d58", "10.0.208.0/27"] {
        let output = freeboard(&["explain", "range", name, "broken/eks-seed"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(words(&output).contains("0 of 32 addresses free"), "{}", text(&output));
    }
    let unknown = freeboard(&["explain", "range", "PublicSubnet09", "broken/eks-seed"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there are: "), "the names are offered");
}
