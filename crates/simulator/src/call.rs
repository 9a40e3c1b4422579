//! EC2 calls as the agent's shell makes them: what is asked, how it is named, and what its errors mean.

use std::net::Ipv4Addr;

use freeboard_address::{Addresses, AttachmentId, Cidr, EniId, InstanceId, Prefixes, SubnetId};
use freeboard_pool::{FailureKind, ObservedInterface, ObservedSubnet};
use freeboard_vpc::{
    AddressWish, ApiError, AssignPrivateIpAddresses, AssignResult, AttachNetworkInterface, AttachmentStatus, Cloud,
    CreateNetworkInterface, DeleteNetworkInterface, Describe, DetachNetworkInterface, Filter, InterfaceAttribute,
    ModifyNetworkInterfaceAttribute, NetworkInterface, Subnet, Tag, TagSpecification, UnassignPrivateIpAddresses,
};
use jiff::Timestamp;

use crate::world::{VPC, ZONE};

/// The tag by which an interface is known to be a node's.
pub(crate) const INSTANCE_TAG: &str = "node.k8s.amazonaws.com/instance_id";

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ec2Call {
    DescribeSubnets,
    DescribeInterfaces(InstanceId),
    DescribeInterface(EniId),
    DescribeLeftovers(InstanceId),
    Create { instance: InstanceId, subnet: SubnetId, addresses: Addresses, prefixes: Prefixes, token: String },
    Attach { instance: InstanceId, interface: EniId, device_index: u32 },
    SetDeleteOnTermination { interface: EniId, attachment: AttachmentId },
    Assign { interface: EniId, addresses: Addresses, prefixes: Prefixes },
    Unassign { interface: EniId, addresses: Vec<Ipv4Addr>, prefixes: Vec<Cidr> },
    Detach { interface: EniId, attachment: AttachmentId },
    Delete(EniId),
}

/// What a call brought.
#[derive(Clone, Debug)]
pub(crate) enum Ec2Answer {
    Subnets(Vec<Subnet>),
    Interfaces(Vec<NetworkInterface>),
    Created(Box<NetworkInterface>),
    Attached(AttachmentId),
    Assigned(AssignResult),
    Done,
}

impl Ec2Answer {
    /// The interface that was created.
    pub(crate) fn created(&self) -> Option<EniId> {
        match self {
            Self::Created(created) => Some(created.network_interface_id.clone()),
            Self::Subnets(_) | Self::Interfaces(_) | Self::Attached(_) | Self::Assigned(_) | Self::Done => None,
        }
    }
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// EC2 refused.
    Refused(ApiError),
    /// It had its effect, or not; no answer came.
    NoAnswer,
    /// It never left.
    NotSent,
}

