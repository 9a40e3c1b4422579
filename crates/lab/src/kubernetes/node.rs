//! A node of the cluster: containerd and kubelet on a machine.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use freeboard_vpc::LimitTable;
use nix::mount::{MsFlags, mount};

use super::containerd::{Containerd, SOCKET};
use super::control_plane::ControlPlane;
use super::{ClusterOptions, NODE_DIRECTORY, require_file};
use crate::error::LabError;
use crate::machine::Machine;
use crate::namespace::Namespace;
use crate::program::{Program, ProgramOptions};

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
    // Dropped in this order: what starts containers before what runs them.
    kubelet: Program,
    containerd: Containerd,
}

impl Node {
    /// Starts the programs on a machine. The images are there when this returns; the node registers itself a little later.
    pub(crate) fn start(
        machine: &Machine,
        options: &ClusterOptions,
        control_plane: &ControlPlane,
    ) -> Result<Self, LabError> {
        require_file(&options.tools.join("kubelet"), "build it with `cargo xtask tools`")?;
        let failed = |source: io::Error| LabError::Program {
            program: "kubelet".to_owned(),
            node: machine.name.clone(),
            problem: format!("cannot be prepared: {source}"),
        };
        let containerd = Containerd::start(machine, options)?;
        let kubeconfig = control_plane.node_kubeconfig().map_err(failed)?;
        let configuration = kubelet_configuration(machine, containerd.group());
        machine.namespace().run(|| write_files(&kubeconfig, &configuration))?.map_err(failed)?;
        let kubelet = machine.start(&ProgramOptions {
            executable: options.tools.join("kubelet"),
            arguments: kubelet_arguments(machine),
            environment: vec![("PATH".to_owned(), containerd.path().to_owned())],
            log: PathBuf::from("/var/log/kubelet.log"),
        })?;
        Ok(Self { kubelet, containerd })
    }

    /// The network of the pod with this address.
    pub(crate) fn pod_network(&self, address: Ipv4Addr) -> Result<Option<Namespace>, LabError> {
        self.containerd.pod_network(address)
    }

    /// The last words of its programs.
    pub(crate) fn log_tails(&self) -> String {
        format!("containerd:\n{}\nkubelet:\n{}", self.containerd.log_tail(), self.kubelet.log_tail())
    }
}

/// Prepares the machine's files, from inside its mounts.
fn write_files(kubeconfig: &str, configuration: &str) -> io::Result<()> {
    let directory = Path::new(NODE_DIRECTORY);
    fs::create_dir_all(directory.join("tunables"))?;
    fs::write(directory.join("kubeconfig"), kubeconfig)?;
    fs::write(directory.join("kubelet.json"), configuration)?;
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

fn kubelet_arguments(machine: &Machine) -> Vec<String> {
    let zone = &machine.zone;
    let region = zone.trim_end_matches(|last: char| last.is_ascii_lowercase());
    let labels = [
        format!("topology.kubernetes.io/zone={zone}"),
        format!("topology.kubernetes.io/region={region}"),
        format!("node.kubernetes.io/instance-type={}", machine.instance_type),
    ];
    vec![
        format!("--config={NODE_DIRECTORY}/kubelet.json"),
        format!("--kubeconfig={NODE_DIRECTORY}/kubeconfig"),
        format!("--hostname-override={}", machine.name),
        format!("--node-ip={}", machine.address),
        format!("--cert-dir={NODE_DIRECTORY}/pki"),
        format!("--node-labels={}", labels.join(",")),
    ]
}

/// kubelet's configuration. Authentication is left out: whoever is in the lab may do anything in it.
fn kubelet_configuration(machine: &Machine, group: &str) -> String {
    serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "providerID": format!("aws:///{}/{}", machine.zone, machine.instance),
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
        "volumePluginDir": format!("{NODE_DIRECTORY}/volume-plugins"),
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

#[cfg(test)]
mod unit {
    use super::max_pods;

    #[test]
    fn a_node_takes_as_many_pods_as_eks_lets_it() {
        assert_eq!(max_pods("t3.medium"), 17);
        assert_eq!(max_pods("t3.small"), 11);
        assert_eq!(max_pods("m5.large"), 29);
    }
}
