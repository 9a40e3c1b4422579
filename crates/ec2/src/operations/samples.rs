//! Answers as EC2 gives them: indented and not, in another order than ours, with elements that nothing here reads.

use std::net::Ipv4Addr;

use freeboard_address::{Addresses, Cidr};

use super::*;
use crate::client::{Operation, Page};
use crate::xml::read;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn pages<O: Operation<Answer: Page>>(body: &str) -> (Vec<<O::Answer as Page>::Item>, Option<String>) {
    read::<O::Answer>(body).unwrap().split()
}

const INTERFACES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>8f4f8a37-0000-4000-8000-000000000001</requestId>
    <networkInterfaceSet>
        <item>
            <tagSet><item><key>node.k8s.amazonaws.com/instance_id</key><value>i-0b1</value></item><item><key>empty</key><value/></item></tagSet>
            <networkInterfaceId>eni-0e25a8b1</networkInterfaceId>
            <subnetId>subnet-0a4c85f9</subnetId>
            <vpcId>vpc-0a1b</vpcId>
            <availabilityZone>ap-southeast-2a</availabilityZone>
            <description>aws-K8S-i-0b1 &lt;1&gt;</description>
            <ownerId>111122223333</ownerId>
            <requesterManaged>false</requesterManaged>
            <status>in-use</status>
            <macAddress>02:74:b0:72:79:61</macAddress>
            <privateIpAddress>10.0.208.12</privateIpAddress>
            <privateDnsName>ip-10-0-208-12.ap-southeast-2.compute.internal</privateDnsName>
            <sourceDestCheck>true</sourceDestCheck>
            <groupSet><item><groupId>sg-0c1</groupId><groupName>nodes</groupName></item></groupSet>
            <attachment>
                <attachmentId>eni-attach-0d1</attachmentId>
                <instanceId>i-0b1</instanceId>
                <instanceOwnerId>111122223333</instanceOwnerId>
                <deviceIndex>1</deviceIndex>
                <networkCardIndex>0</networkCardIndex>
                <status>attaching</status>
                <attachTime>2012-07-01T21:45:27.000Z</attachTime>
                <deleteOnTermination>false</deleteOnTermination>
            </attachment>
            <privateIpAddressesSet>
                <item><privateIpAddress>10.0.208.12</privateIpAddress><primary>true</primary></item>
                <item><primary>false</primary><privateIpAddress>10.0.208.13</privateIpAddress></item>
            </privateIpAddressesSet>
            <ipv4PrefixSet><item><ipv4Prefix>10.0.208.16/28</ipv4Prefix></item></ipv4PrefixSet>
            <ipv6AddressesSet/>
            <interfaceType>interface</interfaceType>
        </item>
        <item><networkInterfaceId>eni-2</networkInterfaceId><subnetId>s</subnetId><vpcId>v</vpcId><status>frozen</status><macAddress>02:00:00:00:00:02</macAddress><tagSet/></item>
    </networkInterfaceSet>
    <nextToken>page-2</nextToken>
</DescribeNetworkInterfacesResponse>"#;

#[test]
fn interfaces_are_read_whole_and_sparse() {
    let (interfaces, token) = pages::<DescribeNetworkInterfaces>(INTERFACES);
    assert_eq!((interfaces.len(), token.as_deref()), (2, Some("page-2")));
    let whole = &interfaces[0];
    assert_eq!(whole.description, "aws-K8S-i-0b1 <1>");
    assert_eq!(
        (whole.status.clone(), whole.primary_address),
        (InterfaceStatus::InUse, Some(Ipv4Addr::new(10, 0, 208, 12)))
    );
    assert_eq!(whole.secondary_addresses().collect::<Vec<_>>(), [Ipv4Addr::new(10, 0, 208, 13)]);
    assert_eq!(whole.prefixes, [InterfacePrefix { prefix: cidr("10.0.208.16/28") }]);
    let attachment = whole.attachment.as_ref().unwrap();
    assert_eq!((attachment.device_index, &attachment.status), (1, &AttachmentStatus::Attaching));
    assert!(!attachment.delete_on_termination && whole.source_dest_check);
    assert_eq!(whole.tags["node.k8s.amazonaws.com/instance_id"], "i-0b1");
    assert_eq!(whole.tags["empty"], "");
    let sparse = &interfaces[1];
    assert_eq!(sparse.status, InterfaceStatus::Other("frozen".to_owned()));
    assert_eq!((sparse.attachment.clone(), sparse.addresses.len(), sparse.tags.len()), (None, 0, 0));
}

