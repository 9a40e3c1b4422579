//! A plan as text that others carry out: the aws CLI, kubectl, eksctl, gcloud, Terraform, and Freeboard's own controller.
//!
//! Names and ids come from evidence that nobody vouches for, so each is quoted by the rules of the text that it goes into.

mod aws;
mod eksctl;
mod expansion;
mod google;
mod kubectl;
mod terraform;

use crate::max_pods::Warm;
use crate::{AgentSettings, Inventory, Way};

pub use aws::aws;
pub use eksctl::eksctl;
pub use expansion::expansion;
pub use google::{GooglePlan, NewRange, PlacedPool, gcloud, terraform_google};
pub use kubectl::kubectl;
pub use terraform::terraform;

/// Where the script for the aws CLI writes the ENIConfigs, with the ids of the subnets that it made.
const ENI_CONFIGS_FILE: &str = "freeboard-eniconfigs.yaml";

/// A word of a shell command.
fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/=,@-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A text in double quotes, as JSON and YAML have it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A text in double quotes, as Terraform has it: without anything to be filled in.
fn hcl(text: &str) -> String {
    quoted(text).replace("${", "$${").replace("%{", "%%{")
}

/// A name of letters, digits and underscores, for variables and resources.
fn identifier(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

/// A comment must not end before its line does.
fn comment(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// The agent's environment that differs, as the Amazon VPC CNI names it.
fn environment(before: AgentSettings, after: AgentSettings) -> Vec<(&'static str, String)> {
    let mut set = Vec::new();
    if after.custom_networking != before.custom_networking {
        set.push(("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", after.custom_networking.to_string()));
        if after.custom_networking {
            set.push(("ENI_CONFIG_LABEL_DEF", "topology.kubernetes.io/zone".to_owned()));
        }
    }
    if after.prefixes != before.prefixes {
        set.push(("ENABLE_PREFIX_DELEGATION", after.prefixes.to_string()));
    }
    if after.warm != before.warm {
        match after.warm {
            Warm::Interfaces(count) => set.push(("WARM_ENI_TARGET", count.to_string())),
            Warm::Addresses { warm, minimum } => {
                set.push(("WARM_IP_TARGET", warm.to_string()));
                set.push(("MINIMUM_IP_TARGET", minimum.to_string()));
            }
            Warm::Prefixes(count) => set.push(("WARM_PREFIX_TARGET", count.to_string())),
        }
    }
    set
}

/// Nodes of one type that there are to be.
struct NodeGroup {
    instance_type: String,
    count: u64,
    max_pods: Option<u64>,
}

/// The nodes of a way, by type: those of today, and the more that are needed with the most frequent type.
fn node_groups(inventory: &Inventory, way: &Way) -> Vec<NodeGroup> {
    let mut groups: Vec<NodeGroup> = Vec::new();
    for node in &inventory.nodes {
        let Some(of_node) = &node.instance_type else { continue };
        // A wish for one type is the only one that names a single change of types which no node has.
        let wished = way.max_pods.iter().find(|one| one.instance_type == *of_node).or(way.max_pods.first());
        let Some(change) = wished else { continue };
        match groups.iter_mut().find(|group| group.instance_type == change.instance_type) {
            Some(group) => group.count += 1,
            None => {
                groups.push(NodeGroup { instance_type: change.instance_type.clone(), count: 1, max_pods: change.after })
            }
        }
    }
    if let Some(most) = groups.iter_mut().max_by_key(|group| group.count) {
        most.count += way.more_nodes.values().sum::<u64>();
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_evidence_is_carried_out() {
        assert_eq!(word("vpc-0f3a9ca1"), "vpc-0f3a9ca1");
        assert_eq!(word("x; rm -rf $(pwd)"), "'x; rm -rf $(pwd)'");
        assert_eq!(word("it's"), "'it'\\''s'");
        assert_eq!(word(""), "''");
        assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000ad\"");
        assert_eq!(hcl("${file(\"x\")}"), "\"$${file(\\\"x\\\")}\"");
        assert_eq!(comment("a\nrm -rf"), "a rm -rf");
        assert_eq!(identifier("ap-southeast-2a"), "ap_southeast_2a");
    }
}
