//! A real Kubernetes cluster in the lab: its control plane in the lab's own network, a kubelet and a containerd on each node.
//!
//! Everything dies with the lab. The nodes are instances of the simulated VPC; their pods get addresses from the agent, which
//! runs as a DaemonSet that is installed as on any cluster.

mod bare;
mod containerd;
mod control_plane;
mod node;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use freeboard_address::PodKey;

use crate::error::LabError;
use crate::lab::Lab;
use crate::machine::EC2_ADDRESS;
use crate::machine::Machine;
use crate::namespace::Namespace;
use control_plane::ControlPlane;
use node::Node;

pub use bare::BareCluster;
pub use containerd::Containerd;

/// The name of the cluster in the kubeconfig.
const CLUSTER: &str = "freeboard-lab";
/// Where a node's own programs have their files, on the node.
const NODE_DIRECTORY: &str = "/run/freeboard-node";
/// How long the kernel may take to remove the network of a lab that has ended.
const LINK_GONE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The agent's objects, as they are installed on any cluster.
const MANIFEST: &str = include_str!("../../../../deploy/kubernetes/freeboard-agent.yaml");

/// The definitions of the objects that it reads and writes.
const DEFINITIONS: [&str; 2] = [
    include_str!("../../../../deploy/kubernetes/crds/eniconfigs.crd.k8s.amazonaws.com.yaml"),
    include_str!("../../../../deploy/kubernetes/crds/nodeaddresses.ipam.freeboard.dev.yaml"),
];

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The directory with the programs of Kubernetes and containerd.
    pub tools: PathBuf,
    /// The directory with the images `freeboard-agent.tar` and `pause.tar`.
    pub images: PathBuf,
}

/// A running cluster. It ends when it is dropped, and with the lab.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    control_plane: ControlPlane,
    nodes: BTreeMap<String, Node>,
}

impl Cluster {
    /// Brings up a control plane, and every machine of the lab as a node; one cluster at a time, after the one before has ended. The nodes are not Ready yet: nothing gives their pods
    /// addresses before [`Cluster::install_agent`].
    ///
    /// # Errors
    /// When a program is missing, cannot be started, or does not answer.
    pub fn start(lab: &Lab, options: ClusterOptions) -> Result<Self, LabError> {
        let mut cluster = Self::start_without_nodes(lab, options)?;
        for machine in lab.machines() {
            cluster.add_node(&machine)?;
        }
        Ok(cluster)
    }

