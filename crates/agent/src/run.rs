//! The agent's life: what is done in which order at start, what runs afterwards, and how it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use freeboard_address::Cidr;
use freeboard_settings::{AddressSource, Settings};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cni_service::CniService;
use crate::environment::Layers;
use crate::grpc;
use crate::host::Primary;
use crate::host_files;
use crate::live_settings::LiveSettings;
use crate::metrics::Metrics;
use crate::node_service::NodeService;
use crate::pool_handle::{self, Command, PoolHandle, Status};
use crate::socket;
use crate::start::Start;
use crate::store::Store;

/// How long the end of the agent waits for a write that is under way.
const GRACE: Duration = Duration::from_secs(2);
/// How long until a configuration that could not be written is tried again.
const CONFLIST_RETRY: Duration = Duration::from_secs(5);

/// The tasks without which the agent is of no use: the first that ends, ends the agent.
pub(crate) type Vital = JoinSet<anyhow::Result<()>>;

/// Runs the agent until a signal ends it. `layers` is where the settings came from.
///
/// # Errors
/// When it cannot start, or when a vital part of it has ended.
pub fn run(settings: Settings, layers: Layers) -> anyhow::Result<()> {
    // One thread serves: an ADD is a few hundred microseconds of work. What blocks (disk, netlink) has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
    runtime.block_on(live(Arc::new(settings), layers))
}

async fn live(settings: Arc<Settings>, layers: Layers) -> anyhow::Result<()> {
    let started = Instant::now();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Starting freeboard-agent");
    raise_descriptor_limit();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = UnixListener::from_std(socket::bind(&settings.socket)?)?;
    let store = Store::open(&settings.backing_store)?;
    store.check_writable()?;
    // Where the cloud does not say which interface is the primary one, the node's own default route does.
    let uplink = match settings.source {
        AddressSource::Interfaces => None,
        AddressSource::Blocks => Some(Primary::of_default_route().await?),
    };
    let pod_mtu = settings.pod_mtu.or(uplink.map(|uplink| uplink.mtu_bytes)).unwrap_or(settings.eni_mtu);
    let metrics = Arc::new(Metrics::new()?);
    let (pool, end) = pool_handle::handle();
    let (vpc_cidrs, known_cidrs) = watch::channel(Vec::new());

    let mut vital = Vital::new();
    vital.spawn(grpc_server(listener, &settings, &metrics, &pool, known_cidrs));
    let conflist = vital.spawn(conflist(Arc::clone(&settings), pod_mtu, pool.status()));
    let live = LiveSettings::new(pool.clone(), Arc::clone(&settings));
    let start = Start {
        settings: Arc::clone(&settings),
        uplink,
        layers,
        live,
        metrics,
        pool: pool.clone(),
        store,
        vpc_cidrs,
        started,
    };
    vital.spawn(start.run(end));

    let outcome = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        Some(ended) = vital.join_next() => Err(match ended {
            Ok(Ok(())) => anyhow!("a vital task has ended"),
            Ok(Err(error)) => error,
            Err(panic) => anyhow!(panic).context("a vital task has panicked"),
        }),
    };
    let signal = outcome?;
    tracing::info!(signal, "Received shutdown signal");
    conflist.abort();
    end_well(&settings, &pool).await;
    Ok(())
}

/// By a signal: the node is made not Ready before ADDs begin to fail, and what is promised is written.
async fn end_well(settings: &Settings, pool: &PoolHandle) {
    if settings.withdraw_conflist
        && let Err(error) = host_files::withdraw_conflist(settings)
    {
        tracing::error!(%error, "the CNI configuration stays although the agent ends");
    }
    let settled = async {
        let _ = pool.tell(Command::Terminate).await;
        let _ = pool.ask(Command::Settled).await;
    };
    if tokio::time::timeout(GRACE, settled).await.is_err() {
        tracing::warn!("a write of the checkpoint did not end in time");
    }
    let _ = std::fs::remove_file(&settings.socket);
}

async fn grpc_server_task(listener: UnixListener, cni: CniService, node: NodeService) -> anyhow::Result<()> {
    grpc::serve(listener, cni, node).await.context("the server on the agent's socket has ended")
}

fn grpc_server(
    listener: UnixListener,
    settings: &Settings,
    metrics: &Arc<Metrics>,
    pool: &PoolHandle,
    vpc_cidrs: watch::Receiver<Vec<Cidr>>,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let cni = CniService {
        pool: pool.clone(),
        metrics: Arc::clone(metrics),
        vpc_cidrs,
        excluded_cidrs: settings.exclude_snat_cidrs.clone(),
        external_snat: settings.external_snat,
        start_wait: Duration::from_secs(u64::from(settings.add_wait_seconds)),
    };
    grpc_server_task(listener, cni, NodeService { pool: pool.clone() })
}

/// Writes the CNI configuration as soon as an address can be given, once.
async fn conflist(settings: Arc<Settings>, pod_mtu: u32, mut status: watch::Receiver<Status>) -> anyhow::Result<()> {
    while status.wait_for(|status| status.can_give).await.is_ok() {
        match host_files::write_conflist(&settings, pod_mtu) {
            Ok(()) => {
                let path = host_files::conflist_path(&settings);
                tracing::info!(file = %path.display(), "an address can be given: wrote the CNI configuration");
                break;
            }
            Err(error) => {
                tracing::error!(%error, "the node stays not Ready");
                tokio::time::sleep(CONFLIST_RETRY).await;
            }
        }
    }
    std::future::pending().await
}

/// A burst of connections must not run into the usual limit of 1024 descriptors.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard.min(65536)
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65536), hard);
    }
}
