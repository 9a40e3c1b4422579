//! `freeboard migrate check`: what is safe, what changes and what is not supported is told apart, with an exit code that says the worst.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod common;

use std::path::Path;
use std::process::Output;

use common::{freeboard_in, text, words};
use serde_json::{Value, json};

const SHIPPED: &str = r#"{"cniVersion":"0.4.0","name":"aws-cni","disableCheck":true,"plugins":[
    {"name":"aws-cni","type":"aws-cni","vethPrefix":"eni","mtu":"9001"},
    {"name":"egress-cni","type":"egress-cni","enabled":"false"},
    {"type":"portmap","capabilities":{"portMappings":true},"snat":true}]}"#;

fn check(arguments: &[&str]) -> Output {
    freeboard_in(".", &[&["migrate", "check"], arguments].concat())
}

fn write(directory: &Path, name: &str, content: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn daemon_set(tag: &str, environment: &[(&str, &str)]) -> String {
    let environment: Vec<Value> =
        environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "aws-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [
            {"name": "aws-node", "image": format!("amazon-k8s-cni:{tag}"), "env": environment},
        ]}}},
    })
    .to_string()
}

fn allocation(address: &str, pod: &str) -> Value {
    json!({
        "networkName": "aws-cni", "containerID": pod, "ifName": "eth0", "ipv4": address, "allocationTimestamp": 1,
        "metadata": {"k8sPodNamespace": "default", "k8sPodName": pod, "interfacesCount": 1},
    })
}

fn checkpoint(allocations: &[Value]) -> String {
    json!({"version": "vpc-cni-ipam/1", "allocations": allocations}).to_string()
}

/// A dump of a cluster that can be taken over as it is.
fn dump(environment: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "daemonset.json", &daemon_set("v1.23.2", environment));
    write(directory.path(), "node/10-aws.conflist", SHIPPED);
    write(directory.path(), "node/ipam.json", &checkpoint(&[allocation("10.0.0.7", "web-0")]));
    directory
}

fn path(directory: &tempfile::TempDir) -> String {
    directory.path().display().to_string()
}

#[test]
fn a_plain_cluster_with_a_target_is_safe() {
    let dump = dump(&[("WARM_IP_TARGET", "3"), ("ENABLE_POD_ENI", "false")]);
    let answer = check(&[&path(&dump)]);
    let said = words(&answer);
    assert_eq!(answer.status.code(), Some(0), "{said}");
    for part in [
        "version: v1.23 keeps its state where Freeboard reads it",
        "a target is set, and means what it has meant",
        "portmap is not needed",
        "1 allocations are taken on as they stand",
        "Freeboard can take over these nodes; their pods will not notice.",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(text(&answer).lines().all(|line| line.chars().count() <= 80), "{}", text(&answer));
}

#[test]
fn a_default_cluster_changes_how_much_is_kept_warm() {
    let dump = dump(&[]);
    let answer = check(&[&path(&dump)]);
    let said = words(&answer);
    assert_eq!(answer.status.code(), Some(1), "{said}");
    assert!(said.contains("! warm addresses: no target is set"), "{said}");
    assert!(said.contains("→ set FREEBOARD_POLICY=compatible"), "{said}");
}

#[test]
fn what_pods_need_and_freeboard_lacks_is_refused_by_name_and_value() {
    for (variable, value, part) in [
        ("ENABLE_POD_ENI", "true", "ENABLE_POD_ENI=\"true\" is accepted and does nothing here"),
        ("ENABLE_IPv6", "true", "ENABLE_IPv6=\"true\": expected false"),
        ("WARM_IP_TARGET", "many", "WARM_IP_TARGET=\"many\": expected a whole number"),
    ] {
        let dump = dump(&[(variable, value)]);
        let answer = check(&[&path(&dump)]);
        let said = words(&answer);
        assert_eq!(answer.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{part:?} in {said}");
        assert!(said.contains("Keep the Amazon VPC CNI until"), "{said}");
    }
}

#[test]
fn an_old_version_and_a_chained_plugin_are_not_supported() {
    let dump = dump(&[("WARM_IP_TARGET", "3")]);
    write(dump.path(), "daemonset.json", &daemon_set("v1.8.0-eksbuild.1", &[("WARM_IP_TARGET", "3")]));
    let mut list: Value = serde_json::from_str(SHIPPED).unwrap();
    list["plugins"].as_array_mut().unwrap().push(json!({"type": "istio-cni"}));
    write(dump.path(), "node/10-aws.conflist", &list.to_string());
    let said = words(&check(&[&path(&dump)]));
    assert!(said.contains("✗ version: v1.8 keeps part of its state in the container runtime"), "{said}");
    assert!(said.contains("✗ 10-aws.conflist: \"istio-cni\" would not be called for new pods any more"), "{said}");
}

#[test]
fn a_checkpoint_that_does_not_fit_is_told_by_address() {
    let dump = dump(&[("WARM_IP_TARGET", "3")]);
    let doubled = [allocation("10.0.0.7", "web-0"), allocation("10.0.0.7", "web-1"), allocation("10.0.0.9", "web-2")];
    write(dump.path(), "node/ipam.json", &checkpoint(&doubled));
    let interfaces = json!({"NetworkInterfaces": [{
        "NetworkInterfaceId": "eni-0a", "SubnetId": "subnet-0a", "Status": "in-use", "Description": "aws-K8S-i-0a",
        "Attachment": {"InstanceId": "i-0a"},
        "PrivateIpAddresses": [
            {"Primary": true, "PrivateIpAddress": "10.0.0.5"}, {"Primary": false, "PrivateIpAddress": "10.0.0.7"},
        ],
    }]});
    write(dump.path(), "interfaces.json", &interfaces.to_string());
    let answer = check(&[&path(&dump)]);
    let said = words(&answer);
    assert_eq!(answer.status.code(), Some(1), "{said}");
    assert!(said.contains("10.0.0.7 is there 2 times"), "{said}");
    assert!(said.contains("on no interface of the input: 10.0.0.9."), "{said}");
}

#[test]
fn a_node_is_looked_at_in_its_own_files() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/cni/net.d/10-aws.conflist", SHIPPED);
    write(
        root.path(),
        "etc/cni/net.d/05-other.conflist",
        r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"cilium-cni"}]}"#,
    );
    write(root.path(), "run/aws-node/ipam.json", &checkpoint(&[]));
    write(root.path(), "proc/net/ip_tables_names", "nat\nmangle\n");
    let answer = check(&["--root", &path(&root)]);
    let said = words(&answer);
    assert_eq!(answer.status.code(), Some(2), "{said}");
    assert!(
        said.contains("05-other.conflist: the runtime takes this file first, and it starts \"cilium-cni\""),
        "{said}"
    );
    assert!(said.contains("iptables-legacy has a nat table here"), "{said}");
    assert!(said.contains("settings: not looked at"), "{said}");
}

#[test]
fn input_that_says_nothing_is_an_error_that_says_what_was_expected() {
    let empty = tempfile::tempdir().unwrap();
    let answer = check(&[&path(&empty)]);
    assert_eq!(answer.status.code(), Some(2));
    assert!(words(&answer).contains("kubectl get daemonset aws-node"), "{}", words(&answer));
    let absent = check(&["./no-such-dump"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(words(&absent).contains("no-such-dump"), "{}", words(&absent));
    write(empty.path(), "ipam.json", "{\"version\":\"vpc-cni-ipam/2\"}");
    let said = words(&check(&[&path(&empty)]));
    assert!(said.contains("ipam.json cannot be used: its version is \"vpc-cni-ipam/2\""), "{said}");
}
