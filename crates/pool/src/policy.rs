//! The formulas: how many addresses the node should hold. Pure arithmetic on figures (aws-vpc-cni §4.1–§4.6).
//!
//! Three differences from the Amazon VPC CNI are on purpose: cooling addresses are not available (§12 pain 2), a request never
//! goes beyond what the node's pods can use (pain 5), and pods that wait count as demand whatever the targets say (pain 6).

use freeboard_address::{Addresses, Prefixes};

use crate::decision::Reason;
use crate::input::{AllocationMode, Targets};
use crate::lean::Forecast;

/// What the pool is to hold beyond what its pods have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// What the targets of the Amazon VPC CNI say.
    Targets(Targets),
    /// What the node has learned.
    Forecast(Forecast),
}

impl Aim {
    /// Why something is given back. `unused`: it goes only because no pod is on it.
    pub(crate) fn reason(&self, unused: bool) -> Reason {
        match *self {
            Self::Targets(targets) => Reason::TargetsMet { targets, unused },
            Self::Forecast(forecast) => Reason::OverForecast { forecast, unused },
        }
    }
}

/// What the formulas look at: addresses in service or on their way there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// All addresses: assigned, cooling and free.
    pub(crate) total: u32,
    pub(crate) assigned: u32,
    pub(crate) cooling: u32,
    /// Prefixes with nothing assigned and nothing cooling.
    pub(crate) free_prefixes: u32,
    pub(crate) total_prefixes: u32,
    /// ADDs that wait, and pods refused a short while ago.
    pub(crate) demand: u32,
    /// Addresses or prefixes that one interface can carry beside its primary address.
    pub(crate) slots: u32,
    pub(crate) max_pods: u32,
}

impl Figures {
    /// Addresses that can be given, less the demand; negative when more are wanted than there are.
    pub(crate) fn available(&self) -> i64 {
        i64::from(self.total) - i64::from(self.assigned) - i64::from(self.cooling) - i64::from(self.demand)
    }

    /// Addresses that more pods could still use.
    fn headroom(&self) -> u32 {
        self.max_pods.saturating_sub(self.total.saturating_sub(self.cooling))
    }

    /// Addresses that demand lacks, whatever the targets say.
    pub(crate) fn deficit(&self) -> u32 {
        to_u32(-self.available())
    }
}

fn to_u32(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

fn ip_targets(targets: &Targets) -> Option<(u32, u32)> {
    let warm = targets.warm_ip.unwrap_or(Addresses::ZERO).0;
    let minimum = targets.minimum_ip.unwrap_or(Addresses::ZERO).0;
    (warm != 0 || minimum != 0).then_some((warm, minimum))
}

/// The pool is too small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// Single addresses to ask for next, at most, if single addresses are asked for.
    pub(crate) addresses: Addresses,
    /// Prefixes to ask for next, at most, if prefixes are asked for.
    pub(crate) prefixes: Prefixes,
    /// Why, with the figures.
    pub(crate) why: Reason,
}

