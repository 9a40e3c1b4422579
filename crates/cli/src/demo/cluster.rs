//! The demo's cluster: nodes with agents, and pods that a runtime starts and tries again as kubelet does.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use freeboard_address::PodKey;
use freeboard_lab::{LabError, Pod};

use crate::agents::Node;

/// The pause before a runtime asks again for a pod that was refused.
const RETRY: Duration = Duration::from_millis(1000);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// The namespace of the demo's pods.
const NAMESPACE: &str = "test";
/// Pod names end as the seeds' do.
const DEPLOYMENT: &str = "alpine-curl-648f8f669c";

/// What is known of a pod that is being started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) address: Option<Ipv4Addr>,
    /// The last refusal: message and remedy.
    pub(crate) refusal: Option<(String, String)>,
    pub(crate) tries: u32,
}

/// A pod on a node, with a runtime that keeps trying.
pub(crate) struct RunningPod {
    pub(crate) node: usize,
    pub(crate) name: String,
    pub(crate) pod: Arc<Mutex<Pod>>,
    progress: Arc<Mutex<Progress>>,
}

impl RunningPod {
    /// Where it stands.
    pub(crate) fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }

    /// Its address, once it has one.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        self.progress().address
    }
}

/// Nodes and pods.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) pods: Vec<RunningPod>,
    started: u32,
}

impl Cluster {
    /// A cluster without pods.
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        Self { nodes, pods: Vec::new(), started: 0 }
    }

    /// Starts a pod on a node; a runtime asks for its address until it has one. Returns the pod's index.
    pub(crate) fn start_pod(&mut self, node: usize) -> Result<usize> {
        self.started += 1;
        let name = format!("{DEPLOYMENT}-{}", suffix(self.started));
        let pod = Pod::create(&self.nodes[node].machine, PodKey::new(NAMESPACE, name.clone()))?;
        let pod = Arc::new(Mutex::new(pod));
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (runtime_pod, runtime_progress) = (Arc::clone(&pod), Arc::clone(&progress));
        std::thread::Builder::new().name(name.clone()).spawn(move || run(&runtime_pod, &runtime_progress))?;
        self.pods.push(RunningPod { node, name, pod, progress });
        Ok(self.pods.len() - 1)
    }

    /// Deletes a pod: DEL, then its sandbox.
    pub(crate) fn delete_pod(&mut self, index: usize) -> Result<()> {
        let running = self.pods.remove(index);
        lock(&running.pod).delete()?;
        Ok(())
    }

    /// Waits until a pod has an address or was refused.
    pub(crate) fn wait_for_answer(&self, index: usize, limit: Duration) -> Result<Progress> {
        let started = Instant::now();
        loop {
            let progress = self.pods[index].progress();
            if progress.address.is_some() || progress.refusal.is_some() {
                return Ok(progress);
            }
            if started.elapsed() > limit {
                bail!("{} has neither an address nor a refusal after {limit:?}", self.pods[index].name);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// When it does not hold after `limit`.
    pub(crate) fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while !holds()? {
            if started.elapsed() > limit {
                bail!("after {limit:?} still not: {what}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Pods without an address.
    pub(crate) fn waiting(&self) -> Vec<&RunningPod> {
        self.pods.iter().filter(|pod| pod.address().is_none()).collect()
    }

    /// How many pods each node has in each range (`10.0.208`, `100.64.1`), the nodes in order.
    pub(crate) fn pods_by_range(&self, node: usize) -> BTreeMap<String, u32> {
        let mut ranges = BTreeMap::new();
        for address in self.pods.iter().filter(|pod| pod.node == node).filter_map(RunningPod::address) {
            let [a, b, c, _] = address.octets();
            *ranges.entry(format!("{a}.{b}.{c}.x")).or_insert(0) += 1;
        }
        ranges
    }
}

/// The runtime of one pod: asks until there is an address.
fn run(pod: &Mutex<Pod>, progress: &Mutex<Progress>) {
    loop {
        let outcome = lock(pod).add();
        let mut progress = lock(progress);
        progress.tries += 1;
        match outcome {
            Ok(address) => {
                progress.address = Some(address);
                return;
            }
            Err(LabError::Cni(error)) => progress.refusal = Some((error.message, error.details)),
            Err(error) => progress.refusal = Some((error.to_string(), String::new())),
        }
        drop(progress);
        // A runtime cleans up after a failed ADD; it will ask again, so a failure here does not matter.
        let _ = lock(pod).delete();
        std::thread::sleep(RETRY);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Five letters and digits as Kubernetes makes them, without vowels; the same in every run.
fn suffix(number: u32) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut value = number.wrapping_mul(2_654_435_761).rotate_left(7) ^ 0x5eed;
    let mut letters = String::new();
    for _ in 0..5 {
        let index = usize::try_from(value % 27).unwrap_or(0);
        letters.push(char::from(LETTERS[index]));
        value /= 27;
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_names_differ() {
        let names: std::collections::BTreeSet<String> = (0..1000).map(suffix).collect();
        assert_eq!(names.len(), 1000);
    }
}
