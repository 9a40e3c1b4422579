//! Actions about VPCs, subnets, reservations, zones, security groups and tags.

use freeboard_address::{AssociationId, ReservationId, SecurityGroupId, SubnetId, VpcId};
use freeboard_vpc::{
    ApiError, AssociateVpcCidrBlock, Cloud, CreateSecurityGroup, CreateSubnet, CreateSubnetCidrReservation, CreateTags,
    CreateVpc, DeleteSecurityGroup, DeleteSubnet, DeleteSubnetCidrReservation, DeleteTags, DeleteVpc,
    DisassociateVpcCidrBlock, GetSubnetCidrReservations, ModifySubnetAttribute, ReservationType, SecurityGroup,
    SubnetAttribute, TagKey,
};

use super::{Action, change, confirm, describe, describe_all, show, tag, tag_specifications};
use crate::query::Query;
use crate::xml::{Encode, Xml};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeVpcs", |query| {
        Ok(show(describe(query, "VpcId", |id| VpcId::new(id))?, Cloud::describe_vpcs, "vpcSet"))
    }),
    Action::new("CreateVpc", |query| {
        Ok(change(create_vpc(query)?, Cloud::create_vpc, |vpc, xml| xml.value("vpc", vpc)))
    }),
    Action::new("DeleteVpc", |query| {
        Ok(confirm(DeleteVpc { vpc_id: VpcId::new(query.required("VpcId")?) }, Cloud::delete_vpc))
    }),
    Action::without_dry_run("AssociateVpcCidrBlock", |query| {
        Ok(change(associate_block(query)?, Cloud::associate_vpc_cidr_block, Encode::encode))
    }),
    Action::without_dry_run("DisassociateVpcCidrBlock", |query| {
        let request = DisassociateVpcCidrBlock { association_id: AssociationId::new(query.required("AssociationId")?) };
        Ok(change(request, Cloud::disassociate_vpc_cidr_block, Encode::encode))
    }),
    Action::new("DescribeSubnets", |query| {
        Ok(show(describe(query, "SubnetId", |id| SubnetId::new(id))?, Cloud::describe_subnets, "subnetSet"))
    }),
    Action::new("CreateSubnet", |query| {
        Ok(change(create_subnet(query)?, Cloud::create_subnet, |subnet, xml| xml.value("subnet", subnet)))
    }),
    Action::new("DeleteSubnet", |query| {
        Ok(confirm(DeleteSubnet { subnet_id: SubnetId::new(query.required("SubnetId")?) }, Cloud::delete_subnet))
    }),
    Action::without_dry_run("ModifySubnetAttribute", |query| {
        Ok(confirm(modify_subnet(query)?, Cloud::modify_subnet_attribute))
    }),
    Action::new("CreateSubnetCidrReservation", |query| {
        Ok(change(create_reservation(query)?, Cloud::create_subnet_cidr_reservation, |reservation, xml| {
            xml.value("subnetCidrReservation", reservation);
        }))
    }),
    Action::new("GetSubnetCidrReservations", |query| {
        let subnet_id = SubnetId::new(query.required("SubnetId")?);
        let request = GetSubnetCidrReservations { subnet_id, describe: describe_all(query)? };
        Ok(show(request, Cloud::get_subnet_cidr_reservations, "subnetIpv4CidrReservationSet"))
    }),
    Action::new("DeleteSubnetCidrReservation", |query| {
        let id = ReservationId::new(query.required("SubnetCidrReservationId")?);
        let request = DeleteSubnetCidrReservation { subnet_cidr_reservation_id: id };
        Ok(change(request, Cloud::delete_subnet_cidr_reservation, |reservation, xml| {
            xml.value("deletedSubnetCidrReservation", reservation);
        }))
    }),
    Action::new("DescribeAvailabilityZones", |query| {
        query.ignore("AllAvailabilityZones");
        let mut request = describe(query, "ZoneName", str::to_owned)?;
        request.filters.extend(zone_ids(query));
        Ok(show(request, Cloud::describe_availability_zones, "availabilityZoneInfo"))
    }),
    Action::new("DescribeSecurityGroups", |query| {
        let request = describe(query, "GroupId", |id| SecurityGroupId::new(id))?;
        Ok(show(request, Cloud::describe_security_groups, "securityGroupInfo"))
    }),
    Action::new("CreateSecurityGroup", |query| {
        Ok(change(create_group(query)?, Cloud::create_security_group, created_group))
    }),
    Action::new("DeleteSecurityGroup", |query| {
        let request = DeleteSecurityGroup { group_id: SecurityGroupId::new(query.required("GroupId")?) };
        Ok(change(request, Cloud::delete_security_group, |(), xml| xml.done()))
    }),
    Action::new("DescribeTags", |query| Ok(show(describe_all(query)?, Cloud::describe_tags, "tagSet"))),
    Action::new("CreateTags", |query| Ok(confirm(create_tags(query)?, Cloud::create_tags))),
    Action::new("DeleteTags", |query| Ok(confirm(delete_tags(query)?, Cloud::delete_tags))),
];

fn create_vpc(query: &Query) -> Result<CreateVpc, ApiError> {
    let cidr_block = query.block("CidrBlock")?.ok_or_else(|| ApiError::missing_parameter("CidrBlock"))?;
    let instance_tenancy = query.text("InstanceTenancy").map(str::to_owned);
    refuse_version_six(query)?;
    Ok(CreateVpc { cidr_block, instance_tenancy, tag_specifications: tag_specifications(query)? })
}

