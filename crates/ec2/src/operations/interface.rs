//! Network interfaces, their attachments and their addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{
    Addresses, AttachmentId, Cidr, EniId, InstanceId, MacAddress, Prefixes, SecurityGroupId, SubnetId, VpcId,
};
use serde::Deserialize;

use super::{Done, PAGE_SIZE, page};
use crate::action::Action;
use crate::client::{Ec2Client, Operation};
use crate::error::Ec2Error;
use crate::query::{Filter, Parameters};
use crate::xml::{items, open_enum, tags};

open_enum! {
    /// Where an interface is in its life.
    InterfaceStatus {
        /// Just created; not in the API's own enumeration, but seen.
        Pending = "pending",
        /// Attached to nothing.
        Available = "available",
        /// Bound to an instance that is not yet there.
        Associated = "associated",
        /// On its way to an instance.
        Attaching = "attaching",
        /// Attached, or still attaching: the attachment's own status tells.
        InUse = "in-use",
        /// On its way off an instance.
        Detaching = "detaching",
    }
}

open_enum! {
    /// How far an attachment has come.
    AttachmentStatus {
        /// On its way.
        Attaching = "attaching",
        /// The API's view is complete; the instance may see the device later.
        Attached = "attached",
        /// On its way out.
        Detaching = "detaching",
        /// Gone.
        Detached = "detached",
    }
}

/// The attachment of an interface to an instance.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceAttachment {
    /// Its id.
    #[serde(rename = "attachmentId")]
    pub id: AttachmentId,
    /// The instance; absent for attachments that AWS manages.
    #[serde(rename = "instanceId", default)]
    pub instance: Option<InstanceId>,
    /// The account of the instance.
    #[serde(default)]
    pub instance_owner_id: Option<String>,
    /// The device index.
    #[serde(default)]
    pub device_index: u32,
    /// The network card.
    #[serde(rename = "networkCardIndex", default)]
    pub network_card: u32,
    /// How far it has come.
    pub status: AttachmentStatus,
    /// Whether the interface is deleted with the instance.
    #[serde(default)]
    pub delete_on_termination: bool,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceAddress {
    /// The address.
    #[serde(rename = "privateIpAddress")]
    pub address: Ipv4Addr,
    /// Whether it is the interface's primary address.
    #[serde(default)]
    pub primary: bool,
}

/// A /28 prefix of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct InterfacePrefix {
    /// The prefix.
    #[serde(rename = "ipv4Prefix")]
    pub prefix: Cidr,
}

/// A security group, as interfaces and instances name it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupName {
    /// Its id.
    #[serde(rename = "groupId")]
    pub id: SecurityGroupId,
    /// Its name.
    #[serde(rename = "groupName", default)]
    pub name: String,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    /// Its id.
    #[serde(rename = "networkInterfaceId")]
    pub id: EniId,
    /// Its subnet.
    #[serde(rename = "subnetId")]
    pub subnet: SubnetId,
    /// Its VPC.
    #[serde(rename = "vpcId")]
    pub vpc: VpcId,
    /// Its zone's name.
    #[serde(rename = "availabilityZone", default)]
    pub zone: String,
    /// The description given with it; the Amazon VPC CNI writes `aws-K8S-<instance>`.
    #[serde(default)]
    pub description: String,
    /// The account that owns it.
    #[serde(default)]
    pub owner_id: String,
    /// Who asked for it, when that was not its owner.
    #[serde(default)]
    pub requester_id: Option<String>,
    /// Whether an AWS service manages it.
    #[serde(default)]
    pub requester_managed: bool,
    /// Where it is in its life.
    pub status: InterfaceStatus,
    /// Its hardware address.
    #[serde(rename = "macAddress")]
    pub mac: MacAddress,
    /// `interface`, `trunk`, `branch`, `efa`, `efa-only`, `lambda` …
    #[serde(default)]
    pub interface_type: String,
    /// Its primary address; none on IPv6-only subnets.
    #[serde(rename = "privateIpAddress", default)]
    pub primary_address: Option<Ipv4Addr>,
    /// Whether it drops packets that are not from or to its own addresses.
    #[serde(default)]
    pub source_dest_check: bool,
    /// Its security groups.
    #[serde(rename = "groupSet", default, deserialize_with = "items")]
    pub groups: Vec<GroupName>,
    /// Its attachment.
    #[serde(default)]
    pub attachment: Option<InterfaceAttachment>,
    /// Its addresses, the primary included, those of prefixes not.
    #[serde(rename = "privateIpAddressesSet", default, deserialize_with = "items")]
    pub addresses: Vec<InterfaceAddress>,
    /// Its /28 prefixes.
    #[serde(rename = "ipv4PrefixSet", default, deserialize_with = "items")]
    pub prefixes: Vec<InterfacePrefix>,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

