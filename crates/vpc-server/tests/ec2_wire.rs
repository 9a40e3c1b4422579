//! The EC2 API over HTTP: what it says to bad input, that bad input changes nothing, paging, and faults on demand.

mod common;

use common::{Served, eventually, request, send, serve};
use http::Method;
use serde_json::{Value, json};

/// One large machine in a /20, and a /27 beside it.
const WORLD: &str = "
region: ap-southeast-2
availability_zones: [{ name: ap-southeast-2a, id: apse2-az1 }, { name: ap-southeast-2b, id: apse2-az3 }]
vpcs:
  - id: vpc-00000001
    cidr: 10.0.0.0/16
    subnets:
      - { id: subnet-00000001, cidr: 10.0.0.0/20, zone: ap-southeast-2a }
      - { id: subnet-00000002, cidr: 10.0.208.0/27, zone: ap-southeast-2b }
instances:
  - id: i-00000001
    type: m5.24xlarge
    interfaces: [{ id: eni-00000001, subnet: subnet-00000001, address: 10.0.0.4 }]
interfaces:
  - { id: eni-00000002, subnet: subnet-00000001 }
";

struct Bad {
    form: &'static str,
    status: u16,
    code: &'static str,
    text: &'static str,
}

const fn bad(form: &'static str, code: &'static str, text: &'static str) -> Bad {
    Bad { form, status: 400, code, text }
}