impl Ec2Call {
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::DescribeSubnets => "DescribeSubnets",
            Self::DescribeInterfaces(_) | Self::DescribeInterface(_) | Self::DescribeLeftovers(_) => {
                "DescribeNetworkInterfaces"
            }
            Self::Create { .. } => "CreateNetworkInterface",
            Self::Attach { .. } => "AttachNetworkInterface",
            Self::SetDeleteOnTermination { .. } => "ModifyNetworkInterfaceAttribute",
            Self::Assign { .. } => "AssignPrivateIpAddresses",
            Self::Unassign { .. } => "UnassignPrivateIpAddresses",
            Self::Detach { .. } => "DetachNetworkInterface",
            Self::Delete(_) => "DeleteNetworkInterface",
        }
    }

    /// Whether the client may make it again when it cannot know whether it happened.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Attach { .. } | Self::Assign { .. } | Self::Unassign { .. })
    }

    /// Whether it changes what a node holds.
    pub(crate) fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Attach { .. }
                | Self::Assign { .. }
                | Self::Unassign { .. }
                | Self::Detach { .. }
                | Self::Delete(_)
        )
    }

    /// Carries it out.
    pub(crate) fn carry_out(&self, cloud: &mut Cloud, now: Timestamp) -> Result<Ec2Answer, ApiError> {
        match self {
            Self::DescribeSubnets => {
                let filters = [Filter::new("vpc-id", [VPC]), Filter::new("availability-zone", [ZONE])];
                Ok(Ec2Answer::Subnets(cloud.describe_subnets(&Describe::by_filter(filters))?.items))
            }
            Self::DescribeInterfaces(instance) => {
                let filter = Filter::new("attachment.instance-id", [instance.as_str()]);
                Ok(Ec2Answer::Interfaces(cloud.describe_network_interfaces(&Describe::by_filter([filter]))?.items))
            }
            Self::DescribeInterface(interface) => {
                let page = cloud.describe_network_interfaces(&Describe::by_id([interface.clone()]))?;
                Ok(Ec2Answer::Interfaces(page.items))
            }
            Self::DescribeLeftovers(instance) => {
                let filters = [
                    Filter::new(format!("tag:{INSTANCE_TAG}"), [instance.as_str()]),
                    Filter::new("status", ["available"]),
                ];
                Ok(Ec2Answer::Interfaces(cloud.describe_network_interfaces(&Describe::by_filter(filters))?.items))
            }
            Self::Create { .. } | Self::Assign { .. } => self.take(cloud, now),
            Self::Attach { instance, interface, device_index } => {
                let request = AttachNetworkInterface {
                    network_interface_id: interface.clone(),
                    instance_id: instance.clone(),
                    device_index: *device_index,
                    network_card_index: None,
                };
                Ok(Ec2Answer::Attached(cloud.attach_network_interface(&request, now)?.attachment_id))
            }
            Self::SetDeleteOnTermination { interface, attachment } => {
                let attribute = InterfaceAttribute::DeleteOnTermination {
                    attachment_id: attachment.clone(),
                    delete_on_termination: true,
                };
                let request = ModifyNetworkInterfaceAttribute { network_interface_id: interface.clone(), attribute };
                cloud.modify_network_interface_attribute(&request, now).map(|()| Ec2Answer::Done)
            }
            Self::Unassign { interface, addresses, prefixes } => {
                let request = UnassignPrivateIpAddresses {
                    network_interface_id: interface.clone(),
                    private_ip_addresses: addresses.clone(),
                    ipv4_prefixes: prefixes.clone(),
                };
                cloud.unassign_private_ip_addresses(&request, now).map(|_| Ec2Answer::Done)
            }
            Self::Detach { attachment, .. } => {
                let request = DetachNetworkInterface { attachment_id: attachment.clone(), force: false };
                cloud.detach_network_interface(&request, now).map(|()| Ec2Answer::Done)
            }
            Self::Delete(interface) => {
                let request = DeleteNetworkInterface { network_interface_id: interface.clone() };
                cloud.delete_network_interface(&request, now).map(|()| Ec2Answer::Done)
            }
        }
    }

    fn take(&self, cloud: &mut Cloud, now: Timestamp) -> Result<Ec2Answer, ApiError> {
        match self {
            Self::Create { instance, subnet, addresses, prefixes, token } => {
                let request = CreateNetworkInterface {
                    description: Some(format!("aws-K8S-{instance}")),
                    addresses: wish(*addresses, *prefixes),
                    client_token: Some(token.clone()),
                    tag_specifications: vec![TagSpecification {
                        resource_type: "network-interface".to_owned(),
                        tags: vec![Tag::new(INSTANCE_TAG, instance.as_str())],
                    }],
                    ..CreateNetworkInterface::in_subnet(subnet.clone())
                };
                cloud.create_network_interface(&request, now).map(|made| Ec2Answer::Created(Box::new(made)))
            }
            Self::Assign { interface, addresses, prefixes } => {
                let request = AssignPrivateIpAddresses {
                    network_interface_id: interface.clone(),
                    addresses: wish(*addresses, *prefixes),
                    allow_reassignment: false,
                };
                cloud.assign_private_ip_addresses(&request, now).map(Ec2Answer::Assigned)
            }
            Self::DescribeSubnets
            | Self::DescribeInterfaces(_)
            | Self::DescribeInterface(_)
            | Self::DescribeLeftovers(_)
            | Self::Attach { .. }
            | Self::SetDeleteOnTermination { .. }
            | Self::Unassign { .. }
            | Self::Detach { .. }
            | Self::Delete(_) => Ok(Ec2Answer::Done),
        }
    }
}

