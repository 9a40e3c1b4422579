//! The calls of compute v1: networks, subnetworks, machines, groups, operations.

use std::net::Ipv4Addr;

use freeboard_gcp::{
    AliasRequest, AliasSize, ApiError, GoogleCloud, GroupKey, GroupName, InsertInstance, InsertSubnetwork, InstanceKey,
    InstanceName, NetworkName, Operation, RangeName, Region, Scope, SecondaryRangeRequest, SubnetworkKey,
    SubnetworkName, Zone, parse_range,
};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::handler::{Call, Reply};
use super::paging::page;
use super::server::GoogleServer;
use super::{body, encode};

/// Answers a call.
pub(crate) fn answer(server: &GoogleServer, call: &Call) -> Result<Reply, ApiError> {
    let parts = call.parts();
    let ["projects", project, rest @ ..] = parts.as_slice() else { return Err(call.no_such_path()) };
    if let Some(reply) = wait_for_operation(call, rest) {
        return Ok(reply);
    }
    server.with_cloud(|cloud, now| {
        if *project != cloud.project().as_str() {
            return Err(ApiError::not_found(&format!("projects/{project}")));
        }
        let value = match rest {
            ["global", "networks", rest @ ..] => networks(cloud, call, rest, now)?,
            ["aggregated", "subnetworks"] => aggregated_subnetworks(cloud, call)?,
            ["regions", region, "subnetworks", rest @ ..] => {
                subnetworks(cloud, call, &Region::new(*region), rest, now)?
            }
            ["zones", zone, "instances", rest @ ..] => instances(cloud, call, &Zone::new(*zone), rest, now)?,
            ["zones", zone, "instanceGroupManagers", rest @ ..] => managers(cloud, call, &Zone::new(*zone), rest, now)?,
            ["zones", zone, "instanceGroups", name] => {
                let key = GroupKey::new(Zone::new(*zone), GroupName::new(*name));
                only(call, &Method::GET)?;
                encode::group(cloud, cloud.group(&key)?)
            }
            _ => {
                let (scope, rest) = scope_of(rest).ok_or_else(|| call.no_such_path())?;
                operations(cloud, call, &scope, rest, now)?
            }
        };
        Ok(Reply::Now(value))
    })
}

/// `…/operations/{name}/wait`, which is answered when the operation is done.
fn wait_for_operation(call: &Call, rest: &[&str]) -> Option<Reply> {
    let (scope, rest) = scope_of(rest)?;
    match rest {
        [name, "wait"] if call.method == Method::POST => Some(Reply::WhenDone { scope, name: (*name).to_owned() }),
        _ => None,
    }
}

/// The place of an `operations` path, and what follows.
fn scope_of<'p, 's>(rest: &'p [&'s str]) -> Option<(Scope, &'p [&'s str])> {
    match rest {
        ["global", "operations", rest @ ..] => Some((Scope::Global, rest)),
        ["regions", region, "operations", rest @ ..] => Some((Scope::Region(Region::new(*region)), rest)),
        ["zones", zone, "operations", rest @ ..] => Some((Scope::Zone(Zone::new(*zone)), rest)),
        _ => None,
    }
}

fn only(call: &Call, method: &Method) -> Result<(), ApiError> {
    if call.method == method { Ok(()) } else { Err(call.wrong_method()) }
}

/// Carries out a change once: a repetition with the same request id is answered with the operation of the first.
fn change(
    cloud: &mut GoogleCloud,
    call: &Call,
    now: Timestamp,
    carry_out: impl FnOnce(&mut GoogleCloud) -> Result<Operation, ApiError>,
) -> Result<Value, ApiError> {
    let request_id = call.parameter("requestId").filter(|id| !id.is_empty());
    if let Some(id) = request_id {
        let digits = id.chars().filter(|c| *c != '-');
        let all_zero = digits.clone().all(|c| c == '0');
        if id.len() != 36 || digits.clone().count() != 32 || !digits.clone().all(|c| c.is_ascii_hexdigit()) || all_zero
        {
            return Err(ApiError::invalid_field("requestId", id, "Must be a valid UUID other than the zero one."));
        }
        if let Some(operation) = cloud.operation_of_request(id) {
            return Ok(encode::compute_operation(cloud, operation, now));
        }
    }
    let operation = carry_out(cloud)?;
    if let Some(id) = request_id {
        cloud.remember_request(id, &operation);
    }
    Ok(encode::compute_operation(cloud, &operation, now))
}

