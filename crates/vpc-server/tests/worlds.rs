//! World files: the shipped ones are served, and a bad one is refused with file, place and value.

mod common;

use std::path::{Path, PathBuf};

use common::options;
use freeboard_vpc_server::GoogleServeOptions;

fn worlds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../worlds")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_world_is_served() {
    let files = std::fs::read_dir(worlds()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    let (google, amazon): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| path.file_name().unwrap().to_str().unwrap().starts_with("gke-"));
    assert!(!google.is_empty() && !amazon.is_empty());
    for world in google {
        let options = GoogleServeOptions { world, listen: "127.0.0.1:0".parse().unwrap() };
        let (server, _) = freeboard_vpc_server::start_google(options).await.unwrap();
        server.with_cloud(|cloud, _| cloud.audit().unwrap());
        server.shutdown().await;
    }
    for file in amazon {
        let (server, announcement) = freeboard_vpc_server::start(options(&file)).await.unwrap();
        server.with_cloud(|cloud, _| cloud.audit().unwrap());
        let text = announcement.to_string();
        assert!(text.contains(&format!("export AWS_ENDPOINT_URL_EC2=http://{}", announcement.ec2)), "{text}");
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_world_is_refused_with_its_place_and_value() {
    let good = std::fs::read_to_string(worlds().join("eks-demo.yaml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for (from, to, expected) in [
        ("cidr: 10.0.224.0/27", "cidr: 10.0.208.0/28", &["overlap", "10.0.208.0/28", "10.0.208.0/27"][..]),
        ("cidr: 10.0.224.0/27", "cidr: 10.1.224.0/27", &["10.1.224.0/27", "10.0.0.0/16"]),
        ("cidr: 10.0.224.0/27", "cidr: 10.0.224.1/27", &["10.0.224.1/27", "line", "10.0.224.0/27"]),
        ("type: t3.small", "type: t3.tiny", &["t3.tiny"]),
        ("region: ap-southeast-2\n", "region: ap-southeast-2\ncolour: blue\n", &["colour", "line"]),
        ("attach_seconds: 2", "attach_seconds: soon", &["soon", "line"]),
    ] {
        let path = directory.path().join("bad-world.yaml");
        assert!(good.contains(from), "{from}");
        std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let message = freeboard_vpc_server::start(options(&path)).await.unwrap_err().to_string();
        for text in expected.iter().chain(&["bad-world.yaml"]) {
            assert!(message.contains(text), "expected {text:?} in: {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_google_world_is_refused_with_its_place_and_value() {
    let good = std::fs::read_to_string(worlds().join("gke-demo.yaml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    for (from, to, expected) in [
        ("cidr: 172.16.0.0/20", "cidr: 10.0.0.32/27", &["subnetwork cluster", "10.0.0.32/27", "10.0.0.0/26"][..]),
        ("cidr: 10.0.0.0/26", "cidr: 10.0.0.1/26", &["10.0.0.1/26", "line", "10.0.0.0/26"]),
        ("cidr: 10.0.0.0/26", "cidr: 10.0.0.0/30", &["10.0.0.0/30", "between 4 and 29"]),
        ("nodes: 2", "nodes: 3", &["node pool original-nodepool", "Expected 3, running 2", "10.0.0.0/26"]),
        ("max_pods_per_node: 16", "max_pods_per_node: 300", &["node pool original-nodepool", "300"]),
        ("pod_range: pod-range", "pod_range: nowhere", &["cluster demo-ip", "nowhere", "'pod-range', 'svc-range'"]),
        ("seed: 2023", "colour: blue", &["colour", "line"]),
    ] {
        let world = directory.path().join("bad-world.yaml");
        assert!(good.contains(from), "{from}");
        std::fs::write(&world, good.replacen(from, to, 1)).unwrap();
        let refused = freeboard_vpc_server::start_google(GoogleServeOptions { world, listen }).await;
        let message = refused.unwrap_err().to_string();
        for text in expected.iter().chain(&["bad-world.yaml"]) {
            assert!(message.contains(text), "expected {text:?} in: {message}");
        }
    }
    let open = GoogleServeOptions { world: worlds().join("gke-demo.yaml"), listen: "0.0.0.0:0".parse().unwrap() };
    let message = freeboard_vpc_server::start_google(open).await.unwrap_err().to_string();
    assert!(message.contains("0.0.0.0:0") && message.contains("loopback"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_named() {
    let missing = freeboard_vpc_server::start(options(Path::new("nowhere.yaml"))).await.unwrap_err().to_string();
    assert!(missing.contains("nowhere.yaml"), "{missing}");
    let world = worlds().join("empty.yaml");
    let mut open = options(&world);
    open.ec2 = "0.0.0.0:0".parse().unwrap();
    let message = freeboard_vpc_server::start(open).await.unwrap_err().to_string();
    assert!(message.contains("0.0.0.0:0") && message.contains("loopback"), "{message}");
    let (server, announcement) = freeboard_vpc_server::start(options(&world)).await.unwrap();
    let mut taken = options(&world);
    taken.control = announcement.control;
    let message = freeboard_vpc_server::start(taken).await.unwrap_err().to_string();
    assert!(message.contains(&announcement.control.to_string()), "{message}");
    let mut half = options(&world);
    half.access_key = Some("AKIA".into());
    assert!(freeboard_vpc_server::start(half).await.unwrap_err().to_string().contains("go together"));
    server.shutdown().await;
}
