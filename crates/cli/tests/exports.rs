//! The texts that other tools are to carry out: Terraform is parsed and held against the arguments of its resources, gcloud's commands
//! against the flags that each has.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod common;

use std::collections::BTreeSet;

use common::{freeboard_in, text};
use hcl::structure::{Block, Body, Structure};

/// What a block of Terraform may hold: what it must, what it may beside that, and the blocks inside, each with the same.
struct Schema {
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    inside: &'static [Self],
}

const fn schema(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    inside: &'static [Schema],
) -> Schema {
    Schema { name, required, optional, inside }
}

/// The resources that a plan may use, with their arguments (AWS provider 5, Google provider 6).
const RESOURCES: &[Schema] = &[
    schema(
        "aws_vpc_ipv4_cidr_block_association",
        &["vpc_id", "cidr_block"],
        &["ipv4_ipam_pool_id", "ipv4_netmask_length"],
        &[],
    ),
    schema("aws_subnet", &["vpc_id", "cidr_block"], &["availability_zone", "map_public_ip_on_launch", "tags"], &[]),
    schema("aws_route_table_association", &["subnet_id", "route_table_id"], &[], &[]),
    schema("aws_ec2_tag", &["resource_id", "key", "value"], &[], &[]),
    schema(
        "aws_eks_addon",
        &["cluster_name", "addon_name"],
        &["addon_version", "configuration_values", "resolve_conflicts_on_update", "resolve_conflicts_on_create"],
        &[],
    ),
    schema(
        "aws_eks_node_group",
        &["cluster_name", "node_group_name", "node_role_arn", "subnet_ids"],
        &["instance_types", "labels", "tags"],
        &[schema("scaling_config", &["desired_size", "min_size", "max_size"], &[], &[])],
    ),
    schema(
        "google_container_node_pool",
        &["name", "cluster", "location"],
        &["node_count", "initial_node_count", "max_pods_per_node"],
        &[
            schema(
                "autoscaling",
                &[],
                &[
                    "min_node_count",
                    "max_node_count",
                    "total_min_node_count",
                    "total_max_node_count",
                    "location_policy",
                ],
                &[],
            ),
            schema("network_config", &[], &["pod_range", "create_pod_range", "pod_ipv4_cidr_block"], &[]),
        ],
    ),
];

fn hold_against(block: &Block, schema: &Schema) {
    let given: BTreeSet<&str> = block.body.attributes().map(|attribute| attribute.key()).collect();
    for name in schema.required {
        assert!(given.contains(name), "{} lacks {name}", schema.name);
    }
    for name in given {
        assert!(schema.required.contains(&name) || schema.optional.contains(&name), "{} has no {name}", schema.name);
    }
    for inner in block.body.blocks() {
        let known = schema.inside.iter().find(|one| one.name == inner.identifier());
        hold_against(inner, known.unwrap_or_else(|| panic!("{} has no block {}", schema.name, inner.identifier())));
    }
}

