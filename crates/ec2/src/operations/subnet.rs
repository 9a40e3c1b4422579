//! Subnets and their CIDR reservations.

use std::collections::BTreeMap;

use freeboard_address::{Addresses, Cidr, ReservationId, SubnetId, VpcId};
use serde::Deserialize;

use super::{Done, PAGE_SIZE, page};
use crate::action::Action;
use crate::client::{Ec2Client, Operation};
use crate::error::Ec2Error;
use crate::query::{Filter, Parameters};
use crate::xml::{open_enum, tags};

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnet {
    /// Its id.
    #[serde(rename = "subnetId")]
    pub id: SubnetId,
    /// Its VPC.
    #[serde(rename = "vpcId")]
    pub vpc: VpcId,
    /// Its block.
    #[serde(rename = "cidrBlock")]
    pub cidr: Cidr,
    /// Free addresses, as EC2 counts them: neither the five reserved ones nor those of `prefix` reservations are free.
    #[serde(rename = "availableIpAddressCount")]
    pub available_addresses: Addresses,
    /// Its zone's name.
    #[serde(rename = "availabilityZone")]
    pub zone: String,
    /// Its zone's id.
    #[serde(rename = "availabilityZoneId", default)]
    pub zone_id: String,
    /// `pending`, `available`, `unavailable` or `failed`.
    #[serde(default)]
    pub state: String,
    /// Whether instances launched in it get a public address.
    #[serde(default)]
    pub map_public_ip_on_launch: bool,
    /// The account that owns it.
    #[serde(default)]
    pub owner_id: String,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

/// Lists subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeSubnets {
    /// Only these; all when empty.
    pub subnets: Vec<SubnetId>,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(DescribeSubnetsAnswer, "subnetSet", Subnet);

impl Operation for DescribeSubnets {
    const ACTION: Action = Action::DescribeSubnets;
    type Answer = DescribeSubnetsAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("SubnetId", &self.subnets, &self.filters, Some(PAGE_SIZE))
    }
}

/// Creates a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSubnet {
    /// The VPC.
    pub vpc: VpcId,
    /// The block, inside an associated block of the VPC.
    pub cidr: Cidr,
    /// The zone's name.
    pub zone: String,
    /// Tags it gets with its creation.
    pub tags: BTreeMap<String, String>,
}

/// The answer of `CreateSubnet`.
#[derive(Debug, Deserialize)]
pub(crate) struct CreateSubnetAnswer {
    subnet: Subnet,
}

impl Operation for CreateSubnet {
    const ACTION: Action = Action::CreateSubnet;
    type Answer = CreateSubnetAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("VpcId", &self.vpc);
        parameters.set("CidrBlock", self.cidr);
        parameters.set("AvailabilityZone", &self.zone);
        parameters.tag_specification("subnet", &self.tags);
        parameters
    }
}

/// Deletes a subnet; no interface may be left in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSubnet {
    /// The subnet.
    pub subnet: SubnetId,
}

impl Operation for DeleteSubnet {
    const ACTION: Action = Action::DeleteSubnet;
    type Answer = Done;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("SubnetId", &self.subnet);
        parameters
    }
}

open_enum! {
    /// What a reservation keeps a part of a subnet for.
    ReservationType {
        /// For /28 prefixes that EC2 chooses.
        Prefix = "prefix",
        /// For addresses that callers name.
        Explicit = "explicit",
    }
}

/// A part of a subnet that EC2 does not assign from by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetCidrReservation {
    /// Its id.
    #[serde(rename = "subnetCidrReservationId")]
    pub id: ReservationId,
    /// The subnet.
    #[serde(rename = "subnetId")]
    pub subnet: SubnetId,
    /// The part.
    pub cidr: Cidr,
    /// What for.
    pub reservation_type: ReservationType,
    /// The description given with it.
    #[serde(default)]
    pub description: String,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

/// Reserves a part of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSubnetCidrReservation {
    /// The subnet.
    pub subnet: SubnetId,
    /// The part.
    pub cidr: Cidr,
    /// What for.
    pub reservation_type: ReservationType,
    /// A description.
    pub description: Option<String>,
    /// Tags it gets with its creation.
    pub tags: BTreeMap<String, String>,
}

/// The answer of `CreateSubnetCidrReservation`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateSubnetCidrReservationAnswer {
    subnet_cidr_reservation: SubnetCidrReservation,
}

impl Operation for CreateSubnetCidrReservation {
    const ACTION: Action = Action::CreateSubnetCidrReservation;
    type Answer = CreateSubnetCidrReservationAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("SubnetId", &self.subnet);
        parameters.set("Cidr", self.cidr);
        parameters.set("ReservationType", &self.reservation_type);
        parameters.set_some("Description", self.description.as_ref());
        parameters.tag_specification("subnet-cidr-reservation", &self.tags);
        parameters
    }
}

/// Gives a reserved part of a subnet back; what is assigned in it stays assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSubnetCidrReservation {
    /// The reservation.
    pub reservation: ReservationId,
}

impl Operation for DeleteSubnetCidrReservation {
    const ACTION: Action = Action::DeleteSubnetCidrReservation;
    type Answer = Done;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("SubnetCidrReservationId", &self.reservation);
        parameters
    }
}

/// Lists the IPv4 reservations of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetSubnetCidrReservations {
    /// The subnet.
    pub subnet: SubnetId,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(GetSubnetCidrReservationsAnswer, "subnetIpv4CidrReservationSet", SubnetCidrReservation);

impl Operation for GetSubnetCidrReservations {
    const ACTION: Action = Action::GetSubnetCidrReservations;
    type Answer = GetSubnetCidrReservationsAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("SubnetId", &self.subnet);
        parameters.filters(&self.filters);
        parameters.set("MaxResults", PAGE_SIZE);
        parameters
    }
}

impl Ec2Client {
    /// Lists subnets.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `NotFound` when a subnet that was asked for does not exist.
    pub async fn describe_subnets(&self, request: &DescribeSubnets) -> Result<Vec<Subnet>, Ec2Error> {
        self.pages(request).await
    }

    /// Creates a subnet.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; after `Uncertain`, describe the VPC's subnets before trying again.
    pub async fn create_subnet(&self, request: &CreateSubnet) -> Result<Subnet, Ec2Error> {
        self.call(request).await.map(|answer| answer.subnet)
    }

    /// Deletes a subnet.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `InUse` while an interface is left in it.
    pub async fn delete_subnet(&self, request: &DeleteSubnet) -> Result<(), Ec2Error> {
        self.call(request).await.map(|Done {}| ())
    }

    /// Reserves a part of a subnet.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `Conflict` when it overlaps another reservation.
    pub async fn create_subnet_cidr_reservation(
        &self,
        request: &CreateSubnetCidrReservation,
    ) -> Result<SubnetCidrReservation, Ec2Error> {
        self.call(request).await.map(|answer| answer.subnet_cidr_reservation)
    }

    /// Gives a reserved part of a subnet back.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn delete_subnet_cidr_reservation(&self, request: &DeleteSubnetCidrReservation) -> Result<(), Ec2Error> {
        self.call(request).await.map(|Done {}| ())
    }

    /// Lists the IPv4 reservations of a subnet.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn get_subnet_cidr_reservations(
        &self,
        request: &GetSubnetCidrReservations,
    ) -> Result<Vec<SubnetCidrReservation>, Ec2Error> {
        self.pages(request).await
    }
}
