//! Network interfaces: create, modify, delete.

use std::net::Ipv4Addr;

use freeboard_address::{EniId, SecurityGroupId, SubnetId, VpcId};
use jiff::Timestamp;

use crate::addressing::{Granted, PrimaryWish, Purpose, grant};
use crate::cloud::{Cloud, Remembered};
use crate::error::ApiError;
use crate::model::{GroupIdentifier, InterfaceStatus, NetworkInterface, PrivateIpAddress, Tag};
use crate::request::{
    CreateNetworkInterface, DeleteNetworkInterface, InterfaceAttribute, ModifyNetworkInterfaceAttribute,
};

/// What a new interface is, besides its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceSpec {
    pub(crate) id: Option<EniId>,
    pub(crate) description: String,
    pub(crate) groups: Vec<GroupIdentifier>,
    /// The service that manages it.
    pub(crate) requester: Option<String>,
    pub(crate) interface_type: Option<String>,
    pub(crate) tags: Vec<Tag>,
}

impl Cloud {
    /// CreateNetworkInterface: an interface in no machine, with all the addresses asked for or none.
    ///
    /// # Errors
    /// When the subnet is short of addresses: `InsufficientFreeAddressesInSubnet` or `InsufficientCidrBlocks`; or, as the
    /// world's `shortage_at_create` says, `InvalidParameterValue`. `InvalidIPAddress.InUse` for a named address that is taken,
    /// `NetworkInterfaceLimitExceeded`, `IdempotentParameterMismatch`, and what is not found.
    pub fn create_network_interface(
        &mut self,
        request: &CreateNetworkInterface,
        now: Timestamp,
    ) -> Result<NetworkInterface, ApiError> {
        self.handle_timeout(now);
        if let Some(made) = self.remembered_interface(request)? {
            return self.interface(&made).cloned();
        }
        let subnet = &self.subnet(&request.subnet_id)?.subnet;
        let groups = self.resolve_groups(&subnet.vpc_id, &request.security_group_ids)?;
        let tags = self.tags_for(&request.tag_specifications, &["network-interface"])?;
        self.check_interface_quota(1)?;
        let primary = request.primary_address.map_or(PrimaryWish::Any, PrimaryWish::Named);
        let granted = self.grant_in(&request.subnet_id, primary, &request.addresses, Purpose::Create)?;
        let spec = InterfaceSpec {
            description: request.description.clone().unwrap_or_default(),
            groups,
            interface_type: request.interface_type.clone(),
            tags,
            ..InterfaceSpec::default()
        };
        let eni = self.add_interface(&request.subnet_id, spec, granted)?;
        if let Some(token) = &request.client_token {
            self.create_tokens.insert(token.clone(), Remembered { request: request.clone(), made: eni.clone() });
        }
        self.settle(now);
        self.interface(&eni).cloned()
    }

    /// ModifyNetworkInterfaceAttribute: one attribute of an interface.
    ///
    /// # Errors
    /// `InvalidAttachmentID.NotFound`, `OperationNotPermitted` for an interface that a service manages, and what is not found.
    pub fn modify_network_interface_attribute(
        &mut self,
        request: &ModifyNetworkInterfaceAttribute,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let interface = self.managed_by_caller(&request.network_interface_id)?;
        let vpc = interface.vpc_id.clone();
        let new_groups = match &request.attribute {
            InterfaceAttribute::SecurityGroups(groups) => Some(self.resolve_groups(&vpc, groups)?),
            InterfaceAttribute::DeleteOnTermination { attachment_id, .. } => {
                let current = interface.attachment.as_ref().map(|attachment| &attachment.attachment_id);
                if current != Some(attachment_id) {
                    return Err(ApiError::attachment_not_found(attachment_id.as_str()));
                }
                None
            }
            InterfaceAttribute::SourceDestCheck(_) | InterfaceAttribute::Description(_) => None,
        };
        let interface = self.interface_mut(&request.network_interface_id)?;
        match &request.attribute {
            InterfaceAttribute::DeleteOnTermination { delete_on_termination, .. } => {
                if let Some(attachment) = interface.attachment.as_mut() {
                    attachment.delete_on_termination = *delete_on_termination;
                }
            }
            InterfaceAttribute::SecurityGroups(_) => interface.groups = new_groups.unwrap_or_default(),
            InterfaceAttribute::SourceDestCheck(check) => interface.source_dest_check = *check,
            InterfaceAttribute::Description(text) => interface.description.clone_from(text),
        }
        self.mirror_primary(&request.network_interface_id);
        self.settle(now);
        Ok(())
    }

