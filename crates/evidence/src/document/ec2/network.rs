//! Instances, peerings, route tables and the cluster, as the aws CLI prints them.

use freeboard_address::{Cidr, InstanceId, RouteTableId, SecurityGroupId, SubnetId, VpcId};
use freeboard_diagnosis::{EksCluster, Facts, Instance, Kind, Peering, PeeringSide, RouteTable};
use serde_json::Value;

use super::Document;
use crate::collector::merge;
use crate::tree::{at, list, text};

/// How a tag begins that names the cluster of an instance.
const CLUSTER_TAG: &str = "kubernetes.io/cluster/";

/// Reads the instances of one reservation.
pub(super) fn reservation(facts: &mut Facts, document: &mut Document<'_>, value: &Value) {
    for value in list(value, &["Instances"]) {
        let Some(id) = text(value, &["InstanceId"]) else { continue };
        let tags = list(value, &["Tags"]).iter().filter_map(|tag| text(tag, &["Key"]));
        let read = Instance {
            instance_type: text(value, &["InstanceType"]).map(str::to_owned),
            zone: text(value, &["Placement", "AvailabilityZone"]).map(str::to_owned),
            address: text(value, &["PrivateIpAddress"]).and_then(|address| address.parse().ok()),
            private_name: text(value, &["PrivateDnsName"]).filter(|name| !name.is_empty()).map(str::to_owned),
            state: text(value, &["State", "Name"]).unwrap_or_default().to_owned(),
            cluster: tags.filter_map(|key| key.strip_prefix(CLUSTER_TAG)).map(str::to_owned).next(),
        };
        let citation = document.cite(Kind::Ec2Instances, id);
        merge(&mut facts.instances, InstanceId::new(id), read, citation, |_, _| {});
    }
}

/// Reads a peering.
pub(super) fn peering(facts: &mut Facts, document: &mut Document<'_>, value: &Value) {
    let Some(id) = text(value, &["VpcPeeringConnectionId"]) else { return };
    let side = |key: &str| {
        let side = at(value, &[key]).unwrap_or(&Value::Null);
        let blocks = list(side, &["CidrBlockSet"]).iter().filter_map(|one| text(one, &["CidrBlock"])?.parse().ok());
        let mut blocks: Vec<Cidr> = blocks.collect();
        if let Some(own) = text(side, &["CidrBlock"]).and_then(|block| block.parse().ok())
            && !blocks.contains(&own)
        {
            blocks.insert(0, own);
        }
        PeeringSide { vpc: text(side, &["VpcId"]).map(VpcId::new), blocks }
    };
    let read = Peering {
        status: text(value, &["Status", "Code"]).unwrap_or_default().to_owned(),
        requester: side("RequesterVpcInfo"),
        accepter: side("AccepterVpcInfo"),
    };
    let citation = document.cite(Kind::AwsAnswer, id);
    merge(&mut facts.peerings, id.to_owned(), read, citation, |_, _| {});
}

/// Reads a route table.
pub(super) fn route_table(facts: &mut Facts, document: &mut Document<'_>, value: &Value) {
    let Some(id) = text(value, &["RouteTableId"]) else { return };
    let routes = list(value, &["Routes"]).iter().filter(|route| text(route, &["GatewayId"]) != Some("local"));
    let destinations = routes.filter_map(|route| text(route, &["DestinationCidrBlock"])?.parse::<Cidr>().ok());
    let subnets = list(value, &["Associations"]).iter().filter_map(|one| text(one, &["SubnetId"]));
    let read = RouteTable {
        vpc: text(value, &["VpcId"]).map(VpcId::new),
        subnets: subnets.map(SubnetId::new).collect(),
        destinations: destinations.filter(|destination| destination.length() > 0).collect(),
    };
    let citation = document.cite(Kind::AwsAnswer, id);
    merge(&mut facts.route_tables, RouteTableId::new(id), read, citation, |_, _| {});
}

/// Whether this is what `aws eks describe-cluster` prints.
pub(super) fn is_cluster(value: &Value) -> bool {
    value.get("resourcesVpcConfig").is_some() || value.get("kubernetesNetworkConfig").is_some()
}

/// Reads a cluster.
pub(super) fn cluster(facts: &mut Facts, document: &mut Document<'_>, value: &Value) {
    let Some(name) = text(value, &["name"]) else { return };
    let range = text(value, &["kubernetesNetworkConfig", "serviceIpv4Cidr"]);
    let read = EksCluster {
        service_range: range.and_then(|range| range.parse().ok()),
        security_group: text(value, &["resourcesVpcConfig", "clusterSecurityGroupId"]).map(SecurityGroupId::new),
    };
    let citation = document.cite(Kind::AwsAnswer, name);
    merge(&mut facts.eks_clusters, name.to_owned(), read, citation, |_, _| {});
}
