//! Who holds each address of a subnet, put together from interfaces, agents, nodes and pods.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, InstanceId, NodeName};
use freeboard_capacity::{Holding, Node, Use};
use freeboard_diagnosis::{Facts, Interface};

/// What is known of single addresses.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    addresses: BTreeMap<u32, Holding>,
}

impl Holdings {
    /// Reads the facts. Later sources know better: the cloud knows the interfaces, the agent what each address is for, Kubernetes
    /// who the pod is.
    pub(super) fn of(facts: &Facts, nodes: &BTreeMap<NodeName, Node>) -> Self {
        let mut holdings = Self::default();
        let by_instance = nodes_by_instance(facts, nodes);
        for (id, interface) in &facts.interfaces {
            holdings.interface(id, interface, &by_instance);
        }
        holdings.introspections(facts, &by_instance);
        let of_nodes = super::addresses_of_nodes(facts);
        for (key, pod) in facts.pods.iter().filter(|(_, pod)| super::has_own_address(pod, &of_nodes)) {
            if let Some(address) = pod.address {
                let node = pod.node.clone();
                holdings.put(address, Use::Pod, None, node, Some(key.to_string()));
            }
        }
        for node in nodes.values() {
            if let Some(address) = node.address {
                holdings.put(address, Use::Node, None, Some(node.name.clone()), None);
            }
        }
        holdings
    }

    fn interface(&mut self, id: &EniId, interface: &Interface, nodes: &BTreeMap<&InstanceId, &NodeName>) {
        let node = interface.instance.as_ref().and_then(|instance| nodes.get(instance)).copied();
        let is_ours = node.is_some() || interface.made_by_cni;
        let holder = (!interface.description.is_empty()).then(|| interface.description.clone());
        let put = |holdings: &mut Self, address, used_for| {
            holdings.put(address, used_for, Some(id.clone()), node.cloned(), holder.clone());
        };
        if let Some(address) = interface.primary {
            put(self, address, if is_ours { Use::Node } else { Use::Foreign });
        }
        for address in interface.secondary.iter().flat_map(|block| block.addresses()) {
            put(self, address, if is_ours { Use::Warm } else { Use::Foreign });
        }
    }

    fn introspections(&mut self, facts: &Facts, nodes: &BTreeMap<&InstanceId, &NodeName>) {
        for (id, shown) in facts.introspections.iter().flat_map(|one| one.interfaces.iter()) {
            let instance = facts.interfaces.get(id).and_then(|known| known.instance.as_ref());
            let node = instance.and_then(|instance| nodes.get(instance)).map(|node| (*node).clone());
            for address in shown.blocks.iter().flat_map(|block| block.addresses()) {
                self.put(address, Use::Warm, Some(id.clone()), node.clone(), None);
            }
            for one in &shown.addresses {
                let (used_for, holder) = match (&one.pod, one.released) {
                    (Some(pod), _) => (Use::Pod, Some(pod.to_string())),
                    (None, Some(_)) => (Use::Cooling, None),
                    (None, None) => (Use::Warm, None),
                };
                self.put(one.address, used_for, Some(id.clone()), node.clone(), holder);
            }
        }
    }

    /// Notes what an address is for; an interface or node that an earlier source named is kept.
    fn put(
        &mut self,
        address: Ipv4Addr,
        used_for: Use,
        interface: Option<EniId>,
        node: Option<NodeName>,
        holder: Option<String>,
    ) {
        let old = self.addresses.remove(&u32::from(address));
        let (old_interface, old_node) = old.map_or((None, None), |old| (old.interface, old.node));
        let interface = interface.or(old_interface);
        let node = node.or(old_node);
        self.addresses
            .insert(u32::from(address), Holding { block: Cidr::host(address), used_for, interface, node, holder });
    }

    /// What is held in a subnet, the addresses that the cloud reserves included, in address order.
    pub(super) fn in_block(&self, subnet: Cidr) -> Vec<Holding> {
        let (first, last) = (u32::from(subnet.network()), u32::from(subnet.last()));
        let reserved = (0..4).filter_map(|index| subnet.nth(index)).chain([subnet.last()]);
        let of_cloud = reserved.map(|address| Holding {
            block: Cidr::host(address),
            used_for: Use::Reserved,
            interface: None,
            node: None,
            holder: None,
        });
        let mut held: Vec<Holding> =
            of_cloud.chain(self.addresses.range(first..=last).map(|(_, one)| one.clone())).collect();
        held.sort_by_key(|one| one.block);
        held.dedup_by_key(|one| one.block);
        held
    }
}

fn nodes_by_instance<'a>(
    facts: &'a Facts,
    nodes: &'a BTreeMap<NodeName, Node>,
) -> BTreeMap<&'a InstanceId, &'a NodeName> {
    let by_address: BTreeMap<Ipv4Addr, &NodeName> =
        nodes.values().filter_map(|node| Some((node.address?, &node.name))).collect();
    let said = facts.nodes.iter().filter_map(|(name, node)| Some((node.instance.as_ref()?, name)));
    let of_instances = facts.instances.iter().filter_map(|(id, one)| Some((id, *by_address.get(&one.address?)?)));
    let of_interfaces =
        facts.interfaces.values().filter_map(|one| Some((one.instance.as_ref()?, *by_address.get(&one.primary?)?)));
    of_interfaces.chain(of_instances).chain(said).collect()
}
