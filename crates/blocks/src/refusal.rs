//! Why a node has no block: the cause, where it is, the figures, and what to do about it.

use freeboard_address::{Cidr, NodeName, PodBits};

use crate::cause::{Cause, Place, Refusal};
use crate::engine::{Blocks, later};
use crate::nodes::State;
use crate::ranges::Class;
use crate::serve::{GroupKey, length_for};
use crate::territory::Territory;

/// One range as a waiting node sees it.
struct Seen<'a> {
    territory: &'a Territory,
    length: u8,
    taken: u64,
    capacity: u64,
}

impl Blocks {
    /// Why this node has no block; none when it has one, or when it is not known.
    #[must_use]
    pub fn explain(&self, node: &NodeName) -> Option<Refusal> {
        let known = self.nodes.get(self.nodes.find(node)?)?;
        match &known.state {
            State::Held { .. } => None,
            State::Waiting { group, .. } => Some(self.explain_group(*group)),
            State::Granted { cidr, .. } => Some(Refusal::new(
                Cause::Writing,
                Place::Node,
                format!("block {cidr} is chosen for node {node}, and the API has not confirmed it yet"),
                "nothing needs to be done: the write is repeated until the API shows the block",
            )),
            State::Refused { cause: Cause::Deleting } => Some(Refusal::new(
                Cause::Deleting,
                Place::Node,
                format!("node {node} is being deleted, so it gets no block"),
                "nothing needs to be done",
            )),
            State::Refused { .. } => Some(self.explain_max_pods(node, known.max_pods)),
            State::Unusable => Some(Refusal::new(
                Cause::BlockUnusable,
                Place::Node,
                format!("spec.podCIDRs of node {node} is set, holds no IPv4 block, and cannot be changed"),
                "delete the Node and let it register again",
            )),
        }
    }

    fn explain_max_pods(&self, node: &NodeName, max_pods: Option<i64>) -> Refusal {
        let limit = self.settings.max_pods_limit;
        let given = max_pods.map_or_else(|| "missing".to_owned(), |pods| pods.to_string());
        Refusal::new(
            Cause::MaxPodsInvalid,
            Place::Node,
            format!("max-pods of node {node} (status.capacity.pods) is {given}: expected 1 to {limit}"),
            "set --max-pods of the node's kubelet, or raise the limit of pods per node",
        )
    }

    /// Why the nodes of this queue wait.
    pub(crate) fn explain_group(&self, key: GroupKey) -> Refusal {
        if !self.is_ready() {
            let wait = later(self.started, self.settings.takeover_wait).duration_since(self.now).as_secs().max(0);
            let (what, remedy) = if self.listed.is_none() || wait == 0 {
                ("the nodes are not read yet".to_owned(), "look whether the API answers")
            } else {
                let landing = format!("what an earlier leader wrote last may still land, for {wait} s more");
                (landing, "nothing needs to be done")
            };
            return Refusal::new(Cause::NotReady, Place::Cluster, what, remedy);
        }
        if self.territories.is_empty() {
            return Refusal::new(
                Cause::NoRange,
                Place::Cluster,
                "there is no range of pod addresses",
                "add a range (PodRange) that overlaps nothing else of the network",
            );
        }
        let class = usize::try_from(key.class).ok().and_then(|class| self.classes.all.get(class));
        let Some(class) = class else { return self.explain_no_match() };
        if class.giving.is_empty() {
            return if class.draining.is_empty() { self.explain_no_match() } else { self.explain_draining(class) };
        }
        let ranges: Vec<Seen<'_>> = class.giving.iter().filter_map(|index| self.see(*index, key.pods)).collect();
        if ranges.is_empty() {
            return self.explain_size(class, key.pods);
        }
        self.explain_full(class, &ranges, key)
    }