impl NetworkInterface {
    /// Its addresses without the primary one.
    pub fn secondary_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.addresses.iter().filter(|address| !address.primary).map(|address| address.address)
    }
}

/// Lists interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeNetworkInterfaces {
    /// Only these; all when empty.
    pub interfaces: Vec<EniId>,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(DescribeNetworkInterfacesAnswer, "networkInterfaceSet", NetworkInterface);

impl Operation for DescribeNetworkInterfaces {
    const ACTION: Action = Action::DescribeNetworkInterfaces;
    type Answer = DescribeNetworkInterfacesAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("NetworkInterfaceId", &self.interfaces, &self.filters, Some(PAGE_SIZE))
    }
}

/// What an interface takes from its subnet, or takes more of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// This many secondary addresses, chosen by EC2.
    Addresses(Addresses),
    /// This many /28 prefixes, chosen by EC2.
    Prefixes(Prefixes),
    /// These secondary addresses.
    TheseAddresses(Vec<Ipv4Addr>),
    /// These /28 prefixes.
    ThesePrefixes(Vec<Cidr>),
}

/// Creates an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateNetworkInterface {
    /// The subnet.
    pub subnet: SubnetId,
    /// A description.
    pub description: Option<String>,
    /// Its security groups; the VPC's default group when empty.
    pub groups: Vec<SecurityGroupId>,
    /// What it takes beside its primary address; nothing more when none.
    pub take: Option<Take>,
    /// Tags it gets with its creation.
    pub tags: BTreeMap<String, String>,
    /// The idempotency token, at most 64 ASCII characters: a second call with the same token and the same parameters brings
    /// the same interface. One is made for the call when none is given.
    pub client_token: Option<String>,
}

impl CreateNetworkInterface {
    /// A request for an interface in `subnet` with the VPC's default group and nothing else.
    #[must_use]
    pub fn new(subnet: SubnetId) -> Self {
        Self { subnet, description: None, groups: Vec::new(), take: None, tags: BTreeMap::new(), client_token: None }
    }
}

/// The answer of `CreateNetworkInterface`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateNetworkInterfaceAnswer {
    network_interface: NetworkInterface,
}

impl Operation for CreateNetworkInterface {
    const ACTION: Action = Action::CreateNetworkInterface;
    type Answer = CreateNetworkInterfaceAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("SubnetId", &self.subnet);
        parameters.set_some("Description", self.description.as_ref());
        parameters.list("SecurityGroupId", &self.groups);
        match &self.take {
            Some(Take::Addresses(count)) => parameters.set("SecondaryPrivateIpAddressCount", count.0),
            Some(Take::Prefixes(count)) => parameters.set("Ipv4PrefixCount", count.0),
            // Here, unlike in AssignPrivateIpAddresses, the lists hold structures.
            Some(Take::TheseAddresses(addresses)) => {
                parameters.list_of("PrivateIpAddresses", "PrivateIpAddress", addresses);
                parameters.list_of("PrivateIpAddresses", "Primary", addresses.iter().map(|_| false));
            }
            Some(Take::ThesePrefixes(prefixes)) => parameters.list_of("Ipv4Prefix", "Ipv4Prefix", prefixes),
            None => {}
        }
        parameters.tag_specification("network-interface", &self.tags);
        parameters.client_token(self.client_token.as_deref());
        parameters
    }
}

/// Attaches an interface to an instance of the same zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachNetworkInterface {
    /// The interface.
    pub interface: EniId,
    /// The instance.
    pub instance: InstanceId,
    /// A free device index.
    pub device_index: u32,
    /// The network card; EC2's default when none.
    pub network_card: Option<u32>,
}

