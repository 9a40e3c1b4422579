//! Carries out the pool's cloud operations with EC2 and, where an interface comes or goes, on the host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freeboard_address::{AttachmentId, Cidr, EniId, MacAddress, SecurityGroupId, SubnetId};
use freeboard_ec2::{
    AssignPrivateIpAddresses, AttachNetworkInterface, AttachmentStatus, CreateNetworkInterface, CreateTags,
    DeleteNetworkInterface, DescribeNetworkInterfaces, DescribeSubnets, DetachNetworkInterface, Ec2Client, Ec2Error,
    ErrorClass, Filter, InterfaceChange, ModifyNetworkInterfaceAttribute, NetworkInterface, Subnet, Take,
    UnassignPrivateIpAddresses,
};
use freeboard_pool::{
    CloudFailure, CloudOperation, CloudSuccess, FailureKind, NodeFacts, ObservedInterface, ObservedSubnet,
};
use freeboard_settings::Settings;
use jiff::Timestamp;

use crate::host::{Host, HostError, InterfacePlan};
use crate::identity::Metadata;
use crate::pool_task::Operations;
use crate::tags;

/// A detached interface is looked at this often, for this many times, until it can be deleted.
const DETACH_LOOKS: u32 = 60;
const DETACH_PERIOD: Duration = Duration::from_secs(1);

/// What carries out operations.
#[derive(Debug)]
pub struct Cloud {
    /// EC2.
    pub ec2: Ec2Client,
    /// This instance's metadata.
    pub metadata: Metadata,
    /// The host's network.
    pub host: Host,
    /// What does not change.
    pub facts: NodeFacts,
    /// The settings.
    pub settings: Arc<Settings>,
    /// The VPC's primary block.
    pub primary_range: Option<Cidr>,
    /// What was seen of interfaces and subnets, for the host's set-up.
    pub seen: Mutex<Seen>,
}

/// What was last seen of interfaces and subnets.
#[derive(Debug, Default)]
pub struct Seen {
    interfaces: BTreeMap<EniId, SeenInterface>,
    /// Requests to create an interface whose outcome is not known, by token: a repeated one must be the same to the letter.
    unsettled: BTreeMap<String, CreateNetworkInterface>,
    subnets: BTreeMap<SubnetId, Cidr>,
}

#[derive(Clone, Debug)]
struct SeenInterface {
    mac: MacAddress,
    subnet: SubnetId,
    primary_address: Option<Ipv4Addr>,
    tagged: bool,
}

/// An interface that the pool wants.
#[derive(Debug)]
struct NewInterface {
    subnet: SubnetId,
    take: Option<Take>,
    groups: Vec<SecurityGroupId>,
    token: String,
    decided: Timestamp,
}

type Outcome = Result<CloudSuccess, CloudFailure>;

impl Operations for Cloud {
    async fn execute(&self, operation: CloudOperation) -> Outcome {
        match operation {
            CloudOperation::DescribeSubnets => self.describe_subnets().await,
            CloudOperation::DescribeInterfaces => self.describe_interfaces().await,
            CloudOperation::CreateInterface { subnet, addresses, prefixes, groups, token, decided } => {
                let take = match (addresses.is_zero(), prefixes.is_zero()) {
                    (_, false) => Some(Take::Prefixes(prefixes)),
                    (false, true) => Some(Take::Addresses(addresses)),
                    (true, true) => None,
                };
                self.create(NewInterface { subnet, take, groups, token, decided }).await
            }
            CloudOperation::AttachInterface { interface, device_index } => self.attach(interface, device_index).await,
            CloudOperation::PrepareInterface { interface, device_index } => self.prepare(interface, device_index).await,
            CloudOperation::AssignAddresses { interface, count } => {
                let assigned = self.assign(interface.clone(), Take::Addresses(count)).await?;
                Ok(CloudSuccess::AssignedAddresses(interface, assigned.addresses))
            }
            CloudOperation::AssignPrefixes { interface, count } => {
                let assigned = self.assign(interface.clone(), Take::Prefixes(count)).await?;
                Ok(CloudSuccess::AssignedPrefixes(interface, assigned.prefixes))
            }
            CloudOperation::Unassign { interface, addresses, prefixes } => {
                let request = UnassignPrivateIpAddresses { interface: interface.clone(), addresses, prefixes };
                // EC2 refuses the call as a whole when one of the addresses is not there any more; the others still are.
                let unassigned = self.ec2.unassign_private_ip_addresses(&request).await;
                unassigned.map(|()| CloudSuccess::Unassigned(interface)).map_err(|error| failure(&error))
            }
            CloudOperation::ReleaseInterface { interface } => self.release(interface).await,
        }
    }
}

