//! The Google-like cloud over HTTP: Google's own Python clients drive it, and plain requests see what clients hide.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{request, send};
use freeboard_vpc_server::{GoogleServeOptions, GoogleServer, start_google};
use http::Method;
use serde_json::{Value, json};

const SUBNETWORK: &str = "/compute/v1/projects/demo-project/regions/australia-southeast1/subnetworks/cluster";
const CLUSTER: &str = "/v1/projects/demo-project/locations/australia-southeast1-b/clusters/demo-ip";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The demo's world with operations so short that nobody waits for them.
async fn serve() -> (GoogleServer, SocketAddr, tempfile::TempDir) {
    let text = std::fs::read_to_string(workspace().join("worlds/gke-demo.yaml")).unwrap();
    let quick =
        "timing: { compute_operation_milliseconds: 20, container_operation_milliseconds: 60, failed_pool_seconds: 1 }";
    let directory = tempfile::tempdir().unwrap();
    let world = directory.path().join("world.yaml");
    std::fs::write(&world, format!("{quick}\n{text}")).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let (server, address) = start_google(GoogleServeOptions { world, listen }).await.unwrap();
    (server, address, directory)
}

async fn ask(to: SocketAddr, method: Method, path: &str, body: &str) -> (u16, Value) {
    let answer = send(to, request(method, path, &[("content-type", "application/json")], body)).await.unwrap();
    let value = serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    (answer.status, value)
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_own_clients_live_through_the_demo() {
    let (server, address, _world) = serve().await;
    let python = std::env::var_os("FREEBOARD_PYTHON")
        .map_or_else(|| workspace().join(".cache/python/bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "{} is missing: run `cargo xtask tools`, which installs Google's compute and container clients",
        python.display()
    );
    let mut command = Command::new(python);
    command
        .env_clear()
        .env("FREEBOARD_GOOGLE_ENDPOINT", format!("http://{address}"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(workspace().join("tests/clients/google_story.py"))
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    server.with_cloud(|cloud, _| cloud.audit().unwrap());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_form_of_each_api() {
    let (server, address, _world) = serve().await;
    let (status, body) = ask(address, Method::GET, &SUBNETWORK.replace("/cluster", "/nowhere"), "").await;
    let message = "The resource 'projects/demo-project/regions/australia-southeast1/subnetworks/nowhere' was not found";
    let expected = json!({"error": {"code": 404, "message": message, "errors": [{"domain": "global", "message": message, "reason": "notFound"}]}});
    assert_eq!((status, body), (404, expected));
    let (status, body) = ask(address, Method::GET, &CLUSTER.replace("/demo-ip", "/nowhere"), "").await;
    assert_eq!((status, &body["error"]["status"], &body["error"]["code"]), (404, &json!("NOT_FOUND"), &json!(404)));
    for (method, path, body, status) in [
        (Method::GET, "/", "", 404),
        (Method::GET, "/compute/v1/projects/other/global/networks", "", 404),
        (Method::GET, "/compute/v1/projects/demo-project/global/firewalls", "", 404),
        (Method::PUT, SUBNETWORK, "{}", 405),
        (Method::PATCH, SUBNETWORK, "{", 400),
        (Method::PATCH, SUBNETWORK, "{}", 400),
        (Method::PATCH, SUBNETWORK, r#"{"fingerprint": "not base64!", "secondaryIpRanges": []}"#, 400),
        (Method::PUT, CLUSTER, r#"{"update": {}}"#, 400),
        (Method::PUT, CLUSTER, r#"{"update": {"desiredNodeVersion": "1.28"}}"#, 400),
        (Method::POST, &format!("{CLUSTER}/nodePools/original-nodepool:fly"), "{}", 404),
        (Method::POST, &format!("{CLUSTER}/nodePools/original-nodepool:setSize"), r#"{"nodeCount": -1}"#, 400),
    ] {
        let (found, answer) = ask(address, method.clone(), path, body).await;
        assert_eq!(found, status, "{method} {path} {body}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.len() > 10), "{answer}");
    }
    for pods in ["0", "-1", "257", "7"] {
        let body = json!({"nodePool": {"name": "x", "maxPodsConstraint": {"maxPodsPerNode": pods}, "networkConfig": {"podRange": "pod-range"}}});
        let (status, answer) = ask(address, Method::POST, &format!("{CLUSTER}/nodePools"), &body.to_string()).await;
        assert_eq!((status, &answer["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(pods), "{answer}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_its_pools_is_made_in_one_call_or_not_at_all() {
    let (server, address, _world) = serve().await;
    let clusters = CLUSTER.trim_end_matches("/demo-ip");
    let (_, subnet) = ask(address, Method::GET, SUBNETWORK, "").await;
    let mut ranges = subnet["secondaryIpRanges"].as_array().unwrap().clone();
    ranges.push(json!({"rangeName": "more", "ipCidrRange": "10.8.0.0/22"}));
    let patch = json!({"fingerprint": subnet["fingerprint"], "secondaryIpRanges": ranges});
    let (status, answer) = ask(address, Method::PATCH, SUBNETWORK, &patch.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let cluster = |pods: &str| {
        json!({"cluster": {
            "name": "second", "subnetwork": "cluster", "initialClusterVersion": "1.30",
            "ipAllocationPolicy": {"useIpAliases": true, "clusterSecondaryRangeName": "more"},
            "nodePools": [{"name": "default-pool", "initialNodeCount": 3, "maxPodsConstraint": {"maxPodsPerNode": pods}, "networkConfig": {"podRange": "more"}}],
        }})
        .to_string()
    };
    let (status, answer) = ask(address, Method::POST, clusters, &cluster("1000")).await;
    assert_eq!(status, 400, "{answer}");
    let (status, _) = ask(address, Method::GET, &CLUSTER.replace("/demo-ip", "/second"), "").await;
    assert_eq!(status, 404, "a refused pool refuses the cluster");
    let (status, answer) = ask(address, Method::POST, clusters, &cluster("64")).await;
    assert_eq!(status, 200, "{answer}");
    let (_, made) = ask(address, Method::GET, &CLUSTER.replace("/demo-ip", "/second"), "").await;
    assert_eq!(made["nodePools"][0]["podIpv4CidrSize"], 25);
    assert_eq!(made["nodePools"][0]["networkConfig"]["podIpv4RangeUtilization"], 0.375);
    server.with_cloud(|cloud, _| cloud.audit().unwrap());
    server.shutdown().await;
}
