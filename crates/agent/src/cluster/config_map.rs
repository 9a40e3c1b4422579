//! Live settings: the `aws-node` ConfigMap, checked whole and obeyed whole; what came of it is told on the ConfigMap and on the
//! node.

use std::collections::BTreeMap;

use freeboard_kubernetes::events::{Occurrence, Severity};
use freeboard_kubernetes::k8s_openapi::api::core::v1::ConfigMap;
use freeboard_kubernetes::kube::{Api, ResourceExt};
use freeboard_kubernetes::watch::{Seen, object};
use freeboard_settings::unknown_keys;
use futures::StreamExt;
use tokio::sync::watch;

use super::node::KnownNode;
use super::{Common, Reach, objects};
use crate::environment::Layers;
use crate::live_settings::{LiveSettings, Taken};

/// The ConfigMap's name, which is also the DaemonSet's.
const NAME: &str = "aws-node";
/// Where both are.
const NAMESPACE: &str = "kube-system";

/// Follows the ConfigMap until the end of the process.
pub(super) async fn follow(
    common: Common,
    node: watch::Receiver<Option<KnownNode>>,
    layers: Layers,
    live: LiveSettings,
) {
    let mut seen = object(Api::<ConfigMap>::namespaced(common.client.clone(), NAMESPACE), NAME);
    let mut reach = Reach::new("the ConfigMap aws-node");
    let mut follower = Follower { known: None, layers, live };
    // A pool that has not started takes no settings, and a ConfigMap that says so would be a lie.
    let mut status = common.pool.status();
    if status.wait_for(|status| status.started).await.is_err() {
        return;
    }
    while let Some(seen) = seen.next().await {
        let map = match seen {
            Seen::Now(map) => map,
            Seen::Lost(why) => {
                reach.lost(&why);
                continue;
            }
        };
        reach.found();
        let Some(verdict) = follower.take(map.as_ref()).await else { continue };
        let about_node = node.borrow().as_ref().map(|node| node.reference.clone());
        if let Some(regarding) = about_node {
            common.recorder.record(verdict.occurrence(regarding, None));
        }
        if let Some(map) = map {
            // Every node says the same of the same version: it is written once.
            let version = map.resource_version().unwrap_or_default();
            let name = format!("{NAME}.{version}.{}", verdict.reason.to_ascii_lowercase());
            common.recorder.record(verdict.occurrence(objects::config_map(&map), Some(name)));
        }
    }
}

/// What came of one version of the ConfigMap.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    severity: Severity,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn accepted(taken: &Taken) -> Option<Self> {
        let Taken { changes, at_next_start } = taken;
        if changes.is_empty() && at_next_start.is_empty() {
            return None;
        }
        let mut message = String::new();
        if !changes.is_empty() {
            let changes: Vec<String> = changes
                .iter()
                .map(|change| format!("{}={:?} (was {:?})", change.name, change.to, change.from))
                .collect();
            message = format!("obeyed from now on: {}. ", changes.join(", "));
        }
        if !at_next_start.is_empty() {
            message += &format!(
                "From the agent's next start on: {}; restart it with: kubectl rollout restart daemonset aws-node -n kube-system",
                at_next_start.join(", ")
            );
        }
        let message = message.trim_end().to_owned();
        Some(Self { severity: Severity::Normal, reason: "SettingsAccepted", message })
    }

    fn refused(message: String) -> Self {
        Self { severity: Severity::Warning, reason: "SettingsRefused", message }
    }

    fn occurrence(
        &self,
        regarding: freeboard_kubernetes::k8s_openapi::api::core::v1::ObjectReference,
        name: Option<String>,
    ) -> Occurrence {
        let Self { severity, reason, message } = self;
        Occurrence { regarding, severity: *severity, reason: (*reason).to_owned(), message: message.clone(), name }
    }
}

struct Follower {
    /// The data that were judged last.
    known: Option<BTreeMap<String, String>>,
    layers: Layers,
    live: LiveSettings,
}

impl Follower {
    /// Takes a version of the ConfigMap, or its absence; what there is to tell.
    async fn take(&mut self, map: Option<&ConfigMap>) -> Option<Verdict> {
        let data = map.and_then(|map| map.data.clone()).unwrap_or_default();
        if self.known.as_ref() == Some(&data) {
            return None;
        }
        self.known = Some(data.clone());
        let unknown: Vec<String> = unknown_keys(data.keys().map(String::as_str)).map(|key| key.to_string()).collect();
        if !unknown.is_empty() {
            let message = format!("the new settings are refused and the old ones stay: {}", unknown.join("; "));
            tracing::error!("ConfigMap {NAME}: {message}");
            return Some(Verdict::refused(message));
        }
        match self.live.take(&self.layers.with(&data)).await {
            Ok(taken) => Verdict::accepted(&taken),
            Err(error) => Some(Verdict::refused(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use freeboard_pool::SettingChange;

    use super::*;

    #[test]
    fn what_is_obeyed_and_what_waits_for_a_start_are_told_apart() {
        let change = SettingChange { name: "WARM_IP_TARGET", from: String::new(), to: "8".to_owned() };
        let taken = Taken { changes: vec![change], at_next_start: vec!["POD_MTU"] };
        let verdict = Verdict::accepted(&taken).unwrap();
        assert_eq!(
            verdict.message,
            "obeyed from now on: WARM_IP_TARGET=\"8\" (was \"\"). From the agent's next start on: POD_MTU; restart it \
             with: kubectl rollout restart daemonset aws-node -n kube-system"
        );
        assert_eq!(Verdict::accepted(&Taken { changes: Vec::new(), at_next_start: Vec::new() }), None);
    }
}
