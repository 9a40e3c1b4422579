//! What speaks against a block that somebody wants to add to a VPC: what EC2 refuses, and what it lets happen.

use std::fmt;

use freeboard_address::{AssociationRefusal, Cidr, check_association};
use serde::{Serialize, Serializer};

use crate::{Inventory, Vpc};

/// IPv4 blocks of one VPC, the primary one included, unless the quota was raised.
pub const BLOCKS_PER_VPC: usize = 5;

/// Something that speaks against a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// The rules of VPC blocks refuse it.
    Association {
        /// The VPC's primary block.
        primary: Cidr,
        /// The rule.
        refusal: AssociationRefusal,
    },
    /// The VPC has as many blocks as it may have.
    Quota {
        /// How many it has.
        blocks: usize,
    },
    /// It overlaps a block of the VPC.
    OwnBlock(Cidr),
    /// It overlaps a block of a VPC that this one is peered with.
    PeerBlock {
        /// The peering.
        peering: String,
        /// The other VPC's block.
        block: Cidr,
    },
    /// A peering that this VPC asked for is not accepted: until then EC2 adds no block at all.
    PendingPeering(String),
    /// It is equal to, or wider than, the destination of a route.
    Route(Cidr),
    /// It overlaps the services of the cluster: nothing refuses it, and nodes then reach services instead of pods.
    ServiceRange(Cidr),
    /// It overlaps the bridge that Docker makes on nodes: the API server then does not reach the pods.
    DockerBridge,
    /// Not a private or shared range: the addresses belong to somebody else on the internet.
    PublicSpace,
}

/// How bad an objection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// EC2 refuses the block.
    Refused,
    /// EC2 takes the block, and the cluster breaks.
    Breaks,
    /// It works; somebody should know.
    Remark,
}

/// The bridge that Docker makes.
fn docker_bridge() -> Cidr {
    block(172, 17, 16)
}

impl Objection {
    /// How bad it is.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::Association { .. }
            | Self::Quota { .. }
            | Self::OwnBlock(_)
            | Self::PeerBlock { .. }
            | Self::PendingPeering(_)
            | Self::Route(_) => Weight::Refused,
            Self::ServiceRange(_) | Self::DockerBridge => Weight::Breaks,
            Self::PublicSpace => Weight::Remark,
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Association { refusal, .. } if refusal.is_of_the_block_itself() => {
                write!(f, "EC2 refuses it: {refusal}")
            }
            Self::Association { primary, refusal } => {
                write!(f, "EC2 refuses it beside {primary}: {refusal}; a block of 100.64.0.0/10 is always allowed")
            }
            Self::Quota { blocks } => write!(
                f,
                "EC2 refuses it: the VPC has {blocks} blocks, and the quota is {BLOCKS_PER_VPC} unless AWS raised it (50 \
                 at most)"
            ),
            Self::OwnBlock(block) => write!(f, "EC2 refuses it: it overlaps {block}, which the VPC has already"),
            Self::PeerBlock { peering, block } => {
                write!(f, "EC2 refuses it: it overlaps {block} of the VPC at the other end of {peering}")
            }
            Self::PendingPeering(peering) => write!(
                f,
                "EC2 refuses it: {peering} waits to be accepted, and until then the VPC that asked gets no block at all"
            ),
            Self::Route(route) => {
                write!(f, "EC2 refuses it: a route table has a route to {route}, which is not wider than the block")
            }
            Self::ServiceRange(range) => write!(
                f,
                "it overlaps the cluster's services {range}: EC2 lets it happen, and nodes then take pods for services"
            ),
            Self::DockerBridge => write!(
                f,
                "it overlaps {}, the bridge that Docker makes on nodes: the API server then reaches no kubelet there (\"no route \
                 to host\")",
                docker_bridge()
            ),
            Self::PublicSpace => f.write_str(
                "it is public space: the hosts that own these addresses on the internet cannot be reached from the VPC any more",
            ),
        }
    }
}

impl Serialize for Objection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut one = serializer.serialize_struct("Objection", 2)?;
        one.serialize_field("weight", &self.weight())?;
        one.serialize_field("why", &self.to_string())?;
        one.end()
    }
}

