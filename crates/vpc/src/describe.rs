//! The Describe actions: by id, by filter, a page at a time.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

use freeboard_address::{EniId, InstanceId, RouteTableId, SecurityGroupId, SubnetId, VpcId};

use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::filters::{Filterable, check_filters, passes};
use crate::ids::{GatewayId, PeeringId};
use crate::model::{
    AvailabilityZone, Instance, InstanceType, InternetGateway, NetworkInterface, PeeringConnection, Reservation,
    RouteTable, SecurityGroup, Subnet, SubnetCidrReservation, TagDescription, Vpc,
};
use crate::request::{Describe, GetSubnetCidrReservations, Page};

/// How long a page may be: of most actions, and of DescribeInstanceTypes and DescribeRouteTables.
const PAGE: RangeInclusive<u32> = 5..=1000;
const SMALL_PAGE: RangeInclusive<u32> = 5..=100;

/// What begins every token; the rest is the key of the page's last resource.
const TOKEN: &str = "after:";

/// What a Describe action lists, and how it speaks of it.
struct Listing<'a, T: Clone, Id> {
    all: Vec<Cow<'a, T>>,
    key: fn(&T) -> String,
    page: RangeInclusive<u32>,
    missing: fn(&Id) -> ApiError,
}

impl<'a, T: Clone + Filterable, Id: Display> Listing<'a, T, Id> {
    fn answer(self, request: &Describe<Id>) -> Result<Page<T>, ApiError> {
        check_filters(&request.filters)?;
        check_page(request, &self.page)?;
        let key = self.key;
        let mut keyed: Vec<(String, Cow<'a, T>)> = self.all.into_iter().map(|item| (key(&item), item)).collect();
        keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
        let wanted: Vec<String> = request.ids.iter().map(ToString::to_string).collect();
        for (text, id) in wanted.iter().zip(&request.ids) {
            if keyed.binary_search_by(|(key, _)| key.cmp(text)).is_err() {
                return Err((self.missing)(id));
            }
        }
        let after = start_of_page(request.next_token.as_deref())?;
        let limit = request.max_results.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let mut items: Vec<T> = Vec::new();
        let mut last: Option<String> = None;
        for (key, item) in keyed {
            let asked_for = wanted.is_empty() || wanted.contains(&key);
            let behind = after.as_ref().is_none_or(|after| key > *after);
            if !asked_for || !behind || !passes(item.as_ref(), &request.filters)? {
                continue;
            }
            if items.len() == limit {
                return Ok(Page { items, next_token: last.map(|key| format!("{TOKEN}{key}")) });
            }
            items.push(item.into_owned());
            last = Some(key);
        }
        Ok(Page { items, next_token: None })
    }
}

impl Cloud {
    /// DescribeVpcs.
    ///
    /// # Errors
    /// `InvalidVpcID.NotFound`, and those of filters and paging.
    pub fn describe_vpcs(&self, request: &Describe<VpcId>) -> Result<Page<Vpc>, ApiError> {
        let all = self.vpcs.values().map(Cow::Borrowed).collect();
        let missing = |id: &VpcId| ApiError::vpc_not_found(id.as_str());
        Listing { all, key: |vpc| vpc.vpc_id.to_string(), page: PAGE, missing }.answer(request)
    }

    /// DescribeSubnets, each with its count of available addresses.
    ///
    /// # Errors
    /// `InvalidSubnetID.NotFound`, and those of filters and paging.
    pub fn describe_subnets(&self, request: &Describe<SubnetId>) -> Result<Page<Subnet>, ApiError> {
        let all = self.subnets.values().map(|record| Cow::Owned(record.shown())).collect();
        let missing = |id: &SubnetId| ApiError::subnet_not_found(id.as_str());
        Listing { all, key: |subnet: &Subnet| subnet.subnet_id.to_string(), page: PAGE, missing }.answer(request)
    }

