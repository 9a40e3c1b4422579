//! The metadata service over HTTP: tokens, statuses, every key that agents read, listings, links that come and go.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod common;

use std::error::Error;
use std::sync::{Arc, Mutex};

use common::{eventually, serve};
use freeboard_vpc::{Cloud, CloudEffect};
use freeboard_vpc_server::{Hypervisor, Server, parse_world};
use futures::future::BoxFuture;
use http::Method;
use serde_json::Value;
use tokio::sync::Semaphore;

const WORLD: &str = "
region: ap-southeast-2
account_id: '111122223333'
availability_zones: [{ name: ap-southeast-2a, id: apse2-az1 }]
timing: { attach_seconds: 0, detach_seconds: 0, metadata_lag_seconds: 0 }
vpcs:
  - id: vpc-00000001
    cidr: 10.0.0.0/16
    secondary_cidrs: [100.64.0.0/20]
    security_groups: [{ id: sg-00000001, name: nodes }]
    subnets:
      - { id: subnet-00000001, cidr: 10.0.0.0/24, zone: ap-southeast-2a }
      - { id: subnet-00000002, cidr: 100.64.1.0/24, zone: ap-southeast-2a }
instances:
  - id: i-00000001
    type: t3.medium
    instance_profile: node
    interfaces:
      - { id: eni-00000001, subnet: subnet-00000001, address: 10.0.0.4, secondary_addresses: [10.0.0.9], security_groups: [sg-00000001] }
      - { id: eni-00000002, subnet: subnet-00000002, address: 100.64.1.4, prefixes: [100.64.1.32/28], security_groups: [sg-00000001] }
interfaces:
  - { id: eni-00000003, subnet: subnet-00000001, address: 10.0.0.77 }
