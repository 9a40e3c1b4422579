//! A node of the cluster: containerd and kubelet on a machine, with control groups of their own.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freeboard_vpc::LimitTable;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::control_plane::ControlPlane;
use super::{ClusterOptions, require_file};
use crate::cgroups;
use crate::error::LabError;
use crate::machine::Machine;
use crate::namespace::Namespace;
use crate::program::{Program, ProgramOptions};

/// Where the node's own programs have their files.
const DIRECTORY: &str = "/run/freeboard-node";
/// containerd's socket.
const SOCKET: &str = "/run/containerd/containerd.sock";
/// Where containerd pins the networks of pods.
const NETWORKS: &str = "/run/netns";
/// How long containerd may take to answer.
const LIMIT: Duration = Duration::from_secs(60);

/// Kernel settings that kubelet insists on. They are the whole machine's, so the node sees files instead that already say
/// what kubelet wants.
const TUNABLES: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    namespace: Namespace,
    group: String,
    kubelet: Program,
    containerd: Program,
}

impl Node {
    /// Starts the programs on a machine. The images are there when this returns; the node registers itself a little later.
    pub(crate) fn start(
        machine: &Machine,
        options: &ClusterOptions,
        control_plane: &ControlPlane,
    ) -> Result<Self, LabError> {
        for program in ["containerd", "containerd-shim-runc-v2", "ctr", "kubelet"] {
            require_file(&options.tools.join(program), "build it with `cargo xtask tools`")?;
        }
        let failed = |source: io::Error| LabError::Program {
            program: "kubelet".to_owned(),
            node: machine.name.clone(),
            problem: format!("cannot be prepared: {source}"),
        };
        let group = cgroups::create(&machine.name).map_err(failed)?;
        let kubeconfig = control_plane.node_kubeconfig().map_err(failed)?;
        let config = kubelet_config(machine, &group);
        machine.namespace().run(|| write_files(&kubeconfig, &config))?.map_err(failed)?;
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", options.tools.display());
        let start = |name: &str, arguments: Vec<String>| {
            machine.start(&ProgramOptions {
                executable: options.tools.join(name),
                arguments,
                environment: vec![("PATH".to_owned(), path.clone())],
                log: Path::new("/var/log").join(format!("{name}.log")),
            })
        };
        let mut containerd = start("containerd", vec![format!("--config={DIRECTORY}/containerd.toml")])?;
        let namespace = machine.namespace().clone();
        containerd.wait_until("answer of containerd", LIMIT, || {
            namespace.run(|| UnixStream::connect(SOCKET).is_ok()).unwrap_or(false)
        })?;
        for archive in ["pause.tar", "freeboard-agent.tar"] {
            import(machine, options, &options.images.join(archive))?;
        }
        let kubelet = start("kubelet", kubelet_arguments(machine))?;
        Ok(Self { namespace, group, kubelet, containerd })
    }

    /// The network of the pod with this address.
    pub(crate) fn pod_network(&self, address: Ipv4Addr) -> Result<Option<Namespace>, LabError> {
        let listed = self.namespace.run(|| {
            fs::read_dir(NETWORKS)
                .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<PathBuf>>())
        })?;
        for path in listed.unwrap_or_default() {
            let Ok(network) = self.namespace.open_pinned(&path) else { continue };
            // Only where the address is local can a socket have it.
            if network.run(|| UdpSocket::bind((address, 0)).is_ok())? {
                return Ok(Some(network));
            }
        }
        Ok(None)
    }

    /// The last words of its programs.
    pub(crate) fn log_tails(&self) -> String {
        format!("containerd:\n{}\nkubelet:\n{}", self.containerd.log_tail(), self.kubelet.log_tail())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // First those that start others. The shims are containerd's orphans; they end when their containers have.
        let _ = self.kubelet.kill();
        let _ = self.containerd.kill();
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let left = cgroups::processes(&self.group);
            if left.is_empty() {
                break;
            }
            for process in left {
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for hierarchy in cgroups::hierarchies() {
            // What cannot be removed now is removed when the lab ends.
            let _ = cgroups::remove(&hierarchy.join(self.group.trim_start_matches('/')));
        }
    }
}

/// Prepares the machine's files, from inside its mounts.
fn write_files(kubeconfig: &str, config: &str) -> io::Result<()> {
    let directory = Path::new(DIRECTORY);
    fs::create_dir_all(directory.join("tunables"))?;
    fs::write(directory.join("kubeconfig"), kubeconfig)?;
    fs::write(directory.join("kubelet.json"), config)?;
    fs::write(directory.join("containerd.toml"), CONTAINERD)?;
    for (setting, value) in TUNABLES {
        let target = Path::new("/proc/sys").join(setting);
        if !target.exists() {
            continue;
        }
        let file = directory.join("tunables").join(setting.replace('/', "."));
        fs::write(&file, format!("{value}\n"))?;
        mount(Some(&file), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    Ok(())
}

fn import(machine: &Machine, options: &ClusterOptions, archive: &Path) -> Result<(), LabError> {
    require_file(archive, "write it with `cargo xtask image`")?;
    let ctr = options.tools.join("ctr").display().to_string();
    let archive = archive.display().to_string();
    machine
        .output(&ctr, &["--address", SOCKET, "--namespace", "k8s.io", "images", "import", "--local", &archive])
        .map(drop)
}

fn kubelet_arguments(machine: &Machine) -> Vec<String> {
    let zone = &machine.zone;
    let region = zone.trim_end_matches(|last: char| last.is_ascii_lowercase());
    vec![
        format!("--config={DIRECTORY}/kubelet.json"),
        format!("--kubeconfig={DIRECTORY}/kubeconfig"),
        format!("--hostname-override={}", machine.name),
        format!("--node-ip={}", machine.address),
        format!("--cert-dir={DIRECTORY}/pki"),
        format!(
            "--node-labels=topology.kubernetes.io/zone={zone},topology.kubernetes.io/region={region},\
             node.kubernetes.io/instance-type={}",
            machine.instance_type
        ),
    ]
}

/// kubelet's configuration. Authentication is left out: whoever is in the lab may do anything in it.
fn kubelet_config(machine: &Machine, group: &str) -> String {
    let zone = &machine.zone;
    serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "providerID": format!("aws:///{zone}/{}", machine.instance),
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": group,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "maxPods": max_pods(&machine.instance_type),
        "makeIPTablesUtilChains": false,
        "oomScoreAdj": 0,
        "resolvConf": "",
        "volumePluginDir": format!("{DIRECTORY}/volume-plugins"),
        // The disk is the machine's, and its fill level nothing of the lab's.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
                         "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "5s",
    })
    .to_string()
}

/// Pods by the rule of EKS: every secondary address, and two pods on the host's own network.
fn max_pods(instance_type: &str) -> u32 {
    let table = LimitTable::embedded();
    table.get(instance_type).map_or(110, |limits| {
        let card = limits.interfaces_per_network_card.get(limits.default_network_card_index as usize);
        let interfaces = card.copied().unwrap_or(limits.maximum_network_interfaces);
        interfaces * limits.ipv4_addresses_per_interface.saturating_sub(1) + 2
    })
}

/// containerd's configuration: all state in the node's own directories, and nothing that needs CAP_SYS_RESOURCE.
const CONTAINERD: &str = r#"version = 3
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
