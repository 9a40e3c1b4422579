//! Instances and their types.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{AttachmentId, EniId, InstanceId, MacAddress, SecurityGroupId, SubnetId, VpcId};
use jiff::Timestamp;
use serde::Deserialize;

use super::interface::{AttachmentStatus, GroupName, InterfaceAddress, InterfacePrefix, InterfaceStatus};
use super::{PAGE_SIZE, SMALL_PAGE_SIZE, page};
use crate::action::Action;
use crate::client::{Ec2Client, Operation, Page};
use crate::error::Ec2Error;
use crate::query::{Filter, Parameters};
use crate::xml::{items, non_empty, open_enum, tags};

open_enum! {
    /// Where an instance is in its life.
    InstanceStateName {
        /// Starting.
        Pending = "pending",
        /// Running.
        Running = "running",
        /// On its way to `terminated`.
        ShuttingDown = "shutting-down",
        /// Gone; shown for about an hour.
        Terminated = "terminated",
        /// On its way to `stopped`.
        Stopping = "stopping",
        /// Stopped; it keeps its interfaces and addresses.
        Stopped = "stopped",
    }
}

/// The state of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InstanceState {
    /// The state.
    pub name: InstanceStateName,
}

/// Where an instance runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Placement {
    /// The zone's name.
    #[serde(rename = "availabilityZone", default)]
    pub zone: String,
}

/// How an interface is attached to the instance that is described.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceInterfaceAttachment {
    /// Its id.
    #[serde(rename = "attachmentId")]
    pub id: AttachmentId,
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

/// An interface as its instance's description shows it: without tags, zone and requester.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceInterface {
    /// Its id.
    #[serde(rename = "networkInterfaceId")]
    pub id: EniId,
    /// Its subnet.
    #[serde(rename = "subnetId")]
    pub subnet: SubnetId,
    /// Its VPC.
    #[serde(rename = "vpcId")]
    pub vpc: VpcId,
    /// The description given with it.
    #[serde(default)]
    pub description: String,
    /// Where it is in its life.
    pub status: InterfaceStatus,
    /// Its hardware address.
    #[serde(rename = "macAddress")]
    pub mac: MacAddress,
    /// `interface`, `trunk`, `efa` …
    #[serde(default)]
    pub interface_type: String,
    /// Its primary address; none on IPv6-only subnets.
    #[serde(rename = "privateIpAddress", default)]
    pub primary_address: Option<Ipv4Addr>,
    /// Its security groups.
    #[serde(rename = "groupSet", default, deserialize_with = "items")]
    pub groups: Vec<GroupName>,
    /// Its attachment.
    #[serde(default)]
    pub attachment: Option<InstanceInterfaceAttachment>,
    /// Its addresses, the primary included, those of prefixes not.
    #[serde(rename = "privateIpAddressesSet", default, deserialize_with = "items")]
    pub addresses: Vec<InterfaceAddress>,
    /// Its /28 prefixes.
    #[serde(rename = "ipv4PrefixSet", default, deserialize_with = "items")]
    pub prefixes: Vec<InterfacePrefix>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its id.
    #[serde(rename = "instanceId")]
    pub id: InstanceId,
    /// Its type, for example `t3.medium`.
    #[serde(default)]
    pub instance_type: String,
    /// Its state.
    #[serde(rename = "instanceState")]
    pub state: InstanceState,
    /// Where it runs.
    #[serde(default)]
    pub placement: Placement,
    /// The subnet of its primary interface; none once it is terminated.
    #[serde(rename = "subnetId", default, deserialize_with = "non_empty_id")]
    pub subnet: Option<SubnetId>,
    /// Its VPC; none once it is terminated.
    #[serde(rename = "vpcId", default, deserialize_with = "non_empty_id")]
    pub vpc: Option<VpcId>,
    /// Its primary address; none once it is terminated.
    #[serde(default)]
    pub private_ip_address: Option<Ipv4Addr>,
    /// Its private host name, which is also its Kubernetes node name unless the node says otherwise.
    #[serde(default)]
    pub private_dns_name: String,
    /// When it was launched.
    #[serde(default)]
    pub launch_time: Option<Timestamp>,
    /// The security groups of its primary interface.
    #[serde(rename = "groupSet", default, deserialize_with = "items")]
    pub groups: Vec<GroupName>,
    /// Its interfaces, `attaching` ones included.
    #[serde(rename = "networkInterfaceSet", default, deserialize_with = "items")]
    pub interfaces: Vec<InstanceInterface>,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