#[test]
fn instances_come_out_of_their_reservations_and_a_terminated_one_has_no_place() {
    let (instances, token) = pages::<DescribeInstances>(
        "<DescribeInstancesResponse><requestId>r</requestId><reservationSet><item><reservationId>r-1</reservationId><groupSet/>\
         <instancesSet><item><instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>\
         <instanceType>t3.small</instanceType><launchTime>2026-11-24T12:00:00.000Z</launchTime><placement>\
         <availabilityZone>ap-southeast-2b</availabilityZone><tenancy>default</tenancy></placement><subnetId>s</subnetId>\
         <vpcId>v</vpcId><privateIpAddress>10.0.224.5</privateIpAddress><networkInterfaceSet><item><networkInterfaceId>eni-1\
         </networkInterfaceId><subnetId>s</subnetId><vpcId>v</vpcId><status>in-use</status><macAddress>02:00:00:00:00:01\
         </macAddress><attachment><attachmentId>a</attachmentId><deviceIndex>0</deviceIndex><status>attached</status>\
         <deleteOnTermination>true</deleteOnTermination></attachment></item></networkInterfaceSet></item></instancesSet></item>\
         <item><instancesSet><item><instanceId>i-2</instanceId><instanceState><code>48</code><name>terminated</name>\
         </instanceState><subnetId/><vpcId></vpcId></item></instancesSet></item></reservationSet></DescribeInstancesResponse>",
    );
    assert_eq!(token, None);
    let [running, terminated] = instances.as_slice() else { panic!("{instances:?}") };
    assert_eq!(running.state.name, InstanceStateName::Running);
    assert_eq!(
        (running.placement.zone.as_str(), running.private_ip_address),
        ("ap-southeast-2b", Some(Ipv4Addr::new(10, 0, 224, 5)))
    );
    assert_eq!(running.launch_time.unwrap().to_string(), "2026-11-24T12:00:00Z");
    assert!(running.interfaces[0].attachment.as_ref().unwrap().delete_on_termination);
    assert_eq!(terminated.state.name, InstanceStateName::Terminated);
    assert_eq!((terminated.subnet.clone(), terminated.vpc.clone()), (None, None));
}

#[test]
fn networks_are_read() {
    let (vpcs, _) = pages::<DescribeVpcs>(
        "<r><vpcSet><item><vpcId>vpc-1</vpcId><cidrBlock>10.0.0.0/16</cidrBlock><state>available</state>\
         <cidrBlockAssociationSet><item><associationId>a-1</associationId><cidrBlock>10.0.0.0/16</cidrBlock><cidrBlockState>\
         <state>associated</state></cidrBlockState></item><item><associationId>a-2</associationId><cidrBlock>100.64.0.0/20\
         </cidrBlock><cidrBlockState><state>associating</state><statusMessage/></cidrBlockState></item>\
         </cidrBlockAssociationSet></item></vpcSet></r>",
    );
    assert_eq!(vpcs[0].associated_cidrs().collect::<Vec<_>>(), [cidr("10.0.0.0/16")]);
    assert_eq!(vpcs[0].cidr_associations[1].cidr, cidr("100.64.0.0/20"));

    let (subnets, _) = pages::<DescribeSubnets>(
        "<r><subnetSet><item><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><cidrBlock>10.0.208.0/27</cidrBlock>\
         <availableIpAddressCount>0</availableIpAddressCount><availabilityZone>a</availabilityZone>\
         <mapPublicIpOnLaunch>true</mapPublicIpOnLaunch></item></subnetSet></r>",
    );
    assert_eq!((subnets[0].available_addresses, subnets[0].map_public_ip_on_launch), (Addresses(0), true));

    let (tables, _) = pages::<DescribeRouteTables>(
        "<r><routeTableSet><item><routeTableId>rtb-1</routeTableId><vpcId>vpc-1</vpcId><routeSet><item><destinationCidrBlock>\
         10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId><state>active</state></item><item>\
         <destinationIpv6CidrBlock>::/0</destinationIpv6CidrBlock><state>blackhole</state></item></routeSet><associationSet>\
         <item><routeTableAssociationId>rtbassoc-1</routeTableAssociationId><main>true</main></item></associationSet></item>\
         </routeTableSet></r>",
    );
    assert_eq!(tables[0].routes[0].gateway_id.as_deref(), Some("local"));
    assert_eq!((tables[0].routes[1].destination, &tables[0].routes[1].state), (None, &RouteState::Blackhole));
    assert!(tables[0].associations[0].main && tables[0].associations[0].subnet.is_none());
}

#[test]
fn an_assignment_names_what_is_new() {
    let body = "<AssignPrivateIpAddressesResponse><requestId>r</requestId><networkInterfaceId>eni-1</networkInterfaceId>\
                <assignedIpv4PrefixSet><item><ipv4Prefix>10.0.1.16/28</ipv4Prefix></item></assignedIpv4PrefixSet>\
                <return>true</return></AssignPrivateIpAddressesResponse>";
    let assigned = Assigned::from(read::<<AssignPrivateIpAddresses as Operation>::Answer>(body).unwrap());
    assert_eq!(assigned, Assigned { addresses: Vec::new(), prefixes: vec![cidr("10.0.1.16/28")] });
}
