//! The GKE story as a person and a machine see it, and objects as gcloud shows them.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn world() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../worlds/gke-demo.yaml")
}

fn freeboard(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freeboard"));
    // No test asks the cluster of whoever runs it.
    command.env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST").env("HOME", "/nonexistent");
    command.args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = freeboard(arguments);
    assert!(!output.status.success(), "{arguments:?} should be refused");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_story_has_five_acts_within_80_columns_and_no_colour_when_none_is_wanted() {
    let story = text(&freeboard(&["demo", "gke"]));
    for act in ["\n1. ", "\n2. ", "\n3. ", "\n4. ", "\n5. "] {
        assert!(story.contains(act), "no act {act:?} in:\n{story}");
    }
    let wide: Vec<&str> = story.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(wide, Vec::<&str>::new());
    assert!(!story.contains('\u{1b}') && !story.contains("✗ the"), "{story}");
    for said in ["Age", "42s (x2 over 102s)", "97s", "53s", "IP space exhausted", "✗ fails at 17", "[RangeExhausted]"]
    {
        assert!(story.contains(said), "{said:?} is not in:\n{story}");
    }
}

#[test]
fn the_facts_of_the_story_are_the_figures_of_the_seed() {
    let facts: Value = serde_json::from_str(&text(&freeboard(&["demo", "gke", "--json"]))).unwrap();
    assert_eq!(facts["ok"], true, "{facts:#}");
    assert_eq!(facts["pod_ipv4_cidr_size"], 27);
    assert_eq!(facts["blocks"], json!(["10.0.0.0/27", "10.0.0.32/27"]));

    let events = facts["events"].as_array().unwrap();
    let of = |field: &str| events.iter().map(|event| event[field].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("reason"), ["TriggeredScaleUp", "FailedScaleUp", "FailedScheduling", "NotTriggerScaleUp"]);
    assert_eq!(of("type"), ["Normal", "Warning", "Warning", "Normal"]);
    assert_eq!(of("age"), ["97s", "53s", "42s (x2 over 102s)", "42s"]);
    assert_eq!(of("from"), ["cluster-autoscaler", "cluster-autoscaler", "default-scheduler", "cluster-autoscaler"]);
    let note = &facts["annotations"]["cloud.google.com/cluster_autoscaler_unhelpable_since"];
    assert_eq!(note, "2023-11-03T07:07:42+0000");

    let exhausted = &facts["exhausted"];
    let found = [&exhausted["range"], &exhausted["cidr"], &exhausted["subnetwork"]];
    assert_eq!(found, ["pod-range", "10.0.0.0/26", "cluster"]);
    let figures = [&exhausted["blocks"], &exhausted["free_blocks"], &exhausted["utilization"]];
    assert_eq!(figures, [&json!(2), &json!(0), &json!(1.0)]);

    for way in facts["three_ways"].as_array().unwrap() {
        assert_eq!((&way["nodes_of_the_old_pool"], &way["nodes_of_the_new_pool"]), (&json!(2), &json!(1)), "{way}");
    }

    let pools = &facts["eight_pools"];
    let (a, b, c) = ("10.0.128.0/17", "192.168.4.0/22", "192.168.0.0/22");
    assert_eq!(pools["max_nodes"], json!([7, 16, 27, 40, 55, 72, 91, 112]));
    assert_eq!(pools["by_gke"], json!([a, b, c, a, a, a, a, a]));
    let shortfalls = pools["shortfalls"].as_array().unwrap();
    assert_eq!(shortfalls.len(), 1);
    let coming = [&shortfalls[0]["fails_at_node"], &pools["spare_blocks_elsewhere"], &pools["total_nodes"]];
    assert_eq!(coming, [&json!(17), &json!(135), &json!(420)]);
    assert_eq!((&shortfalls[0]["pool"], &pools["assignment"]["missing_addresses"]), (&json!("nodepool-3"), &json!(0)));
    assert_eq!(pools["by_freeboard"][2], a, "27 nodes fit on the /17 only");

    let nodes = facts["own_way"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 7);
    let ranges: Vec<&str> = nodes.iter().map(|node| node["range"].as_str().unwrap()).collect();
    assert_eq!(ranges, ["pod-range", "pod-range", "pods-b", "pods-b", "pods-b", "pods-b", "pods-b"]);
}

#[test]
fn the_story_is_the_same_every_time() {
    let (first, second) = (freeboard(&["demo", "gke", "--json"]), freeboard(&["demo", "gke", "--json"]));
    assert_eq!(text(&first), text(&second));
}

#[test]
fn objects_are_described_as_the_seed_shows_them() {
    let world = world();
    let world = world.to_str().unwrap();
    let subnet =
        ["vpc", "describe", "subnet", "cluster", "--world", world, "--fields", "ipCidrRange,secondaryIpRanges"];
    let expected = "\
ipCidrRange: 10.1.0.0/16
secondaryIpRanges:
- ipCidrRange: 10.0.0.0/26
  rangeName: pod-range
- ipCidrRange: 172.16.0.0/20
  rangeName: svc-range
";
    assert_eq!(text(&freeboard(&subnet)), expected);
    let fields = "maxPodsConstraint,networkConfig,podIpv4CidrSize";
    let pool = [
        "vpc",
        "describe",
        "node-pool",
        "original-nodepool",
        "--cluster",
        "demo-ip",
        "--world",
        world,
        "--fields",
        fields,
    ];
    let expected = "\
maxPodsConstraint:
  maxPodsPerNode: '16'
networkConfig:
  enablePrivateNodes: false
  podIpv4CidrBlock: 10.0.0.0/26
  podIpv4RangeUtilization: 1.0
  podRange: pod-range
podIpv4CidrSize: 27
";
    assert_eq!(text(&freeboard(&pool)), expected);
    let cluster = ["vpc", "describe", "cluster", "demo-ip", "--world", world, "--format", "json"];
    let cluster: Value = serde_json::from_str(&text(&freeboard(&cluster))).unwrap();
    assert_eq!((&cluster["currentNodeCount"], &cluster["location"]), (&json!(2), &json!("australia-southeast1-b")));
}

#[test]
fn what_cannot_be_described_is_named_with_what_there_is() {
    let world = world();
    let world = world.to_str().unwrap();
    let describe = |rest: &[&str]| refusal(&[&["vpc", "describe"], rest, &["--world", world]].concat());
    let message = describe(&["subnet", "nowhere"]);
    assert!(message.contains("no subnetwork nowhere; there are cluster"), "{message}");
    let message = describe(&["subnet", "cluster", "--region", "mars-north1"]);
    assert!(message.contains("no subnetwork cluster in mars-north1"), "{message}");
    let message = describe(&["node-pool", "x", "--cluster", "demo-ip"]);
    assert!(message.contains("no node pool x; there are original-nodepool"), "{message}");
    let message = describe(&["subnet", "cluster", "--fields", "colour"]);
    assert!(message.contains("no field colour") && message.contains("ipCidrRange"), "{message}");
    let message = refusal(&["vpc", "describe", "cluster", "x", "--endpoint", "127.0.0.1:1"]);
    assert!(message.contains("127.0.0.1:1") && message.contains("serve-google"), "{message}");
    let message = refusal(&["demo", "gke", "--keep"]);
    assert!(message.contains("--keep"), "{message}");
}
