//! What the agent shows of itself: `/v1/enis`, its settings, and the CNI configuration.

use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, PodKey, SubnetId};
use freeboard_diagnosis::{Cited, Introspection, IntrospectionAddress, IntrospectionInterface, Kind};
use serde_json::Value;

use super::Document;
use crate::collector::Collector;
use crate::tree::{number, text};

/// Settings by which an answer of the settings endpoints is known.
const SETTINGS: [&str; 4] =
    ["AWS_VPC_K8S_CNI_CONNMARK", "AWS_VPC_K8S_CNI_VETHPREFIX", "WARM_ENI_TARGET", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG"];

/// Reads what is known; says whether it was.
pub(super) fn read(collector: &mut Collector, document: &mut Document<'_>, value: &Value) -> bool {
    let Some(object) = value.as_object() else { return false };
    if is_introspection(value) {
        introspection(collector, document, &[value]);
        return true;
    }
    // Since several network cards are served, the answer is keyed by card.
    let is_by_card = !object.is_empty()
        && object.keys().all(|key| key.bytes().all(|byte| byte.is_ascii_digit()))
        && object.values().any(is_introspection);
    if is_by_card {
        let cards: Vec<&Value> = object.values().filter(|card| is_introspection(card)).collect();
        introspection(collector, document, &cards);
        return true;
    }
    if SETTINGS.iter().any(|name| object.contains_key(*name)) {
        // The endpoints leave out the minimum and the mode, so that nothing can be concluded from what is absent.
        collector.count(Kind::AgentSettings);
        return true;
    }
    if object.contains_key("cniVersion") && (object.contains_key("plugins") || object.contains_key("type")) {
        collector.count(Kind::Conflist);
        return true;
    }
    object.contains_key("AvailableCommands")
}

fn is_introspection(value: &Value) -> bool {
    value.get("ENIs").is_some_and(Value::is_object)
        && (value.get("AssignedIPs").is_some() || value.get("TotalIPs").is_some())
}

fn introspection(collector: &mut Collector, document: &mut Document<'_>, cards: &[&Value]) {
    collector.count(Kind::Introspection);
    let mut read = Introspection { truncated: document.truncated, ..Introspection::default() };
    let citation = document.cite(Kind::Introspection, "\"ENIs\"");
    for card in cards {
        read.total += number(card, &["TotalIPs"]).unwrap_or(0);
        read.assigned += number(card, &["AssignedIPs"]).unwrap_or(0);
        let Some(interfaces) = card.get("ENIs").and_then(Value::as_object) else { continue };
        for (id, interface) in interfaces {
            read.interfaces.insert(EniId::new(id.as_str()), self::interface(interface));
        }
    }
    collector.facts().introspections.push(Cited { fact: read, citation });
}

fn interface(value: &Value) -> IntrospectionInterface {
    let mut read = IntrospectionInterface {
        subnet: text(value, &["SubnetID"]).filter(|subnet| !subnet.is_empty()).map(SubnetId::new),
        primary: value.get("IsPrimary") == Some(&Value::Bool(true)),
        ..IntrospectionInterface::default()
    };
    let Some(blocks) = value.get("AvailableIPv4Cidrs").and_then(Value::as_object) else { return read };
    for (name, block) in blocks {
        let Ok(cidr) = name.parse::<Cidr>() else { continue };
        read.blocks.push(cidr);
        read.offered += cidr.size();
        let Some(addresses) = block.get("IPAddresses").and_then(Value::as_object) else { continue };
        for (address, holder) in addresses {
            let Ok(address) = address.parse::<Ipv4Addr>() else { continue };
            // The container id is blank since it was found to be enough to forge a release; the network's name is not.
            let is_held = text(holder, &["IPAMKey", "networkName"]).is_some_and(|name| !name.is_empty());
            let name = |key| text(holder, &["IPAMMetadata", key]).unwrap_or_default();
            let pod = is_held.then(|| PodKey::new(name("k8sPodNamespace"), name("k8sPodName")));
            let released = text(holder, &["UnassignedTime"]).filter(|time| !time.starts_with("0001-"));
            let released = released.and_then(|time| time.parse().ok());
            read.addresses.push(IntrospectionAddress { address, pod, released });
        }
    }
    read
}
