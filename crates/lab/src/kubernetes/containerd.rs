//! containerd on a machine of the lab, with a control group of its own for all that it runs.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ClusterOptions, NODE_DIRECTORY, require_file};
use crate::cgroups;
use crate::error::LabError;
use crate::machine::Machine;
use crate::namespace::Namespace;
use crate::program::{Program, ProgramOptions};

/// containerd's socket.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";
/// Where containerd pins the networks of pods.
const NETWORKS: &str = "/run/netns";
/// How long containerd may take to answer, or its containers to end, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// containerd's configuration: all state in the node's own directories, and nothing that needs CAP_SYS_RESOURCE.
const CONFIGURATION: &str = r#"version = 3
root = "/run/containerd/root"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "/run/containerd/opt"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:1"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"
use_internal_loopback = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#;

/// A running containerd. When it is dropped, its containers end with it.
#[derive(Debug)]
pub struct Containerd {
    machine: Machine,
    ctr: String,
    path: String,
    group: String,
    program: Program,
}

impl Containerd {
    /// Starts containerd on a machine and gives it the images of pause and agent.
    ///
    /// # Errors
    /// When a program or an image is missing, or containerd does not answer.
    pub fn start(machine: &Machine, options: &ClusterOptions) -> Result<Self, LabError> {
        for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
            require_file(&options.tools.join(program), "build it with `cargo xtask tools`")?;
        }
        let failed = |source: io::Error| LabError::Program {
            program: "containerd".to_owned(),
            node: machine.name.clone(),
            problem: format!("cannot be prepared: {source}"),
        };
        let group = cgroups::create(&machine.name).map_err(failed)?;
        let configuration = Path::new(NODE_DIRECTORY).join("containerd.toml");
        let write = || fs::create_dir_all(NODE_DIRECTORY).and_then(|()| fs::write(&configuration, CONFIGURATION));
        machine.namespace().run(write)?.map_err(failed)?;
        // The shim and runc are looked for on the path.
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", options.tools.display());
        let mut program = machine.start(&ProgramOptions {
            executable: options.tools.join("containerd"),
            arguments: vec![format!("--config={}", configuration.display())],
            environment: vec![("PATH".to_owned(), path.clone())],
            log: PathBuf::from("/var/log/containerd.log"),
        })?;
        // The shims that it starts are in its group, and end with it.
        let system = cgroups::create(&format!("{}/system", machine.name)).map_err(failed)?;
        cgroups::enter(&system, program.id()).map_err(failed)?;
        let namespace = machine.namespace();
        program.wait_until("answer of containerd", LIMIT, || {
            namespace.run(|| UnixStream::connect(SOCKET).is_ok()).unwrap_or(false)
        })?;
        let ctr = options.tools.join("ctr").display().to_string();
        let containerd = Self { machine: machine.clone(), ctr, path, group, program };
        for archive in ["pause.tar", "freeboard-agent.tar"] {
            let archive = options.images.join(archive);
            require_file(&archive, "write it with `cargo xtask image`")?;
            containerd.ctr(&["images", "import", "--local", &archive.display().to_string()])?;
        }
        Ok(containerd)
    }

    /// Runs `ctr` in the namespace of Kubernetes, and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started, or fails; with what it said.
    pub fn ctr(&self, arguments: &[&str]) -> Result<String, LabError> {
        let all: Vec<&str> =
            ["--address", SOCKET, "--namespace", "k8s.io"].into_iter().chain(arguments.iter().copied()).collect();
        self.machine.output(&self.ctr, &all)
    }

    /// The control group below which its containers are.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Its own process, its shims, and all processes of its containers.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        cgroups::processes(&self.group)
    }

    /// The path on which it finds its helpers.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The network of the pod with this address.
    pub(crate) fn pod_network(&self, address: Ipv4Addr) -> Result<Option<Namespace>, LabError> {
        let node = self.machine.namespace();
        let list = || -> io::Result<Vec<PathBuf>> {
            Ok(fs::read_dir(NETWORKS)?.filter_map(|entry| Some(entry.ok()?.path())).collect())
        };
        for path in node.run(list)?.unwrap_or_default() {
            // It may have gone since.
            let Ok(network) = node.open_pinned(&path) else { continue };
            // Only where the address is local can a socket have it.
            if network.run(|| UdpSocket::bind((address, 0)).is_ok())? {
                return Ok(Some(network));
            }
        }
        Ok(None)
    }

    /// Its last words.
    pub(crate) fn log_tail(&self) -> String {
        self.program.log_tail()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // First what starts others; then its shims and their containers.
        let _ = self.program.kill();
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for process in left {
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
            std::thread::sleep(LOOK);
        }
        // What cannot be removed now is removed when the lab ends.
        let _ = cgroups::remove_everywhere(&self.group);
    }
}
