//! A node's pods, started and stopped many at once as kubelet does it, and what must be right about all of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_lab::runtime::CniError;
use freeboard_lab::{INTERNET_HOST, LabError, Machine, Pod, SteadyPing, ping_all};

use crate::books;
use crate::support::{LIMIT, Outcome, Stage, require, wait_until};

/// How long a pod may be refused before the case has failed: longer than the longest outage.
const PATIENCE: Duration = Duration::from_secs(120);
/// The runtime's pause after a refused ADD.
const PAUSE: Duration = Duration::from_millis(200);
/// Every watched pod is asked this often.
const EVERY: Duration = Duration::from_millis(20);

/// Pods of one node, by name.
pub(crate) struct Fleet<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) machine: Machine,
    pub(crate) pods: BTreeMap<String, (Pod, Ipv4Addr)>,
}

/// Names `prefix-0`, `prefix-1` and so on.
pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}-{index}")).collect()
}

/// Fails unless every refusal names one of the causes.
pub(crate) fn only(refusals: &[CniError], causes: &[&str]) -> Outcome {
    refusals.iter().try_for_each(|refusal| {
        let words = format!("{} {}", refusal.message, refusal.details);
        let known = causes.iter().any(|cause| words.contains(cause));
        require(
            known && !refusal.details.is_empty(),
            format!("a refusal names one of {causes:?} and a remedy: {words}"),
        )
    })
}

impl<'a> Fleet<'a> {
    pub(crate) fn new(stage: &'a Stage, machine: &Machine) -> Self {
        Self { stage, machine: machine.clone(), pods: BTreeMap::new() }
    }

    /// Starts pods, all at once, each again and again until it is served. Returns the refusals on the way.
    pub(crate) fn start(&mut self, names: Vec<String>) -> Outcome<Vec<CniError>> {
        let machine = &self.machine;
        let served = std::thread::scope(|scope| {
            let starts: Vec<_> = names.into_iter().map(|name| scope.spawn(move || start(machine, name))).collect();
            let joined = starts.into_iter().map(|start| start.join().map_err(|_| "a starting thread panicked")?);
            joined.collect::<Outcome<Vec<_>>>()
        })?;
        let mut all = Vec::new();
        for (name, pod, address, refusals) in served {
            all.extend(refusals);
            require(!self.has(address), format!("{address} of {name} is on no other pod"))?;
            self.pods.insert(name, (pod, address));
        }
        Ok(all)
    }

    /// An ADD that must be refused; its sandbox goes again.
    pub(crate) fn refused(&self, name: &str) -> Outcome<CniError> {
        let mut pod = Pod::create(&self.machine, PodKey::new("test", name))?;
        let answer = pod.add();
        pod.delete()?;
        match answer {
            Err(LabError::Cni(error)) => Ok(error),
            other => Err(format!("{name} is to be refused; instead: {other:?}").into()),
        }
    }

    /// Stops pods, all at once.
    pub(crate) fn stop(&mut self, names: &[String]) -> Outcome {
        let going: Vec<Pod> = names.iter().filter_map(|name| self.pods.remove(name)).map(|(pod, _)| pod).collect();
        require(going.len() == names.len(), format!("{names:?} all run"))?;
        std::thread::scope(|scope| {
            let stops: Vec<_> = going
                .into_iter()
                .map(|mut pod| {
                    scope.spawn(move || {
                        wait_until(format!("DEL of {} succeeds", pod.key), || {
                            Ok(pod.delete().map_err(|error| error.to_string()))
                        })
                    })
                })
                .collect();
            stops.into_iter().try_for_each(|stop| stop.join().map_err(|_| "a stopping thread panicked")?)
        })
    }

    pub(crate) fn has(&self, address: Ipv4Addr) -> bool {
        self.pods.values().any(|(_, known)| *known == address)
    }

    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.pods.values().map(|(_, address)| *address).collect()
    }

    /// The node and one of its pods reach every pod; that pod reaches the internet too.
    pub(crate) fn reaches_all(&self) -> Outcome {
        let mut targets = self.addresses();
        let first = self.pods.values().next().ok_or("the fleet has a pod")?;
        for (from, namespace) in [("the node", self.machine.namespace()), ("a pod", first.0.namespace())] {
            let silent: Vec<Ipv4Addr> = ping_all(namespace, &targets, LIMIT)?
                .into_iter()
                .filter_map(|echo| (!echo.answered).then_some(echo.target))
                .collect();
            require(silent.is_empty(), format!("{from} reaches every pod; silent: {silent:?}"))?;
            targets.push(INTERNET_HOST);
        }
        Ok(())
    }

    /// Begins to ask the node and the internet from each of these pods, without end.
    pub(crate) fn watch(&self, names: &[String]) -> Outcome<Vec<SteadyPing>> {
        let targets = [self.machine.address, INTERNET_HOST];
        let pods = names.iter().map(|name| self.pods.get(name).ok_or_else(|| format!("{name} runs")));
        let watch = |(pod, _): &(Pod, Ipv4Addr)| {
            // The very first packet may go while the pod's link is still coming up.
            let echoes = ping_all(pod.namespace(), &targets, LIMIT)?;
            require(echoes.iter().all(|echo| echo.answered), format!("{} reaches {targets:?}", pod.key))?;
            Ok(SteadyPing::start(pod.namespace(), &targets, EVERY)?)
        };
        pods.map(|pod| watch(pod?)).collect()
    }

    /// The pods that live, by address.
    pub(crate) fn living(&self) -> BTreeMap<Ipv4Addr, String> {
        self.pods.iter().map(|(name, (_, address))| (*address, name.clone())).collect()
    }

    /// What must hold when the case has come to rest; see [`books::close`].
    pub(crate) fn close(&self) -> Outcome {
        books::close(self.stage, &self.machine, &self.living())
    }
}

/// Ends watching: not one request may have been lost.
pub(crate) fn never_silent(watched: Vec<SteadyPing>) -> Outcome {
    for watch in watched {
        for steady in watch.stop()? {
            let what = steady.to_string();
            require(steady.sent > 0 && steady.lost_at.is_empty(), what)?;
        }
    }
    Ok(())
}

/// A failed ADD is followed by a DEL of its sandbox and an ADD for a new one, as kubelet and its runtime do.
fn start(machine: &Machine, name: String) -> Outcome<(String, Pod, Ipv4Addr, Vec<CniError>)> {
    let began = Instant::now();
    let mut refusals = Vec::new();
    loop {
        let mut pod = Pod::create(machine, PodKey::new("test", &*name))?;
        let refusal = match pod.add() {
            Ok(address) => return Ok((name, pod, address, refusals)),
            Err(LabError::Cni(refusal)) => refusal,
            Err(error) => return Err(error.into()),
        };
        pod.delete()?;
        require(began.elapsed() < PATIENCE, format!("{name} gets an address; last: {refusal}"))?;
        refusals.push(refusal);
        std::thread::sleep(PAUSE);
    }
}
