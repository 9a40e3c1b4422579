//! Tables (`--output table`) and tab-separated rows (`--output text`) of the aws CLI.

use std::sync::Arc;

use freeboard_address::{Cidr, SubnetId, VpcId};
use freeboard_diagnosis::{Citation, Kind, Subnet, Vpc, VpcBlock};

use super::Block;
use crate::collector::Collector;
use crate::document::{add_subnet, add_vpc};

/// Reads tables and rows; says whether there were any.
pub(super) fn read(collector: &mut Collector, block: &Block<'_>) -> bool {
    if block.text.lines().any(|line| line.starts_with("|  ") || line.starts_with("||")) {
        return boxed(collector, block);
    }
    rows(collector, block)
}

/// What a row or a run of `key | value` rows of a table says.
#[derive(Default)]
struct Record {
    pairs: Vec<(String, String)>,
    line: u64,
    text: String,
}

impl Record {
    fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty() && *value != "None")
    }
}

fn boxed(collector: &mut Collector, block: &Block<'_>) -> bool {
    let mut header: Vec<String> = Vec::new();
    let mut vertical = Record::default();
    let mut is_known = false;
    let mut counted = Vec::new();
    for (index, line) in block.text.lines().enumerate() {
        let number = block.first_line + u64::try_from(index).unwrap_or(0);
        let is_rule = line.trim_matches(['+', '-', '|', ' ']).is_empty();
        if is_rule {
            continue;
        }
        let inner = line.trim_matches('|');
        let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
        if let [title] = cells.as_slice() {
            // The title of the answer or of a nested table: a new record begins.
            is_known |= store(collector, block, &vertical, &mut counted);
            vertical = Record::default();
            header.clear();
            if title.starts_with("Describe") {
                is_known = true;
            }
            continue;
        }
        let names_something = |cell: &String| {
            matches!(
                cell.as_str(),
                "SubnetId"
                    | "CidrBlock"
                    | "CIDRBlock"
                    | "AvailabilityZone"
                    | "State"
                    | "VpcId"
                    | "AvailableIpAddressCount"
            )
        };
        if cells.iter().filter(|cell| names_something(cell)).count() >= 2 {
            header = cells;
        } else if header.len() == cells.len() && !header.is_empty() {
            let record = Record {
                pairs: header.iter().cloned().zip(cells).collect(),
                line: number,
                text: inner.trim().to_owned(),
            };
            is_known |= store(collector, block, &record, &mut counted);
        } else if let [key, value] = cells.as_slice() {
            if vertical.pairs.iter().any(|(name, _)| name == key) {
                is_known |= store(collector, block, &vertical, &mut counted);
                vertical = Record::default();
            }
            vertical.line = number;
            vertical.text = inner.trim().to_owned();
            vertical.pairs.push((key.clone(), value.clone()));
        }
    }
    store(collector, block, &vertical, &mut counted) || is_known
}

fn store(collector: &mut Collector, block: &Block<'_>, record: &Record, counted: &mut Vec<Kind>) -> bool {
    let cidr = record.get("CidrBlock").and_then(|cidr| cidr.parse::<Cidr>().ok());
    let citation = |kind| Citation {
        file: Arc::clone(block.file),
        line: Some(record.line),
        kind,
        excerpt: record.text.split_whitespace().collect::<Vec<_>>().join(" ").into(),
    };
    let kind = match (record.get("SubnetId"), cidr, record.get("State")) {
        (Some(id), Some(cidr), _) => {
            let read = Subnet {
                cidr,
                zone: record.get("AvailabilityZone").map(str::to_owned),
                free_addresses: record.get("AvailableIpAddressCount").and_then(|count| count.parse().ok()),
                name: record.get("Name").map(str::to_owned),
                vpc: record.get("VpcId").map(VpcId::new),
                cni_role: None,
            };
            add_subnet(collector.facts(), SubnetId::new(id), read, citation(Kind::Ec2Subnets));
            Kind::Ec2Subnets
        }
        (None, Some(cidr), state) if state.is_some() || record.get("VpcId").is_some() => {
            let block = VpcBlock { cidr, state: state.map(str::to_owned) };
            let id = VpcId::new(record.get("VpcId").unwrap_or_default());
            let citation = citation(Kind::Ec2Vpcs);
            let name = record.get("Name").map(str::to_owned);
            // The newest row goes last, as EC2 lists the primary block first.
            let mut blocks: Vec<VpcBlock> =
                collector.facts().vpcs.get(&id).map(|vpc| vpc.blocks.clone()).unwrap_or_default();
            if !blocks.iter().any(|one| one.cidr == block.cidr) {
                blocks.push(block);
            }
            add_vpc(collector.facts(), id, Vpc { blocks, name }, citation);
            Kind::Ec2Vpcs
        }
        _ => return false,
    };
    if !counted.contains(&kind) {
        counted.push(kind);
        collector.count(kind);
    }
    true
}

/// `SUBNETS	False	ap-southeast-2a	apse2-az1	0	10.0.208.0/27	…	subnet-…	vpc-…`: the keys in order of the alphabet, without names.
fn rows(collector: &mut Collector, block: &Block<'_>) -> bool {
    let mut is_known = false;
    for (index, line) in block.text.lines().enumerate() {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let number = block.first_line + u64::try_from(index).unwrap_or(0);
        let cidr = cells.iter().enumerate().find_map(|(at, cell)| Some((at, cell.parse::<Cidr>().ok()?)));
        let subnet = cells.iter().find(|cell| crate::subject::id(cell, "subnet-") == Some(**cell));
        let ((at, cidr), Some(subnet)) = (
            match cidr {
                Some(found) => found,
                None => continue,
            },
            subnet,
        ) else {
            continue;
        };
        let count = at.checked_sub(1).and_then(|before| cells.get(before)?.parse().ok());
        let read = Subnet {
            cidr,
            zone: cells.iter().find(|cell| is_zone(cell)).map(|zone| (*zone).to_owned()),
            free_addresses: count,
            name: None,
            vpc: cells.iter().find(|cell| crate::subject::id(cell, "vpc-") == Some(**cell)).map(|vpc| VpcId::new(*vpc)),
            cni_role: None,
        };
        let citation = Citation {
            file: Arc::clone(block.file),
            line: Some(number),
            kind: Kind::Ec2Subnets,
            excerpt: cells.join(" ").into(),
        };
        add_subnet(collector.facts(), SubnetId::new(*subnet), read, citation);
        if !is_known {
            collector.count(Kind::Ec2Subnets);
        }
        is_known = true;
    }
    is_known
}

/// `ap-southeast-2a`
fn is_zone(cell: &str) -> bool {
    let mut bytes = cell.bytes().rev();
    let ends = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.next().is_some_and(|byte| byte.is_ascii_digit())
        && bytes.next() == Some(b'-');
    ends && cell.matches('-').count() >= 2
}