impl Cloud {
    async fn describe_subnets(&self) -> Outcome {
        let filters =
            vec![Filter::new("vpc-id", [&self.facts.vpc]), Filter::new("availability-zone", [&self.facts.zone])];
        let request = DescribeSubnets { subnets: Vec::new(), filters };
        let subnets = self.ec2.describe_subnets(&request).await.map_err(|error| failure(&error))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.subnets.extend(subnets.iter().map(|subnet| (subnet.id.clone(), subnet.cidr)));
        drop(seen);
        Ok(CloudSuccess::Subnets(subnets.into_iter().map(|subnet| self.observed_subnet(subnet)).collect()))
    }

    fn observed_subnet(&self, subnet: Subnet) -> ObservedSubnet {
        ObservedSubnet {
            id: subnet.id,
            cidr: subnet.cidr,
            zone: subnet.zone,
            free: subnet.available_addresses,
            in_primary_range: self.primary_range.is_none_or(|range| range.contains_block(subnet.cidr)),
            tags: subnet.tags,
        }
    }

    async fn describe_interfaces(&self) -> Outcome {
        let filters = vec![Filter::new("attachment.instance-id", [&self.facts.instance])];
        let request = DescribeNetworkInterfaces { interfaces: Vec::new(), filters };
        let interfaces = self.ec2.describe_network_interfaces(&request).await.map_err(|error| failure(&error))?;
        for interface in &interfaces {
            self.note(interface);
        }
        // One without an IPv4 address (of an IPv6-only subnet) can carry no pod.
        Ok(CloudSuccess::Interfaces(interfaces.into_iter().filter_map(observed).collect()))
    }

