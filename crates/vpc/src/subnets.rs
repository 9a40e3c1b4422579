//! Subnets: create, delete, modify.

use freeboard_address::{Cidr, SubnetId, VpcId};
use jiff::Timestamp;

use crate::cloud::{Cloud, SubnetRecord};
use crate::error::ApiError;
use crate::model::{AvailabilityZone, Subnet, Tag};
use crate::request::{CreateSubnet, DeleteSubnet, ModifySubnetAttribute, SubnetAttribute};
use crate::subnet_space::SubnetSpace;

impl Cloud {
    /// CreateSubnet: inside one `associated` block of the VPC; on the VPC's main route table.
    ///
    /// # Errors
    /// `InvalidSubnet.Range`, `InvalidSubnet.Conflict`, `SubnetLimitExceeded`, `InvalidParameterValue` (zone),
    /// `InvalidVpcID.NotFound`.
    pub fn create_subnet(&mut self, request: &CreateSubnet, now: Timestamp) -> Result<Subnet, ApiError> {
        self.handle_timeout(now);
        let (vpc_id, cidr) = (&request.vpc_id, request.cidr_block);
        let vpc = self.vpc(vpc_id)?;
        let fits = (16..=28).contains(&cidr.length()) && vpc.usable_cidrs().any(|block| block.contains_block(cidr));
        if !fits {
            return Err(ApiError::new("InvalidSubnet.Range", format!("The CIDR '{cidr}' is invalid.")));
        }
        let of_vpc = || self.subnets.values().filter(|record| record.subnet.vpc_id == *vpc_id);
        if of_vpc().any(|record| record.subnet.cidr_block.overlaps(cidr)) {
            let text = format!("The CIDR '{cidr}' conflicts with another subnet");
            return Err(ApiError::new("InvalidSubnet.Conflict", text));
        }
        let limit = self.quotas.subnets_per_vpc;
        if of_vpc().count() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let text = format!("The maximum number of subnets of {vpc_id} has been reached: {limit}");
            return Err(ApiError::new("SubnetLimitExceeded", text));
        }
        let zone = self.zone_for(request)?.clone();
        let tags = self.tags_for(&request.tag_specifications, &["subnet"])?;
        let upcoming = self.upcoming.subnets.remove(&cidr);
        let id = upcoming.unwrap_or_else(|| SubnetId::new(self.ids.next("subnet")));
        self.add_subnet(&id, vpc_id, cidr, &zone, tags);
        self.subnet(&id).map(SubnetRecord::shown)
    }

    /// DeleteSubnet.
    ///
    /// # Errors
    /// `DependencyViolation` while an interface is left in it, `InvalidSubnetID.NotFound`.
    pub fn delete_subnet(&mut self, request: &DeleteSubnet, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.subnet_id;
        self.subnet(id)?;
        if self.interfaces.values().any(|interface| interface.subnet_id == *id) {
            return Err(ApiError::dependency_violation("subnet", id.as_str()));
        }
        self.subnets.remove(id);
        for table in self.route_tables.values_mut() {
            table.associations.retain(|association| association.subnet_id.as_ref() != Some(id));
        }
        Ok(())
    }

    /// ModifySubnetAttribute: one attribute of a subnet.
    ///
    /// # Errors
    /// `InvalidParameterValue`, `InvalidSubnetID.NotFound`.
    pub fn modify_subnet_attribute(&mut self, request: &ModifySubnetAttribute, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.subnet_id;
        let record = self.subnets.get_mut(id).ok_or_else(|| ApiError::subnet_not_found(id.as_str()))?;
        let subnet = &mut record.subnet;
        match &request.attribute {
            SubnetAttribute::MapPublicIpOnLaunch(value) => subnet.map_public_ip_on_launch = *value,
            SubnetAttribute::AssignIpv6AddressOnCreation(value) => subnet.assign_ipv6_address_on_creation = *value,
            SubnetAttribute::EnableDns64(value) => subnet.enable_dns64 = *value,
            SubnetAttribute::PrivateDnsHostnameTypeOnLaunch(value) => {
                if !matches!(value.as_str(), "ip-name" | "resource-name") {
                    let expected = "Expected ip-name or resource-name.";
                    return Err(ApiError::invalid_value("privateDnsHostnameTypeOnLaunch", value, expected));
                }
                subnet.hostname_type.clone_from(value);
            }
        }
        Ok(())
    }

    /// Makes a subnet; the caller has checked everything.
    pub(crate) fn add_subnet(
        &mut self,
        id: &SubnetId,
        vpc: &VpcId,
        cidr: Cidr,
        zone: &AvailabilityZone,
        tags: Vec<Tag>,
    ) {
        let subnet = Subnet {
            subnet_id: id.clone(),
            subnet_arn: self.arn("subnet", id.as_str()),
            state: "available".to_owned(),
            vpc_id: vpc.clone(),
            owner_id: self.account_id.clone(),
            cidr_block: cidr,
            available_ip_address_count: 0,
            availability_zone: zone.zone_name.clone(),
            availability_zone_id: zone.zone_id.clone(),
            default_for_az: false,
            map_public_ip_on_launch: false,
            assign_ipv6_address_on_creation: false,
            enable_dns64: false,
            hostname_type: "ip-name".to_owned(),
            tags,
        };
        let record = SubnetRecord { subnet, space: SubnetSpace::new(cidr), reservations: Vec::new() };
        self.subnets.insert(id.clone(), record);
    }

    fn zone_for(&self, request: &CreateSubnet) -> Result<&AvailabilityZone, ApiError> {
        let (parameter, value, found) = match (&request.availability_zone, &request.availability_zone_id) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid_combination(
                    "The parameter availabilityZoneId cannot be used with the parameter availabilityZone",
                ));
            }
            (Some(name), None) => ("availabilityZone", name.as_str(), self.zones.iter().find(|z| z.zone_name == *name)),
            (None, Some(id)) => ("availabilityZoneId", id.as_str(), self.zones.iter().find(|zone| zone.zone_id == *id)),
            (None, None) => ("availabilityZone", "", self.zones.first()),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.zones.iter().map(|zone| zone.zone_name.as_str()).collect();
            let reason = format!(
                "Subnets can currently only be created in the following availability zones: {}.",
                names.join(", ")
            );
            ApiError::invalid_value(parameter, value, &reason)
        })
    }
}
