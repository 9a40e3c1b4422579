//! The cloud as a whole: its state, its clock-driven changes, its effects.

use freeboard_address::EniId;
use freeboard_address::InstanceId;
use jiff::Timestamp;

use crate::effect::CloudEffect;
use crate::error::ApiError;
use crate::faults::{Admission, Call, Fault, FaultError};
use crate::ids::*;
use crate::metadata::MetadataView;
use crate::model::*;
use crate::request::*;
use crate::world::{World, WorldError};
use freeboard_address::*;

/// One account in one region: VPCs, subnets, instances, interfaces and what belongs to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Cloud {
    world: World,
}

macro_rules! stubs { ($($name:ident(&mut $request:ty) -> $answer:ty;)* ; $($dname:ident(& $drequest:ty) -> $danswer:ty;)*) => { #[allow(missing_docs)] impl Cloud {
 $(pub fn $name(&mut self, request: &$request, now: Timestamp) -> Result<$answer, ApiError> { let _ = (request, now); Err(ApiError::new("InternalError", "not built yet")) })*
 $(pub fn $dname(&self, request: &$drequest) -> Result<$danswer, ApiError> { let _ = request; Err(ApiError::new("InternalError", "not built yet")) })*
} } }
stubs! {
  create_vpc(&mut CreateVpc) -> Vpc;
  delete_vpc(&mut DeleteVpc) -> ();
  associate_vpc_cidr_block(&mut AssociateVpcCidrBlock) -> VpcCidrBlockAssociationResult;
  disassociate_vpc_cidr_block(&mut DisassociateVpcCidrBlock) -> VpcCidrBlockAssociationResult;
  create_subnet(&mut CreateSubnet) -> Subnet;
  delete_subnet(&mut DeleteSubnet) -> ();
  modify_subnet_attribute(&mut ModifySubnetAttribute) -> ();
  create_subnet_cidr_reservation(&mut CreateSubnetCidrReservation) -> SubnetCidrReservation;
  delete_subnet_cidr_reservation(&mut DeleteSubnetCidrReservation) -> SubnetCidrReservation;
  run_instances(&mut RunInstances) -> Reservation;
  terminate_instances(&mut TerminateInstances) -> Vec<InstanceStateChange>;
  create_network_interface(&mut CreateNetworkInterface) -> NetworkInterface;
  attach_network_interface(&mut AttachNetworkInterface) -> AttachResult;
  modify_network_interface_attribute(&mut ModifyNetworkInterfaceAttribute) -> ();
  detach_network_interface(&mut DetachNetworkInterface) -> ();
  delete_network_interface(&mut DeleteNetworkInterface) -> ();
  assign_private_ip_addresses(&mut AssignPrivateIpAddresses) -> AssignResult;
  unassign_private_ip_addresses(&mut UnassignPrivateIpAddresses) -> ();
  create_tags(&mut CreateTags) -> ();
  delete_tags(&mut DeleteTags) -> ();
  create_security_group(&mut CreateSecurityGroup) -> SecurityGroup;
  delete_security_group(&mut DeleteSecurityGroup) -> ();
  create_route_table(&mut CreateRouteTable) -> RouteTable;
  delete_route_table(&mut DeleteRouteTable) -> ();
  associate_route_table(&mut AssociateRouteTable) -> RouteTableAssociation;
  disassociate_route_table(&mut DisassociateRouteTable) -> ();
  replace_route_table_association(&mut ReplaceRouteTableAssociation) -> RouteTableAssociation;
  create_route(&mut CreateRoute) -> ();
  delete_route(&mut DeleteRoute) -> ();
  create_internet_gateway(&mut CreateInternetGateway) -> InternetGateway;
  attach_internet_gateway(&mut InternetGatewayAttachment) -> ();
  detach_internet_gateway(&mut InternetGatewayAttachment) -> ();
  delete_internet_gateway(&mut DeleteInternetGateway) -> ();
  create_vpc_peering_connection(&mut CreateVpcPeeringConnection) -> PeeringConnection;
  accept_vpc_peering_connection(&mut VpcPeeringConnectionRef) -> PeeringConnection;
  delete_vpc_peering_connection(&mut VpcPeeringConnectionRef) -> ();
  ;
  describe_vpcs(&Describe<VpcId>) -> Page<Vpc>;
  describe_subnets(&Describe<SubnetId>) -> Page<Subnet>;
  get_subnet_cidr_reservations(&GetSubnetCidrReservations) -> Page<SubnetCidrReservation>;
  describe_instances(&Describe<InstanceId>) -> Page<Reservation>;
  describe_instance_types(&Describe<String>) -> Page<InstanceType>;
  describe_network_interfaces(&Describe<EniId>) -> Page<NetworkInterface>;
  describe_tags(&Describe<String>) -> Page<TagDescription>;
  describe_security_groups(&Describe<SecurityGroupId>) -> Page<SecurityGroup>;
  describe_route_tables(&Describe<RouteTableId>) -> Page<RouteTable>;
  describe_internet_gateways(&Describe<GatewayId>) -> Page<InternetGateway>;
  describe_vpc_peering_connections(&Describe<PeeringId>) -> Page<PeeringConnection>;
  describe_availability_zones(&Describe<String>) -> Page<AvailabilityZone>;
}

