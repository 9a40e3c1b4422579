//! Tags, on resources of every type.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::model::{Tag, TagDescription};
use crate::request::{CreateTags, DeleteTags, TagSpecification};

impl Cloud {
    /// CreateTags: on all of the resources, or on none.
    ///
    /// # Errors
    /// `InvalidID` for an id that no resource has, `InvalidTagKey.Malformed` for keys that start with `aws:`,
    /// `TagLimitExceeded`, `InvalidParameterValue` (length), `MissingParameter`.
    pub fn create_tags(&mut self, request: &CreateTags, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        if request.resources.is_empty() {
            return Err(ApiError::missing_parameter("ResourceId"));
        }
        if request.tags.is_empty() {
            return Err(ApiError::missing_parameter("Tag"));
        }
        check_tags(&request.tags)?;
        let limit = usize::try_from(self.quotas.tags_per_resource).unwrap_or(usize::MAX);
        for id in &request.resources {
            let present = self.tags_mut(id)?.clone();
            let keys: BTreeSet<&str> = present.iter().chain(&request.tags).map(|tag| tag.key.as_str()).collect();
            if keys.len() > limit {
                return Err(tag_limit(limit));
            }
        }
        for id in &request.resources {
            let present = self.tags_mut(id)?;
            for tag in &request.tags {
                match present.iter_mut().find(|has| has.key == tag.key) {
                    Some(has) => has.value.clone_from(&tag.value),
                    None => present.push(tag.clone()),
                }
            }
            self.touch_resource(id);
        }
        self.settle(now);
        Ok(())
    }

    /// DeleteTags: a tag that a resource does not have is no error.
    ///
    /// # Errors
    /// `InvalidID` for an id that no resource has, `MissingParameter`.
    pub fn delete_tags(&mut self, request: &DeleteTags, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        if request.resources.is_empty() {
            return Err(ApiError::missing_parameter("ResourceId"));
        }
        for id in &request.resources {
            self.tags_mut(id)?;
        }
        for id in &request.resources {
            let goes = |tag: &Tag| {
                request.tags.is_empty()
                    || request
                        .tags
                        .iter()
                        .any(|key| key.key == tag.key && key.value.as_ref().is_none_or(|value| *value == tag.value))
            };
            self.tags_mut(id)?.retain(|tag| !goes(tag));
            self.touch_resource(id);
        }
        self.settle(now);
        Ok(())
    }

    /// The tags that a create call asks for, for resources of the first of the allowed types.
    pub(crate) fn tags_for(&self, specifications: &[TagSpecification], allowed: &[&str]) -> Result<Vec<Tag>, ApiError> {
        if let Some(other) = specifications.iter().find(|s| !allowed.contains(&s.resource_type.as_str())) {
            let text = format!(
                "'{}' is not a valid taggable resource type for this operation. Expected {}.",
                other.resource_type,
                allowed.join(" or ")
            );
            return Err(ApiError::invalid_parameter(text));
        }
        let all: Vec<Tag> = specifications.iter().flat_map(|specification| specification.tags.clone()).collect();
        check_tags(&all)?;
        let first = allowed.first().copied().unwrap_or_default();
        let wanted = specifications.iter().filter(|specification| specification.resource_type == first);
        let tags: Vec<Tag> = wanted.flat_map(|specification| specification.tags.clone()).collect();
        let limit = usize::try_from(self.quotas.tags_per_resource).unwrap_or(usize::MAX);
        let keys: BTreeSet<&str> = tags.iter().map(|tag| tag.key.as_str()).collect();
        if keys.len() < tags.len() {
            return Err(ApiError::invalid_parameter(
                "Duplicate tag keys found. Please note that tag keys are case sensitive.",
            ));
        }
        if tags.len() > limit { Err(tag_limit(limit)) } else { Ok(tags) }
    }

