//! A node with blocks of its own: the start without a cloud, and where the blocks are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use freeboard_address::Cidr;
use freeboard_pool::{CloudFailure, CloudOperation, CloudSuccess, FailureKind, Input};
use jiff::Timestamp;

use crate::clock::SteadyClock;
use crate::cluster;
use crate::host::Primary;
use crate::pool_handle::{PoolEnd, PoolHandle};
use crate::pool_task::{Operations, PoolTask};
use crate::start::{Start, restore};

/// How often the file with the blocks is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Destinations that see pods' own addresses: the ranges of private networks, as GKE leaves them without source NAT, so that pods
/// reach each other whatever ranges their nodes' blocks are of. `AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS` adds others.
const DIRECT: [&str; 6] =
    ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "240.0.0.0/4"];

/// The cloud of a node that asks nothing of one.
struct NoCloud;

impl Operations for NoCloud {
    async fn execute(&self, operation: CloudOperation) -> Result<CloudSuccess, CloudFailure> {
        Err(CloudFailure {
            kind: FailureKind::Other,
            action: format!("{operation:?}"),
            detail: "this node has blocks of its own, and nothing is asked of a cloud".to_owned(),
            at: Timestamp::now(),
        })
    }
}

impl Start {
    /// The addresses come from the node's own blocks.
    pub(crate) async fn run_on_blocks(
        self,
        uplink: Primary,
        api: Option<cluster::Api>,
        end: PoolEnd,
    ) -> anyhow::Result<()> {
        let file = self.settings.node_blocks_file.clone();
        anyhow::ensure!(
            file.is_some() || api.is_some(),
            "FREEBOARD_SOURCE=block: the node's blocks cannot be read: expected a Kubernetes API, where they are those of \
             Node.spec.podCIDRs, or a file that FREEBOARD_NODE_BLOCKS_FILE names"
        );
        tracing::info!(address = %uplink.address, mtu = uplink.mtu_bytes, "pods get addresses of the node's own blocks");
        let direct: Vec<Cidr> = DIRECT.iter().filter_map(|cidr| cidr.parse().ok()).collect();
        let host = self.host(uplink, &direct).await?;
        let state = self.state(&host).await?;
        let clock = SteadyClock::start();
        let now = clock.now();
        let mut pool = self.new_pool(None, now)?;
        // Pods go on, and new ones are served, while nobody can say whether the blocks are still the same.
        if !state.blocks.is_empty() {
            pool.tell(Input::Blocks { blocks: state.blocks.clone() }, now);
        }
        let restored = restore(&mut pool, state, now);
        self.initialized();
        let task = PoolTask::new(pool, clock, end, Arc::new(NoCloud), self.store.clone(), Arc::clone(&self.metrics));
        if let Some(file) = file {
            tokio::spawn(follow(file, self.pool.clone()));
        }
        self.start_companions(host, restored, api);
        task.run().await;
        anyhow::bail!("the pool's task has ended")
    }
}

/// Tells the pool the blocks that a file names, at once and when they change, until the pool is gone.
async fn follow(file: PathBuf, pool: PoolHandle) {
    let mut told = None;
    loop {
        let read = read(&file);
        if told.as_ref() != Some(&read) {
            match &read {
                Ok(blocks) => {
                    if pool.blocks(blocks.clone()).await.is_err() {
                        return;
                    }
                }
                Err(problem) => tracing::error!(
                    "FREEBOARD_NODE_BLOCKS_FILE={}: {problem}; the blocks that are known stay",
                    file.display()
                ),
            }
            told = Some(read);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// The blocks that a file names, or what is wrong with it.
fn read(file: &Path) -> Result<Vec<Cidr>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("it cannot be read: {error}"))?;
    parse(&text)
}

/// The blocks of a text: separated by commas or white space, with comments from `#` to the end of the line.
fn parse(text: &str) -> Result<Vec<Cidr>, String> {
    let mut blocks = Vec::new();
    for (number, line) in (1_u32..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        for word in line.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|word| !word.is_empty()) {
            blocks.push(word.parse().map_err(|error| format!("line {number}: {error}"))?);
        }
    }
    // A file that is just being written may be empty; a node that is to give no addresses is drained.
    if blocks.is_empty() {
        return Err(
            "it names no block: expected at least one, like 10.4.0.0/24; to empty the node, drain it".to_owned()
        );
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_blocks_and_says_what_is_wrong() {
        let blocks = parse("# two ranges\n10.4.0.0/24, 192.168.8.0/27 # the second\n\n").unwrap();
        let texts: Vec<String> = blocks.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.4.0.0/24", "192.168.8.0/27"]);
        for (text, part) in [
            ("10.4.0.0/24\n10.4.1.7/24", "line 2: 10.4.1.7/24 has bits set"),
            ("ten", "line 1: \"ten\" is not an IPv4 block"),
            ("# none\n", "names no block"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn every_direct_destination_is_a_block() {
        assert!(DIRECT.iter().all(|text| text.parse::<Cidr>().is_ok()));
    }
}
