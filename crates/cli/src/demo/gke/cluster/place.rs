//! The story's cluster: a real control plane in namespaces of its own, Freeboard's controller beside it, and a client of both.

use std::time::Duration;

use anyhow::{Result, bail};
use freeboard_kubernetes::client::{Access, ClientOptions, connect};
use freeboard_kubernetes::kube::Client;
use freeboard_lab::Program;
use freeboard_lab::kubernetes::BareCluster;
use tokio::runtime::Runtime;

use crate::demo::gke::scene::Scene;

/// How long anything may take that must happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A running control plane with Freeboard's controller. It ends when it is dropped.
pub(super) struct Place {
    pub(super) client: Client,
    _controller: Program,
    bare: BareCluster,
    pub(super) runtime: Runtime,
}

impl Place {
    /// Starts the control plane, and the controller with the rights of its manifest. The ranges of the scene's nodes and services
    /// are no pod addresses.
    pub(super) fn start(scene: &Scene) -> Result<Self> {
        let tools = crate::kubernetes::tools("demo gke --kubernetes")?;
        let controller = crate::programs::controller()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let bare = BareCluster::start(runtime.handle(), &tools)?;
        let kubeconfig = bare.install_controller()?;
        let subnetwork = scene.subnetwork()?;
        let services = scene.cloud.cluster(&scene.original.cluster)?.services_range.as_ref();
        let services = services.and_then(|name| subnetwork.range(name));
        let mut arguments = vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            "--identity=the-story".to_owned(),
            format!("--reserved-range={}", subnetwork.primary),
        ];
        arguments.extend(services.map(|range| format!("--service-range={}", range.cidr)));
        let program = bare.start_program(&controller, "freeboard-controller", &arguments)?;
        let access = Access::Kubeconfig(bare.cluster().kubeconfig().to_owned());
        let user_agent = concat!("freeboard/", env!("CARGO_PKG_VERSION")).to_owned();
        let client = runtime.block_on(connect(&ClientOptions { access, server: None, user_agent }))?;
        Ok(Self { client, _controller: program, bare, runtime })
    }

    /// What `kubectl` prints.
    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.bare.cluster().kubectl(arguments)?)
    }

    /// `kubectl apply` of an object.
    pub(super) fn apply(&self, object: &serde_json::Value) -> Result<()> {
        Ok(self.bare.cluster().apply(&object.to_string())?)
    }

    /// What `kubectl describe nodes | grep PodCIDR` prints.
    pub(super) fn pod_cidrs(&self) -> Result<String> {
        let described = self.kubectl(&["describe", "nodes"])?;
        Ok(described.lines().filter(|line| line.contains("PodCIDR")).map(|line| format!("    {line}\n")).collect())
    }
}

/// Looks until there is something to see.
pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let found = async {
        loop {
            if let Some(found) = look().await? {
                return anyhow::Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("after {PATIENCE:?} still not: {what}"),
    }
}
