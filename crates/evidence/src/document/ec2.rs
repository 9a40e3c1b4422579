//! Answers of the aws CLI as JSON, whole or cut to a few keys by `--query`.

mod network;

use std::net::Ipv4Addr;
use std::sync::Arc;

use freeboard_address::{Cidr, EniId, InstanceId, SubnetId, VpcId};
use freeboard_diagnosis::{Citation, Facts, Interface, Kind, Subnet, Vpc, VpcBlock};
use serde_json::Value;

use super::Document;
use crate::collector::{Collector, fill, merge};
use crate::tree::{list, number, text};

/// The tag by which the CNI marks its interfaces.
const CNI_TAG: &str = "node.k8s.amazonaws.com/instance_id";
/// How the CNI begins the description of its interfaces.
const CNI_DESCRIPTION: &str = "aws-K8S-";

/// Reads one element of an answer.
type Reader = fn(&mut Facts, &mut Document<'_>, &Value);

/// Reads an answer; says whether it was one.
pub(super) fn read(collector: &mut Collector, document: &mut Document<'_>, value: &Value) -> bool {
    let answers: [(&str, Kind, Reader); 6] = [
        ("Subnets", Kind::Ec2Subnets, subnet),
        ("Vpcs", Kind::Ec2Vpcs, vpc),
        ("NetworkInterfaces", Kind::Ec2Interfaces, interface),
        ("Reservations", Kind::Ec2Instances, network::reservation),
        ("VpcPeeringConnections", Kind::AwsAnswer, network::peering),
        ("RouteTables", Kind::AwsAnswer, network::route_table),
    ];
    for (key, kind, reader) in answers {
        if let Some(values) = value.get(key).and_then(Value::as_array) {
            collector.count(kind);
            for value in values {
                reader(collector.facts(), document, value);
            }
            return true;
        }
    }
    if let Some(cluster) = value.get("cluster").filter(|cluster| network::is_cluster(cluster)) {
        collector.count(Kind::AwsAnswer);
        network::cluster(collector.facts(), document, cluster);
        return true;
    }
    if value.get("SubnetId").is_some() && value.get("CidrBlock").is_some() {
        collector.count(Kind::Ec2Subnets);
        subnet(collector.facts(), document, value);
        return true;
    }
    if value.get("VpcId").is_some() && value.get("CidrBlockAssociationSet").is_some() {
        collector.count(Kind::Ec2Vpcs);
        vpc(collector.facts(), document, value);
        return true;
    }
    // `aws eks describe-nodegroup` tells of subnets without addresses in its health.
    if let Some(group) = value.get("nodegroup") {
        collector.count(Kind::AwsAnswer);
        node_group(collector, document, group);
        return true;
    }
    let known =
        ["SecurityGroups", "AvailabilityZones", "InstanceTypes", "Tags", "cluster", "addon", "Subnet", "Addresses"];
    if known.iter().any(|key| value.get(key).is_some_and(|inner| inner.is_array() || inner.is_object()))
        && value.get("metadata").is_none()
    {
        collector.count(Kind::AwsAnswer);
        return true;
    }
    false
}

/// Reads what `--query` makes: a list of subnets, or a list of lists of VPC blocks.
pub(super) fn read_list(collector: &mut Collector, document: &mut Document<'_>, values: &[Value]) -> bool {
    let is_subnet = |value: &Value| value.get("SubnetId").is_some() && value.get("CidrBlock").is_some();
    if !values.is_empty() && values.iter().all(is_subnet) {
        collector.count(Kind::Ec2Subnets);
        for value in values {
            subnet(collector.facts(), document, value);
        }
        return true;
    }
    let blocks: Vec<&Value> =
        values.iter().flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)).collect();
    let block = |value: &Value| {
        text(value, &["CIDRBlock"]).or_else(|| text(value, &["CidrBlock"])).and_then(|cidr| cidr.parse::<Cidr>().ok())
    };
    let is_block = |value: &&Value| {
        block(value).is_some() && (value.get("State").is_some() || value.get("CidrBlockState").is_some())
    };
    if blocks.is_empty() || !blocks.iter().all(is_block) {
        return false;
    }
    collector.count(Kind::Ec2Vpcs);
    let blocks = blocks.iter().filter_map(|value| {
        let state = text(value, &["State"]).or_else(|| text(value, &["CidrBlockState", "State"]));
        Some(VpcBlock { cidr: block(value)?, state: state.map(str::to_owned) })
    });
    let citation = document.cite(Kind::Ec2Vpcs, "lock");
    add_vpc(collector.facts(), VpcId::new(""), Vpc { blocks: blocks.collect(), name: None }, citation);
    true
}

fn tag<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    let tags = ["Tags", "TagSet"].into_iter().flat_map(|name| list(value, &[name]));
    tags.into_iter().find(|tag| text(tag, &["Key"]) == Some(key)).map(|tag| text(tag, &["Value"]).unwrap_or_default())
}

fn subnet(facts: &mut Facts, document: &mut Document<'_>, value: &Value) {
    let Some((id, cidr)) =
        text(value, &["SubnetId"]).zip(text(value, &["CidrBlock"]).and_then(|cidr| cidr.parse().ok()))
    else {
        return;
    };
    let read = Subnet {
        cidr,
        zone: text(value, &["AvailabilityZone"]).map(str::to_owned),
        free_addresses: number(value, &["AvailableIpAddressCount"]),
        name: tag(value, "Name").map(short_name),
        vpc: text(value, &["VpcId"]).map(VpcId::new),
        cni_role: tag(value, "kubernetes.io/role/cni").map(str::to_owned),
    };
    // The line of the block tells people more than that of the id.
    let block = text(value, &["CidrBlock"]).unwrap_or(id);
    let citation = document.cite(Kind::Ec2Subnets, block);
    add_subnet(facts, SubnetId::new(id), read, citation);
}

