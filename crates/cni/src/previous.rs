//! What an earlier result says, in the incumbent's private use of its fields: the routing table stands where a hardware
//! address belongs, and an interface that exists nowhere carries VLAN and device number.

use std::net::Ipv4Addr;

use freeboard_datapath::PodRemains;
use freeboard_datapath::names::interface_table;

use crate::configuration::PreviousResult;

/// Prefix of the interface that exists nowhere.
const DUMMY_PREFIX: &str = "dummy";

/// An earlier attachment, read from its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) host_interface: Option<String>,
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) table: Option<u32>,
    /// Not zero: the pod has its own security groups, on a VLAN.
    pub(crate) vlan: u32,
}

impl Previous {
    pub(crate) fn read(result: &PreviousResult, pod_interface: &str) -> Self {
        let dummy = result.interfaces.iter().find(|i| i.name.starts_with(DUMMY_PREFIX));
        let in_pod = result.interfaces.iter().find(|i| i.name == pod_interface && !i.sandbox.is_empty());
        let on_host = result.interfaces.iter().find(|i| i.sandbox.is_empty() && !i.name.starts_with(DUMMY_PREFIX));
        // Before v1.20 there was no table, only the device number; then there was but one network card.
        let device = dummy.and_then(|dummy| dummy.sandbox.parse().ok()).map(|device| interface_table(0, device));
        let addresses = result.ips.iter().filter_map(|ip| ip.address.split('/').next()?.parse().ok()).collect();
        Self {
            host_interface: on_host.map(|interface| interface.name.clone()),
            addresses,
            table: in_pod.and_then(|interface| interface.mac.parse().ok()).or(device),
            vlan: dummy.and_then(|dummy| dummy.mac.parse().ok()).unwrap_or(0),
        }
    }

    pub(crate) fn remains(&self) -> PodRemains {
        PodRemains { host_interface: self.host_interface.clone(), addresses: self.addresses.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn previous(interfaces: &str) -> Previous {
        let text = format!(r#"{{"interfaces":{interfaces},"ips":[{{"address":"10.0.208.9/32","interface":1}}]}}"#);
        Previous::read(&serde_json::from_str(&text).unwrap(), "eth0")
    }

    #[test]
    fn the_table_is_read_from_the_hardware_address() {
        let read = previous(
            r#"[{"name":"enib5faff8a083"},{"name":"eth0","sandbox":"/run/netns/x","mac":"10101"},
                {"name":"dummyb5faff8a083","mac":"0","sandbox":"1"}]"#,
        );
        assert_eq!(read.host_interface.as_deref(), Some("enib5faff8a083"));
        assert_eq!((read.table, read.vlan), (Some(10101), 0));
        assert_eq!(read.addresses, [Ipv4Addr::new(10, 0, 208, 9)]);
    }

    #[test]
    fn older_results_have_only_the_device_number() {
        let read = previous(
            r#"[{"name":"enib5faff8a083"},{"name":"eth0","sandbox":"/run/netns/x"},
                {"name":"dummyb5faff8a083","mac":"0","sandbox":"2"}]"#,
        );
        assert_eq!(read.table, Some(3));
    }

    #[test]
    fn a_vlan_is_seen() {
        let read = previous(r#"[{"name":"vlanb5faff8a083"},{"name":"dummyb5faff8a083","mac":"7"}]"#);
        assert_eq!((read.vlan, read.table), (7, None));
    }
}