fn non_empty_id<'de, D: serde::Deserializer<'de>, T: OfText>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(non_empty::<D, String>(deserializer)?.map(T::of_text))
}

/// An id made from its text.
trait OfText {
    fn of_text(text: String) -> Self;
}

impl OfText for SubnetId {
    fn of_text(text: String) -> Self {
        Self::new(text)
    }
}

impl OfText for VpcId {
    fn of_text(text: String) -> Self {
        Self::new(text)
    }
}

/// Lists instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeInstances {
    /// Only these; all when empty.
    pub instances: Vec<InstanceId>,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
struct Reservation {
    #[serde(rename = "instancesSet", default, deserialize_with = "items")]
    instances: Vec<Instance>,
}

/// Instances come grouped by the call that launched them; the groups are dissolved.
#[derive(Debug, Deserialize)]
pub(crate) struct DescribeInstancesAnswer {
    #[serde(rename = "reservationSet", default, deserialize_with = "items")]
    reservations: Vec<Reservation>,
    #[serde(rename = "nextToken", default, deserialize_with = "non_empty")]
    next_token: Option<String>,
}

impl Page for DescribeInstancesAnswer {
    type Item = Instance;

    fn split(self) -> (Vec<Instance>, Option<String>) {
        let instances = self.reservations.into_iter().flat_map(|reservation| reservation.instances).collect();
        (instances, self.next_token)
    }
}

impl Operation for DescribeInstances {
    const ACTION: Action = Action::DescribeInstances;
    type Answer = DescribeInstancesAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("InstanceId", &self.instances, &self.filters, Some(PAGE_SIZE))
    }
}

/// Launches instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInstances {
    /// The image.
    pub image_id: String,
    /// The type.
    pub instance_type: String,
    /// How many; all or none.
    pub count: u32,
    /// The subnet.
    pub subnet: SubnetId,
    /// Security groups; the VPC's default group when empty.
    pub groups: Vec<SecurityGroupId>,
    /// The primary address; EC2's choice when none.
    pub private_ip_address: Option<Ipv4Addr>,
    /// `MetadataOptions.HttpTokens=required`: no IMDSv1.
    pub metadata_tokens_required: bool,
    /// `MetadataOptions.HttpPutResponseHopLimit`, 1 to 64; EC2's default when none.
    pub metadata_hop_limit: Option<u32>,
    /// Tags that the instances get.
    pub tags: BTreeMap<String, String>,
    /// The idempotency token, at most 64 ASCII characters. One is made for the call when none is given.
    pub client_token: Option<String>,
}

impl RunInstances {
    /// A request for one instance with EC2's defaults.
    #[must_use]
    pub fn new(image_id: impl Into<String>, instance_type: impl Into<String>, subnet: SubnetId) -> Self {
        Self {
            image_id: image_id.into(),
            instance_type: instance_type.into(),
            count: 1,
            subnet,
            groups: Vec::new(),
            private_ip_address: None,
            metadata_tokens_required: false,
            metadata_hop_limit: None,
            tags: BTreeMap::new(),
            client_token: None,
        }
    }
}

/// The answer of `RunInstances`: a reservation without a wrapper.
#[derive(Debug, Deserialize)]
pub(crate) struct RunInstancesAnswer {
    #[serde(rename = "instancesSet", default, deserialize_with = "items")]
    instances: Vec<Instance>,
}

impl Operation for RunInstances {
    const ACTION: Action = Action::RunInstances;
    type Answer = RunInstancesAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("ImageId", &self.image_id);
        parameters.set("InstanceType", &self.instance_type);
        parameters.set("MinCount", self.count);
        parameters.set("MaxCount", self.count);
        parameters.set("SubnetId", &self.subnet);
        parameters.list("SecurityGroupId", &self.groups);
        parameters.set_some("PrivateIpAddress", self.private_ip_address);
        parameters.set_some("MetadataOptions.HttpTokens", self.metadata_tokens_required.then_some("required"));
        parameters.set_some("MetadataOptions.HttpPutResponseHopLimit", self.metadata_hop_limit);
        parameters.tag_specification("instance", &self.tags);
        parameters.client_token(self.client_token.as_deref());
        parameters
    }
}

