//! Interfaces that this node's agent created and that are attached to nothing: it died between the two calls, or never heard of
//! the creation. They hold addresses that nobody can use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use freeboard_address::EniId;
use freeboard_ec2::{DeleteNetworkInterface, DescribeNetworkInterfaces, Ec2Error, Filter, NetworkInterface};
use jiff::{SignedDuration, Timestamp};

use crate::cloud::Cloud;
use crate::pool_handle::{Command, PoolError, PoolHandle};
use crate::tags;

/// Between the first look, which finds nothing, and the next one.
const PERIOD: Duration = Duration::from_secs(600);
/// After a look that failed, and after one that found something: whether its deletion worked, the next look tells.
const RETRY: Duration = Duration::from_secs(60);
/// Two looks this far apart must agree before anything is deleted.
const APART: Duration = Duration::from_secs(60);
/// What is younger may be on its way to being attached.
const LEAST_AGE: SignedDuration = SignedDuration::from_mins(5);

/// Looks again and again, until the pool is gone. A first look comes at once: an earlier run may have died a moment ago.
pub async fn watch(cloud: Arc<Cloud>, pool: PoolHandle) {
    let started = Timestamp::now();
    loop {
        let pause = match collect(&cloud, &pool, started).await {
            Ok(Ok(false)) => PERIOD,
            Ok(Ok(true)) => RETRY,
            Ok(Err(error)) => {
                tracing::warn!(%error, "Unable to get leaked ENIs");
                RETRY
            }
            Err(_) => return,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Looks twice and deletes what both looks found; whether there was anything. EC2 itself refuses to delete an interface that is attached meanwhile.
async fn collect(cloud: &Cloud, pool: &PoolHandle, started: Timestamp) -> Result<Result<bool, Ec2Error>, PoolError> {
    let first = match look(cloud, pool, started).await? {
        Ok(first) if first.is_empty() => return Ok(Ok(false)),
        Ok(first) => first,
        Err(error) => return Ok(Err(error)),
    };
    tokio::time::sleep(APART).await;
    let second = match look(cloud, pool, started).await? {
        Ok(second) => second,
        Err(error) => return Ok(Err(error)),
    };
    for interface in second.intersection(&first) {
        match cloud.ec2.delete_network_interface(&DeleteNetworkInterface { interface: interface.clone() }).await {
            Ok(()) => {
                tracing::info!(%interface, "Cleaned up leaked CNI ENI: it was created for this node and never attached")
            }
            Err(error) => tracing::warn!(%interface, %error, "Failed to clean up leaked ENI"),
        }
    }
    Ok(Ok(true))
}

async fn look(
    cloud: &Cloud,
    pool: &PoolHandle,
    started: Timestamp,
) -> Result<Result<BTreeSet<EniId>, Ec2Error>, PoolError> {
    let instance = &cloud.facts.instance;
    let filters =
        vec![Filter::new(format!("tag:{}", tags::INSTANCE), [instance]), Filter::new("status", ["available"])];
    let request = DescribeNetworkInterfaces { interfaces: Vec::new(), filters };
    let found = match cloud.ec2.describe_network_interfaces(&request).await {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    if found.is_empty() {
        return Ok(Ok(BTreeSet::new()));
    }
    // What the pool has created and will attach is no leftover, however long that takes.
    let shown = pool.ask(Command::Show).await?;
    let known: BTreeSet<&EniId> = shown.view.interfaces.iter().map(|interface| &interface.id).collect();
    let description = tags::description(instance);
    let now = Timestamp::now();
    let left = |interface: &NetworkInterface| {
        let old = |created: Timestamp| created < started || now.duration_since(created) > LEAST_AGE;
        interface.description == description
            && tags::created(&interface.tags).is_some_and(old)
            && !known.contains(&interface.id)
    };
    Ok(Ok(found.into_iter().filter(left).map(|interface| interface.id).collect()))
}
