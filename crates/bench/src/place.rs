//! The simulated VPC that all peers live in, and the calls that its cloud counts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use freeboard_address::InstanceId;
use freeboard_lab::{Lab, LabOptions, Machine};

use crate::freeboard;

/// The lab of one run.
pub struct Place {
    lab: Lab,
    instances: BTreeMap<String, InstanceId>,
}

impl Place {
    /// Builds the world of a file; `speed` is how many times faster than written its cloud is.
    ///
    /// # Errors
    /// When the file makes no sense, a program is missing, or the lab cannot be built.
    pub async fn start(world: &Path, speed: f64) -> Result<Self> {
        let programs = freeboard::programs_directory()?;
        let world = freeboard_vpc_server::read_world(world)?;
        let named = |instance: &freeboard_vpc::WorldInstance| Some((instance.name.clone()?, instance.id.clone()));
        let instances = world.instances.iter().filter_map(named).collect();
        let options = LabOptions { agent: programs.join("freeboard-agent"), plugin: programs.join("aws-cni"), speed };
        Ok(Self { lab: Lab::start(world, options).await?, instances })
    }

    /// The lab itself.
    #[must_use]
    pub const fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The machine whose instance has this `Name` tag.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<Machine> {
        let instance = self.instances.get(name);
        let machine = instance.and_then(|instance| self.lab.machine(instance));
        machine.with_context(|| {
            format!("the world has no machine named {name:?}; it has {:?}", self.instances.keys().collect::<Vec<_>>())
        })
    }

    /// How often each action of EC2 was called so far.
    #[must_use]
    pub fn ec2_calls(&self) -> BTreeMap<String, u64> {
        let calls = self.lab.server().calls();
        calls.into_iter().map(|(action, count)| (action.to_owned(), count.calls)).collect()
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
