//! Pinned peers and clients, built or installed once into `.cache/` and again when their lock file changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::command;

/// A Go program: the name under which it is installed, the module that pins it, the package that it is built from, and what
/// it is for.
struct GoProgram {
    name: &'static str,
    module: &'static GoModule,
    package: &'static str,
    purpose: &'static str,
}

/// A pinned Go module, and how its programs are built.
struct GoModule {
    /// Where its go.mod is, from the root of the workspace.
    directory: &'static str,
    /// Build tags: parts of the programs that are left out.
    tags: &'static str,
    /// What the linker does besides leaving symbols out.
    linker_flags: &'static str,
}

/// The peers.
const PEERS: GoModule = GoModule { directory: "tools/go", tags: "", linker_flags: "" };

/// A real cluster. Its programs know their version only from the linker.
const KUBERNETES: GoModule = GoModule {
    directory: "tools/kubernetes",
    tags: "",
    linker_flags: "-X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 \
                   -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3",
};

/// The container runtime of a cluster's nodes, without the parts that need C libraries.
const CONTAINERD: GoModule =
    GoModule { directory: "tools/containerd", tags: "no_btrfs,no_zfs,no_devmapper", linker_flags: "" };

/// What checks, renders and installs the chart.
const HELM: GoModule = GoModule { directory: "tools/helm", tags: "", linker_flags: "" };

/// What checks the chart's alerts. It finds no targets, so all that finds some is left out.
const PROMETHEUS: GoModule = GoModule { directory: "tools/prometheus", tags: "remove_all_sd", linker_flags: "" };

const GO_PROGRAMS: &[GoProgram] = &[
    GoProgram {
        name: "ptp",
        module: &PEERS,
        package: "github.com/containernetworking/plugins/plugins/main/ptp",
        purpose: "peer: the reference plugin for a veth pair",
    },
    GoProgram {
        name: "host-local",
        module: &PEERS,
        package: "github.com/containernetworking/plugins/plugins/ipam/host-local",
        purpose: "peer: the reference address manager",
    },
    GoProgram {
        name: "portmap",
        module: &PEERS,
        package: "github.com/containernetworking/plugins/plugins/meta/portmap",
        purpose: "third plugin of the Amazon VPC CNI's list",
    },
    GoProgram {
        name: "loopback",
        module: &PEERS,
        package: "github.com/containernetworking/plugins/plugins/main/loopback",
        purpose: "what a runtime calls before any plugin",
    },
    GoProgram {
        name: "cnitool",
        module: &PEERS,
        package: "github.com/containernetworking/cni/cnitool",
        purpose: "the CNI project's own caller of plugins",
    },
    GoProgram {
        name: "aws-cni",
        module: &PEERS,
        package: "github.com/aws/amazon-vpc-cni-k8s/cmd/routed-eni-cni-plugin",
        purpose: "peer: the plugin of the Amazon VPC CNI, about 2 minutes cold",
    },
    GoProgram {
        name: "egress-cni",
        module: &PEERS,
        package: "github.com/aws/amazon-vpc-cni-k8s/cmd/egress-cni-plugin",
        purpose: "second plugin of the Amazon VPC CNI's list",
    },
    GoProgram {
        name: "aws-k8s-agent",
        module: &PEERS,
        package: "github.com/aws/amazon-vpc-cni-k8s/cmd/aws-k8s-agent",
        purpose: "peer: the agent of the Amazon VPC CNI, about 2 minutes cold",
    },
    GoProgram {
        name: "containerd",
        module: &CONTAINERD,
        package: "github.com/containerd/containerd/v2/cmd/containerd",
        purpose: "runs the containers of the lab's nodes",
    },
    GoProgram {
        name: "containerd-shim-runc-v2",
        module: &CONTAINERD,
        package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        purpose: "stands between containerd and runc",
    },
    GoProgram {
        name: "ctr",
        module: &CONTAINERD,
        package: "github.com/containerd/containerd/v2/cmd/ctr",
        purpose: "imports images into containerd",
    },
    GoProgram {
        name: "etcd",
        module: &KUBERNETES,
        package: "go.etcd.io/etcd/server/v3",
        purpose: "the store of the lab's API server",
    },
    GoProgram {
        name: "kube-apiserver",
        module: &KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        purpose: "the lab's API server, about 5 minutes cold",
    },
    GoProgram {
        name: "kubectl",
        module: &KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kubectl",
        purpose: "what a person types",
    },
    GoProgram {
        name: "kubelet",
        module: &KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kubelet",
        purpose: "runs pods on the lab's nodes",
    },
    GoProgram {
        name: "kube-scheduler",
        module: &KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-scheduler",
        purpose: "gives pods to the lab's nodes",
    },
    GoProgram {
        name: "kube-controller-manager",
        module: &KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        purpose: "makes pods of Deployments and DaemonSets",
    },
    GoProgram {
        name: "helm",
        module: &HELM,
        package: "helm.sh/helm/v4/cmd/helm",
        purpose: "installs the chart in deploy/helm",
    },
    GoProgram {
        name: "promtool",
        module: &PROMETHEUS,
        package: "github.com/prometheus/prometheus/cmd/promtool",
        purpose: "plays through the chart's alerts",
    },
];

