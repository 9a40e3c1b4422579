//! Machines: each takes an address of the primary range and blocks of the ranges it asks for, all of them or is not made.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::Cidr;
use jiff::Timestamp;

use crate::cloud::{Change, GoogleCloud};
use crate::error::{ApiError, Status};
use crate::exhaustion::IpSpaceExhausted;
use crate::ids::{InstanceKey, InstanceName, RangeName, SubnetworkKey, check_name};
use crate::model::{AliasRange, Fingerprint, Instance, NetworkInterface, Subnetwork};
use crate::operations::{Operation, Scope};

/// How many alias ranges an interface may have.
const MOST_ALIAS_RANGES: usize = 150;

/// A machine to make.
#[derive(Clone, Debug)]
pub struct InsertInstance {
    /// Its zone and name.
    pub key: InstanceKey,
    /// For example `e2-medium`.
    pub machine_type: String,
    /// The subnetwork of its interface.
    pub subnetwork: SubnetworkKey,
    /// The address it wants; any free one when none.
    pub address: Option<Ipv4Addr>,
    /// The blocks it wants.
    pub alias_ranges: Vec<AliasRequest>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A block that a machine wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRequest {
    /// Which, or how large.
    pub size: AliasSize,
    /// The secondary range it comes from; the primary range when none.
    pub range: Option<RangeName>,
}

/// Which block, or how large a one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasSize {
    /// Any aligned block of this prefix length, like `/24`.
    Length(u8),
    /// This one.
    Block(Cidr),
}

impl AliasSize {
    /// Reads `/24`, an address, or a block; `field` is what messages call it.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] that quotes the text.
    pub fn parse(field: &str, text: &str) -> Result<Self, ApiError> {
        if let Some(length) = text.strip_prefix('/') {
            let length = length.parse().ok().filter(|length| *length <= 32);
            let wrong = || ApiError::invalid_field(field, text, "Must be a prefix length between /0 and /32.");
            return length.map(Self::Length).ok_or_else(wrong);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Block(Cidr::host(address)));
        }
        let wrong = |error| {
            ApiError::invalid_field(
                field,
                text,
                format_args!("Must be an IP address, a netmask or a CIDR range: {error}"),
            )
        };
        text.parse().map(Self::Block).map_err(wrong)
    }
}

impl GoogleCloud {
    /// Makes a machine.
    ///
    /// A range without room refuses the call, or fails the operation, as the world says; either way no machine is made.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`], [`Status::NotFound`] for the subnetwork, [`Status::AlreadyExists`], and for ranges without
    /// room what [`ExhaustionAnswer`](crate::ExhaustionAnswer) says.
    pub fn insert_instance(&mut self, request: &InsertInstance, now: Timestamp) -> Result<Operation, ApiError> {
        check_name("resource.name", request.key.name.as_str())?;
        self.check_zone(&request.key.zone)?;
        let path = request.key.path(&self.project);
        if self.instances.contains_key(&request.key) {
            return Err(ApiError::already_exists(&path));
        }
        let subnetwork = self.subnetwork(&request.subnetwork)?;
        if request.key.zone.region() != request.subnetwork.region {
            let reason = format_args!("The subnetwork is not in the region of zone {}.", request.key.zone);
            let path = request.subnetwork.path(&self.project);
            return Err(ApiError::invalid_field("resource.networkInterfaces[0].subnetwork", path, reason));
        }
        check_aliases(subnetwork, &request.alias_ranges)?;
        let id = self.next_id();
        let change = Change {
            scope: Scope::Zone(request.key.zone.clone()),
            operation_type: "insert",
            target: path,
            target_id: id,
        };
        let error = match self.place(request, id, now) {
            Ok(()) => None,
            Err(error) if self.exhaustion.is_refused_at_once() => return Err(error),
            Err(error) => Some(error),
        };
        Ok(self.record(change, self.timing.compute_operation(), error, now))
    }