    /// Every tag of every resource.
    pub(crate) fn all_tags(&self) -> Vec<TagDescription> {
        let mut all = Vec::new();
        let mut add = |id: &str, kind: &str, tags: &[Tag]| {
            all.extend(tags.iter().map(|tag| TagDescription {
                resource_id: id.to_owned(),
                resource_type: kind.to_owned(),
                key: tag.key.clone(),
                value: tag.value.clone(),
            }));
        };
        for (id, vpc) in &self.vpcs {
            add(id.as_str(), "vpc", &vpc.tags);
        }
        for (id, record) in &self.subnets {
            add(id.as_str(), "subnet", &record.subnet.tags);
            for reservation in &record.reservations {
                let id = reservation.subnet_cidr_reservation_id.as_str();
                add(id, "subnet-cidr-reservation", &reservation.tags);
            }
        }
        for (id, instance) in &self.instances {
            add(id.as_str(), "instance", &instance.tags);
        }
        for (id, interface) in &self.interfaces {
            add(id.as_str(), "network-interface", &interface.tags);
        }
        for (id, group) in &self.security_groups {
            add(id.as_str(), "security-group", &group.tags);
        }
        for (id, table) in &self.route_tables {
            add(id.as_str(), "route-table", &table.tags);
        }
        for (id, gateway) in &self.gateways {
            add(id.as_str(), "internet-gateway", &gateway.tags);
        }
        for (id, peering) in &self.peerings {
            add(id.as_str(), "vpc-peering-connection", &peering.tags);
        }
        all
    }

    fn tags_mut(&mut self, id: &str) -> Result<&mut Vec<Tag>, ApiError> {
        let prefix = id.rsplit_once('-').map_or("", |(prefix, _)| prefix);
        let found = match prefix {
            "vpc" => self.vpcs.get_mut(&freeboard_address::VpcId::new(id)).map(|found| &mut found.tags),
            "subnet" => {
                let id = freeboard_address::SubnetId::new(id);
                self.subnets.get_mut(&id).map(|found| &mut found.subnet.tags)
            }
            "i" => self.instances.get_mut(&freeboard_address::InstanceId::new(id)).map(|found| &mut found.tags),
            "eni" => self.interfaces.get_mut(&freeboard_address::EniId::new(id)).map(|found| &mut found.tags),
            "sg" => {
                let id = freeboard_address::SecurityGroupId::new(id);
                self.security_groups.get_mut(&id).map(|found| &mut found.tags)
            }
            "rtb" => self.route_tables.get_mut(&freeboard_address::RouteTableId::new(id)).map(|found| &mut found.tags),
            "igw" => self.gateways.get_mut(&crate::ids::GatewayId::new(id)).map(|found| &mut found.tags),
            "pcx" => self.peerings.get_mut(&crate::ids::PeeringId::new(id)).map(|found| &mut found.tags),
            "scr" => {
                let mut all = self.subnets.values_mut().flat_map(|record| &mut record.reservations);
                let found = all.find(|has| has.subnet_cidr_reservation_id.as_str() == id);
                found.map(|reservation| &mut reservation.tags)
            }
            _ => None,
        };
        found.ok_or_else(|| ApiError::new("InvalidID", format!("The ID '{id}' is not valid")))
    }

    fn touch_resource(&mut self, id: &str) {
        let instance = freeboard_address::InstanceId::new(id);
        if self.instances.contains_key(&instance) {
            self.touched.insert(instance);
        }
    }
}

fn tag_limit(limit: usize) -> ApiError {
    ApiError::new("TagLimitExceeded", format!("The maximum number of tags for a resource has been reached: {limit}."))
}

/// The rules for keys and values: 1 to 127 and at most 255 characters; `aws:` is the service's own.
fn check_tags(tags: &[Tag]) -> Result<(), ApiError> {
    for tag in tags {
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            let text = format!("Tag keys starting with 'aws:' are reserved for internal use: '{}'", tag.key);
            return Err(ApiError::new("InvalidTagKey.Malformed", text));
        }
        if tag.key.is_empty() || tag.key.chars().count() > 127 {
            return Err(ApiError::invalid_value("Tag.Key", &tag.key, "Expected 1 to 127 characters."));
        }
        if tag.value.chars().count() > 255 {
            return Err(ApiError::invalid_value("Tag.Value", &tag.value, "Expected at most 255 characters."));
        }
    }
    Ok(())
}
