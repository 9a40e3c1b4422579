//! The simulated VPC that all peers live in, and the calls that its cloud counts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use freeboard_lab::Machine;

/// The lab of one run.
#[derive(Debug)]
pub struct Place {}

impl Place {
    /// Builds the world of a file; `speed` is how many times faster than written its cloud is.
    ///
    /// # Errors
    /// When the file makes no sense, or the lab cannot be built.
    pub async fn start(_world: &Path, _speed: f64) -> Result<Self> {
        tokio::task::yield_now().await;
        bail!("(under construction)")
    }

    /// The machine whose instance has this `Name` tag.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<Machine> {
        bail!("(under construction) {name}")
    }

    /// How often each action of EC2 was called so far.
    #[must_use]
    pub fn ec2_calls(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// How often each action of EC2 was called since an earlier count.
    #[must_use]
    pub fn ec2_calls_since(&self, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let since = self.ec2_calls().into_iter().map(|(action, count)| {
            let earlier = before.get(&action).copied().unwrap_or_default();
            (action, count - earlier)
        });
        since.filter(|(_, count)| *count > 0).collect()
    }
}
