//! `freeboard leaks`: one look proves nothing, two do, and repair is a dry run until it is confirmed.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod common;

use std::process::Output;

use common::{freeboard_in, serve, words};
use freeboard_address::SubnetId;
use freeboard_ec2::{CreateNetworkInterface, DescribeNetworkInterfaces, Ec2Client, Ec2Config};

fn freeboard(arguments: &[&str]) -> Output {
    freeboard_in("tests/dumps", arguments)
}

#[test]
fn a_dump_shows_suspects_and_a_second_dump_confirms_them() {
    let once = freeboard(&["leaks", "eks"]);
    assert_eq!(once.status.code(), Some(1));
    let said = words(&once);
    assert!(
        said.contains("? eni-0000000000000dead (aws-K8S-i-0dead0dead0dead00) is attached to no instance."),
        "{said}"
    );
    assert!(said.contains("interfaces.json:"), "{said}");
    assert!(said.contains("Seen once, which proves nothing"), "{said}");
    let twice = words(&freeboard(&["leaks", "eks", "--again", "eks", "--repair"]));
    assert!(twice.contains("✗ eni-0000000000000dead"), "{twice}");
    assert!(twice.contains("aws ec2 delete-network-interface --network-interface-id eni-0000000000000dead"), "{twice}");
    assert!(twice.contains("Nothing was changed."), "{twice}");
    let blind = freeboard(&["leaks", "gke"]);
    assert_eq!(blind.status.code(), Some(2));
    assert!(words(&blind).contains("describe-network-interfaces"), "{}", words(&blind));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_interface_of_the_simulated_ec2_is_given_back_only_when_confirmed() {
    let (server, announcement) = serve().await;
    let url = format!("http://{}", announcement.ec2);
    let client = Ec2Client::new(Ec2Config::for_endpoint("us-west-2", url.as_str(), "k", "s")).unwrap();
    let mut request = CreateNetworkInterface::new(SubnetId::new("subnet-0cd55c38980375d58"));
    request.description = Some("aws-K8S-i-0dead0dead0dead00".to_owned());
    let made = client.create_network_interface(&request).await.unwrap().id;
    let run = async |more: &[&str]| {
        let mut arguments = vec!["leaks", "--ec2", url.as_str(), "--interval", "1"];
        arguments.extend(more);
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || freeboard(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
            .await
            .unwrap()
    };
    let exists = async || {
        let all = client.describe_network_interfaces(&DescribeNetworkInterfaces::default()).await.unwrap();
        all.iter().any(|one| one.id == made)
    };
    let dry = run(&["--repair"]).await;
    assert_eq!(dry.status.code(), Some(1), "{}", words(&dry));
    assert!(
        words(&dry).contains(&format!("✗ {made} (aws-K8S-i-0dead0dead0dead00) is attached to no instance")),
        "{}",
        words(&dry)
    );
    assert!(exists().await, "a dry run changes nothing");
    let done = run(&["--repair", "--yes"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    assert!(words(&done).contains(&format!("given back: {made}")), "{}", words(&done));
    assert!(!exists().await);
    assert_eq!(run(&[]).await.status.code(), Some(0), "nothing else leaks in this world");
    server.with_cloud(|cloud, _| cloud.audit().unwrap());
    server.shutdown().await;
}
