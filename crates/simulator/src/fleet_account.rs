//! The account of a simulated fleet: the real front door with its buckets, and subnets with exact free space.

use std::collections::BTreeMap;

use freeboard_address::{Addresses, Cidr, EniId, FreeSpace, MacAddress, SubnetId};
use freeboard_pool::{CloudFailure, CloudOperation, CloudSuccess, FailureKind, ObservedInterface, ObservedSubnet};
use freeboard_vpc::{
    Behaviour, Call, Cloud, Outcome, Quotas, Throttling, Timing, UpcomingIds, World, WorldError, WorldZone,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::random::Random;
use crate::world::{ZONE, subnet_id};

/// Subnets of the account; a node lives in one of them.
pub(crate) const SUBNETS: usize = 10;

/// The calls of one action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallCount {
    /// Calls that the account's limit let pass.
    pub passed: u64,
    /// Calls that it refused.
    pub throttled: u64,
}

/// One account: its request limits and the space of its subnets.
pub(crate) struct Account {
    door: Cloud,
    spaces: Vec<FreeSpace>,
    pub(crate) calls: BTreeMap<&'static str, CallCount>,
    next_interface: u64,
    random: Random,
}

/// What a call came to, and when the node learns it.
pub(crate) struct Answer {
    pub(crate) outcome: Result<CloudSuccess, CloudFailure>,
    pub(crate) after: SignedDuration,
}

impl Account {
    pub(crate) fn new(seed: u64, now: Timestamp) -> Result<Self, WorldError> {
        let world = World {
            region: "ap-southeast-2".to_owned(),
            account_id: "123456789012".to_owned(),
            seed,
            speed: 1.0,
            availability_zones: vec![WorldZone { name: ZONE.to_owned(), id: "apse2-az3".to_owned() }],
            timing: Timing::default(),
            throttling: Throttling { enabled: true, scale: 1.0 },
            quotas: Quotas::default(),
            behaviour: Behaviour::default(),
            vpcs: Vec::new(),
            peerings: Vec::new(),
            instances: Vec::new(),
            interfaces: Vec::new(),
            upcoming_ids: UpcomingIds::default(),
            faults: Vec::new(),
        };
        Ok(Self {
            door: Cloud::from_world(&world, now)?,
            spaces: (0..SUBNETS).filter_map(block).map(space).collect(),
            calls: BTreeMap::new(),
            next_interface: 0,
            random: Random::new(seed, "latency"),
        })
    }

    /// The primary interface of a new instance.
    pub(crate) fn launch(&mut self, subnet: usize) -> Result<ObservedInterface, FailureKind> {
        self.interface(subnet, 0)
    }

    fn interface(&mut self, subnet: usize, device_index: u32) -> Result<ObservedInterface, FailureKind> {
        let address = self.take(subnet, 1, 32)?.first().map(|block| block.network()).ok_or(FailureKind::SubnetShort)?;
        self.next_interface += 1;
        let number = self.next_interface.to_be_bytes();
        Ok(ObservedInterface {
            id: EniId::new(format!("eni-{:017x}", self.next_interface)),
            mac: MacAddress::local([2, number[3], number[4], number[5], number[6], number[7]]),
            device_index,
            network_card: 0,
            subnet: subnet_id(subnet),
            primary_address: address,
            secondary_addresses: Vec::new(),
            prefixes: Vec::new(),
            tags: BTreeMap::new(),
            attached: device_index == 0,
            special: false,
        })
    }

    fn take(&mut self, subnet: usize, count: u32, length: u8) -> Result<Vec<Cidr>, FailureKind> {
        let short = if length == 32 { FailureKind::SubnetShort } else { FailureKind::NoFreePrefix };
        let space = self.spaces.get_mut(subnet).ok_or(FailureKind::NotFound)?;
        let mut taken = Vec::new();
        for _ in 0..count {
            let Some(part) = space.lowest_block(length).filter(|part| space.take(*part)) else {
                for part in taken {
                    space.give(part);
                }
                return Err(short);
            };
            taken.push(part);
        }
        Ok(taken)
    }

