//! Resources as the two APIs write them: camelCase keys, 64-bit numbers as texts, links in full.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use freeboard_gcp::{
    ApiError, Cluster, ExhaustedPlace, Fingerprint, GoogleCloud, Instance, InstanceGroup, Network, NodePool, Operation,
    OperationStatus, PoolKey, PoolStatus, Scope, Subnetwork,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Where compute's links begin.
const COMPUTE: &str = "https://www.googleapis.com/compute/v1";
/// Where container's links begin.
const CONTAINER: &str = "https://container.googleapis.com/v1";

/// A time as Google writes it: with milliseconds.
fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A fingerprint on the wire.
pub(crate) fn fingerprint(fingerprint: Fingerprint) -> String {
    BASE64_STANDARD.encode(fingerprint.0.to_be_bytes())
}

/// Reads a fingerprint.
///
/// # Errors
/// [`Status::InvalidArgument`](freeboard_gcp::Status::InvalidArgument) when the text is no eight bytes in base64.
pub(crate) fn read_fingerprint(field: &str, text: &str) -> Result<Fingerprint, ApiError> {
    let bytes = BASE64_STANDARD.decode(text).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    let wrong = || ApiError::invalid_field(field, text, "Must be a fingerprint that was read from the resource.");
    bytes.map(|bytes| Fingerprint(u64::from_be_bytes(bytes))).ok_or_else(wrong)
}

fn link(path: &str) -> String {
    format!("{COMPUTE}/{path}")
}

fn region_link(cloud: &GoogleCloud, region: impl std::fmt::Display) -> String {
    link(&format!("projects/{}/regions/{region}", cloud.project()))
}

fn zone_link(cloud: &GoogleCloud, zone: impl std::fmt::Display) -> String {
    link(&format!("projects/{}/zones/{zone}", cloud.project()))
}

/// A network.
pub(crate) fn network(cloud: &GoogleCloud, network: &Network) -> Value {
    let inside = cloud.subnetworks().filter(|subnetwork| subnetwork.network == network.name);
    json!({
        "kind": "compute#network",
        "id": network.id.to_string(),
        "creationTimestamp": time(network.created),
        "name": network.name.as_str(),
        "autoCreateSubnetworks": false,
        "routingConfig": { "routingMode": "REGIONAL" },
        "subnetworks": inside.map(|subnetwork| link(&subnetwork.key.path(cloud.project()))).collect::<Vec<_>>(),
        "selfLink": link(&cloud.network_path(&network.name)),
    })
}

/// A subnetwork, as compute answers; with how full its ranges are when `with_utilization`.
#[must_use]
pub fn subnetwork(cloud: &GoogleCloud, subnetwork: &Subnetwork, with_utilization: bool) -> Value {
    let ranges = subnetwork.secondary.iter();
    let mut value = json!({
        "kind": "compute#subnetwork",
        "id": subnetwork.id.to_string(),
        "creationTimestamp": time(subnetwork.created),
        "name": subnetwork.key.name.as_str(),
        "network": link(&cloud.network_path(&subnetwork.network)),
        "region": region_link(cloud, &subnetwork.key.region),
        "ipCidrRange": subnetwork.primary.to_string(),
        "gatewayAddress": subnetwork.primary.nth(1).map(|address| address.to_string()),
        "fingerprint": fingerprint(subnetwork.fingerprint),
        "purpose": "PRIVATE",
        "stackType": "IPV4_ONLY",
        "privateIpGoogleAccess": true,
        "privateIpv6GoogleAccess": "DISABLE_GOOGLE_ACCESS",
        "secondaryIpRanges": ranges
            .map(|range| json!({ "rangeName": range.name.as_str(), "ipCidrRange": range.cidr.to_string() }))
            .collect::<Vec<_>>(),
        "selfLink": link(&subnetwork.key.path(cloud.project())),
    });
    if with_utilization {
        let utilizations = subnetwork.usages().into_iter().map(|usage| {
            json!({
                "rangeName": usage.range.map(|name| name.to_string()).unwrap_or_default(),
                "totalAllocatedIp": usage.allocated_addresses.to_string(),
                "totalFreeIp": usage.free_addresses.to_string(),
            })
        });
        value["utilizationDetails"] = json!({ "ipv4Utilizations": utilizations.collect::<Vec<_>>() });
    }
    value
}

