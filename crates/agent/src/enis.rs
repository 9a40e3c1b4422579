//! The body of `/v1/enis`: the incumbent's shape, readable by those that expect it keyed by network card and by those that
//! expect it bare.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use freeboard_datapath::names::interface_table;
use freeboard_pool::{AddressState, AddressView, BlockView, InterfaceState, InterfaceView, PoolView};
use jiff::Timestamp;
use serde::Serialize;

/// How Go writes a time that was never set.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The body.
///
/// Since v1.20 the incumbent's outer object is keyed by network card; before, and in the tools written for it, the inner
/// object was the body. Both sets of keys are served: `"0"` holds the inner object, and the same fields lie beside it.
#[derive(Debug, Serialize)]
pub struct Enis<'a> {
    #[serde(rename = "0")]
    card: Card<'a>,
    #[serde(flatten)]
    flat: Card<'a>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Card<'a> {
    #[serde(rename = "TotalIPs")]
    total: u32,
    #[serde(rename = "AssignedIPs")]
    assigned: u32,
    #[serde(rename = "ENIs")]
    interfaces: BTreeMap<&'a str, Interface<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct Interface<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "IsPrimary")]
    is_primary: bool,
    #[serde(rename = "IsTrunk")]
    is_trunk: bool,
    #[serde(rename = "IsEFA")]
    is_efa: bool,
    #[serde(rename = "DeviceNumber")]
    device_number: u32,
    #[serde(rename = "AvailableIPv4Cidrs")]
    blocks: BTreeMap<String, Block<'a>>,
    #[serde(rename = "IPv6Cidrs")]
    ipv6_blocks: BTreeMap<String, ()>,
    #[serde(rename = "IsExcludedForPodIPs")]
    is_excluded: bool,
    #[serde(rename = "RouteTableID")]
    route_table: u32,
    #[serde(rename = "SubnetID")]
    subnet: &'a str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Block<'a> {
    cidr: Net,
    #[serde(rename = "IPAddresses")]
    addresses: BTreeMap<Ipv4Addr, Address<'a>>,
    is_prefix: bool,
    address_family: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Net {
    #[serde(rename = "IP")]
    address: Ipv4Addr,
    #[serde(rename = "Mask")]
    mask: String,
}

#[derive(Clone, Debug, Serialize)]
struct Address<'a> {
    #[serde(rename = "Address")]
    address: Ipv4Addr,
    #[serde(rename = "IPAMKey")]
    key: Key<'a>,
    #[serde(rename = "IPAMMetadata")]
    metadata: Metadata<'a>,
    #[serde(rename = "AssignedTime")]
    assigned: String,
    #[serde(rename = "UnassignedTime")]
    unassigned: String,
}

/// Container id and interface name stay empty: together with the network name they would be enough to forge a DEL.
#[derive(Clone, Debug, Default, Serialize)]
struct Key<'a> {
    #[serde(rename = "networkName")]
    network: &'a str,
    #[serde(rename = "containerID")]
    container: &'static str,
    #[serde(rename = "ifName")]
    interface: &'static str,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Metadata<'a> {
    #[serde(rename = "k8sPodNamespace", skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(rename = "k8sPodName", skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "interfacesCount", skip_serializing_if = "is_zero")]
    interfaces: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The body for the pool as `view` has it.
#[must_use]
pub fn enis(view: &PoolView) -> Enis<'_> {
    let held = view.interfaces.iter().filter(|interface| interface.state != InterfaceState::Created);
    let card = Card {
        total: view.tally.total,
        assigned: view.tally.assigned,
        interfaces: held.map(|interface| (interface.id.as_str(), describe(interface))).collect(),
    };
    Enis { flat: card.clone(), card }
}

fn describe(interface: &InterfaceView) -> Interface<'_> {
    Interface {
        id: interface.id.as_str(),
        is_primary: interface.is_primary,
        is_trunk: false,
        is_efa: false,
        device_number: interface.device_index,
        blocks: interface.blocks.iter().map(|block| (block.cidr.to_string(), describe_block(block))).collect(),
        ipv6_blocks: BTreeMap::new(),
        is_excluded: interface.excluded,
        route_table: interface_table(0, interface.device_index),
        subnet: interface.subnet.as_str(),
    }
}

fn describe_block(block: &BlockView) -> Block<'_> {
    Block {
        cidr: Net { address: block.cidr.network(), mask: BASE64_STANDARD.encode(block.cidr.netmask().octets()) },
        addresses: block.addresses.iter().filter_map(describe_address).map(|shown| (shown.address, shown)).collect(),
        is_prefix: block.is_prefix,
        address_family: "",
    }
}