    /// Brings up a control plane that the lab's machines reach, and no kubelet: what a Node or a Pod is, the caller writes.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_without_nodes(lab: &Lab, options: ClusterOptions) -> Result<Self, LabError> {
        wait_for_the_lab_before()?;
        lab.link_control_plane()?;
        let control_plane = ControlPlane::start(&options)?;
        Ok(Self { options, control_plane, nodes: BTreeMap::new() })
    }

    /// What a client needs to reach the API server: the path of a kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.control_plane.kubeconfig()
    }

    /// The environment in which `kubectl` reaches the cluster and leaves nothing behind.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let cache = self.control_plane.directory().join("cache");
        [
            ("KUBECONFIG", self.kubeconfig().display().to_string()),
            (control_plane::CACHE_VARIABLE, cache.display().to_string()),
        ]
    }

    /// The names of the nodes.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Makes a machine a node.
    ///
    /// # Errors
    /// When its programs cannot be started.
    pub fn add_node(&mut self, machine: &Machine) -> Result<(), LabError> {
        if !self.nodes.contains_key(&machine.name) {
            let node = Node::start(machine, &self.options, &self.control_plane)?;
            self.nodes.insert(machine.name.clone(), node);
        }
        Ok(())
    }

    /// Removes a node with everything that runs on it, as when its machine is lost: its pods have no time to end.
    ///
    /// # Errors
    /// When there is no such node, or the API server refuses.
    pub fn remove_node(&mut self, name: &str) -> Result<(), LabError> {
        let Some(node) = self.nodes.remove(name) else {
            let known = self.node_names().join(", ");
            return Err(LabError::Unknown { kind: "node", name: name.to_owned(), known });
        };
        drop(node);
        self.kubectl(&["delete", "node", name, "--ignore-not-found"]).map(drop)
    }

    /// Makes the nodes follow the machines: a machine that was launched becomes a node, the node of one that was terminated
    /// goes.
    ///
    /// # Errors
    /// As [`Cluster::add_node`] and [`Cluster::remove_node`].
    pub fn follow(&mut self, lab: &Lab) -> Result<(), LabError> {
        let machines = lab.machines();
        for gone in self.node_names() {
            if !machines.iter().any(|machine| machine.name == gone) {
                self.remove_node(&gone)?;
            }
        }
        machines.iter().try_for_each(|machine| self.add_node(machine))
    }

    /// Installs the agent by its manifest, with `settings` besides those that the lab's cloud needs.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn install_agent(&self, lab: &Lab, settings: &[(&str, &str)]) -> Result<(), LabError> {
        let ec2 = format!("http://{EC2_ADDRESS}");
        let server = control_plane::url();
        let own = [
            ("AWS_ENDPOINT_URL_EC2", ec2.as_str()),
            ("AWS_REGION", lab.region()),
            ("AWS_ACCESS_KEY_ID", "lab"),
            ("AWS_SECRET_ACCESS_KEY", "lab"),
            // The nodes have no kube-proxy, so the address of the service `kubernetes` leads nowhere.
            ("CLUSTER_ENDPOINT", server.as_str()),
        ];
        let data: BTreeMap<&str, &str> = own.iter().chain(settings).copied().collect();
        let map = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "aws-node", "namespace": "kube-system"},
            "data": data,
        });
        self.apply(&map.to_string())?;
        self.define_resources()?;
        self.apply(MANIFEST)
    }

    /// Defines the kinds of objects that the agent reads and writes.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn define_resources(&self) -> Result<(), LabError> {
        DEFINITIONS.iter().try_for_each(|definition| self.apply(definition))
    }

    /// Kills the API server, as when it is lost; what runs goes on, and nothing new is decided.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn stop_api_server(&mut self) -> Result<(), LabError> {
        self.control_plane.stop_server()
    }

    /// Starts the API server again and waits until it is ready. Its certificate, tokens and objects are as before.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_api_server(&mut self) -> Result<(), LabError> {
        self.control_plane.start_server(&self.options)
    }

    /// `kubectl apply` of objects as YAML or JSON.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn apply(&self, manifest: &str) -> Result<(), LabError> {
        let path = self.control_plane.directory().join("apply.yaml");
        std::fs::write(&path, manifest).map_err(|source| LabError::Program {
            program: "kubectl apply".to_owned(),
            node: CLUSTER.to_owned(),
            problem: format!("cannot write {}: {source}", path.display()),
        })?;
        self.kubectl(&["apply", "-f", &path.display().to_string()]).map(drop)
    }

    /// Runs `kubectl` to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started, or fails; with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, LabError> {
        let failed = |problem: String| LabError::Program {
            program: format!("kubectl {}", arguments.join(" ")),
            node: CLUSTER.to_owned(),
            problem,
        };
        let output = Command::new(self.options.tools.join("kubectl"))
            .args(arguments)
            .envs(self.environment())
            .stdin(Stdio::null())
            .output()
            .map_err(|source| failed(format!("cannot be started: {source}")))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until `kubectl` prints something that `holds`, and returns it.
    ///
    /// # Errors
    /// When it does not within `limit`; with what it printed last, and why.
    pub fn wait_for(
        &self,
        what: &str,
        arguments: &[&str],
        limit: Duration,
        holds: impl Fn(&str) -> bool,
    ) -> Result<String, LabError> {
        let started = Instant::now();
        loop {
            let said = match self.kubectl(arguments) {
                Ok(text) if holds(&text) => return Ok(text),
                Ok(text) => text,
                Err(error) => error.to_string(),
            };
            if started.elapsed() > limit {
                return Err(LabError::Program {
                    program: format!("kubectl {}", arguments.join(" ")),
                    node: CLUSTER.to_owned(),
                    problem: format!("after {limit:?} still not: {what}\n{said}\n{}", self.trouble()),
                });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until every node is Ready, and returns how long that took.
    ///
    /// # Errors
    /// When one is not within `limit`.
    pub fn wait_until_ready(&self, limit: Duration) -> Result<Duration, LabError> {
        let started = Instant::now();
        let count = self.nodes.len();
        let ready = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
        self.wait_for("every node is Ready", &["get", "nodes", "-o", ready], limit, |text| {
            text.lines().filter(|line| *line == "True").count() == count
        })?;
        Ok(started.elapsed())
    }

    /// The network of a pod that has an address.
    ///
    /// # Errors
    /// When there is no such pod, or it is on no node of this cluster.
    pub fn pod_network(&self, pod: &PodKey) -> Result<Namespace, LabError> {
        let fields = "jsonpath={.spec.nodeName} {.status.podIP}";
        let said = self.kubectl(&["get", "pod", &pod.name, "-n", &pod.namespace, "-o", fields])?;
        let (name, address) = said.trim().split_once(' ').unwrap_or_default();
        let unknown = || LabError::Unknown {
            kind: "network of a pod",
            name: format!("{pod} ({said})"),
            known: self.node_names().join(", "),
        };
        let node = self.nodes.get(name).ok_or_else(unknown)?;
        let address = address.parse().map_err(|_| unknown())?;
        node.pod_network(address)?.ok_or_else(unknown)
    }

    /// What one wants to know when something does not come about: pods, events, and the last words of the programs.
    #[must_use]
    pub fn trouble(&self) -> String {
        let mut text = String::new();
        for arguments in [
            &["get", "nodes,pods", "-A", "-o", "wide"][..],
            &["get", "events", "-A", "--field-selector", "type=Warning"],
        ] {
            let said = self.kubectl(arguments).unwrap_or_else(|error| error.to_string());
            text.push_str(&format!("kubectl {}:\n{said}\n", arguments.join(" ")));
        }
        for (name, node) in self.nodes.iter().take(2) {
            text.push_str(&format!("{name}:\n{}\n", node.log_tails()));
        }
        text
    }
}

/// A missing file, by its full path.
fn require_file(path: &Path, remedy: &str) -> Result<(), LabError> {
    if path.is_file() {
        return Ok(());
    }
    Err(LabError::Unknown { kind: "file", name: path.display().to_string(), known: format!("nothing there; {remedy}") })
}

/// The kernel takes a network down a moment after its last user is gone, and there is one link to it in this namespace.
fn wait_for_the_lab_before() -> Result<(), LabError> {
    let started = Instant::now();
    while std::fs::read_to_string("/proc/self/net/dev").is_ok_and(|devices| devices.contains("eth0:")) {
        if started.elapsed() > LINK_GONE {
            return Err(LabError::Cloud("the network of the lab before is still there".to_owned()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
