//! Events on pods that have no address: why, where, in figures, and what to do about it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_kubernetes::client::{is_not_found, sentence};
use freeboard_kubernetes::events::{Occurrence, Severity};
use freeboard_kubernetes::k8s_openapi::api::core::v1::Pod;
use freeboard_kubernetes::kube::Api;
use freeboard_pool::{Cause, Refusal};
use tokio::sync::broadcast::error::RecvError;

use super::{Common, objects};
use crate::pool_handle::Notice;

/// A pod is told about at most this often; the runtime asks again every few seconds.
const PERIOD: Duration = Duration::from_secs(10);
/// Pods of which it is remembered when they were told about.
const MOST: usize = 512;

/// Tells until the end of the process.
pub(super) async fn tell(common: Common) {
    let mut notices = common.pool.notices();
    let mut told: BTreeMap<PodKey, Instant> = BTreeMap::new();
    loop {
        let notice = match notices.recv().await {
            Ok(notice) => notice,
            // The runtime asks again, and then there is another notice.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Some(text) = text(&notice) else { continue };
        let (Notice::Waits { pod, refusal } | Notice::Refused { pod, refusal }) = &notice;
        let now = Instant::now();
        told.retain(|_, at| now.duration_since(*at) < PERIOD);
        if told.len() >= MOST || told.contains_key(pod) {
            continue;
        }
        told.insert(pod.clone(), now);
        let pods: Api<Pod> = Api::namespaced(common.client.clone(), &pod.namespace);
        match pods.get(&pod.name).await {
            Ok(found) if is_on(&found, common.node.as_str()) => common.recorder.record(Occurrence {
                regarding: objects::pod(&found),
                severity: Severity::Warning,
                reason: refusal.cause.as_str().to_owned(),
                message: text,
                name: None,
            }),
            // A pod of the same name that was made again elsewhere.
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                tracing::debug!(%pod, "the pod cannot be told why it has no address: {}", sentence(&error));
                told.remove(pod);
            }
        }
    }
}

fn is_on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

/// What a person reads, if the notice is worth it: a wait that is expected to end by itself is not.
fn text(notice: &Notice) -> Option<String> {
    match notice {
        Notice::Waits { refusal, .. } => {
            is_lasting(refusal.cause).then(|| sentence_of("waits for an address", refusal))
        }
        Notice::Refused { refusal, .. } => {
            (refusal.cause != Cause::Terminating).then(|| sentence_of("no address", refusal))
        }
    }
}

fn sentence_of(what: &str, Refusal { message, remedy, .. }: &Refusal) -> String {
    format!("{what}: {message}. What helps: {remedy}.")
}

/// Whether a cause stays until somebody does something.
fn is_lasting(cause: Cause) -> bool {
    match cause {
        Cause::SubnetExhausted
        | Cause::SubnetFragmented
        | Cause::NodeBlockExhausted
        | Cause::NodeBlockMissing
        | Cause::InterfaceLimit
        | Cause::NoSubnetAllowed
        | Cause::NotAuthorized
        | Cause::CloudUnavailable
        | Cause::NodeCordoned
        | Cause::ProvisioningDisabled
        | Cause::QueueFull
        | Cause::CheckpointFailed => true,
        Cause::Throttled | Cause::CoolingDown | Cause::StillGrowing | Cause::NotReady | Cause::Terminating => false,
    }
}