    /// GetSubnetCidrReservations.
    ///
    /// # Errors
    /// `InvalidSubnetID.NotFound`, and those of filters and paging.
    pub fn get_subnet_cidr_reservations(
        &self,
        request: &GetSubnetCidrReservations,
    ) -> Result<Page<SubnetCidrReservation>, ApiError> {
        let all = self.subnet(&request.subnet_id)?.reservations.iter().map(Cow::Borrowed).collect();
        let key = |reservation: &SubnetCidrReservation| reservation.subnet_cidr_reservation_id.to_string();
        let missing = |id: &freeboard_address::ReservationId| {
            let text = format!("The subnet CIDR reservation ID '{id}' does not exist");
            ApiError::new("InvalidSubnetCidrReservationID.NotFound", text)
        };
        Listing { all, key, page: PAGE, missing }.answer(&request.describe)
    }

    /// DescribeInstances, grouped by launch; terminated ones are listed for an hour.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, and those of filters and paging.
    pub fn describe_instances(&self, request: &Describe<InstanceId>) -> Result<Page<Reservation>, ApiError> {
        let all = self.instances.values().map(|instance| Cow::Owned(self.shown_instance(instance))).collect();
        let missing = |id: &InstanceId| ApiError::instance_not_found(id.as_str());
        let key = |instance: &Instance| instance.instance_id.to_string();
        let page = Listing { all, key, page: PAGE, missing }.answer(request)?;
        let mut reservations: Vec<Reservation> = Vec::new();
        for instance in page.items {
            let place = reservations.iter_mut().find(|r| r.reservation_id == instance.reservation_id);
            match place {
                Some(reservation) => reservation.instances.push(instance),
                None => reservations.push(Reservation {
                    reservation_id: instance.reservation_id.clone(),
                    owner_id: instance.owner_id.clone(),
                    instances: vec![instance],
                }),
            }
        }
        Ok(Page { items: reservations, next_token: page.next_token })
    }

    /// DescribeInstanceTypes: names and network limits.
    ///
    /// # Errors
    /// `InvalidInstanceType`, and those of filters and paging.
    pub fn describe_instance_types(&self, request: &Describe<String>) -> Result<Page<InstanceType>, ApiError> {
        let all = self.limits.iter().map(Cow::Borrowed).collect();
        let missing = |name: &String| {
            let text = format!("The following supplied instance types do not exist: [{name}]");
            ApiError::new("InvalidInstanceType", text)
        };
        Listing { all, key: |found: &InstanceType| found.instance_type.clone(), page: SMALL_PAGE, missing }
            .answer(request)
    }

    /// DescribeNetworkInterfaces.
    ///
    /// # Errors
    /// `InvalidNetworkInterfaceID.NotFound`, and those of filters and paging.
    pub fn describe_network_interfaces(&self, request: &Describe<EniId>) -> Result<Page<NetworkInterface>, ApiError> {
        let all = self.interfaces.values().map(Cow::Borrowed).collect();
        let missing = |id: &EniId| ApiError::interface_not_found(id.as_str());
        let key = |interface: &NetworkInterface| interface.network_interface_id.to_string();
        Listing { all, key, page: PAGE, missing }.answer(request)
    }

    /// DescribeTags; it has filters and paging, no ids.
    ///
    /// # Errors
    /// Those of filters and paging.
    pub fn describe_tags(&self, request: &Describe<String>) -> Result<Page<TagDescription>, ApiError> {
        let all = self.all_tags().into_iter().map(Cow::Owned).collect();
        let key = |tag: &TagDescription| format!("{}/{}", tag.resource_id, tag.key);
        let missing = |id: &String| ApiError::new("InvalidID", format!("The ID '{id}' is not valid"));
        Listing { all, key, page: PAGE, missing }.answer(request)
    }

