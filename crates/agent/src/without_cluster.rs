//! The agent built without the Kubernetes API: nothing is watched there, and nothing told.

use freeboard_settings::Settings;

use crate::environment::Layers;
use crate::live_settings::LiveSettings;
use crate::pool_handle::PoolHandle;

/// There is no way to the API server.
pub(crate) enum Api {}

/// Says that there is none.
///
/// # Errors
/// When the settings need it.
#[expect(clippy::unused_async, reason = "the same call as with the Kubernetes API")]
pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<Option<Api>> {
    anyhow::ensure!(
        !settings.custom_networking,
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true: expected false, because this agent was built without the Kubernetes API \
         (its feature `cluster`) and cannot read ENIConfig objects"
    );
    Ok(None)
}

/// Nothing to do in Kubernetes.
#[expect(dead_code, reason = "the same shape as with the Kubernetes API")]
pub(crate) struct Cluster {
    pub(crate) api: Api,
    pub(crate) layers: Layers,
    pub(crate) live: LiveSettings,
    pub(crate) pool: PoolHandle,
}

impl Cluster {
    /// Cannot be called: there is no [`Api`].
    pub(crate) fn start(self) {
        match self.api {}
    }
}
