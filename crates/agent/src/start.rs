//! The start: identity, limits, host, state, pool; then what runs beside the pool.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use freeboard_address::Cidr;
use freeboard_ec2::{DescribeInstanceTypes, Ec2Client, Ec2Config, ImdsConfig, Timeouts};
use freeboard_pool::{CheckpointState, Input, NodeFacts, PodSubnets};
use freeboard_settings::Settings;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::SteadyClock;
use crate::cloud::{Cloud, Seen};
use crate::cluster::{self, Cluster};
use crate::environment::Layers;
use crate::evidence;
use crate::host::{Host, Primary};
use crate::host_files;
use crate::http;
use crate::identity::Metadata;
use crate::input_log::LoggedPool;
use crate::introspection::{Introspection, MetricsPage};
use crate::leftovers;
use crate::limits::{self, Limits};
use crate::live_settings::LiveSettings;
use crate::metrics::Metrics;
use crate::pool_handle::{Command, PoolEnd, PoolHandle};
use crate::pool_settings::pool_settings;
use crate::pool_task::PoolTask;
use crate::stale;
use crate::store::{Loaded, Store};
use crate::tombstones;
use crate::vpc_cidrs::Follower;

/// The pause after the instance type's limits could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// What the start needs.
pub(crate) struct Start {
    pub(crate) settings: Arc<Settings>,
    /// Where packets of pods leave, on a node that has blocks of its own; none where EC2 gives addresses.
    pub(crate) uplink: Option<Primary>,
    pub(crate) layers: Layers,
    pub(crate) live: LiveSettings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pool: PoolHandle,
    pub(crate) store: Store,
    pub(crate) vpc_cidrs: watch::Sender<Vec<Cidr>>,
    pub(crate) started: Instant,
}

impl Start {
    /// Starts the agent and runs the pool until the end of the process.
    pub(crate) async fn run(self, end: PoolEnd) -> anyhow::Result<()> {
        self.metrics.in_progress.with_label_values(&["nodeInit"]).set(1);
        if let Some(target) = host_files::install_plugin(&self.settings)? {
            tracing::info!(file = %target.display(), "installed the plugin");
        }
        let api = cluster::connect(&self.settings).await?;
        match self.uplink {
            None => self.run_on_interfaces(api, end).await,
            Some(uplink) => self.run_on_blocks(uplink, api, end).await,
        }
    }

    /// The addresses come from network interfaces, which EC2 gives and takes.
    async fn run_on_interfaces(self, api: Option<cluster::Api>, end: PoolEnd) -> anyhow::Result<()> {
        let metadata = Metadata::read(ImdsConfig::from_environment()).await?;
        let identity = &metadata.identity;
        tracing::info!(instance = %identity.instance, instance_type = identity.instance_type, zone = identity.zone, "found this instance");
        let ec2 = self.ec2(&metadata).await?;
        let limits = self.limits(&ec2, &identity.instance_type).await;
        let facts = self.facts(&metadata, limits);

        let vpc_cidrs = metadata.primary.vpc_cidrs.clone();
        let address = metadata.primary.primary_address().context("the primary interface has no IPv4 address")?;
        let primary = Primary { mac: metadata.primary_mac(), address, mtu_bytes: self.settings.eni_mtu };
        let host = self.host(primary, &vpc_cidrs).await?;

        let state = self.state(&host).await?;
        let clock = SteadyClock::start();
        let now = clock.now();
        let mut pool = self.new_pool(Some(facts.clone()), now)?;
        pool.tell(Input::PodSubnets { pod_subnets: first_pod_subnets(&self.settings) }, now);
        pool.tell(Input::Returned { returned: state.returned.clone() }, now);
        pool.tell(Input::Intents { intents: state.creating.clone() }, now);
        let restored = restore(&mut pool, state, now);
        let cloud = Arc::new(Cloud {
            ec2,
            metadata: metadata.clone(),
            host: host.clone(),
            facts,
            settings: Arc::clone(&self.settings),
            primary_range: vpc_cidrs.first().copied(),
            seen: std::sync::Mutex::new(Seen::default()),
        });
        self.initialized();
        let task = PoolTask::new(pool, clock, end, Arc::clone(&cloud), self.store.clone(), Arc::clone(&self.metrics));
        tokio::spawn(leftovers::watch(cloud, self.pool.clone()));
        let follower = Follower {
            metadata,
            host: host.clone(),
            known: self.vpc_cidrs.clone(),
            pool: self.pool.status(),
            metrics: Arc::clone(&self.metrics),
            period: Duration::from_secs(u64::from(self.settings.vpc_cidr_seconds)),
        };
        tokio::spawn(follower.run());
        self.start_companions(host, restored, api);
        task.run().await;
        anyhow::bail!("the pool's task has ended")
    }

