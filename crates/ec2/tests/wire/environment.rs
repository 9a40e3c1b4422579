//! What the environment says, as a program sees it: the `subnets` example runs as a process of its own.

use std::path::PathBuf;
use std::process::Stdio;

use crate::server::{Request, Server, Step};

fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/subnets");
    assert!(
        example.exists(),
        "{} is missing: build it with `cargo build -p freeboard-ec2 --examples`",
        example.display()
    );
    example
}

fn one_subnet(_: usize, request: &Request) -> Step {
    assert_eq!(request.parameter("Action").as_deref(), Some("DescribeSubnets"));
    let body = "<r><subnetSet><item><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><cidrBlock>10.0.208.0/27</cidrBlock>\
                <availableIpAddressCount>5</availableIpAddressCount><availabilityZone>ap-southeast-2a</availabilityZone>\
                </item></subnetSet></r>";
    Step::Answer(200, body.to_owned())
}

struct Outcome {
    success: bool,
    stdout: String,
    stderr: String,
}

/// Runs the example with nothing in its environment but `variables`, and no metadata service to ask.
async fn run(variables: &[(&str, &str)]) -> Outcome {
    let output = tokio::process::Command::new(example())
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

const REGION: (&str, &str) = ("AWS_REGION", "ap-southeast-2");
const KEY: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
const SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "secret");

#[tokio::test]
async fn every_name_of_the_endpoint_is_obeyed() {
    for name in ["AWS_ENDPOINT_URL_EC2", "AWS_EC2_ENDPOINT", "AWS_ENDPOINT_URL"] {
        let server = Server::start(one_subnet).await;
        let outcome = run(&[REGION, KEY, SECRET, (name, &server.url)]).await;
        assert_eq!(outcome.stdout, "subnet-1 10.0.208.0/27 ap-southeast-2a 5 addresses free\n", "{}", outcome.stderr);
        let authorization = &server.requests()[0].headers["authorization"];
        assert!(authorization.contains("AKIDEXAMPLE/") && authorization.contains("/ap-southeast-2/ec2/"));
    }
}

#[tokio::test]
async fn the_specific_name_of_the_endpoint_wins() {
    let (specific, general) = (Server::start(one_subnet).await, Server::start(one_subnet).await);
    let endpoints = [("AWS_ENDPOINT_URL_EC2", specific.url.as_str()), ("AWS_ENDPOINT_URL", general.url.as_str())];
    assert!(run(&[REGION, KEY, SECRET, endpoints[0], endpoints[1]]).await.success);
    assert_eq!((specific.requests().len(), general.requests().len()), (1, 0));
}

#[tokio::test]
async fn no_region_and_no_credentials_are_told_apart() {
    let server = Server::start(one_subnet).await;
    let endpoint = ("AWS_ENDPOINT_URL_EC2", server.url.as_str());
    let outcome = run(&[KEY, SECRET, endpoint]).await;
    assert!(!outcome.success && outcome.stderr.contains("no AWS Region is known"), "{}", outcome.stderr);
    let outcome = run(&[REGION, endpoint]).await;
    assert!(!outcome.success && outcome.stderr.contains("CredentialsMissing"), "{}", outcome.stderr);
    assert_eq!(server.requests().len(), 0);
}

/// The metadata service of an instance with a role: the last resort of the credential chain and of the Region's.
fn instance_with_role(_: usize, request: &Request) -> Step {
    let answer = |text: &str| Step::Answer(200, text.to_owned());
    if request.parameter("Action").is_some() {
        assert_eq!(request.headers["x-amz-security-token"], "session");
        return one_subnet(0, request);
    }
    match request.path.as_str() {
        "/latest/api/token" => answer("token"),
        "/latest/meta-data/placement/region" => answer("ap-southeast-2"),
        "/latest/meta-data/iam/security-credentials/" | "/latest/meta-data/iam/security-credentials" => answer("node"),
        "/latest/meta-data/iam/security-credentials/node" => answer(
            r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAROLE","SecretAccessKey":"secret","Token":"session",
                "LastUpdated":"2026-01-01T00:00:00Z","Expiration":"2099-01-01T00:00:00Z"}"#,
        ),
        _ => Step::Answer(404, String::new()),
    }
}

#[tokio::test]
async fn an_instance_role_is_found_through_the_metadata_service() {
    let server = Server::start(instance_with_role).await;
    let outcome = run(&[
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url),
        ("AWS_ENDPOINT_URL_EC2", &server.url),
    ])
    .await;
    assert!(outcome.success && outcome.stdout.starts_with("subnet-1 "), "{} {:?}", outcome.stderr, server.requests());
    let last = server.requests().pop().unwrap();
    assert!(last.headers["authorization"].contains("ASIAROLE/"));
}
