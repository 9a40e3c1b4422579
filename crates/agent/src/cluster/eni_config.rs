//! Custom networking: the ENIConfig of this node, found anew whenever an ENIConfig or the node changes.

use std::collections::BTreeMap;

use freeboard_address::{SecurityGroupId, SubnetId};
use freeboard_kubernetes::kube::Api;
use freeboard_kubernetes::kube::runtime::watcher::Config;
use freeboard_kubernetes::resources::ENIConfig;
use freeboard_kubernetes::watch::{Seen, collection};
use freeboard_pool::{EniConfig, EniConfigChoice, PodSubnets};
use freeboard_settings::Settings;
use futures::StreamExt;
use tokio::sync::watch;

use super::node::KnownNode;
use super::{Common, Reach};
use crate::pool_handle::Command;

/// Follows the ENIConfigs and the node until the end of the process. A cluster has one per zone or so: all of them are held.
pub(super) async fn follow(common: Common, mut node: watch::Receiver<Option<KnownNode>>) {
    let mut seen = collection(Api::<ENIConfig>::all(common.client.clone()), Config::default());
    let mut reach = Reach::new("the ENIConfig objects");
    let mut configs: Option<Vec<EniConfig>> = None;
    let mut told = None;
    loop {
        tokio::select! {
            Some(seen) = seen.next() => match seen {
                Seen::Now(objects) => {
                    reach.found();
                    configs = Some(usable(objects));
                }
                Seen::Lost(why) => reach.lost(&why),
            },
            Ok(()) = node.changed() => {}
            else => return,
        }
        // Before both are known, "there is none" would be a guess.
        let known = node.borrow_and_update().clone();
        let (Some(known), Some(configs)) = (known, &configs) else { continue };
        let wanted = choose(&common.settings.borrow().clone(), &known, configs);
        if told.as_ref() != Some(&wanted) {
            tracing::info!(?wanted, "custom networking: where interfaces for pods are made");
            told = Some(wanted.clone());
            let _ = common.pool.tell(Command::PodSubnets(wanted)).await;
        }
    }
}

fn choose(settings: &Settings, node: &KnownNode, configs: &[EniConfig]) -> PodSubnets {
    let choice = EniConfigChoice {
        labels: &node.labels,
        annotations: &node.annotations,
        annotation_key: settings.eni_config_annotation.as_deref().unwrap_or_default(),
        label_key: settings.eni_config_label.as_deref().unwrap_or_default(),
    };
    choice.among(configs)
}

/// The objects as the pool knows them. One without a subnet says nothing, as if it were not there.
fn usable(objects: BTreeMap<String, ENIConfig>) -> Vec<EniConfig> {
    let with_subnet = objects.into_iter().filter(|(name, object)| {
        let has_subnet = !object.spec.subnet.is_empty();
        if !has_subnet {
            tracing::error!("ENIConfig {name:?} names no subnet in spec.subnet, and is not used");
        }
        has_subnet
    });
    with_subnet
        .map(|(name, object)| EniConfig {
            name,
            subnet: SubnetId::new(object.spec.subnet),
            groups: object.spec.security_groups.into_iter().map(SecurityGroupId::new).collect(),
        })
        .collect()
}
