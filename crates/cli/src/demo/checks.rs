//! What must hold at the end of the story, seen with real packets.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Result, anyhow};
use freeboard_lab::{INTERNET_HOST, Mirror, internet_mirror};
use freeboard_lab::{Lab, Namespace, PEERED_HOST, ping, ping_all, source_seen_by};

use super::cluster::Cluster;
use super::story::Story;

/// Long enough for a packet that comes.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to believe that none comes.
const BRIEFLY: Duration = Duration::from_millis(600);

/// A pod as the checks see it.
struct Seen {
    node: usize,
    address: Ipv4Addr,
    namespace: Namespace,
}

impl Seen {
    fn is_secondary(&self) -> bool {
        self.address.octets()[0] == 100
    }
}

/// Sends the packets and tells what came of them.
pub(crate) fn run(story: &mut Story, lab: &Lab, cluster: &Cluster) -> Result<()> {
    let pods = pods(cluster);
    matrix(story, cluster, &pods)?;
    neighbours(story, lab, cluster, &pods)
}

fn pods(cluster: &Cluster) -> Vec<Seen> {
    let with_address = cluster.pods.iter().filter_map(|pod| {
        let namespace = pod.pod.lock().unwrap_or_else(PoisonError::into_inner).namespace().clone();
        Some(Seen { node: pod.node, address: pod.address()?, namespace })
    });
    with_address.collect()
}

/// Every pod asks every other pod and its own node, all at once.
fn matrix(story: &mut Story, cluster: &Cluster, pods: &[Seen]) -> Result<()> {
    let waiting = story.waiting(format!("{} pods ping {} pods and their nodes", pods.len(), pods.len()));
    let targets: Vec<Ipv4Addr> = pods.iter().map(|pod| pod.address).collect();
    let outcomes: Vec<Result<Vec<bool>>> = std::thread::scope(|scope| {
        let asking: Vec<_> = pods
            .iter()
            .map(|pod| {
                let mut targets = targets.clone();
                targets.push(cluster.nodes[pod.node].machine.address);
                scope.spawn(move || -> Result<Vec<bool>> {
                    let echoes = ping_all(&pod.namespace, &targets, SOON)?;
                    Ok(echoes.iter().map(|echo| echo.answered).collect())
                })
            })
            .collect();
        asking.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("a probe panicked")))).collect()
    });
    drop(waiting);
    let outcomes: Vec<Vec<bool>> = outcomes.into_iter().collect::<Result<_>>()?;
    story.show(&grid(cluster, pods, &outcomes));
    let answered = |row: &Vec<bool>| row.iter().take(pods.len()).filter(|ok| **ok).count();
    let total: usize = outcomes.iter().map(answered).sum();
    story.fact("pings_answered", total);
    story.fact("pings_sent", pods.len() * pods.len());
    story.check("every pod pings every other pod, across nodes and ranges", total == pods.len() * pods.len());
    story.check("every pod pings its node", outcomes.iter().all(|row| row.last() == Some(&true)));
    Ok(())
}

/// One row and one column per node and range; a tick when all pings between them were answered.
fn grid(cluster: &Cluster, pods: &[Seen], outcomes: &[Vec<bool>]) -> String {
    let mut groups: BTreeMap<(usize, bool), Vec<usize>> = BTreeMap::new();
    for (index, pod) in pods.iter().enumerate() {
        groups.entry((pod.node, pod.is_secondary())).or_default().push(index);
    }
    let mut text = String::from("  pods of                    ping →");
    for column in 1..=groups.len() {
        let _ = write!(text, "{column:>3}");
    }
    text.push('\n');
    for (row, ((node, is_secondary), members)) in groups.iter().enumerate() {
        let range = if *is_secondary { "100.64" } else { "10.0" };
        let name = short(&cluster.nodes[*node].machine.name);
        let _ = write!(text, "  {:>2} {name:<18} {range:<7}{:>2} pods", row + 1, members.len());
        for others in groups.values() {
            let all = members.iter().all(|from| others.iter().all(|to| outcomes[*from][*to]));
            let _ = write!(text, "{:>3}", if all { "✓" } else { "✗" });
        }
        text.push('\n');
    }
    text
}

/// The first label of a node's name.
pub(crate) fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The internet and the peered network.
fn neighbours(story: &mut Story, lab: &Lab, cluster: &Cluster, pods: &[Seen]) -> Result<()> {
    let waiting = story.waiting("the internet and a peered network are asked");
    let (internet, peer) = (lab.internet(), lab.peer());
    let mirror = Mirror::start(&internet, internet_mirror())?;
    let primary: Vec<&Seen> = pods.iter().filter(|pod| !pod.is_secondary()).collect();
    let secondary: Vec<&Seen> = pods.iter().filter(|pod| pod.is_secondary()).collect();
    let addresses = |pods: &[&Seen]| pods.iter().map(|pod| pod.address).collect::<Vec<_>>();
    let mut reaches = true;
    let mut sees_node = true;
    for pod in pods {
        reaches &= ping(&pod.namespace, INTERNET_HOST, SOON)?;
        let seen = source_seen_by(&pod.namespace, mirror.address(), SOON)?;
        sees_node &= seen == Some(cluster.nodes[pod.node].machine.address);
    }
    let all: Vec<&Seen> = pods.iter().collect();
    let opened = ping_all(&internet, &addresses(&all), BRIEFLY)?.iter().filter(|echo| echo.answered).count();
    let peer_primary = ping_all(&peer, &addresses(&primary), SOON)?.iter().all(|echo| echo.answered);
    let peer_secondary = ping_all(&peer, &addresses(&secondary), BRIEFLY)?.iter().any(|echo| echo.answered);
    let back = match secondary.first() {
        Some(pod) => ping(&pod.namespace, PEERED_HOST, SOON)?,
        None => false,
    };
    drop(waiting);
    story.check("every pod reaches the internet host", reaches);
    story.check("which sees the node's primary address for every pod (SNAT)", sees_node);
    story.check("the internet host opens no connection to any pod", opened == 0);
    story.check("a peered host reaches the pods of the routable range 10.0.0.0/16", peer_primary);
    story.check("and cannot reach those of the unroutable range 100.64.0.0/20", !peer_secondary);
    story.check("whose pods still reach it, by their node's address", back);
    Ok(())
}
