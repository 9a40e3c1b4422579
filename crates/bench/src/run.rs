//! `freeboard-bench cni`: one run over all peers, nodes and cases.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use freeboard_lab::{Machine as Node, Program, ProgramOptions};

use crate::calls::{self, BURST_PODS, BurstSample, SerialSample};
use crate::place::Place;
use crate::pool::PoolView;
use crate::process;
use crate::report::{AgentFigures, Burst, Calls, Computer, Floor, Growth, GrowthCase, Peer, Run};
use crate::statistics::{Summary, milliseconds};
use crate::{freeboard, incumbent};
use freeboard_lab::runtime::PluginList;

/// Rounds of the measurements with a warm pool; peers take turns within a round, so that noise hits all of them.
const ROUNDS: usize = 5;
/// Pods of one round of single calls.
const SERIAL_PODS: usize = 40;
/// How long a failed pod pauses before it is tried again. Kubelet's own pause is 10 to 15 s; a shorter one is kinder to a
/// peer that fails ADDs until it has addresses.
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// Until when a pod must have its address.
const PATIENCE: Duration = Duration::from_secs(180);
/// Settings under which forty pods find warm addresses, for either agent. Nothing cools down, since the pods of one round
/// take the addresses of the round before.
const WARM: &[(&str, &str)] = &[("WARM_IP_TARGET", "45"), ("IP_COOLDOWN_PERIOD", "0")];

/// Runs everything and returns the figures; tells on standard error what it does.
///
/// # Errors
/// When a program is missing, or a peer fails in a way that is not part of the measurement.
pub async fn run(place: &Place) -> Result<Run> {
    let parts = Parts::find()?;
    let mut run = Run { computer: computer()?, ..Run::default() };
    let mut healthy = [Vec::new(), Vec::new()];
    for (case, suffix, settings) in [
        (GrowthCase::Default, "default", &[][..]),
        (GrowthCase::WarmIpTarget5, "warm-ip-5", &[("WARM_IP_TARGET", "5")][..]),
    ] {
        for (index, peer) in [Peer::Freeboard, Peer::IncumbentAlone].into_iter().enumerate() {
            let node = place.node(&format!("{}-{suffix}", node_prefix(peer)))?;
            tell(&format!("{}: 40 pods at once, pool {suffix}", peer.label()));
            let (growth, took) = measure_growth(place, &parts, peer, &node, settings).await?;
            healthy[index].push(took);
            run.growth.entry(case).or_default().insert(peer, growth);
        }
    }
    measure_calls(place, &parts, &mut run, &mut healthy).await?;
    for (peer, healthy) in [Peer::Freeboard, Peer::IncumbentAlone].into_iter().zip(healthy) {
        run.agents.insert(peer, parts.figures(peer, healthy)?);
    }
    Ok(run)
}

const fn node_prefix(peer: Peer) -> &'static str {
    match peer {
        Peer::Freeboard => "freeboard",
        Peer::IncumbentAlone | Peer::IncumbentList => "incumbent",
        Peer::Ptp => "reference",
    }
}

#[expect(clippy::print_stderr, reason = "the run takes minutes, and somebody waits for it")]
fn tell(what: &str) {
    eprintln!("• {what}");
}

/// The executables of all peers.
struct Parts {
    tools: PathBuf,
    programs: PathBuf,
}

impl Parts {
    fn find() -> Result<Self> {
        Ok(Self { tools: incumbent::tools_directory()?, programs: freeboard::programs_directory()? })
    }

    /// The peer's agent; ptp has none and is never asked for one.
    fn agent(&self, place: &Place, peer: Peer, node: &Node, settings: &[(&str, &str)]) -> Result<ProgramOptions> {
        match peer {
            Peer::Freeboard => freeboard::agent(place, node, settings),
            Peer::IncumbentAlone | Peer::IncumbentList | Peer::Ptp => incumbent::agent(node, &self.tools, settings),
        }
    }

