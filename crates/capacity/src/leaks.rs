//! What is held and nothing uses: interfaces without an instance, addresses that no agent knows, pods that are gone.

use std::fmt;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, PodKey};
use serde::Serialize;

use crate::Inventory;

/// Something that is held and not used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leak {
    /// The interface that it is, or that it is on.
    pub interface: EniId,
    /// What it is.
    #[serde(flatten)]
    pub kind: LeakKind,
    /// Addresses that would be free again.
    pub addresses: u64,
}

/// What is leaked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LeakKind {
    /// An interface that an agent made and that is attached to nothing.
    UnattachedInterface {
        /// How the agent described it.
        description: String,
    },
    /// An address or prefix on a node's interface that the node's agent does not know.
    UnknownToAgent {
        /// Which.
        block: Cidr,
    },
    /// An address that an agent keeps for a pod which Kubernetes does not have.
    PodGone {
        /// The address.
        address: Ipv4Addr,
        /// The pod.
        pod: PodKey,
    },
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            LeakKind::UnattachedInterface { description } => {
                write!(f, "{} ({description}) is attached to no instance", self.interface)
            }
            LeakKind::UnknownToAgent { block } => {
                write!(f, "EC2 has {block} on {}, and the node's agent does not know it", self.interface)
            }
            LeakKind::PodGone { address, pod } => {
                write!(f, "the agent keeps {address} on {} for {pod}, which Kubernetes does not have", self.interface)
            }
        }
    }
}

/// What one look at a cluster shows as leaked. One look proves nothing: an agent makes an interface seconds before it attaches it,
/// and Kubernetes forgets a pod before the agent has heard of it.
#[must_use]
pub fn leaks(inventory: &Inventory) -> Vec<Leak> {
    let mut found = Vec::new();
    for one in &inventory.interfaces {
        let leak = |kind, addresses| Leak { interface: one.id.clone(), kind, addresses };
        if one.made_by_agent && !one.attached {
            let addresses = 1 + one.secondary.iter().map(|block| block.size()).sum::<u64>();
            found.push(leak(LeakKind::UnattachedInterface { description: one.description.clone() }, addresses));
            continue;
        }
        let Some(shown) = &one.shown else { continue };
        for block in &one.secondary {
            if !shown.blocks.iter().any(|known| known.overlaps(*block)) {
                found.push(leak(LeakKind::UnknownToAgent { block: *block }, block.size()));
            }
        }
        let Some(listed) = &inventory.listed_pods else { continue };
        for (address, pod) in shown.pods.iter().filter(|(_, pod)| !listed.contains(pod)) {
            found.push(leak(LeakKind::PodGone { address: *address, pod: pod.clone() }, 1));
        }
    }
    found.sort();
    found
}

/// What two looks, apart in time, both show.
#[must_use]
pub fn confirmed(first: &[Leak], second: &[Leak]) -> Vec<Leak> {
    second.iter().filter(|leak| first.contains(leak)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{Interface, ShownInterface};

    fn interface(id: &str, attached: bool, secondary: &[&str], shown: Option<ShownInterface>) -> Interface {
        Interface {
            id: EniId::new(id),
            description: format!("aws-K8S-{id}"),
            attached,
            made_by_agent: true,
            secondary: secondary.iter().map(|block| block.parse().unwrap()).collect(),
            shown,
        }
    }

    #[test]
    fn each_kind_is_found_and_what_is_used_is_not() {
        let pod = |name: &str| PodKey::new("test", name);
        let shown = ShownInterface {
            blocks: vec!["10.0.0.5/32".parse().unwrap(), "10.0.0.6/32".parse().unwrap()],
            pods: BTreeMap::from([
                ("10.0.0.5".parse().unwrap(), pod("lives")),
                ("10.0.0.6".parse().unwrap(), pod("gone")),
            ]),
        };
        let mut inventory = Inventory {
            interfaces: vec![
                interface("eni-1", false, &["10.0.0.64/28"], None),
                interface("eni-2", true, &["10.0.0.5/32", "10.0.0.6/32", "10.0.0.7/32"], Some(shown)),
                interface("eni-3", true, &["10.0.0.9/32"], None),
            ],
            listed_pods: Some(BTreeSet::from([pod("lives")])),
            ..Inventory::default()
        };
        let found: Vec<String> = leaks(&inventory).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "eni-1 (aws-K8S-eni-1) is attached to no instance",
                "EC2 has 10.0.0.7/32 on eni-2, and the node's agent does not know it",
                "the agent keeps 10.0.0.6 on eni-2 for test/gone, which Kubernetes does not have",
            ]
        );
        assert_eq!(leaks(&inventory).iter().map(|leak| leak.addresses).sum::<u64>(), 19);
        // Without a list of pods nothing is known of them.
        inventory.listed_pods = None;
        assert_eq!(leaks(&inventory).len(), 2);
    }

    #[test]
    fn only_what_two_looks_show_is_confirmed() {
        let look = |ids: &[&str]| {
            let interfaces = ids.iter().map(|id| interface(id, false, &[], None)).collect();
            leaks(&Inventory { interfaces, ..Inventory::default() })
        };
        let both = confirmed(&look(&["eni-1", "eni-2"]), &look(&["eni-2", "eni-3"]));
        assert_eq!(both.iter().map(|leak| leak.interface.as_str()).collect::<Vec<_>>(), ["eni-2"]);
    }
}
