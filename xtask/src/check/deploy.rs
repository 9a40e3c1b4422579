//! What `deploy/` says of the programs: its policies allow the EC2 actions that the code calls and no others, and its alerts and
//! its dashboard ask for metrics that are declared.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Findings;

/// Each policy, and where the calls are that it is for.
const POLICIES: [(&str, &str); 2] = [
    ("deploy/aws/freeboard-agent-policy.json", "crates/agent/src"),
    ("deploy/aws/freeboard-controller-policy.json", "crates/controller/src"),
];
/// Where every EC2 action is declared.
const ACTIONS: &str = "crates/ec2/src/action.rs";
/// Where every metric is declared.
const METRICS: [&str; 2] = ["crates/agent/src/metrics.rs", "crates/controller/src/metrics.rs"];
/// What asks for metrics.
const QUERIES: [&str; 2] =
    ["deploy/helm/freeboard/files/prometheus-rules.yaml", "deploy/helm/freeboard/files/grafana-dashboard.json"];
/// How names of metrics begin that are declared here, and not by Prometheus or by others.
const PREFIXES: [&str; 4] = ["awscni_", "freeboard_", "node_ipam_controller_", "process_"];
/// What a histogram's or a summary's series add to its name.
const SERIES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Checks policies and queries.
pub(crate) fn check(root: &Path) -> Result<Findings> {
    let mut findings = Findings::new();
    let actions = actions(&read(root, ACTIONS)?);
    ensure!(!actions.is_empty(), "{ACTIONS} declares no action in the way that this check knows");
    for (policy, sources) in POLICIES {
        let mut code = String::new();
        for file in sources_below(&root.join(sources))? {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            code += text.split("#[cfg(test)]").next().unwrap_or_default();
        }
        let allowed = allowed(&read(root, policy)?).with_context(|| format!("{policy} is no policy"))?;
        findings.extend(compare(policy, sources, &called(&actions, &code), &allowed));
    }
    let mut declared = BTreeSet::new();
    for file in METRICS {
        declared.extend(declared_metrics(&read(root, file)?));
    }
    for file in QUERIES {
        findings.extend(undeclared(file, &read(root, file)?, &declared));
    }
    Ok(findings)
}

fn read(root: &Path, name: &str) -> Result<String> {
    fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
}

fn sources_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The names in lines such as `CreateTags, TAG, Same;`.
fn actions(declarations: &str) -> Vec<String> {
    let line = |line: &str| {
        let (name, rest) = line.trim().split_once(", ")?;
        let is_name = name.starts_with(|first: char| first.is_ascii_uppercase()) && !name.contains(' ');
        (is_name && rest.ends_with(';')).then(|| name.to_owned())
    };
    declarations.lines().filter_map(line).collect()
}

/// The actions whose methods the code calls: an action's method has its name in lower case with underscores.
fn called(actions: &[String], code: &str) -> BTreeSet<String> {
    let is_called = |action: &&String| {
        let mut call = String::from(".");
        for letter in action.chars() {
            if letter.is_ascii_uppercase() && call.len() > 1 {
                call.push('_');
            }
            call.push(letter.to_ascii_lowercase());
        }
        code.contains(&(call + "("))
    };
    actions.iter().filter(is_called).map(|action| format!("ec2:{action}")).collect()
}

/// The actions of a policy's statements, each of which has one or a list.
fn allowed(policy: &str) -> Result<BTreeSet<String>> {
    let policy: Value = serde_json::from_str(policy)?;
    let statements = policy["Statement"].as_array().context("it has no list of statements")?;
    let mut actions = BTreeSet::new();
    for statement in statements {
        ensure!(statement["Effect"] == "Allow", "a statement does something else than to allow");
        let action = &statement["Action"];
        if let Some(several) = action.as_array() {
            actions.extend(several.iter().filter_map(Value::as_str).map(str::to_owned));
        } else {
            actions.insert(action.as_str().context("a statement names no action")?.to_owned());
        }
    }
    Ok(actions)
}

fn compare(policy: &str, sources: &str, called: &BTreeSet<String>, allowed: &BTreeSet<String>) -> Findings {
    let missing = called.difference(allowed).map(|action| format!("{sources} calls {action}, and {policy} lacks it"));
    let idle =
        allowed.difference(called).map(|action| format!("{policy} allows {action}, which {sources} never calls"));
    missing.chain(idle).collect()
}

/// Every text of a file that is a metric's name.
fn declared_metrics(source: &str) -> BTreeSet<String> {
    source.split('"').filter(|text| is_metric(text)).map(str::to_owned).collect()
}

fn is_metric(text: &str) -> bool {
    PREFIXES.iter().any(|prefix| text.starts_with(prefix)) && text.chars().all(is_of_a_name)
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
}

/// The metrics that a file of queries names and nobody declares.
fn undeclared(file: &str, queries: &str, declared: &BTreeSet<String>) -> Findings {
    let names: BTreeSet<&str> = queries.split(|letter| !is_of_a_name(letter)).filter(|word| is_metric(word)).collect();
    let is_known = |name: &str| {
        declared.contains(name)
            || SERIES.iter().any(|series| name.strip_suffix(series).is_some_and(|base| declared.contains(base)))
    };
    let unknown = names.into_iter().filter(|name| !is_known(name));
    unknown.map(|name| format!("{file} asks for {name}, which no program declares")).collect()
}

#[cfg(test)]
mod unit {
    use super::{actions, allowed, called, compare, declared_metrics, undeclared};

    const DECLARATIONS: &str =
        "actions! {\n    CreateTags, TAG, Same;\n    DescribeVpcs, READ, Same;\n}\nlet x = Y, Z;\n";

    #[test]
    fn a_call_without_permission_and_a_permission_without_a_call_are_found() {
        let actions = actions(DECLARATIONS);
        assert_eq!(actions, ["CreateTags", "DescribeVpcs"]);
        let called = called(&actions, "ec2.describe_vpcs(&request).await");
        let policy = r#"{"Statement": [{"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*"}]}"#;
        let findings = compare("policy", "code", &called, &allowed(policy).unwrap());
        assert_eq!(
            findings,
            [
                "code calls ec2:DescribeVpcs, and policy lacks it",
                "policy allows ec2:CreateTags, which code never calls"
            ]
        );
        assert!(allowed(r#"{"Statement": [{"Effect": "Deny", "Action": "ec2:*"}]}"#).is_err());
    }

    #[test]
    fn a_query_for_a_metric_that_nobody_declares_is_found() {
        let declared = declared_metrics(
            r#"make.gauge("freeboard_free_addresses", "…")?; make.histogram("freeboard_add_seconds", "…")"#,
        );
        let queries = r#"sum(freeboard_free_addresses) / rate(freeboard_add_seconds_bucket[5m]) > freeboard_gone + up{job="freeboard-agent"}"#;
        assert_eq!(
            undeclared("rules", queries, &declared),
            ["rules asks for freeboard_gone, which no program declares"]
        );
    }
}