    /// DescribeSecurityGroups.
    ///
    /// # Errors
    /// `InvalidGroup.NotFound`, and those of filters and paging.
    pub fn describe_security_groups(
        &self,
        request: &Describe<SecurityGroupId>,
    ) -> Result<Page<SecurityGroup>, ApiError> {
        let all = self.security_groups.values().map(Cow::Borrowed).collect();
        let missing = |id: &SecurityGroupId| ApiError::group_not_found(id.as_str());
        Listing { all, key: |group: &SecurityGroup| group.group_id.to_string(), page: PAGE, missing }.answer(request)
    }

    /// DescribeRouteTables.
    ///
    /// # Errors
    /// `InvalidRouteTableID.NotFound`, and those of filters and paging.
    pub fn describe_route_tables(&self, request: &Describe<RouteTableId>) -> Result<Page<RouteTable>, ApiError> {
        let all = self.route_tables.values().map(|table| Cow::Owned(self.shown_table(table))).collect();
        let missing = |id: &RouteTableId| ApiError::route_table_not_found(id.as_str());
        Listing { all, key: |table: &RouteTable| table.route_table_id.to_string(), page: SMALL_PAGE, missing }
            .answer(request)
    }

    /// DescribeInternetGateways.
    ///
    /// # Errors
    /// `InvalidInternetGatewayID.NotFound`, and those of filters and paging.
    pub fn describe_internet_gateways(&self, request: &Describe<GatewayId>) -> Result<Page<InternetGateway>, ApiError> {
        let all = self.gateways.values().map(Cow::Borrowed).collect();
        let missing = |id: &GatewayId| ApiError::gateway_not_found(id.as_str());
        let key = |gateway: &InternetGateway| gateway.internet_gateway_id.to_string();
        Listing { all, key, page: PAGE, missing }.answer(request)
    }

    /// DescribeVpcPeeringConnections, each with the blocks that its VPCs have now.
    ///
    /// # Errors
    /// `InvalidVpcPeeringConnectionID.NotFound`, and those of filters and paging.
    pub fn describe_vpc_peering_connections(
        &self,
        request: &Describe<PeeringId>,
    ) -> Result<Page<PeeringConnection>, ApiError> {
        let all = self.peerings.values().map(|peering| Cow::Owned(self.shown_peering(peering))).collect();
        let missing = |id: &PeeringId| ApiError::peering_not_found(id.as_str());
        let key = |peering: &PeeringConnection| peering.vpc_peering_connection_id.to_string();
        Listing { all, key, page: PAGE, missing }.answer(request)
    }

    /// DescribeAvailabilityZones; ids are zone names.
    ///
    /// # Errors
    /// `InvalidParameterValue` for an unknown zone, and those of filters.
    pub fn describe_availability_zones(&self, request: &Describe<String>) -> Result<Page<AvailabilityZone>, ApiError> {
        let all = self.zones.iter().map(Cow::Borrowed).collect();
        let missing = |name: &String| ApiError::invalid_parameter(format!("Invalid availability zone: [{name}]"));
        Listing { all, key: |zone: &AvailabilityZone| zone.zone_name.clone(), page: PAGE, missing }.answer(request)
    }
}

fn check_page<Id>(request: &Describe<Id>, bounds: &RangeInclusive<u32>) -> Result<(), ApiError> {
    let Some(wanted) = request.max_results else { return Ok(()) };
    if !request.ids.is_empty() {
        return Err(ApiError::invalid_combination(
            "The parameter maxResults cannot be used together with ids in the same request",
        ));
    }
    if bounds.contains(&wanted) {
        return Ok(());
    }
    let reason = format!("Expecting a value from {} to {}.", bounds.start(), bounds.end());
    Err(ApiError::invalid_value("maxResults", &wanted.to_string(), &reason))
}

fn start_of_page(token: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    let key = token.strip_prefix(TOKEN).filter(|key| !key.is_empty());
    let refused = || ApiError::new("InvalidNextToken", format!("The token '{token}' is invalid."));
    key.map(|key| Some(key.to_owned())).ok_or_else(refused)
}