    /// DeleteNetworkInterface: gives all its addresses and prefixes back.
    ///
    /// # Errors
    /// `InvalidParameterValue` while it is in use (also while it is detaching), `OperationNotPermitted` when a service
    /// manages it, `InvalidNetworkInterfaceID.NotFound`.
    pub fn delete_network_interface(
        &mut self,
        request: &DeleteNetworkInterface,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.network_interface_id;
        let interface = self.managed_by_caller(id)?;
        if interface.attachment.is_some() {
            return Err(ApiError::invalid_parameter(format!("Network interface '{id}' is currently in use.")));
        }
        self.forget_interface(id);
        self.settle(now);
        Ok(())
    }

    /// An interface that no service manages.
    pub(crate) fn managed_by_caller(&self, id: &EniId) -> Result<&NetworkInterface, ApiError> {
        let interface = self.interface(id)?;
        if !interface.requester_managed {
            return Ok(interface);
        }
        Err(ApiError::new("OperationNotPermitted", "You are not allowed to manage 'ela-attach' attachments."))
    }

    pub(crate) fn check_interface_quota(&self, more: usize) -> Result<(), ApiError> {
        let limit = usize::try_from(self.quotas.interfaces).unwrap_or(usize::MAX);
        if self.interfaces.len().saturating_add(more) <= limit {
            return Ok(());
        }
        let text = format!("The maximum number of network interfaces has been reached: {limit} per Region");
        Err(ApiError::new("NetworkInterfaceLimitExceeded", text))
    }

    /// Chooses addresses in a subnet; see [`grant`].
    pub(crate) fn grant_in(
        &mut self,
        subnet: &SubnetId,
        primary: PrimaryWish,
        wish: &crate::request::AddressWish,
        purpose: Purpose<'_>,
    ) -> Result<Granted, ApiError> {
        let record = self.subnets.get(subnet).ok_or_else(|| ApiError::subnet_not_found(subnet.as_str()))?;
        grant(&record.space, primary, wish, purpose, &self.behaviour, &mut self.ids)
    }

    /// Makes an interface with the addresses that were granted.
    pub(crate) fn add_interface(
        &mut self,
        subnet_id: &SubnetId,
        spec: InterfaceSpec,
        granted: Granted,
    ) -> Result<EniId, ApiError> {
        let region = self.region.clone();
        let owner_id = self.account_id.clone();
        let record = self.subnets.get_mut(subnet_id).ok_or_else(|| ApiError::subnet_not_found(subnet_id.as_str()))?;
        let primary = granted.primary.ok_or_else(ApiError::insufficient_free_addresses)?;
        record.space = granted.space;
        let subnet = record.subnet.clone();
        let upcoming = take_upcoming(&mut self.upcoming, subnet.cidr_block, &spec.description);
        let id = spec.id.or(upcoming).unwrap_or_else(|| EniId::new(self.ids.next("eni")));
        let address = |address: Ipv4Addr, primary: bool| PrivateIpAddress {
            private_ip_address: address,
            primary,
            private_dns_name: private_dns_name(&region, address),
        };
        let mut addresses = vec![address(primary, true)];
        addresses.extend(granted.secondary.into_iter().map(|secondary| address(secondary, false)));
        let interface = NetworkInterface {
            network_interface_id: id.clone(),
            subnet_id: subnet_id.clone(),
            vpc_id: subnet.vpc_id,
            availability_zone: subnet.availability_zone,
            description: spec.description,
            owner_id,
            requester_managed: spec.requester.is_some(),
            requester_id: spec.requester,
            status: InterfaceStatus::Available,
            mac_address: self.ids.hardware_address(),
            interface_type: spec.interface_type.unwrap_or_else(|| "interface".to_owned()),
            private_ip_address: primary,
            private_dns_name: private_dns_name(&region, primary),
            source_dest_check: true,
            groups: spec.groups,
            attachment: None,
            private_ip_addresses: addresses,
            ipv4_prefixes: granted.prefixes,
            tags: spec.tags,
        };
        self.interfaces.insert(id.clone(), interface);
        Ok(id)
    }

