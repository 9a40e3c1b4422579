//! `freeboard-agent --prepare-node`: writes the kernel settings that are read-only in all but privileged containers, and ends; so
//! the agent itself need not run in one.

use std::collections::BTreeSet;

use anyhow::{bail, ensure};
use freeboard_datapath::host::{self, Change, DesiredHost, ObservedHost, PrimaryInterface};
use freeboard_ec2::ImdsConfig;
use freeboard_settings::{AddressSource, Settings};

use crate::host::Primary;
use crate::identity::Metadata;

/// Writes those that are not right, and returns what was changed. On EC2 it waits until the metadata service answers.
///
/// # Errors
/// When the primary interface has no link, or the kernel refuses.
pub fn prepare(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mac = runtime.block_on(async {
        anyhow::Ok(match settings.source {
            AddressSource::Interfaces => Metadata::read(ImdsConfig::from_environment()).await?.primary_mac(),
            AddressSource::Blocks => Primary::of_default_route().await?.mac,
        })
    })?;
    let desired = DesiredHost {
        primary: PrimaryInterface { mac, mtu_bytes: settings.eni_mtu },
        secondaries: Vec::new(),
        pods: Vec::new(),
        mark: None,
        external_service_cidrs: BTreeSet::new(),
        remove_orphans: false,
    };
    let mut plan = host::plan(&desired, &ObservedHost::read(&desired)?);
    if let Some(mac) = plan.missing_links.first() {
        bail!("no link has the hardware address {mac} of the primary interface");
    }
    // Everything else is the agent's, which knows the whole.
    plan.changes.retain(|change| matches!(change, Change::Setting { .. }));
    host::apply(&plan)?;
    let left = host::plan(&desired, &ObservedHost::read(&desired)?).changes;
    let left: Vec<String> =
        left.iter().filter(|change| matches!(change, Change::Setting { .. })).map(ToString::to_string).collect();
    ensure!(left.is_empty(), "the kernel took these settings and does not have them: {}", left.join(", "));
    Ok(plan.changes.iter().map(ToString::to_string).collect())
}