/// Name of the tool that stands for the Python clients.
const PYTHON: &str = "python";
/// Name of the tool that stands for the system's iptables, without which the Amazon VPC CNI's agent does not start.
const IPTABLES: &str = "iptables";
/// Name of the tool that starts containers.
const RUNC: &str = "runc";
/// Name of the browser in which the dashboard is looked at.
const CHROMIUM: &str = "chromium";
/// Name of the auditor of pages, which runs in the browser; its version, and the digest of the one file that is used.
const AXE: &str = "axe";
const AXE_VERSION: &str = "4.10.3";
const AXE_SHA256: &str = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb";

/// Where everything is installed: outside `target`, so that `cargo clean` does not throw minutes of work away.
fn cache_directory() -> PathBuf {
    command::workspace_root().join(".cache")
}

/// Where the Go programs are; the tests get it as `FREEBOARD_TOOLS`.
pub(crate) fn bin_directory() -> PathBuf {
    cache_directory().join("bin")
}

/// The interpreter that has the clouds' own clients; the tests get it as `FREEBOARD_PYTHON`.
pub(crate) fn python() -> PathBuf {
    cache_directory().join("python/bin/python3")
}

/// Installs the named tools, or all of them; one that is there and up to date costs nothing.
pub(crate) fn install(names: &[String]) -> Result<()> {
    let known: Vec<&str> =
        GO_PROGRAMS.iter().map(|program| program.name).chain([PYTHON, IPTABLES, RUNC, CHROMIUM, AXE]).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no tool named {unknown:?}; there are {}", known.join(", "));
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let directory = bin_directory();
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for program in GO_PROGRAMS.iter().filter(|program| wanted(program.name)) {
        install_go_program(program)?;
    }
    if wanted(PYTHON) {
        install_python()?;
    }
    if wanted(IPTABLES) {
        install_debian_package(IPTABLES, "the Amazon VPC CNI's agent, a peer in the tests, looks for it on the path")?;
    }
    if wanted(RUNC) {
        install_debian_package(RUNC, "containerd on the lab's nodes starts containers with it")?;
    }
    if wanted(CHROMIUM) {
        install_debian_package(CHROMIUM, "the dashboard is looked at in it")?;
    }
    if wanted(AXE) {
        install_axe()?;
    }
    Ok(())
}

/// The script that audits pages, as one file; the tests get it as `FREEBOARD_AXE`.
pub(crate) fn axe() -> PathBuf {
    cache_directory().join("axe/node_modules/axe-core/axe.min.js")
}