fn networks(cloud: &mut GoogleCloud, call: &Call, rest: &[&str], now: Timestamp) -> Result<Value, ApiError> {
    match (rest, &call.method) {
        ([], &Method::GET) => {
            let items = cloud.networks().map(|network| encode::network(cloud, network)).collect();
            page(call, "compute#networkList", items)
        }
        ([], &Method::POST) => {
            let network: body::Network = call.body()?;
            if network.auto_create_subnetworks {
                let reason = "The simulated cloud has networks in custom mode only.";
                return Err(ApiError::invalid_field("resource.autoCreateSubnetworks", true, reason));
            }
            change(cloud, call, now, |cloud| cloud.insert_network(NetworkName::new(network.name), now))
        }
        ([name], &Method::GET) => Ok(encode::network(cloud, cloud.network(&NetworkName::new(*name))?)),
        ([name], &Method::DELETE) => {
            change(cloud, call, now, |cloud| cloud.delete_network(&NetworkName::new(*name), now))
        }
        ([] | [_], _) => Err(call.wrong_method()),
        _ => Err(call.no_such_path()),
    }
}

fn subnetworks(
    cloud: &mut GoogleCloud,
    call: &Call,
    region: &Region,
    rest: &[&str],
    now: Timestamp,
) -> Result<Value, ApiError> {
    let key = |name: &str| SubnetworkKey::new(region.clone(), SubnetworkName::new(name));
    let with_utilization = call.has_parameter("views", "WITH_UTILIZATION");
    match (rest, &call.method) {
        ([], &Method::GET) => {
            let inside = cloud.subnetworks().filter(|subnetwork| subnetwork.key.region == *region);
            let items = inside.map(|subnetwork| encode::subnetwork(cloud, subnetwork, with_utilization)).collect();
            page(call, "compute#subnetworkList", items)
        }
        ([], &Method::POST) => {
            let subnetwork: body::Subnetwork = call.body()?;
            let request = InsertSubnetwork {
                key: key(&subnetwork.name),
                network: NetworkName::new(last_part(&required("resource.network", subnetwork.network)?)),
                primary: parse_range("resource.ipCidrRange", &subnetwork.ip_cidr_range)?,
                secondary: secondary_ranges(&subnetwork.secondary_ip_ranges.unwrap_or_default())?,
            };
            change(cloud, call, now, |cloud| cloud.insert_subnetwork(&request, now))
        }
        ([name], &Method::GET) => Ok(encode::subnetwork(cloud, cloud.subnetwork(&key(name))?, with_utilization)),
        ([name], &Method::PATCH) => {
            let subnetwork: body::Subnetwork = call.body()?;
            let given = subnetwork.fingerprint.ok_or_else(|| ApiError::required("resource.fingerprint"))?;
            let fingerprint = encode::read_fingerprint("resource.fingerprint", &given)?;
            let ranges = subnetwork.secondary_ip_ranges;
            let ranges = ranges.ok_or_else(|| ApiError::required("resource.secondaryIpRanges"))?;
            let wanted = secondary_ranges(&ranges)?;
            change(cloud, call, now, |cloud| {
                cloud.patch_secondary_ranges(&key(name), fingerprint, &given, &wanted, now)
            })
        }
        ([name], &Method::DELETE) => change(cloud, call, now, |cloud| cloud.delete_subnetwork(&key(name), now)),
        ([name, "expandIpCidrRange"], &Method::POST) => {
            let wanted: body::Expand = call.body()?;
            let wider = parse_range("ipCidrRange", &wanted.ip_cidr_range)?;
            change(cloud, call, now, |cloud| cloud.expand_primary_range(&key(name), wider, now))
        }
        ([] | [_] | [_, "expandIpCidrRange"], _) => Err(call.wrong_method()),
        _ => Err(call.no_such_path()),
    }
}

