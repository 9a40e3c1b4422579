//! The program `freeboard-agent`: reads the environment, starts logging, runs the agent.

use std::process::ExitCode;

use clap::Parser;
use freeboard_agent::environment::Layers;
use freeboard_agent::probe::{self, Question};
use freeboard_agent::{hand_over, logging, prepare, run};
use freeboard_settings::{Environment, LogDestination, Notice, Settings, SettingsError};

/// The node agent: gives pods their addresses.
///
/// Every setting is an environment variable; --print-settings lists them.
#[derive(Debug, Parser)]
#[command(name = "freeboard-agent", version)]
struct Arguments {
    /// Print every setting as a Markdown page and end.
    #[arg(long)]
    print_settings: bool,
    /// Ask the agent that runs on this node about its health, and end with 0 when it is well.
    #[arg(long, value_name = "WHAT")]
    probe: Option<Question>,
    /// Remove what only Freeboard looks after, when the Amazon VPC CNI works on this node again, and end.
    #[arg(long, conflicts_with = "probe")]
    hand_over: bool,
    /// Do so also when the other's rules are not seen.
    #[arg(long, requires = "hand_over")]
    force: bool,
    /// Write the kernel settings that only a privileged container may write, and end. The agent needs no more than CAP_NET_ADMIN then.
    #[arg(long, conflicts_with_all = ["probe", "hand_over"])]
    prepare_node: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.print_settings {
        write_out(&freeboard_settings::markdown());
        return ExitCode::SUCCESS;
    }
    // A name or value that is no text cannot be one of ours.
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let layers = Layers::of(environment);
    let (settings, notices) = match parse(&layers) {
        Ok(parsed) => parsed,
        Err(error) => {
            write_error(&format!("freeboard-agent stops: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if let Some(question) = arguments.probe {
        let answer = probe::ask(question, &settings.socket);
        if let Err(error) = &answer {
            write_error(&error.to_string());
        }
        return if answer.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if arguments.hand_over {
        return match hand_over::hand_over(&settings, arguments.force) {
            Ok(done) => {
                write_out(&done.to_string());
                ExitCode::SUCCESS
            }
            Err(error) => {
                write_error(&format!("freeboard-agent --hand-over: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    // What prepares the node has not the directory of the log.
    let log = if arguments.prepare_node { LogDestination::Stderr } else { settings.log_file.clone() };
    let (guard, complaint) = match logging::start(&log, settings.log_level) {
        Ok(started) => started,
        Err(error) => {
            write_error(&format!("freeboard-agent stops: logging cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    for notice in notices {
        tracing::warn!("{}", notice.0);
    }
    let outcome = if arguments.prepare_node { prepare_node(&settings) } else { run::run(settings, layers) };
    if let Err(error) = &outcome {
        tracing::error!("Initialization failure: {error:#}");
        // The log is a file on the host; whoever looks at the container sees this.
        write_error(&format!("freeboard-agent stops: {error:#}"));
    }
    drop(guard);
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn prepare_node(settings: &Settings) -> anyhow::Result<()> {
    for change in prepare::prepare(settings)? {
        tracing::info!("host: {change}");
    }
    Ok(())
}

/// The settings of the start. A ConfigMap that cannot be used is left out, as it is when it is edited while the agent runs: a
/// node without an agent would be worse. Nothing but the DaemonSet's own environment can stop the agent.
fn parse(layers: &Layers) -> Result<(Settings, Vec<Notice>), SettingsError> {
    let with_map = Settings::parse(&layers.at_start());
    let Err(error) = with_map else { return with_map };
    let (settings, mut notices) = Settings::parse(&layers.with(&Environment::new())).map_err(|_| error.clone())?;
    notices.push(Notice(format!("the ConfigMap aws-node is left out: {error}")));
    Ok((settings, notices))
}

/// A closed pipe is no reason to panic.
fn write_out(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn write_error(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}
