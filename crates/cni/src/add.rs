//! ADD: an address from the agent, and the pod's link to it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use freeboard_address::MacAddress;
use freeboard_datapath::names::host_interface;
use freeboard_datapath::{NetworkNamespace, PodNetwork};
use freeboard_rpc::cni::{
    AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocationMetadata,
};

use crate::call::Call;
use crate::failure::{Code, Failure};
use crate::invocation::{Command, Sandbox};
use crate::result;

/// The agent itself waits at most 20 s for an address.
const ADD_DEADLINE: Duration = Duration::from_secs(30);
/// For every other call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
pub(crate) const DEL_NETWORK: &str = "/rpc.CNIBackend/DelNetwork";
const ADD_NETWORK: &str = "/rpc.CNIBackend/AddNetwork";

/// Gives the sandbox an address and writes the result.
pub(crate) fn run(call: &mut Call, output: impl io::Write) -> Result<(), Failure> {
    let sandbox = Sandbox::from_environment(Command::Add, &call.configuration)?;
    call.describe(&sandbox);
    let prefix = call.configuration.veth_prefix()?.to_owned();
    let mtu_bytes = call.configuration.mtu_bytes()?;
    let host_ports = call.configuration.host_ports()?;
    // Looked at before the agent is asked, so that a sandbox that is gone costs no address.
    let namespace = sandbox.namespace.clone().unwrap_or_default();
    NetworkNamespace::open(&namespace).map_err(|e| {
        Failure::new(Code::InvalidEnvironment, format!("CNI_NETNS: {e}"), "the runtime makes a new sandbox")
    })?;
    let allocation = ask(call, &sandbox)?;
    let network = match describe(&sandbox, &allocation, namespace, &prefix, mtu_bytes) {
        Ok(network) => PodNetwork { host_ports, ..network },
        Err(failure) => return Err(give_back(call, &sandbox, failure)),
    };
    if let Err(error) = network.set_up() {
        call.log.error(&format!("Failed SetupPodNetwork: {error}"));
        let failure = Failure::datapath("add command: failed to setup network", &error);
        return Err(give_back(call, &sandbox, failure));
    }
    call.log.with("address", network.address.to_string());
    call.log.with("table", network.table);
    result::write(output, call.version, &sandbox, &network, allocation.device_number)
        .map_err(|e| Failure::new(Code::InputOutput, format!("cannot write the result: {e}"), ""))
}

fn ask(call: &mut Call, sandbox: &Sandbox) -> Result<IpAllocationMetadata, Failure> {
    let request = AddNetworkRequest {
        k8s_pod_name: sandbox.pod.name.clone(),
        k8s_pod_namespace: sandbox.pod.namespace.clone(),
        k8s_pod_infra_container_id: sandbox.infra_container.clone(),
        netns: sandbox.namespace.as_ref().map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
        if_name: sandbox.key.interface.clone(),
        network_name: sandbox.key.network.clone(),
        container_id: sandbox.key.container.clone(),
        ..AddNetworkRequest::default()
    };
    let agent = call.agent()?;
    let reply: AddNetworkReply = agent.call(ADD_NETWORK, &request, ADD_DEADLINE).map_err(|error| {
        call.log.error(&format!("Error received from AddNetwork grpc call: {error}"));
        Failure::new(Code::TryAgainLater, format!("add cmd: {error}"), "check that the aws-node pod of this node runs")
    })?;
    if !reply.success {
        let failure = Failure::refused(&sandbox.pod.to_string(), reply.refusal.as_ref());
        call.log.error(&failure.message.replacen("failed", "Failed", 1));
        return Err(failure);
    }
    if reply.pod_vlan_id != 0 {
        let message =
            "add cmd: the agent gave a branch interface (security groups for pods), which Freeboard does not set up";
        let failure =
            Failure::new(Code::Other, message, "set ENABLE_POD_ENI=false, or use the Amazon VPC CNI on this node");
        return Err(give_back(call, sandbox, failure));
    }
    if !reply.network_policy_mode.is_empty() {
        call.log
            .warn("the agent asks for network policies, which Freeboard's plugin does not hand to the policy agent");
    }
    reply.ip_allocation_metadata.into_iter().next().ok_or_else(|| {
        let message = "add cmd: the agent reported success without an address";
        give_back(call, sandbox, Failure::new(Code::Other, message, "see ipamd.log on the node"))
    })
}

fn describe(
    sandbox: &Sandbox,
    allocation: &IpAllocationMetadata,
    namespace: PathBuf,
    prefix: &str,
    mtu_bytes: u32,
) -> Result<PodNetwork, Failure> {
    let unusable = |what: &str, value: &str| {
        let message = format!("add cmd: the agent gave the {what} {value:?}, which cannot be used");
        Failure::new(Code::Other, message, "see ipamd.log on the node")
    };
    let address = allocation.ipv4_addr.parse().map_err(|_| unusable("IPv4 address", &allocation.ipv4_addr))?;
    let table = u32::try_from(allocation.route_table_id).ok().filter(|table| *table > 0);
    let table = table.ok_or_else(|| unusable("route table", &allocation.route_table_id.to_string()))?;
    let mut random = [0; 12];
    getrandom::fill(&mut random)
        .map_err(|e| Failure::new(Code::InputOutput, format!("the kernel gives no random bytes: {e}"), ""))?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = random;
    Ok(PodNetwork {
        host_interface: host_interface(prefix, &sandbox.pod),
        pod_interface: sandbox.key.interface.clone(),
        namespace,
        address,
        table,
        mtu_bytes,
        host_mac: MacAddress::local([a, b, c, d, e, f]),
        pod_mac: MacAddress::local([g, h, i, j, k, l]),
        host_ports: Vec::new(),
    })
}

/// Tells the agent that the address is not used after all, and passes on why.
fn give_back(call: &mut Call, sandbox: &Sandbox, failure: Failure) -> Failure {
    let request = deletion(sandbox, "SetupNSFailed");
    let returned = call.agent().map(|agent| agent.call::<DelNetworkReply>(DEL_NETWORK, &request, DEADLINE));
    if let Ok(Err(error)) = returned {
        call.log.error(&format!("Error received from DelNetwork grpc call: {error}"));
    }
    failure
}

/// The request that releases an attachment.
pub(crate) fn deletion(sandbox: &Sandbox, reason: &str) -> DelNetworkRequest {
    DelNetworkRequest {
        k8s_pod_name: sandbox.pod.name.clone(),
        k8s_pod_namespace: sandbox.pod.namespace.clone(),
        k8s_pod_infra_container_id: sandbox.infra_container.clone(),
        reason: reason.to_owned(),
        if_name: sandbox.key.interface.clone(),
        network_name: sandbox.key.network.clone(),
        container_id: sandbox.key.container.clone(),
        client_version: String::new(),
        k8s_pod_uid: sandbox.pod_uid.clone(),
    }
}
