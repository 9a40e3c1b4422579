//! Facts as the inventory that the capacity engine works on: status, plan, leaks and the dashboard start here.

mod google;
mod holdings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use freeboard_address::{EniId, InstanceId, NodeName, PodKey, RouteTableId, SubnetId};
use freeboard_capacity::{AgentSettings, Interface, Inventory, Node, Peer, ShownInterface, Subnet, Vpc, Warm};
use freeboard_diagnosis::{Facts, Kind, Lead, Pod, address_in_name};

use holdings::Holdings;

/// Everything that the facts tell of the cluster's network.
#[must_use]
pub fn inventory(facts: &Facts) -> Inventory {
    let nodes = nodes(facts);
    let holdings = Holdings::of(facts, &nodes);
    let subnets = facts.subnets.iter().map(|(id, known)| subnet(facts, &holdings, id, known)).collect();
    let zone = facts.subnets.values().find_map(|subnet| subnet.zone.as_deref());
    let cluster = facts.eks_clusters.keys().next().cloned();
    let of_instances = || facts.instances.values().find_map(|instance| instance.cluster.clone());
    let mut inventory = Inventory {
        cluster: cluster.or_else(of_instances).or_else(|| facts.google_clusters.keys().next().cloned()),
        region: zone.map(|zone| zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase()).to_owned()),
        vpcs: vpcs(facts),
        subnets,
        nodes: nodes.into_values().collect(),
        agent: agent(facts),
        service_range: facts.eks_clusters.values().find_map(|cluster| cluster.service_range),
        security_groups: facts.eks_clusters.values().filter_map(|cluster| cluster.security_group.clone()).collect(),
        interfaces: facts.interfaces.iter().map(|(id, known)| interface(facts, id, known)).collect(),
        listed_pods: facts.has(&[Kind::Pods]).then(|| facts.pods.keys().cloned().collect()),
        waiting: waiting(facts).into_iter().collect(),
        ..Inventory::default()
    };
    google::add(facts, &mut inventory);
    inventory
}

/// The nodes as Kubernetes knows them, filled in from their instances; without any, the running instances of a cluster.
fn nodes(facts: &Facts) -> BTreeMap<NodeName, Node> {
    let mut nodes: BTreeMap<NodeName, Node> = BTreeMap::new();
    let counts = pods_by_node(facts);
    for (name, known) in &facts.nodes {
        let instance = known.instance.as_ref().and_then(|id| facts.instances.get(id));
        let address = known.address.or_else(|| instance?.address).or_else(|| address_in_name(name));
        let of_log = || facts.logs.values().filter(|log| log.node.as_ref() == Some(name) || log.address == address);
        let logged_type = || of_log().find_map(|log| log.instance_type.clone());
        let node = Node {
            name: name.clone(),
            instance_type: known.instance_type.clone().or_else(|| instance?.instance_type.clone()).or_else(logged_type),
            zone: known.zone.clone().or_else(|| instance?.zone.clone()),
            address,
            pool: known.pool.as_deref().map(freeboard_address::NodePoolName::new),
            pods_allowed: known.pods_allowed,
            pods: counts.get(name).copied().unwrap_or(0),
            pod_blocks: known.pod_blocks.clone(),
            ready: known.ready,
        };
        nodes.insert(name.clone(), node);
    }
    // Nodes that nobody listed, but that pods are on or logs come from.
    let of_pods = facts.pods.values().filter_map(|pod| pod.node.as_ref());
    let of_logs = facts.logs.values().filter_map(|log| log.node.as_ref());
    for name in of_pods.chain(of_logs) {
        nodes.entry(name.clone()).or_insert_with(|| unlisted(facts, name, counts.get(name).copied()));
    }
    if nodes.is_empty() {
        let running = facts.instances.iter().filter(|(_, one)| one.state == "running" && one.cluster.is_some());
        for (id, instance) in running {
            let name = NodeName::new(instance.private_name.as_deref().unwrap_or(id.as_str()));
            let node = Node {
                name: name.clone(),
                instance_type: instance.instance_type.clone(),
                zone: instance.zone.clone(),
                address: instance.address,
                pool: None,
                pods_allowed: None,
                pods: pods_of_instance(facts, id).max(counts.get(&name).copied().unwrap_or(0)),
                pod_blocks: Vec::new(),
                ready: None,
            };
            nodes.insert(name, node);
        }
    }
    nodes
}

