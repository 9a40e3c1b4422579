//! What the state of the pool means to the cluster: the node's condition, its taint, and the figures of its `NodeAddresses`.
//! Computed, so that it can be tested without a cluster.

use std::collections::BTreeMap;

use freeboard_address::SubnetId;
use freeboard_kubernetes::conditions::{Condition, ConditionStatus};
use freeboard_kubernetes::k8s_openapi::api::core::v1::Taint;
use freeboard_kubernetes::resources::{AddressCounts, InterfaceCounts, NodeAddressesStatus, SubnetUse};
use freeboard_kubernetes::taints::Wanted;
use freeboard_pool::{Cause, PoolView, Refusal, Tally};
use freeboard_settings::FullNodeTaint;
use jiff::Timestamp;

/// The condition of the node: whether a pod that came now would get an address.
pub(super) const CONDITION: &str = "PodAddressesAvailable";
/// The taint with which nodes come up, so that no pod is sent to them before their agent can give addresses.
pub(super) const START_TAINT: &str = "ipam.freeboard.dev/agent-not-ready";
/// The taint of a node that has no address to give; its value is the cause.
pub(super) const FULL_TAINT: &str = "ipam.freeboard.dev/no-addresses";

/// The reason while no address is free, and EC2 is expected to give some.
const OBTAINABLE: &str = "AddressesObtainable";

/// The condition, from what an ADD would get now.
pub(super) fn condition(can_give: &Result<(), Refusal>, view: &PoolView, now: Timestamp) -> Condition {
    let ranges = ranges(view);
    let of = |status, reason: &str, message: String| {
        Condition::new(CONDITION, status, reason, format!("{message}{ranges}"), now)
    };
    match can_give {
        Ok(()) if view.tally.free > 0 => {
            of(ConditionStatus::True, "AddressesFree", "the node holds addresses that no pod uses.".to_owned())
        }
        Ok(()) => {
            of(ConditionStatus::True, OBTAINABLE, "every address of the node is used, and it can have more.".to_owned())
        }
        Err(refusal) => {
            let status = if is_passing(refusal.cause) { ConditionStatus::Unknown } else { ConditionStatus::False };
            of(status, refusal.cause.as_str(), format!("{}. What helps: {}.", refusal.message, refusal.remedy))
        }
    }
}

/// The subnets in which the node holds addresses, or its own blocks, with figures. `kubectl describe nodes | grep PodCIDR` is how people look for
/// them where each node has a block of its own.
fn ranges(view: &PoolView) -> String {
    let held = held(view);
    let mut text = String::new();
    for subnet in &view.subnets {
        let Some(AddressCounts { total, assigned, .. }) = held.get(&subnet.id) else { continue };
        let (cidr, free) = (subnet.cidr, subnet.free);
        text +=
            &format!(" PodCIDR {cidr}: {assigned} of {total} addresses used by pods here, {free} free in the subnet.");
    }
    for block in &view.node_blocks {
        let Tally { total, assigned, .. } = block.tally;
        let drains = if block.draining_since.is_some() { ", and it drains" } else { "" };
        text += &format!(" PodCIDR {}: {assigned} of {total} addresses used by pods here{drains}.", block.cidr);
    }
    text
}

/// Whether a condition that was `False` is to stay as it is for a while: no address is there yet, and the pool only hopes for
/// one, because the pause after the last refusal is over.
pub(super) fn is_hope(before: Option<&Condition>, now: &Condition) -> bool {
    before.is_some_and(|before| before.status == ConditionStatus::False) && now.reason == OBTAINABLE
}

/// Whether the agent just does not know yet, or any more.
fn is_passing(cause: Cause) -> bool {
    match cause {
        Cause::NotReady | Cause::Terminating => true,
        Cause::SubnetExhausted
        | Cause::SubnetFragmented
        | Cause::NodeBlockExhausted
        | Cause::NodeBlockMissing
        | Cause::InterfaceLimit
        | Cause::NoSubnetAllowed
        | Cause::Throttled
        | Cause::NotAuthorized
        | Cause::CloudUnavailable
        | Cause::CoolingDown
        | Cause::StillGrowing
        | Cause::NodeCordoned
        | Cause::ProvisioningDisabled
        | Cause::QueueFull
        | Cause::CheckpointFailed => false,
    }
}

/// What the taints should be. Nothing is said while it is not known whether an address can be given.
pub(super) fn taints(condition: &Condition, setting: FullNodeTaint) -> Vec<Wanted> {
    let effect = match setting {
        FullNodeTaint::Prefer => Some("PreferNoSchedule"),
        FullNodeTaint::Forbid => Some("NoSchedule"),
        FullNodeTaint::Off => None,
    };
    let absent = |key: &str| Wanted::Absent { key: key.to_owned() };
    match (condition.status, effect) {
        (ConditionStatus::True, _) => vec![absent(START_TAINT), absent(FULL_TAINT)],
        (ConditionStatus::False, Some(effect)) => vec![Wanted::Present(Taint {
            key: FULL_TAINT.to_owned(),
            value: Some(condition.reason.clone()),
            effect: effect.to_owned(),
            time_added: None,
        })],
        (ConditionStatus::False, None) => vec![absent(FULL_TAINT)],
        (ConditionStatus::Unknown, _) => Vec::new(),
    }
}

