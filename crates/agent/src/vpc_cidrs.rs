//! Follows the VPC's CIDR blocks: SNAT must know a secondary block as soon as pods can have addresses of it.

use std::sync::Arc;
use std::time::Duration;

use freeboard_address::Cidr;
use tokio::sync::watch;

use crate::host::Host;
use crate::identity::Metadata;
use crate::metrics::Metrics;
use crate::pool_handle::Status;

/// While a subnet lies outside every known block, the metadata service is about to tell a new one.
const SOON: Duration = Duration::from_secs(2);

/// Follows the blocks until the end of the process.
#[derive(Debug)]
pub struct Follower {
    /// Where they are read.
    pub metadata: Metadata,
    /// Where SNAT is set up.
    pub host: Host,
    /// What others are told; holds what the host was last set up for.
    pub known: watch::Sender<Vec<Cidr>>,
    /// What the pool sees of the subnets.
    pub pool: watch::Receiver<Status>,
    /// Where the outcome is counted.
    pub metrics: Arc<Metrics>,
    /// The ordinary period.
    pub period: Duration,
}

impl Follower {
    /// Runs until the pool is gone.
    pub async fn run(mut self) {
        loop {
            let wait = if self.subnet_outside() { SOON } else { self.period };
            tokio::select! {
                () = tokio::time::sleep(wait) => self.look().await,
                changed = self.pool.changed() => match changed {
                    // A new subnet shortens the wait.
                    Ok(()) if self.subnet_outside() => self.look().await,
                    Ok(()) => {}
                    Err(_) => return,
                },
            }
        }
    }

    fn subnet_outside(&mut self) -> bool {
        let known = self.known.borrow();
        let status = self.pool.borrow_and_update();
        status.subnets.iter().any(|subnet| !known.iter().any(|block| block.contains_block(*subnet)))
    }

    async fn look(&mut self) {
        let blocks = match self.metadata.vpc_cidrs().await {
            Ok(blocks) => blocks,
            Err(error) => {
                tracing::warn!(%error, "cannot read the VPC's CIDR blocks; keeping the known ones");
                return;
            }
        };
        if blocks == *self.known.borrow() {
            return;
        }
        let shown: Vec<String> = blocks.iter().map(ToString::to_string).collect();
        let outcome = self.host.set_up_snat(&blocks).await;
        let result = if outcome.is_ok() { "success" } else { "error" };
        self.metrics.connmark_reconciles.with_label_values(&[result]).inc();
        match outcome {
            Ok(()) => {
                tracing::info!(blocks = shown.join(","), "the VPC's CIDR blocks have changed; SNAT follows them");
                self.known.send_replace(blocks);
            }
            // The known ones stay what the host has, so that the next look tries again.
            Err(error) => tracing::warn!(
                %error, blocks = shown.join(","),
                "unable to update host iptables rules for VPC CIDRs: the nf_tables table could not be replaced; trying again"
            ),
        }
    }
}