/// The short end of a name that CloudFormation made: `…-stack-PublicSubnet01` is `PublicSubnet01`.
#[must_use]
pub fn short_name(name: &str) -> String {
    name.rsplit_once("stack-").or_else(|| name.rsplit_once('/')).map_or(name, |(_, end)| end).to_owned()
}

/// Adds a subnet; of two readings that count different addresses, the difference is noted.
pub(crate) fn add_subnet(facts: &mut Facts, id: SubnetId, read: Subnet, citation: Citation) {
    if let Some(known) = facts.subnets.get(&id)
        && let (Some(before), Some(now)) = (known.free_addresses, read.free_addresses)
        && before != now
    {
        let sentence =
            format!("{id} has {before} addresses free in {} and {now} in {}.", known.citation.file, citation.file);
        facts.contradictions.push(freeboard_diagnosis::Cited { fact: sentence, citation: citation.clone() });
    }
    merge(&mut facts.subnets, id, read, citation, |new, old| {
        fill(&mut new.zone, &old.zone);
        fill(&mut new.free_addresses, &old.free_addresses);
        fill(&mut new.name, &old.name);
        fill(&mut new.vpc, &old.vpc);
        fill(&mut new.cni_role, &old.cni_role);
    });
}

/// Adds a VPC.
pub(crate) fn add_vpc(facts: &mut Facts, id: VpcId, read: Vpc, citation: Citation) {
    merge(&mut facts.vpcs, id, read, citation, |new, old| {
        fill(&mut new.name, &old.name);
        for block in &old.blocks {
            if !new.blocks.iter().any(|one| one.cidr == block.cidr) {
                new.blocks.push(block.clone());
            }
        }
    });
}

fn vpc(facts: &mut Facts, document: &mut Document<'_>, value: &Value) {
    let id = text(value, &["VpcId"]).unwrap_or_default();
    let primary = text(value, &["CidrBlock"]).and_then(|cidr| cidr.parse::<Cidr>().ok());
    let mut blocks: Vec<VpcBlock> = list(value, &["CidrBlockAssociationSet"])
        .iter()
        .filter_map(|one| {
            let cidr = text(one, &["CidrBlock"])?.parse().ok()?;
            Some(VpcBlock { cidr, state: text(one, &["CidrBlockState", "State"]).map(str::to_owned) })
        })
        .collect();
    if let Some(cidr) = primary.filter(|cidr| !blocks.iter().any(|block| block.cidr == *cidr)) {
        blocks.insert(0, VpcBlock { cidr, state: None });
    }
    // What is gone is no block of the VPC any more.
    blocks.retain(|block| !matches!(block.state.as_deref(), Some("disassociating" | "disassociated")));
    let citation = document.cite(Kind::Ec2Vpcs, id);
    add_vpc(facts, VpcId::new(id), Vpc { blocks, name: tag(value, "Name").map(short_name) }, citation);
}

fn interface(facts: &mut Facts, document: &mut Document<'_>, value: &Value) {
    let Some(id) = text(value, &["NetworkInterfaceId"]) else { return };
    let description = text(value, &["Description"]).unwrap_or_default();
    let singles = list(value, &["PrivateIpAddresses"]);
    let prefixes = list(value, &["Ipv4Prefixes"]);
    let is_primary = |one: &&Value| one.get("Primary") == Some(&Value::Bool(true));
    let address = |one: &Value| text(one, &["PrivateIpAddress"])?.parse::<Ipv4Addr>().ok();
    let own = singles.iter().find(is_primary).and_then(address);
    let further = singles.iter().filter(|one| !is_primary(one)).filter_map(address).map(Cidr::host);
    let blocks = prefixes.iter().filter_map(|one| text(one, &["Ipv4Prefix"])?.parse::<Cidr>().ok());
    let read = Interface {
        subnet: text(value, &["SubnetId"]).map(SubnetId::new),
        status: text(value, &["Status"]).unwrap_or_default().to_owned(),
        instance: text(value, &["Attachment", "InstanceId"]).map(InstanceId::new),
        description: description.to_owned(),
        addresses: u64::try_from(singles.len() + prefixes.len() * 16).unwrap_or(u64::MAX),
        primary: own.or_else(|| address(value)),
        secondary: further.chain(blocks).collect(),
        made_by_cni: tag(value, CNI_TAG).is_some() || description.starts_with(CNI_DESCRIPTION),
    };
    let citation = document.cite(Kind::Ec2Interfaces, id);
    merge(&mut facts.interfaces, EniId::new(id), read, citation, |_, _| {});
}

fn node_group(collector: &mut Collector, document: &mut Document<'_>, group: &Value) {
    for issue in list(group, &["health", "issues"]) {
        let words = [text(issue, &["code"]).unwrap_or_default(), text(issue, &["message"]).unwrap_or_default()];
        let text = format!("health {}: {}", words[0], words[1]);
        let line = document.find(words[0]);
        let resources = list(issue, &["resourceIds"]).iter().filter_map(Value::as_str);
        let subnet = resources.into_iter().find(|id| id.starts_with("subnet-")).map(SubnetId::new);
        let about = freeboard_diagnosis::Subject { subnet, ..Default::default() };
        let message = crate::log::Message {
            file: &Arc::clone(document.file),
            line,
            kind: Kind::AwsAnswer,
            text: &text,
            about,
            first: None,
            last: None,
            count: 1,
        };
        crate::log::note(collector, &message);
    }
}