/// A machine.
pub(crate) fn instance(cloud: &GoogleCloud, instance: &Instance) -> Value {
    let nic = &instance.interface;
    let aliases = nic.alias_ranges.iter().map(|alias| {
        let mut value = json!({ "ipCidrRange": alias.cidr.to_string() });
        if let Some(range) = &alias.range {
            value["subnetworkRangeName"] = json!(range.as_str());
        }
        value
    });
    let zone = zone_link(cloud, &instance.key.zone);
    json!({
        "kind": "compute#instance",
        "id": instance.id.to_string(),
        "creationTimestamp": time(instance.created),
        "name": instance.key.name.as_str(),
        "machineType": format!("{zone}/machineTypes/{}", instance.machine_type),
        "status": "RUNNING",
        "zone": zone,
        "labels": instance.labels,
        "networkInterfaces": [{
            "kind": "compute#networkInterface",
            "name": "nic0",
            "network": link(&cloud.network_path(&nic.network)),
            "subnetwork": link(&nic.subnetwork.path(cloud.project())),
            "networkIP": nic.address.to_string(),
            "aliasIpRanges": aliases.collect::<Vec<_>>(),
            "fingerprint": fingerprint(nic.fingerprint),
            "stackType": "IPV4_ONLY",
        }],
        "selfLink": link(&instance.key.path(cloud.project())),
    })
}

/// A managed instance group.
pub(crate) fn group_manager(cloud: &GoogleCloud, group: &InstanceGroup) -> Value {
    let path = group.key.path(cloud.project());
    let creating = group.missing();
    json!({
        "kind": "compute#instanceGroupManager",
        "id": group.id.to_string(),
        "creationTimestamp": time(group.created),
        "name": group.key.name.as_str(),
        "baseInstanceName": group.key.name.as_str().trim_end_matches("-grp"),
        "targetSize": group.target_size,
        "currentActions": { "none": group.instances.len(), "creating": creating },
        "status": { "isStable": creating == 0 },
        "zone": zone_link(cloud, &group.key.zone),
        "instanceGroup": link(&path.replace("/instanceGroupManagers/", "/instanceGroups/")),
        "selfLink": link(&path),
    })
}

/// The group that a manager fills, as the autoscaler names it.
pub(crate) fn group(cloud: &GoogleCloud, group: &InstanceGroup) -> Value {
    let path = group.key.path(cloud.project()).replace("/instanceGroupManagers/", "/instanceGroups/");
    json!({
        "kind": "compute#instanceGroup",
        "id": group.id.to_string(),
        "creationTimestamp": time(group.created),
        "name": group.key.name.as_str(),
        "size": group.instances.len(),
        "zone": zone_link(cloud, &group.key.zone),
        "selfLink": link(&path),
    })
}

/// Why a group misses machines.
pub(crate) fn group_errors(cloud: &GoogleCloud, group: &InstanceGroup) -> Value {
    let items = group.errors.iter().map(|error| {
        let instance = freeboard_gcp::InstanceKey::new(group.key.zone.clone(), error.instance.clone());
        json!({
            "error": { "code": error.code, "message": error.message },
            "instanceActionDetails": { "action": "CREATING", "instance": link(&instance.path(cloud.project())) },
            "timestamp": time(error.time),
        })
    });
    json!({ "items": items.collect::<Vec<_>>() })
}

