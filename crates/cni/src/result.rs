//! The result of ADD, field for field as the incumbent gives it, so that its DEL can tear down our ADD.

use std::io;
use std::net::Ipv4Addr;

use freeboard_datapath::PodNetwork;
use freeboard_datapath::names::dummy_interface;
use serde::Serialize;

use crate::invocation::Sandbox;
use crate::version::Version;

/// The container interface's place in the list of interfaces.
const POD_INTERFACE_INDEX: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AddResult<'a> {
    cni_version: &'a str,
    interfaces: [Interface<'a>; 3],
    ips: [Address; 1],
    dns: Dns,
}

#[derive(Serialize)]
struct Interface<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    mac: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sandbox: String,
}

#[derive(Serialize)]
struct Address {
    /// Only in versions before 1.0.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    interface: u32,
    address: String,
}

#[derive(Serialize)]
struct Dns {}

/// Writes the result of a pod that was set up.
pub(crate) fn write(
    output: impl io::Write,
    version: Version,
    sandbox: &Sandbox,
    network: &PodNetwork,
    device_number: i32,
) -> io::Result<()> {
    let mut output = output;
    let namespace = network.namespace.to_string_lossy().into_owned();
    let dummy = dummy_interface(&sandbox.pod);
    let result = AddResult {
        cni_version: version.as_str(),
        interfaces: [
            Interface { name: &network.host_interface, mac: String::new(), sandbox: String::new() },
            Interface { name: &network.pod_interface, mac: network.table.to_string(), sandbox: namespace },
            // The incumbent reads the VLAN from the hardware address (0: none) and the device number from the sandbox.
            Interface { name: &dummy, mac: "0".to_owned(), sandbox: device_number.to_string() },
        ],
        ips: [address(network.address, version)],
        dns: Dns {},
    };
    serde_json::to_writer(&mut output, &result)?;
    output.write_all(b"\n")?;
    output.flush()
}

fn address(address: Ipv4Addr, version: Version) -> Address {
    Address {
        version: (version < Version::V1_0).then_some("4"),
        interface: POD_INTERFACE_INDEX,
        address: format!("{address}/32"),
    }
}