    /// Takes all that the machine wants, or nothing.
    fn place(&mut self, request: &InsertInstance, id: u64, now: Timestamp) -> Result<(), ApiError> {
        let subnetwork = self.subnetwork(&request.subnetwork)?;
        let network = subnetwork.network.clone();
        let mut changed = subnetwork.clone();
        let address = match request.address {
            Some(address) => AliasSize::Block(Cidr::host(address)),
            None => AliasSize::Length(32),
        };
        let wanted = AliasRequest { size: address, range: None };
        let own = self.take(&mut changed, &wanted, &request.key.name)?;
        let taken = request.alias_ranges.iter().map(|alias| self.take(&mut changed, alias, &request.key.name));
        let alias_ranges = taken.collect::<Result<Vec<_>, _>>()?;
        let interface = NetworkInterface {
            network,
            subnetwork: request.subnetwork.clone(),
            address: own.cidr.network(),
            alias_ranges,
            fingerprint: self.next_fingerprint(),
        };
        self.subnetworks.insert(request.subnetwork.clone(), changed);
        let instance = Instance {
            key: request.key.clone(),
            id,
            machine_type: request.machine_type.clone(),
            interface,
            labels: request.labels.clone(),
            created: now,
        };
        self.instances.insert(request.key.clone(), instance);
        Ok(())
    }

    /// Takes one block out of a subnetwork: the one asked for, or the lowest of the length asked for.
    fn take(
        &self,
        from: &mut Subnetwork,
        wanted: &AliasRequest,
        instance: &InstanceName,
    ) -> Result<AliasRange, ApiError> {
        let (range, key) = (wanted.range.as_ref(), from.key.clone());
        let path = key.path(&self.project);
        let space = from.space_mut(range).ok_or_else(|| ApiError::not_found(&path))?;
        let cidr = match wanted.size {
            AliasSize::Block(block) => block,
            AliasSize::Length(length) => space.lowest_block(length).ok_or_else(|| {
                let exhausted = IpSpaceExhausted {
                    instance: instance.clone(),
                    subnetwork: key,
                    range: range.cloned(),
                    cidr: space.block(),
                };
                exhausted.error(self.project.as_str(), self.exhaustion)
            })?,
        };
        if !space.take(cidr) {
            let text = if cidr.length() == 32 { cidr.network().to_string() } else { cidr.to_string() };
            return Err(ApiError::new(
                Status::IpInUse,
                format!("IP '{text}' is already being used by another resource."),
            ));
        }
        Ok(AliasRange { cidr, range: range.cloned() })
    }

    /// Sets the alias ranges of a machine's interface to exactly `wanted`: what it has and still wants stays.
    ///
    /// # Errors
    /// [`Status::NotFound`], [`Status::ConditionNotMet`] for a fingerprint that is not the latest, and as
    /// [`insert_instance`](Self::insert_instance).
    pub fn update_network_interface(
        &mut self,
        key: &InstanceKey,
        fingerprint: Fingerprint,
        given_fingerprint: &str,
        wanted: &[AliasRequest],
        now: Timestamp,
    ) -> Result<Operation, ApiError> {
        let instance = self.instance(key)?;
        let (id, mut nic) = (instance.id, instance.interface.clone());
        if nic.fingerprint != fingerprint {
            return Err(ApiError::stale_fingerprint(given_fingerprint));
        }
        let mut subnetwork = self.subnetwork(&nic.subnetwork)?.clone();
        check_aliases(&subnetwork, wanted)?;
        let has = |one: &AliasRequest| {
            nic.alias_ranges.iter().find(|alias| AliasSize::Block(alias.cidr) == one.size && alias.range == one.range)
        };
        let kept: Vec<AliasRange> = wanted.iter().filter_map(has).cloned().collect();
        let added: Vec<AliasRequest> = wanted.iter().filter(|one| has(one).is_none()).cloned().collect();
        for alias in nic.alias_ranges.iter().filter(|alias| !kept.contains(alias)) {
            give_back(&mut subnetwork, alias);
        }
        let taken = added.iter().map(|alias| self.take(&mut subnetwork, alias, &key.name));
        let taken = taken.collect::<Result<Vec<_>, _>>();
        let change = Change {
            scope: Scope::Zone(key.zone.clone()),
            operation_type: "updateNetworkInterface",
            target: key.path(&self.project),
            target_id: id,
        };
        let error = match taken {
            Err(error) if self.exhaustion.is_refused_at_once() => return Err(error),
            Err(error) => Some(error),
            Ok(taken) => {
                nic.alias_ranges = kept.into_iter().chain(taken).collect();
                nic.fingerprint = self.next_fingerprint();
                self.subnetworks.insert(nic.subnetwork.clone(), subnetwork);
                if let Some(instance) = self.instances.get_mut(key) {
                    instance.interface = nic;
                }
                None
            }
        };
        let operation = self.record(change, self.timing.compute_operation(), error, now);
        self.retry_groups(now);
        Ok(operation)
    }

