//! The calls of container v1: clusters, node pools, operations.

use freeboard_gcp::{
    ApiError, Autoscaling, Cluster, ClusterKey, ClusterName, ClusterUpdate, CreateCluster, CreatePool, GoogleCloud,
    Location, MaxPods, NodePool, Overprovision, PodRangeRequest, PoolKey, PoolName, RangeName, RangeSize, Scope,
    SubnetworkKey, SubnetworkName, Zone, parse_range,
};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::compute::last_part;
use super::handler::Call;
use super::server::GoogleServer;
use super::{body, encode};

/// Stands for all locations in a list.
const ANYWHERE: &str = "-";
/// The machine type of a pool that says nothing.
const USUAL_MACHINE: &str = "e2-medium";

/// Answers a call.
pub(crate) fn answer(server: &GoogleServer, call: &Call) -> Result<Value, ApiError> {
    let parts = call.parts();
    let ["projects", project, "locations", location, rest @ ..] = parts.as_slice() else {
        return Err(call.no_such_path());
    };
    server.with_cloud(|cloud, now| {
        if *project != cloud.project().as_str() {
            return Err(ApiError::container_not_found(&format!("projects/{project}")));
        }
        let location = Location::new(*location);
        let cluster = |name: &str| ClusterKey::new(location.clone(), ClusterName::new(name));
        match rest {
            ["clusters"] => clusters(cloud, call, &location, now),
            ["clusters", name] => one_cluster(cloud, call, &cluster(name), now),
            ["clusters", name, "nodePools"] => node_pools(cloud, call, &cluster(name), now),
            ["clusters", name, "nodePools", pool] => {
                let (pool, verb) = pool.split_once(':').map_or((*pool, None), |(pool, verb)| (pool, Some(verb)));
                one_pool(cloud, call, &PoolKey::new(cluster(name), PoolName::new(pool)), verb, now)
            }
            ["operations", rest @ ..] if call.method == Method::GET => operations(cloud, call, &location, rest, now),
            ["operations", ..] => Err(call.wrong_method()),
            _ => Err(call.no_such_path()),
        }
    })
}

fn clusters(cloud: &mut GoogleCloud, call: &Call, location: &Location, now: Timestamp) -> Result<Value, ApiError> {
    match call.method {
        Method::GET => {
            let here = |cluster: &&Cluster| location.as_str() == ANYWHERE || cluster.key.location == *location;
            let found = cloud.clusters().filter(here).map(|cluster| encode::cluster(cloud, cluster, now));
            Ok(json!({ "clusters": found.collect::<Vec<_>>() }))
        }
        Method::POST => {
            let body: body::CreateCluster = call.body()?;
            create_cluster(cloud, &body.cluster, location, now)
        }
        _ => Err(call.wrong_method()),
    }
}

/// Makes a cluster and its pools, or nothing.
fn create_cluster(
    cloud: &mut GoogleCloud,
    body: &body::Cluster,
    location: &Location,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let policy = &body.ip_allocation_policy;
    let range = |field: &str, name: &str| {
        if name.is_empty() { Err(ApiError::required(field)) } else { Ok(RangeName::new(name)) }
    };
    let key = ClusterKey::new(location.clone(), ClusterName::new(body.name.as_str()));
    let services = Some(policy.services_secondary_range_name.as_str()).filter(|name| !name.is_empty());
    let request = CreateCluster {
        key: key.clone(),
        subnetwork: SubnetworkKey::new(location.region(), SubnetworkName::new(last_part(&body.subnetwork))),
        locations: body.locations.iter().map(|zone| Zone::new(zone.as_str())).collect(),
        pod_range: range("cluster.ipAllocationPolicy.clusterSecondaryRangeName", &policy.cluster_secondary_range_name)?,
        services_range: services.map(RangeName::new),
        default_max_pods: max_pods(body.default_max_pods_constraint.as_ref())?.unwrap_or(MaxPods::DEFAULT),
        overprovision: overprovision(policy.pod_cidr_overprovision_config.as_ref()).unwrap_or_default(),
        version: body.initial_cluster_version.clone(),
    };
    let mut changed = cloud.clone();
    let operation = changed.create_cluster(&request, now)?;
    // The pools come with the cluster: each waits for what is before it, and the cluster's operation stands for all.
    let mut ready = operation.ends;
    for pool in &body.node_pools {
        ready = changed.create_pool(&create_pool(pool, &key)?, ready)?.ends;
    }
    *cloud = changed;
    Ok(encode::container_operation(cloud, &operation, now))
}

