//! The program `freeboard-controller`: takes part in the election of a leader, and leads when it has won.

mod api;
mod expansions;
mod http;
mod input;
mod metrics;
mod nodes;
mod options;
mod outlook;
mod ranges;
mod reports;
mod shell;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use freeboard_kubernetes::client::{Access, ClientOptions, connect};
use freeboard_kubernetes::events::{Recorder, Reporter};
use freeboard_kubernetes::leader::{LeaderOptions, Leadership};
use tokio::signal::unix::{SignalKind, signal};

use freeboard_ec2::{Ec2Client, Ec2Config};

use crate::expansions::Expansions;
use crate::http::Health;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::shell::Shell;

/// The name under which it writes and tells.
pub(crate) const MANAGER: &str = "freeboard-controller";

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.context("the runtime cannot be started").and_then(|runtime| runtime.block_on(run(options)));
    if let Err(error) = outcome {
        tracing::error!("freeboard-controller stops: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn run(options: Options) -> Result<()> {
    let access = options.kubeconfig.clone().map_or(Access::Pod, Access::Kubeconfig);
    let user_agent = format!("{MANAGER}/{}", env!("CARGO_PKG_VERSION"));
    let client = connect(&ClientOptions { access, server: None, user_agent }).await?;
    let health = Health { metrics: Arc::new(Metrics::new()?), is_ready: Arc::default() };
    let recorder =
        Recorder::start(client.clone(), Reporter { component: MANAGER.to_owned(), instance: options.identity.clone() });
    let ec2 = if options.expansions { Some(Ec2Client::new(Ec2Config::from_environment().await?)?) } else { None };
    let lease = LeaderOptions::new(&options.namespace, MANAGER, &options.identity);
    let leadership = Arc::new(Leadership::campaign(client.clone(), lease));
    let mut stop = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let campaign = async {
        loop {
            let term = leadership.won().await;
            health.metrics.leading.set(1);
            // The first term of all has no leader before it whose writes could still land.
            let settings = options.blocks_settings(term.number == 0);
            let blocks = Shell::lead(
                client.clone(),
                Arc::clone(&leadership),
                health.clone(),
                recorder.clone(),
                settings,
                options.outlook(),
            );
            match &ec2 {
                Some(ec2) => {
                    let (client, leadership) = (client.clone(), Arc::clone(&leadership));
                    let metrics = Arc::clone(&health.metrics);
                    let expansions = Expansions::lead(client, ec2.clone(), leadership, recorder.clone(), metrics);
                    tokio::join!(blocks, expansions);
                }
                None => blocks.await,
            }
            health.metrics.leading.set(0);
            tracing::warn!("the lease is lost; another replica leads, or will");
        }
    };
    tokio::select! {
        () = campaign => Ok(()),
        () = health.watch(client.clone()) => Ok(()),
        outcome = http::serve(options.bind, health.clone()) => outcome,
        _ = stop.recv() => {
            // What is in flight has the time of the election to land.
            if let Some(leadership) = Arc::into_inner(leadership) {
                leadership.resign().await;
            }
            Ok(())
        }
    }
}
