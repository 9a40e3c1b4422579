//! What an instance type allows, and how many addresses a node with so many pods needs and holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Addresses of a prefix that EC2 gives to an interface.
pub const PREFIX_ADDRESSES: u64 = 16;
/// Pods that EKS counts beside those with addresses of their own: the agent and kube-proxy, on the node's network.
pub const HOST_PODS: u64 = 2;

/// The limits of one instance type, on the network card that pods use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TypeLimits {
    /// Interfaces.
    pub interfaces: u64,
    /// Addresses per interface, its primary one included; a prefix counts as one.
    pub addresses_per_interface: u64,
    /// Virtual processors; none where the table does not say.
    pub processors: Option<u64>,
    /// Whether interfaces can carry prefixes.
    pub prefixes_supported: bool,
}

/// The limits of every known instance type, by name.
pub type TypeTable = BTreeMap<String, TypeLimits>;

impl TypeLimits {
    /// Addresses or prefixes that pods can have on one interface.
    #[must_use]
    pub fn slots_per_interface(self) -> u64 {
        self.addresses_per_interface.saturating_sub(1)
    }

    /// Interfaces on which pods can have addresses: with custom networking all but the first.
    #[must_use]
    pub fn pod_interfaces(self, custom_networking: bool) -> u64 {
        self.interfaces.saturating_sub(u64::from(custom_networking))
    }

    /// Max-pods by the rule of EKS; none where the type cannot do it. With prefixes it is capped as EKS caps it: 110, or 250 with
    /// more than 30 processors.
    #[must_use]
    pub fn max_pods(self, prefixes: bool, custom_networking: bool) -> Option<u64> {
        if prefixes && !self.prefixes_supported {
            return None;
        }
        let slots = self.pod_interfaces(custom_networking) * self.slots_per_interface();
        if !prefixes {
            return Some(slots + HOST_PODS);
        }
        // Where the processors are not known, the smaller cap is the safe one.
        let cap = if self.processors.is_some_and(|processors| processors > 30) { 250 } else { 110 };
        Some((slots * PREFIX_ADDRESSES + HOST_PODS).min(cap))
    }
}

/// What a node keeps ready for pods to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Warm {
    /// Whole interfaces (`WARM_ENI_TARGET`).
    Interfaces(u64),
    /// Single addresses (`WARM_IP_TARGET`, `MINIMUM_IP_TARGET`).
    Addresses {
        /// Free ones.
        warm: u64,
        /// In all, free or not.
        minimum: u64,
    },
    /// Prefixes (`WARM_PREFIX_TARGET`).
    Prefixes(u64),
}

/// How a node takes addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeShape {
    /// The limits of its type.
    pub limits: TypeLimits,
    /// Whether it takes prefixes.
    pub prefixes: bool,
    /// Whether its first interface carries no pods.
    pub custom_networking: bool,
    /// What it keeps ready.
    pub warm: Warm,
    /// Pods with an address of their own that it can have, by its kubelet and its type.
    pub most_pods: u64,
}

impl NodeShape {
    /// A node of a type; `pods_allowed` is what its kubelet accepts, where that is known.
    #[must_use]
    pub fn new(
        limits: TypeLimits,
        prefixes: bool,
        custom_networking: bool,
        warm: Warm,
        pods_allowed: Option<u64>,
    ) -> Self {
        let prefixes = prefixes && limits.prefixes_supported;
        let by_type = limits.max_pods(prefixes, custom_networking).unwrap_or(HOST_PODS);
        let most_pods = pods_allowed.unwrap_or(by_type).min(by_type).saturating_sub(HOST_PODS);
        Self { limits, prefixes, custom_networking, warm, most_pods }
    }

    /// Addresses in the pods' subnets that so many pods need, those of the interfaces themselves included.
    #[must_use]
    pub fn needs(self, pods: u64) -> u64 {
        let units = self.units(pods);
        self.addresses(units, self.interfaces_for(units))
    }

    /// Addresses in the pods' subnets that a node with so many pods holds once its agent has what it wants to keep ready.
    #[must_use]
    pub fn holds(self, pods: u64) -> u64 {
        let slots = self.limits.slots_per_interface().max(1);
        let most_interfaces = self.limits.pod_interfaces(self.custom_networking);
        let most_units = most_interfaces * slots;
        let units = match self.warm {
            Warm::Addresses { warm, minimum } => self.units((pods + warm).max(minimum)),
            Warm::Prefixes(warm) => self.units(pods) + warm,
            // With prefixes an agent grows by prefixes; a warm interface is then one that is there and may be empty.
            Warm::Interfaces(_) if self.prefixes => self.units(pods) + 1,
            Warm::Interfaces(warm) => {
                let interfaces = (self.units(pods).div_ceil(slots) + warm).max(self.first()).min(most_interfaces);
                return self.addresses(interfaces * slots, interfaces);
            }
        };
        let units = units.min(most_units);
        self.addresses(units, self.interfaces_for(units))
    }

    fn units(self, pods: u64) -> u64 {
        if self.prefixes { pods.div_ceil(PREFIX_ADDRESSES) } else { pods }
    }

    fn interfaces_for(self, units: u64) -> u64 {
        units.div_ceil(self.limits.slots_per_interface().max(1)).max(self.first())
    }

    /// The first interface is there without any pod, and in a subnet for pods unless there is custom networking.
    fn first(self) -> u64 {
        u64::from(!self.custom_networking)
    }

    fn addresses(self, units: u64, interfaces: u64) -> u64 {
        units * if self.prefixes { PREFIX_ADDRESSES } else { 1 } + interfaces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(interfaces: u64, addresses_per_interface: u64) -> TypeLimits {
        TypeLimits { interfaces, addresses_per_interface, processors: Some(2), prefixes_supported: true }
    }

    fn shape(limits: TypeLimits, custom_networking: bool, warm: Warm) -> NodeShape {
        NodeShape::new(limits, false, custom_networking, warm, None)
    }

    #[test]
    fn a_grown_node_holds_what_the_demo_saw() {
        let small = shape(limits(3, 4), false, Warm::Interfaces(1));
        // With one to three pods two interfaces of four addresses; grown, all three.
        assert_eq!([1, 3, 4, 9].map(|pods| small.holds(pods)), [8, 8, 12, 12]);
        let medium = shape(limits(3, 6), false, Warm::Interfaces(1));
        assert_eq!([0, 5, 6, 15].map(|pods| medium.holds(pods)), [6, 12, 18, 18]);
        assert_eq!([0, 1, 5, 6, 15].map(|pods| medium.needs(pods)), [1, 2, 6, 8, 18]);
    }

    #[test]
    fn custom_networking_keeps_pods_off_the_first_interface() {
        let medium = shape(limits(3, 6), true, Warm::Addresses { warm: 1, minimum: 0 });
        assert_eq!(medium.most_pods, 10);
        assert_eq!([0, 1, 5, 6, 10].map(|pods| medium.needs(pods)), [0, 2, 6, 8, 12]);
        assert_eq!([0, 1, 5, 10].map(|pods| medium.holds(pods)), [2, 3, 8, 12]);
    }

    #[test]
    fn prefixes_come_in_sixteens() {
        let large = NodeShape::new(limits(3, 10), true, false, Warm::Prefixes(1), None);
        assert_eq!(large.most_pods, 108);
        assert_eq!([0, 1, 16, 17].map(|pods| large.needs(pods)), [1, 17, 17, 33]);
        assert_eq!([0, 16, 17].map(|pods| large.holds(pods)), [17, 33, 49]);
    }
}