/// Whether, and by how much, the pool is too small (§4.2, §4.3). `fragmented`: single addresses stand in for prefixes, so a warm
/// prefix is not asked for: one spare address is.
pub(crate) fn shortage(mode: AllocationMode, aim: &Aim, figures: &Figures, fragmented: bool) -> Option<Shortage> {
    let deficit = figures.deficit();
    let by_policy = policy_shortage(mode, aim, figures, fragmented).filter(|_| figures.headroom() > 0);
    let why = match &by_policy {
        _ if deficit > 0 => Reason::PodsWait { lacking: Addresses(deficit) },
        Some((_, why)) => why.clone(),
        None => return None,
    };
    let policy = by_policy.map_or(Shortfall::default(), |(shortfall, _)| shortfall);
    let cap = figures.headroom().max(deficit);
    let addresses = Addresses(policy.addresses.max(deficit).min(cap));
    let prefixes =
        Prefixes(policy.prefixes.max(Prefixes::holding(Addresses(deficit)).0)).min(Prefixes::holding(Addresses(cap)));
    Some(Shortage { addresses, prefixes, why })
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shortfall {
    addresses: u32,
    prefixes: u32,
}

fn policy_shortage(
    mode: AllocationMode,
    aim: &Aim,
    figures: &Figures,
    fragmented: bool,
) -> Option<(Shortfall, Reason)> {
    let available = figures.available();
    let targets = match aim {
        Aim::Targets(targets) => targets,
        Aim::Forecast(forecast) => {
            let short = to_u32(i64::from(forecast.warm) - available - i64::from(forecast.coming));
            let why = Reason::BelowForecast { available, forecast: *forecast };
            let prefixes = Prefixes::holding(Addresses(short)).0;
            return (short > 0).then_some((Shortfall { addresses: short, prefixes }, why));
        }
    };
    if let Some((warm, minimum)) = ip_targets(targets) {
        let short = to_u32((i64::from(warm) - available).max(i64::from(minimum) - i64::from(figures.total)));
        let why = Reason::BelowAddressTargets {
            available,
            total: Addresses(figures.total),
            warm_ip: Addresses(warm),
            minimum_ip: Addresses(minimum),
        };
        let prefixes = Prefixes::holding(Addresses(short)).0;
        return (short > 0).then_some((Shortfall { addresses: short, prefixes }, why));
    }
    match mode {
        AllocationMode::SecondaryAddresses => {
            let wanted = i64::from(targets.warm_eni) * i64::from(figures.slots);
            let low = available < wanted || (targets.warm_eni == 0 && available <= 0);
            let each = Addresses(figures.slots);
            let why = Reason::BelowInterfaceTarget { available, warm_eni: targets.warm_eni, each };
            low.then_some((Shortfall { addresses: to_u32(i64::from(figures.slots).max(-available)), prefixes: 0 }, why))
        }
        AllocationMode::Prefixes => {
            let target = targets.warm_prefix.0;
            let low = available < i64::from(target) * i64::from(Prefixes::SIZE) || (target == 0 && available <= 0);
            let why = Reason::BelowPrefixTarget { available, warm_prefix: targets.warm_prefix };
            if fragmented {
                return (available < 1).then_some((Shortfall { addresses: to_u32(1 - available), prefixes: 0 }, why));
            }
            let prefixes = target.saturating_sub(figures.free_prefixes).max(1);
            let addresses = to_u32((i64::from(target) * 16 - available).max(1));
            low.then_some((Shortfall { addresses, prefixes }, why))
        }
    }
}

/// What could be given back (§4.2, §4.3), before the look at which of it is unused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) addresses: Addresses,
    pub(crate) prefixes: Prefixes,
}

/// How much more than the targets the pool holds.
pub(crate) fn excess(mode: AllocationMode, aim: &Aim, figures: &Figures) -> Excess {
    let available = figures.available();
    let targets = match aim {
        Aim::Targets(targets) => targets,
        Aim::Forecast(forecast) => {
            let over = to_u32(available - i64::from(forecast.warm)).min(forecast.spare);
            return Excess { addresses: Addresses(over), prefixes: Prefixes(over / Prefixes::SIZE) };
        }
    };
    match (ip_targets(targets), mode) {
        (Some((warm, minimum)), AllocationMode::SecondaryAddresses) => {
            let over = (available - i64::from(warm)).min(i64::from(figures.total) - i64::from(minimum));
            Excess { addresses: Addresses(to_u32(over)), prefixes: Prefixes(to_u32(over) / Prefixes::SIZE) }
        }
        (Some((warm, minimum)), AllocationMode::Prefixes) => {
            let used = figures.assigned.saturating_add(figures.demand);
            let for_warm = Prefixes::holding(Addresses(used.saturating_add(warm))).0;
            let for_minimum = Prefixes::holding(Addresses(minimum)).0;
            let over = figures.total_prefixes.saturating_sub(for_warm.max(for_minimum)).min(figures.free_prefixes);
            let addresses = (available - i64::from(warm)).min(i64::from(figures.total) - i64::from(minimum));
            Excess { addresses: Addresses(to_u32(addresses)), prefixes: Prefixes(over) }
        }
        (None, AllocationMode::Prefixes) => {
            let target = targets.warm_prefix.0;
            let addresses = available - i64::from(target.max(1)) * i64::from(Prefixes::SIZE);
            let prefixes = Prefixes(figures.free_prefixes.saturating_sub(target));
            Excess { addresses: Addresses(to_u32(addresses)), prefixes }
        }
        (None, AllocationMode::SecondaryAddresses) => Excess::default(),
    }
}