const BAD: &[Bad] = &[
    bad("Action=MakeCoffee", "InvalidAction", "MakeCoffee"),
    bad("", "MissingAction", "Action"),
    bad("Action=describeVpcs", "InvalidAction", "describeVpcs"),
    bad("Action=AssignPrivateIpAddresses", "MissingParameter", "NetworkInterfaceId"),
    bad("Action=CreateSubnet&VpcId=vpc-00000001", "MissingParameter", "CidrBlock"),
    bad("Action=CreateSubnet&VpcId=vpc-00000001&CidrBlock=10.0.1.0", "InvalidParameterValue", "(10.0.1.0)"),
    bad("Action=CreateSubnet&VpcId=vpc-00000001&CidrBlock=10.1.0.0/24", "InvalidSubnet.Range", "10.1.0.0/24"),
    bad("Action=CreateSubnet&VpcId=vpc-1&CidrBlock=10.0.32.0/24", "InvalidVpcID.Malformed", "vpc-1"),
    bad("Action=CreateSubnet&VpcId=vpc-00000009&CidrBlock=10.0.32.0/24", "InvalidVpcID.NotFound", "vpc-00000009"),
    bad("Action=DescribeSubnets&SubnetId.1=subnet-x", "InvalidSubnetID.Malformed", "subnet-x"),
    bad("Action=DescribeSubnets&SubnetId.1=subnet-00000009", "InvalidSubnetID.NotFound", "'subnet-00000009'"),
    bad("Action=DescribeSubnets&Subnet.1=subnet-00000001", "UnknownParameter", "Subnet.1"),
    bad("Action=DescribeSubnets&MaxResults=4", "InvalidParameterValue", "4"),
    bad("Action=DescribeSubnets&MaxResults=many", "InvalidParameterValue", "many"),
    bad("Action=DescribeSubnets&MaxResults=5&SubnetId.1=subnet-00000001", "InvalidParameterCombination", ""),
    bad("Action=DescribeSubnets&Filter.1.Name=colour&Filter.1.Value.1=red", "InvalidParameterValue", "colour"),
    bad("Action=DescribeSubnets&Filter.1.Value.1=red", "MissingParameter", "Filter.1.Name"),
    bad("Action=DescribeInstances&InstanceId.1=i-00000009", "InvalidInstanceID.NotFound", "'i-00000009'"),
    bad("Action=DescribeInstanceTypes&InstanceType.1=t9.huge", "InvalidInstanceType", "t9.huge"),
    bad("Action=DeleteNetworkInterface&NetworkInterfaceId=eni-00000001", "InvalidParameterValue", "currently in use"),
    bad(
        "Action=DetachNetworkInterface&AttachmentId=eni-attach-00000009",
        "InvalidAttachmentID.NotFound",
        "eni-attach-00000009",
    ),
    bad(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId=eni-00000001&PrivateIpAddress.1=10.0.208.9",
        "InvalidParameterValue",
        "10.0.208.9",
    ),
    bad(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId=eni-00000001&PrivateIpAddress.1=10.0.0",
        "InvalidParameterValue",
        "(10.0.0)",
    ),
    bad(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId=eni-00000001&SecondaryPrivateIpAddressCount=-1",
        "InvalidParameterValue",
        "(-1)",
    ),
    bad(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId=eni-00000001&SecondaryPrivateIpAddressCount=50",
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit.",
    ),
    bad(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId=eni-00000001&Ipv4PrefixCount=50",
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit.",
    ),
    bad(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId=eni-00000001&SecondaryPrivateIpAddressCount=1&PrivateIpAddress.1=10.0.0.9",
        "InvalidParameterCombination",
        "",
    ),
    bad(
        "Action=CreateNetworkInterface&SubnetId=subnet-00000002&PrivateIpAddress=10.0.0.9",
        "InvalidParameterValue",
        "10.0.0.9",
    ),
    bad(
        "Action=CreateNetworkInterface&SubnetId=subnet-00000002&SecondaryPrivateIpAddressCount=27",
        "InsufficientFreeAddressesInSubnet",
        "",
    ),
    bad("Action=CreateNetworkInterface&SubnetId=subnet-00000002&Ipv4PrefixCount=1", "InsufficientCidrBlocks", ""),
    bad(
        "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId=eni-00000001&SourceDestCheck.Value=true&Description.Value=x",
        "InvalidParameterCombination",
        "",
    ),
    bad("Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId=eni-00000001", "MissingParameter", ""),
    bad(
        "Action=RunInstances&ImageId=ami-00000001&MinCount=1&MaxCount=1&InstanceType=t9.huge&SubnetId=subnet-00000001",
        "InvalidParameterValue",
        "t9.huge",
    ),
    bad("Action=RunInstances&ImageId=ami-00000001&MaxCount=1", "MissingParameter", "MinCount"),
    bad(
        "Action=TerminateInstances&InstanceId.1=i-00000001&InstanceId.2=i-00000009",
        "InvalidInstanceID.NotFound",
        "i-00000009",
    ),
    bad("Action=CreateTags&ResourceId.1=vpc-00000001&Tag.1.Key=aws:x&Tag.1.Value=1", "InvalidTagKey.Malformed", "aws:"),
    bad("Action=DescribeVpcs&Version=2001-01-01", "NoSuchVersion", "2001-01-01"),
    Bad {
        form: "Action=DeleteSubnet&SubnetId=subnet-00000002&DryRun=true",
        status: 412,
        code: "DryRunOperation",
        text: "would have succeeded",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_and_changes_nothing() {
    let cloud = serve(WORLD).await;
    let before = cloud.state().await;
    for Bad { form, status, code, text } in BAD {
        println!("{form}");
        cloud.ec2(form).await.assert_refused(*status, code, text);
        assert_eq!(cloud.state().await, before, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixteenth_interface_and_the_prefix_after_the_last_are_refused() {
    let cloud = serve(WORLD).await;
    for index in 1..15 {
        let interface = cloud.ec2("Action=CreateNetworkInterface&SubnetId=subnet-00000001").await;
        attach(&cloud, interface.element("networkInterfaceId"), index).await;
    }
    // 49 prefixes and the primary address are the 50 addresses of an m5.24xlarge interface.
    let assign = "Action=AssignPrivateIpAddresses&NetworkInterfaceId=eni-00000001&Ipv4PrefixCount=";
    assert_eq!(cloud.ec2(&format!("{assign}49")).await.body.matches("<ipv4Prefix>").count(), 49);
    let before = cloud.state().await;
    cloud.ec2(&format!("{assign}1")).await.assert_refused(400, "PrivateIpAddressLimitExceeded", "will exceed limit");
    cloud.ec2(&format!("{assign}51")).await.assert_refused(400, "PrivateIpAddressLimitExceeded", "will exceed limit");
    let sixteenth =
        "Action=AttachNetworkInterface&NetworkInterfaceId=eni-00000002&InstanceId=i-00000001&DeviceIndex=15";
    cloud.ec2(sixteenth).await.assert_refused(400, "AttachmentLimitExceeded", "m5.24xlarge");
    let taken = "Action=AttachNetworkInterface&NetworkInterfaceId=eni-00000002&InstanceId=i-00000001&DeviceIndex=1";
    let answer = cloud.ec2(taken).await;
    assert_eq!(answer.status, 400);
    assert_eq!(cloud.state().await, before);
}

async fn attach(cloud: &Served, interface: &str, index: u32) {
    let form = format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={interface}&InstanceId=i-00000001&DeviceIndex={index}"
    );
    assert_eq!(cloud.ec2(&form).await.status, 200);
    let describe = format!("Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={interface}");
    eventually("the interface is attached", || async {
        cloud.ec2(&describe).await.body.contains("<status>attached</status>").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_end_and_a_strange_token_is_refused() {
    let cloud = serve(WORLD).await;
    for number in 0..6 {
        let form = format!("Action=CreateSubnet&VpcId=vpc-00000001&CidrBlock=10.0.{}.0/24", 32 + number);
        assert_eq!(cloud.ec2(&form).await.status, 200);
    }
    let first = cloud.ec2("Action=DescribeSubnets&MaxResults=5").await;
    assert_eq!(first.body.matches("<subnetId>").count(), 5);
    let token = url::form_urlencoded::byte_serialize(first.element("nextToken").as_bytes()).collect::<String>();
    let second = cloud.ec2(&format!("Action=DescribeSubnets&MaxResults=5&NextToken={token}")).await;
    assert_eq!(second.body.matches("<subnetId>").count(), 3);
    assert!(!second.body.contains("nextToken"));
    let answer = cloud.ec2("Action=DescribeSubnets&MaxResults=5&NextToken=strange").await;
    assert!(["InvalidNextToken", "InvalidPaginationToken"].contains(&answer.element("Code")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_as_good_as_a_post_and_another_method_is_none() {
    let cloud = serve(WORLD).await;
    let path = "/?Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=cidr&Filter.1.Value.1=10.0.*";
    let answer = send(cloud.at.ec2, request(Method::GET, path, &[], "")).await.unwrap();
    assert_eq!((answer.status, answer.element("vpcId")), (200, "vpc-00000001"));
    assert_eq!(answer.headers["content-type"], "text/xml;charset=UTF-8");
    assert_eq!(answer.headers["x-amzn-requestid"], answer.element("requestId"));
    let answer = send(cloud.at.ec2, request(Method::PUT, path, &[], "")).await.unwrap();
    answer.assert_refused(400, "InvalidRequest", "PUT");
    let long = "x".repeat(2 << 20);
    let answer = send(cloud.at.ec2, request(Method::POST, "/", &[], &long)).await.unwrap();
    assert_eq!(answer.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_has_had_its_effect() {
    let cloud = serve(WORLD).await;
    let fault = json!({ "lose_answer": { "action": "CreateNetworkInterface", "count": 1 } });
    assert_eq!(cloud.control(Method::POST, "/faults", &fault.to_string()).await.0, 200);
    let form = "Action=CreateNetworkInterface&SubnetId=subnet-00000002&Description=lost";
    assert!(cloud.try_ec2(form).await.is_none());
    let found = cloud.ec2("Action=DescribeNetworkInterfaces&Filter.1.Name=description&Filter.1.Value.1=lost").await;
    assert!(found.element("networkInterfaceId").starts_with("eni-"));
    assert_eq!(cloud.ec2(form).await.status, 200, "only one answer is lost");
    let (_, calls) = cloud.control(Method::GET, "/calls", "").await;
    assert_eq!(calls["CreateNetworkInterface"], json!({ "calls": 2, "refused": {}, "answers_lost": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_come_and_go_by_the_control_endpoint() {
    let cloud = serve(WORLD).await;
    let faults = json!([
        { "throttle": { "action": "Describe*", "seconds": 3600.0 } },
        { "error": { "action": "CreateSubnet", "code": "UnauthorizedOperation", "message": "not you", "count": 1 } },
    ]);
    assert_eq!(cloud.control(Method::POST, "/faults", &faults.to_string()).await, (200, json!({ "injected": 2 })));
    cloud.ec2("Action=DescribeVpcs").await.assert_refused(503, "RequestLimitExceeded", "Request limit exceeded.");
    let create = "Action=CreateSubnet&VpcId=vpc-00000001&CidrBlock=10.0.32.0/24";
    cloud.ec2(create).await.assert_refused(403, "UnauthorizedOperation", "not you");
    assert_eq!(cloud.ec2(create).await.status, 200);
    assert_eq!(cloud.control(Method::DELETE, "/faults", "").await.0, 200);
    assert_eq!(cloud.ec2("Action=DescribeVpcs").await.status, 200);
    let (_, calls) = cloud.control(Method::GET, "/calls", "").await;
    assert_eq!(calls["DescribeVpcs"]["refused"], json!({ "RequestLimitExceeded": 1 }));
    assert_eq!(cloud.control(Method::DELETE, "/calls", "").await.0, 200);
    assert_eq!(cloud.control(Method::GET, "/calls", "").await.1, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_endpoint_refuses_what_makes_no_sense() {
    let cloud = serve(WORLD).await;
    let before = cloud.state().await;
    let half = json!([
        { "throttle": { "action": "DescribeVpcs", "seconds": 60.0 } },
        { "remove_interface": { "interface": "eni-00000009" } },
    ]);
    for (method, path, body, status, text) in [
        (Method::GET, "/nothing", String::new(), 404, "/nothing"),
        (Method::POST, "/state", String::new(), 405, "POST"),
        (Method::PUT, "/speed", "{\"speed\": 0}".to_owned(), 400, "speed is 0"),
        (Method::PUT, "/speed", "fast".to_owned(), 400, "the body is not a speed"),
        (Method::POST, "/faults", "{\"explode\": {}}".to_owned(), 400, "the body is not a fault"),
        (Method::POST, "/faults", half.to_string(), 400, "fault 2: no network interface eni-00000009"),
    ] {
        let (found, answer) = cloud.control(method, path, &body).await;
        assert_eq!(found, status, "{path} {body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(text), "{path} {body}: {answer}");
    }
    assert_eq!(cloud.state().await, before);
    assert_eq!(
        cloud.ec2("Action=DescribeVpcs").await.status,
        200,
        "the first of two faults must not have been injected"
    );
    assert_eq!(cloud.control(Method::PUT, "/speed", "{\"speed\": 8}").await, (200, json!({ "speed": 8.0 })));
    assert_eq!(cloud.state().await["speed"], Value::from(8.0));
}