/// The figures.
pub(super) fn status(view: &PoolView, condition: &Condition, now: Timestamp) -> NodeAddressesStatus {
    let held = held(view);
    let subnets = view.subnets.iter().map(|subnet| SubnetUse {
        id: subnet.id.clone(),
        cidr: subnet.cidr,
        held: held.get(&subnet.id).copied().unwrap_or_default(),
        free: subnet.free,
        used_for_pods: subnet.allowed,
        reason: subnet.reason.clone(),
    });
    NodeAddressesStatus {
        observed_at: now,
        addresses: counts_of(view.tally),
        prefixes: view.prefixes,
        waiting_pods: view.waiting,
        waiting_since: view.waiting_since,
        interfaces: InterfaceCounts {
            attached: u32::try_from(view.interfaces.len()).unwrap_or(u32::MAX),
            limit: view.interface_limit,
        },
        subnets: subnets.collect(),
        conditions: vec![condition.clone()],
    }
}

/// What the node holds in each subnet.
fn held(view: &PoolView) -> BTreeMap<&SubnetId, AddressCounts> {
    let mut held: BTreeMap<&SubnetId, AddressCounts> = BTreeMap::new();
    for interface in &view.interfaces {
        let counts = held.entry(&interface.subnet).or_default();
        let AddressCounts { total, assigned, free, cooling, quarantined } = counts_of(interface.tally);
        counts.total += total;
        counts.assigned += assigned;
        counts.free += free;
        counts.cooling += cooling;
        counts.quarantined += quarantined;
    }
    held
}

fn counts_of(Tally { total, assigned, cooling, free, quarantined }: Tally) -> AddressCounts {
    AddressCounts { total, assigned, free, cooling, quarantined }
}

#[cfg(test)]
mod tests {
    use freeboard_pool::Place;

    use super::*;

    fn refused(cause: Cause) -> Result<(), Refusal> {
        let (message, remedy) = ("subnet 10.0.208.0/27 is full (0 of 27 free)".to_owned(), "add a range".to_owned());
        Err(Refusal { cause, place: Place::Node, message, remedy })
    }

    fn view(tally: Tally) -> PoolView {
        PoolView {
            ready: true,
            tally,
            prefixes: 0,
            waiting: 0,
            waiting_since: None,
            node_blocks: Vec::new(),
            interfaces: Vec::new(),
            unmanaged_interfaces: 0,
            interface_limit: 3,
            slots_per_interface: 5,
            subnets: Vec::new(),
            operations: Vec::new(),
            quarantined: Vec::new(),
            corrections: freeboard_pool::Corrections::default(),
        }
    }

    fn verdict(can_give: &Result<(), Refusal>) -> Condition {
        condition(can_give, &view(Tally::default()), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_condition_says_the_cause_in_the_words_of_the_refusal() {
        let full = verdict(&refused(Cause::SubnetExhausted));
        assert_eq!((full.status, full.reason.as_str()), (ConditionStatus::False, "SubnetExhausted"));
        assert_eq!(full.message, "subnet 10.0.208.0/27 is full (0 of 27 free). What helps: add a range.");
        assert_eq!(verdict(&refused(Cause::NotReady)).status, ConditionStatus::Unknown);
        assert_eq!(verdict(&Ok(())).reason, "AddressesObtainable");
    }

    #[test]
    fn a_full_node_that_only_hopes_stays_full_for_a_while() {
        let (full, hope) = (verdict(&refused(Cause::SubnetExhausted)), verdict(&Ok(())));
        assert!(is_hope(Some(&full), &hope));
        assert!(!is_hope(None, &hope) && !is_hope(Some(&hope), &hope));
        let free = condition(&Ok(()), &view(Tally { free: 1, ..Tally::default() }), Timestamp::UNIX_EPOCH);
        assert!(!is_hope(Some(&full), &free), "an address is no hope");
    }

    #[test]
    fn a_full_node_has_the_taint_and_one_that_can_give_has_neither() {
        let full = verdict(&refused(Cause::InterfaceLimit));
        let wanted = taints(&full, FullNodeTaint::Prefer);
        let [Wanted::Present(taint)] = wanted.as_slice() else { panic!("one taint: {wanted:?}") };
        assert_eq!((taint.effect.as_str(), taint.value.as_deref()), ("PreferNoSchedule", Some("InterfaceLimit")));
        assert_eq!(taints(&full, FullNodeTaint::Off), [Wanted::Absent { key: FULL_TAINT.to_owned() }]);
        assert_eq!(taints(&verdict(&Ok(())), FullNodeTaint::Forbid).len(), 2);
        assert_eq!(taints(&verdict(&refused(Cause::NotReady)), FullNodeTaint::Prefer), []);
    }
}