    /// The groups with these ids, all of one VPC; its default group when none is named.
    pub(crate) fn resolve_groups(
        &self,
        vpc: &VpcId,
        ids: &[SecurityGroupId],
    ) -> Result<Vec<GroupIdentifier>, ApiError> {
        let limit = usize::try_from(self.quotas.security_groups_per_interface).unwrap_or(usize::MAX);
        if ids.len() > limit {
            let text =
                format!("The maximum number of security groups per interface is {limit}; {} are named", ids.len());
            return Err(ApiError::new("SecurityGroupsPerInterfaceLimitExceeded", text));
        }
        let identifier = |group: &crate::model::SecurityGroup| GroupIdentifier {
            group_id: group.group_id.clone(),
            group_name: group.group_name.clone(),
        };
        if ids.is_empty() {
            let mut of_vpc = self.security_groups.values().filter(|group| group.vpc_id == *vpc);
            return Ok(of_vpc.find(|group| group.group_name == "default").map(identifier).into_iter().collect());
        }
        let found = |id: &SecurityGroupId| {
            let group = self.security_groups.get(id).filter(|group| group.vpc_id == *vpc);
            group.map(identifier).ok_or_else(|| ApiError::group_not_found(id.as_str()))
        };
        ids.iter().map(found).collect()
    }

    /// Copies what an instance shows of its first interface, after that interface changed.
    pub(crate) fn mirror_primary(&mut self, eni: &EniId) {
        let Some(interface) = self.interfaces.get(eni) else { return };
        let Some(attachment) = interface.attachment.as_ref() else { return };
        let Some(id) = attachment.instance_id.clone() else { return };
        if attachment.device_index == 0
            && attachment.network_card_index == 0
            && let Some(instance) = self.instances.get_mut(&id)
        {
            instance.groups.clone_from(&interface.groups);
            instance.source_dest_check = interface.source_dest_check;
        }
        self.touched.insert(id);
    }

    /// What a request with this client token made before, if it is the same request.
    fn remembered_interface(&self, request: &CreateNetworkInterface) -> Result<Option<EniId>, ApiError> {
        let Some(known) = request.client_token.as_ref().and_then(|token| self.create_tokens.get(token)) else {
            return Ok(None);
        };
        if known.request == *request { Ok(Some(known.made.clone())) } else { Err(token_mismatch()) }
    }
}

/// The same client token with other parameters.
pub(crate) fn token_mismatch() -> ApiError {
    ApiError::new(
        "IdempotentParameterMismatch",
        "The request uses the same client token as a previous, but non-identical request.",
    )
}

/// The name that the cloud's resolver gives to an address.
pub(crate) fn private_dns_name(region: &str, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    // The oldest region has a domain of its own.
    let domain = if region == "us-east-1" { "ec2.internal".to_owned() } else { format!("{region}.compute.internal") };
    format!("ip-{a}-{b}-{c}-{d}.{domain}")
}

fn take_upcoming(
    upcoming: &mut crate::world::UpcomingIds,
    subnet: freeboard_address::Cidr,
    description: &str,
) -> Option<EniId> {
    let fits = |entry: &crate::world::UpcomingInterface| {
        entry.subnet_cidr == subnet
            && entry.description_contains.as_ref().is_none_or(|text| description.contains(text.as_str()))
    };
    let index = upcoming.interfaces.iter().position(fits)?;
    Some(upcoming.interfaces.remove(index).id)
}
