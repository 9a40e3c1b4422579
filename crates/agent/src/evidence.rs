//! What the kernel itself says about pods: used when the checkpoint is lost, and against allocations that nothing speaks for.
//!
//! A host interface of a pod is named by a hash of the pod's name, and a route to the pod's address points at it. Both are
//! made by the plugin and gone with the pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, PodKey};
use freeboard_datapath::names;
use freeboard_pool::{Holding, RestoredAllocation};
use jiff::Timestamp;

/// The network name of keys made from the kernel's evidence; no CNI network is called so.
const REBUILT: &str = "_rebuilt-from-kernel";
/// Hexadecimal digits of the hash in an interface's name.
const HASH_DIGITS: usize = 11;

/// One host interface of a pod, with the address that is routed to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    /// The interface's name: a prefix and the pod's hash.
    pub link: String,
    /// The address routed to it, if any.
    pub address: Option<Ipv4Addr>,
}

/// The key under which an address is held when only the kernel is left to say that a pod has it.
#[must_use]
pub fn rebuilt_key(pod: &PodKey) -> AttachmentKey {
    rebuilt(&hash_of(pod))
}

fn rebuilt(hash: &str) -> AttachmentKey {
    AttachmentKey { network: REBUILT.to_owned(), container: hash.to_owned(), interface: "unknown".to_owned() }
}

fn hash_of(pod: &PodKey) -> String {
    names::host_interface("", pod)
}

/// The hash in an interface's name: its last eleven characters, when they are hexadecimal and something stands before them.
fn hash_in(link: &str) -> Option<&str> {
    let at = link.len().checked_sub(HASH_DIGITS).filter(|at| *at > 0)?;
    let hash = link.get(at..)?;
    hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)).then_some(hash)
}

/// The allocations that the kernel speaks for, in the order of their addresses; each address once.
#[must_use]
pub fn rebuild(witnesses: &[Witness], now: Timestamp) -> Vec<RestoredAllocation> {
    let by_address: BTreeMap<Ipv4Addr, &str> =
        witnesses.iter().filter_map(|witness| Some((witness.address?, hash_in(&witness.link)?))).collect();
    by_address
        .into_iter()
        .map(|(address, hash)| RestoredAllocation { key: rebuilt(hash), pod: None, address, since: now })
        .collect()
}

/// The allocations that nothing on the host speaks for: the pod's interface is gone, or another address is routed to it.
/// An allocation whose pod is unknown is never among them.
#[must_use]
pub fn without_witness(held: &[Holding], witnesses: &[Witness]) -> BTreeSet<AttachmentKey> {
    let mut routed: BTreeMap<&str, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for witness in witnesses {
        if let Some(hash) = hash_in(&witness.link) {
            routed.entry(hash).or_default().extend(witness.address);
        }
    }
    let unseen = |holding: &&Holding| {
        let hash = match &holding.pod {
            Some(pod) => hash_of(pod),
            None if holding.key.network == REBUILT => holding.key.container.clone(),
            None => return false,
        };
        // An interface without any route is a plugin at work.
        routed.get(hash.as_str()).is_none_or(|addresses| !addresses.is_empty() && !addresses.contains(&holding.address))
    };
    held.iter().filter(unseen).map(|holding| holding.key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn witness(link: &str, address: &str) -> Witness {
        Witness { link: link.to_owned(), address: address.parse().ok() }
    }

    fn holding(container: &str, pod: &str, address: &str) -> Holding {
        Holding {
            key: AttachmentKey { network: "aws-cni".into(), container: container.into(), interface: "eth0".into() },
            pod: pod.split_once('/').map(|(namespace, name)| PodKey::new(namespace, name)),
            address: address.parse().unwrap(),
            interface: None,
            device_index: None,
            since: now(),
        }
    }

    #[test]
    fn a_rebuilt_key_is_found_again_by_the_pods_name() {
        let witnesses =
            [witness("enicc21c2d7785", "10.0.0.9"), witness("eth0", "10.0.0.1"), witness("eniffffffffffg", "10.0.0.2")];
        let rebuilt = rebuild(&witnesses, now());
        assert_eq!(rebuilt.len(), 1);
        assert_eq!(rebuilt[0].key, rebuilt_key(&PodKey::new("default", "sample-pod")));
        assert_eq!(rebuilt[0].address.to_string(), "10.0.0.9");
    }

    #[test]
    fn an_address_that_is_routed_twice_is_rebuilt_once() {
        let witnesses = [witness("enicc21c2d7785", "10.0.0.9"), witness("enib5faff8a083", "10.0.0.9")];
        assert_eq!(rebuild(&witnesses, now()).len(), 1);
    }

    #[test]
    fn only_what_nothing_speaks_for_is_suspect() {
        let witnesses = [witness("vpcc21c2d7785", "10.0.0.9"), witness("enib5faff8a083", "")];
        let held = [
            holding("alive", "default/sample-pod", "10.0.0.9"),
            holding("earlier-sandbox", "default/sample-pod", "10.0.0.8"),
            holding("being-made", "kube-system/coredns-57ff979f67-qqbdh", "10.0.0.7"),
            holding("gone", "default/gone", "10.0.0.6"),
            holding("unknown-pod", "", "10.0.0.5"),
        ];
        let suspect = without_witness(&held, &witnesses);
        let names: Vec<&str> = suspect.iter().map(|key| key.container.as_str()).collect();
        assert_eq!(names, ["earlier-sandbox", "gone"]);
    }

    /// The rows of `normalizeCheckpoint…` and `validateAllocation…` (aws-vpc-cni §11.1): the pod `default/sample-pod`, whose host
    /// interface ends with `cc21c2d7785`.
    #[test]
    fn a_restored_allocation_is_kept_when_a_host_interface_speaks_for_it() {
        let valid = ("default/sample-pod", "10.0.0.9");
        for (what, (pod, address), links, kept) in [
            ("the usual prefix", valid, &[("enicc21c2d7785", "10.0.0.9")][..], true),
            ("any prefix", valid, &[("customcc21c2d7785", "10.0.0.9")], true),
            ("the hash without a prefix", valid, &[("cc21c2d7785", "10.0.0.9")], false),
            ("another pod's interface", valid, &[("enib5faff8a083", "10.0.0.9")], false),
            ("no interface at all", valid, &[], false),
            ("no metadata", ("", "10.0.0.9"), &[], true),
            // Theirs goes by the name alone, so an earlier sandbox of the same StatefulSet pod survives there (§3.7).
            ("the same pod's next sandbox", valid, &[("enicc21c2d7785", "10.0.0.8")], false),
            ("a plugin at work", valid, &[("enicc21c2d7785", "")], true),
        ] {
            let witnesses: Vec<_> = links.iter().map(|(link, address)| witness(link, address)).collect();
            let suspects = without_witness(&[holding("sandbox", pod, address)], &witnesses);
            assert_eq!(suspects.is_empty(), kept, "{what}");
        }
    }
}
