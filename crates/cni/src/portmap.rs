//! Host ports that the reference plugin `portmap` made for a pod of the Amazon VPC CNI: Freeboard's list does not call it any more, so
//! this plugin does, once, when such a pod goes.

use std::env;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use freeboard_datapath::nft::NftSocket;
use freeboard_datapath::ports_of_pods;
use serde_json::{Value, json};

use crate::call::Call;
use crate::failure::{Code, Failure};
use crate::previous::Previous;

/// The executable's name, as in the other's list.
const NAME: &str = "portmap";

/// Lets `portmap` remove what it made, unless the pod's host ports are Freeboard's own. Doing it again is no error.
///
/// # Errors
/// When it is there and fails: the runtime asks again.
pub(crate) fn forget(call: &mut Call, previous: &Previous) -> Result<(), Failure> {
    if call.configuration.runtime_config.port_mappings.is_empty() || is_ours(&previous.addresses) {
        return Ok(());
    }
    let Some(program) = find() else {
        call.log.info("the pod may have host ports of portmap, which is not in CNI_PATH: they stay");
        return Ok(());
    };
    let configuration = json!({
        "cniVersion": call.version.as_str(), "name": call.configuration.name, "type": NAME, "snat": true,
        "runtimeConfig": {"portMappings": call.configuration.runtime_config.port_mappings},
    });
    run(&program, &configuration).map_err(|problem| {
        let message = format!("del cmd: {} cannot remove the pod's host ports: {problem}", program.display());
        Failure::new(Code::TryAgainLater, message, "the runtime tries again by itself")
    })?;
    call.log.info("portmap was asked to remove the host ports that it may have made");
    Ok(())
}

/// Whether one of these addresses has host ports that Freeboard made. A look that fails is no reason to keep the pod.
fn is_ours(addresses: &[Ipv4Addr]) -> bool {
    let ports = NftSocket::open().and_then(|mut socket| ports_of_pods(&mut socket)).unwrap_or_default();
    ports.iter().any(|(pod, _)| addresses.contains(pod))
}

/// Looks where a runtime would.
fn find() -> Option<PathBuf> {
    let directories = env::var_os("CNI_PATH")?;
    env::split_paths(&directories).map(|directory| directory.join(NAME)).find(|path| path.is_file())
}

/// The call's own environment (command, sandbox, interface) is passed on as it is.
fn run(program: &PathBuf, configuration: &Value) -> Result<(), String> {
    let mut command = Command::new(program);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read has its own reason, which its answer tells.
        let _ = input.write_all(configuration.to_string().as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).trim().to_owned()) }
}
