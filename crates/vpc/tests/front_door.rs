//! Request limits, faults, metadata that lags, and pages of Describe answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use freeboard_address::{EniId, SubnetId};
use freeboard_vpc::{Call, Cloud, CloudEffect, Describe, Fault, FaultError, Filter, Outcome};
use support::{EKS, LARGE, NODE_ENI, PUBLIC_A, assign, at, attach, cloud, node, run_to, secondaries, subnet, wanted};

fn admit(cloud: &mut Cloud, action: &str, milliseconds: i64) -> Outcome {
    cloud.admit(&Call::new(action), at(milliseconds)).outcome
}

fn refused_with(outcome: &Outcome) -> Option<(&str, u16)> {
    match outcome {
        Outcome::Refuse(error) => Some((error.code.as_str(), error.http_status)),
        Outcome::Proceed | Outcome::ProceedThenLoseAnswer => None,
    }
}

#[test]
fn a_burst_beyond_the_bucket_is_throttled_and_one_token_comes_back_in_time() {
    let mut cloud = cloud(EKS);
    for _ in 0..100 {
        assert_eq!(admit(&mut cloud, "CreateNetworkInterface", 0), Outcome::Proceed);
    }
    let outcome = admit(&mut cloud, "CreateNetworkInterface", 0);
    assert_eq!(refused_with(&outcome), Some(("RequestLimitExceeded", 503)));
    assert_eq!(admit(&mut cloud, "DescribeSubnets", 0), Outcome::Proceed);
    assert_eq!(admit(&mut cloud, "CreateNetworkInterface", 200), Outcome::Proceed);
    assert!(refused_with(&admit(&mut cloud, "CreateNetworkInterface", 200)).is_some());
}

#[test]
fn a_world_without_request_limits_throttles_nothing_and_takes_its_latency() {
    let mut cloud = cloud(LARGE);
    for _ in 0..1_000 {
        let admission = cloud.admit(&Call::new("AssignPrivateIpAddresses"), at(0));
        assert_eq!((admission.outcome, admission.delay), (Outcome::Proceed, Duration::from_millis(100)));
    }
    cloud.set_speed(4.0).unwrap();
    assert_eq!(cloud.admit(&Call::new("DescribeVpcs"), at(0)).delay, Duration::from_millis(25));
}

#[test]
fn faults_strike_the_actions_they_name_as_often_as_they_say() {
    let mut cloud = cloud(LARGE);
    let error = Fault::Error {
        action: "*NetworkInterface".to_owned(),
        code: "InternalError".to_owned(),
        message: "An internal error has occurred".to_owned(),
        count: 2,
    };
    cloud.inject(&error, at(0)).unwrap();
    cloud.inject(&Fault::LoseAnswer { action: "CreateSubnet".to_owned(), count: 1 }, at(0)).unwrap();
    cloud.inject(&Fault::Throttle { action: "DeleteTags".to_owned(), seconds: 2.0 }, at(0)).unwrap();
    let delay = Fault::Delay { action: "DescribeVpcs".to_owned(), delay_seconds: 3.0, seconds: Some(1.0) };
    cloud.inject(&delay, at(0)).unwrap();
    assert_eq!(refused_with(&admit(&mut cloud, "CreateNetworkInterface", 0)), Some(("InternalError", 500)));
    assert_eq!(admit(&mut cloud, "DescribeNetworkInterfaces", 0), Outcome::Proceed);
    assert_eq!(refused_with(&admit(&mut cloud, "AttachNetworkInterface", 0)), Some(("InternalError", 500)));
    assert_eq!(admit(&mut cloud, "AttachNetworkInterface", 0), Outcome::Proceed);
    assert_eq!(admit(&mut cloud, "CreateSubnet", 0), Outcome::ProceedThenLoseAnswer);
    assert_eq!(admit(&mut cloud, "CreateSubnet", 0), Outcome::Proceed);
    assert!(refused_with(&admit(&mut cloud, "DeleteTags", 1_999)).is_some());
    assert_eq!(admit(&mut cloud, "DeleteTags", 2_000), Outcome::Proceed);
    assert_eq!(cloud.admit(&Call::new("DescribeVpcs"), at(999)).delay, Duration::from_millis(3_100));
    assert_eq!(cloud.admit(&Call::new("DescribeVpcs"), at(1_000)).delay, Duration::from_millis(100));
}

#[test]
fn cleared_faults_are_over() {
    let mut cloud = cloud(LARGE);
    cloud.inject(&Fault::Throttle { action: "*".to_owned(), seconds: 1e6 }, at(0)).unwrap();
    cloud.inject(&Fault::LoseAnswer { action: "*".to_owned(), count: 9 }, at(0)).unwrap();
    cloud.clear_faults(at(1));
    assert_eq!(admit(&mut cloud, "DescribeVpcs", 1), Outcome::Proceed);
}

