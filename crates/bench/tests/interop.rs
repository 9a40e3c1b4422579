//! Freeboard and the Amazon VPC CNI in each other's company: either side's plugin with either side's agent, and other callers.
//!
//! Every part is the real one: the incumbent's agent and plugin, cnitool, and our programs, on the simulated VPC in the lab.

#![expect(clippy::print_stderr, reason = "a lab that cannot be built is no trial of its own")]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use freeboard_bench::place::Place;
use freeboard_bench::pool::PoolView;
use freeboard_bench::{calls, freeboard, incumbent, process};
use freeboard_datapath::netlink::RouteSocket;
use freeboard_lab::runtime::{PluginList, address_of};
use freeboard_lab::{Machine, Pod as Sandbox, Program, ProgramOptions, ping};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

/// How long an echo may take; a first packet may wait for a neighbour to be resolved.
const PING_LIMIT: Duration = Duration::from_secs(3);
/// Until when a pod must have its address; the incumbent's pool may have to grow first.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

fn main() {
    let mut arguments = Arguments::from_args();
    if !arguments.list
        && let Err(error) = freeboard_lab::isolate()
    {
        eprintln!("the lab cannot be built: {error}");
        std::process::exit(1);
    }
    // The trials share one lab, and measure nothing; one after the other their logs can be read.
    arguments.test_threads = Some(1);
    let trials = vec![
        trial("the_incumbents_agent_starts_on_the_simulated_vpc_and_its_pods_ping_each_other", incumbent_alone),
        trial("the_incumbents_plugin_gets_and_returns_addresses_of_our_agent", incumbent_plugin_with_our_agent),
        trial("our_plugin_gets_and_returns_addresses_of_the_incumbents_agent", our_plugin_with_incumbent_agent),
        trial("a_pod_added_by_one_sides_plugin_is_deleted_by_the_others", crosswise_deletes),
        trial("cnitool_adds_and_deletes_by_the_list_that_our_agent_wrote", cnitool),
        trial("a_cni_1_1_status_is_answered_with_an_agent_and_refused_without", status),
        trial("a_cni_1_1_gc_releases_what_the_runtime_does_not_know", garbage_collection),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, test: fn(&Stage) -> Result<()>) -> Trial {
    Trial::test(name, move || {
        let stage = Stage::set().map_err(|error| Failed::from(format!("{error:#}")))?;
        test(&stage).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// A lab of its own for one trial.
struct Stage {
    runtime: tokio::runtime::Runtime,
    place: Place,
    tools: PathBuf,
    programs: PathBuf,
}

impl Stage {
    fn set() -> Result<Self> {
        let (tools, programs) = (incumbent::tools_directory()?, freeboard::programs_directory()?);
        let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
        let world = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../worlds/bench-m5.yaml");
        let place = runtime.block_on(Place::start(&world, 20.0))?;
        Ok(Self { runtime, place, tools, programs })
    }

    fn node(&self, name: &str) -> Result<Machine> {
        self.place.node(name)
    }

    /// Starts an agent and waits until it is healthy and has addresses.
    fn start(&self, node: &Machine, program: &ProgramOptions) -> Result<Program> {
        self.runtime.block_on(async {
            let (agent, _) = process::start(node, program).await?;
            PoolView::with_at_least(node.namespace(), 1).await.with_context(|| agent.log_tail())?;
            Ok(agent)
        })
    }

    fn start_ours(&self, node: &Machine) -> Result<Program> {
        self.start(node, &freeboard::agent(&self.place, node, &[])?)
    }

    fn start_incumbent(&self, node: &Machine) -> Result<Program> {
        let _guard = self.runtime.enter();
        let program = incumbent::agent(node, &self.tools, &[])?;
        self.start(node, &program)
    }

    fn assigned(&self, node: &Machine) -> Result<u64> {
        Ok(PoolView::of(node.namespace())?.assigned_addresses)
    }

    fn our_plugin(&self) -> PluginList {
        freeboard::plugin(std::slice::from_ref(&self.programs))
    }

    fn incumbent_list(&self) -> PluginList {
        incumbent::shipped_list(std::slice::from_ref(&self.tools))
    }
}

/// A pod with its address.
struct Pod {
    sandbox: Sandbox,
    result: Value,
    address: Ipv4Addr,
}

fn add(node: &Machine, list: &PluginList) -> Result<Pod> {
    let sandbox = calls::sandbox(node)?;
    let served = node.namespace().run(|| list.add_with_tries(&sandbox.attachment, PAUSE, PATIENCE))??;
    let address =
        address_of(&served.result).with_context(|| format!("the result has no address: {}", served.result))?;
    Ok(Pod { sandbox, result: served.result, address })
}

fn delete(node: &Machine, list: &PluginList, pod: &Pod) -> Result<()> {
    node.namespace().run(|| list.delete(&pod.sandbox.attachment, Some(&pod.result)))??;
    Ok(())
}

/// Every pod reaches every other.
fn all_ping(pods: &[&Pod]) -> Result<()> {
    for from in pods {
        for to in pods {
            let is_reached = ping(from.sandbox.namespace(), to.address, PING_LIMIT)?;
            ensure!(is_reached, "{} does not reach {}", from.address, to.address);
        }
    }
    Ok(())
}

fn incumbent_alone(stage: &Stage) -> Result<()> {
    let nodes = [stage.node("incumbent-warm")?, stage.node("incumbent-default")?];
    let _agents = [stage.start_incumbent(&nodes[0])?, stage.start_incumbent(&nodes[1])?];
    let list = stage.incumbent_list();
    // Sixteen pods need a second interface on either node, so that the policy rules are used too.
    let mut pods = Vec::new();
    for node in &nodes {
        for _ in 0..16 {
            pods.push(add(node, &list)?);
        }
    }
    let some: Vec<&Pod> = pods.iter().step_by(5).chain(pods.last()).collect();
    all_ping(&some)
}

fn incumbent_plugin_with_our_agent(stage: &Stage) -> Result<()> {
    let node = stage.node("freeboard-warm")?;
    let _agent = stage.start_ours(&node)?;
    exchange(stage, &node, &stage.incumbent_list())
}

fn our_plugin_with_incumbent_agent(stage: &Stage) -> Result<()> {
    let node = stage.node("incumbent-warm")?;
    let _agent = stage.start_incumbent(&node)?;
    exchange(stage, &node, &stage.our_plugin())
}

/// Two pods get addresses, reach each other, and give the addresses back.
fn exchange(stage: &Stage, node: &Machine, list: &PluginList) -> Result<()> {
    let pods = [add(node, list)?, add(node, list)?];
    ensure!(stage.assigned(node)? == 2, "the agent counts {} addresses of pods, not 2", stage.assigned(node)?);
    all_ping(&[&pods[0], &pods[1]])?;
    for pod in &pods {
        delete(node, list, pod)?;
    }
    ensure!(stage.assigned(node)? == 0, "after both DELs the agent counts {} addresses", stage.assigned(node)?);
    Ok(())
}

fn crosswise_deletes(stage: &Stage) -> Result<()> {
    let node = stage.node("freeboard-warm")?;
    let _agent = stage.start_ours(&node)?;
    let theirs = incumbent::plugin_alone(std::slice::from_ref(&stage.tools));
    // A node's list has one version, and a result is read in the version in which it was asked for.
    let ours = PluginList { cni_version: theirs.cni_version.clone(), ..stage.our_plugin() };
    for (adds, deletes) in [(&ours, &theirs), (&theirs, &ours)] {
        let pod = add(&node, adds)?;
        delete(&node, deletes, &pod)?;
        ensure!(stage.assigned(&node)? == 0, "the address of {} is not returned", pod.address);
        has_no_rules(&node, pod.address)?;
    }
    Ok(())
}

fn cnitool(stage: &Stage) -> Result<()> {
    let node = stage.node("freeboard-warm")?;
    let _agent = stage.start_ours(&node)?;
    let sandbox = calls::sandbox(&node)?;
    let call = |what: &str| {
        node.namespace().run(|| {
            output(
                Command::new(stage.tools.join("cnitool"))
                    .args([what, "aws-cni"])
                    .arg(&sandbox.attachment.network_namespace)
                    .env("CNI_PATH", &stage.programs)
                    .env("NETCONFPATH", "/etc/cni/net.d")
                    .env("CNI_ARGS", sandbox.attachment.arguments())
                    .env("CNI_IFNAME", "eth0"),
            )
        })?
    };
    let result: Value = serde_json::from_str(&call("add")?).context("cnitool add prints no JSON")?;
    ensure!(address_of(&result).is_some(), "the result has no address: {result}");
    ensure!(stage.assigned(&node)? == 1, "the agent does not count the pod");
    call("check")?;
    call("del")?;
    ensure!(stage.assigned(&node)? == 0, "the agent still counts the pod");
    Ok(())
}

fn status(stage: &Stage) -> Result<()> {
    let node = stage.node("freeboard-warm")?;
    let list = stage.our_plugin();
    let ask = || node.namespace().run(|| list.call("STATUS", &list.plugins[0], None, None));
    let mut agent = stage.start_ours(&node)?;
    ask()?.context("with an agent that has addresses")?;
    agent.stop(Duration::from_secs(5))?;
    match ask()? {
        Ok(answer) => bail!("without an agent STATUS is fine: {answer}"),
        // 50 is the specification's "the plugin is not available".
        Err(error) => ensure!(error.code == 50, "expected code 50: {error}"),
    }
    Ok(())
}

fn garbage_collection(stage: &Stage) -> Result<()> {
    let node = stage.node("freeboard-warm")?;
    let _agent = stage.start_ours(&node)?;
    let list = stage.our_plugin();
    let (kept, lost) = (add(&node, &list)?, add(&node, &list)?);
    let mut plugin = list.plugins[0].clone();
    plugin["cni.dev/valid-attachments"] =
        json!([{"containerID": kept.sandbox.attachment.container_id, "ifname": "eth0"}]);
    node.namespace().run(|| list.call("GC", &plugin, None, None))??;
    ensure!(stage.assigned(&node)? == 1, "after GC the agent counts {} addresses, not 1", stage.assigned(&node)?);
    all_ping(&[&kept])?;
    has_no_rules(&node, lost.address)
}

/// Nothing on the node steers packets from or to an address that no pod has any more.
fn has_no_rules(node: &Machine, address: Ipv4Addr) -> Result<()> {
    let rules = node.namespace().run(|| RouteSocket::open()?.rules())??;
    let left = rules.iter().map(ToString::to_string).filter(|rule| rule.contains(&address.to_string()));
    let left: Vec<String> = left.collect();
    ensure!(left.is_empty(), "rules of {address} are left: {left:?}");
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?} ended with {}:\n{text}\n{said}", output.status);
    Ok(text.into_owned())
}
