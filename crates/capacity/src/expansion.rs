//! More room: which block a VPC gets, and which subnet of it each zone.

use std::collections::BTreeMap;

use freeboard_address::{Cidr, RouteTableId, SecurityGroupId, SubnetId, VpcId};
use serde::Serialize;

use crate::check::{Objection, Weight, free_block, objections};
use crate::outlook::ZoneModel;
use crate::{Inventory, RESERVED_PER_SUBNET, Vpc};

/// EC2 makes no wider subnets and blocks.
const WIDEST: u8 = 16;
/// EC2 makes no narrower subnets.
const NARROWEST: u8 = 28;
/// Subnets for pods are never planned narrower: a subnet cannot be resized, and 100.64.0.0/10 has sixteen thousand of these.
const USUAL_SUBNET: u8 = 24;
/// A block holds sixteen subnets: room for zones to come without another one of the five blocks that a VPC may have.
const SUBNETS_PER_BLOCK_BITS: u8 = 4;

/// A subnet that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewSubnet {
    /// Its zone.
    pub zone: String,
    /// Its block.
    pub cidr: Cidr,
    /// The route table that the nodes' subnet of this zone has; none where that is the VPC's main one, which a new subnet has by itself.
    pub route_table: Option<RouteTableId>,
}

/// How pods come to use new subnets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// One ENIConfig per zone; nodes are replaced, and their first interface carries no pods.
    CustomNetworking,
    /// The tag `kubernetes.io/role/cni` on the subnets; nodes stay, and new interfaces go there.
    Tag,
}

/// A block and its subnets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expansion {
    /// The VPC.
    pub vpc: VpcId,
    /// The block that it gets.
    pub block: Cidr,
    /// Its subnets, by zone.
    pub subnets: Vec<NewSubnet>,
    /// How pods come to use them.
    pub means: Means,
    /// Security groups of the pods' interfaces; empty: those of each node's first interface.
    pub security_groups: Vec<SecurityGroupId>,
    /// What speaks against the block.
    pub objections: Vec<Objection>,
}

impl Expansion {
    /// Whether EC2 would refuse it, or the cluster break.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.objections.iter().any(|one| one.weight() != Weight::Remark)
    }

    /// The new subnets by zone.
    pub(crate) fn by_zone(&self) -> BTreeMap<String, Vec<Cidr>> {
        self.subnets.iter().map(|subnet| (subnet.zone.clone(), vec![subnet.cidr])).collect()
    }
}

/// Why no expansion can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoExpansion {
    /// More addresses than the widest block has.
    #[error(
        "{wanted} addresses per zone are wanted, and the subnets of one block, a /16 at most, give {most} to each of {zones} zones; \
         nodes that keep less ready want fewer (--warm-addresses 1)"
    )]
    TooMany {
        /// Addresses that one zone wants.
        wanted: u64,
        /// What the widest subnets give.
        most: u64,
        /// The zones.
        zones: usize,
    },
    /// A block with no place for a subnet per zone.
    #[error("{block} holds no {zones} subnets of /{length}: {hint}")]
    TooNarrow {
        /// The block.
        block: Cidr,
        /// The zones.
        zones: usize,
        /// The length of the subnets.
        length: u8,
        /// What would do.
        hint: String,
    },
    /// 100.64.0.0/10 has no free block of the length.
    #[error(
        "no /{0} of 100.64.0.0/10 is free beside the VPC's blocks, its peers' and its routes: name a block with --add-cidr"
    )]
    NoFreeBlock(u8),
    /// The VPC has all the blocks that it may have.
    #[error(
        "the VPC has {0} blocks already, as many as it may have unless AWS raises the quota: no block can be added"
    )]
    Quota(usize),
}

/// What a new block must do.
#[derive(Clone, Debug)]
pub(crate) struct Demand<'a> {
    pub(crate) vpc: &'a Vpc,
    /// Addresses that each zone takes, by zone.
    pub(crate) by_zone: BTreeMap<String, u64>,
    pub(crate) means: Means,
    /// The block, when somebody named one.
    pub(crate) block: Option<Cidr>,
    /// The length of the subnets, when somebody named it.
    pub(crate) subnet_length: Option<u8>,
}

