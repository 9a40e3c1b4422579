//! CHECK, STATUS and GC.

use freeboard_address::{AttachmentKey, PodKey};
use freeboard_datapath::PodNetwork;
use freeboard_datapath::names::host_interface;
use freeboard_rpc::node::{
    Attachment, CheckReply, CheckRequest, GarbageCollectReply, GarbageCollectRequest, StatusReply, StatusRequest,
};

use crate::add::DEADLINE;
use crate::agent::{HealthReply, HealthRequest};
use crate::call::Call;
use crate::delete::released;
use crate::failure::{Code, Failure};
use crate::invocation::{Command, Sandbox};
use crate::previous::Previous;
use crate::version::Version;

const CHECK: &str = "/freeboard.node.v1.NodeAgent/Check";
const STATUS: &str = "/freeboard.node.v1.NodeAgent/Status";
const GARBAGE_COLLECT: &str = "/freeboard.node.v1.NodeAgent/GarbageCollect";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const RUNS: &str = "check that the aws-node pod of this node runs";

/// CHECK: the agent holds the address for this attachment, and the kernel has everything that ADD made.
pub(crate) fn check(call: &mut Call) -> Result<(), Failure> {
    call.requires(Version::V0_4, Command::Check)?;
    let sandbox = Sandbox::from_environment(Command::Check, &call.configuration)?;
    call.describe(&sandbox);
    let Some(result) = &call.configuration.prev_result else {
        let message = "check cmd: the network configuration has no prevResult";
        return Err(Failure::new(Code::InvalidConfiguration, message, "the container runtime must pass it to CHECK"));
    };
    let previous = Previous::read(result, &sandbox.key.interface);
    let network = expected(call, &sandbox, &previous)?;
    check_agent(call, &sandbox, &network)?;
    network.check().map_err(|error| Failure::datapath("check cmd", &error))
}

fn expected(call: &Call, sandbox: &Sandbox, previous: &Previous) -> Result<PodNetwork, Failure> {
    let (Some(address), Some(table)) = (previous.addresses.first(), previous.table) else {
        let message = "check cmd: prevResult has no address or no routing table";
        return Err(Failure::new(
            Code::InvalidConfiguration,
            message,
            "delete the pod; its new sandbox gets a whole result",
        ));
    };
    let by_name = host_interface(call.configuration.veth_prefix()?, &sandbox.pod);
    let nobody = freeboard_address::MacAddress::new([0; 6]);
    Ok(PodNetwork {
        host_interface: previous.host_interface.clone().unwrap_or(by_name),
        pod_interface: sandbox.key.interface.clone(),
        namespace: sandbox.namespace.clone().unwrap_or_default(),
        address: *address,
        table,
        mtu_bytes: call.configuration.mtu_bytes()?,
        host_mac: nobody,
        pod_mac: nobody,
        host_ports: call.configuration.host_ports()?,
    })
}

fn check_agent(call: &Call, sandbox: &Sandbox, network: &PodNetwork) -> Result<(), Failure> {
    let request = CheckRequest { attachment: Some(sandbox.attachment()), address: network.address.to_string() };
    match call.agent()?.call::<CheckReply>(CHECK, &request, DEADLINE) {
        Ok(reply) if reply.holds => Ok(()),
        Ok(reply) => {
            let message = format!("check cmd: {}", reply.message);
            Err(Failure::new(Code::Other, message, "delete the pod; its new sandbox gets a new address"))
        }
        // The incumbent's agent cannot be asked; the kernel still can.
        Err(error) if error.is_unimplemented() => Ok(()),
        Err(error) => Err(Failure::new(Code::TryAgainLater, format!("check cmd: {error}"), RUNS)),
    }
}

/// STATUS: an address could be given now.
pub(crate) fn status(call: &Call) -> Result<(), Failure> {
    call.requires(Version::V1_1, Command::Status)?;
    let not_available = |message: String, details: &str| Failure::new(Code::NotAvailable, message, details);
    match call.agent()?.call::<StatusReply>(STATUS, &StatusRequest {}, DEADLINE) {
        Ok(reply) if reply.ready => Ok(()),
        Ok(reply) => {
            let refusal = reply.refusal.unwrap_or_default();
            let message = format!("no address can be given now: {} [{}]", refusal.message, refusal.cause);
            Err(not_available(message, &refusal.remedy))
        }
        Err(error) if error.is_unimplemented() => match call.agent()?.call(HEALTH, &HealthRequest::default(), DEADLINE)
        {
            Ok(HealthReply { status: HealthReply::SERVING }) => Ok(()),
            Ok(HealthReply { status }) => {
                Err(not_available(format!("the agent's health is {status}, not serving"), RUNS))
            }
            Err(error) => Err(not_available(error.to_string(), RUNS)),
        },
        Err(error) => Err(not_available(error.to_string(), RUNS)),
    }
}

/// GC: everything is released that belongs to none of the attachments that the runtime still knows.
pub(crate) fn garbage_collect(call: &mut Call) -> Result<(), Failure> {
    call.requires(Version::V1_1, Command::GarbageCollect)?;
    let network = call.configuration.network()?.to_owned();
    let Some(valid) = &call.configuration.valid_attachments else {
        let message = "the network configuration has no cni.dev/valid-attachments";
        let details = "without it every pod would be taken for gone; the container runtime must pass it to GC";
        return Err(Failure::new(Code::InvalidConfiguration, message, details));
    };
    let valid = valid.iter().map(|known| Attachment {
        network: network.clone(),
        container: known.container.clone(),
        interface: known.interface.clone(),
    });
    let request = GarbageCollectRequest { network: network.clone(), valid: valid.collect() };
    let reply: GarbageCollectReply = match call.agent()?.call(GARBAGE_COLLECT, &request, DEADLINE) {
        Ok(reply) => reply,
        Err(error) if error.is_unimplemented() => {
            call.log.info("the agent has no garbage collection");
            return Ok(());
        }
        Err(error) => return Err(Failure::new(Code::TryAgainLater, format!("gc: {error}"), RUNS)),
    };
    let mut failures = Vec::new();
    for released in &reply.released {
        failures.extend(clean(call, released).err());
    }
    match failures.into_iter().next() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn clean(call: &mut Call, gone: &freeboard_rpc::node::garbage_collect_reply::Released) -> Result<(), Failure> {
    let attachment = gone.attachment.clone().unwrap_or_default();
    let sandbox = Sandbox {
        key: AttachmentKey {
            network: attachment.network,
            container: attachment.container,
            interface: attachment.interface,
        },
        namespace: None,
        pod: PodKey::new(gone.pod_namespace.clone(), gone.pod_name.clone()),
        infra_container: String::new(),
        pod_uid: String::new(),
    };
    let remains = released(gone.allocation.as_slice(), &sandbox, call.configuration.veth_prefix()?);
    call.log.info(&format!("released what {} held for {}", sandbox.key, sandbox.pod));
    remains.tear_down().map_err(|error| Failure::datapath("gc", &error))
}
