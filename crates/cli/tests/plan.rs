//! `freeboard plan` as people meet it: both seeds' stories, carried out on the simulated cloud, and what cannot be had.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{freeboard_in, here, serve, text};
use freeboard_kubernetes::resources::Expansion;
use freeboard_vpc_server::Announcement;
use serde_json::{Value, json};

fn freeboard(arguments: &[&str]) -> Output {
    freeboard_in("tests/dumps", arguments)
}

fn value(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(output), String::from_utf8_lossy(&output.stderr)))
}

/// A shell in which the aws CLI knows this server and nothing else.
fn shell(script: &str, directory: &Path, announcement: &Announcement) -> Output {
    let python =
        std::env::var_os("FREEBOARD_PYTHON").map_or_else(|| here("../../.cache/python/bin/python"), PathBuf::from);
    assert!(python.exists(), "{} is missing: run `cargo xtask tools`", python.display());
    let python = std::path::absolute(python).unwrap();
    Command::new("/bin/bash")
        .arg("-c")
        .arg(script)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", python.parent().unwrap().display()))
        .env("AWS_ENDPOINT_URL_EC2", format!("http://{}", announcement.ec2))
        .env("AWS_DEFAULT_REGION", &announcement.region)
        .env("AWS_ACCESS_KEY_ID", "AKIAFREEBOARDTESTS00")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .env("AWS_MAX_ATTEMPTS", "1")
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}\n{}", text(output), String::from_utf8_lossy(&output.stderr));
}

const COLLECT: &str = "set -e; for what in vpcs subnets network-interfaces instances route-tables vpc-peering-connections; do \
                       aws ec2 describe-$what --output json > $what.json; done";

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_of_the_first_seed_carried_out_by_the_aws_cli_gives_what_it_promised() {
    let (server, announcement) = serve().await;
    let directory = tempfile::tempdir().unwrap();
    let before = directory.path().join("before");
    fs::create_dir(&before).unwrap();
    let dump = before.to_string_lossy().into_owned();
    let script = tokio::task::spawn_blocking({
        let (announcement, before) = (announcement.clone(), before.clone());
        move || {
            done(&shell(COLLECT, &before, &announcement));
            let plan = value(&freeboard(&["plan", &dump, "--add-cidr", "auto", "-o", "json"]));
            let way = &plan["plan"]["ways"][0];
            assert_eq!(way["expansion"]["block"], "100.64.0.0/20", "{plan:#}");
            let subnets = way["expansion"]["subnets"].as_array().unwrap();
            let pair = |one: &Value| (one["zone"].clone(), one["cidr"].clone());
            assert_eq!(
                subnets.iter().map(pair).collect::<Vec<_>>(),
                [
                    (json!("ap-southeast-2a"), json!("100.64.1.0/24")),
                    (json!("ap-southeast-2b"), json!("100.64.2.0/24"))
                ]
            );
            let most = way["max_pods"].as_array().unwrap().iter();
            let most: Vec<_> = most.map(|one| json!([one["instance_type"], one["before"], one["after"]])).collect();
            assert_eq!(most, [json!(["t3.medium", 17, 12]), json!(["t3.small", 11, 8])]);
            is_an_expansion(&freeboard(&["plan", &dump, "--add-cidr", "auto", "--export", "expansion"]));
            let script = freeboard(&["plan", &dump, "--add-cidr", "auto", "--export", "aws"]);
            done(&script);
            text(&script)
        }
    })
    .await
    .unwrap();
    let after = directory.path().to_owned();
    tokio::task::spawn_blocking(move || {
        done(&shell(&script, &after, &announcement));
        done(&shell(COLLECT, &after, &announcement));
        // The ids that this world gives to these two blocks are the seed's.
        let configs = fs::read_to_string(after.join("freeboard-eniconfigs.yaml")).unwrap();
        for id in ["subnet: subnet-04a932dfaf2e3c8f3", "subnet: subnet-0aca140a7597f7cb0", "name: \"ap-southeast-2b\""]
        {
            assert!(configs.contains(id), "{configs}");
        }
        let read =
            |file: &str| -> Value { serde_json::from_str(&fs::read_to_string(after.join(file)).unwrap()).unwrap() };
        let subnets = read("subnets.json");
        let made: Vec<&Value> = subnets["Subnets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["CidrBlock"].as_str().unwrap().starts_with("100.64."))
            .collect();
        assert_eq!(made.len(), 2);
        assert!(made.iter().all(|one| one["AvailableIpAddressCount"] == 251), "{made:#?}");
        // The new subnets have the route table of the nodes' subnets.
        let tables = read("route-tables.json");
        let public =
            tables["RouteTables"].as_array().unwrap().iter().find(|one| one["RouteTableId"] == "rtb-0f9e8d7c6b5a41302");
        assert_eq!(public.unwrap()["Associations"].as_array().unwrap().len(), 4, "{tables:#}");
        // Done is done: EC2 would refuse the same block again, and the plan knows.
        let again = freeboard(&["plan", &after.to_string_lossy(), "--add-cidr", "100.64.0.0/20"]);
        assert_eq!(again.status.code(), Some(1));
        let words = text(&again).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("overlaps 100.64.0.0/20, which the VPC has already"), "{words}");
    })
    .await
    .unwrap();
    server.with_cloud(|cloud, _| cloud.audit().unwrap());
    server.shutdown().await;
}

