//! Subnetworks: made, extended by secondary ranges, widened, removed.

use std::collections::BTreeSet;

use freeboard_address::Cidr;
use jiff::Timestamp;

use crate::cloud::{Change, GoogleCloud};
use crate::error::{ApiError, Status};
use crate::ids::{NetworkName, RangeName, SubnetworkKey, check_name};
use crate::model::{Fingerprint, SecondaryRange, Subnetwork, primary_space};
use crate::operations::{Operation, Scope};
use crate::range_rules::{MOST_SECONDARY_RANGES, check_range};

/// A subnetwork to make.
#[derive(Clone, Debug)]
pub struct InsertSubnetwork {
    /// Its region and name.
    pub key: SubnetworkKey,
    /// Its network.
    pub network: NetworkName,
    /// The primary range.
    pub primary: Cidr,
    /// The secondary ranges.
    pub secondary: Vec<SecondaryRangeRequest>,
}

/// A secondary range that a subnetwork should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondaryRangeRequest {
    /// Its name in the subnetwork.
    pub name: RangeName,
    /// Its addresses.
    pub cidr: Cidr,
}

impl GoogleCloud {
    /// Makes a subnetwork.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for names and ranges, [`Status::NotFound`] for the network, [`Status::AlreadyExists`].
    pub fn insert_subnetwork(&mut self, request: &InsertSubnetwork, now: Timestamp) -> Result<Operation, ApiError> {
        check_name("resource.name", request.key.name.as_str())?;
        self.check_region(&request.key.region)?;
        self.network(&request.network)?;
        let path = request.key.path(&self.project);
        if self.subnetworks.contains_key(&request.key) {
            return Err(ApiError::already_exists(&path));
        }
        check_range("resource.ipCidrRange", request.primary)?;
        self.check_disjoint(&request.network, request.primary)?;
        self.check_new_ranges(&request.network, &[request.primary], &[], &request.secondary)?;
        let secondary = request.secondary.iter();
        let subnetwork = Subnetwork {
            key: request.key.clone(),
            id: self.next_id(),
            network: request.network.clone(),
            primary: request.primary,
            secondary: secondary.map(|range| SecondaryRange::unused(range.name.clone(), range.cidr, None)).collect(),
            fingerprint: self.next_fingerprint(),
            created: now,
            space: primary_space(request.primary),
        };
        let change = self.change_of(&subnetwork, "insert");
        self.subnetworks.insert(request.key.clone(), subnetwork);
        Ok(self.record(change, self.timing.compute_operation(), None, now))
    }

    /// Sets the secondary ranges of a subnetwork to exactly `wanted`. One call either adds or removes.
    ///
    /// # Errors
    /// [`Status::NotFound`]; [`Status::ConditionNotMet`] for a fingerprint that is not the latest;
    /// [`Status::InvalidArgument`] for names and ranges, for a range that would change its addresses, and for adding and removing at once;
    /// [`Status::ResourceInUse`] for removing a range that machines, pools or clusters use.
    pub fn patch_secondary_ranges(
        &mut self,
        key: &SubnetworkKey,
        fingerprint: Fingerprint,
        given_fingerprint: &str,
        wanted: &[SecondaryRangeRequest],
        now: Timestamp,
    ) -> Result<Operation, ApiError> {
        let subnetwork = self.subnetwork(key)?;
        if subnetwork.fingerprint != fingerprint {
            return Err(ApiError::stale_fingerprint(given_fingerprint));
        }
        let stays = |range: &SecondaryRange| wanted.iter().any(|one| one.name == range.name && one.cidr == range.cidr);
        let removed: Vec<SecondaryRange> = subnetwork.secondary.iter().filter(|range| !stays(range)).cloned().collect();
        let kept: Vec<SecondaryRange> = subnetwork.secondary.iter().filter(|range| stays(range)).cloned().collect();
        let is_kept =
            |one: &SecondaryRangeRequest| kept.iter().any(|range| range.name == one.name && range.cidr == one.cidr);
        let added: Vec<SecondaryRangeRequest> = wanted.iter().filter(|one| !is_kept(one)).cloned().collect();
        // Checked against all of `wanted`, so that a name given twice is found also when one of the two is there already.
        check_names(wanted.iter().map(|one| &one.name))?;
        if !added.is_empty() && !removed.is_empty() {
            let list = |names: Vec<String>| names.join(", ");
            return Err(ApiError::invalid_field(
                "resource.secondaryIpRanges",
                "",
                format_args!(
                    "Cannot add and remove secondary IP ranges in the same request. Added ranges: [{}]. Removed ranges: [{}].",
                    list(added.iter().map(|one| format!("{}:{}", one.name, one.cidr)).collect()),
                    list(removed.iter().map(|one| format!("{}:{}", one.name, one.cidr)).collect()),
                ),
            ));
        }
        for range in &removed {
            self.check_unused(key, range)?;
        }
        let network = subnetwork.network.clone();
        self.check_new_ranges(&network, &[], &kept, &added)?;
        let fingerprint = self.next_fingerprint();
        let mut secondary = kept;
        secondary.extend(added.iter().map(|one| SecondaryRange::unused(one.name.clone(), one.cidr, None)));
        Ok(self.change_subnetwork(key, "patch", now, |subnetwork| {
            subnetwork.secondary = secondary;
            subnetwork.fingerprint = fingerprint;
        }))
    }

