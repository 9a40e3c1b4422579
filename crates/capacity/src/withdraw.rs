//! An expansion taken back: what of it is still there, one step at a time, as long as nobody uses it.
//!
//! As when it is carried out, nothing is remembered: what the cloud and the cluster show decides what comes next. What somebody uses
//! stays as it is, open to agents, and is named with its user. What somebody else has made is not touched.

use freeboard_address::Cidr;

use crate::carry_out::{BlockState, CNI_ROLE, Part, Seen, SeenSubnet, State, Step, found};
use crate::{Expansion, Means, NewSubnet};

/// Every part of an expansion that is to be gone, in the order in which they go, each with its state. `name` is the expansion's: the
/// subnets that were made for it carry it as a tag.
#[must_use]
pub fn parts(expansion: &Expansion, name: &str, seen: &Seen) -> Vec<Part> {
    let mine: Vec<(&NewSubnet, Option<&SeenSubnet>)> = expansion
        .subnets
        .iter()
        .map(|wanted| (wanted, found(seen, wanted).filter(|subnet| subnet.made_for.as_deref() == Some(name))))
        .collect();
    let mut parts: Vec<Part> = mine.iter().map(|(wanted, subnet)| unused(seen, wanted, *subnet)).collect();
    let is_unused = all_done(&parts);
    parts.extend(mine.iter().map(|(wanted, subnet)| closed(expansion, seen, wanted, *subnet, is_unused)));
    let is_closed = all_done(&parts);
    parts.extend(mine.iter().map(|(wanted, subnet)| gone(seen, wanted, *subnet, is_closed)));
    parts.push(block(expansion, name, seen));
    parts
}

fn all_done(parts: &[Part]) -> bool {
    parts.iter().all(|part| matches!(part.state, State::Done { .. }))
}

fn done(evidence: impl Into<String>) -> State {
    State::Done { evidence: evidence.into() }
}

/// Whether anything is in the subnet. Before the first step, so that what is in use is not half undone; and after subnets are closed,
/// because an agent may have taken an address meanwhile.
fn unused(seen: &Seen, wanted: &NewSubnet, subnet: Option<&SeenSubnet>) -> Part {
    let state = match subnet {
        None => done(format!("there is no subnet {} of this expansion", wanted.cidr)),
        Some(subnet) if subnet.users.is_empty() => done(format!("no interface is in {}", subnet.id)),
        Some(subnet) => {
            let pods = match seen.pods {
                0 => String::new(),
                1 => "; a pod has an address of the block".to_owned(),
                pods => format!("; {pods} pods have addresses of the block"),
            };
            State::Stuck {
                reason: format!(
                    "{} ({}) is in use by {}{pods}: move the pods away until the nodes give these interfaces back, or set spec.withdrawn \
                     to false",
                    subnet.id,
                    subnet.cidr,
                    subnet.users.join(", ")
                ),
            }
        }
    };
    Part { aim: format!("nobody uses {} in {}", wanted.cidr, wanted.zone), state }
}

/// No agent makes an interface in it any more.
fn closed(
    expansion: &Expansion,
    seen: &Seen,
    wanted: &NewSubnet,
    subnet: Option<&SeenSubnet>,
    is_unused: bool,
) -> Part {
    let zone = &wanted.zone;
    let (open, step) = match (subnet, expansion.means) {
        (None, Means::Tag | Means::CustomNetworking) => (None, None),
        (Some(subnet), Means::Tag) => {
            let is_open = subnet.cni_role.as_deref() == Some("1");
            (is_open.then_some(subnet), Some(Step::CloseSubnet { subnet: subnet.id.clone() }))
        }
        (Some(subnet), Means::CustomNetworking) => {
            let is_named = seen.eni_configs.get(zone).is_some_and(|named| *named == subnet.id.as_str());
            let step = Step::WithdrawEniConfig { zone: zone.clone(), subnet: subnet.id.clone() };
            (is_named.then_some(subnet), Some(step))
        }
    };
    let state = match (open, step) {
        (Some(_), Some(step)) if is_unused => State::Due(step),
        (Some(_), _) => State::Waits { reason: "nothing is closed while a subnet is in use".to_owned() },
        (None, _) => done(match (subnet, expansion.means) {
            (None, Means::Tag | Means::CustomNetworking) => format!("there is no subnet {} to find", wanted.cidr),
            (Some(subnet), Means::Tag) => format!("{} has not the tag {CNI_ROLE}=1", subnet.id),
            (Some(subnet), Means::CustomNetworking) => format!("no ENIConfig {zone} names {}", subnet.id),
        }),
    };
    Part { aim: format!("agents in {zone} do not use {}", wanted.cidr), state }
}

