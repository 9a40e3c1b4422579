//! New settings while the pool runs: checked as a whole, then obeyed as a whole, and what they change is told.

use std::fmt::Write as _;

use freeboard_address::{Addresses, Prefixes};
use jiff::{SignedDuration, Timestamp};

use crate::block_source::Source;
use crate::budget::CallLimit;
use crate::input::{AllocationMode, Policy, PoolSettings, RangePreference, Targets};
use crate::policy;
use crate::pool::Pool;
use crate::store::{Interface, Phase};

/// One setting that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// The setting, by the name of its environment variable where it has one.
    pub name: &'static str,
    /// The value until now; empty is "not set".
    pub from: String,
    /// The value from now on.
    pub to: String,
}

/// Why settings cannot be obeyed: a value that contradicts another one, or the node as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsConflict {
    /// With prefixes, something has to say how many are held.
    #[error(
        "ENABLE_PREFIX_DELEGATION=true contradicts {targets}: expected a target above zero; set WARM_PREFIX_TARGET to at least 1, or FREEBOARD_POLICY=lean"
    )]
    PrefixesWithoutTarget {
        /// The targets, all without effect on prefixes.
        targets: Targets,
    },
    /// Interfaces cannot be taken from under pods.
    #[error(
        "MAX_ENI={max_eni} is below the {in_use} interfaces that are in use: expected at least {in_use}; drain the node first, or set a higher value"
    )]
    FewerInterfacesThanInUse {
        /// The refused value.
        max_eni: u32,
        /// Interfaces that carry pods, the primary one, and those that the pool does not manage.
        in_use: u32,
    },
    /// No subnet for pods lies in the preferred range.
    #[error(
        "FREEBOARD_RANGE_PREFERENCE={preference} prefers a range that does not exist: expected a subnet for pods in {zone} in a {range} CIDR of the VPC, and there is none among {subnets}; create and tag one first, or use most-free"
    )]
    NoSuchRange {
        /// The refused value.
        preference: RangePreference,
        /// The kind of CIDR: primary or secondary.
        range: &'static str,
        /// The node's zone.
        zone: String,
        /// The subnets for pods that are there.
        subnets: String,
    },
}

/// New settings were refused as a whole; the old ones stay in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the new settings are refused and the old ones stay: {}", sentence(.conflicts))]
pub struct SettingsRefused {
    /// Every conflict that was found.
    pub conflicts: Vec<SettingsConflict>,
}