fn associate_block(query: &Query) -> Result<AssociateVpcCidrBlock, ApiError> {
    let vpc_id = VpcId::new(query.required("VpcId")?);
    refuse_version_six(query)?;
    let cidr_block = query.block("CidrBlock")?.ok_or_else(|| ApiError::missing_parameter("CidrBlock"))?;
    Ok(AssociateVpcCidrBlock { vpc_id, cidr_block })
}

/// The aws CLI says `AmazonProvidedIpv6CidrBlock=false` on its own; asking for IPv6 is outside the simulated world.
fn refuse_version_six(query: &Query) -> Result<(), ApiError> {
    match query.flag("AmazonProvidedIpv6CidrBlock")? {
        Some(true) => Err(ApiError::new("UnsupportedOperation", "The simulated VPC has IPv4 blocks only.")),
        Some(false) | None => Ok(()),
    }
}

fn create_subnet(query: &Query) -> Result<CreateSubnet, ApiError> {
    Ok(CreateSubnet {
        vpc_id: VpcId::new(query.required("VpcId")?),
        cidr_block: query.block("CidrBlock")?.ok_or_else(|| ApiError::missing_parameter("CidrBlock"))?,
        availability_zone: query.text("AvailabilityZone").map(str::to_owned),
        availability_zone_id: query.text("AvailabilityZoneId").map(str::to_owned),
        tag_specifications: tag_specifications(query)?,
    })
}

fn modify_subnet(query: &Query) -> Result<ModifySubnetAttribute, ApiError> {
    let subnet_id = SubnetId::new(query.required("SubnetId")?);
    let flag = |name: &str, attribute: fn(bool) -> SubnetAttribute| {
        Ok::<_, ApiError>(query.flag(&format!("{name}.Value"))?.map(attribute))
    };
    let attributes = [
        flag("MapPublicIpOnLaunch", SubnetAttribute::MapPublicIpOnLaunch)?,
        flag("AssignIpv6AddressOnCreation", SubnetAttribute::AssignIpv6AddressOnCreation)?,
        flag("EnableDns64", SubnetAttribute::EnableDns64)?,
        query
            .text("PrivateDnsHostnameTypeOnLaunch")
            .map(|kind| SubnetAttribute::PrivateDnsHostnameTypeOnLaunch(kind.to_owned())),
    ];
    Ok(ModifySubnetAttribute { subnet_id, attribute: exactly_one(attributes)? })
}

/// The one attribute of a Modify call.
///
/// # Errors
/// `InvalidParameterCombination` for more than one, `MissingParameter` for none.
pub(super) fn exactly_one<T>(attributes: impl IntoIterator<Item = Option<T>>) -> Result<T, ApiError> {
    let mut given = attributes.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(attribute), None) => Ok(attribute),
        (None, _) => Err(ApiError::new("MissingParameter", "The request must contain one attribute to modify")),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination("Fields for multiple attribute types specified")),
    }
}

fn create_reservation(query: &Query) -> Result<CreateSubnetCidrReservation, ApiError> {
    let word = query.required("ReservationType")?;
    let reservation_type = ReservationType::from_word(word)
        .ok_or_else(|| ApiError::invalid_value("reservationType", word, "Expected prefix or explicit."))?;
    Ok(CreateSubnetCidrReservation {
        subnet_id: SubnetId::new(query.required("SubnetId")?),
        cidr: query.block("Cidr")?.ok_or_else(|| ApiError::missing_parameter("Cidr"))?,
        reservation_type,
        description: query.text("Description").map(str::to_owned),
        tag_specifications: tag_specifications(query)?,
    })
}

fn zone_ids(query: &Query) -> Option<freeboard_vpc::Filter> {
    let ids = query.texts("ZoneId");
    (!ids.is_empty()).then(|| freeboard_vpc::Filter::new("zone-id", ids))
}

fn create_group(query: &Query) -> Result<CreateSecurityGroup, ApiError> {
    Ok(CreateSecurityGroup {
        group_name: query.required("GroupName")?.to_owned(),
        description: query.required("GroupDescription")?.to_owned(),
        vpc_id: VpcId::new(query.required("VpcId")?),
        tag_specifications: tag_specifications(query)?,
    })
}

fn created_group(group: &SecurityGroup, xml: &mut Xml) {
    xml.text("groupId", &group.group_id);
    xml.text("securityGroupArn", &group.security_group_arn);
    xml.values("tagSet", &group.tags);
}

fn create_tags(query: &Query) -> Result<CreateTags, ApiError> {
    let tags: Vec<_> = query.members("Tag").iter().map(tag).collect::<Result<_, _>>()?;
    if tags.is_empty() {
        return Err(ApiError::missing_parameter("Tag"));
    }
    Ok(CreateTags { resources: resources(query)?, tags })
}

fn delete_tags(query: &Query) -> Result<DeleteTags, ApiError> {
    let members = query.members("Tag");
    let key = |member: &crate::query::Member<'_>| {
        // Here an empty value differs from none: it removes the tag only where its value is empty.
        Ok(TagKey { key: member.required("Key")?.to_owned(), value: member.text_or_empty("Value").map(str::to_owned) })
    };
    let tags = members.iter().map(key).collect::<Result<_, ApiError>>()?;
    Ok(DeleteTags { resources: resources(query)?, tags })
}

fn resources(query: &Query) -> Result<Vec<String>, ApiError> {
    let resources: Vec<String> = query.texts("ResourceId").into_iter().map(str::to_owned).collect();
    if resources.is_empty() { Err(ApiError::missing_parameter("ResourceId")) } else { Ok(resources) }
}
