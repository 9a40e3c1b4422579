//! The trial, phase by phase.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_bench::{incumbent, process};
use freeboard_datapath::nft::NftSocket;
use freeboard_lab::{Machine, Pod, Program, SteadyPing, ping_all};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::books;
use crate::fleet::{Fleet, names};
use crate::support::{LIMIT, Outcome, Stage, program, require, wait_until};

/// Two m5.xlarge nodes: four interfaces with fourteen pod addresses each, so twenty pods lie on two of them.
pub(crate) const WORLD: &str = "
region: us-west-2
seed: 11
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { api_latency_milliseconds: 100, attach_seconds: 2, metadata_lag_seconds: 0 }
throttling: { enabled: false }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.0.0/20, zone: us-west-2a }
instances:
  - id: i-00000000000000001
    type: m5.xlarge
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.0.10 }]
  - id: i-00000000000000002
    type: m5.xlarge
    interfaces: [{ id: eni-00000000000000002, subnet: subnet-00000000000000001, address: 10.0.0.11 }]
";
const PODS: usize = 20;
/// Pods that need another interface.
const MORE: usize = 12;
const INSTANCE_TAG: &str = "node.k8s.amazonaws.com/instance_id";
/// Pods that go and come in each phase.
const CHANGED: usize = 3;
const CONFLIST: &str = "/etc/cni/net.d/10-aws.conflist";
const PLUGINS: &str = "/opt/cni/bin";
const CHECKPOINT: &str = "/run/aws-node/ipam.json";
/// From outside every lasting pod is asked this often.
const EVERY: Duration = Duration::from_millis(50);
/// The same for either side.
const SETTINGS: &[(&str, &str)] = &[("WARM_IP_TARGET", "3"), ("IP_COOLDOWN_PERIOD", "5")];

/// The node on which everything happens, with its pods.
struct Scene<'a> {
    stage: &'a Stage,
    runtime: Runtime,
    tools: PathBuf,
    node: Machine,
    other: Machine,
    fleet: Fleet<'a>,
}

pub(crate) fn play(stage: &Stage) -> Outcome {
    let machines = stage.lab.machines();
    let [node, other] = machines.as_slice() else { return Err("the world has two machines".into()) };
    let mut scene = Scene {
        stage,
        runtime: Runtime::new()?,
        tools: incumbent::tools_directory()?,
        node: node.clone(),
        other: other.clone(),
        fleet: Fleet::new(stage, node),
    };
    scene.install_incumbent_plugins()?;
    let theirs = scene.start_incumbent()?;
    scene.fleet.start(names("old", PODS - 1))?;
    scene.start_with_host_port("old-19", 8080)?;
    scene.settled_under_the_incumbent()?;

    let lasting = names("old", PODS - 1).split_off(2 * CHANGED);
    let watched = scene.watch(&lasting)?;
    let ours = scene.freeboard_comes(theirs)?;
    let ours = scene.freeboard_is_upgraded(ours)?;
    let watched_further = scene.watch(&lasting)?;
    told("Freeboard came and was upgraded", watched)?;
    let theirs = scene.freeboard_goes(ours)?;
    told("Freeboard went", watched_further)?;
    scene.nothing_is_left()?;
    drop(theirs);
    Ok(())
}

/// Ends watching: no request was lost.
fn told(what: &str, watched: Vec<SteadyPing>) -> Outcome {
    let mut sent = 0;
    let mut lost = Vec::new();
    for watch in watched {
        for steady in watch.stop()? {
            sent += steady.sent;
            if !steady.lost_at.is_empty() {
                lost.push(steady.to_string());
            }
        }
    }
    eprintln!("{what}: {sent} echo requests; lost: {lost:?}");
    require(sent > 0 && lost.is_empty(), format!("{what}, and no echo request is lost: {lost:?}"))
}

