//! What EC2 says of a cluster's network, in the form in which the aws CLI prints it: read at once, or kept in an archive.

use std::collections::BTreeMap;

use freeboard_address::Cidr;
use freeboard_ec2::{
    DescribeInstances, DescribeNetworkInterfaces, DescribeRouteTables, DescribeSubnets, DescribeVpcPeeringConnections,
    DescribeVpcs, Ec2Client, Ec2Error, Instance, NetworkInterface, PeeringSide, RouteTable, Subnet, Vpc, VpcPeering,
};
use serde_json::{Value, json};

/// The answer to one `aws ec2 describe-…`.
pub(crate) struct Ec2Answer {
    /// What follows `aws ec2 describe-`.
    pub(crate) what: &'static str,
    /// The answer, or why there is none.
    pub(crate) answer: Result<Value, Ec2Error>,
}

/// Asks for everything that says how the network is used. What may not be asked is told; the rest is asked all the same.
pub(crate) async fn ask(client: &Ec2Client) -> Vec<Ec2Answer> {
    let vpcs = client.describe_vpcs(&DescribeVpcs::default()).await;
    let subnets = client.describe_subnets(&DescribeSubnets::default()).await;
    let interfaces = client.describe_network_interfaces(&DescribeNetworkInterfaces::default()).await;
    let instances = client.describe_instances(&DescribeInstances::default()).await;
    let tables = client.describe_route_tables(&DescribeRouteTables::default()).await;
    let peerings = client.describe_vpc_peering_connections(&DescribeVpcPeeringConnections::default()).await;
    let in_reservation = |instances: Vec<Instance>| json!({"Reservations": [{"Instances": instances.iter().map(instance).collect::<Vec<_>>()}]});
    vec![
        Ec2Answer { what: "vpcs", answer: vpcs.map(|all| list("Vpcs", &all, vpc)) },
        Ec2Answer { what: "subnets", answer: subnets.map(|all| list("Subnets", &all, subnet)) },
        Ec2Answer {
            what: "network-interfaces",
            answer: interfaces.map(|all| list("NetworkInterfaces", &all, interface)),
        },
        Ec2Answer { what: "instances", answer: instances.map(in_reservation) },
        Ec2Answer { what: "route-tables", answer: tables.map(|all| list("RouteTables", &all, route_table)) },
        Ec2Answer {
            what: "vpc-peering-connections",
            answer: peerings.map(|all| list("VpcPeeringConnections", &all, peering)),
        },
    ]
}

fn list<T>(key: &str, all: &[T], shape: impl Fn(&T) -> Value) -> Value {
    json!({key: all.iter().map(shape).collect::<Vec<_>>()})
}

fn tags(tags: &BTreeMap<String, String>) -> Value {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

fn vpc(vpc: &Vpc) -> Value {
    let blocks = vpc.cidr_associations.iter().map(|one| {
        let state = json!({"State": one.state.state.as_str(), "StatusMessage": one.state.status_message});
        json!({"AssociationId": one.id, "CidrBlock": one.cidr, "CidrBlockState": state})
    });
    json!({
        "CidrBlock": vpc.primary_cidr,
        "VpcId": vpc.id,
        "State": vpc.state,
        "OwnerId": vpc.owner_id,
        "CidrBlockAssociationSet": blocks.collect::<Vec<_>>(),
        "Tags": tags(&vpc.tags),
    })
}

fn subnet(subnet: &Subnet) -> Value {
    json!({
        "AvailabilityZone": subnet.zone,
        "AvailableIpAddressCount": subnet.available_addresses.0,
        "CidrBlock": subnet.cidr,
        "State": subnet.state,
        "SubnetId": subnet.id,
        "VpcId": subnet.vpc,
        "OwnerId": subnet.owner_id,
        "Tags": tags(&subnet.tags),
    })
}

fn interface(interface: &NetworkInterface) -> Value {
    let addresses = interface
        .addresses
        .iter()
        .map(|one| json!({"PrivateIpAddress": one.address.to_string(), "Primary": one.primary}));
    let prefixes = interface.prefixes.iter().map(|one| json!({"Ipv4Prefix": one.prefix}));
    let attachment = interface.attachment.as_ref().map(|one| {
        json!({
            "AttachmentId": one.id,
            "DeviceIndex": one.device_index,
            "NetworkCardIndex": one.network_card,
            "InstanceId": one.instance,
            "Status": one.status.as_str(),
        })
    });
    json!({
        "NetworkInterfaceId": interface.id,
        "SubnetId": interface.subnet,
        "VpcId": interface.vpc,
        "AvailabilityZone": interface.zone,
        "Description": interface.description,
        "InterfaceType": interface.interface_type,
        "OwnerId": interface.owner_id,
        "RequesterManaged": interface.requester_managed,
        "Status": interface.status.as_str(),
        "PrivateIpAddress": interface.primary_address.map(|address| address.to_string()),
        "PrivateIpAddresses": addresses.collect::<Vec<_>>(),
        "Ipv4Prefixes": prefixes.collect::<Vec<_>>(),
        "Attachment": attachment,
        "TagSet": tags(&interface.tags),
    })
}

fn instance(instance: &Instance) -> Value {
    json!({
        "InstanceId": instance.id,
        "InstanceType": instance.instance_type,
        "State": {"Name": instance.state.name.as_str()},
        "Placement": {"AvailabilityZone": instance.placement.zone},
        "SubnetId": instance.subnet,
        "VpcId": instance.vpc,
        "PrivateIpAddress": instance.private_ip_address.map(|address| address.to_string()),
        "PrivateDnsName": instance.private_dns_name,
        "Tags": tags(&instance.tags),
    })
}

fn route_table(table: &RouteTable) -> Value {
    let routes = table.routes.iter().map(|route| {
        json!({
            "DestinationCidrBlock": route.destination,
            "GatewayId": route.gateway_id,
            "NatGatewayId": route.nat_gateway_id,
            "TransitGatewayId": route.transit_gateway_id,
            "VpcPeeringConnectionId": route.vpc_peering_connection_id,
            "State": route.state.as_str(),
        })
    });
    let associations = table.associations.iter().map(|one| json!({"SubnetId": one.subnet, "Main": one.main}));
    json!({
        "RouteTableId": table.id,
        "VpcId": table.vpc,
        "Routes": routes.collect::<Vec<_>>(),
        "Associations": associations.collect::<Vec<_>>(),
    })
}

fn peering(peering: &VpcPeering) -> Value {
    let side = |side: &PeeringSide| {
        let blocks = side.cidrs.iter().map(|one| one.cidr);
        let blocks: Vec<Value> = blocks.map(|block: Cidr| json!({"CidrBlock": block})).collect();
        json!({"VpcId": side.vpc_id, "CidrBlockSet": blocks})
    };
    json!({
        "VpcPeeringConnectionId": peering.id,
        "Status": {"Code": peering.status.code},
        "RequesterVpcInfo": side(&peering.requester),
        "AccepterVpcInfo": side(&peering.accepter),
    })
}
