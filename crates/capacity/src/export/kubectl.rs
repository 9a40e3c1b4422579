//! What is done in the cluster itself, for kubectl.

use std::fmt::Write;

use super::{ENI_CONFIGS_FILE, environment, word};
use crate::expansion::Means;
use crate::{Inventory, Way};

/// The ENIConfigs (from the file that the script for the aws CLI leaves) and the agent's settings, in the order in which no node is
/// ever left without a subnet for its pods.
#[must_use]
pub fn kubectl(inventory: &Inventory, way: &Way) -> String {
    let mut text = String::from(
        "#!/usr/bin/env bash\n# Made by `freeboard plan`, to be run after the script for the aws CLI.\nset -euo pipefail\n",
    );
    if way.expansion.as_ref().is_some_and(|expansion| expansion.means == Means::CustomNetworking) {
        let _ = write!(
            text,
            "\n# The ENIConfigs before the setting: an agent that finds none attaches nothing.\nkubectl apply -f {ENI_CONFIGS_FILE}\n"
        );
    }
    let set = environment(inventory.agent, way.agent);
    if !set.is_empty() {
        let set: Vec<String> = set.iter().map(|(name, value)| word(&format!("{name}={value}"))).collect();
        let _ = write!(text, "\nkubectl set env daemonset aws-node -n kube-system \\\n  {}\n", set.join(" \\\n  "));
        text.push_str("kubectl rollout status daemonset aws-node -n kube-system\n");
    }
    let replaced: Vec<String> = way
        .max_pods
        .iter()
        .filter(|change| change.before != change.after)
        .map(|change| {
            let count = |pods: Option<u64>| pods.map_or_else(|| "unknown".to_owned(), |pods| pods.to_string());
            format!("{} {} -> {}", change.instance_type, count(change.before), count(change.after))
        })
        .collect();
    if !replaced.is_empty() {
        let _ = write!(
            text,
            "\n# Only new nodes follow. Make node groups with these max-pods (see the export for eksctl or Terraform), then for each old node:\n\
             #   {}\n#   kubectl cordon NODE && kubectl drain NODE --ignore-daemonsets --delete-emptydir-data\n",
            replaced.join(", ")
        );
    }
    text
}
