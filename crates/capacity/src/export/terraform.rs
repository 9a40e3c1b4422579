//! Terraform resources of the AWS provider.

use std::fmt::Write;

use super::{environment, hcl, identifier, node_groups};
use crate::expansion::{Expansion, Means};
use crate::{Inventory, Way};

/// The block, its subnets, their routes, the add-on's settings, and a node group per instance type.
#[must_use]
pub fn terraform(inventory: &Inventory, way: &Way) -> String {
    let mut text = String::from("# Made by `freeboard plan`.\n");
    if let Some(expansion) = &way.expansion {
        network(&mut text, expansion);
    }
    for subnet in &way.tagged {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\nresource \"aws_ec2_tag\" \"pods_{}\" {{\n  resource_id = {}\n  key         = \"kubernetes.io/role/cni\"\n  value       = \"1\"\n}}\n",
            identifier(subnet.as_str()),
            hcl(subnet.as_str())
        );
    }
    addon(&mut text, inventory, way);
    node_group(&mut text, inventory, way);
    text
}

fn network(text: &mut String, expansion: &Expansion) {
    let _ = write!(
        text,
        "\nresource \"aws_vpc_ipv4_cidr_block_association\" \"pods\" {{\n  vpc_id     = {}\n  cidr_block = \"{}\"\n}}\n",
        hcl(expansion.vpc.as_str()),
        expansion.block
    );
    for subnet in &expansion.subnets {
        let name = identifier(&subnet.zone);
        let _ = write!(
            text,
            "\nresource \"aws_subnet\" \"pods_{name}\" {{\n  # Through the association, so that the block is there first.\n  \
             vpc_id            = aws_vpc_ipv4_cidr_block_association.pods.vpc_id\n  cidr_block        = \"{}\"\n  \
             availability_zone = {}\n\n  tags = {{\n    Name = {}\n",
            subnet.cidr,
            hcl(&subnet.zone),
            hcl(&format!("pods-{}", subnet.zone))
        );
        if expansion.means == Means::Tag {
            text.push_str("    \"kubernetes.io/role/cni\" = \"1\"\n");
        }
        text.push_str("  }\n}\n");
        if let Some(table) = &subnet.route_table {
            let _ = write!(
                text,
                "\nresource \"aws_route_table_association\" \"pods_{name}\" {{\n  subnet_id      = aws_subnet.pods_{name}.id\n  \
                 route_table_id = {}\n}}\n",
                hcl(table.as_str())
            );
        }
    }
}

fn addon(text: &mut String, inventory: &Inventory, way: &Way) {
    let set = environment(inventory.agent, way.agent);
    let networking = way.expansion.as_ref().filter(|expansion| expansion.means == Means::CustomNetworking);
    if set.is_empty() && networking.is_none() {
        return;
    }
    let _ = write!(
        text,
        "\nresource \"aws_eks_addon\" \"vpc_cni\" {{\n  cluster_name                = {}\n  addon_name                  = \"vpc-cni\"\n  \
         resolve_conflicts_on_update = \"PRESERVE\"\n\n  configuration_values = jsonencode({{\n    env = {{\n",
        hcl(inventory.cluster.as_deref().unwrap_or("<cluster>"))
    );
    for (name, value) in set {
        let _ = writeln!(text, "      {name} = {}", hcl(&value));
    }
    text.push_str("    }\n");
    if let Some(expansion) = networking {
        let _ = write!(
            text,
            "    eniConfig = {{\n      create = true\n      region = {}\n      subnets = {{\n",
            hcl(inventory.region.as_deref().unwrap_or("<region>"))
        );
        let groups: Vec<String> = expansion.security_groups.iter().map(|group| hcl(group.as_str())).collect();
        for subnet in &expansion.subnets {
            let groups =
                if groups.is_empty() { String::new() } else { format!(", securityGroups = [{}]", groups.join(", ")) };
            let _ = writeln!(
                text,
                "        {} = {{ id = aws_subnet.pods_{}.id{groups} }}",
                hcl(&subnet.zone),
                identifier(&subnet.zone)
            );
        }
        text.push_str("      }\n    }\n");
    }
    text.push_str("  })\n}\n");
}

fn node_group(text: &mut String, inventory: &Inventory, way: &Way) {
    if way.more_nodes.is_empty() && way.agent == inventory.agent {
        return;
    }
    for group in node_groups(inventory, way) {
        let name = identifier(&group.instance_type);
        let most = group
            .max_pods
            .map_or_else(String::new, |most| format!("  # max-pods {most}: in the launch template's user data\n"));
        let _ = write!(
            text,
            "\nresource \"aws_eks_node_group\" \"pods_{name}\" {{\n  cluster_name    = {}\n  node_group_name = \"pods-{}\"\n  \
             node_role_arn   = var.node_role_arn\n  subnet_ids      = var.node_subnet_ids\n  instance_types  = [{}]\n{most}\n  \
             scaling_config {{\n    desired_size = {count}\n    min_size     = {count}\n    max_size     = {count}\n  }}\n}}\n",
            hcl(inventory.cluster.as_deref().unwrap_or("<cluster>")),
            name.replace('_', "-"),
            hcl(&group.instance_type),
            count = group.count,
        );
    }
    text.push_str("\nvariable \"node_role_arn\" {\n  type = string\n}\n\nvariable \"node_subnet_ids\" {\n  type = list(string)\n}\n");
}