/// A node of which only its name is known, and what its log says of it.
fn unlisted(facts: &Facts, name: &NodeName, pods: Option<u64>) -> Node {
    let address = address_in_name(name);
    let is_its = |log: &&freeboard_diagnosis::Identity| {
        log.node.as_ref() == Some(name) || (address.is_some() && log.address == address)
    };
    let logs: Vec<_> = facts.logs.values().filter(is_its).collect();
    let logged = logs.iter().filter_map(|log| log.last_sample.as_ref()).map(|sample| sample.assigned).max();
    Node {
        name: name.clone(),
        instance_type: logs.iter().find_map(|log| log.instance_type.clone()),
        zone: logs.iter().find_map(|log| log.zone.clone()),
        address,
        pool: None,
        pods_allowed: None,
        pods: pods.or(logged).unwrap_or(0),
        pod_blocks: Vec::new(),
        ready: None,
    }
}

/// The nodes' own addresses.
fn addresses_of_nodes(facts: &Facts) -> BTreeSet<Ipv4Addr> {
    facts.nodes.values().filter_map(|node| node.address).collect()
}

/// Whether a pod has an address of its own, and not its node's.
fn has_own_address(pod: &Pod, of_nodes: &BTreeSet<Ipv4Addr>) -> bool {
    let Some(address) = pod.address else { return false };
    !matches!(pod.phase.as_str(), "Succeeded" | "Failed" | "Completed" | "Evicted" | "Error")
        && match pod.host_network {
            Some(host) => !host,
            None => !of_nodes.contains(&address),
        }
}

/// Pods with an address of their own on each node: as Kubernetes lists them, or else as the node's own agent counts.
fn pods_by_node(facts: &Facts) -> BTreeMap<NodeName, u64> {
    let mut counts: BTreeMap<NodeName, u64> = BTreeMap::new();
    let of_nodes = addresses_of_nodes(facts);
    for pod in facts.pods.values().filter(|pod| has_own_address(pod, &of_nodes)) {
        if let Some(node) = &pod.node {
            *counts.entry(node.clone()).or_default() += 1;
        }
    }
    for (name, node) in &facts.nodes {
        let of_agent = node.instance.as_ref().map_or(0, |instance| pods_of_instance(facts, instance));
        let of_log = facts
            .logs
            .values()
            .filter(|log| log.node.as_ref() == Some(name) || (log.address.is_some() && log.address == node.address))
            .filter_map(|log| log.last_sample.as_ref())
            .map(|sample| sample.assigned)
            .max()
            .unwrap_or(0);
        let count = counts.entry(name.clone()).or_default();
        *count = (*count).max(of_agent).max(of_log);
    }
    counts
}

/// Pods that the agent of an instance shows on its interfaces.
fn pods_of_instance(facts: &Facts, instance: &InstanceId) -> u64 {
    let is_here = |id| facts.interfaces.get(id).is_some_and(|one| one.instance.as_ref() == Some(instance));
    let shown = facts.introspections.iter().flat_map(|one| one.interfaces.iter()).filter(|(id, _)| is_here(*id));
    let held = shown.flat_map(|(_, interface)| &interface.addresses).filter(|address| address.pod.is_some());
    u64::try_from(held.count()).unwrap_or(u64::MAX)
}

fn vpcs(facts: &Facts) -> Vec<Vpc> {
    let one = |(id, known): (&freeboard_address::VpcId, &freeboard_diagnosis::Cited<freeboard_diagnosis::Vpc>)| {
        let peers = facts.peerings.iter().filter_map(|(peering, one)| {
            let (mine, other) = match (one.requester.vpc.as_ref() == Some(id), one.accepter.vpc.as_ref() == Some(id)) {
                (true, _) => (true, &one.accepter),
                (_, true) => (false, &one.requester),
                (false, false) => return None,
            };
            let pending = one.status == "pending-acceptance" && mine;
            (one.status == "active" || pending).then(|| Peer {
                peering: peering.clone(),
                blocks: other.blocks.clone(),
                pending,
            })
        });
        let routes = facts.route_tables.values().filter(|table| table.vpc.as_ref() == Some(id));
        let destinations: BTreeSet<_> = routes.flat_map(|table| table.destinations.iter().copied()).collect();
        Vpc {
            id: id.clone(),
            name: known.name.clone(),
            blocks: known
                .blocks
                .iter()
                .filter(|block| !matches!(block.state.as_deref(), Some("failed" | "failing")))
                .map(|block| block.cidr)
                .collect(),
            peers: peers.collect(),
            routes: destinations.into_iter().collect(),
        }
    };
    facts.vpcs.iter().map(one).collect()
}

