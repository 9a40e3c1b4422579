//! Node pools with their ranges, for gcloud and for Terraform's Google provider.

use std::fmt::Write;

use freeboard_address::{Cidr, RangeName};

use super::{hcl, identifier, word};
use crate::NodePool;

/// A secondary range that is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRange {
    /// Its name.
    pub name: RangeName,
    /// Its addresses.
    pub cidr: Cidr,
}

/// A node pool and the range that it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedPool {
    /// The pool.
    pub pool: NodePool,
    /// The range.
    pub range: RangeName,
}

/// Ranges to add and pools to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GooglePlan {
    /// The cluster.
    pub cluster: Option<String>,
    /// Its zone or region.
    pub location: Option<String>,
    /// Its subnet.
    pub subnet: Option<String>,
    /// The subnet's region.
    pub region: Option<String>,
    /// Ranges to add to the subnet.
    pub new_ranges: Vec<NewRange>,
    /// Ranges that the cluster is to know of beside those that it has.
    pub cluster_ranges: Vec<RangeName>,
    /// Pools to make.
    pub pools: Vec<PlacedPool>,
}

/// Commands for gcloud, in the order in which Google takes them: ranges, cluster, pools.
#[must_use]
pub fn gcloud(plan: &GooglePlan) -> String {
    let or = |name: &Option<String>, missing: &str| word(name.as_deref().unwrap_or(missing));
    let (cluster, location) = (or(&plan.cluster, "<cluster>"), or(&plan.location, "<location>"));
    let mut text = String::from(
        "#!/usr/bin/env bash\n# Made by `freeboard plan`. Read it before you run it: it stops at the first refusal and undoes nothing.\n\
         set -euo pipefail\n",
    );
    if !plan.new_ranges.is_empty() {
        let ranges: Vec<String> =
            plan.new_ranges.iter().map(|range| format!("{}={}", range.name, range.cidr)).collect();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n# Secondary ranges cannot be widened: more room is always another range.\n\
             gcloud compute networks subnets update {} --region {} \\\n  --add-secondary-ranges={}\n",
            or(&plan.subnet, "<subnet>"),
            or(&plan.region, "<region>"),
            word(&ranges.join(","))
        );
    }
    if !plan.cluster_ranges.is_empty() {
        let names: Vec<&str> = plan.cluster_ranges.iter().map(RangeName::as_str).collect();
        let _ = write!(
            text,
            "gcloud container clusters update {cluster} --location {location} \\\n  --additional-pod-ipv4-ranges={}\n",
            word(&names.join(","))
        );
    }
    if !plan.pools.is_empty() {
        text.push_str("\n# Each pool on its range, for life.\n");
    }
    for PlacedPool { pool, range } in &plan.pools {
        let _ = write!(
            text,
            "gcloud container node-pools create {} --cluster {cluster} --location {location} \\\n  --pod-ipv4-range={} \
             --max-pods-per-node={} \\\n  --enable-autoscaling --total-min-nodes=0 --total-max-nodes={} --num-nodes=0\n",
            word(pool.name.as_str()),
            word(range.as_str()),
            pool.max_pods,
            pool.max_nodes
        );
    }
    text
}

/// The pools as Terraform resources. The subnet's ranges belong to the resource of the subnet, which Terraform must not have twice.
#[must_use]
pub fn terraform_google(plan: &GooglePlan) -> String {
    let mut text = String::from("# Made by `freeboard plan`.\n");
    if !plan.new_ranges.is_empty() {
        text.push_str("\n# In the google_compute_subnetwork of the cluster:\n");
    }
    for range in &plan.new_ranges {
        let _ = write!(
            text,
            "#   secondary_ip_range {{\n#     range_name    = {}\n#     ip_cidr_range = \"{}\"\n#   }}\n",
            hcl(range.name.as_str()),
            range.cidr
        );
    }
    for PlacedPool { pool, range } in &plan.pools {
        let _ = write!(
            text,
            "\nresource \"google_container_node_pool\" \"{}\" {{\n  name              = {}\n  cluster           = {}\n  location          = {}\n  \
             initial_node_count = 0\n  max_pods_per_node = {}\n\n  autoscaling {{\n    total_min_node_count = 0\n    total_max_node_count = {}\n  }}\n\n  \
             network_config {{\n    pod_range = {}\n  }}\n}}\n",
            identifier(pool.name.as_str()),
            hcl(pool.name.as_str()),
            hcl(plan.cluster.as_deref().unwrap_or("<cluster>")),
            hcl(plan.location.as_deref().unwrap_or("<location>")),
            pool.max_pods,
            pool.max_nodes,
            hcl(range.as_str())
        );
    }
    text
}