/// An interface and what would be left beside it, to judge whether it may go (§3.5, §4.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Others {
    /// Free addresses on the other interfaces.
    pub(crate) free: u32,
    /// All addresses on them.
    pub(crate) total: u32,
    /// Wholly unused prefixes on them.
    pub(crate) free_prefixes: u32,
    /// Addresses on the interface itself, all free.
    pub(crate) own: u32,
}

/// Whether the targets let an unused interface go; the rules that look at the interface itself are the caller's.
pub(crate) fn interface_may_go(mode: AllocationMode, aim: &Aim, figures: &Figures, others: &Others) -> bool {
    let targets = match aim {
        Aim::Targets(targets) => targets,
        Aim::Forecast(forecast) => return others.free >= forecast.warm && others.own <= forecast.spare,
    };
    let in_prefixes = |count: u32| match mode {
        AllocationMode::SecondaryAddresses => count,
        AllocationMode::Prefixes => Prefixes::holding(Addresses(count)).addresses().0,
    };
    if let Some((warm, minimum)) = ip_targets(targets) {
        return others.free >= in_prefixes(warm) && others.total >= in_prefixes(minimum);
    }
    match mode {
        AllocationMode::SecondaryAddresses => {
            figures.available() >= (i64::from(targets.warm_eni) + 1) * i64::from(figures.slots)
        }
        AllocationMode::Prefixes => others.free_prefixes >= targets.warm_prefix.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(warm_eni: u32, warm_ip: u32, warm_prefix: u32) -> Aim {
        let warm_ip = (warm_ip > 0).then_some(Addresses(warm_ip));
        Aim::Targets(Targets { warm_eni, warm_ip, minimum_ip: None, warm_prefix: Prefixes(warm_prefix) })
    }

    fn figures(slots: u32, total: u32, assigned: u32, max_pods: u32) -> Figures {
        Figures { total, assigned, slots, max_pods, ..Figures::default() }
    }

    /// The table `nodeIPPoolTooLow` of aws-vpc-cni §11.2.
    #[test]
    fn single_addresses_are_too_few_when_the_amazon_vpc_cni_says_so() {
        for (slots, warm_eni, warm_ip, total, assigned, max_pods, low) in [
            (14, 1, 0, 0, 0, 500, true),
            (14, 0, 0, 0, 0, 500, true),
            (14, 0, 3, 0, 0, 500, true),
            (3, 1, 1, 3, 0, 500, false),
            (3, 1, 0, 3, 1, 500, true),
            (3, 0, 0, 3, 1, 500, false),
            (3, 1, 0, 3, 3, 500, true),
            (3, 0, 0, 3, 3, 500, true),
            (3, 0, 5, 3, 3, 3, false),
        ] {
            let figures = figures(slots, total, assigned, max_pods);
            let mode = AllocationMode::SecondaryAddresses;
            let found = shortage(mode, &targets(warm_eni, warm_ip, 0), &figures, false);
            assert_eq!(found.is_some(), low, "E={warm_eni} W={warm_ip} {figures:?}");
        }
    }

    /// The table `nodePrefixPoolTooLow`: one /28, or none.
    #[test]
    fn prefixes_are_too_few_when_the_amazon_vpc_cni_says_so() {
        for (prefixes, assigned, warm_prefix, max_pods, low) in [
            (0, 0, 1, 500, true),
            (0, 0, 0, 500, true),
            (1, 0, 1, 500, false),
            (1, 1, 1, 500, true),
            (1, 1, 0, 500, false),
            (1, 3, 1, 500, true),
            (1, 3, 0, 500, false),
            (1, 3, 1, 4, false),
        ] {
            let free_prefixes = if assigned == 0 { prefixes } else { 0 };
            let figures =
                Figures { total_prefixes: prefixes, free_prefixes, ..figures(14, prefixes * 16, assigned, max_pods) };
            let found = shortage(AllocationMode::Prefixes, &targets(1, 0, warm_prefix), &figures, false);
            assert_eq!(found.is_some(), low, "P={warm_prefix} {figures:?}");
        }
    }

    /// `GetWarmIPTargetState` with WARM_IP_TARGET=5.
    #[test]
    fn a_warm_ip_target_tells_how_many_are_short_or_over() {
        let targets = targets(1, 5, 0);
        let short = |mode, figures: &Figures| shortage(mode, &targets, figures, false);
        let singles = AllocationMode::SecondaryAddresses;
        assert_eq!(short(singles, &figures(14, 0, 0, 500)).unwrap().addresses, Addresses(5));
        assert_eq!(short(singles, &figures(14, 2, 0, 500)).unwrap().addresses, Addresses(3));
        assert_eq!(short(singles, &figures(14, 5, 0, 500)), None);
        assert_eq!(excess(singles, &targets, &figures(14, 5, 0, 500)).addresses, Addresses(0));
        let prefixes =
            |count| Figures { total_prefixes: count, free_prefixes: count, ..figures(14, count * 16, 0, 500) };
        assert_eq!(short(AllocationMode::Prefixes, &prefixes(0)).unwrap().prefixes, Prefixes(1));
        assert_eq!(excess(AllocationMode::Prefixes, &targets, &prefixes(2)).prefixes, Prefixes(1));
        assert_eq!(excess(AllocationMode::Prefixes, &targets, &prefixes(1)).prefixes, Prefixes(0));
    }

    /// Ours differs on purpose: demand counts whatever the targets say, also beyond max pods, and nothing else goes beyond it.
    #[test]
    fn demand_is_met_beyond_max_pods_and_warmth_is_not() {
        let waiting = Figures { demand: 2, ..figures(14, 3, 3, 3) };
        let found = shortage(AllocationMode::SecondaryAddresses, &targets(1, 0, 0), &waiting, false).unwrap();
        assert_eq!(found.addresses, Addresses(2));
    }

    /// The same pool as the Amazon VPC CNI counts it: a cooling address is available.
    fn as_counted_there(figures: &Figures) -> Figures {
        Figures { cooling: 0, ..*figures }
    }

    /// Theirs finds a target met by addresses that rest (§12 pain 2); ours does not. The formulas are the same.
    #[test]
    fn a_cooling_address_is_available_there_and_not_here() {
        let singles = AllocationMode::SecondaryAddresses;
        let pool = Figures { cooling: 1, ..figures(9, 5, 3, 500) };
        for (aim, theirs, ours) in
            [(targets(1, 1, 0), None, None), (targets(1, 2, 0), None, Some(1)), (targets(1, 3, 0), Some(1), Some(2))]
        {
            let short = |figures: &Figures| shortage(singles, &aim, figures, false).map(|short| short.addresses.0);
            assert_eq!((short(&as_counted_there(&pool)), short(&pool)), (theirs, ours), "{aim:?}");
        }
        let over = |figures: &Figures| excess(singles, &targets(1, 1, 0), figures).addresses.0;
        assert_eq!((over(&as_counted_there(&pool)), over(&pool)), (1, 0));
    }

    /// `WarmENIInteractions` of §11.1: eni-1, the primary one, has 2 used; eni-2 has 2 free; eni-3 has 1 free.
    #[test]
    fn an_interface_goes_when_both_targets_are_met_without_it() {
        let may_go = |others: &[(u32, u32)], own: u32, warm: u32, minimum: u32| {
            let (free, total) = others.iter().fold((0, 0), |(free, total), other| (free + other.0, total + other.1));
            let targets =
                Targets { warm_ip: Some(Addresses(warm)), minimum_ip: Some(Addresses(minimum)), ..Targets::default() };
            let beside = Others { free, total, free_prefixes: 0, own };
            let all = figures(14, total + own, 2, 500);
            interface_may_go(AllocationMode::SecondaryAddresses, &Aim::Targets(targets), &all, &beside)
        };
        let (first, second, third) = ((0, 2), (2, 2), (1, 1));
        for (warm, minimum, second_goes, third_goes) in
            [(3, 1, false, false), (1, 5, false, false), (2, 4, false, true)]
        {
            assert_eq!(may_go(&[first, third], 2, warm, minimum), second_goes, "eni-2: W={warm} M={minimum}");
            assert_eq!(may_go(&[first, second], 1, warm, minimum), third_goes, "eni-3: W={warm} M={minimum}");
        }
        for (warm, minimum, second_goes) in [(0, 3, false), (0, 2, true)] {
            assert_eq!(may_go(&[first], 2, warm, minimum), second_goes, "eni-2 alone: W={warm} M={minimum}");
        }
    }

    /// §4.2 and §4.3 with prefixes: ceil((assigned + W) / 16), ceil(M / 16), and no more than are wholly free.
    #[test]
    fn prefixes_over_the_targets() {
        for (assigned, free_prefixes, total_prefixes, warm, minimum, over) in [
            (0, 2, 2, 5, 0, 1),
            (0, 1, 1, 5, 0, 0),
            (11, 2, 3, 5, 0, 2),
            (12, 2, 3, 5, 0, 1),
            (12, 0, 3, 5, 0, 0),
            (1, 3, 4, 1, 33, 1),
        ] {
            let targets =
                Targets { warm_ip: Some(Addresses(warm)), minimum_ip: Some(Addresses(minimum)), ..Targets::default() };
            let pool = Figures { free_prefixes, total_prefixes, ..figures(9, total_prefixes * 16, assigned, 500) };
            let found = excess(AllocationMode::Prefixes, &Aim::Targets(targets), &pool).prefixes;
            assert_eq!(found, Prefixes(over), "{pool:?} W={warm} M={minimum}");
        }
        for (free_prefixes, warm_prefix, over) in [(2, 1, 1), (1, 1, 0), (1, 0, 1), (0, 0, 0)] {
            let pool = Figures { free_prefixes, total_prefixes: 3, ..figures(9, 48, 1, 500) };
            let found = excess(AllocationMode::Prefixes, &targets(1, 0, warm_prefix), &pool).prefixes;
            assert_eq!(found, Prefixes(over), "{free_prefixes} free, P={warm_prefix}");
        }
    }

    /// Single addresses are never given back one by one under WARM_ENI_TARGET; an interface goes with (E + 1) × slots available.
    #[test]
    fn a_warm_interface_target_gives_back_interfaces_only() {
        let singles = AllocationMode::SecondaryAddresses;
        for (total, assigned, warm_eni, goes) in
            [(6, 1, 1, false), (6, 0, 1, true), (9, 3, 1, true), (3, 0, 0, true), (6, 4, 0, false)]
        {
            let pool = figures(3, total, assigned, 500);
            let aim = targets(warm_eni, 0, 0);
            let beside = Others { free: 0, total: 0, free_prefixes: 0, own: 3 };
            assert_eq!(interface_may_go(singles, &aim, &pool, &beside), goes, "E={warm_eni} {pool:?}");
            assert_eq!(excess(singles, &aim, &pool), Excess::default());
        }
    }

    /// Under the lean policy what is over goes only as far as it was over for long.
    #[test]
    fn a_forecast_is_obeyed_like_a_target_with_patience() {
        let mut lean = crate::lean::Lean::new(jiff::Timestamp::UNIX_EPOCH);
        let stock = crate::lean::Stock {
            available: 0,
            pods_wait: false,
            cooling: 0,
            room: 9,
            interface_may_come: true,
            cooldown: jiff::SignedDuration::from_secs(30),
        };
        let forecast = lean.forecast(&stock, jiff::Timestamp::UNIX_EPOCH);
        let singles = AllocationMode::SecondaryAddresses;
        let short = |mode, pool: &Figures| shortage(mode, &Aim::Forecast(forecast), pool, false);
        assert_eq!(short(singles, &figures(9, 3, 3, 29)).unwrap().addresses, Addresses(1));
        assert_eq!(short(AllocationMode::Prefixes, &figures(9, 16, 16, 29)).unwrap().prefixes, Prefixes(1));
        assert_eq!(short(singles, &figures(9, 4, 3, 29)), None);
        assert_eq!(short(singles, &figures(9, 29, 29, 29)), None, "max pods caps it");
        for (spare, over) in [(0, 0), (2, 2), (9, 5)] {
            let mut patient = forecast;
            patient.spare = spare;
            let aim = Aim::Forecast(patient);
            assert_eq!(excess(singles, &aim, &figures(9, 9, 3, 29)).addresses, Addresses(over), "{spare} spare");
        }
    }
}
