//! Custom networking: an ENIConfig object, and not the primary interface, says in which subnet and with which security groups
//! a node's interfaces for pods are made (aws-vpc-cni §5.1, §5.2).

use std::collections::BTreeMap;

use freeboard_address::{SecurityGroupId, SubnetId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::input::ObservedSubnet;
use crate::pool::Pool;
use crate::subnets::{Subnets, Verdict};

/// The node label that names an ENIConfig before every other (set by other systems than the Amazon VPC CNI).
const EXTERNAL_LABEL: &str = "vpc.amazonaws.com/externalEniConfig";
/// The ENIConfig of a node that names none.
const DEFAULT_NAME: &str = "default";

/// Where new interfaces for pods are made. Interfaces that are there already stay when this changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PodSubnets {
    /// In the primary interface's subnet, and with subnet discovery in others by their tags; with the primary one's groups.
    #[default]
    Discovered,
    /// Custom networking: where this ENIConfig says. The primary interface is kept for the node and takes no addresses for pods.
    Configured(EniConfig),
    /// Custom networking, but the ENIConfig is not there, or not known yet: nowhere.
    Missing {
        /// The name under which it is looked for.
        name: String,
    },
}

/// An ENIConfig object, as far as the pool goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniConfig {
    /// Its name.
    pub name: String,
    /// The subnet of new interfaces; it must lie in the node's zone.
    pub subnet: SubnetId,
    /// Their security groups; the primary interface's when empty.
    pub groups: Vec<SecurityGroupId>,
}

/// What a node says about its ENIConfig.
#[derive(Clone, Copy, Debug)]
pub struct EniConfigChoice<'a> {
    /// The node's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The node's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// `ENI_CONFIG_ANNOTATION_DEF`: the annotation that names the ENIConfig.
    pub annotation_key: &'a str,
    /// `ENI_CONFIG_LABEL_DEF`: the label that names it when the annotation does not.
    pub label_key: &'a str,
}

impl<'a> EniConfigChoice<'a> {
    /// The name of the node's ENIConfig. An empty value names none.
    #[must_use]
    pub fn name(&self) -> &'a str {
        let candidates = [
            self.labels.get(EXTERNAL_LABEL),
            self.annotations.get(self.annotation_key),
            self.labels.get(self.label_key),
        ];
        candidates.into_iter().flatten().map(String::as_str).find(|name| !name.is_empty()).unwrap_or(DEFAULT_NAME)
    }

    /// Where the node's interfaces for pods are made, given the ENIConfig objects of the cluster.
    #[must_use]
    pub fn among(&self, configs: &[EniConfig]) -> PodSubnets {
        let name = self.name();
        match configs.iter().find(|config| config.name == name) {
            Some(config) => PodSubnets::Configured(config.clone()),
            None => PodSubnets::Missing { name: name.to_owned() },
        }
    }
}

impl Pool {
    /// Where new interfaces for pods are made from now on.
    pub fn handle_pod_subnets(&mut self, pod_subnets: PodSubnets, now: Timestamp) {
        let now = self.begin(now);
        if self.pod_subnets != pod_subnets {
            let why = match &pod_subnets {
                PodSubnets::Discovered => "custom networking is off".to_owned(),
                PodSubnets::Configured(config) => format!("ENIConfig {:?} says so", config.name),
                PodSubnets::Missing { name } => format!("eniconfig is not available: there is none named {name:?}"),
            };
            let what = match &pod_subnets {
                PodSubnets::Discovered => "make new interfaces in the subnets that tags allow".to_owned(),
                PodSubnets::Configured(config) => {
                    format!("make new interfaces in {}", self.subnet_name(&config.subnet))
                }
                PodSubnets::Missing { .. } => "make no new interface".to_owned(),
            };
            self.decide(what, why);
            self.pod_subnets = pod_subnets;
        }
        self.advance(now);
    }

    /// Whether the primary interface is kept for the node: it takes no more addresses for pods.
    pub(crate) fn is_primary_reserved(&self) -> bool {
        self.pod_subnets != PodSubnets::Discovered
    }

    /// The security groups of new interfaces; empty is "the primary interface's".
    pub(crate) fn groups(&self) -> Vec<SecurityGroupId> {
        match &self.pod_subnets {
            PodSubnets::Configured(config) => config.groups.clone(),
            PodSubnets::Discovered | PodSubnets::Missing { .. } => Vec::new(),
        }
    }

    /// The subnets in which new interfaces may be made, best first.
    pub(crate) fn candidates(&self) -> Vec<SubnetId> {
        match &self.pod_subnets {
            PodSubnets::Discovered => self.subnets.candidates(&self.settings, &self.facts),
            // Before the subnets could be read the object's word counts.
            PodSubnets::Configured(config)
                if self.subnets.looked_at.is_none() || self.subnets.get(&config.subnet).is_some() =>
            {
                vec![config.subnet.clone()]
            }
            PodSubnets::Configured(_) | PodSubnets::Missing { .. } => Vec::new(),
        }
    }

    /// Whether new interfaces for pods may be made in a subnet, and why.
    pub(crate) fn judge(&self, subnet: &ObservedSubnet) -> Verdict {
        match &self.pod_subnets {
            PodSubnets::Discovered => Subnets::judge(subnet, &self.settings, &self.facts),
            PodSubnets::Configured(config) if config.subnet == subnet.id => {
                Verdict { allowed: true, reason: "the subnet of the node's ENIConfig" }
            }
            PodSubnets::Configured(_) => {
                Verdict { allowed: false, reason: "not used for pods: the node's ENIConfig names another subnet" }
            }
            PodSubnets::Missing { .. } => {
                Verdict { allowed: false, reason: "not used for pods: the node's ENIConfig is not available" }
            }
        }
    }
}
