//! The metadata client against a scripted server: tokens, absence, half-present interfaces, bad days.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::server::{Request, Server, Step};
use freeboard_ec2::*;

const TOKEN_PATH: &str = "/latest/api/token";
const PRIMARY: &str = "network/interfaces/macs/02:0a:00:00:00:01";
const SECOND: &str = "network/interfaces/macs/02:0a:00:00:00:02";

fn client(server: &Server) -> ImdsClient {
    let retry =
        RetryPolicy { max_attempts: 3, base_pause: Duration::from_millis(1), max_pause: Duration::from_millis(2) };
    let endpoint = server.url.clone();
    let config = ImdsConfig { endpoint, attempt_timeout: Duration::from_millis(200), retry, ..ImdsConfig::default() };
    ImdsClient::new(config).unwrap()
}

fn found(text: &str) -> Step {
    Step::Answer(200, text.to_owned())
}

fn absent() -> Step {
    Step::Answer(404, "<?xml version=\"1.0\"?><title>404 - Not Found</title>".to_owned())
}

/// An instance with one whole interface and one whose directory is there but whose keys are not.
fn metadata(path: &str) -> Step {
    let path = path.strip_prefix("/latest/meta-data/").unwrap_or(path);
    if let Some(key) = path.strip_prefix(PRIMARY) {
        return match key {
            "" | "/" => found(
                "device-number\ninterface-id\nipv4-prefix\nlocal-ipv4s\nmac\nsecurity-group-ids\nsubnet-id\n\
                 subnet-ipv4-cidr-block\nvpc-id\nvpc-ipv4-cidr-blocks\nipv4-associations/",
            ),
            "/interface-id" => found("eni-1"),
            "/device-number" => found("0"),
            "/subnet-id" => found("subnet-1"),
            "/vpc-id" => found("vpc-1"),
            "/security-group-ids" => found("sg-1\nsg-2"),
            "/local-ipv4s" => found("10.0.208.4\n10.0.208.5\n"),
            "/ipv4-prefix" => found("10.0.208.16/28"),
            "/subnet-ipv4-cidr-block" => found("10.0.208.0/27"),
            "/vpc-ipv4-cidr-blocks" => found("10.0.0.0/16\n100.64.0.0/20"),
            _ => absent(),
        };
    }
    match path {
        "mac" => found("02:0a:00:00:00:01\n"),
        "instance-id" => found("i-1"),
        "instance-type" => found("t3.small"),
        "local-ipv4" => found("10.0.208.4"),
        "placement/availability-zone" => found("ap-southeast-2a"),
        "/latest/dynamic/instance-identity/document" => found("{\n  \"region\" : \"ap-southeast-2\"\n}"),
        "network/interfaces/macs" => found("02:0a:00:00:00:01/\n02:0a:00:00:00:02/"),
        SECOND => found("interface-id\nmac"),
        _ => absent(),
    }
}

fn with_token(request: &Request) -> Step {
    if request.path == TOKEN_PATH {
        assert_eq!(request.method, "PUT");
        assert_eq!(request.headers["x-aws-ec2-metadata-token-ttl-seconds"], "21600");
        return found("token");
    }
    if request.headers.get("x-aws-ec2-metadata-token").is_none_or(|token| token != "token") {
        return Step::Answer(401, String::new());
    }
    metadata(&request.path)
}