    fn seen_interface(&self, interface: &EniId) -> Option<SeenInterface> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).interfaces.get(interface).cloned()
    }

    fn seen_subnet(&self, subnet: &SubnetId) -> Option<Cidr> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).subnets.get(subnet).copied()
    }

    fn note(&self, interface: &NetworkInterface) {
        let seen = SeenInterface {
            mac: interface.mac,
            subnet: interface.subnet.clone(),
            primary_address: interface.primary_address,
            tagged: interface.tags.contains_key(tags::INSTANCE),
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).interfaces.insert(interface.id.clone(), seen);
    }

    async fn create(&self, wanted: NewInterface) -> Outcome {
        let token = wanted.token.clone();
        let unsettled = self.seen.lock().unwrap_or_else(PoisonError::into_inner).unsettled.remove(&token);
        let request = match unsettled {
            Some(request) => request,
            None => self.new_interface(wanted).await,
        };
        let created = self.ec2.create_network_interface(&request).await.map_err(|error| {
            tracing::error!(%error, "Failed to CreateNetworkInterface for subnet {}", request.subnet);
            if error.class == ErrorClass::Uncertain {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).unsettled.insert(token, request);
            }
            failure(&error)
        })?;
        self.note(&created);
        let id = created.id.clone();
        observed(created).map(CloudSuccess::Created).ok_or_else(|| {
            other("CreateNetworkInterface", FailureKind::Other, format!("{id} was created without an IPv4 address"))
        })
    }

    /// The request. It says when it was decided, not when it is made, so that a restarted agent makes the same one again.
    async fn new_interface(&self, wanted: NewInterface) -> CreateNetworkInterface {
        let NewInterface { subnet, take, groups, token, decided } = wanted;
        let groups = if groups.is_empty() { self.primary_groups().await } else { groups };
        CreateNetworkInterface {
            description: Some(tags::description(&self.facts.instance)),
            groups,
            take,
            tags: tags::tags(&self.settings, &self.facts.instance, decided),
            client_token: Some(token),
            ..CreateNetworkInterface::new(subnet)
        }
    }

    async fn primary_groups(&self) -> Vec<SecurityGroupId> {
        self.metadata.groups().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the primary interface's security groups; taking those of the start");
            self.metadata.primary.groups.clone()
        })
    }

    async fn attach(&self, interface: EniId, device_index: u32) -> Outcome {
        let request = AttachNetworkInterface {
            interface: interface.clone(),
            instance: self.facts.instance.clone(),
            device_index,
            network_card: None,
        };
        let attachment = self.ec2.attach_network_interface(&request).await.map_err(|error| {
            tracing::error!(%error, "Failed to attach ENI {interface}");
            failure(&error)
        })?;
        // The call about its end of life needs no link, and the link takes its time.
        let (_, set_up) =
            tokio::join!(self.delete_with_instance(&interface, attachment), self.set_up(&interface, device_index));
        set_up.map(|()| CloudSuccess::Attached(interface))
    }

    /// Without this an interface outlives its instance; that is bad, and no reason to leave pods without addresses.
    async fn delete_with_instance(&self, interface: &EniId, attachment: AttachmentId) {
        let change = InterfaceChange::DeleteOnTermination { attachment, delete: true };
        let request = ModifyNetworkInterfaceAttribute { interface: interface.clone(), change };
        if let Err(error) = self.ec2.modify_network_interface_attribute(&request).await {
            tracing::error!(%error, %interface, "the interface will outlive its instance");
        }
    }

    async fn prepare(&self, interface: EniId, device_index: u32) -> Outcome {
        self.set_up(&interface, device_index).await?;
        let tagged = self.seen_interface(&interface).is_none_or(|seen| seen.tagged);
        if !tagged {
            let tags = tags::tags(&self.settings, &self.facts.instance, Timestamp::now());
            let request = CreateTags { resources: vec![interface.to_string()], tags };
            if let Err(error) = self.ec2.create_tags(&request).await {
                tracing::warn!(%error, %interface, "Failed to tag the newly created ENI: an interface found at start keeps its old tags");
            }
        }
        Ok(CloudSuccess::Attached(interface))
    }

    async fn set_up(&self, interface: &EniId, device_index: u32) -> Result<(), CloudFailure> {
        // The node's own set-up has dealt with the primary interface.
        if device_index == 0 {
            return Ok(());
        }
        let plan = self.plan(interface, device_index).await?;
        self.host.set_up_interface(plan).await.map_err(|error| host_failure(interface, &error))
    }

    async fn plan(&self, interface: &EniId, device_index: u32) -> Result<InterfacePlan, CloudFailure> {
        let unknown = |what: &str| other("agent", FailureKind::Host, format!("{what} of {interface} is not known"));
        let found = self.seen_interface(interface).ok_or_else(|| unknown("the hardware address"))?;
        let subnet = match self.seen_subnet(&found.subnet) {
            Some(cidr) => cidr,
            None => self.subnet_cidr(&found.subnet).await?,
        };
        let address = found.primary_address.ok_or_else(|| unknown("the primary address"))?;
        Ok(InterfacePlan { mac: found.mac, address, subnet, device_index })
    }

    /// The block of a subnet that lies outside the node's VPC or zone, as far as `DescribeSubnets` has shown.
    async fn subnet_cidr(&self, subnet: &SubnetId) -> Result<Cidr, CloudFailure> {
        let request = DescribeSubnets { subnets: vec![subnet.clone()], filters: Vec::new() };
        let found = self.ec2.describe_subnets(&request).await.map_err(|error| failure(&error))?;
        let cidr = found.first().map(|subnet| subnet.cidr);
        let cidr =
            cidr.ok_or_else(|| other("DescribeSubnets", FailureKind::NotFound, format!("{subnet} is not shown")))?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).subnets.insert(subnet.clone(), cidr);
        Ok(cidr)
    }

    async fn assign(&self, interface: EniId, take: Take) -> Result<freeboard_ec2::Assigned, CloudFailure> {
        let request = AssignPrivateIpAddresses { interface: interface.clone(), take, allow_reassignment: false };
        self.ec2.assign_private_ip_addresses(&request).await.map_err(|error| {
            if error.class == ErrorClass::SubnetShort || error.class == ErrorClass::NoFreePrefix {
                tracing::error!(%error, %interface, "subnet doesn't seem to have enough IPs/Prefixes");
            } else {
                tracing::error!(%error, "Failed to allocate a private IP/Prefix addresses on ENI {interface}");
            }
            failure(&error)
        })
    }

    /// Detaches, waits, removes what the host had for it, deletes. An interface that is not there any more is released.
    async fn release(&self, interface: EniId) -> Outcome {
        let mut detached = false;
        for _ in 0..DETACH_LOOKS {
            let Some(found) = self.look(&interface).await? else { break };
            match found.attachment.filter(|attachment| attachment.status != AttachmentStatus::Detached) {
                None => break,
                Some(attachment) if !detached && attachment.status != AttachmentStatus::Detaching => {
                    let request = DetachNetworkInterface { attachment: attachment.id, force: false };
                    match self.ec2.detach_network_interface(&request).await {
                        Ok(()) => {}
                        Err(error) if error.class == ErrorClass::NotFound => {}
                        Err(error) => {
                            tracing::error!(%error, "Failed to detach ENI {interface}");
                            return Err(failure(&error));
                        }
                    }
                    detached = true;
                }
                Some(_) => {}
            }
            tokio::time::sleep(DETACH_PERIOD).await;
        }
        self.clean_host(&interface).await;
        match self.ec2.delete_network_interface(&DeleteNetworkInterface { interface: interface.clone() }).await {
            Ok(()) => {}
            Err(error) if error.class == ErrorClass::NotFound => {}
            Err(error) => {
                tracing::error!(%error, "Failed to free ENI {interface}");
                return Err(failure(&error));
            }
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).interfaces.remove(&interface);
        Ok(CloudSuccess::Released(interface))
    }

    async fn look(&self, interface: &EniId) -> Result<Option<NetworkInterface>, CloudFailure> {
        let request = DescribeNetworkInterfaces { interfaces: vec![interface.clone()], filters: Vec::new() };
        match self.ec2.describe_network_interfaces(&request).await {
            Ok(found) => Ok(found.into_iter().next()),
            Err(error) if error.class == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn clean_host(&self, interface: &EniId) {
        let Some(address) = self.seen_interface(interface).and_then(|seen| seen.primary_address) else { return };
        if let Err(error) = self.host.remove_interface(address).await {
            tracing::warn!(%error, %interface, "the host keeps a rule of an interface that is gone; the next start removes it");
        }
    }
}

/// The pool's view of an interface; `None` when it has no IPv4 address.
fn observed(interface: NetworkInterface) -> Option<ObservedInterface> {
    let attachment = interface.attachment.as_ref();
    Some(ObservedInterface {
        mac: interface.mac,
        device_index: attachment.map_or(0, |attachment| attachment.device_index),
        network_card: attachment.map_or(0, |attachment| attachment.network_card),
        primary_address: interface.primary_address?,
        secondary_addresses: interface.secondary_addresses().collect(),
        prefixes: interface.prefixes.iter().map(|prefix| prefix.prefix).collect(),
        attached: attachment.is_some_and(|attachment| attachment.status == AttachmentStatus::Attached),
        special: !matches!(interface.interface_type.as_str(), "" | "interface"),
        id: interface.id,
        subnet: interface.subnet,
        tags: interface.tags,
    })
}

fn failure(error: &Ec2Error) -> CloudFailure {
    let kind = match error.class {
        ErrorClass::SubnetShort => FailureKind::SubnetShort,
        ErrorClass::NoFreePrefix => FailureKind::NoFreePrefix,
        ErrorClass::AddressLimit => FailureKind::AddressLimit,
        ErrorClass::AttachmentLimit => FailureKind::AttachmentLimit,
        ErrorClass::Throttled => FailureKind::Throttled,
        ErrorClass::NotAuthorized => FailureKind::NotAuthorized,
        ErrorClass::NotFound => FailureKind::NotFound,
        ErrorClass::Unavailable => FailureKind::Unavailable,
        ErrorClass::Uncertain => FailureKind::Uncertain,
        ErrorClass::InUse | ErrorClass::Conflict | ErrorClass::Invalid | ErrorClass::Other => FailureKind::Other,
    };
    let detail = format!("{}: {}", error.code, error.message);
    CloudFailure { kind, action: error.action.as_str().to_owned(), detail, at: Timestamp::now() }
}

fn host_failure(interface: &EniId, error: &HostError) -> CloudFailure {
    tracing::error!(%error, %interface, "the host cannot be set up for the interface");
    other("agent", FailureKind::Host, format!("the host cannot be set up for {interface}: {error}"))
}

fn other(action: &str, kind: FailureKind, detail: String) -> CloudFailure {
    CloudFailure { kind, action: action.to_owned(), detail, at: Timestamp::now() }
}

#[cfg(test)]
mod tests {
    use freeboard_ec2::{Action, classify};

    use super::*;

    /// The code tables of aws-vpc-cni §4.7 and §11.2, to the end: what the pool is told.
    #[test]
    fn codes_become_the_kinds_that_the_pool_acts_on() {
        use Action::{
            AssignPrivateIpAddresses as Assign, AttachNetworkInterface as Attach, CreateNetworkInterface as Create,
            UnassignPrivateIpAddresses as Unassign,
        };
        let shortage = "There aren't sufficient free Ipv4 addresses or prefixes in subnet 'subnet-1'";
        let gone = "Some of [10.0.0.9] are not assigned to interface eni-1";
        for (action, code, message, kind) in [
            (Assign, "InsufficientFreeAddressesInSubnet", "", FailureKind::SubnetShort),
            (Create, "InsufficientFreeAddressesInSubnet", "", FailureKind::SubnetShort),
            (Create, "InvalidParameterValue", shortage, FailureKind::SubnetShort),
            (Create, "InvalidParameterValue", "value is wrong", FailureKind::Other),
            (Assign, "InsufficientCidrBlocks", "", FailureKind::NoFreePrefix),
            (Assign, "PrivateIpAddressLimitExceeded", "", FailureKind::AddressLimit),
            (Attach, "AttachmentLimitExceeded", "", FailureKind::AttachmentLimit),
            (Assign, "RequestLimitExceeded", "", FailureKind::Throttled),
            (Create, "UnauthorizedOperation", "", FailureKind::NotAuthorized),
            (Attach, "InvalidNetworkInterfaceID.NotFound", "", FailureKind::NotFound),
            (Unassign, "InvalidParameterValue", gone, FailureKind::NotFound),
            (Assign, "ServiceUnavailable", "", FailureKind::Unavailable),
            (Assign, "SomethingNew", "", FailureKind::Other),
        ] {
            let class = classify(action, code, message);
            let error = Ec2Error {
                action,
                class,
                code: code.to_owned(),
                message: message.to_owned(),
                request_id: None,
                http_status: Some(400),
                attempts: 1,
            };
            assert_eq!(failure(&error).kind, kind, "{action} {code} {message}");
        }
    }
}
