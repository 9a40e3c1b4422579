//! `freeboard vpc`: the simulated clouds alone, for any client.

use anyhow::Result;
use clap::Subcommand;
use freeboard_vpc_server::{GoogleServeOptions, ServeOptions};

use crate::describe::{self, Describe};

/// The simulated VPC.
#[derive(Debug, Subcommand)]
pub(crate) enum VpcCommand {
    /// Serve the EC2 API, the metadata service and the control endpoint on the loopback until Ctrl-C.
    Serve(ServeOptions),
    /// Serve Google's compute and container APIs on the loopback until Ctrl-C.
    ServeGoogle(GoogleServeOptions),
    /// Show an object of the Google-like cloud as gcloud does.
    #[command(subcommand)]
    Describe(Describe),
}

/// Runs the command.
pub(crate) fn run(command: VpcCommand) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match command {
            VpcCommand::Serve(options) => {
                freeboard_vpc_server::run(options, |announcement| anstream::println!("{announcement}")).await?;
            }
            VpcCommand::ServeGoogle(options) => {
                freeboard_vpc_server::run_google(options, |address| {
                    anstream::println!(
                        "# Google's clients: client_options={{\"api_endpoint\": \"http://{address}\"}}, transport=\"rest\", \
                         AnonymousCredentials()"
                    );
                    anstream::println!("# gcloud's view:    freeboard vpc describe subnet NAME --endpoint {address}");
                })
                .await?;
            }
            VpcCommand::Describe(what) => describe::run(&what).await?,
        }
        Ok(())
    })
}