fn one_cluster(cloud: &mut GoogleCloud, call: &Call, key: &ClusterKey, now: Timestamp) -> Result<Value, ApiError> {
    match call.method {
        Method::GET => Ok(encode::cluster(cloud, cloud.cluster(key)?, now)),
        Method::PUT => {
            let body: body::UpdateCluster = call.body()?;
            let (etag, update) = cluster_update(body.update)?;
            let operation = cloud.update_cluster(key, etag, &update, now)?;
            Ok(encode::container_operation(cloud, &operation, now))
        }
        _ => Err(call.wrong_method()),
    }
}

/// The one change of an update, and the version it is meant for.
fn cluster_update(mut update: serde_json::Map<String, Value>) -> Result<(Option<u64>, ClusterUpdate), ApiError> {
    let etag = match update.remove("etag") {
        Some(Value::String(text)) if !text.is_empty() => Some(encode::read_fingerprint("update.etag", &text)?.0),
        Some(_) | None => None,
    };
    let mut fields = update.into_iter();
    let (Some((field, value)), None) = (fields.next(), fields.next()) else {
        return Err(ApiError::invalid("Must specify exactly one field to update."));
    };
    let wrong = |error| ApiError::invalid_field(&format!("update.{field}"), &value, error);
    let read = || serde_json::from_value::<body::PodRangesConfig>(value.clone()).map_err(wrong);
    let names = |config: body::PodRangesConfig| config.pod_range_names.into_iter().map(RangeName::new).collect();
    match field.as_str() {
        "additionalPodRangesConfig" => Ok((etag, ClusterUpdate::AddPodRanges(names(read()?)))),
        "removedAdditionalPodRangesConfig" => Ok((etag, ClusterUpdate::RemovePodRanges(names(read()?)))),
        _ => Err(ApiError::invalid(format!("The simulated cloud cannot update the field '{field}' of a cluster."))),
    }
}

fn node_pools(cloud: &mut GoogleCloud, call: &Call, key: &ClusterKey, now: Timestamp) -> Result<Value, ApiError> {
    match call.method {
        Method::GET => {
            let cluster = cloud.cluster(key)?;
            let pools = cluster.pools.values().map(|pool| encode::node_pool(cloud, cluster, pool, now));
            Ok(json!({ "nodePools": pools.collect::<Vec<_>>() }))
        }
        Method::POST => {
            let body: body::CreateNodePool = call.body()?;
            let operation = cloud.create_pool(&create_pool(&body.node_pool, key)?, now)?;
            Ok(encode::container_operation(cloud, &operation, now))
        }
        _ => Err(call.wrong_method()),
    }
}

fn one_pool(
    cloud: &mut GoogleCloud,
    call: &Call,
    key: &PoolKey,
    verb: Option<&str>,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let operation = match (verb, &call.method) {
        (None, &Method::GET) => {
            let pool: &NodePool = cloud.pool(key)?;
            return Ok(encode::node_pool(cloud, cloud.cluster(&key.cluster)?, pool, now));
        }
        (None, &Method::DELETE) => cloud.delete_pool(key, now)?,
        (None, &Method::PUT) => return Err(refuse_update(cloud, call, key)),
        (Some("setSize"), &Method::POST) => {
            let body: body::SetSize = call.body()?;
            // Zero is what a client that leaves out defaults means by nothing.
            let nodes = count("node_count", body.node_count.unwrap_or_default())?;
            cloud.set_pool_size(key, nodes, now)?
        }
        (None | Some("setSize"), _) => return Err(call.wrong_method()),
        (Some(_), _) => return Err(call.no_such_path()),
    };
    Ok(encode::container_operation(cloud, &operation, now))
}

