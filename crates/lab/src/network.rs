//! The lab's network as the simulated cloud's hypervisor: what the cloud decides becomes links, routes and machines.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use freeboard_address::{Cidr, EniId, InstanceId};
use freeboard_vpc::{CloudEffect, InterfaceLink, LaunchedInstance};

use crate::error::LabError;
use crate::fabric::{Fabric, Plug};
use crate::machine::{Endpoints, Machine};
use crate::namespace::Namespace;

/// The fabric and the machines on it.
pub struct Network {
    fabric: Fabric,
    machines: BTreeMap<InstanceId, Machine>,
    /// The first interface of each machine.
    first: BTreeMap<InstanceId, EniId>,
}

/// What the cloud wants to know of an effect that was carried out.
pub enum Applied {
    /// Nothing.
    Done,
    /// The machine is there, and these are the sockets of its cloud services.
    Booted(Machine, Endpoints),
    /// The link of this interface is there.
    LinkReady,
    /// The link of this interface is gone.
    LinkGone,
}

impl Network {
    /// Builds the fabric and the hosts outside the VPC.
    ///
    /// # Errors
    /// When the program is not isolated, or the kernel refuses a step.
    pub fn build() -> Result<Self, LabError> {
        if !crate::isolation::is_isolated() {
            return Err(LabError::NotIsolated);
        }
        Ok(Self { fabric: Fabric::build()?, machines: BTreeMap::new(), first: BTreeMap::new() })
    }

    /// Carries out what the cloud decided.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn apply(&mut self, effect: &CloudEffect) -> Result<Applied, LabError> {
        match effect {
            CloudEffect::VpcCidrsChanged { vpc, cidrs } => self.fabric.set_blocks(vpc, cidrs).map(|()| Applied::Done),
            CloudEffect::InstanceLaunched(instance) => self.boot(instance),
            CloudEffect::InterfaceAttaching(link) => self.plug(link).map(|()| Applied::LinkReady),
            CloudEffect::InterfaceDetached { eni, .. } => self.fabric.unplug(eni).map(|()| Applied::LinkGone),
            CloudEffect::AddressesChanged { eni, cidrs, .. } => {
                self.fabric.set_owned(eni, cidrs).map(|()| Applied::Done)
            }
            CloudEffect::InstanceTerminated { instance, interfaces } => {
                interfaces.iter().try_for_each(|eni| self.fabric.unplug(eni))?;
                self.machines.remove(instance);
                self.first.remove(instance);
                Ok(Applied::Done)
            }
        }
    }

    /// The machine of an instance.
    #[must_use]
    pub fn machine(&self, instance: &InstanceId) -> Option<&Machine> {
        self.machines.get(instance)
    }

    /// Makes these blocks, and no others, lead to a machine's first interface beside what it owns.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn set_aliases(&mut self, instance: &InstanceId, blocks: &[Cidr]) -> Result<(), LabError> {
        match self.first.get(instance) {
            Some(eni) => self.fabric.set_aliases(eni, blocks),
            None => Ok(()),
        }
    }

    /// All machines, by instance id.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// The host on the internet.
    #[must_use]
    pub fn internet(&self) -> &Namespace {
        self.fabric.internet()
    }

    /// The host in the peered network.
    #[must_use]
    pub fn peer(&self) -> &Namespace {
        self.fabric.peer()
    }

    /// Links the caller's own namespace to the VPC, as the host of the Kubernetes control plane.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn link_control_plane(&mut self) -> Result<(), LabError> {
        self.fabric.link_control_plane()
    }

    fn boot(&mut self, launched: &LaunchedInstance) -> Result<Applied, LabError> {
        let (machine, endpoints) = Machine::boot(
            launched.instance.clone(),
            launched.instance_type.clone(),
            launched.availability_zone.clone(),
            launched.private_dns_name.clone(),
            launched.primary_address,
        )?;
        self.machines.insert(launched.instance.clone(), machine.clone());
        Ok(Applied::Booted(machine, endpoints))
    }

    fn plug(&mut self, link: &InterfaceLink) -> Result<(), LabError> {
        let machine = self.machines.get(&link.instance).ok_or_else(|| LabError::Unknown {
            kind: "machine",
            name: link.instance.to_string(),
            known: self.machines.keys().map(InstanceId::as_str).collect::<Vec<_>>().join(", "),
        })?;
        self.fabric.plug(&Plug {
            eni: &link.eni,
            mac: link.mac,
            name: &format!("eth{}", link.device_index),
            node: machine.namespace(),
            subnet: link.subnet_cidr,
            primary_address: link.primary_address,
            owned: &link.cidrs,
        })?;
        if link.device_index > 0 {
            return Ok(());
        }
        self.first.insert(link.instance.clone(), link.eni.clone());
        machine.configure_first_interface(link.subnet_cidr)
    }
}

/// The address of the host on the internet.
pub const INTERNET_HOST: Ipv4Addr = Fabric::INTERNET_HOST;
/// The address of the host in the peered network.
pub const PEERED_HOST: Ipv4Addr = Fabric::PEERED_HOST;

/// The address of the Kubernetes control plane, where there is one.
pub const CONTROL_PLANE_HOST: Ipv4Addr = Fabric::CONTROL_PLANE_HOST;

/// Where the internet host's [`Mirror`](crate::Mirror) listens.
#[must_use]
pub fn internet_mirror() -> SocketAddr {
    SocketAddr::from((INTERNET_HOST, 80))
}
