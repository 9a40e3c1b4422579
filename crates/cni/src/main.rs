//! Program: the CNI plugin. The container runtime starts it for each sandbox; it asks the agent for an address and joins the
//! sandbox to the node.

mod add;
mod agent;
mod call;
mod check;
mod configuration;
mod delete;
mod failure;
mod invocation;
mod log;
mod portmap;
mod previous;
mod result;
mod tombstone;
mod version;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use crate::call::Call;
use crate::configuration::Configuration;
use crate::failure::{Code, Failure};
use crate::invocation::Command;

fn main() -> ExitCode {
    let start = Instant::now();
    let mut version = version::LATEST.to_owned();
    match run(start, &mut version) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // When standard output is gone nobody is left to tell.
            let _ = failure.report(&version, io::stdout().lock());
            ExitCode::FAILURE
        }
    }
}

fn run(start: Instant, version: &mut String) -> Result<(), Failure> {
    let command = Command::from_environment()?;
    let configuration = Configuration::read(io::stdin().lock())?;
    if let Some(given) = &configuration.cni_version {
        version.clone_from(given);
    }
    if command == Command::Version {
        return write_versions(version);
    }
    let mut call = Call::new(command, configuration)?;
    // The runtime reads the result only after the plugin ended, so it is written whole, at the end.
    let mut output = Vec::new();
    let outcome = dispatch(command, &mut call, &mut output);
    call.log.with("elapsedMicroseconds", u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    match &outcome {
        Ok(()) => call.log.info("done"),
        Err(failure) => {
            call.log.with("code", failure.code as u32);
            call.log.error(&failure.message);
        }
    }
    outcome?;
    write_out(&output)
}

fn dispatch(command: Command, call: &mut Call, output: &mut Vec<u8>) -> Result<(), Failure> {
    match command {
        Command::Add => add::run(call, output),
        Command::Delete => delete::run(call),
        Command::Check => check::check(call),
        Command::GarbageCollect => check::garbage_collect(call),
        Command::Status => check::status(call),
        Command::Version => Ok(()),
    }
}

fn write_versions(version: &str) -> Result<(), Failure> {
    let supported = version::SUPPORTED.map(|version| format!("{version:?}")).join(",");
    let version = serde_json::Value::from(version);
    write_out(format!("{{\"cniVersion\":{version},\"supportedVersions\":[{supported}]}}\n").as_bytes())
}

fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = output.write_all(bytes).and_then(|()| output.flush());
    written.map_err(|e| Failure::new(Code::InputOutput, format!("cannot write to standard output: {e}"), ""))
}
