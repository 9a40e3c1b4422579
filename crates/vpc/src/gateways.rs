//! Internet gateways.

use jiff::Timestamp;

use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::ids::GatewayId;
use crate::model::InternetGateway;
use crate::request::{CreateInternetGateway, DeleteInternetGateway, InternetGatewayAttachment};

impl Cloud {
    /// CreateInternetGateway: attached to no VPC yet.
    ///
    /// # Errors
    /// Only those of its tags.
    pub fn create_internet_gateway(
        &mut self,
        request: &CreateInternetGateway,
        now: Timestamp,
    ) -> Result<InternetGateway, ApiError> {
        self.handle_timeout(now);
        let tags = self.tags_for(&request.tag_specifications, &["internet-gateway"])?;
        let id = GatewayId::new(self.ids.next("igw"));
        let gateway =
            InternetGateway { internet_gateway_id: id.clone(), owner_id: self.account_id.clone(), vpc_id: None, tags };
        self.gateways.insert(id, gateway.clone());
        Ok(gateway)
    }

    /// AttachInternetGateway.
    ///
    /// # Errors
    /// `Resource.AlreadyAssociated` when either side has another one, and what is not found.
    pub fn attach_internet_gateway(
        &mut self,
        request: &InternetGatewayAttachment,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let (id, vpc) = (&request.internet_gateway_id, &request.vpc_id);
        self.vpc(vpc)?;
        if let Some(other) = self.gateways.values().find(|gateway| gateway.vpc_id.as_ref() == Some(vpc)) {
            let text = format!("Network {vpc} already has an internet gateway attached: {}", other.internet_gateway_id);
            return Err(ApiError::new("Resource.AlreadyAssociated", text));
        }
        let gateway = self.gateway_mut(id)?;
        if let Some(other) = &gateway.vpc_id {
            let text = format!("resource {id} is already attached to network {other}");
            return Err(ApiError::new("Resource.AlreadyAssociated", text));
        }
        gateway.vpc_id = Some(vpc.clone());
        Ok(())
    }

    /// DetachInternetGateway.
    ///
    /// # Errors
    /// `Gateway.NotAttached`, and what is not found.
    pub fn detach_internet_gateway(
        &mut self,
        request: &InternetGatewayAttachment,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let (id, vpc) = (&request.internet_gateway_id, &request.vpc_id);
        self.vpc(vpc)?;
        let gateway = self.gateway_mut(id)?;
        if gateway.vpc_id.as_ref() != Some(vpc) {
            let text = format!("resource {id} is not attached to network {vpc}");
            return Err(ApiError::new("Gateway.NotAttached", text));
        }
        gateway.vpc_id = None;
        Ok(())
    }

    /// DeleteInternetGateway.
    ///
    /// # Errors
    /// `DependencyViolation` while it is attached, `InvalidInternetGatewayID.NotFound`.
    pub fn delete_internet_gateway(&mut self, request: &DeleteInternetGateway, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.internet_gateway_id;
        if self.gateway_mut(id)?.vpc_id.is_some() {
            return Err(ApiError::dependency_violation("internetGateway", id.as_str()));
        }
        self.gateways.remove(id);
        Ok(())
    }

    fn gateway_mut(&mut self, id: &GatewayId) -> Result<&mut InternetGateway, ApiError> {
        self.gateways.get_mut(id).ok_or_else(|| ApiError::gateway_not_found(id.as_str()))
    }
}