/// Terminates instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TerminateInstances {
    /// The instances; when one of them does not exist, none is terminated.
    pub instances: Vec<InstanceId>,
}

/// A change of an instance's state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStateChange {
    /// The instance.
    #[serde(rename = "instanceId")]
    pub instance: InstanceId,
    /// Its state now.
    pub current_state: InstanceState,
    /// Its state before.
    pub previous_state: InstanceState,
}

/// The answer of `TerminateInstances`.
#[derive(Debug, Deserialize)]
pub(crate) struct TerminateInstancesAnswer {
    #[serde(rename = "instancesSet", default, deserialize_with = "items")]
    changes: Vec<InstanceStateChange>,
}

impl Operation for TerminateInstances {
    const ACTION: Action = Action::TerminateInstances;
    type Answer = TerminateInstancesAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.list("InstanceId", &self.instances);
        parameters
    }
}

/// A network card of an instance type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkCard {
    /// Its index.
    #[serde(rename = "networkCardIndex", default)]
    pub index: u32,
    /// Interfaces it may carry.
    #[serde(default)]
    pub maximum_network_interfaces: u32,
}

/// The network limits of an instance type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInfo {
    /// Interfaces on all cards together.
    #[serde(default)]
    pub maximum_network_interfaces: u32,
    /// IPv4 addresses per interface, its primary included; a /28 counts as one.
    #[serde(default)]
    pub ipv4_addresses_per_interface: u32,
    /// The card that interfaces go to by default.
    #[serde(default)]
    pub default_network_card_index: u32,
    /// Its cards.
    #[serde(default, deserialize_with = "items")]
    pub network_cards: Vec<NetworkCard>,
}

/// An instance type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceType {
    /// Its name, for example `t3.medium`.
    #[serde(rename = "instanceType")]
    pub name: String,
    /// `nitro`, `xen`, or empty for bare metal.
    #[serde(default)]
    pub hypervisor: String,
    /// Whether it is a machine of its own.
    #[serde(default)]
    pub bare_metal: bool,
    /// Its network limits.
    pub network_info: NetworkInfo,
}

impl InstanceType {
    /// Whether its interfaces can carry /28 prefixes: Nitro or bare metal (cloud-rules B.3).
    #[must_use]
    pub fn supports_prefixes(&self) -> bool {
        self.bare_metal || self.hypervisor == "nitro"
    }
}

/// Lists instance types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeInstanceTypes {
    /// Only these; all when empty.
    pub instance_types: Vec<String>,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(DescribeInstanceTypesAnswer, "instanceTypeSet", InstanceType);

impl Operation for DescribeInstanceTypes {
    const ACTION: Action = Action::DescribeInstanceTypes;
    type Answer = DescribeInstanceTypesAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("InstanceType", &self.instance_types, &self.filters, Some(SMALL_PAGE_SIZE))
    }
}

impl Ec2Client {
    /// Lists instances.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `NotFound` when an instance that was asked for does not exist.
    pub async fn describe_instances(&self, request: &DescribeInstances) -> Result<Vec<Instance>, Ec2Error> {
        self.pages(request).await
    }

    /// Launches instances. Repeated requests carry the same `ClientToken`.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `SubnetShort` when the subnet has too few addresses.
    pub async fn run_instances(&self, request: &RunInstances) -> Result<Vec<Instance>, Ec2Error> {
        self.call(request).await.map(|answer| answer.instances)
    }

    /// Terminates instances.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `NotFound` when one of them does not exist.
    pub async fn terminate_instances(
        &self,
        request: &TerminateInstances,
    ) -> Result<Vec<InstanceStateChange>, Ec2Error> {
        self.call(request).await.map(|answer| answer.changes)
    }

    /// Lists instance types with their limits.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `Invalid` when a type that was asked for does not exist.
    pub async fn describe_instance_types(
        &self,
        request: &DescribeInstanceTypes,
    ) -> Result<Vec<InstanceType>, Ec2Error> {
        self.pages(request).await
    }
}
