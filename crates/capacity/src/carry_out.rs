//! An expansion carried out: what is missing of it, one step at a time.
//!
//! Nothing is remembered between two steps. What the cloud and the cluster show decides what comes next, so a program that is
//! killed after any step, or two of them at once, end in the same state; and what a person did meanwhile counts as done.

use std::collections::BTreeMap;
use std::fmt;

use freeboard_address::{AssociationId, Cidr, RouteTableId, SecurityGroupId, SubnetId, VpcId};

use crate::{Expansion, Means, NewSubnet};

/// The tag by which agents find subnets for pods (aws-vpc-cni §5.4).
pub const CNI_ROLE: &str = "kubernetes.io/role/cni";

/// The tag of a subnet that names the expansion that it was made for.
pub const MADE_FOR: &str = "ipam.freeboard.dev/expansion";

/// What the cloud and the cluster show of an expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The block.
    pub block: BlockState,
    /// What joins it to the VPC, while something does.
    pub association: Option<AssociationId>,
    /// All subnets of the VPC.
    pub subnets: Vec<SeenSubnet>,
    /// The ENIConfigs by name, with their subnets.
    pub eni_configs: BTreeMap<String, String>,
    /// Pods with an address of the block.
    pub pods: u64,
}

/// How far the block is the VPC's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BlockState {
    /// Not asked for.
    #[default]
    Absent,
    /// Asked for; subnets cannot be made in it yet.
    Associating,
    /// Usable.
    Associated,
    /// Being taken away.
    Leaving,
    /// EC2 could not do it.
    Failed(String),
}

/// A subnet as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSubnet {
    /// Its id.
    pub id: SubnetId,
    /// Its block.
    pub cidr: Cidr,
    /// Its zone.
    pub zone: String,
    /// The value of its tag [`CNI_ROLE`].
    pub cni_role: Option<String>,
    /// The route table that it is associated with by name.
    pub route_table: Option<RouteTableId>,
    /// The expansion that it was made for, as its tag [`MADE_FOR`] tells.
    pub made_for: Option<String>,
    /// The interfaces in it, and whose they are; looked at only when the expansion is to be taken back.
    pub users: Vec<String>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give the VPC the block.
    AssociateBlock {
        /// The VPC.
        vpc: VpcId,
        /// The block.
        block: Cidr,
    },
    /// Make a subnet, which no agent uses yet.
    CreateSubnet {
        /// The VPC.
        vpc: VpcId,
        /// The zone.
        zone: String,
        /// Its block.
        cidr: Cidr,
    },
    /// Give a subnet the ways out that the nodes of its zone have.
    AssociateRouteTable {
        /// The subnet.
        subnet: SubnetId,
        /// The table.
        route_table: RouteTableId,
    },
    /// Let agents find a subnet.
    Tag {
        /// The subnet.
        subnet: SubnetId,
    },
    /// Name a subnet to the nodes of a zone.
    WriteEniConfig {
        /// The name of the object: the zone.
        zone: String,
        /// The subnet.
        subnet: SubnetId,
        /// The security groups of the pods' interfaces.
        security_groups: Vec<SecurityGroupId>,
    },
    /// Let no agent find a subnet any more.
    CloseSubnet {
        /// The subnet.
        subnet: SubnetId,
    },
    /// Name a subnet no longer to the nodes of a zone; what was named to them before is again.
    WithdrawEniConfig {
        /// The name of the object: the zone.
        zone: String,
        /// The subnet.
        subnet: SubnetId,
    },
    /// Delete a subnet in which nothing is.
    DeleteSubnet {
        /// The subnet.
        subnet: SubnetId,
    },
    /// Take the block from the VPC.
    DisassociateBlock {
        /// What joins them.
        association: AssociationId,
        /// The VPC.
        vpc: VpcId,
        /// The block.
        block: Cidr,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AssociateBlock { vpc, block } => write!(f, "associate {block} with {vpc}"),
            Self::CreateSubnet { zone, cidr, .. } => write!(f, "make subnet {cidr} in {zone}"),
            Self::AssociateRouteTable { subnet, route_table } => write!(f, "put {subnet} on route table {route_table}"),
            Self::Tag { subnet } => write!(f, "tag {subnet} with {CNI_ROLE}=1"),
            Self::WriteEniConfig { zone, subnet, .. } => write!(f, "write ENIConfig {zone} with {subnet}"),
            Self::CloseSubnet { subnet } => write!(f, "tag {subnet} with {CNI_ROLE}=0"),
            Self::WithdrawEniConfig { zone, subnet } => write!(f, "take {subnet} out of ENIConfig {zone}"),
            Self::DeleteSubnet { subnet } => write!(f, "delete {subnet}"),
            Self::DisassociateBlock { vpc, block, .. } => write!(f, "take {block} from {vpc}"),
        }
    }
}

