//! `freeboard expand`: the expansions of a cluster, and their approval.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use freeboard_kubernetes::client::{Access, ClientOptions, connect, is_not_found, sentence};
use freeboard_kubernetes::kube::api::{ListParams, Patch, PatchParams};
use freeboard_kubernetes::kube::{Api, ResourceExt};
use freeboard_kubernetes::resources::{Expansion, ExpansionPhase, ExpansionStatus, PartState};
use freeboard_kubernetes::watch::{Seen, object};
use futures::StreamExt;

/// Shows the expansions of a cluster: more room for its pods, as it is proposed, approved and carried out.
#[derive(Debug, Args)]
pub(crate) struct ExpandArguments {
    /// The expansion; all of them without one
    name: Option<String>,
    /// Approve it: the controller then carries it out, step by step
    #[arg(long, requires = "name")]
    approve: bool,
    /// Show each step as it is done, until the room is there
    #[arg(long, requires = "name")]
    wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The kubeconfig; without one it is found as kubectl finds it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the cluster cannot be asked, there is no such expansion, or it cannot be carried out.
pub(crate) fn run(arguments: &ExpandArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(expand(arguments))
}

async fn expand(arguments: &ExpandArguments) -> Result<()> {
    let access = arguments.kubeconfig.clone().map_or(Access::Person, Access::Kubeconfig);
    let user_agent = format!("freeboard/{}", env!("CARGO_PKG_VERSION"));
    let api = Api::<Expansion>::all(connect(&ClientOptions { access, server: None, user_agent }).await?);
    let Some(name) = &arguments.name else { return list(&api, arguments.json).await };
    let mut expansion = find(&api, name).await?;
    if arguments.approve {
        expansion = approve(&api, &expansion).await?;
    }
    if arguments.wait {
        return follow(api, name).await;
    }
    if arguments.json {
        anstream::println!("{}", serde_json::to_string_pretty(&expansion)?);
    } else {
        anstream::print!("{}", described(&expansion));
    }
    Ok(())
}

async fn list(api: &Api<Expansion>, json: bool) -> Result<()> {
    let listed = api.list(&ListParams::default()).await;
    let items = listed.map_err(|error| anyhow::anyhow!("the expansions cannot be listed: {}", sentence(&error)))?.items;
    if json {
        anstream::println!("{}", serde_json::to_string_pretty(&items)?);
        return Ok(());
    }
    if items.is_empty() {
        anstream::println!("There are no expansions. What would help: freeboard plan");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["NAME", "BLOCK", "PHASE", "PODS", "NOW"]);
    for expansion in &items {
        let status = expansion.status.clone().unwrap_or_default();
        let pods = status.pods.to_string();
        table.add_row([
            expansion.name_any(),
            expansion.spec.block.clone(),
            format!("{:?}", status.phase),
            pods,
            status.now,
        ]);
    }
    anstream::println!("{table}");
    Ok(())
}

async fn find(api: &Api<Expansion>, name: &str) -> Result<Expansion> {
    match api.get(name).await {
        Ok(found) => Ok(found),
        Err(error) if is_not_found(&error) => {
            let others = api.list(&ListParams::default()).await.map(|listed| listed.items).unwrap_or_default();
            let others: Vec<String> = others.iter().map(ResourceExt::name_any).collect();
            let known = if others.is_empty() {
                "there are none".to_owned()
            } else {
                format!("there are {}", others.join(", "))
            };
            bail!("there is no expansion {name:?}: {known}")
        }
        Err(error) => bail!("the expansion {name:?} cannot be read: {}", sentence(&error)),
    }
}

/// The version in the patch makes sure that what is approved is what was shown.
async fn approve(api: &Api<Expansion>, expansion: &Expansion) -> Result<Expansion> {
    let name = expansion.name_any();
    if expansion.spec.approved {
        anstream::eprintln!("{name} is approved already.");
        return Ok(expansion.clone());
    }
    if expansion.status.as_ref().is_some_and(|status| status.phase == ExpansionPhase::Refused) {
        let status = expansion.status.clone().unwrap_or_default();
        bail!("{name} would not be carried out: {}", status.now);
    }
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": expansion.resource_version()}, "spec": {"approved": true},
    });
    let approved = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
    approved.map_err(|error| anyhow::anyhow!("{name} cannot be approved: {}", sentence(&error)))
}