    /// The host, set up for this primary interface. `direct`: the destinations that see pods' own addresses.
    pub(crate) async fn host(&self, primary: Primary, direct: &[Cidr]) -> anyhow::Result<Host> {
        let host = Host::new(Arc::clone(&self.settings), primary);
        host.set_up_node(direct).await.context("failed to set up host network")?;
        self.vpc_cidrs.send_replace(direct.to_vec());
        Ok(host)
    }

    /// A new pool, with the log that the settings ask for; `facts`: none where pods have addresses of the node's own blocks.
    pub(crate) fn new_pool(&self, facts: Option<NodeFacts>, now: Timestamp) -> anyhow::Result<LoggedPool> {
        let log = self.settings.input_log.as_deref();
        LoggedPool::new(pool_settings(&self.settings), facts, log, now).with_context(|| {
            format!("FREEBOARD_INPUT_LOG={}: the file cannot be made", log.unwrap_or(Path::new("")).display())
        })
    }

    /// The start is finished, but for what the pool itself has to learn.
    pub(crate) fn initialized(&self) {
        self.metrics.in_progress.with_label_values(&["nodeInit"]).set(0);
        let seconds = self.started.elapsed().as_secs_f64();
        self.metrics.startup_seconds.with_label_values(&["true", "false", ""]).observe(seconds);
        self.metrics.initialization_seconds.with_label_values(&["true"]).observe(seconds);
    }

    async fn ec2(&self, metadata: &Metadata) -> anyhow::Result<Ec2Client> {
        let mut config = Ec2Config::from_environment().await?;
        let attempt = Duration::from_secs(u64::from(self.settings.http_timeout_seconds));
        config.timeouts = Timeouts { attempt, call: attempt * 3 };
        let observer: Arc<Metrics> = Arc::clone(&self.metrics);
        config.observer = Some(observer);
        if config.region != metadata.identity.region {
            tracing::warn!(
                configured = config.region,
                instance = metadata.identity.region,
                "the configured region is not the instance's"
            );
        }
        Ok(Ec2Client::new(config)?)
    }

