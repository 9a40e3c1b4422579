//! VPCs and their CIDR blocks.

use freeboard_address::{
    AssociationId, Cidr, RouteTableId, SecurityGroupId, VpcId, check_association, check_vpc_block,
};
use jiff::Timestamp;

use crate::cloud::{Cloud, after};
use crate::effect::CloudEffect;
use crate::error::ApiError;
use crate::model::{
    CidrBlockState, IpPermission, PeeringStatus, RouteTable, RouteTableAssociation, SecurityGroup, Tag, Vpc,
    VpcCidrBlockAssociation, VpcCidrBlockAssociationResult, VpcState,
};
use crate::request::{AssociateVpcCidrBlock, CreateVpc, DeleteVpc, DisassociateVpcCidrBlock};
use crate::timers::Timer;
use crate::vpc_cidr_rules::block_refused;

impl Cloud {
    /// CreateVpc: a VPC with its main route table and default security group; `pending` at first.
    ///
    /// # Errors
    /// `InvalidVpc.Range`, `VpcLimitExceeded`.
    pub fn create_vpc(&mut self, request: &CreateVpc, now: Timestamp) -> Result<Vpc, ApiError> {
        self.handle_timeout(now);
        check_vpc_block(request.cidr_block).map_err(|refusal| block_refused(request.cidr_block, refusal))?;
        let tags = self.tags_for(&request.tag_specifications, &["vpc"])?;
        let limit = self.quotas.vpcs;
        if self.vpcs.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let text = format!("The maximum number of VPCs has been reached: {limit}.");
            return Err(ApiError::new("VpcLimitExceeded", text));
        }
        let id = VpcId::new(self.ids.next("vpc"));
        self.add_vpc(&id, request.cidr_block, tags);
        if let Some(vpc) = self.vpcs.get_mut(&id) {
            vpc.state = VpcState::Pending;
            if let Some(tenancy) = &request.instance_tenancy {
                vpc.instance_tenancy.clone_from(tenancy);
            }
        }
        let at = after(now, self.lasting(self.timing.vpc_creation_seconds));
        self.add_default_group(&id, None);
        self.add_main_table(&id, None);
        self.timers.set(at, Timer::VpcAvailable(id.clone()));
        let answer = self.vpc(&id)?.clone();
        self.handle_timeout(now);
        Ok(answer)
    }

    /// DeleteVpc: with its main route table and default security group.
    ///
    /// # Errors
    /// `DependencyViolation` while anything else is left in it, `InvalidVpcID.NotFound`.
    pub fn delete_vpc(&mut self, request: &DeleteVpc, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.vpc_id;
        self.vpc(id)?;
        let is_main = |table: &RouteTable| table.associations.iter().any(|association| association.main);
        let left = self.subnets.values().any(|record| record.subnet.vpc_id == *id)
            || self.security_groups.values().any(|group| group.vpc_id == *id && group.group_name != "default")
            || self.route_tables.values().any(|table| table.vpc_id == *id && !is_main(table))
            || self.gateways.values().any(|gateway| gateway.vpc_id.as_ref() == Some(id))
            || self.peerings.values().any(|peering| peering.status == PeeringStatus::Active && peering.joins(id));
        if left {
            return Err(ApiError::dependency_violation("vpc", id.as_str()));
        }
        self.security_groups.retain(|_, group| group.vpc_id != *id);
        self.route_tables.retain(|_, table| table.vpc_id != *id);
        self.vpcs.remove(id);
        self.effects.push_back(CloudEffect::VpcCidrsChanged { vpc: id.clone(), cidrs: Vec::new() });
        Ok(())
    }

    /// AssociateVpcCidrBlock: one more block, `associating` at first; usable when it is `associated`.
    ///
    /// # Errors
    /// `InvalidVpc.Range` (size, restricted), `CidrConflict` (overlap with a block of this VPC or an active peer, or a route
    /// whose destination it contains; the service's own code for it is not known), `CidrLimitExceeded`,
    /// `OperationNotPermitted` while a peering that this VPC asked for is not accepted, `InvalidVpcID.NotFound`.
    pub fn associate_vpc_cidr_block(
        &mut self,
        request: &AssociateVpcCidrBlock,
        now: Timestamp,
    ) -> Result<VpcCidrBlockAssociationResult, ApiError> {
        self.handle_timeout(now);
        self.check_new_cidr(&request.vpc_id, request.cidr_block)?;
        let association = VpcCidrBlockAssociation {
            association_id: AssociationId::new(self.ids.next("vpc-cidr-assoc")),
            cidr_block: request.cidr_block,
            state: CidrBlockState::Associating,
            status_message: None,
        };
        let at = after(now, self.lasting(self.timing.cidr_association_seconds));
        let vpc = self.vpcs.get_mut(&request.vpc_id).ok_or_else(|| ApiError::vpc_not_found(request.vpc_id.as_str()))?;
        vpc.cidr_block_associations.push(association.clone());
        let timer = Timer::CidrAssociated(request.vpc_id.clone(), association.association_id.clone());
        self.timers.set(at, timer);
        self.fail_pending_peerings(&request.vpc_id);
        self.handle_timeout(now);
        Ok(VpcCidrBlockAssociationResult { vpc_id: request.vpc_id.clone(), association })
    }

    /// DisassociateVpcCidrBlock: a block goes, `disassociating` at first.
    ///
    /// # Errors
    /// `OperationNotPermitted` for the primary block, `InvalidCidrBlock.InUse` while a subnet lies in it,
    /// `InvalidVpcCidrBlockAssociationID.NotFound`.
    pub fn disassociate_vpc_cidr_block(
        &mut self,
        request: &DisassociateVpcCidrBlock,
        now: Timestamp,
    ) -> Result<VpcCidrBlockAssociationResult, ApiError> {
        self.handle_timeout(now);
        let id = &request.association_id;
        let not_found = || {
            let text = format!("The vpc CIDR block association ID '{id}' does not exist");
            ApiError::new("InvalidVpcCidrBlockAssociationID.NotFound", text)
        };
        let with_it = |vpc: &&Vpc| vpc.cidr_block_associations.iter().any(|a| a.association_id == *id);
        let vpc = self.vpcs.values().find(with_it).ok_or_else(not_found)?;
        let mut found = vpc.cidr_block_associations.iter().filter(|a| a.association_id == *id);
        let association = found.next().ok_or_else(not_found)?;
        let cidr = association.cidr_block;
        if cidr == vpc.cidr_block {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "The vpc CIDR block with association ID {id} may not be disassociated. It is the primary IPv4 CIDR \
                     block of the VPC"
                ),
            ));
        }
        let vpc_id = vpc.vpc_id.clone();
        let inside = |s: &crate::cloud::SubnetRecord| s.subnet.vpc_id == vpc_id && cidr.contains_block(s.space.block());
        if self.subnets.values().any(inside) {
            let text = format!("The vpc {vpc_id} currently has a subnet within CIDR block {cidr}");
            return Err(ApiError::new("InvalidCidrBlock.InUse", text));
        }
        let answer = VpcCidrBlockAssociation { state: CidrBlockState::Disassociating, ..association.clone() };
        self.set_association_state(&vpc_id, id, CidrBlockState::Disassociating);
        self.cidrs_changed(&vpc_id);
        let at = after(now, self.lasting(self.timing.cidr_association_seconds));
        self.timers.set(at, Timer::CidrDisassociated(vpc_id.clone(), id.clone()));
        self.settle(now);
        self.handle_timeout(now);
        Ok(VpcCidrBlockAssociationResult { vpc_id, association: answer })
    }

    pub(crate) fn vpc_becomes_available(&mut self, vpc: &VpcId) {
        if let Some(vpc) = self.vpcs.get_mut(vpc) {
            vpc.state = VpcState::Available;
        }
        self.cidrs_changed(vpc);
    }

    pub(crate) fn cidr_becomes_associated(&mut self, vpc: &VpcId, association: &AssociationId) {
        let still = self.association_state(vpc, association) == Some(CidrBlockState::Associating);
        if still {
            self.set_association_state(vpc, association, CidrBlockState::Associated);
            self.cidrs_changed(vpc);
        }
    }

    pub(crate) fn cidr_becomes_disassociated(&mut self, vpc: &VpcId, association: &AssociationId) {
        if let Some(vpc) = self.vpcs.get_mut(vpc) {
            vpc.cidr_block_associations.retain(|has| has.association_id != *association);
        }
    }

    /// Everything that follows when the usable blocks of a VPC are others now.
    pub(crate) fn cidrs_changed(&mut self, vpc: &VpcId) {
        self.refresh_local_routes(vpc);
        if let Some(found) = self.vpcs.get(vpc) {
            let cidrs = found.usable_cidrs().collect();
            self.effects.push_back(CloudEffect::VpcCidrsChanged { vpc: vpc.clone(), cidrs });
        }
        self.touch_vpc(vpc);
    }

    /// Makes an available VPC with its primary block and nothing else.
    pub(crate) fn add_vpc(&mut self, id: &VpcId, cidr_block: Cidr, tags: Vec<Tag>) {
        let primary = VpcCidrBlockAssociation {
            association_id: AssociationId::new(self.ids.next("vpc-cidr-assoc")),
            cidr_block,
            state: CidrBlockState::Associated,
            status_message: None,
        };
        let vpc = Vpc {
            vpc_id: id.clone(),
            owner_id: self.account_id.clone(),
            state: VpcState::Available,
            cidr_block,
            cidr_block_associations: vec![primary],
            dhcp_options_id: self.ids.next("dopt"),
            instance_tenancy: "default".to_owned(),
            is_default: false,
            tags,
        };
        self.vpcs.insert(id.clone(), vpc);
    }

    pub(crate) fn add_default_group(&mut self, vpc: &VpcId, id: Option<SecurityGroupId>) {
        let id = id.unwrap_or_else(|| SecurityGroupId::new(self.ids.next("sg")));
        let inside = IpPermission { ip_protocol: "-1".to_owned(), groups: vec![id.clone()], ..IpPermission::default() };
        let group = SecurityGroup {
            group_id: id.clone(),
            group_name: "default".to_owned(),
            group_description: "default VPC security group".to_owned(),
            vpc_id: vpc.clone(),
            owner_id: self.account_id.clone(),
            security_group_arn: self.arn("security-group", id.as_str()),
            ip_permissions: vec![inside],
            ip_permissions_egress: vec![IpPermission::everything()],
            tags: Vec::new(),
        };
        self.security_groups.insert(id, group);
    }

    pub(crate) fn add_main_table(&mut self, vpc: &VpcId, id: Option<RouteTableId>) {
        let id = id.unwrap_or_else(|| RouteTableId::new(self.ids.next("rtb")));
        let main = RouteTableAssociation {
            association_id: AssociationId::new(self.ids.next("rtbassoc")),
            route_table_id: id.clone(),
            subnet_id: None,
            main: true,
        };
        self.add_table(&id, vpc, vec![main], Vec::new());
    }

    pub(crate) fn check_new_cidr(&self, vpc_id: &VpcId, cidr: Cidr) -> Result<(), ApiError> {
        let vpc = self.vpc(vpc_id)?;
        let present: Vec<Cidr> = vpc.cidr_block_associations.iter().map(|a| a.cidr_block).collect();
        check_association(vpc.cidr_block, &present, cidr).map_err(|refusal| block_refused(cidr, refusal))?;
        let limit = self.quotas.cidrs_per_vpc;
        if present.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let text = format!("This network {vpc_id} has met its maximum number of allowed CIDRs: {limit}");
            return Err(ApiError::new("CidrLimitExceeded", text));
        }
        if let Some(other) = present.iter().find(|other| other.overlaps(cidr)) {
            return Err(conflict(cidr, &format!("the CIDR {other} of {vpc_id}")));
        }
        for table in self.route_tables.values().filter(|table| table.vpc_id == *vpc_id) {
            if let Some(route) = table.routes.iter().find(|route| cidr.contains_block(route.destination_cidr_block)) {
                let place = format!("the route to {} in {}", route.destination_cidr_block, table.route_table_id);
                return Err(conflict(cidr, &place));
            }
        }
        for peering in self.peerings.values().filter(|peering| peering.joins(vpc_id)) {
            let id = &peering.vpc_peering_connection_id;
            if peering.status == PeeringStatus::PendingAcceptance && peering.requester.vpc_id == *vpc_id {
                let text =
                    format!("{vpc_id} cannot get another CIDR while its peering request {id} is pending acceptance");
                return Err(ApiError::new("OperationNotPermitted", text));
            }
            let overlap = self.peer_cidrs(peering, vpc_id).into_iter().find(|other| other.overlaps(cidr));
            if let (PeeringStatus::Active, Some(other)) = (peering.status, overlap) {
                return Err(conflict(cidr, &format!("the CIDR {other} of the VPC peered by {id}")));
            }
        }
        Ok(())
    }

    fn association_state(&self, vpc: &VpcId, association: &AssociationId) -> Option<CidrBlockState> {
        let associations = &self.vpcs.get(vpc)?.cidr_block_associations;
        associations.iter().find(|has| has.association_id == *association).map(|has| has.state)
    }

    pub(crate) fn set_association_state(&mut self, vpc: &VpcId, association: &AssociationId, state: CidrBlockState) {
        let Some(vpc) = self.vpcs.get_mut(vpc) else { return };
        for has in vpc.cidr_block_associations.iter_mut().filter(|has| has.association_id == *association) {
            has.state = state;
        }
    }
}

impl IpPermission {
    /// All protocols, from or to anywhere.
    pub(crate) fn everything() -> Self {
        let anywhere = Cidr::containing(std::net::Ipv4Addr::UNSPECIFIED, 0);
        Self { ip_protocol: "-1".to_owned(), ip_ranges: anywhere.into_iter().collect(), ..Self::default() }
    }
}

fn conflict(cidr: Cidr, with: &str) -> ApiError {
    ApiError::new("CidrConflict", format!("The CIDR '{cidr}' conflicts with {with}."))
}
