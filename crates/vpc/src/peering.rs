//! VPC peering connections between VPCs of this cloud.

use freeboard_address::{Cidr, VpcId};
use jiff::{SignedDuration, Timestamp};

use crate::cloud::{Cloud, after};
use crate::error::ApiError;
use crate::ids::PeeringId;
use crate::model::{PeeringConnection, PeeringSide, PeeringStatus, Tag};
use crate::request::{CreateVpcPeeringConnection, VpcPeeringConnectionRef};

/// How long a request waits for the other side: seven days.
const REQUEST_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Cloud {
    /// CreateVpcPeeringConnection: answers `initiating-request`, is `pending-acceptance` from then on; `failed` when blocks
    /// of the two VPCs overlap.
    ///
    /// # Errors
    /// `InvalidVpcID.NotFound`, `InvalidParameterValue` for a VPC with itself.
    pub fn create_vpc_peering_connection(
        &mut self,
        request: &CreateVpcPeeringConnection,
        now: Timestamp,
    ) -> Result<PeeringConnection, ApiError> {
        self.handle_timeout(now);
        self.vpc(&request.vpc_id)?;
        self.vpc(&request.peer_vpc_id)?;
        if request.vpc_id == request.peer_vpc_id {
            let text = format!("{} cannot be peered with itself", request.vpc_id);
            return Err(ApiError::invalid_parameter(text));
        }
        let tags = self.tags_for(&request.tag_specifications, &["vpc-peering-connection"])?;
        let id = PeeringId::new(self.ids.next("pcx"));
        let status = if self.vpcs_overlap(&request.vpc_id, &request.peer_vpc_id) {
            PeeringStatus::Failed
        } else {
            PeeringStatus::PendingAcceptance
        };
        self.add_peering(&id, &request.vpc_id, &request.peer_vpc_id, status, tags)?;
        let shown = if status == PeeringStatus::Failed { status } else { PeeringStatus::InitiatingRequest };
        if let Some(peering) = self.peerings.get_mut(&id) {
            peering.expiration_time = Some(after(now, REQUEST_LIFETIME));
        }
        let peering = self.peering(&id)?;
        Ok(PeeringConnection { status: shown, ..self.shown_peering(peering) })
    }

    /// AcceptVpcPeeringConnection: answers `provisioning`, is `active` from then on.
    ///
    /// # Errors
    /// `InvalidStateTransition` unless it waits for acceptance, `InvalidVpcPeeringConnectionID.NotFound`.
    pub fn accept_vpc_peering_connection(
        &mut self,
        request: &VpcPeeringConnectionRef,
        now: Timestamp,
    ) -> Result<PeeringConnection, ApiError> {
        self.handle_timeout(now);
        let id = &request.vpc_peering_connection_id;
        let status = self.peering(id)?.status;
        if status != PeeringStatus::PendingAcceptance {
            let text = format!("Invalid state transition for {id}, attempted to transition from {status} to active");
            return Err(ApiError::new("InvalidStateTransition", text));
        }
        if let Some(peering) = self.peerings.get_mut(id) {
            peering.status = PeeringStatus::Active;
            peering.expiration_time = None;
        }
        let peering = self.peering(id)?;
        Ok(PeeringConnection { status: PeeringStatus::Provisioning, ..self.shown_peering(peering) })
    }

    /// DeleteVpcPeeringConnection: it stays listed as `deleted`.
    ///
    /// # Errors
    /// `InvalidStateTransition` unless it is active or pending, `InvalidVpcPeeringConnectionID.NotFound`.
    pub fn delete_vpc_peering_connection(
        &mut self,
        request: &VpcPeeringConnectionRef,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.vpc_peering_connection_id;
        let status = self.peering(id)?.status;
        if !matches!(status, PeeringStatus::Active | PeeringStatus::PendingAcceptance) {
            let text = format!("Invalid state transition for {id}, attempted to transition from {status} to deleted");
            return Err(ApiError::new("InvalidStateTransition", text));
        }
        if let Some(peering) = self.peerings.get_mut(id) {
            peering.status = PeeringStatus::Deleted;
        }
        Ok(())
    }

    pub(crate) fn add_peering(
        &mut self,
        id: &PeeringId,
        requester: &VpcId,
        accepter: &VpcId,
        status: PeeringStatus,
        tags: Vec<Tag>,
    ) -> Result<(), ApiError> {
        let (requester, accepter) = (self.side(requester)?, self.side(accepter)?);
        let peering = PeeringConnection {
            vpc_peering_connection_id: id.clone(),
            status,
            requester,
            accepter,
            expiration_time: None,
            tags,
        };
        self.peerings.insert(id.clone(), peering);
        Ok(())
    }

    /// The connection with the blocks that its VPCs have now.
    pub(crate) fn shown_peering(&self, peering: &PeeringConnection) -> PeeringConnection {
        let fresh = |side: &PeeringSide| self.side(&side.vpc_id).unwrap_or_else(|_| side.clone());
        let (requester, accepter) = (fresh(&peering.requester), fresh(&peering.accepter));
        PeeringConnection { requester, accepter, ..peering.clone() }
    }

    pub(crate) fn vpcs_overlap(&self, one: &VpcId, other: &VpcId) -> bool {
        let (one, other) = (self.all_cidrs(one), self.all_cidrs(other));
        one.iter().any(|a| other.iter().any(|b| a.overlaps(*b)))
    }

    /// The blocks of the VPC on the other side of a connection.
    pub(crate) fn peer_cidrs(&self, peering: &PeeringConnection, vpc: &VpcId) -> Vec<Cidr> {
        let peer = if peering.requester.vpc_id == *vpc { &peering.accepter } else { &peering.requester };
        self.all_cidrs(&peer.vpc_id)
    }

    /// A block was added to the accepter of a pending request: an overlap makes the request fail.
    pub(crate) fn fail_pending_peerings(&mut self, vpc: &VpcId) {
        let pending = self.peerings.values().filter(|p| p.status == PeeringStatus::PendingAcceptance && p.joins(vpc));
        let failing: Vec<PeeringId> = pending
            .filter(|p| self.vpcs_overlap(&p.requester.vpc_id, &p.accepter.vpc_id))
            .map(|p| p.vpc_peering_connection_id.clone())
            .collect();
        for id in failing {
            if let Some(peering) = self.peerings.get_mut(&id) {
                peering.status = PeeringStatus::Failed;
            }
        }
    }

    fn peering(&self, id: &PeeringId) -> Result<&PeeringConnection, ApiError> {
        self.peerings.get(id).ok_or_else(|| ApiError::peering_not_found(id.as_str()))
    }

    fn side(&self, vpc: &VpcId) -> Result<PeeringSide, ApiError> {
        let found = self.vpc(vpc)?;
        Ok(PeeringSide {
            owner_id: self.account_id.clone(),
            vpc_id: vpc.clone(),
            region: self.region.clone(),
            cidr_block: found.cidr_block,
            cidr_blocks: found.usable_cidrs().collect(),
        })
    }

    fn all_cidrs(&self, vpc: &VpcId) -> Vec<Cidr> {
        let associations = self.vpcs.get(vpc).map(|vpc| vpc.cidr_block_associations.as_slice()).unwrap_or_default();
        associations.iter().map(|association| association.cidr_block).collect()
    }
}

impl PeeringConnection {
    /// Whether this VPC is on either side.
    pub(crate) fn joins(&self, vpc: &VpcId) -> bool {
        self.requester.vpc_id == *vpc || self.accepter.vpc_id == *vpc
    }
}
