//! The agents of a lab's nodes: how they are set, started, and asked.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use freeboard_lab::{Lab, Machine, Program};
use serde_json::Value;

/// How long an agent may take until its node can give addresses.
const READY: Duration = Duration::from_secs(60);
/// Where the agent tells about itself.
const INTROSPECTION_PORT: u16 = 61679;
/// What tells that a node can give addresses.
const CONFLIST: &str = "/etc/cni/net.d/10-aws.conflist";

/// A node with its agent.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) agent: Program,
}

impl Node {
    /// Starts the agent on a machine and waits until the node can give addresses.
    pub(crate) fn start(lab: &Lab, machine: &Machine, settings: &[(&str, &str)]) -> Result<Self> {
        let mut agent = lab.start_agent(machine, settings)?;
        agent.wait_for_file(Path::new(CONFLIST), READY)?;
        Ok(Self { machine: machine.clone(), agent })
    }

    /// What `curl -s http://localhost:61679<path>` says on the node.
    pub(crate) fn introspect(&self, path: &str) -> Result<Value> {
        let body = self.machine.get(INTROSPECTION_PORT, path)?;
        serde_json::from_str(&body).with_context(|| format!("{path} on {} answered {body:?}", self.machine.name))
    }

    /// Addresses of each interface that pods hold, by interface id.
    pub(crate) fn pods_by_interface(&self) -> Result<Vec<(String, Vec<Ipv4Addr>)>> {
        let enis = self.introspect("/v1/enis")?;
        let Some(enis) = enis["ENIs"].as_object() else { return Ok(Vec::new()) };
        let of_interface = |(id, interface): (&String, &Value)| {
            let cidrs = interface["AvailableIPv4Cidrs"].as_object().into_iter().flat_map(|cidrs| cidrs.values());
            let held =
                cidrs.filter_map(|cidr| cidr["IPAddresses"].as_object()).flat_map(|addresses| addresses.values());
            // A cooling address is still listed; only one that a pod holds names a network.
            let held = held.filter(|one| one["IPAMKey"]["networkName"].as_str().is_some_and(|name| !name.is_empty()));
            let mut addresses: Vec<Ipv4Addr> = held.filter_map(|one| one["Address"].as_str()?.parse().ok()).collect();
            addresses.sort_unstable();
            (id.clone(), addresses)
        };
        Ok(enis.iter().map(of_interface).collect())
    }

    /// Addresses that the node holds and no pod uses.
    pub(crate) fn spare_addresses(&self) -> Result<u64> {
        let enis = self.introspect("/v1/enis")?;
        let count = |key: &str| enis[key].as_u64().unwrap_or(0);
        Ok(count("TotalIPs").saturating_sub(count("AssignedIPs")))
    }
}