    /// Widens the primary range; it never shrinks again. Secondary ranges cannot be widened at all.
    ///
    /// # Errors
    /// [`Status::NotFound`]; [`Status::InvalidArgument`] when the new range does not contain the old one or overlaps another.
    pub fn expand_primary_range(
        &mut self,
        key: &SubnetworkKey,
        wider: Cidr,
        now: Timestamp,
    ) -> Result<Operation, ApiError> {
        let subnetwork = self.subnetwork(key)?;
        check_range("ipCidrRange", wider)?;
        let old = subnetwork.primary;
        if !wider.contains_block(old) || wider == old {
            let reason = format_args!("The new range must be a superset of the subnetwork's range {old}.");
            return Err(ApiError::invalid_field("ipCidrRange", wider, reason));
        }
        self.check_room_for_primary(subnetwork, wider)?;
        let holders: Vec<Cidr> = self.holders_of_primary(key);
        let fingerprint = self.next_fingerprint();
        Ok(self.change_subnetwork(key, "expandIpCidrRange", now, |subnetwork| {
            subnetwork.primary = wider;
            subnetwork.fingerprint = fingerprint;
            subnetwork.space = primary_space(wider);
            for held in holders {
                subnetwork.space.take(held);
            }
        }))
    }

    /// Removes a subnetwork that no machine and no cluster uses.
    ///
    /// # Errors
    /// [`Status::NotFound`], [`Status::ResourceInUse`].
    pub fn delete_subnetwork(&mut self, key: &SubnetworkKey, now: Timestamp) -> Result<Operation, ApiError> {
        let subnetwork = self.subnetwork(key)?;
        let change = self.change_of(subnetwork, "delete");
        let machine = self.instances.values().find(|instance| instance.interface.subnetwork == *key);
        let cluster = self.clusters.values().find(|cluster| cluster.subnetwork == *key);
        let user = machine.map(|instance| instance.key.path(&self.project));
        if let Some(user) = user.or_else(|| cluster.map(|cluster| cluster.key.path(&self.project))) {
            let message = format!("The subnetwork resource '{}' is already being used by '{user}'", change.target);
            return Err(ApiError::new(Status::ResourceInUse, message));
        }
        self.subnetworks.remove(key);
        Ok(self.record(change, self.timing.compute_operation(), None, now))
    }

    /// Adds a range that GKE made for one pool.
    pub(crate) fn add_managed_range(&mut self, key: &SubnetworkKey, range: SecondaryRange) {
        let fingerprint = self.next_fingerprint();
        if let Some(subnetwork) = self.subnetworks.get_mut(key) {
            subnetwork.secondary.push(range);
            subnetwork.fingerprint = fingerprint;
        }
    }

    /// Removes a range that GKE made, once its pool is gone.
    pub(crate) fn remove_managed_range(&mut self, key: &SubnetworkKey, name: &RangeName) {
        let fingerprint = self.next_fingerprint();
        if let Some(subnetwork) = self.subnetworks.get_mut(key) {
            subnetwork.secondary.retain(|range| range.name != *name || range.managed_by.is_none());
            subnetwork.fingerprint = fingerprint;
        }
    }

