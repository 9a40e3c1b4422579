//! The engine's settings and facts, from the agent's settings and the instance's limits.

use freeboard_address::{Addresses, Prefixes};
use freeboard_pool::{AllocationMode, CallLimit, CallLimits, Pacing, Policy, PoolSettings, RangePreference, Targets};
use freeboard_settings::{CallRate, Settings};
use jiff::SignedDuration;

/// What the engine obeys. Prefixes where the instance type has none are the engine's to leave out.
#[must_use]
pub fn pool_settings(settings: &Settings) -> PoolSettings {
    let seconds = |seconds: u32| SignedDuration::from_secs(i64::from(seconds));
    let defaults = Pacing::default();
    PoolSettings {
        mode: if settings.prefix_delegation { AllocationMode::Prefixes } else { AllocationMode::SecondaryAddresses },
        policy: match settings.policy() {
            freeboard_settings::Policy::Lean => Policy::Lean,
            freeboard_settings::Policy::Compatible => Policy::Compatible(Targets {
                warm_eni: settings.effective_warm_eni_target(),
                warm_ip: settings.warm_ip_target.map(Addresses),
                minimum_ip: settings.minimum_ip_target.map(Addresses),
                warm_prefix: Prefixes(settings.effective_warm_prefix_target()),
            }),
        },
        max_eni: settings.max_eni,
        cooldown: seconds(settings.cooldown_seconds),
        preference: match settings.range_preference {
            freeboard_settings::RangePreference::SecondaryFirst => RangePreference::SecondaryFirst,
            freeboard_settings::RangePreference::PrimaryFirst => RangePreference::PrimaryFirst,
            freeboard_settings::RangePreference::MostFree => RangePreference::MostFree,
        },
        add_wait: seconds(settings.add_wait_seconds),
        add_queue: usize::try_from(settings.add_queue).unwrap_or(usize::MAX),
        subnet_discovery: settings.subnet_discovery,
        cluster_name: settings.cluster_name.clone(),
        manage_untagged: settings.manage_untagged_eni,
        manage_non_schedulable: settings.manage_non_schedulable,
        provisioning_disabled: settings.provisioning_disabled,
        pacing: Pacing {
            shrink_interval: seconds(settings.shrink_seconds),
            reconcile_interval: seconds(settings.reconcile_seconds),
            subnets_when_short: seconds(settings.subnets_short_seconds),
            subnets_when_calm: seconds(settings.subnets_calm_seconds),
            backoff_max: seconds(settings.backoff_max_seconds),
            limits: call_limits(settings),
            ..defaults
        },
    }
}

fn call_limits(settings: &Settings) -> CallLimits {
    let limit = |rate: CallRate| CallLimit { burst: rate.burst, per_minute: rate.per_minute };
    CallLimits {
        describe: limit(settings.ec2_describe_limit),
        create: limit(settings.ec2_create_limit),
        attach: limit(settings.ec2_attach_limit),
        assign: limit(settings.ec2_assign_limit),
        unassign: limit(settings.ec2_unassign_limit),
        release: limit(settings.ec2_release_limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_calls_are_those_that_ec2_documents_unless_said_otherwise() {
        let limits = |pairs: &[(&str, &str)]| {
            let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            pool_settings(&Settings::parse(&environment).unwrap().0).pacing.limits
        };
        assert_eq!(limits(&[]), CallLimits::default());
        let raised = limits(&[("FREEBOARD_EC2_CREATE_LIMIT", "200/1500")]);
        assert_eq!(raised.create, CallLimit { burst: 200, per_minute: 1_500 });
        assert_eq!(CallLimits { create: CallLimits::default().create, ..raised }, CallLimits::default());
    }
}