/// A pool's range is for life, and nothing else of a pool can be updated here.
fn refuse_update(cloud: &GoogleCloud, call: &Call, key: &PoolKey) -> ApiError {
    let body: Result<body::UpdateNodePool, ApiError> = call.body();
    match (cloud.pool(key), body) {
        (Err(error), _) | (_, Err(error)) => error,
        (Ok(pool), Ok(body)) => match body.node_network_config {
            Some(config) if !config.pod_range.is_empty() || config.create_pod_range => ApiError::invalid(format!(
                "The pod range of node pool \"{}\" is \"{}\" and cannot be changed after creation.",
                key.name, pool.pod_range
            )),
            Some(_) | None => ApiError::invalid("The simulated cloud cannot update node pools."),
        },
    }
}

fn create_pool(body: &body::NodePool, cluster: &ClusterKey) -> Result<CreatePool, ApiError> {
    let network = &body.network_config;
    let bounds = body.autoscaling.as_ref().filter(|bounds| bounds.enabled);
    let autoscaling = bounds.map(|bounds| {
        Ok::<_, ApiError>(Autoscaling {
            min_node_count: count("node_pool.autoscaling.min_node_count", bounds.min_node_count)?,
            max_node_count: count("node_pool.autoscaling.max_node_count", bounds.max_node_count)?,
        })
    });
    let machine_type = if body.config.machine_type.is_empty() { USUAL_MACHINE } else { &body.config.machine_type };
    Ok(CreatePool {
        key: PoolKey::new(cluster.clone(), PoolName::new(body.name.as_str())),
        max_pods: max_pods(body.max_pods_constraint.as_ref())?,
        overprovision: overprovision(network.pod_cidr_overprovision_config.as_ref()),
        range: pod_range(network)?,
        initial_node_count: count("node_pool.initial_node_count", body.initial_node_count)?,
        autoscaling: autoscaling.transpose()?,
        locations: body.locations.iter().map(|zone| Zone::new(zone.as_str())).collect(),
        machine_type: machine_type.to_owned(),
        spot: body.config.spot,
        group_hash: None,
    })
}

/// Which of the three ways to a range the request goes.
fn pod_range(network: &body::NodeNetworkConfig) -> Result<PodRangeRequest, ApiError> {
    let (name, block) = (network.pod_range.as_str(), network.pod_ipv4_cidr_block.as_str());
    let field = "node_pool.network_config.pod_ipv4_cidr_block";
    if network.create_pod_range {
        let size = match block.strip_prefix('/') {
            Some(length) => RangeSize::Length(length.parse().ok().filter(|length| *length <= 32).ok_or_else(|| {
                ApiError::invalid_field(field, block, "Must be a CIDR address range, or a prefix length like /17.")
            })?),
            None if block.is_empty() => RangeSize::Usual,
            None => RangeSize::Block(parse_range(field, block)?),
        };
        let name = Some(name).filter(|name| !name.is_empty()).map(RangeName::new);
        return Ok(PodRangeRequest::New { name, size });
    }
    if !block.is_empty() {
        return Err(ApiError::invalid_field(field, block, "It can be given only with create_pod_range."));
    }
    Ok(if name.is_empty() { PodRangeRequest::ChosenByGke } else { PodRangeRequest::Existing(RangeName::new(name)) })
}

fn max_pods(constraint: Option<&body::MaxPodsConstraint>) -> Result<Option<MaxPods>, ApiError> {
    constraint.map(|constraint| MaxPods::new(constraint.max_pods_per_node.0)).transpose()
}

fn overprovision(config: Option<&body::OverprovisionConfig>) -> Option<Overprovision> {
    config.map(|config| if config.disable { Overprovision::None } else { Overprovision::Double })
}

fn count(field: &str, number: body::Integer) -> Result<u32, ApiError> {
    u32::try_from(number.0).map_err(|_| ApiError::invalid_field(field, number.0, "Must be a number of nodes."))
}

fn operations(
    cloud: &GoogleCloud,
    call: &Call,
    location: &Location,
    rest: &[&str],
    now: Timestamp,
) -> Result<Value, ApiError> {
    let scope = Scope::Location(location.clone());
    match rest {
        [] => {
            let found = cloud.operations_in(&scope).map(|one| encode::container_operation(cloud, one, now));
            Ok(json!({ "operations": found.collect::<Vec<_>>() }))
        }
        [name] => Ok(encode::container_operation(cloud, cloud.operation(&scope, name)?, now)),
        _ => Err(call.no_such_path()),
    }
}