/// An operation of compute.
pub(crate) fn compute_operation(cloud: &GoogleCloud, operation: &Operation, now: Timestamp) -> Value {
    let done = operation.status(now) == OperationStatus::Done;
    let project = cloud.project();
    let mut value = Map::new();
    let mut set = |key: &str, field: Value| drop(value.insert(key.to_owned(), field));
    let place = match &operation.scope {
        Scope::Region(region) => {
            set("region", json!(region_link(cloud, region)));
            format!("regions/{region}")
        }
        Scope::Zone(zone) => {
            set("zone", json!(zone_link(cloud, zone)));
            format!("zones/{zone}")
        }
        Scope::Global | Scope::Location(_) => "global".to_owned(),
    };
    set("kind", json!("compute#operation"));
    set("id", json!(operation.id.to_string()));
    set("name", json!(operation.name));
    set("operationType", json!(operation.operation_type));
    set("status", json!(if done { "DONE" } else { "RUNNING" }));
    set("progress", json!(if done { 100 } else { 0 }));
    set("user", json!(format!("freeboard@{project}.iam.gserviceaccount.com")));
    set("insertTime", json!(time(operation.requested)));
    set("startTime", json!(time(operation.requested)));
    set("targetId", json!(operation.target_id.to_string()));
    set("targetLink", json!(link(&operation.target)));
    set("selfLink", json!(link(&format!("projects/{project}/{place}/operations/{}", operation.name))));
    if done {
        set("endTime", json!(time(operation.ends)));
    }
    if let Some(error) = operation.failure(now) {
        let mut detail = json!({ "code": error.status.reason(), "message": error.message });
        if let Some(place) = cloud.exhausted_place(&error.message) {
            detail["errorDetails"] = exhaustion_details(cloud, &place);
        }
        set("httpErrorStatusCode", json!(error.status.http_status()));
        set("httpErrorMessage", json!("BAD REQUEST"));
        set("error", json!({ "errors": [detail] }));
    }
    Value::Object(value)
}

/// The place of an exhaustion in a form that machines read.
fn exhaustion_details(cloud: &GoogleCloud, place: &ExhaustedPlace) -> Value {
    let mut metadatas = json!({
        "subnetwork": place.subnetwork.path(cloud.project()),
    });
    if let Some(range) = &place.range {
        metadatas["secondaryRange"] = json!(range.as_str());
    }
    json!([{ "errorInfo": { "reason": "IP_SPACE_EXHAUSTED", "domain": "compute.googleapis.com", "metadatas": metadatas } }])
}

/// An operation of container.
pub(crate) fn container_operation(cloud: &GoogleCloud, operation: &Operation, now: Timestamp) -> Value {
    let done = operation.status(now) == OperationStatus::Done;
    let location = match &operation.scope {
        Scope::Location(location) => location.to_string(),
        Scope::Global | Scope::Region(_) | Scope::Zone(_) => String::new(),
    };
    let mut value = json!({
        "name": operation.name,
        "operationType": operation.operation_type,
        "status": if done { "DONE" } else { "RUNNING" },
        "location": location,
        "zone": location,
        "startTime": time(operation.requested),
        "targetLink": format!("{CONTAINER}/{}", operation.target),
        "selfLink": format!("{CONTAINER}/projects/{}/locations/{location}/operations/{}", cloud.project(), operation.name),
    });
    if done {
        value["endTime"] = json!(time(operation.ends));
    }
    if let Some(error) = operation.failure(now) {
        value["error"] = json!({ "code": error.status.canonical_code(), "message": error.message });
        value["statusMessage"] = json!(error.message);
    }
    value
}

/// A node pool, as container answers.
#[must_use]
pub fn node_pool(cloud: &GoogleCloud, cluster: &Cluster, pool: &NodePool, now: Timestamp) -> Value {
    let range = cloud.subnetwork(&cluster.subnetwork).ok().and_then(|subnetwork| subnetwork.range(&pool.pod_range));
    let key = PoolKey::new(cluster.key.clone(), pool.name.clone());
    let status = cloud.pool_status(pool, now);
    let mut value = json!({
        "name": pool.name.as_str(),
        "initialNodeCount": pool.initial_node_count,
        "maxPodsConstraint": { "maxPodsPerNode": pool.max_pods.get().to_string() },
        "podIpv4CidrSize": pool.block_length(),
        "networkConfig": {
            "enablePrivateNodes": false,
            "podRange": pool.pod_range.as_str(),
            "podIpv4CidrBlock": range.map(|range| range.cidr.to_string()),
            "podIpv4RangeUtilization": range.map(|range| range.usage().utilization()),
        },
        "config": { "imageType": "COS_CONTAINERD", "machineType": pool.machine_type, "spot": pool.spot },
        "locations": pool.locations.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "instanceGroupUrls": pool.groups.iter().map(|group| link(&group.path(cloud.project()))).collect::<Vec<_>>(),
        "management": { "autoRepair": true, "autoUpgrade": true },
        "version": cluster.version,
        "etag": fingerprint(pool.fingerprint),
        "status": status_name(status),
        "selfLink": format!("{CONTAINER}/{}", key.path(cloud.project())),
    });
    if let Some(bounds) = pool.autoscaling {
        value["autoscaling"] =
            json!({ "enabled": true, "minNodeCount": bounds.min_node_count, "maxNodeCount": bounds.max_node_count });
    }
    let error = pool
        .groups
        .iter()
        .filter_map(|key| cloud.group(key).ok())
        .find_map(|group| group.errors.last().filter(|_| group.missing() > 0));
    if let Some(error) = error.filter(|_| status != PoolStatus::Running) {
        value["statusMessage"] = json!(error.message);
        // The API has no code of its own for a lack of addresses.
        value["conditions"] = json!([{ "canonicalCode": "RESOURCE_EXHAUSTED", "message": error.message }]);
    }
    value
}

