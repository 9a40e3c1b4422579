//! A configuration file for eksctl: the add-on's settings and the node groups that replace today's.

use std::fmt::Write;

use super::{environment, identifier, node_groups, quoted};
use crate::expansion::{Expansion, Means};
use crate::{Inventory, Way};

/// The file. eksctl adds no block to a living VPC: the script for the aws CLI, or Terraform, does that first, and the ids of the new
/// subnets go where their blocks stand in angle brackets.
#[must_use]
pub fn eksctl(inventory: &Inventory, way: &Way) -> String {
    let name = inventory.cluster.as_deref().unwrap_or("<cluster>");
    let region = inventory.region.as_deref().unwrap_or("<region>");
    let mut text = String::from(
        "# Made by `freeboard plan`, for: eksctl update addon -f FILE && eksctl create nodegroup -f FILE\n",
    );
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata:\n  name: {}\n  region: {}\n",
        quoted(name),
        quoted(region)
    );
    let set = environment(inventory.agent, way.agent);
    let networking = way.expansion.as_ref().filter(|expansion| expansion.means == Means::CustomNetworking);
    if !set.is_empty() || networking.is_some() {
        text.push_str("addons:\n  - name: vpc-cni\n    resolveConflicts: preserve\n    configurationValues: |-\n");
        text.push_str("      env:\n");
        for (name, value) in set {
            let _ = writeln!(text, "        {name}: {}", quoted(&value));
        }
        if let Some(expansion) = networking {
            eni_config(&mut text, region, expansion);
        }
    }
    let groups = node_groups(inventory, way);
    if !groups.is_empty() {
        text.push_str("managedNodeGroups:\n");
    }
    let zones: Vec<String> = way.after.zones.iter().map(|zone| quoted(&zone.zone)).collect();
    for group in groups {
        let name = format!("pods-{}", identifier(&group.instance_type).replace('_', "-"));
        let _ = write!(
            text,
            "  - name: {}\n    instanceType: {}\n    availabilityZones: [{}]\n    desiredCapacity: {count}\n    minSize: {count}\n    \
             maxSize: {count}\n",
            quoted(&name),
            quoted(&group.instance_type),
            zones.join(", "),
            count = group.count
        );
        if let Some(most) = group.max_pods {
            let _ = writeln!(text, "    maxPodsPerNode: {most}");
        }
    }
    text
}

fn eni_config(text: &mut String, region: &str, expansion: &Expansion) {
    let _ =
        write!(text, "      eniConfig:\n        create: true\n        region: {}\n        subnets:\n", quoted(region));
    for subnet in &expansion.subnets {
        let id = format!("<id of {}>", subnet.cidr);
        let _ = write!(text, "          {}:\n            id: {}\n", quoted(&subnet.zone), quoted(&id));
        if !expansion.security_groups.is_empty() {
            let groups: Vec<String> = expansion.security_groups.iter().map(|group| quoted(group.as_str())).collect();
            let _ = writeln!(text, "            securityGroups: [{}]", groups.join(", "));
        }
    }
}
