//! Releases allocations of an earlier run that nothing on the host speaks for, after two looks that agree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use freeboard_address::AttachmentKey;
use freeboard_pool::{Holding, Reply, RestoredAllocation};

use crate::cni_service::release;
use crate::evidence::without_witness;
use crate::host::Host;
use crate::metrics::Metrics;
use crate::pool_handle::{Command, PoolError, PoolHandle};

/// The looks are this far apart: a plugin that got its address just before the agent was restarted has built the pod's
/// interface by then.
const APART: Duration = Duration::from_secs(30);

/// Between two pairs of looks: a sandbox may end without any word of it at any time.
const PERIOD: Duration = Duration::from_secs(240);

/// Looks again and again, as long as anything that was restored is still held.
///
/// # Errors
/// When the pool's task has ended.
pub async fn watch(
    mut restored: Vec<RestoredAllocation>,
    host: Host,
    pool: PoolHandle,
    metrics: Arc<Metrics>,
) -> Result<(), PoolError> {
    loop {
        release_stale(restored.clone(), host.clone(), pool.clone(), Arc::clone(&metrics)).await?;
        let mut held = Vec::new();
        for old in restored {
            let holding = pool.ask(|answer| Command::Holds(old.key.clone(), answer)).await?;
            if holding.is_some_and(|holding| holding.since == old.since) {
                held.push(old);
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        restored = held;
        tokio::time::sleep(PERIOD).await;
    }
}

/// Looks twice and releases what both looks found without a witness, if it is still the same allocation. Only allocations of an
/// earlier run are looked at: those of this run end with their DEL.
///
/// # Errors
/// When the pool's task has ended.
pub async fn release_stale(
    restored: Vec<RestoredAllocation>,
    host: Host,
    pool: PoolHandle,
    metrics: Arc<Metrics>,
) -> Result<(), PoolError> {
    let Some(first) = suspects(&restored, &host).await else { return Ok(()) };
    if first.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(APART).await;
    let Some(second) = suspects(&restored, &host).await else { return Ok(()) };
    for old in restored.into_iter().filter(|old| first.contains(&old.key) && second.contains(&old.key)) {
        let held = pool.ask(|answer| Command::Holds(old.key.clone(), answer)).await?;
        let same = held.is_some_and(|held| held.address == old.address && held.since == old.since);
        if same && let Reply::Released { address, .. } = release(&pool, old.key.clone(), old.pod.clone(), None).await? {
            metrics.stale_allocations.inc();
            let pod = old.pod.map(|pod| pod.to_string()).unwrap_or_default();
            tracing::warn!(%address, pod, "stale IP allocation for ID({}): no interface of the pod is on this host; released", old.key);
        }
    }
    Ok(())
}

/// One look; `None` when the host cannot be read, which is no evidence against anybody.
async fn suspects(restored: &[RestoredAllocation], host: &Host) -> Option<BTreeSet<AttachmentKey>> {
    let witnesses = match host.witnesses().await {
        Ok(witnesses) => witnesses,
        Err(error) => {
            tracing::warn!(%error, "cannot read the host's interfaces; nothing is released as stale");
            return None;
        }
    };
    let held: Vec<Holding> = restored
        .iter()
        .map(|old| Holding {
            key: old.key.clone(),
            pod: old.pod.clone(),
            address: old.address,
            interface: None,
            device_index: None,
            since: old.since,
        })
        .collect();
    Some(without_witness(&held, &witnesses))
}