/// The subnetworks of all regions.
fn aggregated_subnetworks(cloud: &GoogleCloud, call: &Call) -> Result<Value, ApiError> {
    only(call, &Method::GET)?;
    let with_utilization = call.has_parameter("views", "WITH_UTILIZATION");
    let mut regions: std::collections::BTreeMap<String, Vec<Value>> = std::collections::BTreeMap::new();
    for subnetwork in cloud.subnetworks() {
        let value = encode::subnetwork(cloud, subnetwork, with_utilization);
        regions.entry(format!("regions/{}", subnetwork.key.region)).or_default().push(value);
    }
    let items: serde_json::Map<String, Value> =
        regions.into_iter().map(|(region, inside)| (region, json!({ "subnetworks": inside }))).collect();
    Ok(json!({ "kind": "compute#subnetworkAggregatedList", "items": items }))
}

fn secondary_ranges(ranges: &[body::SecondaryRange]) -> Result<Vec<SecondaryRangeRequest>, ApiError> {
    let read = |(index, range): (usize, &body::SecondaryRange)| {
        let field = format!("resource.secondaryIpRanges[{index}].ipCidrRange");
        let cidr = parse_range(&field, &range.ip_cidr_range)?;
        Ok(SecondaryRangeRequest { name: RangeName::new(range.range_name.as_str()), cidr })
    };
    ranges.iter().enumerate().map(read).collect()
}

fn instances(
    cloud: &mut GoogleCloud,
    call: &Call,
    zone: &Zone,
    rest: &[&str],
    now: Timestamp,
) -> Result<Value, ApiError> {
    let key = |name: &str| InstanceKey::new(zone.clone(), InstanceName::new(name));
    match (rest, &call.method) {
        ([], &Method::GET) => {
            let inside = cloud.instances().filter(|instance| instance.key.zone == *zone);
            page(call, "compute#instanceList", inside.map(|instance| encode::instance(cloud, instance)).collect())
        }
        ([], &Method::POST) => {
            let request = insert_instance(call.body()?, zone)?;
            change(cloud, call, now, |cloud| cloud.insert_instance(&request, now))
        }
        ([name], &Method::GET) => Ok(encode::instance(cloud, cloud.instance(&key(name))?)),
        ([name], &Method::DELETE) => change(cloud, call, now, |cloud| cloud.delete_instance(&key(name), now)),
        ([name, "updateNetworkInterface"], &Method::PATCH) => {
            if call.parameter("networkInterface") != Some("nic0") {
                let given = call.parameter("networkInterface").unwrap_or_default();
                return Err(ApiError::invalid_field("networkInterface", given, "The instance has nic0 only."));
            }
            let nic: body::Interface = call.body()?;
            let given = nic.fingerprint.ok_or_else(|| ApiError::required("resource.fingerprint"))?;
            let fingerprint = encode::read_fingerprint("resource.fingerprint", &given)?;
            let wanted = aliases("resource", &nic.alias_ip_ranges)?;
            change(cloud, call, now, |cloud| {
                cloud.update_network_interface(&key(name), fingerprint, &given, &wanted, now)
            })
        }
        ([] | [_] | [_, "updateNetworkInterface"], _) => Err(call.wrong_method()),
        _ => Err(call.no_such_path()),
    }
}

