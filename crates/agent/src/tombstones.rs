//! Deletions that the plugin left word of while the agent was down: each is taken as a DEL, and its file removed when that
//! is durable.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use freeboard_address::{AttachmentKey, PodKey};
use freeboard_pool::Reply;
use jiff::Timestamp;
use serde::Deserialize;

use crate::cni_service::{pod, release};
use crate::host::Host;
use crate::metrics::Metrics;
use crate::pool_handle::{Command, PoolError, PoolHandle};

/// How often the directory is looked at.
const PERIOD: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
struct Tombstone {
    #[serde(rename = "networkName")]
    network: String,
    #[serde(rename = "containerID")]
    container: String,
    #[serde(rename = "ifName")]
    interface: String,
    #[serde(rename = "k8sPodNamespace", default)]
    namespace: String,
    #[serde(rename = "k8sPodName", default)]
    name: String,
    #[serde(rename = "deletedAt")]
    deleted_at: Timestamp,
}

/// Looks at the directory again and again, until the pool is gone.
pub async fn watch(directory: PathBuf, pool: PoolHandle, host: Host, metrics: Arc<Metrics>) {
    loop {
        match consume(&directory, &pool, &metrics).await {
            Err(PoolError::Gone) => return,
            // The plugin cleaned the host, but an agent that started since may have restored what its state still had.
            Ok(released) => host.disconnect_pods(released).await,
            Err(_) => {}
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Takes every tombstone that lies there now; returns what was released.
///
/// # Errors
/// When the pool's task has ended.
pub async fn consume(
    directory: &Path,
    pool: &PoolHandle,
    metrics: &Metrics,
) -> Result<Vec<(PodKey, Ipv4Addr)>, PoolError> {
    let mut released = Vec::new();
    for path in list(directory) {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            // The next look tries again.
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot read a tombstone");
                continue;
            }
        };
        match serde_json::from_slice(&text) {
            Ok(tombstone) => released.extend(take(&path, tombstone, pool, metrics).await?),
            Err(error) => {
                // Written to a temporary file and renamed, so this is not one that is being written.
                tracing::error!(file = %path.display(), %error, "a tombstone cannot be understood and is set aside");
                let _ = std::fs::rename(&path, path.with_extension("corrupt"));
            }
        }
    }
    Ok(released)
}

async fn take(
    path: &Path,
    tombstone: Tombstone,
    pool: &PoolHandle,
    metrics: &Metrics,
) -> Result<Option<(PodKey, Ipv4Addr)>, PoolError> {
    let mut released = None;
    let key =
        AttachmentKey { network: tombstone.network, container: tombstone.container, interface: tombstone.interface };
    let held = pool.ask(|answer| Command::Holds(key.clone(), answer)).await?;
    // The runtime may have added the same sandbox again since.
    if held.is_none_or(|held| held.since <= tombstone.deleted_at) {
        let pod = pod(&tombstone.namespace, &tombstone.name);
        match release(pool, key.clone(), pod, Some(tombstone.deleted_at)).await? {
            Reply::Released { address, .. } => {
                metrics.tombstones.inc();
                released = Some((PodKey::new(&*tombstone.namespace, &*tombstone.name), address));
                tracing::info!(%address, %key, "released what was deleted while the agent was down");
            }
            Reply::Refused(refusal) => {
                tracing::warn!(%key, cause = refusal.cause.as_str(), "cannot release what was deleted yet: {}", refusal.message);
                return Ok(None);
            }
            Reply::UnknownPod | Reply::Assigned { .. } => {}
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "cannot remove a tombstone");
        }
        _ => {}
    }
    Ok(released)
}

/// The tombstones in the order of their names; none when there is no directory.
fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    paths.sort();
    paths
}