/// The answer of `AttachNetworkInterface`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttachNetworkInterfaceAnswer {
    attachment_id: AttachmentId,
}

impl Operation for AttachNetworkInterface {
    const ACTION: Action = Action::AttachNetworkInterface;
    type Answer = AttachNetworkInterfaceAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("NetworkInterfaceId", &self.interface);
        parameters.set("InstanceId", &self.instance);
        parameters.set("DeviceIndex", self.device_index);
        parameters.set_some("NetworkCardIndex", self.network_card);
        parameters
    }
}

/// Changes one attribute of an interface; EC2 takes one per call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyNetworkInterfaceAttribute {
    /// The interface.
    pub interface: EniId,
    /// The change.
    pub change: InterfaceChange,
}

/// The attribute that is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceChange {
    /// Whether the interface is deleted with its instance.
    DeleteOnTermination {
        /// The attachment.
        attachment: AttachmentId,
        /// The new value.
        delete: bool,
    },
    /// Its security groups, all of them.
    Groups(Vec<SecurityGroupId>),
    /// Whether it drops packets that are not from or to its own addresses.
    SourceDestCheck(bool),
    /// Its description.
    Description(String),
}

impl Operation for ModifyNetworkInterfaceAttribute {
    const ACTION: Action = Action::ModifyNetworkInterfaceAttribute;
    type Answer = Done;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("NetworkInterfaceId", &self.interface);
        match &self.change {
            InterfaceChange::DeleteOnTermination { attachment, delete } => {
                parameters.set("Attachment.AttachmentId", attachment);
                parameters.set("Attachment.DeleteOnTermination", delete);
            }
            InterfaceChange::Groups(groups) => parameters.list("SecurityGroupId", groups),
            InterfaceChange::SourceDestCheck(check) => parameters.set("SourceDestCheck.Value", check),
            InterfaceChange::Description(text) => parameters.set("Description.Value", text),
        }
        parameters
    }
}

/// Detaches an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachNetworkInterface {
    /// The attachment.
    pub attachment: AttachmentId,
    /// Without the instance's help. It may leave the device index blocked and the metadata stale until the instance stops.
    pub force: bool,
}

impl Operation for DetachNetworkInterface {
    const ACTION: Action = Action::DetachNetworkInterface;
    type Answer = Done;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("AttachmentId", &self.attachment);
        parameters.set_some("Force", self.force.then_some(true));
        parameters
    }
}

/// Deletes an interface that is attached to nothing, with all its addresses and prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteNetworkInterface {
    /// The interface.
    pub interface: EniId,
}

impl Operation for DeleteNetworkInterface {
    const ACTION: Action = Action::DeleteNetworkInterface;
    type Answer = Done;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("NetworkInterfaceId", &self.interface);
        parameters
    }
}

/// Takes more addresses or prefixes for an interface: all of them, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignPrivateIpAddresses {
    /// The interface.
    pub interface: EniId,
    /// What it takes.
    pub take: Take,
    /// Whether an address that is a secondary one of another interface moves over.
    pub allow_reassignment: bool,
}

/// What an interface has been given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// The new secondary addresses, and only those.
    pub addresses: Vec<Ipv4Addr>,
    /// The new prefixes, and only those.
    pub prefixes: Vec<Cidr>,
}

/// The answer of `AssignPrivateIpAddresses`.
#[derive(Debug, Deserialize)]
pub(crate) struct AssignPrivateIpAddressesAnswer {
    #[serde(rename = "assignedPrivateIpAddressesSet", default, deserialize_with = "items")]
    addresses: Vec<AssignedAddress>,
    #[serde(rename = "assignedIpv4PrefixSet", default, deserialize_with = "items")]
    prefixes: Vec<InterfacePrefix>,
}

#[derive(Debug, Deserialize)]
struct AssignedAddress {
    #[serde(rename = "privateIpAddress")]
    address: Ipv4Addr,
}

impl From<AssignPrivateIpAddressesAnswer> for Assigned {
    fn from(answer: AssignPrivateIpAddressesAnswer) -> Self {
        Self {
            addresses: answer.addresses.into_iter().map(|assigned| assigned.address).collect(),
            prefixes: answer.prefixes.into_iter().map(|assigned| assigned.prefix).collect(),
        }
    }
}