/// How far one part of an expansion is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is so, and what shows it.
    Done {
        /// What shows it.
        evidence: String,
    },
    /// It can be done now.
    Due(Step),
    /// It comes by itself, or when something else has come.
    Waits {
        /// For what.
        reason: String,
    },
    /// It cannot be done before a person has done something.
    Stuck {
        /// Why, and what would help.
        reason: String,
    },
}

/// One part of an expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What is to be so.
    pub aim: String,
    /// Whether it is.
    pub state: State,
}

/// Every part of an expansion in the order in which they are done, each with its state. Subnets are opened to agents only when
/// all of them are ready: no pod gets an address in a subnet that leads nowhere.
#[must_use]
pub fn parts(expansion: &Expansion, seen: &Seen) -> Vec<Part> {
    let mut parts = vec![block(expansion, seen)];
    parts.extend(expansion.subnets.iter().map(|subnet| made(expansion, seen, subnet)));
    parts.extend(expansion.subnets.iter().filter_map(|subnet| routed(seen, subnet)));
    let is_ready = parts.iter().all(|part| matches!(part.state, State::Done { .. }));
    parts.extend(expansion.subnets.iter().map(|subnet| open(expansion, seen, subnet, is_ready)));
    parts.push(used(expansion, seen));
    parts
}

/// What is due now: all of these can be done at once.
#[must_use]
pub fn due(parts: &[Part]) -> Vec<&Step> {
    let step = |part| match part {
        &Part { state: State::Due(ref step), .. } => Some(step),
        Part { state: State::Done { .. } | State::Waits { .. } | State::Stuck { .. }, .. } => None,
    };
    parts.iter().filter_map(step).collect()
}

fn block(expansion: &Expansion, seen: &Seen) -> Part {
    let Expansion { vpc, block, .. } = expansion;
    let state = match &seen.block {
        BlockState::Absent => State::Due(Step::AssociateBlock { vpc: vpc.clone(), block: *block }),
        BlockState::Associating => State::Waits { reason: format!("EC2 is associating {block}") },
        BlockState::Associated => State::Done { evidence: format!("{vpc} has {block}, associated") },
        BlockState::Leaving => {
            State::Waits { reason: format!("{block} is being taken away; then it is asked for again") }
        }
        BlockState::Failed(why) => State::Stuck {
            reason: format!(
                "EC2 could not associate {block}: {why}; it can be asked for again when the association is gone"
            ),
        },
    };
    Part { aim: format!("{vpc} has the block {block}"), state }
}

/// The subnet as it is, when it is there.
pub(crate) fn found<'a>(seen: &'a Seen, wanted: &NewSubnet) -> Option<&'a SeenSubnet> {
    seen.subnets.iter().find(|subnet| subnet.cidr == wanted.cidr && subnet.zone == wanted.zone)
}

fn made(expansion: &Expansion, seen: &Seen, wanted: &NewSubnet) -> Part {
    let NewSubnet { zone, cidr, .. } = wanted;
    let in_the_way = seen.subnets.iter().find(|subnet| subnet.cidr.overlaps(*cidr));
    let state = match (found(seen, wanted), in_the_way) {
        (Some(subnet), _) => State::Done { evidence: format!("{} is {cidr} in {zone}", subnet.id) },
        (None, Some(SeenSubnet { id, cidr: other, zone: elsewhere, .. })) => State::Stuck {
            reason: format!(
                "{id} with {other} in {elsewhere} is in the way of {cidr} in {zone}: delete it, or make an expansion with another block"
            ),
        },
        (None, None) if seen.block == BlockState::Associated => {
            State::Due(Step::CreateSubnet { vpc: expansion.vpc.clone(), zone: zone.clone(), cidr: *cidr })
        }
        (None, None) => State::Waits { reason: format!("{} is not associated yet", expansion.block) },
    };
    Part { aim: format!("{zone} has the subnet {cidr}"), state }
}