fn sentence(conflicts: &[SettingsConflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Pool {
    /// New settings, as a whole. Returns what they change, each setting once.
    ///
    /// # Errors
    ///
    /// Every contradiction among them, or with the node as it is; then nothing changes.
    pub fn handle_settings(
        &mut self,
        settings: PoolSettings,
        now: Timestamp,
    ) -> Result<Vec<SettingChange>, SettingsRefused> {
        let now = self.begin(now);
        let conflicts = self.conflicts(&settings);
        if !conflicts.is_empty() {
            let refused = SettingsRefused { conflicts };
            self.decide("keep the old settings".to_owned(), refused.to_string());
            self.advance(now);
            return Err(refused);
        }
        let changes = changes(&self.settings, &settings);
        if !changes.is_empty() {
            self.budget.set_limits(settings.pacing.limits);
            self.settings = settings;
            self.take_aim(now);
            let what = changes.iter().fold("obey new settings:".to_owned(), |mut what, change| {
                let _ = write!(what, " {}={:?} (was {:?})", change.name, change.to, change.from);
                what
            });
            self.decide(what, self.effect_of_aim());
        }
        self.advance(now);
        Ok(changes)
    }

    fn conflicts(&self, new: &PoolSettings) -> Vec<SettingsConflict> {
        let without_target = match new.policy {
            Policy::Compatible(targets) if new.mode == AllocationMode::Prefixes && self.facts.prefixes_supported => {
                holds_no_prefix(&targets).then_some(SettingsConflict::PrefixesWithoutTarget { targets })
            }
            Policy::Compatible(_) | Policy::Lean => None,
        };
        let in_use = self.interfaces_in_use();
        // What was in force before is not held against a change of something else.
        let fewer = new
            .max_eni
            .filter(|max_eni| new.max_eni != self.settings.max_eni && (1..in_use).contains(max_eni))
            .map(|max_eni| SettingsConflict::FewerInterfacesThanInUse { max_eni, in_use });
        let no_range = if new.preference == self.settings.preference { None } else { self.missing_range(new) };
        without_target.into_iter().chain(fewer).chain(no_range).collect()
    }

    /// Interfaces that cannot be given back: the primary one, those with pods or their claims, and those of others.
    fn interfaces_in_use(&self) -> u32 {
        let is_used = |interface: &&Interface| {
            let tally = interface.tally();
            interface.id == self.facts.primary_interface
                || interface.phase != Phase::Releasing && tally.assigned + tally.quarantined > 0
        };
        let used = self.store.interfaces.values().filter(is_used).count() + self.unmanaged.len();
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    /// Whether the preferred range has no subnet for pods; before the subnets were read this is not known, and no conflict.
    fn missing_range(&self, new: &PoolSettings) -> Option<SettingsConflict> {
        let wants_primary = match new.preference {
            RangePreference::PrimaryFirst => true,
            RangePreference::SecondaryFirst => false,
            RangePreference::MostFree => return None,
        };
        self.subnets.looked_at?;
        let candidates = self.subnets.candidates(new, &self.facts);
        let known: Vec<_> = candidates.iter().filter_map(|id| self.subnets.get(id)).collect();
        if known.iter().any(|subnet| subnet.in_primary_range == wants_primary) {
            return None;
        }
        let subnets: Vec<_> = known.iter().map(|subnet| format!("{} ({})", subnet.id, subnet.cidr)).collect();
        Some(SettingsConflict::NoSuchRange {
            preference: new.preference,
            range: if wants_primary { "primary" } else { "secondary" },
            zone: self.facts.zone.clone(),
            subnets: if subnets.is_empty() { "no subnets".to_owned() } else { subnets.join(", ") },
        })
    }

    /// What the aim means for the pool as it is.
    fn effect_of_aim(&self) -> String {
        if self.source == Source::NodeBlocks {
            return "the node's blocks are what it has".to_owned();
        }
        let figures = self.figures();
        let excess = policy::excess(self.mode(), &self.aim, &figures);
        match self.shortage(false) {
            Some(shortage) => format!("the pool is to grow by {}: {}", shortage.addresses, shortage.why),
            None if excess == policy::Excess::default() => "the pool holds what they ask for".to_owned(),
            None => format!("up to {} are to be given back", excess.addresses),
        }
    }
}

fn holds_no_prefix(targets: &Targets) -> bool {
    let is_zero = |target: Option<Addresses>| target.is_none_or(Addresses::is_zero);
    targets.warm_prefix.is_zero() && is_zero(targets.warm_ip) && is_zero(targets.minimum_ip)
}

fn changes(old: &PoolSettings, new: &PoolSettings) -> Vec<SettingChange> {
    let pairs = values(old).into_iter().zip(values(new));
    pairs
        .filter(|((_, from), (_, to))| from != to)
        .map(|((name, from), (_, to))| SettingChange { name, from, to })
        .collect()
}

/// Every setting with its value as a text, in a fixed order.
fn values(settings: &PoolSettings) -> Vec<(&'static str, String)> {
    let seconds = |duration: SignedDuration| duration.as_secs().to_string();
    let calls = |limit: CallLimit| format!("{}/{}", limit.burst, limit.per_minute);
    let (policy, targets) = match settings.policy {
        Policy::Lean => ("lean", None),
        Policy::Compatible(targets) => ("compatible", Some(targets)),
    };
    let target =
        |of: fn(&Targets) -> Option<u32>| targets.as_ref().and_then(of).map_or(String::new(), |n| n.to_string());
    let pacing = &settings.pacing;
    vec![
        ("ENABLE_PREFIX_DELEGATION", (settings.mode == AllocationMode::Prefixes).to_string()),
        ("FREEBOARD_POLICY", policy.to_owned()),
        ("WARM_ENI_TARGET", target(|targets| Some(targets.warm_eni))),
        ("WARM_IP_TARGET", target(|targets| targets.warm_ip.map(|Addresses(count)| count))),
        ("MINIMUM_IP_TARGET", target(|targets| targets.minimum_ip.map(|Addresses(count)| count))),
        ("WARM_PREFIX_TARGET", target(|Targets { warm_prefix: Prefixes(count), .. }| Some(*count))),
        ("MAX_ENI", settings.max_eni.map_or(String::new(), |most| most.to_string())),
        ("IP_COOLDOWN_PERIOD", seconds(settings.cooldown)),
        ("FREEBOARD_RANGE_PREFERENCE", settings.preference.to_string()),
        ("FREEBOARD_ADD_WAIT_SECONDS", seconds(settings.add_wait)),
        ("FREEBOARD_ADD_QUEUE", settings.add_queue.to_string()),
        ("ENABLE_SUBNET_DISCOVERY", settings.subnet_discovery.to_string()),
        ("CLUSTER_NAME", settings.cluster_name.clone().unwrap_or_default()),
        ("MANAGE_UNTAGGED_ENI", settings.manage_untagged.to_string()),
        ("AWS_MANAGE_ENIS_NON_SCHEDULABLE", settings.manage_non_schedulable.to_string()),
        ("DISABLE_NETWORK_RESOURCE_PROVISIONING", settings.provisioning_disabled.to_string()),
        ("FREEBOARD_SHRINK_SECONDS", seconds(pacing.shrink_interval)),
        ("FREEBOARD_RECONCILE_SECONDS", seconds(pacing.reconcile_interval)),
        ("FREEBOARD_SUBNETS_SHORT_SECONDS", seconds(pacing.subnets_when_short)),
        ("FREEBOARD_SUBNETS_CALM_SECONDS", seconds(pacing.subnets_when_calm)),
        ("FREEBOARD_BACKOFF_MAX_SECONDS", seconds(pacing.backoff_max)),
        ("FREEBOARD_EC2_DESCRIBE_LIMIT", calls(pacing.limits.describe)),
        ("FREEBOARD_EC2_CREATE_LIMIT", calls(pacing.limits.create)),
        ("FREEBOARD_EC2_ATTACH_LIMIT", calls(pacing.limits.attach)),
        ("FREEBOARD_EC2_ASSIGN_LIMIT", calls(pacing.limits.assign)),
        ("FREEBOARD_EC2_UNASSIGN_LIMIT", calls(pacing.limits.unassign)),
        ("FREEBOARD_EC2_RELEASE_LIMIT", calls(pacing.limits.release)),
        (
            "other pacing",
            format!(
                "{:?}",
                (
                    pacing.interface_min_age,
                    pacing.look_apart,
                    pacing.backoff_min,
                    pacing.unauthorized_pause,
                    pacing.cooldown_floor,
                    pacing.demand_memory
                )
            ),
        ),
    ]
}
