//! Actions about network interfaces and their addresses.

use freeboard_address::{Addresses, AttachmentId, EniId, InstanceId, Prefixes, SecurityGroupId, SubnetId};
use freeboard_vpc::{
    AddressWish, ApiError, AssignPrivateIpAddresses, AttachNetworkInterface, Cloud, CreateNetworkInterface,
    DeleteNetworkInterface, DetachNetworkInterface, InterfaceAttribute, ModifyNetworkInterfaceAttribute,
    NetworkInterface, UnassignPrivateIpAddresses,
};

use super::network::exactly_one;
use super::{Action, Body, Operation, change, confirm, describe, show, tag_specifications};
use crate::query::{Member, Query};
use crate::xml::Encode;

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeNetworkInterfaces", |query| {
        query.ignore("IncludeManagedResources");
        let request = describe(query, "NetworkInterfaceId", |id| EniId::new(id))?;
        Ok(show(request, Cloud::describe_network_interfaces, "networkInterfaceSet"))
    }),
    Action::new("CreateNetworkInterface", create),
    Action::new("AttachNetworkInterface", |query| {
        Ok(change(attach(query)?, Cloud::attach_network_interface, Encode::encode))
    }),
    Action::new("ModifyNetworkInterfaceAttribute", |query| {
        Ok(confirm(modify(query)?, Cloud::modify_network_interface_attribute))
    }),
    Action::new("DetachNetworkInterface", |query| {
        let attachment_id = AttachmentId::new(query.required("AttachmentId")?);
        let request = DetachNetworkInterface { attachment_id, force: query.flag("Force")?.unwrap_or(false) };
        Ok(confirm(request, Cloud::detach_network_interface))
    }),
    Action::new("DeleteNetworkInterface", |query| {
        let request = DeleteNetworkInterface { network_interface_id: interface(query)? };
        Ok(confirm(request, Cloud::delete_network_interface))
    }),
    Action::without_dry_run("AssignPrivateIpAddresses", |query| {
        Ok(change(assign(query)?, Cloud::assign_private_ip_addresses, Encode::encode))
    }),
    Action::without_dry_run("UnassignPrivateIpAddresses", |query| {
        Ok(confirm(unassign(query)?, Cloud::unassign_private_ip_addresses))
    }),
];

fn interface(query: &Query) -> Result<EniId, ApiError> {
    query.required("NetworkInterfaceId").map(EniId::new)
}

fn groups(texts: Vec<&str>) -> Vec<SecurityGroupId> {
    texts.into_iter().map(SecurityGroupId::new).collect()
}

/// CreateNetworkInterface, whose answer repeats the caller's token.
fn create(query: &Query) -> Result<Operation, ApiError> {
    let (mut addresses, named_primary) = structured_addresses(&query.root())?;
    let primary_address = primary(query.address("PrivateIpAddress")?, named_primary)?;
    addresses.private_ip_addresses.retain(|address| Some(*address) != primary_address);
    let request = CreateNetworkInterface {
        subnet_id: SubnetId::new(query.required("SubnetId")?),
        description: query.text("Description").map(str::to_owned),
        security_group_ids: groups(query.texts("SecurityGroupId")),
        primary_address,
        addresses,
        interface_type: query.text("InterfaceType").map(str::to_owned),
        client_token: query.text("ClientToken").map(str::to_owned),
        tag_specifications: tag_specifications(query)?,
    };
    Ok(Operation(Box::new(move |cloud, now| {
        let created: NetworkInterface = cloud.create_network_interface(&request, now)?;
        Ok(Body(Box::new(move |xml| {
            xml.value("networkInterface", &created);
            xml.optional("clientToken", request.client_token);
        })))
    })))
}

/// The primary address, which can be named in two places.
pub(super) fn primary(
    alone: Option<std::net::Ipv4Addr>,
    in_list: Option<std::net::Ipv4Addr>,
) -> Result<Option<std::net::Ipv4Addr>, ApiError> {
    match (alone, in_list) {
        (Some(one), Some(other)) if one != other => Err(ApiError::invalid_combination(format!(
            "Only one address can be primary, but the request names {one} and {other}"
        ))),
        (alone, in_list) => Ok(alone.or(in_list)),
    }
}

