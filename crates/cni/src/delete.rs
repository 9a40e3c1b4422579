//! DEL: the address back to the agent, and the host clean, whether or not the agent is there.

use std::net::Ipv4Addr;
use std::path::Path;

use freeboard_datapath::names::host_interface;
use freeboard_datapath::{NetworkNamespace, PodRemains};
use freeboard_rpc::cni::{DelNetworkReply, IpAllocationMetadata};

use crate::add::{DEADLINE, DEL_NETWORK, deletion};
use crate::agent::CallError;
use crate::call::Call;
use crate::failure::{Code, Failure};
use crate::invocation::{Command, Sandbox};
use crate::previous::Previous;
use crate::{portmap, tombstone};

/// Releases the sandbox's address. Doing it again is no error.
pub(crate) fn run(call: &mut Call) -> Result<(), Failure> {
    let sandbox = Sandbox::from_environment(Command::Delete, &call.configuration)?;
    call.describe(&sandbox);
    let result = call.configuration.prev_result.as_ref();
    let previous = result.map(|result| Previous::read(result, &sandbox.key.interface)).unwrap_or_default();
    if previous.vlan != 0 {
        // The pod has its own security groups; its address is not the agent's, and its rules name its VLAN.
        call.log.warn("the pod was set up with a branch interface: only its route and rules are removed");
        return tear_down(call, &sandbox, &previous.remains());
    }
    portmap::forget(call, &previous)?;
    // Without a cool-down the agent may give the address to the next pod before this process goes on, so the rules that are
    // known go first; what fails here is tried again below.
    let cleaned = if previous.remains().disconnect().is_ok() { previous.addresses.clone() } else { Vec::new() };
    let agent = call.agent()?;
    match agent.call::<DelNetworkReply>(DEL_NETWORK, &deletion(&sandbox, "PodDeleted"), DEADLINE) {
        Ok(reply) if reply.success => {
            let mut remains = released(&reply.ip_allocation_metadata, &sandbox, call.configuration.veth_prefix()?);
            remains.addresses.retain(|address| !cleaned.contains(address));
            if remains.addresses.is_empty() && !cleaned.is_empty() {
                return Ok(());
            }
            tear_down(call, &sandbox, &remains)
        }
        Ok(_) => {
            let message = "del cmd: the agent could not release the pod's address";
            Err(Failure::new(
                Code::TryAgainLater,
                message,
                "see ipamd.log on the node; the runtime tries again by itself",
            ))
        }
        Err(error) if error.is_unknown_pod() => {
            call.log.info("the agent holds nothing for this attachment");
            Ok(())
        }
        Err(error) => without_agent(call, &sandbox, &previous, &cleaned, &error),
    }
}

/// The host's part of what the agent released.
pub(crate) fn released(allocations: &[IpAllocationMetadata], sandbox: &Sandbox, prefix: &str) -> PodRemains {
    let addresses = allocations.iter().filter_map(|allocation| allocation.ipv4_addr.parse().ok()).collect();
    let has_pod = !sandbox.pod.name.is_empty();
    PodRemains { host_interface: has_pod.then(|| host_interface(prefix, &sandbox.pod)), addresses }
}

/// The veth pair is left to a sandbox that still exists: the runtime deletes it next.
fn tear_down(call: &mut Call, sandbox: &Sandbox, remains: &PodRemains) -> Result<(), Failure> {
    let exists = sandbox.namespace.as_ref().is_some_and(|path| NetworkNamespace::open(path).is_ok());
    let outcome = if exists { remains.disconnect() } else { remains.tear_down() };
    outcome.map_err(|error| {
        call.log.error(&format!("Failed on TeardownPodNetwork: {error}"));
        Failure::datapath("del cmd: failed on tear down pod network", &error)
    })
}

/// Cleans the host from what the runtime and the sandbox know, but for the addresses that are `cleaned` already (an agent that
/// died with the answer may have given them to the next pod), and leaves a note for the agent.
fn without_agent(
    call: &mut Call,
    sandbox: &Sandbox,
    previous: &Previous,
    cleaned: &[Ipv4Addr],
    error: &CallError,
) -> Result<(), Failure> {
    call.log.error(&format!("Error received from DelNetwork gRPC call: {error}"));
    let remains = if previous.addresses.is_empty() { from_sandbox(call, sandbox)? } else { Some(previous.remains()) };
    match remains {
        Some(mut remains) => {
            remains.addresses.retain(|address| !cleaned.contains(address));
            if cleaned.is_empty() || !remains.addresses.is_empty() {
                tear_down(call, sandbox, &remains)?;
            }
            call.log.info("Handled pod teardown using prevResult");
        }
        None => call
            .log
            .info("Could not teardown pod using prevResult: there is none, and the sandbox has no such interface"),
    }
    let directory = call.configuration.tombstone_dir.as_deref().unwrap_or(tombstone::DEFAULT_DIRECTORY);
    let note = tombstone::write(Path::new(directory), sandbox).map_err(|source| {
        let message = format!("del cmd: {error}, and no note of the deletion can be left in {directory}: {source}");
        Failure::new(
            Code::TryAgainLater,
            message,
            "start the agent or make the directory writable; the runtime tries again",
        )
    })?;
    call.log.info(&format!("the agent finds the deletion in {}", note.display()));
    Ok(())
}

fn from_sandbox(call: &Call, sandbox: &Sandbox) -> Result<Option<PodRemains>, Failure> {
    let Some(namespace) = sandbox.namespace.as_ref().filter(|_| !sandbox.pod.name.is_empty()) else { return Ok(None) };
    let name = host_interface(call.configuration.veth_prefix()?, &sandbox.pod);
    // A sandbox that is gone took its end of the pair along, and with it the other.
    Ok(PodRemains::from_sandbox(namespace, &sandbox.key.interface, &name).unwrap_or(None))
}