/// Only where the nodes' subnet has a table of its own: a new subnet has the VPC's main one by itself.
fn routed(seen: &Seen, wanted: &NewSubnet) -> Option<Part> {
    let table = wanted.route_table.as_ref()?;
    let state = match found(seen, wanted) {
        None => State::Waits { reason: format!("there is no subnet {} yet", wanted.cidr) },
        Some(SeenSubnet { id, route_table: Some(found), .. }) if found == table => {
            State::Done { evidence: format!("{id} is on {table}") }
        }
        Some(SeenSubnet { id, route_table: Some(other), .. }) => State::Stuck {
            reason: format!(
                "{id} is on {other}, where somebody has put it, and not on {table}: take it off, or delete this expansion"
            ),
        },
        Some(SeenSubnet { id, route_table: None, .. }) => {
            State::Due(Step::AssociateRouteTable { subnet: id.clone(), route_table: table.clone() })
        }
    };
    Some(Part { aim: format!("pods in {} have the ways out of the nodes there", wanted.zone), state })
}

fn open(expansion: &Expansion, seen: &Seen, wanted: &NewSubnet, is_ready: bool) -> Part {
    let zone = &wanted.zone;
    let waits = State::Waits { reason: "subnets are opened when all of them are ready".to_owned() };
    let (aim, done, step) = match (expansion.means, found(seen, wanted)) {
        (Means::Tag, None) => (format!("agents in {zone} find the subnet"), None, None),
        (Means::CustomNetworking, None) => (format!("nodes in {zone} are told the subnet"), None, None),
        (Means::Tag, Some(subnet)) => {
            let id = &subnet.id;
            let done = (subnet.cni_role.as_deref() == Some("1")).then(|| format!("{id} has the tag {CNI_ROLE}=1"));
            (format!("agents in {zone} find the subnet"), done, Some(Step::Tag { subnet: id.clone() }))
        }
        (Means::CustomNetworking, Some(subnet)) => {
            let id = &subnet.id;
            let named = seen.eni_configs.get(zone).is_some_and(|named| *named == id.as_str());
            let done = named.then(|| format!("ENIConfig {zone} names {id}"));
            let security_groups = expansion.security_groups.clone();
            let step = Step::WriteEniConfig { zone: zone.clone(), subnet: id.clone(), security_groups };
            (format!("nodes in {zone} are told the subnet"), done, Some(step))
        }
    };
    let state = match (done, step) {
        (Some(evidence), _) => State::Done { evidence },
        (None, Some(step)) if is_ready => State::Due(step),
        (None, _) => waits,
    };
    Part { aim, state }
}

