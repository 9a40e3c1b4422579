//! A real API server and etcd without nodes, and what the tests do with them.

use std::fmt::Display;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freeboard_kubernetes::client::{Access, ClientOptions, connect};
use freeboard_kubernetes::k8s_openapi::api::core::v1::{Event, Node};
use freeboard_kubernetes::kube::api::{DeleteParams, ListParams, PostParams};
use freeboard_kubernetes::kube::{Api, Client};
use freeboard_kubernetes::resources::{PodRange, PodRangeSpec};
use freeboard_lab::kubernetes::{BareCluster, Cluster};
use freeboard_lab::{Lab, LabError, Program};
use tokio::runtime::{Handle, Runtime};

/// Why a test fails.
pub(crate) type Problem = Box<dyn std::error::Error + Send + Sync>;
/// What a test ends with.
pub(crate) type Outcome<T = ()> = Result<T, Problem>;

/// How long anything may take that must happen, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A cluster without nodes.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) bare: BareCluster,
    /// With the rights of the controller's manifest, and no more.
    kubeconfig: PathBuf,
    pub(crate) runtime: Runtime,
}

/// Fails unless `holds`.
pub(crate) fn require(holds: bool, what: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

impl Stage {
    /// Starts the control plane, and installs the definitions and the controller's rights.
    pub(crate) fn set() -> Outcome<Self> {
        Self::set_on(BareCluster::start)
    }

    /// The same beside the cloud of a world.
    pub(crate) fn set_in(world: &str) -> Outcome<Self> {
        let world = freeboard_vpc_server::parse_world("the test's world", world)?;
        Self::set_on(|runtime, tools| BareCluster::start_in(runtime, tools, world))
    }

    /// The same on what `start` starts.
    pub(crate) fn set_on(start: impl FnOnce(&Handle, &Path) -> Result<BareCluster, LabError>) -> Outcome<Self> {
        let tools = std::env::var_os("FREEBOARD_TOOLS").map(PathBuf::from).ok_or(
            "FREEBOARD_TOOLS is not set: run the tests with `cargo xtask test`, which builds the API server and names it",
        )?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let bare = start(runtime.handle(), &tools)?;
        let kubeconfig = bare.install_controller()?;
        let access = Access::Kubeconfig(bare.cluster().kubeconfig().to_owned());
        let options = ClientOptions { access, server: None, user_agent: "freeboard-test/1".to_owned() };
        let client = runtime.block_on(connect(&options))?;
        Ok(Self { client, bare, kubeconfig, runtime })
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        self.bare.cluster()
    }

    pub(crate) fn lab(&self) -> &Lab {
        self.bare.lab()
    }

    /// Starts a replica of the controller; each has a port of its own.
    pub(crate) fn start_controller(&self, name: &str, port: u16, more: &[&str]) -> Outcome<Program> {
        self.start_controller_in(name, port, more, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_controller_in(
        &self,
        name: &str,
        port: u16,
        more: &[&str],
        environment: &[(&str, String)],
    ) -> Outcome<Program> {
        let mut arguments = vec![
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--identity={name}"),
            format!("--bind=127.0.0.1:{port}"),
            "--service-range=172.20.0.0/16".to_owned(),
        ];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let executable = Path::new(env!("CARGO_BIN_EXE_freeboard-controller"));
        Ok(self.bare.start_program_with(executable, name, &arguments, environment)?)
    }

    /// Starts kube-controller-manager with nothing but its node IPAM.
    pub(crate) fn start_manager(&self, cluster_cidr: &str) -> Outcome<Program> {
        Ok(self.bare.start_node_ipam(cluster_cidr, &[])?)
    }

    pub(crate) fn do_it<T>(
        &self,
        future: impl Future<Output = Result<T, freeboard_kubernetes::kube::Error>>,
    ) -> Outcome<T> {
        Ok(self.runtime.block_on(future)?)
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(crate) fn ranges(&self) -> Api<PodRange> {
        Api::all(self.client.clone())
    }

    /// Creates nodes at once, as their kubelets would.
    pub(crate) fn create_nodes(&self, names: &[String], max_pods: u32) -> Outcome {
        let api = self.nodes();
        let create = |name: &String| {
            let node = serde_json::from_value::<Node>(serde_json::json!({
                "metadata": {"name": name}, "status": {"capacity": {"pods": max_pods.to_string()}},
            }));
            let api = api.clone();
            async move { api.create(&PostParams::default(), &node.unwrap_or_default()).await.map(drop) }
        };
        for some in names.chunks(32) {
            self.do_it(futures::future::try_join_all(some.iter().map(create)))?;
        }
        Ok(())
    }

    pub(crate) fn delete_node(&self, name: &str) -> Outcome {
        self.do_it(self.nodes().delete(name, &DeleteParams::default())).map(drop)
    }

    pub(crate) fn add_range(&self, name: &str, cidr: &str) -> Outcome {
        let range = PodRange::new(name, PodRangeSpec::new(cidr.parse()?));
        self.do_it(self.ranges().create(&PostParams::default(), &range)).map(drop)
    }

    /// All nodes with their blocks.
    pub(crate) fn blocks(&self) -> Outcome<Vec<(String, Option<String>)>> {
        let list = self.do_it(self.nodes().list(&ListParams::default()))?;
        let one = |node: Node| (node.metadata.name.unwrap_or_default(), node.spec.and_then(|spec| spec.pod_cidr));
        Ok(list.items.into_iter().map(one).collect())
    }

    /// How many nodes have a block; fails when two share addresses.
    pub(crate) fn served(&self) -> Outcome<usize> {
        let mut cidrs: Vec<freeboard_address::Cidr> = Vec::new();
        for (_, block) in self.blocks()? {
            if let Some(block) = block {
                cidrs.push(block.parse()?);
            }
        }
        cidrs.sort_unstable();
        for pair in cidrs.windows(2) {
            require(!pair[0].overlaps(pair[1]), format!("{} and {} are disjoint", pair[0], pair[1]))?;
        }
        Ok(cidrs.len())
    }

    pub(crate) fn wait_until_served(&self, count: usize) -> Outcome<Duration> {
        self.wait(format!("{count} nodes have a block"), |stage| {
            let served = stage.served()?;
            Ok(if served == count { Ok(()) } else { Err(format!("{served} have one")) })
        })
    }

    /// Messages of events on an object with this reason.
    pub(crate) fn events(&self, object: &str, reason: &str) -> Outcome<Vec<Event>> {
        let selector = format!("involvedObject.name={object},reason={reason}");
        let api: Api<Event> = Api::all(self.client.clone());
        Ok(self.do_it(api.list(&ListParams::default().fields(&selector)))?.items)
    }

    /// Waits until `holds`, and says how long it took.
    pub(crate) fn wait(
        &self,
        what: impl Display,
        mut holds: impl FnMut(&Self) -> Outcome<Result<(), String>>,
    ) -> Outcome<Duration> {
        let started = Instant::now();
        loop {
            match holds(self)? {
                Ok(()) => return Ok(started.elapsed()),
                Err(why) if started.elapsed() > LIMIT => {
                    return Err(format!("after {LIMIT:?} still not: {what}: {why}").into());
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }
}