/// The wish of an interface that is created: addresses and prefixes are structures there. Also the address marked as primary.
pub(super) fn structured_addresses(of: &Member<'_>) -> Result<(AddressWish, Option<std::net::Ipv4Addr>), ApiError> {
    let mut wish = AddressWish {
        secondary_private_ip_address_count: of.count("SecondaryPrivateIpAddressCount")?.map(Addresses),
        ipv4_prefix_count: of.count("Ipv4PrefixCount")?.map(Prefixes),
        ..AddressWish::default()
    };
    let mut primary_address = None;
    for member in of.members("PrivateIpAddresses") {
        let missing = || ApiError::missing_parameter(&member.key("PrivateIpAddress"));
        let address = member.address("PrivateIpAddress")?.ok_or_else(missing)?;
        if member.flag("Primary")?.unwrap_or(false) {
            primary_address = primary(Some(address), primary_address)?;
        } else {
            wish.private_ip_addresses.push(address);
        }
    }
    for member in of.members("Ipv4Prefix") {
        let missing = || ApiError::missing_parameter(&member.key("Ipv4Prefix"));
        wish.ipv4_prefixes.push(member.block("Ipv4Prefix")?.ok_or_else(missing)?);
    }
    Ok((wish, primary_address))
}

fn attach(query: &Query) -> Result<AttachNetworkInterface, ApiError> {
    Ok(AttachNetworkInterface {
        network_interface_id: interface(query)?,
        instance_id: InstanceId::new(query.required("InstanceId")?),
        device_index: query.count("DeviceIndex")?.ok_or_else(|| ApiError::missing_parameter("DeviceIndex"))?,
        network_card_index: query.count("NetworkCardIndex")?,
    })
}

fn modify(query: &Query) -> Result<ModifyNetworkInterfaceAttribute, ApiError> {
    let security_groups = groups(query.texts("SecurityGroupId"));
    let attribute = exactly_one([
        delete_on_termination(query)?,
        (!security_groups.is_empty()).then_some(InterfaceAttribute::SecurityGroups(security_groups)),
        query.flag("SourceDestCheck.Value")?.map(InterfaceAttribute::SourceDestCheck),
        query.text_or_empty("Description.Value").map(|text| InterfaceAttribute::Description(text.to_owned())),
    ])?;
    Ok(ModifyNetworkInterfaceAttribute { network_interface_id: interface(query)?, attribute })
}

fn delete_on_termination(query: &Query) -> Result<Option<InterfaceAttribute>, ApiError> {
    let Some(attachment_id) = query.text("Attachment.AttachmentId") else { return Ok(None) };
    let missing = || ApiError::missing_parameter("Attachment.DeleteOnTermination");
    let delete_on_termination = query.flag("Attachment.DeleteOnTermination")?.ok_or_else(missing)?;
    let attachment_id = AttachmentId::new(attachment_id);
    Ok(Some(InterfaceAttribute::DeleteOnTermination { attachment_id, delete_on_termination }))
}

fn assign(query: &Query) -> Result<AssignPrivateIpAddresses, ApiError> {
    let addresses = AddressWish {
        private_ip_addresses: query.addresses("PrivateIpAddress")?,
        secondary_private_ip_address_count: query.count("SecondaryPrivateIpAddressCount")?.map(Addresses),
        ipv4_prefixes: query.blocks("Ipv4Prefix")?,
        ipv4_prefix_count: query.count("Ipv4PrefixCount")?.map(Prefixes),
    };
    let allow_reassignment = query.flag("AllowReassignment")?.unwrap_or(false);
    Ok(AssignPrivateIpAddresses { network_interface_id: interface(query)?, addresses, allow_reassignment })
}

fn unassign(query: &Query) -> Result<UnassignPrivateIpAddresses, ApiError> {
    Ok(UnassignPrivateIpAddresses {
        network_interface_id: interface(query)?,
        private_ip_addresses: query.addresses("PrivateIpAddress")?,
        ipv4_prefixes: query.blocks("Ipv4Prefix")?,
    })
}