#[tokio::test]
async fn an_instance_is_read_with_one_token_on_one_connection() {
    let server = Server::start(|_, request| with_token(request)).await;
    let client = client(&server);
    let identity = client.instance_identity().await.unwrap();
    assert_eq!(identity.instance.as_str(), "i-1");
    assert_eq!(
        (identity.instance_type.as_str(), identity.region.as_str(), identity.zone.as_str()),
        ("t3.small", "ap-southeast-2", "ap-southeast-2a")
    );
    assert_eq!(identity.primary_address, Some("10.0.208.4".parse().unwrap()));
    assert_eq!(identity.primary_mac.to_string(), "02:0a:00:00:00:01");

    let interfaces = client.interfaces().await.unwrap();
    assert_eq!(interfaces.len(), 1, "the interface without keys is not there yet");
    let interface = &interfaces[0];
    assert_eq!((interface.id.as_str(), interface.device_index, interface.network_card), ("eni-1", 0, 0));
    assert_eq!(interface.primary_address(), Some("10.0.208.4".parse().unwrap()));
    assert_eq!(interface.addresses.len(), 2);
    assert_eq!(interface.prefixes, ["10.0.208.16/28".parse().unwrap()]);
    assert_eq!(interface.subnet_cidr, Some("10.0.208.0/27".parse().unwrap()));
    assert_eq!(interface.groups.len(), 2);
    let cidrs = client.vpc_ipv4_cidrs(identity.primary_mac).await.unwrap();
    assert_eq!(cidrs, interface.vpc_cidrs);
    assert_eq!(cidrs.len(), 2);

    let requests = server.requests();
    assert_eq!(requests.iter().filter(|request| request.path == TOKEN_PATH).count(), 1);
    assert!(requests.iter().all(|request| request.connection == 0));
}

#[tokio::test]
async fn a_key_that_is_not_there_is_none_and_a_necessary_one_is_named() {
    let server = Server::start(|_, request| if request.path == TOKEN_PATH { found("t") } else { absent() }).await;
    let client = client(&server);
    assert_eq!(client.get("ipv6").await.unwrap(), None);
    let error = client.instance_identity().await.unwrap_err();
    assert_eq!(error, ImdsError::Missing { path: "placement/availability-zone".to_owned() });
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let renewed = Arc::new(AtomicBool::new(false));
    let server = Server::start(move |_, request| {
        if request.path == TOKEN_PATH {
            let again = renewed.swap(true, Ordering::SeqCst);
            return found(if again { "token" } else { "expired" });
        }
        with_token(request)
    })
    .await;
    assert_eq!(client(&server).get("instance-id").await.unwrap().as_deref(), Some("i-1"));
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    let key = "/latest/meta-data/instance-id";
    assert_eq!(paths, [TOKEN_PATH, key, TOKEN_PATH, key]);
}

#[tokio::test]
async fn a_service_that_refuses_every_token_is_refused_not_retried_forever() {
    let server = Server::start(
        |_, request| if request.path == TOKEN_PATH { found("t") } else { Step::Answer(401, String::new()) },
    )
    .await;
    let error = client(&server).get("instance-id").await.unwrap_err();
    assert_eq!(error, ImdsError::Refused { path: "latest/meta-data/instance-id".to_owned(), status: 401 });
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn there_is_no_falling_back_to_version_1() {
    for status in [400, 403, 404, 405] {
        let server = Server::start(move |_, _| Step::Answer(status, String::new())).await;
        let error = client(&server).get("instance-id").await.unwrap_err();
        assert_eq!(error, ImdsError::Refused { path: "latest/meta-data/instance-id".to_owned(), status });
        assert!(server.requests().iter().all(|request| request.path == TOKEN_PATH));
    }
}

#[tokio::test]
async fn passing_trouble_is_waited_out() {
    let gets = AtomicUsize::new(0);
    let server = Server::start(move |_, request| {
        if request.path == TOKEN_PATH {
            return found("token");
        }
        match gets.fetch_add(1, Ordering::SeqCst) {
            0 => Step::Answer(503, String::new()),
            1 => Step::Drop,
            _ => with_token(request),
        }
    })
    .await;
    assert_eq!(client(&server).get("instance-id").await.unwrap().as_deref(), Some("i-1"));
}

#[tokio::test]
async fn silence_ends_in_an_error_that_names_the_path() {
    let server = Server::start(|_, _| Step::Silence).await;
    let error = client(&server).get("instance-id").await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("latest/meta-data/instance-id") && message.contains("200 ms"), "{message}");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn nonsense_is_quoted() {
    let server = Server::start(|_, request| match request.path.as_str() {
        TOKEN_PATH => found("token"),
        "/latest/meta-data/network/interfaces/macs" => found("not-a-mac/"),
        _ => absent(),
    })
    .await;
    let message = client(&server).interfaces().await.unwrap_err().to_string();
    assert!(message.contains("\"not-a-mac\"") && message.contains("expected a hardware address"), "{message}");
}