/// Its route table's association goes with it.
fn gone(seen: &Seen, wanted: &NewSubnet, subnet: Option<&SeenSubnet>, is_closed: bool) -> Part {
    let NewSubnet { zone, cidr, .. } = wanted;
    let state = match (subnet, found(seen, wanted)) {
        (Some(subnet), _) if is_closed => State::Due(Step::DeleteSubnet { subnet: subnet.id.clone() }),
        (Some(_), _) => State::Waits { reason: "subnets are deleted when no agent uses them".to_owned() },
        (None, Some(other)) => done(format!("{} was not made for this expansion, and stays", other.id)),
        (None, None) => done(format!("{zone} has no subnet {cidr}")),
    };
    Part { aim: format!("{zone} does not have the subnet {cidr}"), state }
}

fn block(expansion: &Expansion, name: &str, seen: &Seen) -> Part {
    let Expansion { vpc, block, .. } = expansion;
    let state = match (&seen.block, in_block(seen, *block)) {
        (BlockState::Absent, _) => done(format!("{vpc} does not have {block}")),
        (BlockState::Failed(why), _) => done(format!("EC2 could not associate {block}: {why}")),
        (BlockState::Associating, _) => State::Waits { reason: format!("EC2 is still associating {block}") },
        (BlockState::Leaving, _) => State::Waits { reason: format!("EC2 is taking {block} away") },
        (BlockState::Associated, Some(subnet)) if subnet.made_for.as_deref() == Some(name) => {
            State::Waits { reason: format!("{} is in it", subnet.id) }
        }
        (BlockState::Associated, Some(other)) => {
            done(format!("{block} stays: {} ({}) of somebody else is in it", other.id, other.cidr))
        }
        (BlockState::Associated, None) => match &seen.association {
            Some(association) => State::Due(Step::DisassociateBlock {
                association: association.clone(),
                vpc: vpc.clone(),
                block: *block,
            }),
            None => State::Stuck { reason: format!("EC2 shows no association of {block} that could be ended") },
        },
    };
    Part { aim: format!("{vpc} does not have the block {block}"), state }
}