/// Installs the auditor of pages, of which nothing is run but what its digest says.
fn install_axe() -> Result<()> {
    let digest = || fs::read(axe()).ok().map(|bytes| hex::encode(Sha256::digest(bytes)));
    if digest().as_deref() == Some(AXE_SHA256) {
        return Ok(());
    }
    let npm = command::find_program("npm").context(
        "the auditor of the dashboard's pages comes by npm, and there is no `npm` on the path: install Node.js",
    )?;
    command::step("install axe-core into .cache/axe", || {
        command::run(
            Command::new(&npm)
                .args(["install", "--silent", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
                .arg(cache_directory().join("axe"))
                .arg(format!("axe-core@{AXE_VERSION}")),
        )
    })?;
    let found = digest().unwrap_or_default();
    if found != AXE_SHA256 {
        bail!("{} has the digest {found:?}; expected {AXE_SHA256}", axe().display());
    }
    Ok(())
}

/// Installs what a cluster in the lab needs.
pub(crate) fn install_kubernetes() -> Result<()> {
    install_modules(|module| module == KUBERNETES.directory || module == CONTAINERD.directory, RUNC)
}

/// Installs what Freeboard is measured against on a node.
pub(crate) fn install_peers() -> Result<()> {
    install_modules(|module| module == PEERS.directory, IPTABLES)
}

/// Installs the Go programs of some modules, and what they need of the system.
fn install_modules(of: impl Fn(&str) -> bool, needed: &str) -> Result<()> {
    let programs = GO_PROGRAMS.iter().filter(|program| of(program.module.directory));
    let names: Vec<String> = programs.map(|program| program.name).chain([needed]).map(str::to_owned).collect();
    install(&names)
}

/// Builds one Go program unless its stamp says that this very lock file, recipe and compiler made the one that is there.
fn install_go_program(program: &GoProgram) -> Result<()> {
    let go = command::find_program("go")
        .context("peers and cluster are written in Go, and there is no `go` on the path: install Go 1.26 or newer")?;
    let GoModule { directory, tags, linker_flags } = *program.module;
    let module = command::workspace_root().join(directory);
    let version = command::output(Command::new(&go).arg("version").current_dir(&module))?;
    let lock = read(&module.join("go.sum"))? + &read(&module.join("go.mod"))?;
    let installed = bin_directory().join(program.name);
    let recipe = [program.package, tags, linker_flags].join(" ");
    let stamp = Stamp::new(
        &cache_directory().join(format!("stamps/{}", program.name)),
        // A stamp of the first module is older than tags and flags are.
        &[&lock, &version, recipe.trim_end()],
    );
    if installed.is_file() && stamp.is_current() {
        return Ok(());
    }
    command::step(&format!("build {} ({})", program.name, program.purpose), || {
        // The old file may be running, or be shared by links; it is replaced and not written.
        let new = installed.with_extension("new");
        command::run(
            Command::new(&go)
                .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly"])
                .arg(format!("-ldflags=-s -w {linker_flags}"))
                .arg(format!("-tags={tags}"))
                .arg("-o")
                .arg(&new)
                .arg(program.package)
                .env("CGO_ENABLED", "0")
                .env_remove("GOFLAGS")
                .current_dir(&module),
        )?;
        fs::rename(&new, &installed).with_context(|| format!("cannot install {}", installed.display()))
    })?;
    stamp.write()
}

/// Makes a virtual environment with the pinned clients of tests/clients/requirements.txt.
fn install_python() -> Result<()> {
    let system = command::find_program("python3")
        .context("the cloud's own clients are written in Python, and there is no `python3` on the path: install Python 3.10 or newer")?;
    let requirements = command::workspace_root().join("tests/clients/requirements.txt");
    let version = command::output(Command::new(&system).arg("--version"))?;
    let stamp = Stamp::new(&cache_directory().join("stamps/python"), &[&read(&requirements)?, &version]);
    if python().is_file() && stamp.is_current() {
        return Ok(());
    }
    command::step("install the clouds' own clients into .cache/python", || {
        let environment = cache_directory().join("python");
        command::run(Command::new(&system).args(["-m", "venv", "--clear"]).arg(&environment))
            .context("cannot make a virtual environment (Debian has `venv` in the package python3-venv)")?;
        command::run(
            Command::new(python())
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
                .arg(&requirements),
        )
    })?;
    stamp.write()
}

/// Makes sure that a program of a Debian package of its name is on the path. That cannot be put into `.cache/`: others look
/// for it on the path, and it loads what it needs from the system's directories.
fn install_debian_package(name: &str, reason: &str) -> Result<()> {
    if command::find_program(name).is_some() {
        return Ok(());
    }
    let root = command::output(Command::new("id").arg("-u"))?.trim() == "0";
    let Some(apt) = command::find_program("apt-get").filter(|_| root) else {
        bail!("there is no {name} on the path, and {reason}: install it (Debian: apt-get install {name})");
    };
    command::step(&format!("install Debian's {name}: {reason}"), || {
        let quiet = |arguments: &[&str]| {
            command::output(Command::new(&apt).args(arguments).env("DEBIAN_FRONTEND", "noninteractive")).map(|_| ())
        };
        quiet(&["update"])?;
        quiet(&["install", "-y", "--no-install-recommends", name])
    })
}

/// Remembers what an installed thing was made from.
struct Stamp {
    path: PathBuf,
    value: String,
}

impl Stamp {
    /// A stamp at `path` over all the `inputs` that decide what gets installed.
    fn new(path: &Path, inputs: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for input in inputs {
            digest.update(input.len().to_le_bytes());
            digest.update(input);
        }
        Self { path: path.to_path_buf(), value: hex::encode(digest.finalize()) }
    }

    /// Whether what is installed was made from the same inputs.
    fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|value| value == self.value)
    }

    /// Records that the installed thing was made from these inputs; called last, so that a half-made one is made again.
    fn write(&self) -> Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        }
        fs::write(&self.path, &self.value).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod unit {
    use super::Stamp;

    #[test]
    fn a_stamp_is_current_only_for_the_inputs_it_was_written_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stamps/tool");
        let stamp = Stamp::new(&path, &["lock", "go 1.26"]);
        assert!(!stamp.is_current());
        stamp.write().unwrap();
        assert!(stamp.is_current());
        assert!(!Stamp::new(&path, &["lock", "go 1.27"]).is_current());
        assert!(!Stamp::new(&path, &["lockgo", " 1.26"]).is_current(), "the border between two inputs counts");
    }
}
