//! The lab: a world's machines as namespaces, its cloud as a server, and agents on the machines.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freeboard_address::{Cidr, InstanceId};
use freeboard_vpc::{Cloud, CloudEffect, World};
use freeboard_vpc_server::{Hypervisor, Server};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::error::LabError;
use crate::machine::{EC2_ADDRESS, Machine};
use crate::namespace::Namespace;
use crate::network::{Applied, Network};
use crate::program::{Program, ProgramOptions};

/// Where each node has its logs, as on a real one.
const LOGS: &str = "/var/log/aws-routed-eni";

/// What runs on the lab's nodes, and how fast their cloud is.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// The agent's executable.
    pub agent: PathBuf,
    /// The plugin's executable; the agent installs it on its node.
    pub plugin: PathBuf,
    /// How many times faster than the world says the cloud works.
    pub speed: f64,
}

/// A running lab. It ends with the program: every process and every network in it goes then.
pub struct Lab {
    options: LabOptions,
    region: String,
    network: Arc<Mutex<Network>>,
    server: Server,
    ec2: SocketAddr,
}

impl Lab {
    /// Builds the world: fabric, machines, metadata services, EC2 API. No agent runs yet. Must be called inside a tokio
    /// runtime, whose tasks serve the cloud.
    ///
    /// # Errors
    /// When the program is not isolated, the world makes no sense, or the kernel refuses a step.
    pub async fn start(mut world: World, options: LabOptions) -> Result<Self, LabError> {
        let refused = |error: &dyn std::fmt::Display| LabError::Cloud(error.to_string());
        world.speed = options.speed;
        let cloud = Cloud::from_world(&world, Timestamp::now()).map_err(|error| refused(&error))?;
        let network = Arc::new(Mutex::new(Network::build()?));
        let hypervisor = Arc::new(LabHypervisor { network: Arc::clone(&network), first_error: Mutex::new(None) });
        let server = Server::start(cloud, hypervisor.clone(), None).map_err(|error| refused(&error))?;
        server.effects_applied().await;
        if let Some(error) = lock(&hypervisor.first_error).take() {
            return Err(error);
        }
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.map_err(|error| refused(&error))?;
        let ec2 = listener.local_addr().map_err(|error| refused(&error))?;
        server.serve_ec2(listener);
        Ok(Self { options, region: world.region, network, server, ec2 })
    }

    /// The cloud, to look into it, to count its calls, or to make it fail.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The world's region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The URL of the EC2 API for programs of the lab that are on no node.
    #[must_use]
    pub fn ec2_endpoint(&self) -> String {
        format!("http://{}", self.ec2)
    }

    /// All machines, in the order of their zones, then the larger types first, then by name.
    #[must_use]
    pub fn machines(&self) -> Vec<Machine> {
        let mut machines: Vec<Machine> = lock(&self.network).machines().cloned().collect();
        machines.sort_by_cached_key(|machine| {
            (machine.zone.clone(), machine.instance_type.clone(), std::cmp::Reverse(machine.address))
        });
        machines
    }

    /// The machine of an instance.
    #[must_use]
    pub fn machine(&self, instance: &InstanceId) -> Option<Machine> {
        lock(&self.network).machine(instance).cloned()
    }

    /// The host on the internet.
    #[must_use]
    pub fn internet(&self) -> Namespace {
        lock(&self.network).internet().clone()
    }

    /// The host in the peered network.
    #[must_use]
    pub fn peer(&self) -> Namespace {
        lock(&self.network).peer().clone()
    }

    /// Makes these blocks, and no others, lead to a machine beside what its interfaces own: the alias ranges of a node that has
    /// blocks of pod addresses of its own.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn set_node_blocks(&self, machine: &Machine, blocks: &[Cidr]) -> Result<(), LabError> {
        lock(&self.network).set_aliases(&machine.instance, blocks)
    }

    /// Links the caller's own namespace to the VPC, as the host of the Kubernetes control plane.
    pub(crate) fn link_control_plane(&self) -> Result<(), LabError> {
        lock(&self.network).link_control_plane()
    }

    /// Starts Freeboard's agent on a machine, with `settings` over the lab's own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&self, machine: &Machine, settings: &[(&str, &str)]) -> Result<Program, LabError> {
        let mut environment = self.environment(machine);
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        machine.start(&ProgramOptions {
            executable: self.options.agent.clone(),
            arguments: Vec::new(),
            environment,
            log: Path::new(LOGS).join("agent-output.log"),
        })
    }

    /// The environment of an agent on a machine: where the node has its files, and where its cloud is.
    #[must_use]
    pub fn environment(&self, machine: &Machine) -> Vec<(String, String)> {
        let plugin = self.options.plugin.display().to_string();
        let ec2 = format!("http://{EC2_ADDRESS}");
        let log = format!("{LOGS}/ipamd.log");
        let pairs = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("AWS_ENDPOINT_URL_EC2", ec2.as_str()),
            ("AWS_REGION", self.region.as_str()),
            ("AWS_ACCESS_KEY_ID", "lab"),
            ("AWS_SECRET_ACCESS_KEY", "lab"),
            ("MY_NODE_NAME", machine.name.as_str()),
            ("HOST_CNI_BIN_PATH", crate::pod::EXECUTABLES),
            ("HOST_CNI_CONFDIR_PATH", crate::pod::CONFIGURATIONS),
            ("AWS_VPC_K8S_CNI_LOG_FILE", log.as_str()),
            ("FREEBOARD_PLUGIN_SOURCE", plugin.as_str()),
        ];
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
}

/// Makes what the cloud decides real.
struct LabHypervisor {
    network: Arc<Mutex<Network>>,
    first_error: Mutex<Option<LabError>>,
}

impl LabHypervisor {
    fn carry_out(&self, server: &Server, effect: &CloudEffect) -> Result<(), LabError> {
        let Applied::Booted(machine, endpoints) = lock(&self.network).apply(effect)? else { return Ok(()) };
        let listener = |socket| {
            TcpListener::from_std(socket)
                .map_err(|source| LabError::network(machine.namespace(), "serve the cloud's services", source))
        };
        server.serve_imds(listener(endpoints.metadata)?, machine.instance.clone());
        server.serve_ec2(listener(endpoints.ec2)?);
        Ok(())
    }
}

impl Hypervisor for LabHypervisor {
    fn apply<'a>(
        &'a self,
        server: &'a Server,
        effect: &'a CloudEffect,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>> {
        // A few netlink requests: short enough not to need a thread of its own.
        let outcome = self.carry_out(server, effect).map_err(|error| {
            let text = error.to_string();
            lock(&self.first_error).get_or_insert(error);
            text.into()
        });
        Box::pin(std::future::ready(outcome))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
