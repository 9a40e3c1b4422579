//! `freeboard vpc`: the simulated cloud alone, for any client.

use anyhow::Result;
use clap::Subcommand;
use freeboard_vpc_server::ServeOptions;

/// The simulated VPC.
#[derive(Debug, Subcommand)]
pub(crate) enum VpcCommand {
    /// Serve the EC2 API, the metadata service and the control endpoint on the loopback until Ctrl-C.
    Serve(ServeOptions),
}

/// Runs the command.
pub(crate) fn run(command: VpcCommand) -> Result<()> {
    let VpcCommand::Serve(options) = command;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(freeboard_vpc_server::run(options, |announcement| anstream::println!("{announcement}")))?;
    Ok(())
}
