//! `freeboard leaks`: what is held and nothing uses, seen in two looks; given back only when that is asked for twice.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use freeboard_capacity::{Leak, LeakKind, confirmed, leaks};
use freeboard_ec2::{DeleteNetworkInterface, Ec2Client, UnassignPrivateIpAddresses};
use serde_json::json;

use crate::input::{Input, Output, Sources, print_value};
use crate::layout::{counted, item, wrap};
use crate::live::Live;

const WIDTH: usize = 80;

/// Where to look, and what to do about it.
#[derive(Debug, Args)]
#[command(
    after_help = "One look proves nothing: an agent makes an interface seconds before it attaches it. What two looks show is a leak: give \
                  a second dump with --again, or an API with --ec2, which is asked twice.\n\
                  Exit codes: 0 nothing leaked, 1 something leaked and still there, 2 bad usage or input that cannot be read."
)]
pub(crate) struct LeaksArguments {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    live: Live,
    /// A second look at the same cluster, taken a minute later or more; may be repeated
    #[arg(long, value_name = "PATH", conflicts_with = "ec2")]
    again: Vec<PathBuf>,
    /// Seconds between the two looks at an API
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    interval: u64,
    /// Show the calls that would give the confirmed leaks back
    #[arg(long)]
    repair: bool,
    /// Really make them, each after one more look
    #[arg(long, requires = "repair", requires = "ec2")]
    yes: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What was found.
struct Found {
    input: Input,
    seen: Vec<Leak>,
    /// What two looks show; absent after one.
    sure: Option<Vec<Leak>>,
}

/// Runs the command.
pub(crate) fn run(arguments: &LeaksArguments) -> Result<ExitCode> {
    let found = look(arguments)?;
    if arguments.output.is_text() {
        anstream::print!("{}", page(&found, arguments));
    } else {
        print_value(&json!({ "seen": found.seen, "confirmed": found.sure }), arguments.output)?;
    }
    let sure = found.sure.as_deref().unwrap_or_default();
    let mut left = found.seen.len();
    if arguments.yes {
        left = left.saturating_sub(repair(arguments, sure)?);
    }
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look(arguments: &LeaksArguments) -> Result<Found> {
    let first = arguments.live.or_read(&arguments.sources, "leaks", arguments.output)?;
    let seen = leaks(&first.inventory);
    if first.inventory.interfaces.is_empty() {
        bail!(
            "no interface is known from {}: add the output of `aws ec2 describe-network-interfaces`, and /v1/enis of nodes",
            first.named
        );
    }
    if arguments.live.asks_ec2() {
        if seen.is_empty() {
            return Ok(Found { input: first, seen, sure: Some(Vec::new()) });
        }
        // The second look must be apart in time; this is the one place where a command waits by the clock.
        std::thread::sleep(Duration::from_secs(arguments.interval));
        let second = arguments.live.or_read(&arguments.sources, "leaks", arguments.output)?;
        let again = leaks(&second.inventory);
        let sure = confirmed(&seen, &again);
        return Ok(Found { input: second, seen: again, sure: Some(sure) });
    }
    if arguments.again.is_empty() {
        return Ok(Found { input: first, seen, sure: None });
    }
    let second = Sources::of_paths(&arguments.again).read("leaks", arguments.output)?;
    let sure = confirmed(&seen, &leaks(&second.inventory));
    Ok(Found { input: first, seen, sure: Some(sure) })
}

fn page(found: &Found, arguments: &LeaksArguments) -> String {
    let mut text = String::new();
    if found.seen.is_empty() {
        return "Nothing is held that nothing uses, as far as the evidence goes.\n".to_owned();
    }
    let addresses: u64 = found.seen.iter().map(|leak| leak.addresses).sum();
    let count = u64::try_from(found.seen.len()).unwrap_or(u64::MAX);
    let title = format!(
        "{} that nothing uses, with {}:",
        counted(count, "thing is held", "things are held"),
        counted(addresses, "address", "addresses")
    );
    text.push_str(&wrap(&title, WIDTH, ""));
    text.push('\n');
    for leak in &found.seen {
        let sign = match &found.sure {
            Some(sure) if sure.contains(leak) => "✗ ",
            Some(_) | None => "? ",
        };
        text.push_str(&item(sign, &format!("{leak}."), WIDTH));
        text.push('\n');
        for citation in evidence(found, leak) {
            text.push_str(&wrap(&format!("· {citation}"), WIDTH, "  "));
            text.push('\n');
        }
        if arguments.repair {
            for command in commands(leak) {
                text.push_str(&format!("    {command}\n"));
            }
        }
    }
    let note = match &found.sure {
        None => "Seen once, which proves nothing: look again a minute later, with --again SECOND-DUMP.".to_owned(),
        Some(sure) => format!("✗ both looks agree ({} of {}); ? one look only.", sure.len(), found.seen.len()),
    };
    text.push_str(&format!("\n{}\n", wrap(&note, WIDTH, "")));
    if arguments.repair && !arguments.yes {
        text.push_str("Nothing was changed. With --ec2 URL --repair --yes the confirmed ones are given back.\n");
    }
    text
}

fn evidence(found: &Found, leak: &Leak) -> Vec<String> {
    let facts = found.input.facts();
    let listed = facts.interfaces.get(&leak.interface).map(|known| &known.citation);
    let shown = facts.introspections.iter().find(|one| one.interfaces.contains_key(&leak.interface));
    let shown = shown.map(|one| &one.citation).filter(|_| !matches!(leak.kind, LeakKind::UnattachedInterface { .. }));
    let place = |citation: &freeboard_diagnosis::Citation| match citation.line {
        Some(line) => format!("{}:{line} ({})", citation.file, citation.kind),
        None => format!("{} ({})", citation.file, citation.kind),
    };
    listed.into_iter().chain(shown).map(place).collect()
}

/// What a person would type.
fn commands(leak: &Leak) -> Vec<String> {
    let id = &leak.interface;
    match &leak.kind {
        LeakKind::UnattachedInterface { .. } => {
            vec![format!("aws ec2 delete-network-interface --network-interface-id {id}")]
        }
        LeakKind::UnknownToAgent { block } if block.length() == 32 => {
            vec![format!(
                "aws ec2 unassign-private-ip-addresses --network-interface-id {id} --private-ip-addresses {}",
                block.network()
            )]
        }
        LeakKind::UnknownToAgent { block } => {
            vec![format!("aws ec2 unassign-private-ip-addresses --network-interface-id {id} --ipv4-prefixes {block}")]
        }
        // The agent's own memory: EC2 must not take away what the agent believes in.
        LeakKind::PodGone { .. } => {
            vec!["# restart the node's aws-node pod: it compares its memory with the kubelet's pods".to_owned()]
        }
    }
}

/// Gives back what can be given back through EC2; each thing is looked at once more before it goes. Gives how many went.
fn repair(arguments: &LeaksArguments, sure: &[Leak]) -> Result<usize> {
    let client = arguments.live.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut gone = 0;
    for leak in sure {
        let still = leaks(&arguments.live.ask()?.inventory).contains(leak);
        if !still {
            anstream::println!("kept: {leak}: not so any more");
            continue;
        }
        match runtime.block_on(give_back(&client, leak)) {
            Ok(true) => {
                gone += 1;
                anstream::println!("given back: {leak}");
            }
            Ok(false) => anstream::println!("kept: {leak}: only its agent can give it back"),
            Err(error) => anstream::println!("kept: {leak}: {error}"),
        }
    }
    Ok(gone)
}

async fn give_back(client: &Ec2Client, leak: &Leak) -> Result<bool> {
    let interface = leak.interface.clone();
    match &leak.kind {
        LeakKind::UnattachedInterface { .. } => {
            client.delete_network_interface(&DeleteNetworkInterface { interface }).await?;
        }
        LeakKind::UnknownToAgent { block } => {
            let (addresses, prefixes) = match block.length() {
                32 => (vec![block.network()], Vec::new()),
                _ => (Vec::new(), vec![*block]),
            };
            client
                .unassign_private_ip_addresses(&UnassignPrivateIpAddresses { interface, addresses, prefixes })
                .await?;
        }
        LeakKind::PodGone { .. } => return Ok(false),
    }
    Ok(true)
}