/// Chooses the block and cuts it.
pub(crate) fn expand(inventory: &Inventory, demand: &Demand<'_>) -> Result<Expansion, NoExpansion> {
    let zones = demand.by_zone.len();
    // As many bits as it takes to give each zone its own subnet.
    let zone_bits = bits_for(zones);
    let wanted = demand.by_zone.values().copied().max().unwrap_or(0);
    let by_demand = match demand.subnet_length {
        Some(length) => length,
        None => subnet_length(wanted, zone_bits, zones)?,
    };
    let (block, length) = match demand.block {
        Some(block) => {
            let length =
                if demand.subnet_length.is_some() { by_demand } else { by_demand.max(block.length() + zone_bits) };
            if length > NARROWEST || length < block.length() + zone_bits {
                let hint = match NARROWEST.checked_sub(zone_bits) {
                    Some(most) if block.length() + zone_bits > NARROWEST => format!("a /{most} or wider would"),
                    _ => format!("subnets of /{} would fit", block.length() + zone_bits),
                };
                return Err(NoExpansion::TooNarrow { block, zones, length: length.min(NARROWEST), hint });
            }
            (block, length)
        }
        None => {
            if demand.vpc.blocks.len() >= crate::check::BLOCKS_PER_VPC {
                return Err(NoExpansion::Quota(demand.vpc.blocks.len()));
            }
            let block_length = by_demand.saturating_sub(SUBNETS_PER_BLOCK_BITS).max(WIDEST);
            let block =
                free_block(inventory, demand.vpc, block_length).ok_or(NoExpansion::NoFreeBlock(block_length))?;
            (block, by_demand)
        }
    };
    let subnets = cut(inventory, block, length, demand);
    Ok(Expansion {
        vpc: demand.vpc.id.clone(),
        block,
        subnets,
        means: demand.means,
        security_groups: inventory.security_groups.clone(),
        objections: objections(inventory, demand.vpc, block),
    })
}

/// The narrowest subnet with twice what a zone takes; with less to spare only when a /16 has no more.
fn subnet_length(wanted: u64, zone_bits: u8, zones: usize) -> Result<u8, NoExpansion> {
    let widest = WIDEST + zone_bits;
    let usable = |length: u8| (1_u64 << (32 - length)) - RESERVED_PER_SUBNET;
    let narrowest_with = |addresses: u64| (widest..=USUAL_SUBNET).rev().find(|length| usable(*length) >= addresses);
    narrowest_with(wanted * 2).or_else(|| narrowest_with(wanted)).ok_or(NoExpansion::TooMany {
        wanted,
        most: usable(widest),
        zones,
    })
}

/// One subnet per zone, in the order of the zones. The first place stays free when there is one to spare: a private NAT gateway or
/// an endpoint may want a small subnet in the same block.
fn cut(inventory: &Inventory, block: Cidr, length: u8, demand: &Demand<'_>) -> Vec<NewSubnet> {
    let places = 1_usize << (length - block.length());
    let skipped = usize::from(places > demand.by_zone.len());
    let blocks = block.subdivide(length).skip(skipped);
    demand
        .by_zone
        .keys()
        .zip(blocks)
        .map(|(zone, cidr)| NewSubnet { zone: zone.clone(), cidr, route_table: table_of_nodes(inventory, zone) })
        .collect()
}

/// The route table of the subnet that most nodes of the zone are in: pods keep the ways out that they have had.
fn table_of_nodes(inventory: &Inventory, zone: &str) -> Option<RouteTableId> {
    let mut nodes: BTreeMap<&SubnetId, u64> = BTreeMap::new();
    for node in &inventory.nodes {
        if let Some(subnet) = node.address.and_then(|address| inventory.subnet_around(address)) {
            *nodes.entry(&subnet.id).or_default() += u64::from(subnet.zone.as_deref() == Some(zone));
        }
    }
    let (most, _) = nodes.into_iter().filter(|(_, count)| *count > 0).max_by_key(|(_, count)| *count)?;
    inventory.subnets.iter().find(|subnet| subnet.id == *most)?.route_table.clone()
}

/// Bits that number so many things.
fn bits_for(count: usize) -> u8 {
    (0..16).find(|bits| (1_usize << bits) >= count).unwrap_or(16)
}

/// What each zone would take of a new block: what its nodes hold with these pods.
pub(crate) fn demand_by_zone(zones: &[ZoneModel], pods: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let of = |zone: &ZoneModel| zone.holds(pods.get(&zone.zone).copied().unwrap_or(0).min(zone.most()));
    zones.iter().map(|zone| (zone.zone.clone(), of(zone))).collect()
}