/// A subnet that keeps the block: one of the expansion first, because it goes.
fn in_block(seen: &Seen, block: Cidr) -> Option<&SeenSubnet> {
    let inside = seen.subnets.iter().filter(|subnet| block.overlaps(subnet.cidr));
    inside.min_by_key(|subnet| subnet.made_for.is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use freeboard_address::{AssociationId, SubnetId, VpcId};

    use super::*;
    use crate::carry_out::due;

    const NAME: &str = "more";

    fn expansion(means: Means) -> Expansion {
        let subnet = |zone: &str, cidr: &str| NewSubnet {
            zone: zone.to_owned(),
            cidr: cidr.parse().unwrap(),
            route_table: None,
        };
        Expansion {
            vpc: VpcId::new("vpc-00000000000000001"),
            block: "100.64.0.0/20".parse().unwrap(),
            subnets: vec![subnet("ap-southeast-2a", "100.64.1.0/24"), subnet("ap-southeast-2b", "100.64.2.0/24")],
            means,
            security_groups: Vec::new(),
            objections: Vec::new(),
        }
    }

    /// Everything is made.
    fn made(expansion: &Expansion) -> Seen {
        let subnets = expansion.subnets.iter().enumerate().map(|(index, wanted)| SeenSubnet {
            id: SubnetId::new(format!("subnet-{index:017x}")),
            cidr: wanted.cidr,
            zone: wanted.zone.clone(),
            cni_role: (expansion.means == Means::Tag).then(|| "1".to_owned()),
            route_table: None,
            made_for: Some(NAME.to_owned()),
            users: Vec::new(),
        });
        let subnets: Vec<SeenSubnet> = subnets.collect();
        let configs = subnets.iter().map(|subnet| (subnet.zone.clone(), subnet.id.to_string()));
        let eni_configs = if expansion.means == Means::Tag { BTreeMap::new() } else { configs.collect() };
        let association = Some(AssociationId::new("vpc-cidr-assoc-1"));
        Seen { block: BlockState::Associated, association, subnets, eni_configs, pods: 0 }
    }

    fn apply(seen: &mut Seen, step: &Step) {
        match step {
            Step::CloseSubnet { subnet } => {
                let found = seen.subnets.iter_mut().find(|seen| seen.id == *subnet).unwrap();
                found.cni_role = Some("0".to_owned());
            }
            Step::WithdrawEniConfig { zone, .. } => drop(seen.eni_configs.remove(zone)),
            Step::DeleteSubnet { subnet } => {
                assert!(seen.subnets.iter().any(|seen| seen.id == *subnet && seen.users.is_empty()), "{subnet}");
                seen.subnets.retain(|seen| seen.id != *subnet);
            }
            Step::DisassociateBlock { .. } => {
                assert!(seen.subnets.is_empty(), "EC2 would refuse: {:?}", seen.subnets);
                seen.block = BlockState::Absent;
            }
            Step::AssociateBlock { .. }
            | Step::CreateSubnet { .. }
            | Step::AssociateRouteTable { .. }
            | Step::Tag { .. }
            | Step::WriteEniConfig { .. } => panic!("nothing is made: {step}"),
        }
    }

    /// Does what is due, the last of it first; returns the steps.
    fn carry_out(expansion: &Expansion, seen: &mut Seen) -> Vec<String> {
        let mut taken = Vec::new();
        loop {
            let parts = parts(expansion, NAME, seen);
            let Some(step) = due(&parts).last().copied().cloned() else { return taken };
            taken.push(step.to_string());
            apply(seen, &step);
            assert!(taken.len() < 20, "{taken:?}");
        }
    }

    #[test]
    fn what_is_unused_goes_in_the_reverse_order_from_whatever_was_made() {
        for means in [Means::Tag, Means::CustomNetworking] {
            let expansion = expansion(means);
            let mut seen = made(&expansion);
            let taken = carry_out(&expansion, &mut seen);
            assert_eq!(taken.len(), 5, "{taken:?}");
            assert!(taken[4].starts_with("take 100.64.0.0/20 from vpc-"), "{taken:?}");
            assert!(taken[2..4].iter().all(|step| step.starts_with("delete subnet-")), "{taken:?}");
            assert!(parts(&expansion, NAME, &seen).iter().all(|part| matches!(part.state, State::Done { .. })));
            // Half-way: a subnet was never made, and the other was not opened.
            let mut half = made(&expansion);
            half.subnets.pop();
            half.subnets[0].cni_role = None;
            half.eni_configs.clear();
            assert_eq!(carry_out(&expansion, &mut half).len(), 2, "the subnet and the block");
        }
    }

    #[test]
    fn what_is_in_use_stays_whole_and_open_and_its_user_is_named() {
        let expansion = expansion(Means::Tag);
        let mut seen = made(&expansion);
        seen.subnets[1].users = vec!["eni-00000000000000007 of i-00000000000000001".to_owned()];
        seen.pods = 3;
        assert!(carry_out(&expansion, &mut seen).is_empty());
        let stuck = parts(&expansion, NAME, &seen).into_iter().find_map(|part| match part.state {
            State::Stuck { reason } => Some(reason),
            State::Done { .. } | State::Due(_) | State::Waits { .. } => None,
        });
        let reason = stuck.unwrap();
        for word in ["100.64.2.0/24", "eni-00000000000000007 of i-00000000000000001", "3 pods", "spec.withdrawn"] {
            assert!(reason.contains(word), "{word}: {reason}");
        }
        seen.subnets[1].users.clear();
        assert_eq!(carry_out(&expansion, &mut seen).len(), 5, "then it goes");
    }

    #[test]
    fn what_somebody_else_made_is_not_touched() {
        let expansion = expansion(Means::Tag);
        let mut seen = made(&expansion);
        seen.subnets[0].made_for = None;
        seen.subnets[0].users = vec!["eni-00000000000000007".to_owned()];
        let taken = carry_out(&expansion, &mut seen);
        assert_eq!(taken.len(), 2, "only the other subnet: {taken:?}");
        let last = parts(&expansion, NAME, &seen).pop().unwrap();
        assert!(matches!(&last.state, State::Done { evidence } if evidence.contains("stays")), "{last:?}");
    }

    #[test]
    fn nothing_is_done_while_ec2_is_at_the_block() {
        for block in [BlockState::Associating, BlockState::Leaving] {
            let mut seen = Seen { block, ..Seen::default() };
            assert!(carry_out(&expansion(Means::Tag), &mut seen).is_empty(), "{seen:?}");
        }
    }
}
