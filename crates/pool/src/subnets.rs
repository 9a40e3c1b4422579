//! Which subnets may be used, in which order, and how much may be asked of each.

use std::collections::{BTreeMap, BTreeSet};

use freeboard_address::SubnetId;
use jiff::Timestamp;

use crate::backoff::Backoff;
use crate::input::{NodeFacts, ObservedSubnet, Pacing, PoolSettings, RangePreference};

const ROLE_TAG: &str = "kubernetes.io/role/cni";
const CLUSTER_TAG_PREFIX: &str = "cni.networking.k8s.aws/cluster/";

/// What is known of one subnet's room; kept also for a subnet that could not be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    /// Free addresses at the last look, less what this node took since.
    free: Option<u32>,
    pub(crate) looked_at: Option<Timestamp>,
    /// The most to ask for in the next call, after a call was refused.
    at_most: Option<u32>,
    prefixes_at_most: Option<u32>,
    /// The size of a refused request, until a fresh figure is known.
    look_wanted: Option<u32>,
    probing: bool,
    pub(crate) exhausted: Option<Backoff>,
    free_when_exhausted: u32,
    pub(crate) fragmented: Option<Backoff>,
}

/// How much may be asked of a subnet in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// Nothing before this time.
    Exhausted(Timestamp),
    /// A fresh figure is awaited.
    LookWanted,
    /// At most this many addresses.
    UpTo(u32),
}

/// Whether new interfaces for pods may be made in a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) reason: &'static str,
}

/// The subnets of the VPC in the node's zone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subnets {
    known: BTreeMap<SubnetId, ObservedSubnet>,
    pub(crate) rooms: BTreeMap<SubnetId, Room>,
    /// Those of which no pod may get an address (tag `kubernetes.io/role/cni` = 0).
    excluded: BTreeSet<SubnetId>,
    pub(crate) looked_at: Option<Timestamp>,
}