    fn see(&self, index: usize, pods: Option<PodBits>) -> Option<Seen<'_>> {
        let territory = self.territories.get(index)?;
        let length = length_for(territory, pods)?;
        let capacity = territory.capacity_in_blocks(&self.settings.excluded, length);
        // What is not free as a block of this length is taken for this purpose, even if smaller parts of it are free.
        let taken = capacity.saturating_sub(territory.space.free_blocks(length));
        Some(Seen { territory, length, taken, capacity })
    }

    fn explain_no_match(&self) -> Refusal {
        let count = self.territories.len();
        Refusal::new(
            Cause::NoRangeMatches,
            Place::Cluster,
            format!("none of the {count} ranges is for this node: no node selector matches its labels"),
            "label the node as a range's selector asks, change a selector, or add a range without one",
        )
    }

    fn explain_draining(&self, class: &Class) -> Refusal {
        let names = self.names(&class.draining);
        Refusal::new(
            Cause::RangesDraining,
            Place::Cluster,
            format!("all ranges for this node are draining or being removed: {names}"),
            "set one of them to Active again, or add a range",
        )
    }

    fn explain_size(&self, class: &Class, pods: Option<PodBits>) -> Refusal {
        let names = self.names(&class.giving);
        let Some(pods) = pods else {
            return Refusal::new(
                Cause::MaxPodsInvalid,
                Place::Node,
                format!(
                    "max-pods of the node (status.capacity.pods) is missing, and the blocks of {names} follow from it"
                ),
                "set --max-pods of the node's kubelet, or a default for nodes that do not tell it",
            );
        };
        let most = pods.pods();
        Refusal::new(
            Cause::BlockTooSmall,
            Place::Cluster,
            format!(
                "a node of up to {most} pods needs {most} addresses or more, and the fixed blocks of {names} have fewer"
            ),
            "lower max-pods of the node, or add a range with larger blocks",
        )
    }

    fn explain_full(&self, class: &Class, ranges: &[Seen<'_>], key: GroupKey) -> Refusal {
        // The figures are of the range with the most free addresses, or of the largest: where a person would look first.
        let by_room = |seen: &&Seen<'_>| (seen.territory.free_addresses(), seen.capacity);
        let Some(best) = ranges.iter().max_by_key(by_room) else {
            return self.explain_no_match();
        };
        let (name, cidr, length) = (&best.territory.spec.name, best.territory.spec.cidr, best.length);
        let place = Place::Range { name: name.clone(), cidr };
        let among = match ranges.len() {
            1 => String::new(),
            count => format!(", and the other {} ranges for this node have none either", count - 1),
        };
        let reserved = ranges.iter().find(|seen| seen.territory.space.best_fit(seen.length).is_some());
        if let Some(seen) = reserved {
            return explain_reserved(seen, &among);
        }
        let soonest = ranges.iter().filter_map(|seen| self.cools_until(seen)).min();
        if let Some(seconds) = soonest {
            let cooling: u64 = ranges.iter().map(|seen| seen.territory.cooling_addresses).sum();
            return Refusal::new(
                Cause::CoolingDown,
                place,
                format!(
                    "no block of /{length} is free in range {name} {cidr}{among}; {cooling} addresses cool down after use, the first block for {seconds} s more"
                ),
                "nothing needs to be done: the node gets the block as soon as it may be used again",
            );
        }
        let free: u64 = ranges.iter().map(|seen| seen.territory.free_addresses()).sum();
        let needed = ranges.iter().map(|seen| 1u64 << (32 - u32::from(seen.length))).min().unwrap_or(u64::MAX);
        let remedy = self.remedy_for_room(class, key.pods, length);
        let Seen { taken, capacity, .. } = best;
        let held = match best.territory.held_addresses {
            0 => String::new(),
            held => format!("; {held} of them are kept for a larger node that has waited longer"),
        };
        if best.length < cidr.length() {
            return Refusal::new(
                Cause::RangeExhausted,
                place,
                format!("range {name} {cidr} is smaller than one block of /{length}{among}"),
                remedy,
            );
        }
        if free >= needed {
            return Refusal::new(
                Cause::RangeFragmented,
                place,
                format!(
                    "range {name} {cidr} has {} free addresses but no whole block of /{length} ({taken} of {capacity} taken){held}{among}",
                    best.territory.free_addresses()
                ),
                remedy,
            );
        }
        Refusal::new(
            Cause::RangeExhausted,
            place,
            format!("range {name} {cidr} is full: {taken} of {capacity} blocks of /{length} are taken{among}"),
            remedy,
        )
    }

    /// In how many seconds a cooling block of the range makes room, if one does by itself.
    fn cools_until(&self, seen: &Seen<'_>) -> Option<i64> {
        let holds = |(cidr, _): &(&Cidr, &jiff::Timestamp)| cidr.length() <= seen.length;
        let (_, released) = seen.territory.cooling.iter().filter(holds).min_by_key(|(_, released)| **released)?;
        let until = later(*released, self.settings.cooldown_floor.min(self.settings.cooldown));
        Some(until.duration_since(self.now).as_secs().max(0))
    }

    /// What can be done when the ranges for a node are full, the cheapest first.
    fn remedy_for_room(&self, class: &Class, pods: Option<PodBits>, length: u8) -> String {
        let has_room = |index: &&usize| {
            let territory = self.territories.get(**index);
            territory.is_some_and(|t| length_for(t, pods).is_some_and(|length| t.space.best_fit(length).is_some()))
        };
        let spare = class.draining.iter().find(has_room).and_then(|index| self.territories.get(*index));
        if let Some(Territory { spec, .. }) = spare {
            return format!("set range {} ({}) to Active again: it has room", spec.name, spec.cidr);
        }
        let all: Vec<usize> = (0..self.territories.len()).collect();
        let others = all.iter().filter(|index| !class.giving.contains(index) && !class.draining.contains(index));
        if let Some(spec) =
            others.clone().find(has_room).and_then(|index| self.territories.get(*index)).map(|t| &t.spec)
        {
            return format!(
                "range {} ({}) has room but its node selector does not match: label the node, change the selector, or add a range",
                spec.name, spec.cidr
            );
        }
        format!("add a range (PodRange): each /{} holds 16 more nodes of this size", length.saturating_sub(4).max(1))
    }

    fn names(&self, indices: &[usize]) -> String {
        let names = indices.iter().filter_map(|index| self.territories.get(*index));
        names.map(|territory| territory.spec.name.to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// A range has free blocks, and all of them are kept for other pools.
fn explain_reserved(seen: &Seen<'_>, among: &str) -> Refusal {
    let (name, cidr) = (&seen.territory.spec.name, seen.territory.spec.cidr);
    let open = seen.territory.reservation_views().into_iter().filter(|one| one.nodes < one.max_nodes);
    let pools: Vec<String> =
        open.map(|one| format!("{} ({} of {} nodes have theirs)", one.pool, one.nodes, one.max_nodes)).collect();
    Refusal::new(
        Cause::RoomReserved,
        Place::Range { name: name.clone(), cidr },
        format!(
            "{} blocks of /{} are free in range {name} {cidr}, and all are kept for {}{among}",
            seen.capacity - seen.taken,
            seen.length,
            pools.join(", ")
        ),
        "add a range (PodRange), or lower what is kept for those pools",
    )
}