#[test]
fn faults_of_the_world_file_come_at_their_time() {
    let text = format!(
        "{LARGE}\nfaults:\n  - after_seconds: 5\n    inject: {{ throttle: {{ action: CreateTags, seconds: 10 }} }}\n"
    );
    let mut cloud = cloud(&text);
    assert_eq!(cloud.poll_timeout(), Some((at(5_000), "a scheduled fault happens")));
    assert_eq!(admit(&mut cloud, "CreateTags", 4_999), Outcome::Proceed);
    assert!(refused_with(&admit(&mut cloud, "CreateTags", 5_000)).is_some());
    assert_eq!(admit(&mut cloud, "CreateTags", 15_000), Outcome::Proceed);
}

#[test]
fn faults_are_read_from_json_and_bad_ones_are_refused_with_their_values() {
    let fault: Fault = serde_json::from_str(r#"{"fill_subnet":{"subnet":"subnet-0","take":3}}"#).unwrap();
    let mut cloud = cloud(EKS);
    let before = cloud.clone();
    for (fault, text) in [
        (fault, "no subnet subnet-0"),
        (Fault::Throttle { action: "*".to_owned(), seconds: -1.0 }, "seconds is -1"),
        (
            Fault::FillSubnet { subnet: SubnetId::new(PUBLIC_A), take: None, leave_free: None },
            "needs exactly one of take and leave_free",
        ),
        (Fault::RemoveInterface { interface: EniId::new(NODE_ENI) }, "is the first interface of i-0a31c7d5e9f208b46"),
        (Fault::RemoveInterface { interface: EniId::new("eni-0") }, "no network interface eni-0"),
    ] {
        let error: FaultError = cloud.inject(&fault, at(0)).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(cloud, before);
    assert!(serde_json::from_str::<Fault>(r#"{"throttle":{"action":"*","minutes":3}}"#).is_err());
}

#[test]
fn a_foreign_consumer_fills_a_subnet_and_leaves_again() {
    let mut cloud = cloud(EKS);
    let subnet_id = SubnetId::new(PUBLIC_A);
    let free = |cloud: &Cloud| subnet(cloud, PUBLIC_A).available_ip_address_count;
    let fill = Fault::FillSubnet { subnet: subnet_id.clone(), take: None, leave_free: Some(2) };
    cloud.inject(&fill, at(0)).unwrap();
    assert_eq!(free(&cloud), 2);
    let take = Fault::FillSubnet { subnet: subnet_id.clone(), take: Some(100), leave_free: None };
    cloud.inject(&take, at(0)).unwrap();
    assert_eq!(free(&cloud), 0);
    cloud.audit().unwrap();
    cloud.inject(&Fault::ReleaseSubnet { subnet: subnet_id }, at(0)).unwrap();
    assert_eq!(free(&cloud), 24);
}

#[test]
fn an_interface_can_vanish_behind_our_back() {
    let mut cloud = cloud(EKS);
    let eni = cloud.create_network_interface(&wanted(PUBLIC_A, 2), at(0)).unwrap().network_interface_id;
    cloud.attach_network_interface(&attach(&eni, &node(), 1), at(0)).unwrap();
    run_to(&mut cloud, 5_000);
    cloud.inject(&Fault::RemoveInterface { interface: eni.clone() }, at(5_000)).unwrap();
    assert!(matches!(cloud.poll_effect(), Some(CloudEffect::InterfaceDetached { .. })));
    cloud.handle_link_gone(&eni, at(5_000));
    cloud.audit().unwrap();
    assert_eq!(subnet(&cloud, PUBLIC_A).available_ip_address_count, 24);
    assert_eq!(cloud.metadata(&node(), at(5_999)).unwrap().interfaces.len(), 2, "the metadata lags");
    assert_eq!(cloud.metadata(&node(), at(6_000)).unwrap().interfaces.len(), 1);
}

#[test]
fn metadata_shows_an_interface_a_lag_after_its_link_and_addresses_a_lag_after_their_assignment() {
    let mut cloud = cloud(EKS);
    let eni = cloud.create_network_interface(&wanted(PUBLIC_A, 0), at(0)).unwrap().network_interface_id;
    cloud.attach_network_interface(&attach(&eni, &node(), 1), at(0)).unwrap();
    cloud.handle_timeout(at(2_000));
    cloud.handle_link_ready(&eni, at(2_500));
    let interfaces = |cloud: &Cloud, time| cloud.metadata(&node(), at(time)).unwrap().interfaces;
    assert_eq!(interfaces(&cloud, 3_499).len(), 1);
    assert_eq!(interfaces(&cloud, 3_500).len(), 2);
    assert_eq!(interfaces(&cloud, 3_500)[1].interface_id, eni);
    cloud.assign_private_ip_addresses(&assign(&eni, secondaries(1)), at(4_000)).unwrap();
    assert_eq!(interfaces(&cloud, 4_999)[1].local_ipv4s.len(), 1);
    assert_eq!(interfaces(&cloud, 5_000)[1].local_ipv4s.len(), 2);
}

#[test]
fn stale_metadata_shows_the_past_for_a_time() {
    let mut cloud = cloud(EKS);
    cloud.inject(&Fault::StaleMetadata { instance: node(), seconds: 60.0 }, at(0)).unwrap();
    cloud.assign_private_ip_addresses(&assign(&EniId::new(NODE_ENI), secondaries(2)), at(0)).unwrap();
    let addresses = |cloud: &Cloud, time| cloud.metadata(&node(), at(time)).unwrap().interfaces[0].local_ipv4s.len();
    assert_eq!(addresses(&cloud, 59_999), 1);
    assert_eq!(addresses(&cloud, 60_000), 3);
}

#[test]
fn describe_goes_page_by_page_until_there_is_no_token() {
    let mut cloud = cloud(EKS);
    let fill = Fault::FillSubnet { subnet: SubnetId::new(PUBLIC_A), take: Some(9), leave_free: None };
    cloud.inject(&fill, at(0)).unwrap();
    let mut request: Describe<EniId> = Describe { max_results: Some(5), ..Describe::default() };
    let mut sizes = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let page = cloud.describe_network_interfaces(&request).unwrap();
        sizes.push(page.items.len());
        seen.extend(page.items.into_iter().map(|eni| eni.network_interface_id));
        let Some(token) = page.next_token else { break };
        request.next_token = Some(token);
    }
    assert_eq!(sizes, [5, 5, 5, 2]);
    assert_eq!(seen.len(), 17);
}

#[test]
fn bad_pages_filters_and_ids_are_refused() {
    let cloud = cloud(EKS);
    let bad = |request: &Describe<SubnetId>| cloud.describe_subnets(request).unwrap_err().code;
    let known = SubnetId::new(PUBLIC_A);
    let missing = SubnetId::new("subnet-00000000000000000");
    for (request, code) in [
        (Describe { max_results: Some(4), ..Describe::default() }, "InvalidParameterValue"),
        (Describe { max_results: Some(1_001), ..Describe::default() }, "InvalidParameterValue"),
        (Describe { max_results: Some(5), ..Describe::by_id([known.clone()]) }, "InvalidParameterCombination"),
        (Describe { next_token: Some("x".to_owned()), ..Describe::default() }, "InvalidNextToken"),
        (Describe::by_id([known, missing]), "InvalidSubnetID.NotFound"),
        (Describe::by_id([SubnetId::new("mine")]), "InvalidSubnetID.Malformed"),
        (Describe::by_filter([Filter::new("colour", ["red"])]), "InvalidParameterValue"),
    ] {
        assert_eq!(bad(&request), code, "{request:?}");
    }
}

#[test]
fn instance_types_are_found_by_name_and_filter() {
    let cloud = cloud(EKS);
    let found = cloud.describe_instance_types(&Describe::by_id(["t3.medium".to_owned()])).unwrap().items.remove(0);
    assert_eq!((found.maximum_network_interfaces, found.ipv4_addresses_per_interface), (3, 6));
    let page = cloud.describe_instance_types(&Describe { max_results: Some(100), ..Describe::default() }).unwrap();
    assert_eq!((page.items.len(), page.next_token.is_some()), (100, true));
    assert_eq!(cloud.describe_instance_types(&Describe::default()).unwrap().items.len(), 1_391);
    let error = cloud.describe_instance_types(&Describe::by_id(["t3.gigantic".to_owned()])).unwrap_err();
    assert_eq!(error.code, "InvalidInstanceType");
}

#[test]
fn the_agent_s_usual_questions_are_answered() {
    let cloud = cloud(EKS);
    let mine = Describe::by_filter([Filter::new("attachment.instance-id", [support::NODE])]);
    assert_eq!(cloud.describe_network_interfaces(&mine).unwrap().items.len(), 1);
    let zone = Describe::by_filter([
        Filter::new("vpc-id", [support::VPC]),
        Filter::new("availability-zone", ["ap-southeast-2a"]),
    ]);
    assert_eq!(cloud.describe_subnets(&zone).unwrap().items.len(), 2);
    let leaked = Describe::by_filter([
        Filter::new("status", ["available"]),
        Filter::new("tag-key", ["node.k8s.amazonaws.com/instance_id"]),
    ]);
    assert!(cloud.describe_network_interfaces(&leaked).unwrap().items.is_empty());
    let main = Describe::by_filter([Filter::new("association.main", ["true"]), Filter::new("vpc-id", [support::VPC])]);
    assert_eq!(cloud.describe_route_tables(&main).unwrap().items.len(), 1);
    let by_address =
        Describe::by_filter([Filter::new("network-interface.addresses.private-ip-address", ["10.0.208.27"])]);
    assert_eq!(cloud.describe_instances(&by_address).unwrap().items[0].instances[0].instance_id, node());
    assert_eq!(cloud.describe_availability_zones(&Describe::default()).unwrap().items.len(), 2);
}
