//! A control plane without nodes: the real API server and etcd, for what needs no kubelet.

use std::path::{Path, PathBuf};

use freeboard_vpc::World;
use tokio::runtime::Handle;

use super::{Cluster, ClusterOptions};
use crate::error::LabError;
use crate::isolation::LAB_DIRECTORY;
use crate::lab::{Lab, LabOptions};
use crate::machine::Machine;
use crate::namespace::Namespace;
use crate::program::{Program, ProgramOptions};

/// A network without a machine.
const WORLD: &str = include_str!("bare.yaml");
/// The controller's objects, as they are installed on any cluster.
const CONTROLLER: &str = include_str!("../../../../deploy/kubernetes/freeboard-controller-expansions.yaml");
/// The definitions of the objects that it reads and writes, besides those of the agent.
const CONTROLLER_DEFINITIONS: [&str; 2] = [
    include_str!("../../../../deploy/kubernetes/crds/expansions.ipam.freeboard.dev.yaml"),
    include_str!("../../../../deploy/kubernetes/crds/podranges.ipam.freeboard.dev.yaml"),
];
/// What separates the objects of a manifest.
const SEPARATOR: &str = "\n---\n";

/// A running control plane. It ends when it is dropped; then another may be started in the same program.
pub struct BareCluster {
    cluster: Cluster,
    tools: PathBuf,
    lab: Lab,
}

impl BareCluster {
    /// Starts a control plane with an empty store, from the programs in `tools`. Blocks until it is ready.
    ///
    /// # Errors
    /// When a program is missing, cannot be started, or does not answer.
    pub fn start(runtime: &Handle, tools: &Path) -> Result<Self, LabError> {
        let world = freeboard_vpc_server::parse_world("the network without a machine", WORLD)
            .map_err(|error| LabError::Cloud(error.to_string()))?;
        Self::start_in(runtime, tools, world)
    }

    /// The same beside the cloud of another world, whose machines do not become nodes.
    ///
    /// # Errors
    /// As [`BareCluster::start`]; and when the world makes no sense.
    pub fn start_in(runtime: &Handle, tools: &Path, world: World) -> Result<Self, LabError> {
        Self::start_for_kubelets(runtime, tools, Path::new(""), world)
    }

    /// The same for machines that become nodes one by one ([`BareCluster::add_node`]), with the images that lie in `images`.
    ///
    /// # Errors
    /// As [`BareCluster::start_in`].
    pub fn start_for_kubelets(runtime: &Handle, tools: &Path, images: &Path, world: World) -> Result<Self, LabError> {
        let options = LabOptions { agent: PathBuf::new(), plugin: PathBuf::new(), speed: 1.0 };
        let lab = runtime.block_on(Lab::start(world, options))?;
        let options = ClusterOptions { tools: tools.to_owned(), images: images.to_owned() };
        let cluster = Cluster::start_without_nodes(&lab, options)?;
        Ok(Self { cluster, tools: tools.to_owned(), lab })
    }

    /// Makes a machine of the world a node, with a kubelet and a containerd.
    ///
    /// # Errors
    /// When an image is missing, or a program cannot be started.
    pub fn add_node(&mut self, machine: &Machine) -> Result<(), LabError> {
        self.cluster.add_node(machine)
    }

    /// Installs the agent by its manifest, with `settings`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn install_agent(&self, settings: &[(&str, &str)]) -> Result<(), LabError> {
        self.cluster.install_agent(&self.lab, settings)
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The lab around it, with its cloud.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Installs the definitions and rights of `freeboard-controller` by its manifest, and no Deployment, for which there is no node.
    /// Returns the kubeconfig with which a program has these rights and no more.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn install_controller(&self) -> Result<PathBuf, LabError> {
        super::DEFINITIONS
            .iter()
            .chain(&CONTROLLER_DEFINITIONS)
            .try_for_each(|definition| self.cluster.apply(definition))?;
        let is_kept = |object: &&str| !object.contains("\nkind: Deployment\n");
        let rights: Vec<&str> = CONTROLLER.split(SEPARATOR).filter(is_kept).collect();
        self.cluster.apply(&rights.join(SEPARATOR))?;
        self.cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
        self.kubeconfig_of("freeboard-controller")
    }

    /// The kubeconfig of a service account of `kube-system`, so that a program has the rights that its manifest gives it.
    ///
    /// # Errors
    /// When there is no such account, or the file cannot be written.
    pub fn kubeconfig_of(&self, account: &str) -> Result<PathBuf, LabError> {
        let token = self.cluster.kubectl(&["create", "token", account, "-n", "kube-system"])?;
        let path = Path::new(LAB_DIRECTORY).join(format!("{account}.kubeconfig"));
        let write = || -> std::io::Result<()> {
            let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(self.cluster.kubeconfig())?)?;
            if let Some(user) = config.pointer_mut("/users/0/user") {
                *user = serde_json::json!({"token": token.trim()});
            }
            std::fs::write(&path, config.to_string())
        };
        write().map_err(|source| LabError::Cloud(format!("cannot write {}: {source}", path.display())))?;
        Ok(path)
    }

    /// Starts a program beside the control plane, with an empty environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_program(&self, executable: &Path, name: &str, arguments: &[String]) -> Result<Program, LabError> {
        self.start_program_with(executable, name, arguments, &[])
    }

    /// The same with an environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_program_with(
        &self,
        executable: &Path,
        name: &str,
        arguments: &[String],
        environment: &[(&str, String)],
    ) -> Result<Program, LabError> {
        let host = Namespace::current("control-plane")?;
        Program::start(
            &host,
            &ProgramOptions {
                executable: executable.to_owned(),
                arguments: arguments.to_vec(),
                environment: environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
                log: Path::new(LAB_DIRECTORY).join(format!("{name}.log")),
            },
        )
    }

    /// Starts a kube-controller-manager that does nothing but give blocks of /24 of `cluster_cidr` to nodes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_node_ipam(&self, cluster_cidr: &str, more: &[&str]) -> Result<Program, LabError> {
        let mut arguments = vec![
            format!("--kubeconfig={}", self.cluster.kubeconfig().display()),
            "--leader-elect=false".to_owned(),
            "--controllers=node-ipam-controller".to_owned(),
            "--allocate-node-cidrs=true".to_owned(),
            format!("--cluster-cidr={cluster_cidr}"),
            "--node-cidr-mask-size=24".to_owned(),
            // The control plane's own manager has the usual port.
            "--secure-port=10299".to_owned(),
            format!("--cert-dir={LAB_DIRECTORY}/node-ipam-certs"),
        ];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        self.start_program(&self.tools.join("kube-controller-manager"), "node-ipam", &arguments)
    }
}
