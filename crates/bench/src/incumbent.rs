//! The Amazon VPC CNI as a node runs it: its agent's settings, and its list of plugins.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use freeboard_lab::runtime::PluginList;
use freeboard_lab::{Machine, ProgramOptions};
use serde_json::json;

use crate::api_server::{AGENT_POD, ApiServer, KnownNode};

/// Where `cargo xtask tools` has put the peers.
///
/// # Errors
/// When `FREEBOARD_TOOLS` is not set, or the directory lacks a program: with what to do.
pub fn tools_directory() -> Result<PathBuf> {
    let directory = std::env::var_os("FREEBOARD_TOOLS").map(PathBuf::from);
    let directory =
        directory.context("FREEBOARD_TOOLS does not say where the peers are: start this by `cargo xtask`")?;
    for name in ["aws-k8s-agent", "aws-cni", "egress-cni", "portmap", "ptp", "host-local", "cnitool"] {
        let path = directory.join(name);
        anyhow::ensure!(path.is_file(), "{} is missing: run `cargo xtask tools`", path.display());
    }
    Ok(directory)
}

/// Settings that let the incumbent's agent find the lab's cloud.
fn cloud_environment() -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL_EC2", "http://169.254.169.252"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254"),
        ("AWS_ACCESS_KEY_ID", "AKIALAB"),
        ("AWS_SECRET_ACCESS_KEY", "lab"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The incumbent's agent for `machine`, with a stand-in for the API server that it asks.
///
/// # Errors
/// When the stand-in cannot be started or the kubeconfig not written.
pub fn agent(machine: &Machine, tools: &Path, settings: &[(&str, &str)]) -> Result<ProgramOptions> {
    let server = ApiServer::start(machine.namespace(), KnownNode { name: machine.name.clone(), max_pods: 58 })?;
    let mut options = agent_of_cluster(machine, tools, &server.kubeconfig())?;
    options.environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ok(options)
}

/// The incumbent's agent for `machine`, at its defaults, with the API server that a kubeconfig leads to.
///
/// # Errors
/// When the kubeconfig cannot be written.
pub fn agent_of_cluster(machine: &Machine, tools: &Path, kubeconfig: &str) -> Result<ProgramOptions> {
    let path = "/run/incumbent-kubeconfig";
    machine.namespace().run(|| std::fs::write(path, kubeconfig))?.with_context(|| format!("cannot write {path}"))?;
    let mut environment = cloud_environment();
    let own = [
        ("ENABLE_IPv4", "true"),
        ("KUBECONFIG", path),
        ("MY_NODE_NAME", machine.name.as_str()),
        ("MY_POD_NAME", AGENT_POD),
        ("AWS_VPC_K8S_CNI_LOG_FILE", "/var/log/aws-routed-eni/ipamd.log"),
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ];
    environment.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ok(ProgramOptions {
        executable: tools.join("aws-k8s-agent"),
        arguments: Vec::new(),
        environment,
        log: PathBuf::from("/var/log/aws-routed-eni/incumbent-output.log"),
    })
}

/// The incumbent's plugin alone, as the first entry of its list, with the values that its container writes by default.
#[must_use]
pub fn plugin_alone(directories: &[PathBuf]) -> PluginList {
    PluginList {
        cni_version: "0.4.0".to_owned(),
        name: "aws-cni".to_owned(),
        plugins: vec![json!({
            "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "podSGEnforcingMode": "strict",
            "pluginLogFile": "/var/log/aws-routed-eni/plugin.log", "pluginLogLevel": "DEBUG",
            "capabilities": {"io.kubernetes.cri.pod-annotations": true},
        })],
        directories: directories.to_vec(),
    }
}

/// The list that the incumbent ships, for an IPv4 cluster with default settings: its plugin, a disabled egress plugin, and
/// the reference plugin for port mappings.
#[must_use]
pub fn shipped_list(directories: &[PathBuf]) -> PluginList {
    let mut list = plugin_alone(directories);
    list.plugins.push(json!({
        "name": "egress-cni", "type": "egress-cni", "mtu": "9001", "enabled": "false", "randomizeSNAT": "prng",
        "nodeIP": "",
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "fd00::ac:00/118"}]], "routes": [{"dst": "::/0"}],
            "dataDir": "/run/cni/v4pd/egress-v6-ipam",
        },
        "pluginLogFile": "/var/log/aws-routed-eni/egress-v6-plugin.log", "pluginLogLevel": "DEBUG",
    }));
    list.plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}));
    list
}

/// The reference plugins: a routed veth pair, and an address from a file.
#[must_use]
pub fn ptp(directories: &[PathBuf]) -> PluginList {
    PluginList {
        cni_version: "1.0.0".to_owned(),
        name: "ptp".to_owned(),
        plugins: vec![json!({
            "type": "ptp", "ipMasq": false, "mtu": 9001,
            "ipam": {
                "type": "host-local", "ranges": [[{"subnet": "192.168.128.0/22"}]], "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": "/run/host-local",
            },
        })],
        directories: directories.to_vec(),
    }
}
