//! Route tables, their routes and associations.

use freeboard_address::{AssociationId, Cidr, RouteTableId, VpcId};
use jiff::Timestamp;

use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::model::{
    PeeringStatus, Route, RouteOrigin, RouteState, RouteTable, RouteTableAssociation, RouteTarget, Tag,
};
use crate::request::{
    AssociateRouteTable, CreateRoute, CreateRouteTable, DeleteRoute, DeleteRouteTable, DisassociateRouteTable,
    ReplaceRouteTableAssociation,
};

impl Cloud {
    /// CreateRouteTable: with one local route per block of the VPC.
    ///
    /// # Errors
    /// `RouteTableLimitExceeded`, `InvalidVpcID.NotFound`.
    pub fn create_route_table(&mut self, request: &CreateRouteTable, now: Timestamp) -> Result<RouteTable, ApiError> {
        self.handle_timeout(now);
        self.vpc(&request.vpc_id)?;
        let tags = self.tags_for(&request.tag_specifications, &["route-table"])?;
        let limit = self.quotas.route_tables_per_vpc;
        let count = self.route_tables.values().filter(|table| table.vpc_id == request.vpc_id).count();
        if count >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let text = format!("The maximum number of route tables of {} has been reached: {limit}", request.vpc_id);
            return Err(ApiError::new("RouteTableLimitExceeded", text));
        }
        let id = RouteTableId::new(self.ids.next("rtb"));
        self.add_table(&id, &request.vpc_id, Vec::new(), tags);
        self.route_table(&id).map(|table| self.shown_table(table))
    }

    /// DeleteRouteTable.
    ///
    /// # Errors
    /// `DependencyViolation` for the main table or one that a subnet uses, `InvalidRouteTableID.NotFound`.
    pub fn delete_route_table(&mut self, request: &DeleteRouteTable, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.route_table_id;
        if !self.route_table(id)?.associations.is_empty() {
            return Err(ApiError::dependency_violation("routeTable", id.as_str()));
        }
        self.route_tables.remove(id);
        Ok(())
    }

    /// AssociateRouteTable: the subnet uses this table and no longer the main one.
    ///
    /// # Errors
    /// `Resource.AlreadyAssociated`, `InvalidParameterValue` for a subnet of another VPC, and what is not found.
    pub fn associate_route_table(
        &mut self,
        request: &AssociateRouteTable,
        now: Timestamp,
    ) -> Result<RouteTableAssociation, ApiError> {
        self.handle_timeout(now);
        let vpc = self.route_table(&request.route_table_id)?.vpc_id.clone();
        let subnet = &self.subnet(&request.subnet_id)?.subnet;
        if subnet.vpc_id != vpc {
            let text = format!(
                "Route table {} and subnet {} belong to different networks: {vpc} and {}",
                request.route_table_id, request.subnet_id, subnet.vpc_id
            );
            return Err(ApiError::invalid_parameter(text));
        }
        let uses = |a: &&RouteTableAssociation| a.subnet_id.as_ref() == Some(&request.subnet_id);
        if let Some(present) = self.route_tables.values().flat_map(|table| &table.associations).find(uses) {
            let text = format!(
                "The specified association for subnet {} conflicts with an existing association: {}",
                request.subnet_id, present.association_id
            );
            return Err(ApiError::new("Resource.AlreadyAssociated", text));
        }
        let association = RouteTableAssociation {
            association_id: AssociationId::new(self.ids.next("rtbassoc")),
            route_table_id: request.route_table_id.clone(),
            subnet_id: Some(request.subnet_id.clone()),
            main: false,
        };
        self.route_table_mut(&request.route_table_id)?.associations.push(association.clone());
        Ok(association)
    }

    /// DisassociateRouteTable: the subnet uses the main table again.
    ///
    /// # Errors
    /// `InvalidParameterValue` for the main association, `InvalidAssociationID.NotFound`.
    pub fn disassociate_route_table(
        &mut self,
        request: &DisassociateRouteTable,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let association = self.route_table_association(&request.association_id)?;
        if association.main {
            let text = format!("cannot disassociate the main route table association {}", request.association_id);
            return Err(ApiError::invalid_parameter(text));
        }
        for table in self.route_tables.values_mut() {
            table.associations.retain(|has| has.association_id != request.association_id);
        }
        Ok(())
    }

    /// ReplaceRouteTableAssociation: another table for the same subnet, or another main table; under a new association id.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a table of another VPC, and what is not found.
    pub fn replace_route_table_association(
        &mut self,
        request: &ReplaceRouteTableAssociation,
        now: Timestamp,
    ) -> Result<RouteTableAssociation, ApiError> {
        self.handle_timeout(now);
        let old = self.route_table_association(&request.association_id)?.clone();
        let vpc = self.route_table(&old.route_table_id)?.vpc_id.clone();
        if self.route_table(&request.route_table_id)?.vpc_id != vpc {
            let text = format!("Route table {} does not belong to {vpc}", request.route_table_id);
            return Err(ApiError::invalid_parameter(text));
        }
        let association = RouteTableAssociation {
            association_id: AssociationId::new(self.ids.next("rtbassoc")),
            route_table_id: request.route_table_id.clone(),
            ..old
        };
        for table in self.route_tables.values_mut() {
            table.associations.retain(|has| has.association_id != request.association_id);
        }
        self.route_table_mut(&request.route_table_id)?.associations.push(association.clone());
        Ok(association)
    }

    /// CreateRoute.
    ///
    /// # Errors
    /// `RouteAlreadyExists`, `RouteLimitExceeded`, and a table or target that is not found.
    pub fn create_route(&mut self, request: &CreateRoute, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let destination = request.destination_cidr_block;
        let table = self.route_table(&request.route_table_id)?;
        if table.routes.iter().any(|route| route.destination_cidr_block == destination) {
            let text = format!("The route identified by {destination} already exists.");
            return Err(ApiError::new("RouteAlreadyExists", text));
        }
        let limit = self.quotas.routes_per_table;
        if table.routes.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let text = format!("The maximum number of routes of {} has been reached: {limit}", request.route_table_id);
            return Err(ApiError::new("RouteLimitExceeded", text));
        }
        self.check_target(&request.target)?;
        let route = Route {
            destination_cidr_block: destination,
            target: request.target.clone(),
            state: RouteState::Active,
            origin: RouteOrigin::CreateRoute,
        };
        self.route_table_mut(&request.route_table_id)?.routes.push(route);
        Ok(())
    }

    /// DeleteRoute.
    ///
    /// # Errors
    /// `InvalidRoute.NotFound`, `InvalidParameterValue` for a local route, `InvalidRouteTableID.NotFound`.
    pub fn delete_route(&mut self, request: &DeleteRoute, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let destination = request.destination_cidr_block;
        let table = self.route_table_mut(&request.route_table_id)?;
        let Some(place) = table.routes.iter().position(|route| route.destination_cidr_block == destination) else {
            let text =
                format!("no route with destination-cidr-block {destination} in route table {}", request.route_table_id);
            return Err(ApiError::new("InvalidRoute.NotFound", text));
        };
        if table.routes.get(place).is_some_and(|route| route.target == RouteTarget::Local) {
            return Err(ApiError::invalid_parameter(format!("cannot remove local route {destination} in route table")));
        }
        table.routes.remove(place);
        Ok(())
    }

    pub(crate) fn add_table(
        &mut self,
        id: &RouteTableId,
        vpc: &VpcId,
        associations: Vec<RouteTableAssociation>,
        tags: Vec<Tag>,
    ) {
        let table = RouteTable {
            route_table_id: id.clone(),
            vpc_id: vpc.clone(),
            owner_id: self.account_id.clone(),
            routes: Vec::new(),
            associations,
            tags,
        };
        self.route_tables.insert(id.clone(), table);
        self.refresh_local_routes(vpc);
    }

    /// Gives every table of a VPC exactly one local route per usable block, before its other routes.
    pub(crate) fn refresh_local_routes(&mut self, vpc_id: &VpcId) {
        let Some(vpc) = self.vpcs.get(vpc_id) else { return };
        let local = |cidr: Cidr| Route {
            destination_cidr_block: cidr,
            target: RouteTarget::Local,
            state: RouteState::Active,
            origin: RouteOrigin::CreateRouteTable,
        };
        let locals: Vec<Route> = vpc.usable_cidrs().map(local).collect();
        for table in self.route_tables.values_mut().filter(|table| table.vpc_id == *vpc_id) {
            let others = table.routes.iter().filter(|route| route.target != RouteTarget::Local).cloned();
            table.routes = locals.iter().cloned().chain(others).collect();
        }
    }

    /// The table with the state that its routes have now.
    pub(crate) fn shown_table(&self, table: &RouteTable) -> RouteTable {
        let mut shown = table.clone();
        for route in &mut shown.routes {
            let leads = self.leads_somewhere(&table.vpc_id, &route.target);
            route.state = if leads { RouteState::Active } else { RouteState::Blackhole };
        }
        shown
    }

    /// Whether a route's target can be named at all.
    pub(crate) fn check_target(&self, target: &RouteTarget) -> Result<(), ApiError> {
        match target {
            RouteTarget::Local => Err(ApiError::invalid_value("gatewayId", "local", "Local routes come with the VPC.")),
            RouteTarget::Gateway(id) => match self.gateways.get(id) {
                Some(_) => Ok(()),
                None => Err(ApiError::gateway_not_found(id.as_str())),
            },
            RouteTarget::Peering(id) => match self.peerings.get(id) {
                Some(_) => Ok(()),
                None => Err(ApiError::peering_not_found(id.as_str())),
            },
            RouteTarget::Interface(id) => self.interface(id).map(|_| ()),
            RouteTarget::Instance(id) => self.instance(id).map(|_| ()),
            RouteTarget::NatGateway(_) | RouteTarget::TransitGateway(_) => Ok(()),
        }
    }

    pub(crate) fn route_table(&self, id: &RouteTableId) -> Result<&RouteTable, ApiError> {
        self.route_tables.get(id).ok_or_else(|| ApiError::route_table_not_found(id.as_str()))
    }

    pub(crate) fn route_table_mut(&mut self, id: &RouteTableId) -> Result<&mut RouteTable, ApiError> {
        self.route_tables.get_mut(id).ok_or_else(|| ApiError::route_table_not_found(id.as_str()))
    }

    fn route_table_association(&self, id: &AssociationId) -> Result<&RouteTableAssociation, ApiError> {
        let mut all = self.route_tables.values().flat_map(|table| &table.associations);
        all.find(|association| association.association_id == *id).ok_or_else(|| {
            let text = format!("The association ID '{id}' does not exist");
            ApiError::new("InvalidAssociationID.NotFound", text)
        })
    }

    fn leads_somewhere(&self, vpc: &VpcId, target: &RouteTarget) -> bool {
        match target {
            RouteTarget::Local | RouteTarget::NatGateway(_) | RouteTarget::TransitGateway(_) => true,
            RouteTarget::Gateway(id) => self.gateways.get(id).is_some_and(|g| g.vpc_id.as_ref() == Some(vpc)),
            RouteTarget::Peering(id) => self.peerings.get(id).is_some_and(|p| p.status == PeeringStatus::Active),
            RouteTarget::Interface(id) => self.interfaces.get(id).is_some_and(|eni| eni.attachment.is_some()),
            RouteTarget::Instance(id) => self.is_running(id),
        }
    }
}