fn wish(addresses: Addresses, prefixes: Prefixes) -> AddressWish {
    AddressWish {
        secondary_private_ip_address_count: (!addresses.is_zero() && prefixes.is_zero()).then_some(addresses),
        ipv4_prefix_count: (!prefixes.is_zero()).then_some(prefixes),
        ..AddressWish::default()
    }
}

impl CallError {
    /// What it means for the pool, by the table of `freeboard-ec2`; that crate is a network client and is not linked here.
    pub(crate) fn kind(&self, action: &str) -> FailureKind {
        let error = match self {
            Self::Refused(error) => error,
            Self::NoAnswer => return FailureKind::Uncertain,
            Self::NotSent => return FailureKind::Other,
        };
        let says = |part: &str| error.message.contains(part);
        match error.code.as_str() {
            "InsufficientFreeAddressesInSubnet" => FailureKind::SubnetShort,
            "InvalidParameterValue" if says("sufficient free") => FailureKind::SubnetShort,
            "InvalidParameterValue"
                if action == "UnassignPrivateIpAddresses" && says("are not assigned to interface") =>
            {
                FailureKind::NotFound
            }
            "InsufficientCidrBlocks" => FailureKind::NoFreePrefix,
            "PrivateIpAddressLimitExceeded" | "InvalidInterface.IpAddressLimitExceeded" => FailureKind::AddressLimit,
            "AttachmentLimitExceeded" => FailureKind::AttachmentLimit,
            "RequestLimitExceeded" => FailureKind::Throttled,
            "UnauthorizedOperation" | "AuthFailure" | "AccessDenied" => FailureKind::NotAuthorized,
            "OperationNotPermitted" if says("not allowed to manage") => FailureKind::NotAuthorized,
            code if code.ends_with(".NotFound") => FailureKind::NotFound,
            _ => FailureKind::Other,
        }
    }

    /// Whether the client makes the call again after a pause.
    pub(crate) fn is_worth_repeating(&self, call: &Ec2Call) -> bool {
        match self {
            Self::NotSent => true,
            Self::NoAnswer => call.is_repeatable(),
            Self::Refused(error) => match error.code.as_str() {
                "RequestLimitExceeded" | "Unavailable" | "ServiceUnavailable" => true,
                "InternalError" | "InternalFailure" => call.is_repeatable(),
                _ => false,
            },
        }
    }

    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Refused(error) => format!("{}: {}", error.code, error.message),
            Self::NoAnswer => "NoAnswer: the connection was closed before an answer came".to_owned(),
            Self::NotSent => "NotSent: no connection to the EC2 endpoint".to_owned(),
        }
    }
}

/// The pool's view of an interface.
pub(crate) fn observed(interface: &NetworkInterface) -> ObservedInterface {
    let attachment = interface.attachment.as_ref();
    let secondary = interface.private_ip_addresses.iter().filter(|address| !address.primary);
    ObservedInterface {
        id: interface.network_interface_id.clone(),
        mac: interface.mac_address,
        device_index: attachment.map_or(0, |attachment| attachment.device_index),
        network_card: attachment.map_or(0, |attachment| attachment.network_card_index),
        subnet: interface.subnet_id.clone(),
        primary_address: interface.private_ip_address,
        secondary_addresses: secondary.map(|address| address.private_ip_address).collect(),
        prefixes: interface.ipv4_prefixes.clone(),
        tags: interface.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        attached: attachment.is_some_and(|attachment| attachment.status == AttachmentStatus::Attached),
        special: !matches!(interface.interface_type.as_str(), "" | "interface"),
    }
}

/// The pool's view of a subnet.
pub(crate) fn observed_subnet(subnet: &Subnet, primary_range: Cidr) -> ObservedSubnet {
    ObservedSubnet {
        id: subnet.subnet_id.clone(),
        cidr: subnet.cidr_block,
        zone: subnet.availability_zone.clone(),
        free: Addresses(u32::try_from(subnet.available_ip_address_count).unwrap_or(u32::MAX)),
        in_primary_range: primary_range.contains_block(subnet.cidr_block),
        tags: subnet.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
    }
}