/// What the controller takes is what was planned, and waits to be approved.
fn is_an_expansion(output: &Output) {
    let object: Expansion = serde_saphyr::from_str(&text(output)).unwrap();
    assert_eq!(object.metadata.name.as_deref(), Some("pods-100-64-0-0-20"));
    assert_eq!((object.spec.block.as_str(), object.spec.approved), ("100.64.0.0/20", false));
    let subnets: Vec<_> = object.spec.subnets.iter().map(|one| (one.zone.as_str(), one.cidr.as_str())).collect();
    assert_eq!(subnets, [("ap-southeast-2a", "100.64.1.0/24"), ("ap-southeast-2b", "100.64.2.0/24")]);
    assert_eq!(object.spec.subnets[0].route_table.as_deref(), Some("rtb-0f9e8d7c6b5a41302"));
}

#[test]
fn the_export_for_eksctl_is_a_cluster_config_with_keys_that_eksctl_has() {
    let exported = text(&freeboard(&["plan", "eks", "--export", "eksctl"]));
    let config: Value = serde_saphyr::from_str(&exported).unwrap();
    assert_eq!((&config["apiVersion"], &config["kind"]), (&json!("eksctl.io/v1alpha5"), &json!("ClusterConfig")));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(
        keys(&config)
            .iter()
            .all(|key| ["apiVersion", "kind", "metadata", "addons", "managedNodeGroups"].contains(&key.as_str()))
    );
    let group = &config["managedNodeGroups"][0];
    let known =
        ["name", "instanceType", "availabilityZones", "desiredCapacity", "minSize", "maxSize", "maxPodsPerNode"];
    assert!(keys(group).iter().all(|key| known.contains(&key.as_str())), "{group:#}");
    assert_eq!((&group["instanceType"], &group["maxPodsPerNode"]), (&json!("m5.large"), &json!(20)));
    let values: Value = serde_saphyr::from_str(config["addons"][0]["configurationValues"].as_str().unwrap()).unwrap();
    assert_eq!(values["env"]["AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG"], "true");
    let zone = &values["eniConfig"]["subnets"]["ap-southeast-2a"];
    assert_eq!(zone, &json!({ "id": "<id of 100.64.4.0/22>", "securityGroups": ["sg-0c7e5b3a1f9d24680"] }));
}

#[test]
fn the_eight_pools_of_the_second_seed_are_assigned_together() {
    let output = freeboard(&["plan", "gke", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let plan = value(&output);
    assert_eq!(plan["shortfalls"][0]["pool"], "nodepool-3", "{plan:#}");
    assert_eq!(plan["shortfalls"][0]["fails_at_node"], 17);
    assert_eq!(plan["assignment"]["missing_addresses"], 0);
    let script = text(&freeboard(&["plan", "gke", "--export", "gcloud"]));
    let moved = script.lines().find(|line| line.contains("create nodepool-3 ")).unwrap();
    assert!(moved.contains("--cluster demo-ip --location australia-southeast1-b"), "{script}");
    assert!(script.contains("--pod-ipv4-range=pods-a"), "{script}");
}

#[test]
fn pools_that_do_not_fit_are_told_with_the_smallest_range_that_would_do() {
    let output = freeboard(&["plan", "gke", "--add-pool", "batch:110:300"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output);
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("addresses are missing"), "{shown}");
    let flag = words.split_whitespace().skip_while(|word| *word != "--add-range").nth(1).unwrap().trim_end_matches('.');
    let mended = freeboard(&["plan", "gke", "--add-pool", "batch:110:300", "--add-range", flag]);
    assert_eq!(mended.status.code(), Some(0), "{flag}: {}", text(&mended));
    let script =
        text(&freeboard(&["plan", "gke", "--add-pool", "batch:110:300", "--add-range", flag, "--export", "gcloud"]));
    assert!(script.contains(&format!("--add-secondary-ranges={flag}")), "{script}");
}

#[test]
fn bad_wishes_are_refused_by_name_and_value() {
    for (arguments, expected) in [
        (&["plan"][..], "name what to look at"),
        (&["plan", "gke", "--add-pool", "x:7:1"], "with 8 to 256 pods"),
        (&["plan", "gke", "--add-range", "more=10.0.128.0/20"], "it overlaps 10.0.128.0/17 (pods-a)"),
        (&["plan", "gke", "--add-cidr", "10.0.0.1/24"], "did you mean 10.0.0.0/24"),
        (&["plan", "--types", "t3.mediun"], "no instance type of 1391 has \"t3.mediun\" in its name"),
        (&["plan", "no-such-directory"], "cannot read no-such-directory"),
    ] {
        let output = freeboard(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn max_pods_of_every_type_are_those_of_eks() {
    let types = value(&freeboard(&["plan", "--types", "", "-o", "json"]));
    let types = types.as_array().unwrap();
    assert_eq!(types.len(), 1_391);
    for (name, expected) in [
        ("t2.micro", json!([4, 3, null, null])),
        ("t3.small", json!([11, 8, 110, 98])),
        ("t3.medium", json!([17, 12, 110, 110])),
        ("m5.large", json!([29, 20, 110, 110])),
        ("m5.4xlarge", json!([234, 205, 110, 110])),
        ("m5.8xlarge", json!([234, 205, 250, 250])),
        ("m5.24xlarge", json!([737, 688, 250, 250])),
    ] {
        let most = &types.iter().find(|one| one["instance_type"] == name).unwrap()["max_pods"];
        let row = ["addresses", "custom_networking", "prefixes", "prefixes_and_custom_networking"]
            .map(|key| most[key].clone());
        assert_eq!(json!(row), expected, "{name}");
    }
    let shown = text(&freeboard(&["plan", "--types", "t3."]));
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}
