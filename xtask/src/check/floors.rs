//! The floors of the house: a crate depends only on floors below it, and the two lowest floors are pure.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Findings;
use super::metadata::Metadata;

/// Each crate and its floor, as ARCHITECTURE.md draws them.
const FLOORS: &[(&str, u8)] = &[
    ("freeboard-address", 0),
    ("freeboard-settings", 0),
    ("freeboard-pool", 1),
    ("freeboard-blocks", 1),
    ("freeboard-vpc", 1),
    ("freeboard-capacity", 1),
    ("freeboard-gcp", 1),
    ("freeboard-diagnosis", 1),
    ("freeboard-ec2", 2),
    ("freeboard-evidence", 2),
    ("freeboard-rpc", 2),
    ("freeboard-datapath", 2),
    ("freeboard-kubernetes", 2),
    ("freeboard-vpc-server", 2),
    ("freeboard-lab", 3),
    ("freeboard-simulator", 3),
    ("freeboard-agent", 4),
    ("freeboard-controller", 4),
    ("freeboard-cni", 4),
    ("freeboard-cli", 4),
    ("freeboard-pause", 4),
    ("freeboard-bench", 4),
    ("fuzz", 4),
    ("xtask", 4),
];

/// The highest floor whose crates must be pure.
const HIGHEST_PURE_FLOOR: u8 = 1;

/// All that a pure crate may link from outside: none of these opens a file, a socket or a thread, and none starts a runtime.
/// (`jiff` can read the clock; the engines' clippy.toml bans the calls.)
const PURE_DEPENDENCIES: &[&str] = &[
    "itoa",
    "jiff",
    "jiff-core",
    "log",
    "memchr",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "thiserror",
    "thiserror-impl",
    "zmij",
];

/// The file in which a crate bans calls that its floor must not make.
const BANS: &str = "clippy.toml";

/// Checks that dependencies only go down and that the pure floors stay pure.
pub(crate) fn check(metadata: &Metadata) -> Findings {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut findings = Findings::new();
    for package in metadata.members() {
        let Some(&floor) = floors.get(package.name.as_str()) else {
            findings.push(format!(
                "{} has no floor: name it in xtask/src/check/floors.rs and ARCHITECTURE.md",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(&below) = floors.get(dependency.name.as_str()) else { continue };
            // Values may build on one another. And a test may hold a crate against its counterpart on the same floor, a
            // client against its server.
            let may_be_level = floor == 0 || dependency.kind.as_deref() == Some("dev");
            if below > floor || (below == floor && !may_be_level) {
                findings.push(format!(
                    "{} (floor {floor}) depends on {} (floor {below}): a crate may depend only on floors below it",
                    package.name, dependency.name
                ));
            }
        }
        if floor > HIGHEST_PURE_FLOOR {
            continue;
        }
        for (name, user) in metadata.closure(package) {
            if !PURE_DEPENDENCIES.contains(&name) && !floors.contains_key(name) {
                findings.push(format!(
                    "{} (floor {floor}) is pure, but links {name} (brought in by {user}), which is not on the list in xtask/src/check/floors.rs",
                    package.name
                ));
            }
        }
    }
    findings
}

/// Checks that each pure crate bans clocks, threads, files, randomness and hash iteration, all by the same list, and that
/// no crate opts out of the workspace's lints.
pub(crate) fn check_bans(root: &Path) -> Result<Findings> {
    let mut findings = Findings::new();
    let mut first: Option<(&str, String)> = None;
    for (name, floor) in FLOORS {
        let directory =
            name.strip_prefix("freeboard-").map_or_else(|| root.join(name), |short| root.join("crates").join(short));
        if !directory.is_dir() {
            continue;
        }
        let manifest = directory.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(format!("{name} does not take the workspace's lints: add `[lints]` with `workspace = true`"));
        }
        if *floor > HIGHEST_PURE_FLOOR {
            continue;
        }
        let Ok(bans) = fs::read_to_string(directory.join(BANS)) else {
            findings.push(format!("{name} is pure and has no {BANS} with the bans that keep it so"));
            continue;
        };
        match &first {
            Some((other, expected)) if *expected != bans => {
                findings.push(format!(
                    "the bans of {name} and {other} differ: keep the {BANS} of all pure crates the same"
                ));
            }
            Some(_) => {}
            None => first = Some((name, bans)),
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod unit {
    use super::check;
    use crate::check::metadata::Metadata;

    fn metadata(dependency: &str, kind: &str) -> Metadata {
        let text = format!(
            r#"{{"packages":[
                {{"id":"pool","name":"freeboard-pool","version":"1.0.0","license":null,"source":null,"targets":[{{"kind":["lib"]}}],
                  "dependencies":[{{"name":"{dependency}","source":null,"kind":{kind}}}]}},
                {{"id":"it","name":"{dependency}","version":"1.0.0","license":null,"source":"x","targets":[{{"kind":["lib"]}}],"dependencies":[]}}],
              "resolve":{{"nodes":[
                {{"id":"pool","deps":[{{"pkg":"it","dep_kinds":[{{"kind":{kind}}}]}}]}},{{"id":"it","deps":[]}}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_engine_that_depends_on_a_wire_is_found() {
        let findings = check(&metadata("freeboard-ec2", "null"));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("freeboard-pool (floor 1) depends on freeboard-ec2 (floor 2)"), "{findings:?}");
    }

    #[test]
    fn an_engine_that_links_a_runtime_is_found() {
        let findings = check(&metadata("tokio", "null"));
        assert!(findings[0].contains("links tokio (brought in by freeboard-pool)"), "{findings:?}");
    }

    #[test]
    fn values_below_and_parts_for_tests_are_allowed() {
        assert_eq!(check(&metadata("freeboard-address", "null")), Vec::<String>::new());
        assert_eq!(check(&metadata("proptest", "\"dev\"")), Vec::<String>::new());
    }
}