    /// The type's limits: from the table, or from EC2 for a type that is younger than the table. Asked until there is an answer.
    async fn limits(&self, ec2: &Ec2Client, instance_type: &str) -> Limits {
        if let Some(limits) = limits::known(instance_type) {
            return limits;
        }
        let request = DescribeInstanceTypes { instance_types: vec![instance_type.to_owned()], filters: Vec::new() };
        loop {
            match ec2.describe_instance_types(&request).await.map(|types| types.into_iter().next()) {
                Ok(Some(described)) => return limits::described(&described),
                Ok(None) => {
                    tracing::error!(instance_type, "Failed to get ENI limits: EC2 does not know the instance type")
                }
                Err(error) => tracing::error!(instance_type, %error, "Failed to get ENI limits; trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn facts(&self, metadata: &Metadata, limits: Limits) -> NodeFacts {
        let settings = &self.settings;
        if settings.prefix_delegation && !limits.prefixes_supported {
            tracing::warn!(
                instance_type = metadata.identity.instance_type,
                "Prefix delegation is not supported on non-nitro instance: single addresses are used"
            );
        }
        // With custom networking the primary interface carries no pods.
        let usable = Limits { interfaces: limits.interfaces - u32::from(settings.custom_networking), ..limits };
        let by_type = || usable.max_pods(settings.prefix_delegation && limits.prefixes_supported, settings.max_eni);
        NodeFacts {
            instance: metadata.identity.instance.clone(),
            instance_type: metadata.identity.instance_type.clone(),
            interface_limit: limits.interfaces,
            addresses_per_interface: limits.addresses_per_interface,
            prefixes_supported: limits.prefixes_supported,
            max_pods: settings.max_pods.unwrap_or_else(by_type),
            vpc: metadata.primary.vpc.clone(),
            zone: metadata.identity.zone.clone(),
            primary_interface: metadata.primary.id.clone(),
            primary_subnet: metadata.primary.subnet.clone(),
        }
    }

    /// The state of the last run; when its file is lost, what the kernel says.
    pub(crate) async fn state(&self, host: &Host) -> anyhow::Result<CheckpointState> {
        let now = Timestamp::now();
        let (moved_to, reason) = match self.store.load(now)? {
            Loaded::Absent => {
                tracing::debug!("backing store doesn't exists: this is the first start since the last boot");
                return Ok(CheckpointState::default());
            }
            Loaded::Restored(state) => {
                tracing::info!(
                    allocations = state.allocations.len(),
                    cooling = state.cooling.len(),
                    "restored the checkpoint"
                );
                return Ok(state);
            }
            Loaded::Quarantined { moved_to, reason } => (moved_to, reason),
        };
        let witnesses =
            host.witnesses().await.context("failed ipam state recovery: the host's interfaces cannot be read")?;
        let allocations = evidence::rebuild(&witnesses, now);
        tracing::error!(
            file = %moved_to.display(), allocations = allocations.len(),
            "failed ipam state recovery: {reason}; the file is set aside and the state is rebuilt from the host's own interfaces"
        );
        Ok(CheckpointState { allocations, ..CheckpointState::default() })
    }

    /// What runs beside the pool. None of it is vital: pods get addresses without.
    pub(crate) fn start_companions(
        self,
        host: Host,
        restored: Vec<freeboard_pool::RestoredAllocation>,
        api: Option<cluster::Api>,
    ) {
        let Self { settings, layers, live, metrics, pool, .. } = self;
        let directory: PathBuf = settings.tombstone_directory.clone();
        tokio::spawn(tombstones::watch(directory, pool.clone(), host.clone(), Arc::clone(&metrics)));
        tokio::spawn(after_ready(host, pool.clone(), restored, Arc::clone(&metrics)));
        if !settings.disable_introspection {
            let handler = Introspection { pool: pool.clone(), settings: live.follow() };
            let bind = settings.introspection_bind_address.clone();
            tokio::spawn(http::serve(bind, "INTROSPECTION_BIND_ADDRESS", Arc::new(handler)));
        }
        if !settings.disable_metrics {
            let bind = settings.metrics_bind_address.clone();
            let handler = MetricsPage { pool: pool.clone(), metrics };
            tokio::spawn(http::serve(bind, "FREEBOARD_METRICS_BIND_ADDRESS", Arc::new(handler)));
        }
        if let Some(api) = api {
            Cluster { api, layers, live, pool }.start();
        }
    }
}

/// Gives the pool the state of the last run. Returns its allocations.
pub(crate) fn restore(
    pool: &mut LoggedPool,
    state: CheckpointState,
    now: Timestamp,
) -> Vec<freeboard_pool::RestoredAllocation> {
    let mut allocations = state.allocations.clone();
    allocations.extend(state.conflicting);
    pool.tell(Input::Restore { allocations, cooling: state.cooling }, now);
    state.allocations
}

/// Where pods' interfaces are made until the cluster has said so: with custom networking nowhere, because the node's own subnet
/// is exactly what must be spared.
fn first_pod_subnets(settings: &Settings) -> PodSubnets {
    if settings.custom_networking { PodSubnets::Missing { name: "default".to_owned() } } else { PodSubnets::Discovered }
}

/// When the pool knows its interfaces: the routes of pods that were lost while no agent ran come back, and allocations that
/// nothing speaks for go.
async fn after_ready(
    host: Host,
    pool: PoolHandle,
    restored: Vec<freeboard_pool::RestoredAllocation>,
    metrics: Arc<Metrics>,
) {
    let mut status = pool.status();
    if status.wait_for(|status| status.ready).await.is_err() {
        return;
    }
    if let Ok(shown) = pool.ask(Command::Show).await {
        if let Err(error) = host.assert_pods(&shown.view).await {
            tracing::error!(%error, "the routes of running pods could not be checked");
        }
        // A pod that was deleted between the look and the repair must not have its routes back.
        let mut gone = Vec::new();
        for old in &restored {
            let held = pool.ask(|answer| Command::Holds(old.key.clone(), answer)).await;
            if let (Ok(None), Some(pod)) = (held, &old.pod) {
                gone.push((pod.clone(), old.address));
            }
        }
        host.disconnect_pods(gone).await;
    }
    // The only error is that the agent ends.
    let _ = stale::watch(restored, host, pool, metrics).await;
}
