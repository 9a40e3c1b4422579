//! What the controller is told on its command line or in its environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use freeboard_address::Cidr;
use freeboard_blocks::{BlocksSettings, Exclusion};
use jiff::SignedDuration;

use crate::outlook::Outlook;

/// Gives every node of a cluster its block of pod addresses, from any number of ranges (PodRange objects).
///
/// kube-controller-manager must run with --allocate-node-cidrs=false: two who give blocks would give one twice.
#[derive(Clone, Debug, Parser)]
#[command(name = "freeboard-controller", version)]
pub(crate) struct Options {
    /// A kubeconfig; without one the pod's service account is used
    #[arg(long, env = "FREEBOARD_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The namespace of the lease that says which replica leads
    #[arg(long, env = "FREEBOARD_NAMESPACE", default_value = "kube-system")]
    pub(crate) namespace: String,
    /// A name that no other replica has, such as the pod's
    #[arg(long, env = "FREEBOARD_IDENTITY")]
    pub(crate) identity: String,
    /// Where health and metrics are served over HTTP (/healthz, /readyz, /metrics)
    #[arg(long, env = "FREEBOARD_BIND", default_value = "127.0.0.1:8081")]
    pub(crate) bind: SocketAddr,
    /// Carry out approved expansions (Expansion objects) through EC2; Region and credentials are found as every program of AWS finds
    /// them
    #[arg(long, env = "FREEBOARD_EXPANSIONS")]
    pub(crate) expansions: bool,
    /// A range of service addresses, which no node gets; may be repeated
    #[arg(long = "service-range", env = "FREEBOARD_SERVICE_RANGES", value_delimiter = ',', value_name = "CIDR")]
    pub(crate) service_ranges: Vec<Cidr>,
    /// Other addresses that no node gets, such as those of subnets; may be repeated
    #[arg(long = "reserved-range", env = "FREEBOARD_RESERVED_RANGES", value_delimiter = ',', value_name = "CIDR")]
    pub(crate) reserved_ranges: Vec<Cidr>,
    /// Seconds that a block rests after its node is gone; a sixth of it when a node waits
    #[arg(long, env = "FREEBOARD_COOLDOWN_SECONDS", default_value_t = 60)]
    pub(crate) cooldown_seconds: u32,
    /// Seconds for which room is kept for the node that has waited longest, when smaller ones would take it piece by piece
    #[arg(long, env = "FREEBOARD_HOLD_SECONDS", default_value_t = 600)]
    pub(crate) hold_seconds: u32,
    /// Writes that may be on their way to the API server at once
    #[arg(long, env = "FREEBOARD_WRITES_IN_FLIGHT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) writes_in_flight: u16,
    /// Max-pods of a node that does not tell it; without this such a node waits until it does
    #[arg(long, env = "FREEBOARD_DEFAULT_MAX_PODS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) default_max_pods: Option<u32>,
    /// Seconds between two samples of the use of a range, for its forecast
    #[arg(long, env = "FREEBOARD_SAMPLE_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample_seconds: u32,
    /// Days: a range that will be full within them is told of
    #[arg(long, env = "FREEBOARD_FORECAST_DAYS", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) forecast_days: u16,
    /// A higher max-pods is taken for a mistake
    #[arg(long, env = "FREEBOARD_MAX_PODS_LIMIT", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_pods_limit: u32,
}

impl Options {
    /// How the future of a range is looked at.
    pub(crate) fn outlook(&self) -> Outlook {
        Outlook {
            every: SignedDuration::from_secs(i64::from(self.sample_seconds)),
            horizon: SignedDuration::from_hours(24 * i64::from(self.forecast_days)),
        }
    }

    /// The engine's settings. `is_first` when no earlier leader can have written anything.
    pub(crate) fn blocks_settings(&self, is_first: bool) -> BlocksSettings {
        let defaults = BlocksSettings::default();
        let excluded = |ranges: &[Cidr], purpose: &str| -> Vec<Exclusion> {
            ranges.iter().map(|cidr| Exclusion { cidr: *cidr, purpose: purpose.to_owned() }).collect()
        };
        let cooldown = SignedDuration::from_secs(i64::from(self.cooldown_seconds));
        BlocksSettings {
            cooldown,
            cooldown_floor: cooldown / 6,
            hold_for: SignedDuration::from_secs(i64::from(self.hold_seconds)),
            takeover_wait: if is_first { SignedDuration::ZERO } else { defaults.takeover_wait },
            writes_in_flight: usize::from(self.writes_in_flight),
            default_max_pods: self.default_max_pods,
            max_pods_limit: self.max_pods_limit,
            excluded: [excluded(&self.service_ranges, "service range"), excluded(&self.reserved_ranges, "reserved")]
                .concat(),
            ..defaults
        }
    }
}
