//! An `Expansion` object, which freeboard-controller carries out once it is approved.

use std::fmt::Write;

use super::quoted;
use crate::Way;
use crate::expansion::Means;

/// The object as YAML, not approved yet; nothing when the way adds no block.
#[must_use]
pub fn expansion(way: &Way) -> Option<String> {
    let expansion = way.expansion.as_ref()?;
    let name = format!("pods-{}", expansion.block.to_string().replace(['.', '/'], "-"));
    let mut text = String::from(
        "# Made by `freeboard plan`. Nothing is done before it is approved: freeboard expand --approve NAME --wait\n",
    );
    let means = match expansion.means {
        Means::Tag => "Tag",
        Means::CustomNetworking => "CustomNetworking",
    };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "apiVersion: ipam.freeboard.dev/v1alpha1\nkind: Expansion\nmetadata: {{ name: {name} }}\nspec:\n  vpc: {}\n  block: {}\n  means: {means}\n  \
         subnets:\n",
        quoted(expansion.vpc.as_str()),
        quoted(&expansion.block.to_string()),
    );
    for subnet in &expansion.subnets {
        let _ = write!(text, "    - {{ zone: {}, cidr: {}", quoted(&subnet.zone), quoted(&subnet.cidr.to_string()));
        if let Some(table) = &subnet.route_table {
            let _ = write!(text, ", routeTable: {}", quoted(table.as_str()));
        }
        text.push_str(" }\n");
    }
    if means == "CustomNetworking" && !expansion.security_groups.is_empty() {
        let groups: Vec<String> = expansion.security_groups.iter().map(|group| quoted(group.as_str())).collect();
        let _ = writeln!(text, "  securityGroups: [{}]", groups.join(", "));
    }
    Some(text)
}
