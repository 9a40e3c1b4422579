//! Managed instance groups: they make machines until they have as many as they should, and say why when they cannot.

use jiff::Timestamp;

use crate::cloud::{Change, GoogleCloud};
use crate::error::ApiError;
use crate::ids::{GroupKey, InstanceKey, InstanceName};
use crate::instances::{AliasRequest, AliasSize, InsertInstance};
use crate::model::{GroupError, InstanceGroup, Template};
use crate::operations::{Operation, Scope};
use crate::world::ExhaustionAnswer;

/// How many errors a group remembers.
const MOST_ERRORS: usize = 20;

impl GoogleCloud {
    pub(crate) fn insert_group(&mut self, key: GroupKey, template: Template, now: Timestamp) {
        let group = InstanceGroup {
            key: key.clone(),
            id: self.next_id(),
            target_size: 0,
            instances: Vec::new(),
            errors: Vec::new(),
            created: now,
            template,
        };
        self.groups.insert(key, group);
    }

    /// Sets how many machines a group should have, as the cluster autoscaler does. The operation fails when machines are
    /// missing for want of addresses; the group keeps trying until it is told a smaller size.
    ///
    /// # Errors
    /// [`Status::NotFound`](crate::Status::NotFound).
    pub fn resize_group(&mut self, key: &GroupKey, size: u32, now: Timestamp) -> Result<Operation, ApiError> {
        let group = self.group(key)?;
        let change = Change {
            scope: Scope::Zone(key.zone.clone()),
            operation_type: "resize",
            target: key.path(&self.project),
            target_id: group.id,
        };
        let error = self.set_group_size(key, size, now);
        let operation = self.record(change, self.timing.compute_operation(), error, now);
        self.retry_groups(now);
        Ok(operation)
    }

    /// Sets the size and makes or removes machines; the error of the first machine that could not be made.
    pub(crate) fn set_group_size(&mut self, key: &GroupKey, size: u32, now: Timestamp) -> Option<ApiError> {
        let group = self.groups.get_mut(key)?;
        group.target_size = size;
        let keep = usize::try_from(size).unwrap_or(usize::MAX);
        // The youngest machines go first.
        let surplus = group.instances.split_off(keep.min(group.instances.len()));
        for name in surplus.into_iter().rev() {
            self.remove_instance(&InstanceKey::new(key.zone.clone(), name));
        }
        self.fill_group(key, now)
    }

    /// Makes machines until the group has as many as it should, or one cannot be made.
    fn fill_group(&mut self, key: &GroupKey, now: Timestamp) -> Option<ApiError> {
        loop {
            let group = self.groups.get(key)?;
            if group.instances.len() >= usize::try_from(group.target_size).unwrap_or(usize::MAX) {
                return None;
            }
            let template = group.template.clone();
            let name = self.name_of_machine(key);
            let request = InsertInstance {
                key: InstanceKey::new(key.zone.clone(), name.clone()),
                machine_type: template.machine_type,
                subnetwork: template.subnetwork,
                address: None,
                alias_ranges: vec![AliasRequest {
                    size: AliasSize::Length(template.block_length),
                    range: Some(template.pod_range),
                }],
                labels: template.labels,
            };
            let error = match self.insert_instance(&request, now) {
                Ok(operation) => operation.error.map(|error| ApiError::new(error.status, error.message)),
                Err(error) => Some(error),
            };
            let group = self.groups.get_mut(key)?;
            let Some(error) = error else {
                group.instances.push(name);
                continue;
            };
            let repeated = group.errors.last().is_some_and(|last| last.time == now);
            if !repeated {
                let code = error.status.reason();
                group.errors.push(GroupError { time: now, instance: name, code, message: error.message.clone() });
                let surplus = group.errors.len().saturating_sub(MOST_ERRORS);
                group.errors.drain(..surplus);
            }
            return Some(error);
        }
    }

    /// Lets every group that misses machines try again.
    pub(crate) fn retry_groups(&mut self, now: Timestamp) {
        let misses = |group: &&InstanceGroup| group.missing() > 0;
        let keys: Vec<GroupKey> = self.groups.values().filter(misses).map(|group| group.key.clone()).collect();
        for key in keys {
            self.fill_group(&key, now);
        }
    }

    pub(crate) fn remove_group(&mut self, key: &GroupKey, now: Timestamp) {
        self.set_group_size(key, 0, now);
        self.groups.remove(key);
    }

    /// The group's name without its ending, and four letters that no machine of the zone has.
    fn name_of_machine(&mut self, group: &GroupKey) -> InstanceName {
        const LETTERS: &[u8; 32] = b"0123456789bcdfghjklmnpqrstvwxzay";
        let name = group.name.as_str();
        let base = name.strip_suffix("-grp").unwrap_or(name);
        loop {
            let id = self.next_id();
            let letter = |shift: u32| char::from(LETTERS[usize::try_from((id >> shift) & 31).unwrap_or(0)]);
            let name = InstanceName::new(format!("{base}-{}{}{}{}", letter(20), letter(30), letter(40), letter(50)));
            // A million names and at most a thousand machines: the next one is free, or the one after.
            if !self.instances.contains_key(&InstanceKey::new(group.zone.clone(), name.clone())) {
                return name;
            }
        }
    }

    /// How the cloud says that a range has no room.
    #[must_use]
    pub fn exhaustion_answer(&self) -> ExhaustionAnswer {
        self.exhaustion
    }
}

impl InstanceGroup {
    /// How many machines it misses.
    #[must_use]
    pub fn missing(&self) -> u32 {
        let present = u32::try_from(self.instances.len()).unwrap_or(u32::MAX);
        self.target_size.saturating_sub(present)
    }
}