impl Operation for AssignPrivateIpAddresses {
    const ACTION: Action = Action::AssignPrivateIpAddresses;
    type Answer = AssignPrivateIpAddressesAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("NetworkInterfaceId", &self.interface);
        match &self.take {
            Take::Addresses(count) => parameters.set("SecondaryPrivateIpAddressCount", count.0),
            Take::Prefixes(count) => parameters.set("Ipv4PrefixCount", count.0),
            Take::TheseAddresses(addresses) => parameters.list("PrivateIpAddress", addresses),
            Take::ThesePrefixes(prefixes) => parameters.list("Ipv4Prefix", prefixes),
        }
        parameters.set_some("AllowReassignment", self.allow_reassignment.then_some(true));
        parameters
    }
}

/// Gives addresses and prefixes of an interface back to its subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnassignPrivateIpAddresses {
    /// The interface.
    pub interface: EniId,
    /// Secondary addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Prefixes.
    pub prefixes: Vec<Cidr>,
}

impl Operation for UnassignPrivateIpAddresses {
    const ACTION: Action = Action::UnassignPrivateIpAddresses;
    type Answer = Done;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("NetworkInterfaceId", &self.interface);
        parameters.list("PrivateIpAddress", &self.addresses);
        parameters.list("Ipv4Prefix", &self.prefixes);
        parameters
    }
}

impl Ec2Client {
    /// Lists interfaces.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `NotFound` when an interface that was asked for does not exist.
    pub async fn describe_network_interfaces(
        &self,
        request: &DescribeNetworkInterfaces,
    ) -> Result<Vec<NetworkInterface>, Ec2Error> {
        self.pages(request).await
    }

    /// Creates an interface, not attached to anything. Repeated requests carry the same `ClientToken`.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `SubnetShort` and `NoFreePrefix` when the subnet cannot give what it should take.
    pub async fn create_network_interface(
        &self,
        request: &CreateNetworkInterface,
    ) -> Result<NetworkInterface, Ec2Error> {
        self.call(request).await.map(|answer| answer.network_interface)
    }

    /// Attaches an interface; returns the attachment, which may still be `attaching`.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `AttachmentLimit` when the instance has no slot, `Conflict` when the device index is taken; after
    /// `Uncertain`, describe the interface before trying again.
    pub async fn attach_network_interface(&self, request: &AttachNetworkInterface) -> Result<AttachmentId, Ec2Error> {
        self.call(request).await.map(|answer| answer.attachment_id)
    }

    /// Changes one attribute of an interface.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn modify_network_interface_attribute(
        &self,
        request: &ModifyNetworkInterfaceAttribute,
    ) -> Result<(), Ec2Error> {
        self.call(request).await.map(|Done {}| ())
    }

    /// Starts to detach an interface; describe it until it is `available`.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn detach_network_interface(&self, request: &DetachNetworkInterface) -> Result<(), Ec2Error> {
        self.call(request).await.map(|Done {}| ())
    }

    /// Deletes an interface.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `InUse` while it is attached or detaching.
    pub async fn delete_network_interface(&self, request: &DeleteNetworkInterface) -> Result<(), Ec2Error> {
        self.call(request).await.map(|Done {}| ())
    }

    /// Takes more addresses or prefixes for an interface. A lost answer is never followed by a second request, because that
    /// would take twice (cloud-rules A.5).
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `SubnetShort`, `NoFreePrefix`, `AddressLimit`; after `Uncertain`, describe the interface before
    /// trying again.
    pub async fn assign_private_ip_addresses(&self, request: &AssignPrivateIpAddresses) -> Result<Assigned, Ec2Error> {
        self.call(request).await.map(Assigned::from)
    }

    /// Gives addresses and prefixes back.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `NotFound` when one of them is not assigned to the interface. EC2 gives nothing back then, so describe
    /// the interface and ask again for what is left; likewise after `Uncertain`.
    pub async fn unassign_private_ip_addresses(&self, request: &UnassignPrivateIpAddresses) -> Result<(), Ec2Error> {
        self.call(request).await.map(|Done {}| ())
    }
}