impl Subnets {
    pub(crate) fn get(&self, id: &SubnetId) -> Option<&ObservedSubnet> {
        self.known.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ObservedSubnet> {
        self.known.values()
    }

    /// Free addresses as far as known.
    pub(crate) fn free(&self, id: &SubnetId) -> Option<u32> {
        self.rooms.get(id)?.free
    }

    /// Takes in a fresh look. Returns the subnets that have room again.
    pub(crate) fn look(
        &mut self,
        seen: Vec<ObservedSubnet>,
        zone: &str,
        now: Timestamp,
        pacing: &Pacing,
    ) -> Vec<(SubnetId, u32)> {
        let mut refilled = Vec::new();
        self.looked_at = Some(now);
        self.known = seen.into_iter().filter(|s| s.zone == zone).map(|subnet| (subnet.id.clone(), subnet)).collect();
        let is_excluded = |subnet: &&ObservedSubnet| subnet.tags.get(ROLE_TAG).is_some_and(|value| value == "0");
        self.excluded = self.known.values().filter(is_excluded).map(|subnet| subnet.id.clone()).collect();
        for subnet in self.known.values() {
            let room = self.rooms.entry(subnet.id.clone()).or_default();
            let free = subnet.free.0;
            if let Some(exhausted) = &mut room.exhausted {
                if room.look_wanted.take().is_some() {
                    room.free_when_exhausted = free;
                }
                if free > room.free_when_exhausted {
                    room.exhausted = None;
                    room.at_most = None;
                    room.probing = false;
                    refilled.push((subnet.id.clone(), free));
                } else if free == 0 {
                    exhausted.renew(now, pacing.subnets_when_short);
                }
            }
            if room.free.is_some_and(|before| free >= before.saturating_add(16)) {
                room.fragmented = None;
            }
            room.free = Some(free);
            room.looked_at = Some(now);
            if let Some(asked) = room.look_wanted.take() {
                room.probing = true;
                room.at_most = Some(free.min(asked.saturating_sub(1)));
            }
            if free == 0 && room.exhausted.is_none() {
                room.exhausted = Some(Backoff::after(None, now, pacing.backoff_min, pacing.backoff_max));
                room.free_when_exhausted = 0;
            }
        }
        refilled
    }

    /// Reading the subnets failed: what waits for a fresh figure halves its request instead.
    pub(crate) fn look_failed(&mut self) {
        for room in self.rooms.values_mut() {
            if let Some(asked) = room.look_wanted.take()
                && room.exhausted.is_none()
            {
                room.probing = true;
                room.at_most = Some((asked / 2).max(1));
            }
        }
    }

    pub(crate) fn is_look_wanted(&self) -> bool {
        self.rooms.values().any(|room| room.look_wanted.is_some())
    }

    /// How many addresses (an interface's primary one included) may be asked of the subnet in one call. A subnet that was full is
    /// tried with `least`, the smallest request of use.
    pub(crate) fn allowance(&self, id: &SubnetId, least: u32, now: Timestamp) -> Allowance {
        let Some(room) = self.rooms.get(id) else { return Allowance::UpTo(u32::MAX) };
        if room.look_wanted.is_some() {
            return Allowance::LookWanted;
        }
        match &room.exhausted {
            Some(exhausted) if exhausted.until > now => Allowance::Exhausted(exhausted.until),
            Some(_) => Allowance::UpTo(least),
            None => {
                // Less than `least` is of no use: when that is refused too, the subnet counts as full, and that ends some day.
                let at_most = room.at_most.map_or(u32::MAX, |most| most.max(least));
                Allowance::UpTo(at_most.min(room.free.unwrap_or(u32::MAX)).max(1))
            }
        }
    }

    /// How many prefixes may be asked for in one call; 0 while no aligned /28 is to be had.
    pub(crate) fn prefix_allowance(&self, id: &SubnetId, now: Timestamp) -> u32 {
        let Some(room) = self.rooms.get(id) else { return u32::MAX };
        if room.fragmented.as_ref().is_some_and(|fragmented| fragmented.until > now) {
            return 0;
        }
        let by_free = room.free.map_or(u32::MAX, |free| free / 16);
        room.prefixes_at_most.unwrap_or(u32::MAX).min(by_free)
    }

    pub(crate) fn exhausted_until(&self, id: &SubnetId) -> Option<Timestamp> {
        Some(self.rooms.get(id)?.exhausted.as_ref()?.until)
    }

    pub(crate) fn fragmented_until(&self, id: &SubnetId) -> Option<Timestamp> {
        Some(self.rooms.get(id)?.fragmented.as_ref()?.until)
    }

    pub(crate) fn is_exhausted(&self, id: &SubnetId, now: Timestamp) -> bool {
        self.exhausted_until(id).is_some_and(|until| until > now)
    }

    /// A call brought `count` addresses (prefixes count 16, an interface's primary address 1). `started`: when the call began.
    pub(crate) fn took(&mut self, id: &SubnetId, count: u32, started: Timestamp, now: Timestamp, pacing: &Pacing) {
        let room = self.rooms.entry(id.clone()).or_default();
        room.at_most = None;
        room.prefixes_at_most = None;
        room.probing = false;
        room.exhausted = None;
        // A look made while the call was in flight may have counted it already; better to ask once in vain than to idle.
        if room.looked_at.is_some_and(|looked_at| looked_at <= started)
            && let Some(free) = &mut room.free
        {
            *free = free.saturating_sub(count);
            if *free == 0 {
                room.free_when_exhausted = 0;
                room.exhausted = Some(Backoff::after(None, now, pacing.backoff_min, pacing.backoff_max));
            }
        }
    }

    /// The subnet had too little for `asked` addresses. Returns whether it counts as full now.
    pub(crate) fn short(&mut self, id: &SubnetId, asked: u32, least: u32, now: Timestamp, pacing: &Pacing) -> bool {
        let room = self.rooms.entry(id.clone()).or_default();
        if asked > least {
            if room.probing {
                room.at_most = Some((asked / 2).max(1));
            } else {
                room.look_wanted = Some(asked);
            }
            return false;
        }
        // The figure that goes with it should be fresh, for the back-off and for those who read the refusal.
        room.look_wanted = (!room.probing).then_some(asked);
        room.probing = false;
        room.at_most = None;
        room.free_when_exhausted = room.free.unwrap_or(0);
        room.exhausted = Some(Backoff::after(room.exhausted.as_ref(), now, pacing.backoff_min, pacing.backoff_max));
        true
    }

    /// The subnet had too few aligned /28 blocks for `asked` prefixes. Returns whether it counts as fragmented now.
    pub(crate) fn short_of_prefixes(&mut self, id: &SubnetId, asked: u32, now: Timestamp, pacing: &Pacing) -> bool {
        let room = self.rooms.entry(id.clone()).or_default();
        if asked > 1 {
            room.prefixes_at_most = Some(asked / 2);
            return false;
        }
        room.prefixes_at_most = None;
        room.fragmented = Some(Backoff::after(room.fragmented.as_ref(), now, pacing.backoff_min, pacing.backoff_max));
        true
    }

    /// Whether no pod may get an address of this subnet (tag `kubernetes.io/role/cni` = 0).
    pub(crate) fn is_excluded(&self, id: &SubnetId) -> bool {
        !self.excluded.is_empty() && self.excluded.contains(id)
    }

    /// Whether there is any such subnet.
    pub(crate) fn are_excluded(&self) -> bool {
        !self.excluded.is_empty()
    }

    /// Whether new interfaces for pods may be made in this subnet (aws-vpc-cni §5.4).
    pub(crate) fn judge(subnet: &ObservedSubnet, settings: &PoolSettings, facts: &NodeFacts) -> Verdict {
        let is_primary = subnet.id == facts.primary_subnet;
        let role = subnet.tags.get(ROLE_TAG).map_or("", String::as_str);
        let verdict = |allowed, reason| Verdict { allowed, reason };
        if role == "0" {
            return verdict(false, "excluded: tag kubernetes.io/role/cni is 0");
        }
        if !settings.subnet_discovery {
            return if is_primary {
                verdict(true, "the primary interface's subnet")
            } else {
                verdict(false, "not used for pods: ENABLE_SUBNET_DISCOVERY is off")
            };
        }
        if role.is_empty() {
            return if is_primary {
                verdict(true, "the primary interface's subnet")
            } else {
                verdict(false, "not used for pods: no tag kubernetes.io/role/cni")
            };
        }
        let clusters: Vec<_> = subnet.tags.keys().filter_map(|key| key.strip_prefix(CLUSTER_TAG_PREFIX)).collect();
        match &settings.cluster_name {
            Some(cluster) if !clusters.is_empty() && !clusters.contains(&cluster.as_str()) => {
                verdict(false, "not used for pods: tagged for another cluster")
            }
            Some(_) | None => verdict(true, "tagged kubernetes.io/role/cni"),
        }
    }

    /// 0 for a subnet of the preferred range, 1 otherwise.
    pub(crate) fn rank(&self, id: &SubnetId, preference: RangePreference, facts: &NodeFacts) -> u8 {
        let in_primary_range =
            || self.known.get(id).map_or(*id == facts.primary_subnet, |subnet| subnet.in_primary_range);
        match preference {
            RangePreference::MostFree => 0,
            RangePreference::SecondaryFirst => u8::from(in_primary_range()),
            RangePreference::PrimaryFirst => u8::from(!in_primary_range()),
        }
    }

    /// The subnets in which new interfaces may be made, best first. When the subnets could not be read, the primary one serves.
    pub(crate) fn candidates(&self, settings: &PoolSettings, facts: &NodeFacts) -> Vec<SubnetId> {
        if self.looked_at.is_none() {
            return vec![facts.primary_subnet.clone()];
        }
        let mut candidates: Vec<_> = self.known.values().filter(|s| Self::judge(s, settings, facts).allowed).collect();
        candidates.sort_by_key(|subnet| {
            let free = self.free(&subnet.id).unwrap_or(subnet.free.0);
            (self.rank(&subnet.id, settings.preference, facts), std::cmp::Reverse(free), subnet.id.clone())
        });
        candidates.into_iter().map(|subnet| subnet.id.clone()).collect()
    }
}