/// Addresses that were never given do not appear.
fn describe_address(view: &AddressView) -> Option<Address<'_>> {
    let (mut key, mut metadata) = (Key::default(), Metadata::default());
    let (assigned, unassigned) = match &view.state {
        AddressState::Assigned { key: attachment, pod, since } => {
            key.network = &attachment.network;
            if let Some(pod) = pod {
                metadata = Metadata { namespace: &pod.namespace, name: &pod.name, interfaces: 1 };
            }
            (time(Some(*since)), time(None))
        }
        AddressState::Cooling { released } | AddressState::Free { released: Some(released) } => {
            (time(None), time(Some(*released)))
        }
        AddressState::Free { released: None } | AddressState::Quarantined => return None,
    };
    Some(Address { address: view.address, key, metadata, assigned, unassigned })
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use freeboard_address::{AttachmentKey, EniId, PodKey, SubnetId};
    use freeboard_pool::Tally;

    use super::*;

    fn view() -> PoolView {
        let address = |text: &str, state| AddressView { address: text.parse().unwrap(), state };
        let key = AttachmentKey { network: "aws-cni".into(), container: "secret".into(), interface: "eth0".into() };
        let block = BlockView {
            cidr: "10.0.0.16/28".parse().unwrap(),
            is_prefix: true,
            tally: Tally { total: 16, assigned: 1, cooling: 1, free: 14, quarantined: 0 },
            addresses: vec![
                address("10.0.0.16", AddressState::Free { released: None }),
                address(
                    "10.0.0.17",
                    AddressState::Assigned {
                        key,
                        pod: Some(PodKey::new("default", "web-0")),
                        since: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
                    },
                ),
                address("10.0.0.18", AddressState::Cooling { released: "2026-01-02T03:04:06Z".parse().unwrap() }),
            ],
            missing_since: None,
            releasing: false,
        };
        let interface = InterfaceView {
            id: EniId::new("eni-0abc"),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            device_index: 0,
            is_primary: true,
            subnet: SubnetId::new("subnet-0abc"),
            primary_address: "10.0.0.4".parse().unwrap(),
            state: InterfaceState::Ready,
            excluded: false,
            tally: block.tally,
            blocks: vec![block],
        };
        PoolView {
            node_blocks: Vec::new(),
            ready: true,
            tally: interface.tally,
            prefixes: 1,
            waiting: 0,
            waiting_since: None,
            interfaces: vec![interface],
            unmanaged_interfaces: 0,
            interface_limit: 3,
            slots_per_interface: 9,
            subnets: Vec::new(),
            operations: Vec::new(),
            quarantined: Vec::new(),
            corrections: freeboard_pool::Corrections::default(),
        }
    }

    #[test]
    fn both_kinds_of_readers_find_their_shape() {
        let view = view();
        let body = serde_json::to_value(enis(&view)).unwrap();
        assert_eq!(body["0"]["ENIs"], body["ENIs"]);
        assert_eq!(body["0"]["TotalIPs"], 16);
        assert_eq!(body["AssignedIPs"], 1);
        let interface = &body["ENIs"]["eni-0abc"];
        assert_eq!(interface["RouteTableID"], 254);
        let block = &interface["AvailableIPv4Cidrs"]["10.0.0.16/28"];
        assert_eq!(block["Cidr"]["Mask"], "////8A==");
        let addresses = block["IPAddresses"].as_object().unwrap();
        assert_eq!(addresses.keys().collect::<Vec<_>>(), ["10.0.0.17", "10.0.0.18"]);
        let assigned = serde_json::json!({
            "Address": "10.0.0.17",
            "IPAMKey": {"networkName": "aws-cni", "containerID": "", "ifName": ""},
            "IPAMMetadata": {"k8sPodNamespace": "default", "k8sPodName": "web-0", "interfacesCount": 1},
            "AssignedTime": "2026-01-02T03:04:05.678901234Z",
            "UnassignedTime": "0001-01-01T00:00:00Z",
        });
        assert_eq!(addresses["10.0.0.17"], assigned);
        assert_eq!(addresses["10.0.0.18"]["IPAMKey"]["networkName"], "");
        assert_eq!(addresses["10.0.0.18"]["UnassignedTime"], "2026-01-02T03:04:06Z");
        assert!(!body.to_string().contains("secret"), "ids that could forge a DEL are blank");
    }
}