impl Cloud {
    /// The cloud of a world file; `now` is its start.
    ///
    /// # Errors
    /// [`WorldError`], naming the first thing that makes no sense.
    pub fn from_world(world: &World, now: Timestamp) -> Result<Self, WorldError> {
        let _ = now;
        Ok(Self { world: world.clone() })
    }
    /// The verdict on a request, before it is carried out; takes its token from the bucket.
    pub fn admit(&mut self, call: &Call<'_>, now: Timestamp) -> Admission {
        let _ = (call, now);
        Admission { delay: std::time::Duration::ZERO, outcome: crate::faults::Outcome::Proceed }
    }
    /// Makes something go wrong from now on.
    ///
    /// # Errors
    /// [`FaultError`] when it names something unknown.
    pub fn inject(&mut self, fault: &Fault, now: Timestamp) -> Result<(), FaultError> {
        let _ = (fault, now);
        Ok(())
    }
    /// Ends every fault of the front door and of metadata.
    pub fn clear_faults(&mut self, now: Timestamp) {
        let _ = now;
    }
    /// Carries out everything that is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let _ = now;
    }
    /// When to call [`Cloud::handle_timeout`], and for what reason.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        None
    }
    /// The next thing for the hypervisor to do.
    pub fn poll_effect(&mut self) -> Option<CloudEffect> {
        None
    }
    /// The hypervisor has made the link of this interface.
    pub fn handle_link_ready(&mut self, eni: &EniId, now: Timestamp) {
        let _ = (eni, now);
    }
    /// The hypervisor has removed the link of this interface.
    pub fn handle_link_gone(&mut self, eni: &EniId, now: Timestamp) {
        let _ = (eni, now);
    }
    /// What the metadata service of this instance shows now; none when there is no such instance, or it is terminated.
    #[must_use]
    pub fn metadata(&self, instance: &InstanceId, now: Timestamp) -> Option<MetadataView> {
        let _ = (instance, now);
        None
    }
    /// Makes the cloud so many times faster than configured, for what starts from now on.
    ///
    /// # Errors
    /// [`WorldError::OutOfRange`] unless above 0 and at most 1,000,000.
    pub fn set_speed(&mut self, speed: f64) -> Result<(), WorldError> {
        self.world.speed = speed;
        Ok(())
    }
    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.world.region
    }
    /// The account.
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.world.account_id
    }
    /// How many times faster than configured the cloud is.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.world.speed
    }
    /// Checks that the cloud's books close; says what does not.
    ///
    /// # Errors
    /// A sentence per violation, joined by line feeds.
    pub fn audit(&self) -> Result<(), String> {
        Ok(())
    }
}