/// Parses what is exported and holds every block against what it may hold; gives the types and names of the resources.
fn terraform(arguments: &[&str]) -> Vec<String> {
    let exported = text(&freeboard_in("tests/dumps", arguments));
    let body: Body = hcl::parse(&exported).unwrap_or_else(|error| panic!("{error}\n{exported}"));
    let mut names = Vec::new();
    for structure in &body {
        let Structure::Block(block) = structure else {
            panic!("an attribute stands outside of all blocks: {exported}")
        };
        let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
        match (block.identifier(), labels.as_slice()) {
            ("resource", [kind, name]) => {
                let schema = RESOURCES.iter().find(|one| one.name == *kind);
                hold_against(block, schema.unwrap_or_else(|| panic!("{kind} is no resource that a plan may use")));
                names.push(format!("{kind}.{name}"));
            }
            ("variable", [_]) => hold_against(block, &schema("variable", &["type"], &["default", "description"], &[])),
            (other, labels) => panic!("{other} {labels:?} stands in no configuration of ours"),
        }
    }
    // What is referred to must be there.
    for word in exported.split(|letter: char| !letter.is_ascii_alphanumeric() && !"._-".contains(letter)) {
        if let Some((resource, _)) = word.rsplit_once('.').filter(|(resource, _)| resource.starts_with("aws_")) {
            assert!(
                names.iter().any(|name| name == resource),
                "{resource} is referred to, and is not there: {names:?}"
            );
        }
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name stands twice: {names:?}");
    names
}

#[test]
fn terraform_of_both_clouds_has_the_arguments_that_its_resources_take() {
    let names = terraform(&["plan", "eks", "--add-cidr", "auto", "--export", "terraform"]);
    for kind in ["aws_vpc_ipv4_cidr_block_association.", "aws_subnet.", "aws_eks_addon."] {
        assert!(names.iter().any(|name| name.starts_with(kind)), "{kind} is missing: {names:?}");
    }
    assert!(!terraform(&["plan", "eks", "--export", "terraform"]).is_empty());
    let pools = terraform(&["plan", "gke", "--export", "terraform"]);
    assert!(pools.iter().all(|name| name.starts_with("google_container_node_pool.")) && pools.len() >= 2, "{pools:?}");
}

/// The commands that a script may hold: the words, whether a name follows them, the flags that must stand and that may.
const COMMANDS: [(&str, &[&str], &[&str]); 3] = [
    ("gcloud compute networks subnets update", &["--region", "--add-secondary-ranges"], &[]),
    ("gcloud container clusters update", &["--location", "--additional-pod-ipv4-ranges"], &[]),
    (
        "gcloud container node-pools create",
        &["--cluster", "--location", "--pod-ipv4-range", "--max-pods-per-node"],
        &[
            "--enable-autoscaling",
            "--min-nodes",
            "--max-nodes",
            "--total-min-nodes",
            "--total-max-nodes",
            "--num-nodes",
            "--machine-type",
        ],
    ),
];
/// Flags that stand alone.
const SWITCHES: [&str; 1] = ["--enable-autoscaling"];

fn hold_command(command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let (known, required, optional) = COMMANDS
        .iter()
        .find(|(known, ..)| command.starts_with(&format!("{known} ")))
        .unwrap_or_else(|| panic!("no such command: {command}"));
    let mut rest = words.iter().skip(known.split(' ').count());
    let name = rest.next().unwrap();
    assert!(!name.starts_with("--"), "a name is missing: {command}");
    let mut given = BTreeSet::new();
    while let Some(word) = rest.next() {
        let (flag, value) = word.split_once('=').map_or((*word, None), |(flag, value)| (flag, Some(value)));
        assert!(flag.starts_with("--"), "{word} belongs to nothing: {command}");
        assert!(required.contains(&flag) || optional.contains(&flag), "{known} has no {flag}");
        assert!(given.insert(flag), "{flag} stands twice: {command}");
        if SWITCHES.contains(&flag) {
            assert_eq!(value, None, "{flag} takes no value");
            continue;
        }
        let value = value.or_else(|| rest.next().copied()).unwrap_or_default();
        assert!(!value.is_empty() && !value.starts_with("--"), "{flag} has no value: {command}");
        if flag.ends_with("-nodes") || flag.ends_with("-per-node") {
            assert!(value.parse::<u32>().is_ok(), "{flag} {value}: a number was expected");
        }
    }
    for flag in *required {
        assert!(given.contains(flag), "{flag} is missing: {command}");
    }
}

#[test]
fn gcloud_is_given_the_flags_that_its_commands_have() {
    for more in [&[][..], &["--add-range", "pods-d=10.200.0.0/16", "--add-pool", "batch:110:200"]] {
        let arguments = [&["plan", "gke"], more, &["--export", "gcloud"]].concat();
        let output = freeboard_in("tests/dumps", &arguments);
        let script = text(&output).replace("\\\n", " ");
        let commands: Vec<&str> = script.lines().filter(|line| line.starts_with("gcloud")).collect();
        assert!(commands.len() >= 2, "{script}{}", String::from_utf8_lossy(&output.stderr));
        commands.iter().for_each(|command| hold_command(command));
        let others: Vec<&str> =
            script.lines().filter(|line| !line.starts_with(['#', 'g']) && !line.is_empty()).collect();
        assert_eq!(others, ["set -euo pipefail"], "{script}");
    }
}
