//! The cloud of a scenario.

use freeboard_address::{EniId, InstanceId, SubnetId, VpcId};
use freeboard_pool::NodeFacts;
use freeboard_vpc::{
    Behaviour, Cloud, Fault, InstanceType, Quotas, Throttling, Timing, UpcomingIds, World, WorldInstance,
    WorldInterface, WorldMetadataOptions, WorldSubnet, WorldVpc, WorldZone,
};
use jiff::Timestamp;

use crate::scenario::{Scenario, SubnetSettings};
use crate::scenario_check::ScenarioError;

pub(crate) const ZONE: &str = "ap-southeast-2a";
pub(crate) const VPC: &str = "vpc-00000000000000001";

/// The id of the subnet at this place of the scenario's list.
pub(crate) fn subnet_id(index: usize) -> SubnetId {
    SubnetId::new(format!("subnet-{:017x}", index + 1))
}

/// The instance of the node with this number.
pub(crate) fn instance_id(node: usize) -> InstanceId {
    InstanceId::new(format!("i-{:017x}", node + 1))
}

/// The cloud at the start, its links not made yet.
pub(crate) fn cloud(scenario: &Scenario, seed: u64, now: Timestamp) -> Result<Cloud, ScenarioError> {
    let refused = |error: &dyn std::fmt::Display| ScenarioError::World { reason: error.to_string() };
    let mut cloud = Cloud::from_world(&world(scenario, seed), now).map_err(|error| refused(&error))?;
    for (index, subnet) in scenario.world.subnets.iter().enumerate().filter(|(_, subnet)| subnet.taken_by_others > 0) {
        let take = Some(subnet.taken_by_others);
        let fault = Fault::FillSubnet { subnet: subnet_id(index), take, leave_free: None };
        cloud.inject(&fault, now).map_err(|error| refused(&error))?;
    }
    Ok(cloud)
}

fn world(scenario: &Scenario, seed: u64) -> World {
    let settings = &scenario.world;
    let subnets = settings.subnets.iter().enumerate().map(|(index, subnet)| WorldSubnet {
        id: subnet_id(index),
        cidr: subnet.cidr,
        zone: ZONE.to_owned(),
        name: None,
        tags: subnet.tags.clone(),
        map_public_ip_on_launch: false,
        reservations: Vec::new(),
    });
    let vpc = WorldVpc {
        id: VpcId::new(VPC),
        cidr: settings.vpc_cidr,
        name: None,
        tags: std::collections::BTreeMap::new(),
        secondary_cidrs: settings.secondary_cidrs.clone(),
        internet_gateway: None,
        default_security_group: None,
        security_groups: Vec::new(),
        route_tables: Vec::new(),
        subnets: subnets.collect(),
    };
    World {
        region: "ap-southeast-2".to_owned(),
        account_id: "123456789012".to_owned(),
        seed,
        speed: 1.0,
        availability_zones: vec![WorldZone { name: ZONE.to_owned(), id: "apse2-az3".to_owned() }],
        timing: Timing {
            api_latency_milliseconds: settings.api_latency_milliseconds,
            attach_seconds: settings.attach_seconds,
            detach_seconds: settings.detach_seconds,
            ..Timing::default()
        },
        throttling: Throttling { enabled: settings.throttling, scale: settings.throttling_scale },
        quotas: Quotas { interfaces: 10_000_000, instances: 10_000_000, ..Quotas::default() },
        behaviour: Behaviour::default(),
        vpcs: vec![vpc],
        peerings: Vec::new(),
        instances: instances(scenario),
        interfaces: Vec::new(),
        upcoming_ids: UpcomingIds::default(),
        faults: Vec::new(),
    }
}

fn instances(scenario: &Scenario) -> Vec<WorldInstance> {
    let subnets = &scenario.world.subnets;
    let marked: Vec<usize> = indices(subnets, |subnet| subnet.nodes);
    let marked = if marked.is_empty() { vec![0] } else { marked };
    let homes = marked.into_iter().cycle();
    let count = usize::try_from(scenario.nodes.count).unwrap_or(usize::MAX);
    let instance = |(node, home): (usize, usize)| WorldInstance {
        id: instance_id(node),
        instance_type: scenario.nodes.instance_type.clone(),
        name: None,
        tags: std::collections::BTreeMap::new(),
        image: None,
        metadata_options: WorldMetadataOptions::default(),
        instance_profile: None,
        user_data: None,
        interfaces: vec![WorldInterface {
            id: Some(primary(node)),
            subnet: subnet_id(home),
            address: None,
            secondary_addresses: Vec::new(),
            secondary_address_count: 0,
            prefixes: Vec::new(),
            prefix_count: 0,
            device_index: None,
            network_card: None,
            description: String::new(),
            security_groups: Vec::new(),
            tags: std::collections::BTreeMap::new(),
            delete_on_termination: None,
            requester: None,
        }],
    };
    (0..count).zip(homes).map(instance).collect()
}

fn indices(subnets: &[SubnetSettings], which: impl Fn(&SubnetSettings) -> bool) -> Vec<usize> {
    subnets.iter().enumerate().filter(|(_, subnet)| which(subnet)).map(|(index, _)| index).collect()
}

/// The primary interface of the node with this number.
fn primary(node: usize) -> EniId {
    EniId::new(format!("eni-{:017x}", node + 1))
}

/// What does not change about a node.
pub(crate) fn facts(scenario: &Scenario, limits: &InstanceType, node: usize) -> NodeFacts {
    let subnets = &scenario.world.subnets;
    let marked = indices(subnets, |subnet| subnet.nodes);
    let home = if marked.is_empty() { 0 } else { marked.get(node % marked.len()).copied().unwrap_or(0) };
    let interfaces = limits.interfaces_per_network_card.first().copied().unwrap_or(limits.maximum_network_interfaces);
    let slots = interfaces * limits.ipv4_addresses_per_interface.saturating_sub(1);
    let by_rule = match scenario.pool.mode {
        freeboard_pool::AllocationMode::SecondaryAddresses => slots + 2,
        freeboard_pool::AllocationMode::Prefixes => {
            slots.saturating_mul(16).min(if limits.vcpus.is_some_and(|cpus| cpus > 30) { 250 } else { 110 })
        }
    };
    NodeFacts {
        instance: instance_id(node),
        instance_type: limits.instance_type.clone(),
        interface_limit: interfaces,
        addresses_per_interface: limits.ipv4_addresses_per_interface,
        prefixes_supported: limits.supports_prefixes(),
        max_pods: scenario.nodes.max_pods.unwrap_or(by_rule),
        vpc: VpcId::new(VPC),
        zone: ZONE.to_owned(),
        primary_interface: primary(node),
        primary_subnet: subnet_id(home),
    }
}