fn used(expansion: &Expansion, seen: &Seen) -> Part {
    let state = match seen.pods {
        0 => State::Waits { reason: format!("no pod has an address of {} yet", expansion.block) },
        1 => State::Done { evidence: format!("a pod has an address of {}", expansion.block) },
        pods => State::Done { evidence: format!("{pods} pods have addresses of {}", expansion.block) },
    };
    Part { aim: "a pod has used the new room".to_owned(), state }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn expansion(means: Means) -> Expansion {
        let subnet = |zone: &str, block: &str, table: Option<&str>| NewSubnet {
            zone: zone.to_owned(),
            cidr: cidr(block),
            route_table: table.map(RouteTableId::new),
        };
        Expansion {
            vpc: VpcId::new("vpc-00000000000000001"),
            block: cidr("100.64.0.0/20"),
            subnets: vec![
                subnet("ap-southeast-2a", "100.64.1.0/24", Some("rtb-00000000000000001")),
                subnet("ap-southeast-2b", "100.64.2.0/24", None),
            ],
            means,
            security_groups: Vec::new(),
            objections: Vec::new(),
        }
    }

    /// What a cloud shows after a step; ids count the subnets.
    fn apply(seen: &mut Seen, step: &Step) {
        match step {
            Step::AssociateBlock { .. } => seen.block = BlockState::Associated,
            Step::CreateSubnet { zone, cidr, .. } => {
                let id = SubnetId::new(format!("subnet-{:017x}", seen.subnets.len() + 1));
                let (zone, cidr) = (zone.clone(), *cidr);
                let (made_for, users) = (Some("more".to_owned()), Vec::new());
                seen.subnets.push(SeenSubnet { id, cidr, zone, cni_role: None, route_table: None, made_for, users });
            }
            Step::AssociateRouteTable { subnet, route_table } => {
                let found = seen.subnets.iter_mut().find(|seen| seen.id == *subnet).unwrap();
                found.route_table = Some(route_table.clone());
            }
            Step::Tag { subnet } => {
                let found = seen.subnets.iter_mut().find(|seen| seen.id == *subnet).unwrap();
                found.cni_role = Some("1".to_owned());
            }
            Step::WriteEniConfig { zone, subnet, .. } => {
                seen.eni_configs.insert(zone.clone(), subnet.to_string());
            }
            Step::CloseSubnet { .. }
            | Step::WithdrawEniConfig { .. }
            | Step::DeleteSubnet { .. }
            | Step::DisassociateBlock { .. } => panic!("nothing is taken back: {step}"),
        }
    }

    /// Does what is due, the last of it first; returns the steps.
    fn carry_out(expansion: &Expansion, seen: &mut Seen) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let parts = parts(expansion, seen);
            let Some(step) = due(&parts).last().copied().cloned() else { return done };
            done.push(step.to_string());
            apply(seen, &step);
            assert!(done.len() < 20, "{done:?}");
        }
    }

    #[test]
    fn every_step_is_done_once_and_subnets_are_opened_last() {
        for (means, last) in [(Means::Tag, "tag subnet-"), (Means::CustomNetworking, "write ENIConfig ap-southeast-2")]
        {
            let mut seen = Seen::default();
            let done = carry_out(&expansion(means), &mut seen);
            assert_eq!(done.len(), 6, "{done:?}");
            assert!(done.iter().rev().take(2).all(|step| step.starts_with(last)), "{done:?}");
            assert!(done.iter().any(|step| step.contains("rtb-00000000000000001")), "{done:?}");
            assert!(carry_out(&expansion(means), &mut seen).is_empty(), "again it changes nothing");
            seen.pods = 1;
            let parts = parts(&expansion(means), &seen);
            assert!(parts.iter().all(|part| matches!(part.state, State::Done { .. })), "{parts:?}");
        }
    }

    #[test]
    fn nothing_is_made_in_a_block_that_is_not_there_yet() {
        for block in [BlockState::Associating, BlockState::Leaving, BlockState::Failed("no".to_owned())] {
            let seen = Seen { block, ..Seen::default() };
            assert!(due(&parts(&expansion(Means::Tag), &seen)).is_empty(), "{seen:?}");
        }
    }

    #[test]
    fn what_is_in_the_way_is_named_and_nothing_is_opened() {
        let other = |block: &str, zone: &str| SeenSubnet {
            id: SubnetId::new("subnet-0000000000000000f"),
            cidr: cidr(block),
            zone: zone.to_owned(),
            cni_role: None,
            route_table: None,
            made_for: None,
            users: Vec::new(),
        };
        for (subnet, part) in [
            (
                other("100.64.1.0/25", "ap-southeast-2a"),
                "100.64.1.0/25 in ap-southeast-2a is in the way of 100.64.1.0/24",
            ),
            (
                other("100.64.1.0/24", "ap-southeast-2c"),
                "in ap-southeast-2c is in the way of 100.64.1.0/24 in ap-southeast-2a",
            ),
        ] {
            let mut seen = Seen { block: BlockState::Associated, subnets: vec![subnet], ..Seen::default() };
            let done = carry_out(&expansion(Means::Tag), &mut seen);
            assert_eq!(done, ["make subnet 100.64.2.0/24 in ap-southeast-2b"]);
            let stuck = parts(&expansion(Means::Tag), &seen).into_iter().find_map(|part| match part.state {
                State::Stuck { reason } => Some(reason),
                State::Done { .. } | State::Due(_) | State::Waits { .. } => None,
            });
            assert!(stuck.unwrap().contains(part), "{part}");
        }
    }

    #[test]
    fn what_a_person_did_counts_as_done() {
        let mut seen = Seen { block: BlockState::Associated, ..Seen::default() };
        let step = Step::CreateSubnet {
            vpc: VpcId::new("vpc-00000000000000001"),
            zone: "ap-southeast-2b".to_owned(),
            cidr: cidr("100.64.2.0/24"),
        };
        apply(&mut seen, &step);
        let done = carry_out(&expansion(Means::Tag), &mut seen);
        assert_eq!(done.iter().filter(|step| step.starts_with("make subnet")).count(), 1, "{done:?}");
    }
}