    fn pass(&mut self, action: &'static str, now: Timestamp) -> Result<(), FailureKind> {
        let admission = self.door.admit(&Call::new(action), now);
        let count = self.calls.entry(action).or_default();
        match admission.outcome {
            Outcome::Proceed => {
                count.passed += 1;
                Ok(())
            }
            Outcome::Refuse(_) | Outcome::ProceedThenLoseAnswer => {
                count.throttled += 1;
                Err(FailureKind::Throttled)
            }
        }
    }

    /// Carries out one operation of a node that has these interfaces. A refusal is answered after a tenth of a second.
    pub(crate) fn execute(
        &mut self,
        operation: &CloudOperation,
        interfaces: &mut Vec<ObservedInterface>,
        now: Timestamp,
    ) -> Answer {
        let done = self.carry_out(operation, interfaces, now);
        let (low, high) = match (&done, operation) {
            (Err(_), _) => (0.1, 0.15),
            (Ok(_), CloudOperation::AttachInterface { .. }) => (2.0, 4.0),
            (Ok(_), CloudOperation::ReleaseInterface { .. }) => (3.0, 6.0),
            (Ok(_), CloudOperation::CreateInterface { .. }) => (0.3, 0.6),
            (Ok(_), CloudOperation::AssignAddresses { .. } | CloudOperation::AssignPrefixes { .. }) => (0.2, 0.5),
            (Ok(_), _) => (0.1, 0.2),
        };
        let after =
            SignedDuration::from_millis(self.random.seconds(low, high).as_millis().try_into().unwrap_or(i64::MAX));
        let outcome = done.map_err(|kind| CloudFailure {
            kind,
            action: main_action(operation).to_owned(),
            detail: format!("{kind:?}"),
            at: now,
        });
        Answer { outcome, after }
    }

    fn carry_out(
        &mut self,
        operation: &CloudOperation,
        interfaces: &mut Vec<ObservedInterface>,
        now: Timestamp,
    ) -> Result<CloudSuccess, FailureKind> {
        // Setting up the host is no call.
        if !matches!(operation, CloudOperation::PrepareInterface { .. }) {
            self.pass(main_action(operation), now)?;
        }
        match operation {
            CloudOperation::DescribeSubnets => Ok(CloudSuccess::Subnets(self.subnets())),
            CloudOperation::DescribeInterfaces => Ok(CloudSuccess::Interfaces(
                interfaces.iter().filter(|interface| interface.attached).cloned().collect(),
            )),
            CloudOperation::CreateInterface { subnet, addresses, prefixes, .. } => {
                let subnet = subnet_index(subnet)?;
                let mut created = self.interface(subnet, u32::MAX)?;
                let singles = self.take(subnet, addresses.0, 32)?;
                created.secondary_addresses = singles.into_iter().map(Cidr::network).collect();
                created.prefixes = self.take(subnet, prefixes.0, 28)?;
                interfaces.push(created.clone());
                Ok(CloudSuccess::Created(created))
            }
            CloudOperation::AttachInterface { interface, device_index } => {
                // As the agent does: an interface whose end of life could not be set is used all the same.
                let _ = self.pass("ModifyNetworkInterfaceAttribute", now);
                let known = find(interfaces, interface)?;
                known.attached = true;
                known.device_index = *device_index;
                Ok(CloudSuccess::Attached(interface.clone()))
            }
            CloudOperation::PrepareInterface { interface, .. } => Ok(CloudSuccess::Attached(interface.clone())),
            CloudOperation::AssignAddresses { interface, count } => {
                let known = find(interfaces, interface)?;
                let taken = self.take(subnet_index(&known.subnet)?, count.0, 32)?;
                let addresses: Vec<_> = taken.into_iter().map(Cidr::network).collect();
                known.secondary_addresses.extend(&addresses);
                Ok(CloudSuccess::AssignedAddresses(interface.clone(), addresses))
            }
            CloudOperation::AssignPrefixes { interface, count } => {
                let known = find(interfaces, interface)?;
                let taken = self.take(subnet_index(&known.subnet)?, count.0, 28)?;
                known.prefixes.extend(&taken);
                Ok(CloudSuccess::AssignedPrefixes(interface.clone(), taken))
            }
            CloudOperation::Unassign { interface, addresses, prefixes } => {
                let known = find(interfaces, interface)?;
                known.secondary_addresses.retain(|address| !addresses.contains(address));
                known.prefixes.retain(|prefix| !prefixes.contains(prefix));
                let parts = addresses.iter().copied().map(Cidr::host).chain(prefixes.iter().copied());
                self.give(subnet_index(&known.subnet)?, parts);
                Ok(CloudSuccess::Unassigned(interface.clone()))
            }
            CloudOperation::ReleaseInterface { interface } => {
                self.pass("DetachNetworkInterface", now)?;
                self.pass("DeleteNetworkInterface", now)?;
                let gone = find(interfaces, interface)?.clone();
                interfaces.retain(|known| known.id != *interface);
                let singles = gone.secondary_addresses.iter().copied().chain([gone.primary_address]).map(Cidr::host);
                self.give(subnet_index(&gone.subnet)?, singles.chain(gone.prefixes.iter().copied()));
                Ok(CloudSuccess::Released(interface.clone()))
            }
        }
    }