fn subnet(facts: &Facts, holdings: &Holdings, id: &SubnetId, known: &freeboard_diagnosis::Subnet) -> Subnet {
    let held = holdings.in_block(known.cidr);
    let taken: u64 =
        held.iter().filter(|one| one.used_for != freeboard_capacity::Use::Reserved).map(|one| one.block.size()).sum();
    // Without a count of EC2's, what its interfaces hold is all that is taken.
    let by_interfaces = facts.has(&[Kind::Ec2Interfaces]).then(|| known.usable_addresses().saturating_sub(taken));
    let free_addresses = known.free_addresses.or(by_interfaces);
    let table = facts.route_tables.iter().find(|(_, table)| table.subnets.contains(id));
    Subnet {
        id: id.clone(),
        name: known.name.clone(),
        zone: known.zone.clone(),
        cidr: known.cidr,
        vpc: known.vpc.clone(),
        free_addresses,
        cni_role: known.cni_role.clone(),
        of_eni_config: facts.eni_configs.values().any(|config| config.subnet.as_ref() == Some(id)),
        route_table: table.map(|(id, _)| RouteTableId::new(id.as_str())),
        is_mapped: free_addresses.is_some_and(|free| free + taken == known.usable_addresses()),
        holdings: held,
    }
}

fn interface(facts: &Facts, id: &EniId, known: &freeboard_diagnosis::Interface) -> Interface {
    let shown = facts.introspections.iter().filter(|one| !one.truncated).find_map(|one| one.interfaces.get(id));
    let shown = shown.map(|shown| ShownInterface {
        blocks: shown.blocks.clone(),
        pods: shown.addresses.iter().filter_map(|one| Some((one.address, one.pod.clone()?))).collect(),
    });
    Interface {
        id: id.clone(),
        description: known.description.clone(),
        attached: known.instance.is_some() || known.status != "available",
        made_by_agent: known.made_by_cni,
        secondary: known.secondary.clone(),
        shown,
    }
}

/// The agent's settings, as its DaemonSet has them.
fn agent(facts: &Facts) -> AgentSettings {
    let usual = AgentSettings::default();
    let Some(agent) = facts.agents.first() else { return usual };
    let is_true = |name: &str| {
        let value = agent.environment.get(name).map(String::as_str).unwrap_or_default();
        matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "t")
    };
    let number = |name: &str| agent.environment.get(name).and_then(|value| value.parse::<u64>().ok());
    let prefixes = is_true("ENABLE_PREFIX_DELEGATION");
    let (warm, minimum) = (number("WARM_IP_TARGET").unwrap_or(0), number("MINIMUM_IP_TARGET").unwrap_or(0));
    let warm = if warm + minimum > 0 {
        Warm::Addresses { warm, minimum }
    } else if prefixes {
        Warm::Prefixes(number("WARM_PREFIX_TARGET").unwrap_or(1))
    } else {
        Warm::Interfaces(number("WARM_ENI_TARGET").unwrap_or(1))
    };
    AgentSettings { prefixes, custom_networking: is_true("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG"), warm }
}

/// Pods of which something says that they got no address, and nothing that they run.
fn waiting(facts: &Facts) -> BTreeSet<PodKey> {
    let failed = facts.sightings.iter().filter(|one| matches!(one.signal.lead, Lead::NoAddress));
    let named = failed.filter_map(|one| one.subject.pod.clone());
    named
        .filter(|pod| facts.pods.get(pod).is_none_or(|known| known.address.is_none() && known.phase != "Running"))
        .collect()
}
