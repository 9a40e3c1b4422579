//! The container runtime's side: variables, standard input, and what comes back.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use freeboard_datapath::netlink::{Route, RouteSocket, Rule};
use serde_json::{Value, json};

/// A call of the plugin, ready to be changed and run.
#[derive(Clone)]
pub(crate) struct Invocation {
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) configuration: Value,
    directory: PathBuf,
}

/// What a call gave back.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) output: String,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|e| panic!("{e}: {:?}", self.output))
    }

    /// The error's code and message.
    pub(crate) fn error(&self) -> (u64, String) {
        assert!(!self.success, "{}", self.output);
        let json = self.json();
        (json["code"].as_u64().unwrap(), json["msg"].as_str().unwrap().to_owned())
    }
}

impl Invocation {
    /// A call for the pod `default/web` in the sandbox at `namespace`.
    pub(crate) fn new(command: &str, namespace: &Path, socket: &Path, directory: &Path) -> Self {
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c0ffee";
        let variables = vec![
            ("CNI_COMMAND", command.to_owned()),
            ("CNI_CONTAINERID", "c0ffee".to_owned()),
            ("CNI_NETNS", namespace.to_str().unwrap().to_owned()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_ARGS", arguments.to_owned()),
            ("CNI_PATH", "/opt/cni/bin".to_owned()),
        ];
        let configuration = json!({
            "cniVersion": "1.1.0", "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001",
            "podSGEnforcingMode": "strict", "pluginLogFile": directory.join("log/plugin.log"),
            "pluginLogLevel": "DEBUG", "agentSocket": socket, "tombstoneDir": directory.join("tombstones"),
        });
        Self { variables, configuration, directory: directory.to_owned() }
    }

    pub(crate) fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self
    }

    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.configuration[key] = value;
        self
    }

    pub(crate) fn run(&self) -> Outcome {
        self.run_with(self.configuration.to_string().as_bytes())
    }

    pub(crate) fn run_with(&self, input: &[u8]) -> Outcome {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aws-cni"))
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // The plugin may stop reading before the end; then the rest is refused.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Outcome { success: output.status.success(), output: String::from_utf8(output.stdout).unwrap() }
    }

    /// The lines of the plugin's log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("log/plugin.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Links, main routes and rules of this namespace: enough to see that something changed.
pub(crate) fn host() -> (Vec<String>, Vec<Route>, Vec<Rule>) {
    let links = RouteSocket::open().unwrap().links().unwrap().into_iter().map(|link| link.name).collect();
    let (routes, rules) = ways();
    (links, routes, rules)
}

/// Main routes and rules of this namespace: what a pod whose sandbox still exists must not leave.
pub(crate) fn ways() -> (Vec<Route>, Vec<Rule>) {
    let mut socket = RouteSocket::open().unwrap();
    (socket.routes(254).unwrap(), socket.rules().unwrap())
}
