//! What the cluster's objects and EC2 say: the agent's version and settings, and the interfaces.

use freeboard_diagnosis::{Agent, Citation, Facts, Interface};
use freeboard_settings::{Environment, Policy, Settings};

use super::verdict::{Line, and_more};

/// Since this minor version the agent's file is its only memory; before, it asked the container runtime.
const OLDEST_MINOR: u32 = 12;
/// The minor version whose every table, name and file Freeboard was compared with.
const COMPARED_MINOR: u32 = 23;
/// Settings of the Amazon VPC CNI that do nothing here, of which pods notice that.
const NEEDED_BY_PODS: [&str; 4] = ["ENABLE_POD_ENI", "ENABLE_MULTI_NIC", "ENABLE_BANDWIDTH_PLUGIN", "ENABLE_V6_EGRESS"];
/// What the description of an interface for pods with their own security groups begins with.
const BRANCHES: [&str; 2] = ["aws-k8s-trunk-eni", "aws-k8s-branch-eni"];

/// Looks at everything.
pub(super) fn look(facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    for agent in &facts.agents {
        let of_this: Vec<Line> = [version(agent)].into_iter().chain(settings(agent, facts)).collect();
        lines.extend(of_this.into_iter().map(|line| line.at(place(&agent.citation))));
    }
    lines.extend(interfaces(facts));
    lines
}

fn place(citation: &Citation) -> String {
    match citation.line {
        Some(line) => format!("{}:{line}", citation.file),
        None => citation.file.to_string(),
    }
}

fn version(agent: &Agent) -> Line {
    let image = &agent.image;
    let minor = image.rsplit(':').next().and_then(|tag| {
        let mut numbers = tag.trim_start_matches('v').split(['.', '-']);
        (numbers.next()? == "1").then(|| numbers.next()?.parse::<u32>().ok())?
    });
    let subject = "version";
    match minor {
        None => Line::changes(subject, format!("{image} does not say which it is")).with_remedy(format!(
            "make sure that it is v1.{OLDEST_MINOR} or later: older agents keep part of their state elsewhere"
        )),
        Some(minor) if minor < OLDEST_MINOR => {
            Line::unsupported(subject, format!("v1.{minor} keeps part of its state in the container runtime"))
                .with_remedy(format!("upgrade the Amazon VPC CNI to v1.{OLDEST_MINOR} or later first"))
        }
        Some(minor) if minor > COMPARED_MINOR => Line::changes(
            subject,
            format!("v1.{minor} is later than v1.{COMPARED_MINOR}, with which Freeboard was compared"),
        )
        .with_remedy("try one node first"),
        Some(minor) => Line::safe(subject, format!("v1.{minor} keeps its state where Freeboard reads it")),
    }
}

fn settings(agent: &Agent, facts: &Facts) -> Vec<Line> {
    let environment: Environment = agent.environment.clone();
    let (settings, notices) = match Settings::parse(&environment) {
        Ok(parsed) => parsed,
        Err(error) => {
            let refused = error.problems.iter().map(|problem| {
                Line::unsupported("settings", format!("{problem}"))
                    .with_remedy(format!("change {} in the DaemonSet aws-node before", problem.variable))
            });
            return refused.collect();
        }
    };
    let mut lines: Vec<Line> = notices
        .into_iter()
        .map(|notice| {
            let is_needed = NEEDED_BY_PODS.iter().any(|name| notice.0.starts_with(&format!("{name}=")));
            let line = if is_needed { Line::unsupported } else { Line::changes };
            line("settings".to_owned(), notice.0)
        })
        .collect();
    let counted = settings.values().iter().filter(|value| value.changed).count();
    lines.push(Line::safe(
        "settings",
        format!("{counted} that differ from their defaults keep their names and meaning"),
    ));
    if agent.environment.get("NETWORK_POLICY_ENFORCING_MODE").is_some_and(|mode| !mode.is_empty()) {
        let says = "the plugin does not hand pods to the network policy agent of the Amazon VPC CNI";
        let remedy = "safe where no NetworkPolicy is enforced by it (enable-network-policy-controller is false); else enforce \
                      policies by another program first";
        lines.push(Line::changes("network policies", says).with_remedy(remedy));
    }
    lines.push(match settings.policy() {
        Policy::Lean => Line::changes(
            "warm addresses",
            "no target is set, so nodes hold what is needed next (FREEBOARD_POLICY=lean), not a whole spare interface",
        )
        .with_remedy("set FREEBOARD_POLICY=compatible to keep the formulas of the Amazon VPC CNI"),
        Policy::Compatible => Line::safe("warm addresses", "a target is set, and means what it has meant"),
    });
    if settings.custom_networking {
        let count = facts.eni_configs.len();
        lines.push(if count == 0 {
            Line::changes("custom networking", "it is on, and no ENIConfig is in the input")
                .with_remedy("add the output of `kubectl get eniconfigs -o yaml`")
        } else {
            Line::safe("custom networking", format!("{count} ENIConfigs are used by the same labels and annotations"))
        });
    }
    lines
}

fn interfaces(facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    let of = |is: fn(&Interface) -> bool| facts.interfaces.iter().filter(move |(_, one)| is(one)).collect::<Vec<_>>();
    let is_branch =
        |one: &Interface| BRANCHES.iter().any(|start| one.description.to_ascii_lowercase().starts_with(start));
    let branches: Vec<_> = facts.interfaces.iter().filter(|(_, one)| is_branch(one)).collect();
    if let Some((id, one)) = branches.first() {
        lines.push(
            Line::unsupported(
                "interfaces",
                format!("for pods with their own security groups: {}", and_more(id, branches.len())),
            )
            .at(place(&one.citation)),
        );
    }
    let made = of(|one| one.made_by_cni && one.instance.is_some());
    if !made.is_empty() {
        let says =
            format!("{} that the Amazon VPC CNI has made are taken on by their tags, with every address", made.len());
        lines.push(Line::safe("interfaces", says));
    }
    let loose = of(|one| one.made_by_cni && one.instance.is_none());
    if let Some((id, one)) = loose.first() {
        let says = format!("attached to no instance, so they leak already: {}", and_more(id, loose.len()));
        let line = Line::changes("interfaces", says).with_remedy("see `freeboard leaks`");
        lines.push(line.at(place(&one.citation)));
    }
    lines
}