/// Everything that speaks against a block, the worst first; nothing when it can be added.
#[must_use]
pub fn objections(inventory: &Inventory, vpc: &Vpc, candidate: Cidr) -> Vec<Objection> {
    let mut all = Vec::new();
    if let Some(primary) = vpc.blocks.first().copied()
        && let Err(refusal) = check_association(primary, &vpc.blocks, candidate)
    {
        all.push(Objection::Association { primary, refusal });
    }
    if vpc.blocks.len() >= BLOCKS_PER_VPC {
        all.push(Objection::Quota { blocks: vpc.blocks.len() });
    }
    all.extend(vpc.blocks.iter().filter(|block| block.overlaps(candidate)).map(|block| Objection::OwnBlock(*block)));
    for peer in &vpc.peers {
        if peer.pending {
            all.push(Objection::PendingPeering(peer.peering.clone()));
        }
        let overlapping = peer.blocks.iter().filter(|block| block.overlaps(candidate) && !peer.pending);
        all.extend(overlapping.map(|block| Objection::PeerBlock { peering: peer.peering.clone(), block: *block }));
    }
    let routes = vpc.routes.iter().filter(|route| candidate.contains_block(**route));
    all.extend(routes.map(|route| Objection::Route(*route)));
    if let Some(range) = inventory.service_range.filter(|range| range.overlaps(candidate)) {
        all.push(Objection::ServiceRange(range));
    }
    if docker_bridge().overlaps(candidate) {
        all.push(Objection::DockerBridge);
    }
    let private = [block(10, 0, 8), block(172, 16, 12), block(192, 168, 16), block(100, 64, 10)];
    if !private.iter().any(|range| range.contains_block(candidate)) {
        all.push(Objection::PublicSpace);
    }
    all.sort_by_key(Objection::weight);
    all
}

/// The first block of this length in 100.64.0.0/10 that nothing speaks against. That range is the only one that may join every
/// VPC, and networks that carry it to one another are rare.
#[must_use]
pub fn free_block(inventory: &Inventory, vpc: &Vpc, length: u8) -> Option<Cidr> {
    block(100, 64, 10).subdivide(length).find(|candidate| objections(inventory, vpc, *candidate).is_empty())
}

/// A block by its first two numbers; all callers give a length of at most 32.
fn block(a: u8, b: u8, length: u8) -> Cidr {
    let address = std::net::Ipv4Addr::new(a, b, 0, 0);
    Cidr::containing(address, length).unwrap_or(Cidr::host(address))
}

#[cfg(test)]
mod tests {
    use freeboard_address::VpcId;

    use super::*;
    use crate::Peer;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn vpc(blocks: &[&str]) -> Vpc {
        Vpc {
            id: VpcId::new("vpc-0f3a9ca1"),
            name: None,
            blocks: blocks.iter().map(|block| cidr(block)).collect(),
            peers: vec![Peer { peering: "pcx-0e5d4c3b".into(), blocks: vec![cidr("100.64.0.0/16")], pending: false }],
            routes: vec![cidr("100.65.8.0/24")],
        }
    }

    fn said(vpc: &Vpc, candidate: &str) -> Vec<String> {
        let inventory = Inventory { service_range: Some(cidr("10.100.0.0/16")), ..Inventory::default() };
        objections(&inventory, vpc, cidr(candidate)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_block_of_the_first_seed_is_refused_and_the_reason_is_told() {
        assert_eq!(
            said(&vpc(&["10.0.0.0/16"]), "172.20.0.0/16"),
            ["EC2 refuses it beside 10.0.0.0/16: a VPC whose primary block lies in 10.0.0.0/8 may not add a block of \
              172.16.0.0/12; a block of 100.64.0.0/10 is always allowed"]
        );
    }

    #[test]
    fn every_neighbour_is_looked_at() {
        let ours = vpc(&["10.0.0.0/16"]);
        for (candidate, expected) in [
            ("10.0.4.0/24", "overlaps 10.0.0.0/16, which the VPC has already"),
            ("100.64.128.0/17", "overlaps 100.64.0.0/16 of the VPC at the other end of pcx-0e5d4c3b"),
            ("100.65.0.0/16", "a route to 100.65.8.0/24"),
            ("10.100.0.0/18", "overlaps the cluster's services 10.100.0.0/16"),
            ("172.17.0.0/20", "the bridge that Docker makes"),
            ("100.66.0.0/15", "a VPC block is a /16 to a /28"),
            ("198.18.0.0/16", "public space"),
        ] {
            let said = said(&ours, candidate);
            assert!(said.iter().any(|why| why.contains(expected)), "{candidate}: {said:?}");
        }
        assert!(said(&ours, "100.66.0.0/20").is_empty());
        // Inside a route's destination is allowed.
        assert!(said(&ours, "100.65.8.0/25").is_empty());
        let full = vpc(&["10.0.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"]);
        assert!(said(&full, "100.66.0.0/20")[0].contains("the quota is 5"));
    }

    #[test]
    fn a_free_block_is_the_first_that_nothing_speaks_against() {
        let ours = vpc(&["10.0.0.0/16"]);
        let inventory = Inventory::default();
        assert_eq!(free_block(&inventory, &ours, 20), Some(cidr("100.65.16.0/20")));
        assert_eq!(free_block(&inventory, &Vpc { peers: Vec::new(), ..ours }, 20), Some(cidr("100.64.0.0/20")));
    }
}