impl Scene<'_> {
    /// What the incumbent's start-up container copies to the host.
    fn install_incumbent_plugins(&self) -> Outcome {
        self.node.output("mkdir", &["-p", PLUGINS, "/etc/cni/net.d"])?;
        for plugin in ["aws-cni", "egress-cni", "portmap"] {
            // Under another name first: the old file may be running.
            let (source, new) = (self.tools.join(plugin), format!("{PLUGINS}/{plugin}.tmp"));
            self.node.output("cp", &[&source.display().to_string(), &new])?;
            self.node.output("mv", &[&new, &format!("{PLUGINS}/{plugin}")])?;
        }
        Ok(())
    }

    /// Its entry point: the agent, and when that is healthy the list of plugins.
    fn start_incumbent(&self) -> Outcome<Program> {
        let options = {
            let _inside = self.runtime.enter();
            incumbent::agent(&self.node, &self.tools, SETTINGS)?
        };
        let (agent, took) = self.runtime.block_on(process::start(&self.node, &options))?;
        eprintln!("the incumbent's agent is healthy after {:.1} s", took.as_secs_f64());
        let list = incumbent::shipped_list(&[]);
        let list = json!({
            "cniVersion": list.cni_version, "name": list.name, "disableCheck": true, "plugins": list.plugins,
        });
        self.node.namespace().run(|| std::fs::write(CONFLIST, list.to_string()))??;
        Ok(agent)
    }

    /// Asks from each of these pods, and from a pod's place on another node, without end.
    fn watch(&self, names: &[String]) -> Outcome<Vec<SteadyPing>> {
        let mut watched = self.fleet.watch(names)?;
        let addresses: Vec<_> = names.iter().filter_map(|name| Some(self.fleet.pods.get(name)?.1)).collect();
        let echoes = ping_all(self.other.namespace(), &addresses, LIMIT)?;
        require(echoes.iter().all(|echo| echo.answered), "the other node reaches every pod")?;
        watched.push(SteadyPing::start(self.other.namespace(), &addresses, EVERY)?);
        Ok(watched)
    }

    /// The incumbent counts exactly the living pods and what EC2 shows, and the kernel leads to them.
    fn settled_under_the_incumbent(&self) -> Outcome {
        books::close_under_the_incumbent(self.stage, &self.node, &self.fleet.living())
    }

    /// The DaemonSet's image is another: the incumbent's agent ends, Freeboard's starts.
    fn freeboard_comes(&mut self, mut theirs: Program) -> Outcome<Program> {
        theirs.stop(Duration::from_secs(1))?;
        let began = Instant::now();
        let ours = self.start_freeboard()?;
        eprintln!("Freeboard serves {:.2} s after its start", began.elapsed().as_secs_f64());
        self.exchange("old", 0, "after-coming")?;
        require(self.chains()?.contains("dport 8080"), "the host port of a pod that lives stays")?;
        self.fleet.stop(&["old-19".to_owned()])?;
        self.fleet.close()?;
        let tables = self.tables()?;
        require(tables.iter().any(|table| table == "freeboard"), format!("its table is there: {tables:?}"))?;
        require(!tables.iter().any(|table| table == "aws-cni"), format!("the incumbent's is not: {tables:?}"))?;
        let chains = self.chains()?;
        require(!chains.contains("AWS"), format!("nor are its chains and rules: {chains}"))?;
        require(!chains.contains("dport 8080"), format!("nor what portmap made for a pod that went: {chains}"))?;
        self.start_with_host_port("with-port", 8081)?;
        Ok(ours)
    }

    /// Once by SIGTERM with a checkpoint that a later version wrote, once by SIGKILL.
    fn freeboard_is_upgraded(&mut self, mut ours: Program) -> Outcome<Program> {
        let rules = self.node.output("ip", &["-4", "rule", "list"])?;
        ours.stop(Duration::from_secs(5))?;
        let text = self.node.output("cat", &[CHECKPOINT])?;
        let mut checkpoint: Value = serde_json::from_str(&text)?;
        checkpoint["written"] = json!({"by": "a later version"});
        checkpoint["freeboard"]["later"] = json!([{"cidr": "10.0.0.0/28"}]);
        self.node.namespace().run(|| std::fs::write(CHECKPOINT, checkpoint.to_string()))??;
        let mut ours = self.start_freeboard()?;
        let now = self.node.output("ip", &["-4", "rule", "list"])?;
        require(now == rules, format!("a restart changes no rule; before:\n{rules}\nafter:\n{now}"))?;
        self.exchange("after-coming", 0, "after-upgrade")?;
        // One interface more, which is Freeboard's work and which the incumbent is to take on.
        let before = books::interfaces(self.stage, &self.node)?.len();
        self.fleet.start(names("more", MORE))?;
        let interfaces = books::interfaces(self.stage, &self.node)?;
        require(interfaces.len() > before, format!("{MORE} more pods need another interface than {before}"))?;
        let description = format!("aws-K8S-{}", self.node.instance);
        let strange: Vec<_> = interfaces
            .iter()
            .filter(|one| one.attachment.as_ref().is_some_and(|at| at.device_index > 0))
            .filter(|one| one.description != description || !one.tags.iter().any(|tag| tag.key == INSTANCE_TAG))
            .collect();
        require(strange.is_empty(), format!("either side knows every interface by its tags: {strange:?}"))?;
        ours.kill()?;
        let ours = self.start_freeboard()?;
        self.fleet.close()?;
        Ok(ours)
    }

    /// Back again: the incumbent's agent on Freeboard's checkpoint, its plugins, its list; then what only Freeboard knew goes.
    fn freeboard_goes(&mut self, mut ours: Program) -> Outcome<Program> {
        let early = self.hand_over();
        let said = early.err().map(|error| error.to_string()).unwrap_or_default();
        require(said.contains("still runs"), format!("nothing is handed over while the agent runs: {said}"))?;
        ours.stop(Duration::from_secs(5))?;
        let early = self.hand_over();
        let said = early.err().map(|error| error.to_string()).unwrap_or_default();
        require(said.contains("has not written its rules"), format!("nor before the other has taken over: {said}"))?;
        self.install_incumbent_plugins()?;
        let theirs = self.start_incumbent()?;
        let said = self.hand_over()?;
        eprint!("{said}");
        require(said.contains("kept the host ports of the pod"), format!("a living pod keeps its host ports: {said}"))?;
        self.fleet.stop(&["with-port".to_owned()])?;
        let said = self.hand_over()?;
        require(said.contains("removed the nf_tables table ip freeboard-ports-"), format!("then they go: {said}"))?;
        self.exchange("old", CHANGED, "after-going")?;
        self.fleet.stop(&names("after-upgrade", CHANGED))?;
        self.settled_under_the_incumbent()?;
        let tables = self.tables()?;
        require(
            !tables.iter().any(|table| table.contains("freeboard")),
            format!("no table of ours is left: {tables:?}"),
        )?;
        let chains = self.chains()?;
        require(chains.contains("AWS-SNAT-CHAIN-0"), format!("the incumbent's chains are there: {chains}"))?;
        Ok(theirs)
    }

    fn nothing_is_left(&mut self) -> Outcome {
        let all: Vec<String> = self.fleet.pods.keys().cloned().collect();
        self.fleet.stop(&all)?;
        self.settled_under_the_incumbent()?;
        let routes = self.node.output("ip", &["-4", "route", "list", "table", "main"])?;
        require(!routes.contains("dev eni"), format!("no route to a pod is left: {routes}"))
    }

    /// Some pods that have lived for a while go, and as many come; they reach everybody.
    fn exchange(&mut self, old: &str, from: usize, new: &str) -> Outcome {
        let going: Vec<String> = names(old, from + CHANGED).split_off(from);
        self.fleet.stop(&going)?;
        self.fleet.start(names(new, CHANGED))?;
        self.fleet.reaches_all()
    }

    /// A pod to which a port of the node leads.
    fn start_with_host_port(&mut self, name: &str, port: u16) -> Outcome {
        let mut pod = Pod::create(&self.node, PodKey::new("test", name))?;
        pod.attachment.port_mappings = vec![json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"})];
        let address = pod.add()?;
        self.fleet.pods.insert(name.to_owned(), (pod, address));
        Ok(())
    }

    fn start_freeboard(&self) -> Outcome<Program> {
        let agent = self.stage.start_agent(&self.node, SETTINGS)?;
        wait_until("the list of plugins is Freeboard's", || {
            let text = self.node.output("cat", &[CONFLIST])?;
            let list: Value = serde_json::from_str(&text)?;
            Ok(if list["plugins"].as_array().is_some_and(|plugins| plugins.len() == 1) { Ok(()) } else { Err(text) })
        })?;
        Ok(agent)
    }

    fn hand_over(&self) -> Outcome<String> {
        let agent = program("FREEBOARD_AGENT", "freeboard-agent")?.display().to_string();
        Ok(self.node.output(&agent, &["--hand-over"])?)
    }

    fn tables(&self) -> Outcome<Vec<String>> {
        Ok(self.node.namespace().run(|| NftSocket::open()?.tables())??)
    }

    /// What the iptables program shows, which writes to nf_tables here.
    fn chains(&self) -> Outcome<String> {
        let program = Path::new("/usr/sbin/iptables-save").display().to_string();
        Ok(self.node.output(&program, &[])?)
    }
}