/// Prints each part as it is done.
async fn follow(api: Api<Expansion>, name: &str) -> Result<()> {
    let mut shown = Vec::new();
    let mut last = String::new();
    let mut seen = object(api, name);
    while let Some(seen) = seen.next().await {
        let expansion = match seen {
            Seen::Now(Some(expansion)) => expansion,
            Seen::Now(None) => bail!("{name} is deleted; what was made of it stays"),
            Seen::Lost(why) => {
                anstream::eprintln!("the API server cannot be asked, and is asked again: {why}");
                continue;
            }
        };
        let Some(status) = expansion.status else { continue };
        // The controller has not seen the approval yet.
        if expansion.spec.approved && status.phase == ExpansionPhase::Proposed {
            continue;
        }
        for part in status.parts.iter().filter(|part| part.state == PartState::Done) {
            if !shown.contains(&part.aim) {
                shown.push(part.aim.clone());
                anstream::println!("  ✓ {}  ({})", part.aim, part.detail);
            }
        }
        match status.phase {
            ExpansionPhase::Refused => bail!("{name} is refused: {}", status.now),
            ExpansionPhase::Withdrawing | ExpansionPhase::Withdrawn => bail!("{name} is taken back: {}", status.now),
            ExpansionPhase::Done => return Ok(()),
            ExpansionPhase::Ready => {
                anstream::println!("  The room is there; {}.", status.now);
                return Ok(());
            }
            ExpansionPhase::Proposed | ExpansionPhase::Running | ExpansionPhase::Stuck => {}
        }
        if status.now != last {
            let mark = if status.phase == ExpansionPhase::Stuck { "✗" } else { "…" };
            anstream::println!("  {mark} {}", status.now);
            last = status.now;
        }
    }
    Ok(())
}

fn described(expansion: &Expansion) -> String {
    let spec = &expansion.spec;
    let status: ExpansionStatus = expansion.status.clone().unwrap_or_default();
    let mut text = format!("{}: {} for {}, {:?}\n", expansion.name_any(), spec.block, spec.vpc, status.phase);
    if status.now.is_empty() {
        text.push_str("  No controller has looked at it yet: is freeboard-controller running with --expansions?\n");
    } else {
        text.push_str(&format!("  {}\n", status.now));
    }
    if !status.parts.is_empty() {
        text.push('\n');
    }
    for part in &status.parts {
        let mark = match part.state {
            PartState::Done => "✓",
            PartState::Due => "→",
            PartState::Waits => "·",
            PartState::Stuck => "✗",
        };
        text.push_str(&format!("  {mark} {}\n      {}\n", part.aim, part.detail));
    }
    for objection in &status.objections {
        text.push_str(&format!("  ! {objection}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use freeboard_kubernetes::resources::{ExpansionPart, ExpansionSpec, ExpansionSubnet};

    use super::*;

    #[test]
    fn it_says_what_is_done_what_is_waited_for_and_where_the_controller_is_missing() {
        let subnet = ExpansionSubnet { zone: "a".to_owned(), cidr: "100.64.1.0/24".to_owned(), route_table: None };
        let spec = ExpansionSpec {
            vpc: "vpc-1".to_owned(),
            block: "100.64.0.0/20".to_owned(),
            subnets: vec![subnet],
            means: Default::default(),
            security_groups: Vec::new(),
            approved: true,
            withdrawn: false,
        };
        let mut expansion = Expansion::new("more", spec);
        assert!(described(&expansion).contains("is freeboard-controller running with --expansions?"));
        let part = |aim: &str, state| ExpansionPart {
            aim: aim.to_owned(),
            state,
            detail: "detail".to_owned(),
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        expansion.status = Some(ExpansionStatus {
            phase: ExpansionPhase::Running,
            now: "EC2 is associating 100.64.0.0/20".to_owned(),
            parts: vec![part("the block", PartState::Waits), part("the subnet", PartState::Stuck)],
            ..ExpansionStatus::default()
        });
        let text = described(&expansion);
        assert!(text.starts_with("more: 100.64.0.0/20 for vpc-1, Running\n  EC2 is associating"), "{text}");
        assert!(text.contains("  · the block\n      detail\n  ✗ the subnet\n"), "{text}");
    }
}