    /// Removes a machine; its addresses are free at once. A group that misses it makes a new one.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn delete_instance(&mut self, key: &InstanceKey, now: Timestamp) -> Result<Operation, ApiError> {
        let id = self.instance(key)?.id;
        let change = Change {
            scope: Scope::Zone(key.zone.clone()),
            operation_type: "delete",
            target: key.path(&self.project),
            target_id: id,
        };
        self.remove_instance(key);
        let operation = self.record(change, self.timing.compute_operation(), None, now);
        self.retry_groups(now);
        Ok(operation)
    }

    /// Removes a machine and gives back what it had; its group, if any, still wants as many.
    pub(crate) fn remove_instance(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.remove(key) else { return };
        let nic = instance.interface;
        if let Some(subnetwork) = self.subnetworks.get_mut(&nic.subnetwork) {
            subnetwork.space.give(Cidr::host(nic.address));
            for alias in &nic.alias_ranges {
                give_back(subnetwork, alias);
            }
        }
        for group in self.groups.values_mut().filter(|group| group.key.zone == key.zone) {
            group.instances.retain(|name| *name != key.name);
        }
    }
}

fn give_back(subnetwork: &mut Subnetwork, alias: &AliasRange) {
    if let Some(space) = subnetwork.space_mut(alias.range.as_ref()) {
        space.give(alias.cidr);
    }
}

/// Checks that the ranges exist and the blocks lie in them.
fn check_aliases(subnetwork: &Subnetwork, wanted: &[AliasRequest]) -> Result<(), ApiError> {
    if wanted.len() > MOST_ALIAS_RANGES {
        let message = format!(
            "An interface can have at most {MOST_ALIAS_RANGES} alias IP ranges; {} were asked for.",
            wanted.len()
        );
        return Err(ApiError::new(Status::QuotaExceeded, message));
    }
    for (index, alias) in wanted.iter().enumerate() {
        let field = |name: &str| format!("resource.networkInterfaces[0].aliasIpRanges[{index}].{name}");
        let cidr = match &alias.range {
            None => subnetwork.primary,
            Some(name) => match subnetwork.range(name) {
                Some(range) => range.cidr,
                None => {
                    let reason = format_args!("The subnetwork has {}.", subnetwork.names_of_ranges());
                    return Err(ApiError::invalid_field(&field("subnetworkRangeName"), name, reason));
                }
            },
        };
        let (fits, text) = match alias.size {
            AliasSize::Length(length) => (length >= cidr.length(), format!("/{length}")),
            AliasSize::Block(block) => (cidr.contains_block(block), block.to_string()),
        };
        if !fits {
            let reason = format_args!("It does not lie in the range {cidr}.");
            return Err(ApiError::invalid_field(&field("ipCidrRange"), text, reason));
        }
    }
    Ok(())
}

impl Subnetwork {
    /// The secondary ranges in words, for a message about a name that is none of them.
    pub(crate) fn names_of_ranges(&self) -> String {
        let names: Vec<String> = self.secondary.iter().map(|range| format!("'{}'", range.name)).collect();
        if names.is_empty() {
            "no secondary ranges".to_owned()
        } else {
            format!("the secondary ranges {}", names.join(", "))
        }
    }
}
