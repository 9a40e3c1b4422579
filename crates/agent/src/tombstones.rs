//! Deletions that the plugin left word of while the agent was down: each is taken as a DEL, and its file removed when that
//! is durable.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use freeboard_address::{AttachmentKey, PodKey};
use freeboard_pool::Reply;
use jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::Deserialize;
use tokio::io::unix::AsyncFd;

use crate::cni_service::{pod, release};
use crate::host::Host;
use crate::metrics::Metrics;
use crate::pool_handle::{Command, PoolError, PoolHandle};

/// The pause before a tombstone that could not be taken, or a directory that cannot be followed, is looked at again.
const RETRY: Duration = Duration::from_secs(2);
/// The directory is looked at this often in any case.
const LONGEST: Duration = Duration::from_secs(60);

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

/// Takes tombstones as they come, until the pool is gone.
pub async fn watch(directory: PathBuf, pool: PoolHandle, host: Host, metrics: Arc<Metrics>) {
    let mut arrivals = None;
    loop {
        // Followed before it is read, so that nothing comes in between.
        if arrivals.is_none() {
            arrivals = follow(&directory)
                .inspect_err(|error| tracing::warn!(directory = %directory.display(), %error, "cannot follow the tombstones; they are looked for now and then"))
                .ok();
        }
        match consume(&directory, &pool, &metrics).await {
            Err(PoolError::Gone) => return,
            // The plugin cleaned the host, but an agent that started since may have restored what its state still had.
            Ok(released) => host.disconnect_pods(released).await,
            Err(_) => {}
        }
        let pause = if arrivals.is_none() || !list(&directory).is_empty() { RETRY } else { LONGEST };
        let is_followed = match &arrivals {
            Some(arrivals) => tokio::time::timeout(pause, arrival(arrivals)).await.unwrap_or(Ok(true)),
            None => {
                tokio::time::sleep(pause).await;
                Ok(false)
            }
        };
        if !is_followed.unwrap_or(false) {
            arrivals = None;
        }
    }
}

/// Follows what is renamed into the directory, which is made if it is not there.
#[allow(unsafe_code, reason = "tokio asks its caller to vouch for the descriptor's life")]
fn follow(directory: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let arrived = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
    inotify.add_watch(directory, arrived | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF)?;
    // SAFETY: the descriptor is owned by what is registered, and stays the same and open until that is dropped.
    Ok(unsafe { AsyncFd::register(OwnedFd::from(inotify)) }?)
}

/// Waits until something has happened in the directory. Returns whether it can be followed further: not when it went away itself.
async fn arrival(arrivals: &AsyncFd<OwnedFd>) -> io::Result<bool> {
    // What happened is of no interest beyond that: the directory is read anyway. Its own end is told by an event without a name.
    let mut events = [0; 4096];
    loop {
        let mut ready = arrivals.readable().await?;
        if let Ok(read) = ready.try_io(|inner| Ok(nix::unistd::read(inner.get_ref(), &mut events)?)) {
            return Ok(is_about_entries(events.get(..read?).unwrap_or_default()));
        }
    }
}

/// Whether every event names an entry. An event is 12 bytes, the length of its name (4 bytes), and the name.
fn is_about_entries(mut events: &[u8]) -> bool {
    while let Some((length, rest)) = events.get(12..).and_then(|after| after.split_first_chunk::<4>()) {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 {
            return false;
        }
        events = rest.get(length..).unwrap_or_default();
    }
    true
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(arrivals: &AsyncFd<OwnedFd>) -> bool {
        tokio::time::timeout(Duration::from_secs(60), arrival(arrivals)).await.expect("an event comes").unwrap()
    }

    #[tokio::test]
    async fn a_tombstone_is_noticed_when_it_is_renamed_into_place_and_so_is_the_directorys_end() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("tombstones");
        let arrivals = follow(&directory).unwrap();
        let written = parent.path().join("written");
        std::fs::write(&written, "{}").unwrap();
        std::fs::rename(&written, directory.join("a.json")).unwrap();
        assert!(next(&arrivals).await, "the file came");
        assert_eq!(list(&directory).len(), 1);
        std::fs::remove_dir_all(&directory).unwrap();
        while next(&arrivals).await {}
        let again = follow(&directory).unwrap();
        std::fs::write(directory.join("b.json"), "{}").unwrap();
        assert!(next(&again).await, "a new directory is followed like the old one");
    }

    #[test]
    fn an_event_without_a_name_is_about_the_directory_itself() {
        let event = |name: &[u8]| {
            let length = u32::try_from(name.len()).unwrap().to_ne_bytes();
            [&[0; 12][..], &length, name].concat()
        };
        assert!(is_about_entries(&[]));
        assert!(is_about_entries(&[event(b"a.json\0\0"), event(b"b.json\0\0")].concat()));
        assert!(!is_about_entries(&[event(b"a.json\0\0"), event(b"")].concat()));
    }
}