    fn list(&self, peer: Peer) -> PluginList {
        let tools = std::slice::from_ref(&self.tools);
        match peer {
            Peer::Freeboard => freeboard::plugin(std::slice::from_ref(&self.programs)),
            Peer::IncumbentAlone => incumbent::plugin_alone(tools),
            Peer::IncumbentList => incumbent::shipped_list(tools),
            Peer::Ptp => incumbent::ptp(tools),
        }
    }

    fn figures(&self, peer: Peer, mut healthy: Vec<Duration>) -> Result<AgentFigures> {
        healthy.sort_unstable();
        let middle = healthy.get(healthy.len() / 2).copied().context("no start was measured")?;
        let (plugin, agent) = match peer {
            Peer::Freeboard => (self.programs.join("aws-cni"), self.programs.join("freeboard-agent")),
            Peer::IncumbentAlone | Peer::IncumbentList | Peer::Ptp => {
                (self.tools.join("aws-cni"), self.tools.join("aws-k8s-agent"))
            }
        };
        let size = |path: PathBuf| std::fs::metadata(&path).map(|file| file.len()).context("cannot weigh a program");
        Ok(AgentFigures {
            healthy_milliseconds: milliseconds(middle),
            plugin_bytes: size(plugin)?,
            agent_bytes: size(agent)?,
        })
    }
}

pub(crate) fn computer() -> Result<Computer> {
    let kernel = nix::sys::utsname::uname().context("cannot ask for the kernel's release")?;
    Ok(Computer {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: kernel.release().to_string_lossy().into_owned(),
    })
}

/// What the least work takes, round by round.
#[derive(Debug, Default)]
struct FloorSample {
    kernel_add: Vec<Duration>,
    process_start: Vec<Duration>,
}

impl FloorSample {
    fn round(&mut self, node: &Node) -> Result<()> {
        self.kernel_add.extend(calls::kernel_floor(node, SERIAL_PODS)?);
        self.process_start.extend(calls::process_start(SERIAL_PODS)?);
        Ok(())
    }

    fn figures(self) -> Result<Floor> {
        Ok(Floor { kernel_add: summary(self.kernel_add)?, process_start: summary(self.process_start)? })
    }
}

fn summary(sample: Vec<Duration>) -> Result<Summary> {
    Summary::of(sample).context("nothing was measured")
}

/// Starts the peer's agent on a fresh node, lets its pool come to rest, starts forty pods at once, and weighs the agent.
async fn measure_growth(
    place: &Place,
    parts: &Parts,
    peer: Peer,
    node: &Node,
    settings: &[(&str, &str)],
) -> Result<(Growth, Duration)> {
    let calls_before = place.ec2_calls();
    let (mut agent, healthy) = process::start(node, &parts.agent(place, peer, node, settings)?).await?;
    let pool = PoolView::at_rest(node.namespace()).await?;
    let sandboxes = calls::sandboxes(node, BURST_PODS)?;
    let list = parts.list(peer);
    let (machine, tries) = (node.clone(), list.clone());
    let started = Instant::now();
    let (sandboxes, served) = tokio::task::spawn_blocking(move || {
        let served = calls::burst_with_tries(&machine, &tries, &sandboxes, PAUSE_BETWEEN_TRIES, PATIENCE);
        (sandboxes, served)
    })
    .await?;
    let served =
        served.with_context(|| format!("after {:?}; the agent said:\n{}", started.elapsed(), agent.log_tail()))?;
    let ec2_calls = place.ec2_calls_since(&calls_before);
    let resident_kibibytes = agent.resident_kibibytes().context("the agent has ended")?;
    let last = served.iter().map(|pod| pod.waited).max().unwrap_or_default();
    let results: Vec<_> = served.iter().map(|pod| pod.result.clone()).collect();
    let machine = node.clone();
    tokio::task::spawn_blocking(move || calls::delete_all(&machine, &list, &sandboxes, &results)).await??;
    agent.stop(Duration::from_secs(3))?;
    let growth = Growth {
        addresses_before: pool.total_addresses,
        last_pod_served_milliseconds: milliseconds(last),
        failed_adds: served.iter().map(|pod| u64::from(pod.failed)).sum(),
        ec2_calls,
        resident_kibibytes,
    };
    Ok((growth, healthy))
}