    fn give(&mut self, subnet: usize, parts: impl Iterator<Item = Cidr>) {
        if let Some(space) = self.spaces.get_mut(subnet) {
            for part in parts {
                space.give(part);
            }
        }
    }

    fn subnets(&self) -> Vec<ObservedSubnet> {
        let subnet = |(index, space): (usize, &FreeSpace)| ObservedSubnet {
            id: subnet_id(index),
            cidr: space.block(),
            zone: ZONE.to_owned(),
            free: Addresses(u32::try_from(space.free_addresses()).unwrap_or(u32::MAX)),
            in_primary_range: index == 0,
            tags: BTreeMap::new(),
        };
        self.spaces.iter().enumerate().map(subnet).collect()
    }
}

/// The block of the subnet with this number.
fn block(index: usize) -> Option<Cidr> {
    Cidr::containing(std::net::Ipv4Addr::new(100, 64 + u8::try_from(index).ok()?, 0, 0), 16).ok()
}

/// A fresh subnet without the five addresses that EC2 keeps.
fn space(block: Cidr) -> FreeSpace {
    let mut space = FreeSpace::all_free(block);
    for kept in (0..4).filter_map(|index| block.nth(index)).chain([block.last()]) {
        space.take(Cidr::host(kept));
    }
    space
}

fn subnet_index(id: &SubnetId) -> Result<usize, FailureKind> {
    (0..SUBNETS).find(|index| subnet_id(*index) == *id).ok_or(FailureKind::NotFound)
}

fn find<'a>(interfaces: &'a mut [ObservedInterface], id: &EniId) -> Result<&'a mut ObservedInterface, FailureKind> {
    interfaces.iter_mut().find(|interface| interface.id == *id).ok_or(FailureKind::NotFound)
}

/// The first API action of an operation.
fn main_action(operation: &CloudOperation) -> &'static str {
    match operation {
        CloudOperation::DescribeSubnets => "DescribeSubnets",
        CloudOperation::DescribeInterfaces
        | CloudOperation::PrepareInterface { .. }
        | CloudOperation::ReleaseInterface { .. } => "DescribeNetworkInterfaces",
        CloudOperation::CreateInterface { .. } => "CreateNetworkInterface",
        CloudOperation::AttachInterface { .. } => "AttachNetworkInterface",
        CloudOperation::AssignAddresses { .. } | CloudOperation::AssignPrefixes { .. } => "AssignPrivateIpAddresses",
        CloudOperation::Unassign { .. } => "UnassignPrivateIpAddresses",
    }
}
