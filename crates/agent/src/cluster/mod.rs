//! The agent in Kubernetes: what it watches there, and what it tells there. None of it is vital: without an API server, or while
//! it is away, pods get addresses all the same.

mod config_map;
mod eni_config;
mod node;
mod objects;
mod pod_events;
mod report;
mod verdict;

use std::sync::Arc;

use anyhow::Context;
use freeboard_address::NodeName;
use freeboard_kubernetes::client::{self, Access, ClientError, ClientOptions};
use freeboard_kubernetes::events::{Recorder, Reporter};
use freeboard_kubernetes::kube::Client;
use freeboard_settings::Settings;
use tokio::sync::watch;

use crate::environment::Layers;
use crate::live_settings::LiveSettings;
use crate::pool_handle::PoolHandle;

/// The agent's name in events and as the owner of fields.
const PROGRAM: &str = "freeboard-agent";

/// The way to the API server, and this node's name there.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    node: NodeName,
}

/// The way to the API server, where one is configured. Nothing is asked yet, so it may be away.
///
/// # Errors
/// When what configures it cannot be used, or when the settings need it and nothing configures it.
pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<Option<Api>> {
    let access = settings.kubeconfig.clone().map_or(Access::Pod, Access::Kubeconfig);
    let user_agent = concat!("freeboard-agent/", env!("CARGO_PKG_VERSION")).to_owned();
    let options = ClientOptions { access, server: settings.cluster_endpoint.clone(), user_agent };
    let client = match client::connect(&options).await {
        Ok(client) => client,
        Err(ClientError::NotConfigured { reason }) if !settings.custom_networking => {
            tracing::info!(
                %reason,
                "no Kubernetes API: cordon and live settings are not followed, and no events are written"
            );
            return Ok(None);
        }
        Err(error) if settings.custom_networking => {
            return Err(error).context("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true needs ENIConfig objects");
        }
        Err(error) => return Err(error.into()),
    };
    let node = settings.node_name.as_deref().context(
        "MY_NODE_NAME is not set: expected this node's name in Kubernetes; the manifest sets it from spec.nodeName",
    )?;
    Ok(Some(Api { client, node: NodeName::new(node) }))
}

/// What the agent does in Kubernetes.
pub(crate) struct Cluster {
    pub(crate) api: Api,
    pub(crate) layers: Layers,
    pub(crate) live: LiveSettings,
    pub(crate) pool: PoolHandle,
}

/// What each of its tasks has.
#[derive(Clone)]
struct Common {
    client: Client,
    recorder: Recorder,
    node: NodeName,
    pool: PoolHandle,
    settings: watch::Receiver<Arc<Settings>>,
}

impl Cluster {
    /// Starts the tasks; they end with the process.
    pub(crate) fn start(self) {
        let Self { api: Api { client, node }, layers, live, pool } = self;
        let reporter = Reporter { component: PROGRAM.to_owned(), instance: node.to_string() };
        let recorder = Recorder::start(client.clone(), reporter);
        let common = Common { client, recorder, node, pool, settings: live.follow() };
        let (seen, known) = watch::channel(None);
        tokio::spawn(node::follow(common.clone(), seen));
        tokio::spawn(pod_events::tell(common.clone()));
        tokio::spawn(report::keep(common.clone(), known.clone()));
        if common.settings.borrow().custom_networking {
            tokio::spawn(eni_config::follow(common.clone(), known.clone()));
        }
        tokio::spawn(config_map::follow(common, known, layers, live));
    }
}

/// Says once that the API server is away, and once that it is back.
#[derive(Debug)]
struct Reach {
    what: &'static str,
    is_lost: bool,
}

impl Reach {
    fn new(what: &'static str) -> Self {
        Self { what, is_lost: false }
    }

    fn lost(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_lost, true) {
            tracing::warn!("Unable to reach API Server: {} cannot be read, and is as it was: {why}", self.what);
        }
    }

    fn found(&mut self) {
        if std::mem::replace(&mut self.is_lost, false) {
            tracing::info!("the API server answers again: {} can be read", self.what);
        }
    }
}