";

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_good_token_is_refused() {
    let cloud = serve(WORLD).await;
    let path = "/latest/meta-data/instance-id";
    let answer = cloud.imds(Method::GET, path, &[]).await;
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("<title>401 - Unauthorized</title>"));
    assert_eq!(cloud.imds(Method::GET, path, &[(TOKEN, "made-up")]).await.status, 401);
    let token = cloud.token(1).await;
    eventually("the token has ended", || async {
        (cloud.imds(Method::GET, path, &[(TOKEN, &token)]).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(cloud.metadata(path).await.body, "i-00000001");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_in_one_way_only() {
    let cloud = serve(WORLD).await;
    for ttl in ["0", "-1", "21601", "six", ""] {
        let answer = cloud.imds(Method::PUT, "/latest/api/token", &[(TTL, ttl)]).await;
        assert_eq!(answer.status, 400, "a life of {ttl:?} seconds");
        assert!(answer.body.contains("400 - Bad Request"));
    }
    assert_eq!(cloud.imds(Method::PUT, "/latest/api/token", &[]).await.status, 400);
    assert_eq!(cloud.imds(Method::PUT, "/2021-03-23/api/token", &[(TTL, "60")]).await.status, 403);
    let forwarded = [(TTL, "60"), ("x-forwarded-for", "10.0.0.1")];
    assert_eq!(cloud.imds(Method::PUT, "/latest/api/token", &forwarded).await.status, 403);
    assert_eq!(cloud.imds(Method::POST, "/latest/api/token", &[(TTL, "60")]).await.status, 405);
    let answer = cloud.imds(Method::PUT, "/latest/api/token", &[(TTL, "21600")]).await;
    assert_eq!((answer.status, answer.headers[TTL].to_str().unwrap()), (200, "21600"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_be_optional_and_the_service_may_be_off() {
    let options = |text: &str| WORLD.replace("instance_profile: node", &format!("metadata_options: {text}"));
    let optional = serve(&options("{ tokens_required: false }")).await;
    let path = "/latest/meta-data/instance-id";
    assert_eq!(optional.imds(Method::GET, path, &[]).await.body, "i-00000001");
    assert_eq!(optional.imds(Method::GET, path, &[(TOKEN, "made-up")]).await.status, 401);
    assert_eq!(optional.metadata("/latest/meta-data/iam/info").await.status, 404, "the machine has no role");
    let off = serve(&options("{ enabled: false }")).await;
    assert_eq!(off.imds(Method::PUT, "/latest/api/token", &[(TTL, "60")]).await.status, 403);
    assert_eq!(off.imds(Method::GET, path, &[]).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_that_agents_read_is_there() {
    let cloud = serve(WORLD).await;
    let get = async |path: &str| {
        let answer = cloud.metadata(&format!("/latest/{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    };
    let mac = get("meta-data/mac").await;
    let macs = get("meta-data/network/interfaces/macs").await;
    assert_eq!(macs, get("meta-data/network/interfaces/macs/").await);
    let second = macs.lines().find(|line| *line != format!("{mac}/")).unwrap().trim_end_matches('/').to_owned();
    let at = |mac: &str, key: &str| format!("meta-data/network/interfaces/macs/{mac}/{key}");
    for (path, expected) in [
        ("meta-data/instance-id".to_owned(), "i-00000001"),
        ("meta-data/instance-type".to_owned(), "t3.medium"),
        ("meta-data/local-ipv4".to_owned(), "10.0.0.4"),
        ("meta-data/placement/availability-zone".to_owned(), "ap-southeast-2a"),
        ("meta-data/placement/availability-zone-id".to_owned(), "apse2-az1"),
        ("meta-data/placement/region".to_owned(), "ap-southeast-2"),
        ("meta-data/iam/security-credentials/".to_owned(), "node"),
        (at(&mac, "interface-id"), "eni-00000001"),
        (at(&mac, "device-number"), "0"),
        (at(&mac, "network-card"), "0"),
        (at(&mac, "owner-id"), "111122223333"),
        (at(&mac, "mac"), mac.as_str()),
        (at(&mac, "subnet-id"), "subnet-00000001"),
        (at(&mac, "vpc-id"), "vpc-00000001"),
        (at(&mac, "security-group-ids"), "sg-00000001"),
        (at(&mac, "local-ipv4s"), "10.0.0.4\n10.0.0.9"),
        (at(&mac, "subnet-ipv4-cidr-block"), "10.0.0.0/24"),
        (at(&mac, "vpc-ipv4-cidr-block"), "10.0.0.0/16"),
        (at(&mac, "vpc-ipv4-cidr-blocks"), "10.0.0.0/16\n100.64.0.0/20"),
        (at(&second, "device-number"), "1"),
        (at(&second, "local-ipv4s"), "100.64.1.4"),
        (at(&second, "ipv4-prefix"), "100.64.1.32/28"),
    ] {
        assert_eq!(get(&path).await, expected, "{path}");
    }
    let keys = get(&at(&second, "")).await;
    assert!(
        ["interface-id", "network-card", "local-ipv4s", "ipv4-prefix"]
            .iter()
            .all(|key| keys.lines().any(|k| k == *key))
    );
    for unset in [
        at(&mac, "ipv4-prefix"),
        at(&mac, "ipv6s"),
        "meta-data/ipv6".to_owned(),
        "user-data".to_owned(),
        "x".to_owned(),
    ] {
        assert_eq!(cloud.metadata(&format!("/latest/{unset}")).await.status, 404, "{unset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_lead_from_the_top_to_the_identity_document() {
    let cloud = serve(WORLD).await;
    for (path, expected) in [
        ("/", "1.0\n2021-03-23\nlatest"),
        ("/latest", "dynamic\nmeta-data"),
        ("/latest/dynamic/", "instance-identity/"),
        ("/latest/dynamic/instance-identity", "document"),
        ("/2021-03-23/meta-data/placement", "availability-zone\navailability-zone-id\nregion"),
    ] {
        assert_eq!(cloud.metadata(path).await.body, expected, "{path}");
    }
    let document = cloud.metadata("/latest/dynamic/instance-identity/document").await.body;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["region"], "ap-southeast-2");
    assert_eq!(document["accountId"], "111122223333");
    assert_eq!(document["ramdiskId"], Value::Null);
    let keys = cloud.metadata("/latest/meta-data/iam/security-credentials/node").await.body;
    let keys: Value = serde_json::from_str(&keys).unwrap();
    assert!(keys["AccessKeyId"].as_str().unwrap().starts_with("ASIA"));
}

/// A hypervisor that works only when it is let, and remembers what it did.
struct Gated {
    gate: Semaphore,
    done: Mutex<Vec<String>>,
}

impl Hypervisor for Gated {
    fn apply<'a>(
        &'a self,
        _: &'a Server,
        effect: &'a CloudEffect,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            self.gate.acquire().await?.forget();
            let name = match effect {
                CloudEffect::InterfaceAttaching(link) => format!("attach {}", link.eni),
                CloudEffect::InterfaceDetached { eni, .. } => format!("detach {eni}"),
                CloudEffect::AddressesChanged { eni, cidrs, .. } => format!("{eni} owns {cidrs:?}"),
                CloudEffect::VpcCidrsChanged { cidrs, .. } => format!("blocks {cidrs:?}"),
                CloudEffect::InstanceLaunched(launched) => format!("launch {}", launched.instance),
                CloudEffect::InstanceTerminated { instance, .. } => format!("terminate {instance}"),
            };
            self.done.lock().unwrap().push(name);
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_shows_only_when_its_link_is_made_and_effects_keep_their_order() {
    let world = parse_world("world", WORLD).unwrap();
    let cloud = Cloud::from_world(&world, jiff::Timestamp::now()).unwrap();
    let hypervisor = Arc::new(Gated { gate: Semaphore::new(1000), done: Mutex::default() });
    let server = Server::start(cloud, hypervisor.clone(), None).unwrap();
    server.effects_applied().await;
    let instance = freeboard_address::InstanceId::new("i-00000001");
    let shown = || server.with_cloud(|cloud, now| cloud.metadata(&instance, now).unwrap().interfaces.len());
    eventually("both links of the machine show", || async { (shown() == 2).then_some(()) }).await;

    hypervisor.gate.forget_permits(usize::MAX);
    hypervisor.done.lock().unwrap().clear();
    let attached = server.with_cloud(|cloud, now| {
        let request = freeboard_vpc::AttachNetworkInterface {
            network_interface_id: freeboard_address::EniId::new("eni-00000003"),
            instance_id: instance.clone(),
            device_index: 2,
            network_card_index: None,
        };
        cloud.attach_network_interface(&request, now).unwrap()
    });
    let status = || {
        server.with_cloud(|cloud, _| {
            let eni = freeboard_address::EniId::new("eni-00000003");
            let found = cloud.describe_network_interfaces(&freeboard_vpc::Describe::by_id([eni])).unwrap();
            found.items[0].attachment.as_ref().map(|attachment| attachment.status.as_str())
        })
    };
    assert_eq!((status(), shown()), (Some("attaching"), 2), "the link is not made yet");
    hypervisor.gate.add_permits(1000);
    eventually("the link is made", || async { (status() == Some("attached") && shown() == 3).then_some(()) }).await;
    server.with_cloud(|cloud, now| {
        let request = freeboard_vpc::DetachNetworkInterface { attachment_id: attached.attachment_id, force: false };
        cloud.detach_network_interface(&request, now).unwrap();
    });
    eventually("the link is gone", || async { (status().is_none() && shown() == 2).then_some(()) }).await;
    server.effects_applied().await;
    let done = hypervisor.done.lock().unwrap().clone();
    let links: Vec<&str> = done.iter().map(String::as_str).filter(|name| name.contains("tach ")).collect();
    assert_eq!(links, ["attach eni-00000003", "detach eni-00000003"], "{done:?}");
    server.shutdown().await;
}