/// Measures single calls and bursts with a warm pool; all peers are up, and take turns.
async fn measure_calls(place: &Place, parts: &Parts, run: &mut Run, healthy: &mut [Vec<Duration>; 2]) -> Result<()> {
    tell("warm pools for both agents");
    let nodes = [place.node("freeboard-warm")?, place.node("incumbent-warm")?];
    let mut agents = Vec::new();
    for ((peer, node), healthy) in [Peer::Freeboard, Peer::IncumbentAlone].into_iter().zip(&nodes).zip(healthy) {
        let (agent, took) = process::start(node, &parts.agent(place, peer, node, WARM)?).await?;
        healthy.push(took);
        agents.push(agent);
    }
    for node in &nodes {
        PoolView::with_at_least(node.namespace(), 45).await?;
    }
    let reference = place.node(node_prefix(Peer::Ptp))?;
    let [freeboard_node, incumbent_node] = &nodes;
    let [freeboard_agent, incumbent_agent] = agents.as_slice() else { anyhow::bail!("both agents run") };
    let mut peers = [
        PeerSample::new(Peer::Freeboard, freeboard_node, Some(freeboard_agent)),
        PeerSample::new(Peer::IncumbentAlone, incumbent_node, Some(incumbent_agent)),
        PeerSample::new(Peer::IncumbentList, incumbent_node, Some(incumbent_agent)),
        PeerSample::new(Peer::Ptp, &reference, None),
    ];
    let mut floor = FloorSample::default();
    for round in 1..=ROUNDS {
        tell(&format!("warm, round {round} of {ROUNDS}"));
        tokio::task::block_in_place(|| floor.round(&reference))?;
        for peer in &mut peers {
            let list = parts.list(peer.peer);
            tokio::task::block_in_place(|| peer.round(&list))
                .with_context(|| format!("{} failed", peer.peer.label()))?;
        }
    }
    run.floor = Some(floor.figures()?);
    for peer in peers {
        run.calls.insert(peer.peer, peer.figures()?);
    }
    for agent in &mut agents {
        agent.stop(Duration::from_secs(3))?;
    }
    Ok(())
}

/// What is measured of one peer, round by round.
struct PeerSample<'a> {
    peer: Peer,
    node: &'a Node,
    agent: Option<&'a Program>,
    serial: SerialSample,
    bursts: Vec<BurstSample>,
    agent_processor_time: Duration,
}

impl<'a> PeerSample<'a> {
    fn new(peer: Peer, node: &'a Node, agent: Option<&'a Program>) -> Self {
        Self {
            peer,
            node,
            agent,
            serial: SerialSample::default(),
            bursts: Vec::new(),
            agent_processor_time: Duration::ZERO,
        }
    }

    fn round(&mut self, list: &PluginList) -> Result<()> {
        calls::serial(self.node, list, SERIAL_PODS, &mut self.serial)?;
        let before = self.agent_time()?;
        self.bursts.push(calls::burst(self.node, list)?);
        self.agent_processor_time += self.agent_time()?.saturating_sub(before);
        Ok(())
    }

    fn agent_time(&self) -> Result<Duration> {
        self.agent.map_or(Ok(Duration::ZERO), process::processor_time)
    }

    fn figures(mut self) -> Result<Calls> {
        self.bursts.sort_by_key(|burst| burst.wall);
        let pods = (self.bursts.len() * BURST_PODS) as f64;
        let middle = self.bursts.get(self.bursts.len() / 2).context("no burst was measured")?;
        let plugin: Duration = self.bursts.iter().map(|burst| burst.plugin_processor_time).sum();
        let burst = Burst {
            wall_milliseconds: milliseconds(middle.wall),
            add: summary(self.bursts.iter().flat_map(|burst| burst.add.iter().copied()).collect())?,
            plugin_processor_milliseconds: milliseconds(plugin) / pods,
            agent_processor_milliseconds: self.agent.map(|_| milliseconds(self.agent_processor_time) / pods),
        };
        Ok(Calls { serial_add: summary(self.serial.add)?, serial_delete: summary(self.serial.delete)?, burst })
    }
}
