//! Interfaces that an earlier run of this node's agent created and never attached: it died between the two calls. They hold
//! addresses that nobody can use.

use std::sync::Arc;
use std::time::Duration;

use freeboard_address::EniId;
use freeboard_ec2::{DeleteNetworkInterface, DescribeNetworkInterfaces, Ec2Error, Filter, NetworkInterface};
use jiff::Timestamp;

use crate::cloud::Cloud;
use crate::tags;

/// Two looks this far apart must agree before anything is deleted.
const APART: Duration = Duration::from_secs(60);

/// Looks twice and deletes what both looks found. EC2 itself refuses to delete an interface that is attached meanwhile.
pub async fn collect(cloud: Arc<Cloud>, started: Timestamp) {
    let first = match look(&cloud, started).await {
        Ok(first) if first.is_empty() => return,
        Ok(first) => first,
        Err(error) => {
            tracing::warn!(%error, "Unable to get leaked ENIs");
            return;
        }
    };
    tokio::time::sleep(APART).await;
    for interface in look(&cloud, started).await.unwrap_or_default() {
        if !first.contains(&interface) {
            continue;
        }
        match cloud.ec2.delete_network_interface(&DeleteNetworkInterface { interface: interface.clone() }).await {
            Ok(()) => {
                tracing::info!(%interface, "Cleaned up leaked CNI ENI: an earlier run created it and never attached it")
            }
            Err(error) => tracing::warn!(%interface, %error, "Failed to clean up leaked ENI"),
        }
    }
}

async fn look(cloud: &Cloud, started: Timestamp) -> Result<Vec<EniId>, Ec2Error> {
    let instance = &cloud.facts.instance;
    let filters =
        vec![Filter::new(format!("tag:{}", tags::INSTANCE), [instance]), Filter::new("status", ["available"])];
    let found =
        cloud.ec2.describe_network_interfaces(&DescribeNetworkInterfaces { interfaces: Vec::new(), filters }).await?;
    let description = tags::description(instance);
    let ours = |interface: &NetworkInterface| {
        interface.description == description && tags::created(&interface.tags).is_some_and(|created| created < started)
    };
    Ok(found.into_iter().filter(|interface| ours(interface)).map(|interface| interface.id).collect())
}