fn insert_instance(instance: body::Instance, zone: &Zone) -> Result<InsertInstance, ApiError> {
    let field = "resource.networkInterfaces";
    let [nic] = instance.network_interfaces.as_slice() else {
        let count = instance.network_interfaces.len();
        return Err(ApiError::invalid_field(field, count, "The simulated cloud has machines with one interface only."));
    };
    let subnetwork = required("resource.networkInterfaces[0].subnetwork", nic.subnetwork.clone())?;
    let wrong = |text: &String| {
        let field = "resource.networkInterfaces[0].networkIP";
        text.parse::<Ipv4Addr>().map_err(|_| ApiError::invalid_field(field, text, "Must be an IPv4 address."))
    };
    Ok(InsertInstance {
        key: InstanceKey::new(zone.clone(), InstanceName::new(instance.name)),
        machine_type: last_part(&instance.machine_type).to_owned(),
        subnetwork: SubnetworkKey::new(zone.region(), SubnetworkName::new(last_part(&subnetwork))),
        address: nic.network_ip.as_ref().filter(|text| !text.is_empty()).map(wrong).transpose()?,
        alias_ranges: aliases("resource.networkInterfaces[0]", &nic.alias_ip_ranges)?,
        labels: instance.labels,
    })
}

fn aliases(parent: &str, aliases: &[body::AliasRange]) -> Result<Vec<AliasRequest>, ApiError> {
    let read = |(index, alias): (usize, &body::AliasRange)| {
        let field = format!("{parent}.aliasIpRanges[{index}].ipCidrRange");
        let range = alias.subnetwork_range_name.as_deref().filter(|name| !name.is_empty()).map(RangeName::new);
        Ok(AliasRequest { size: AliasSize::parse(&field, &alias.ip_cidr_range)?, range })
    };
    aliases.iter().enumerate().map(read).collect()
}

fn managers(
    cloud: &mut GoogleCloud,
    call: &Call,
    zone: &Zone,
    rest: &[&str],
    now: Timestamp,
) -> Result<Value, ApiError> {
    let key = |name: &str| GroupKey::new(zone.clone(), GroupName::new(name));
    match (rest, &call.method) {
        ([], &Method::GET) => {
            let inside = cloud.groups().filter(|group| group.key.zone == *zone);
            let items = inside.map(|group| encode::group_manager(cloud, group)).collect();
            page(call, "compute#instanceGroupManagerList", items)
        }
        ([name], &Method::GET) => Ok(encode::group_manager(cloud, cloud.group(&key(name))?)),
        ([name, "listErrors"], &Method::GET) => Ok(encode::group_errors(cloud, cloud.group(&key(name))?)),
        ([name, "listManagedInstances"], &Method::POST) => {
            let group = cloud.group(&key(name))?;
            let names = group.instances.iter().map(|name| InstanceKey::new(zone.clone(), name.clone()));
            let machines = names.filter_map(|key| cloud.instance(&key).ok()).map(|instance| {
                let value = encode::instance(cloud, instance);
                json!({ "instance": value["selfLink"], "id": value["id"], "instanceStatus": "RUNNING", "currentAction": "NONE" })
            });
            Ok(json!({ "managedInstances": machines.collect::<Vec<_>>() }))
        }
        ([name, "resize"], &Method::POST) => {
            let text = call.parameter("size").ok_or_else(|| ApiError::required("size"))?;
            let size =
                text.parse().map_err(|_| ApiError::invalid_field("size", text, "Must be a number of instances."))?;
            change(cloud, call, now, |cloud| cloud.resize_group(&key(name), size, now))
        }
        ([] | [_] | [_, "listErrors" | "listManagedInstances" | "resize"], _) => Err(call.wrong_method()),
        _ => Err(call.no_such_path()),
    }
}

fn operations(
    cloud: &GoogleCloud,
    call: &Call,
    scope: &Scope,
    rest: &[&str],
    now: Timestamp,
) -> Result<Value, ApiError> {
    only(call, &Method::GET)?;
    match rest {
        [] => {
            let items = cloud.operations_in(scope).map(|one| encode::compute_operation(cloud, one, now)).collect();
            page(call, "compute#operationList", items)
        }
        [name] => Ok(encode::compute_operation(cloud, cloud.operation(scope, name)?, now)),
        _ => Err(call.no_such_path()),
    }
}

/// The name at the end of a link, or the name itself.
pub(crate) fn last_part(link: &str) -> &str {
    link.rsplit('/').next().unwrap_or(link)
}

fn required(field: &str, text: String) -> Result<String, ApiError> {
    if text.is_empty() { Err(ApiError::required(field)) } else { Ok(text) }
}
