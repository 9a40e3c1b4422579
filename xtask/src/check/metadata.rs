//! What `cargo metadata` tells about the workspace, reduced to what the checks ask.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;

/// All packages and how they are resolved for this platform.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) resolve: Resolve,
}

/// One package, ours or somebody else's.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Where the package comes from; none for our own.
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// A dependency as it is declared in a manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) source: Option<String>,
    /// None (a normal one), `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// Something that a package builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
}

/// The resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

/// One package in the resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<Edge>,
}

/// One resolved dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Edge {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<EdgeKind>,
}

/// In which role a package is depended upon.
#[derive(Debug, Deserialize)]
pub(crate) struct EdgeKind {
    pub(crate) kind: Option<String>,
}

impl Package {
    /// Whether the package belongs to this workspace.
    pub(crate) fn is_ours(&self) -> bool {
        self.source.is_none()
    }

    /// Whether the package runs in the compiler and not in the product.
    fn is_proc_macro(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    }
}

impl Metadata {
    /// Our packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_ours())
    }

    /// All packages that are linked into `package` or run when it is built, with the package that brought each in.
    /// What a procedural macro itself depends on runs in the compiler, and does not count.
    pub(crate) fn closure<'a>(&'a self, package: &'a Package) -> BTreeMap<&'a str, &'a str> {
        let packages: BTreeMap<&str, &Package> =
            self.packages.iter().map(|package| (package.id.as_str(), package)).collect();
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut brought_in_by = BTreeMap::new();
        let mut waiting = vec![package];
        while let Some(current) = waiting.pop() {
            let edges = nodes.get(current.id.as_str()).map_or(&[][..], |node| node.deps.as_slice());
            for edge in edges {
                let is_only_for_tests = edge.dep_kinds.iter().all(|kind| kind.kind.as_deref() == Some("dev"));
                let Some(next) = packages.get(edge.pkg.as_str()).filter(|_| !is_only_for_tests) else { continue };
                if brought_in_by.insert(next.name.as_str(), current.name.as_str()).is_none() && !next.is_proc_macro() {
                    waiting.push(next);
                }
            }
        }
        brought_in_by
    }
}

/// Asks cargo, for the platform that the product runs on.
pub(crate) fn read() -> Result<Metadata> {
    let version = command::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let text = command::output(command::cargo().args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        host,
    ]))?;
    serde_json::from_str(&text).context("cannot read what cargo metadata printed")
}
