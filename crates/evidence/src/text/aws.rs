//! Tables (`--output table`) and tab-separated rows (`--output text`) of the aws CLI.

use std::sync::Arc;

use freeboard_address::{Cidr, SubnetId, VpcId};
use freeboard_diagnosis::{Citation, Kind, Subnet, Vpc, VpcBlock};

use super::Block;
use crate::collector::Collector;
use crate::document::{add_subnet, add_vpc, short_name};

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

/// A table while it goes by.
struct Table<'a> {
    block: &'a Block<'a>,
    header: Vec<String>,
    vertical: Record,
    tagged: Tagged,
    is_in_tags: bool,
    tag_key: String,
    counted: Vec<Kind>,
}

fn boxed(collector: &mut Collector, block: &Block<'_>) -> bool {
    let mut table = Table {
        block,
        header: Vec::new(),
        vertical: Record::default(),
        tagged: Tagged::Nothing,
        is_in_tags: false,
        tag_key: String::new(),
        counted: Vec::new(),
    };
    let mut is_answer = false;
    for (index, line) in block.text.lines().enumerate() {
        // A rule between rows says nothing.
        if line.trim_matches(['+', '-', '|', ' ']).is_empty() {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [title] = cells.as_slice() {
            is_answer |= title.starts_with("Describe");
            table.title(collector, title);
        } else {
            table.row(collector, &cells, block.first_line + u64::try_from(index).unwrap_or(0));
        }
    }
    table.title(collector, "");
    if is_answer && table.counted.is_empty() {
        collector.count(Kind::AwsAnswer);
    }
    is_answer || !table.counted.is_empty()
}

impl Table<'_> {
    /// The title of the answer or of a nested table: what was collected so far is whole.
    fn title(&mut self, collector: &mut Collector, title: &str) {
        let record = std::mem::take(&mut self.vertical);
        if store(collector, self.block, &record, &mut self.counted) {
            self.tagged = Tagged::of(&record);
        }
        self.header.clear();
        self.is_in_tags = title == "Tags";
    }

    fn row(&mut self, collector: &mut Collector, cells: &[&str], line: u64) {
        if let ([key, value], true) = (cells, self.is_in_tags) {
            // One tag stands as two rows, `Key` and `Value`; several stand as rows of their own.
            match *key {
                "Key" => (*value).clone_into(&mut self.tag_key),
                "Value" => self.tagged.tag(collector, &self.tag_key, value),
                key => self.tagged.tag(collector, key, value),
            }
            return;
        }
        let names =
            ["SubnetId", "CidrBlock", "CIDRBlock", "AvailabilityZone", "State", "VpcId", "AvailableIpAddressCount"];
        let text = cells.join(" ");
        if cells.iter().filter(|cell| names.contains(cell)).count() >= 2 {
            self.header = cells.iter().map(|cell| (*cell).to_owned()).collect();
        } else if self.header.len() == cells.len() {
            let pairs = self.header.iter().cloned().zip(cells.iter().map(|cell| (*cell).to_owned())).collect();
            store(collector, self.block, &Record { pairs, line, text }, &mut self.counted);
        } else if let [key, value] = cells {
            self.vertical.line = line;
            self.vertical.text = text;
            self.vertical.pairs.push(((*key).to_owned(), (*value).to_owned()));
        }
    }
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
                name: record.get("Name").map(short_name),
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

/// Rows of `--output text`: a title, then the values in the order of their keys in the alphabet, without the keys.
fn rows(collector: &mut Collector, block: &Block<'_>) -> bool {
    let mut counted = Vec::new();
    let mut tagged = Tagged::Nothing;
    for (index, line) in block.text.lines().enumerate() {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let line = block.first_line + u64::try_from(index).unwrap_or(0);
        let text = cells.join(" ");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let id = |prefix: &str| cells.iter().find(|cell| crate::subject::id(cell, prefix) == Some(**cell)).copied();
        let cidr = cells.iter().position(|cell| cell.parse::<Cidr>().is_ok());
        if let ["TAGS", key, value] = cells.as_slice() {
            tagged.tag(collector, key, value);
            continue;
        }
        let mut pairs = Vec::new();
        // Without a title it is what `--query` left of a row.
        let is_subnet = id("subnet-").is_some() && !matches!(cells.first(), Some(&("NETWORKINTERFACES" | "INSTANCES")));
        match (cells.first().copied(), cidr) {
            (Some("VPCS"), Some(at)) => {
                pairs.extend([pair("VpcId", id("vpc-").unwrap_or_default()), pair("CidrBlock", cells[at])]);
            }
            (_, Some(at)) if is_subnet => {
                pairs.extend([pair("SubnetId", id("subnet-").unwrap_or_default()), pair("CidrBlock", cells[at])]);
                // The count of free addresses stands right before the block.
                let count =
                    at.checked_sub(1).and_then(|before| cells.get(before).filter(|cell| cell.parse::<u64>().is_ok()));
                pairs.extend(count.map(|count| pair("AvailableIpAddressCount", count)));
                pairs.extend(cells.iter().find(|cell| is_zone(cell)).map(|zone| pair("AvailabilityZone", zone)));
                pairs.extend(id("vpc-").map(|vpc| pair("VpcId", vpc)));
            }
            _ => continue,
        }
        let record = Record { pairs, line, text };
        if store(collector, block, &record, &mut counted) {
            tagged = Tagged::of(&record);
        }
    }
    !counted.is_empty()
}

/// What the tags that follow belong to.
enum Tagged {
    Nothing,
    Subnet(SubnetId),
    Vpc(VpcId),
}

impl Tagged {
    fn of(record: &Record) -> Self {
        match (record.get("SubnetId"), record.get("VpcId")) {
            (Some(id), _) => Self::Subnet(SubnetId::new(id)),
            (None, Some(id)) => Self::Vpc(VpcId::new(id)),
            (None, None) => Self::Nothing,
        }
    }

    fn tag(&self, collector: &mut Collector, key: &str, value: &str) {
        let facts = collector.facts();
        match self {
            Self::Subnet(id) => {
                let Some(subnet) = facts.subnets.get_mut(id) else { return };
                match key {
                    "Name" => subnet.fact.name = Some(short_name(value)),
                    "kubernetes.io/role/cni" => subnet.fact.cni_role = Some(value.to_owned()),
                    _ => {}
                }
            }
            Self::Vpc(id) if key == "Name" => {
                if let Some(vpc) = facts.vpcs.get_mut(id) {
                    vpc.fact.name = Some(short_name(value));
                }
            }
            Self::Vpc(_) | Self::Nothing => {}
        }
    }
}

/// `ap-southeast-2a`
fn is_zone(cell: &str) -> bool {
    let mut bytes = cell.bytes().rev();
    let ends = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.next().is_some_and(|byte| byte.is_ascii_digit())
        && bytes.next() == Some(b'-');
    ends && cell.matches('-').count() >= 2
}