fn status_name(status: PoolStatus) -> &'static str {
    match status {
        PoolStatus::Provisioning => "PROVISIONING",
        PoolStatus::Running => "RUNNING",
        PoolStatus::RunningWithError => "RUNNING_WITH_ERROR",
        PoolStatus::Error => "ERROR",
    }
}

/// A cluster, as container answers.
#[must_use]
pub fn cluster(cloud: &GoogleCloud, cluster: &Cluster, now: Timestamp) -> Value {
    let subnetwork = cloud.subnetwork(&cluster.subnetwork).ok();
    let range = |name| subnetwork.and_then(|subnetwork| subnetwork.range(name));
    let cidr = |name| range(name).map(|range| range.cidr.to_string());
    let utilization = |name| range(name).map(|range| range.usage().utilization());
    let services = cluster.services_range.as_ref();
    let additional = &cluster.additional_pod_ranges;
    let info = additional.iter().map(|name| json!({ "rangeName": name.as_str(), "utilization": utilization(name) }));
    let nodes: u32 = cluster.pools.values().map(|pool| cloud.nodes_of(pool)).sum();
    let mut policy = json!({
        "useIpAliases": true,
        "stackType": "IPV4",
        "clusterSecondaryRangeName": cluster.pod_range.as_str(),
        "clusterIpv4Cidr": cidr(&cluster.pod_range),
        "clusterIpv4CidrBlock": cidr(&cluster.pod_range),
        "defaultPodIpv4RangeUtilization": utilization(&cluster.pod_range),
        "podCidrOverprovisionConfig": {},
        "servicesSecondaryRangeName": services.map(|name| name.as_str()),
        "servicesIpv4Cidr": services.and_then(cidr),
        "servicesIpv4CidrBlock": services.and_then(cidr),
    });
    if !additional.is_empty() {
        policy["additionalPodRangesConfig"] = json!({
            "podRangeNames": additional.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "podRangeInfo": info.collect::<Vec<_>>(),
        });
    }
    json!({
        "name": cluster.key.name.as_str(),
        "id": format!("{:x}", cluster.id),
        "location": cluster.key.location.as_str(),
        "zone": cluster.key.location.as_str(),
        "locations": cluster.locations.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "network": cluster.network.as_str(),
        "subnetwork": cluster.subnetwork.name.as_str(),
        "networkConfig": {
            "network": cloud.network_path(&cluster.network),
            "subnetwork": cluster.subnetwork.path(cloud.project()),
        },
        "clusterIpv4Cidr": cidr(&cluster.pod_range),
        "servicesIpv4Cidr": services.and_then(cidr),
        "ipAllocationPolicy": policy,
        "defaultMaxPodsConstraint": { "maxPodsPerNode": cluster.default_max_pods.get().to_string() },
        "currentNodeCount": nodes,
        "currentMasterVersion": cluster.version,
        "nodePools": cluster.pools.values().map(|pool| node_pool(cloud, cluster, pool, now)).collect::<Vec<_>>(),
        "createTime": time(cluster.created),
        "etag": fingerprint(cluster.fingerprint),
        "status": "RUNNING",
        "selfLink": format!("{CONTAINER}/{}", cluster.key.path(cloud.project())),
    })
}
