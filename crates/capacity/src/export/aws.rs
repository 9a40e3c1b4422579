//! A shell script for the aws CLI.

use std::fmt::Write;

use super::{ENI_CONFIGS_FILE, comment, identifier, quoted, word};
use crate::expansion::{Expansion, Means};
use crate::{Inventory, NewSubnet, Way};

/// The tag by which agents find subnets for pods.
const CNI_ROLE: &str = "Key=kubernetes.io/role/cni,Value=1";

/// What of a way is done through EC2: the block, the subnets, their routes and tags. The script stops at the first refusal. With
/// custom networking it leaves the ENIConfigs, with the ids of the new subnets, in a file for kubectl.
#[must_use]
pub fn aws(inventory: &Inventory, way: &Way) -> String {
    let mut text = String::from(
        "#!/usr/bin/env bash\n# Made by `freeboard plan`. Read it before you run it: it stops at the first refusal and undoes nothing.\n\
         set -euo pipefail\n",
    );
    match &way.expansion {
        Some(expansion) => {
            association(&mut text, expansion);
            for subnet in &expansion.subnets {
                self::subnet(&mut text, inventory, expansion, subnet);
            }
            if expansion.means == Means::CustomNetworking {
                eni_configs(&mut text, expansion);
            }
        }
        None if way.tagged.is_empty() => text.push_str("\n# Nothing to be done through EC2.\n"),
        None => {}
    }
    if !way.tagged.is_empty() {
        text.push_str("\n# Subnets that are idle, for pods too.\n");
        let subnets: Vec<String> = way.tagged.iter().map(|id| word(id.as_str())).collect();
        let _ = writeln!(text, "aws ec2 create-tags --resources {} --tags {CNI_ROLE}", subnets.join(" "));
    }
    text
}

fn association(text: &mut String, expansion: &Expansion) {
    let vpc = word(expansion.vpc.as_str());
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n# Another block for the VPC. It can be used once it is associated.\n\
         association=$(aws ec2 associate-vpc-cidr-block --vpc-id {vpc} --cidr-block {block} \\\n  \
           --query CidrBlockAssociation.AssociationId --output text)\n\
         state=associating\n\
         while [ \"$state\" = associating ]; do\n  \
           sleep 1\n  \
           state=$(aws ec2 describe-vpcs --vpc-ids {vpc} --output text \\\n    \
             --query \"Vpcs[0].CidrBlockAssociationSet[?AssociationId=='$association'].CidrBlockState.State\")\n\
         done\n\
         if [ \"$state\" != associated ]; then echo \"{block} is $state\" >&2; exit 1; fi\n",
        block = expansion.block
    );
}

fn subnet(text: &mut String, inventory: &Inventory, expansion: &Expansion, subnet: &NewSubnet) {
    let NewSubnet { zone, cidr, route_table } = subnet;
    let name = format!("pods-{zone}");
    let mut tags = vec![format!("{{Key=Name,Value={name}}}")];
    if let Some(cluster) = &inventory.cluster {
        tags.push(format!("{{Key=kubernetes.io/cluster/{cluster},Value=shared}}"));
    }
    if expansion.means == Means::Tag {
        tags.push(format!("{{{CNI_ROLE}}}"));
    }
    let tags = word(&format!("ResourceType=subnet,Tags=[{}]", tags.join(",")));
    let variable = variable(zone);
    let _ = write!(
        text,
        "\n# Pods in {}.\n\
         {variable}=$(aws ec2 create-subnet --vpc-id {} --availability-zone {} --cidr-block {cidr} \\\n  \
           --tag-specifications {tags} \\\n  \
           --query Subnet.SubnetId --output text)\n",
        comment(zone),
        word(expansion.vpc.as_str()),
        word(zone),
    );
    if let Some(table) = route_table {
        let _ = writeln!(
            text,
            "aws ec2 associate-route-table --subnet-id \"${variable}\" --route-table-id {} >/dev/null",
            word(table.as_str())
        );
    }
}

fn variable(zone: &str) -> String {
    format!("subnet_{}", identifier(zone))
}

fn eni_configs(text: &mut String, expansion: &Expansion) {
    let _ = write!(text, "\n# One ENIConfig per zone, for: kubectl apply -f {ENI_CONFIGS_FILE}\n{{\n");
    for subnet in &expansion.subnets {
        let mut lines = vec![
            "---".to_owned(),
            "apiVersion: crd.k8s.amazonaws.com/v1alpha1".to_owned(),
            "kind: ENIConfig".to_owned(),
            format!("metadata: {{ name: {} }}", quoted(&subnet.zone)),
            "spec:".to_owned(),
        ];
        if !expansion.security_groups.is_empty() {
            let groups: Vec<String> = expansion.security_groups.iter().map(|group| quoted(group.as_str())).collect();
            lines.push(format!("  securityGroups: [{}]", groups.join(", ")));
        }
        for line in lines {
            let _ = writeln!(text, "  echo {}", word(&line));
        }
        let _ = writeln!(text, "  echo \"  subnet: ${}\"", variable(&subnet.zone));
    }
    let _ = writeln!(text, "}} > {ENI_CONFIGS_FILE}");
}