    /// Checks ranges that come new beside `kept` ones: names, sizes, places, and that none overlaps anything.
    pub(crate) fn check_new_ranges(
        &self,
        network: &NetworkName,
        also: &[Cidr],
        kept: &[SecondaryRange],
        added: &[SecondaryRangeRequest],
    ) -> Result<(), ApiError> {
        check_names(kept.iter().map(|range| &range.name).chain(added.iter().map(|range| &range.name)))?;
        if kept.len() + added.len() > MOST_SECONDARY_RANGES {
            return Err(ApiError::new(
                Status::QuotaExceeded,
                format!("A subnetwork can have at most {MOST_SECONDARY_RANGES} secondary ranges."),
            ));
        }
        for (index, range) in added.iter().enumerate() {
            let field = format!("resource.secondaryIpRanges[{index}].ipCidrRange");
            check_range(&field, range.cidr)?;
            self.check_disjoint(network, range.cidr)?;
            let earlier = added.iter().take(index).map(|range| range.cidr).chain(also.iter().copied());
            if let Some(other) = earlier.into_iter().find(|other| other.overlaps(range.cidr)) {
                let reason = format_args!("The range overlaps with {other} of the same request.");
                return Err(ApiError::invalid_field(&field, range.cidr, reason));
            }
        }
        Ok(())
    }

    /// Checks that no machine, pool or cluster uses a secondary range.
    fn check_unused(&self, key: &SubnetworkKey, range: &SecondaryRange) -> Result<(), ApiError> {
        let machine = self.instances.values().find(|instance| {
            let nic = &instance.interface;
            nic.subnetwork == *key && nic.alias_ranges.iter().any(|alias| alias.range.as_ref() == Some(&range.name))
        });
        let clusters = self.clusters.values().filter(|cluster| cluster.subnetwork == *key);
        let user = machine.map(|instance| instance.key.path(&self.project)).or_else(|| {
            clusters.filter(|cluster| cluster.uses(&range.name)).map(|cluster| cluster.key.path(&self.project)).next()
        });
        match user {
            None => Ok(()),
            Some(user) => Err(ApiError::new(
                Status::ResourceInUse,
                format!(
                    "The secondary range '{}' ({}) of '{}' is already being used by '{user}'",
                    range.name,
                    range.cidr,
                    key.path(&self.project)
                ),
            )),
        }
    }

    /// Checks that a wider primary range overlaps nothing but the old one.
    fn check_room_for_primary(&self, own: &Subnetwork, wider: Cidr) -> Result<(), ApiError> {
        for subnetwork in self.subnetworks.values().filter(|subnetwork| subnetwork.network == own.network) {
            let ranges =
                subnetwork.usages().into_iter().filter(|usage| usage.range.is_some() || subnetwork.key != own.key);
            if let Some(usage) = ranges.into_iter().find(|usage| usage.cidr.overlaps(wider)) {
                let reason =
                    format_args!("The range overlaps with {} of subnetwork '{}'.", usage.cidr, subnetwork.key.name);
                return Err(ApiError::invalid_field("ipCidrRange", wider, reason));
            }
        }
        Ok(())
    }

    fn holders_of_primary(&self, key: &SubnetworkKey) -> Vec<Cidr> {
        let machines = self.instances.values().filter(|instance| instance.interface.subnetwork == *key);
        let held = machines.flat_map(|instance| {
            let nic = &instance.interface;
            let aliases = nic.alias_ranges.iter().filter(|alias| alias.range.is_none()).map(|alias| alias.cidr);
            std::iter::once(Cidr::host(nic.address)).chain(aliases)
        });
        held.collect()
    }

    fn change_of(&self, subnetwork: &Subnetwork, operation_type: &'static str) -> Change {
        Change {
            scope: Scope::Region(subnetwork.key.region.clone()),
            operation_type,
            target: subnetwork.key.path(&self.project),
            target_id: subnetwork.id,
        }
    }

    fn change_subnetwork(
        &mut self,
        key: &SubnetworkKey,
        operation_type: &'static str,
        now: Timestamp,
        change: impl FnOnce(&mut Subnetwork),
    ) -> Operation {
        let id = self.subnetworks.get_mut(key).map(|subnetwork| {
            change(subnetwork);
            subnetwork.id
        });
        let change = Change {
            scope: Scope::Region(key.region.clone()),
            operation_type,
            target: key.path(&self.project),
            target_id: id.unwrap_or_default(),
        };
        let operation = self.record(change, self.timing.compute_operation(), None, now);
        // Groups whose machines found no room try again.
        self.retry_groups(now);
        operation
    }
}

/// Checks that names are names and come once.
fn check_names<'a>(names: impl Iterator<Item = &'a RangeName>) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        let field = format!("resource.secondaryIpRanges[{index}].rangeName");
        check_name(&field, name.as_str())?;
        if !seen.insert(name) {
            return Err(ApiError::invalid_field(&field, name, "Secondary range names of a subnetwork must be unique."));
        }
    }
    Ok(())
}
