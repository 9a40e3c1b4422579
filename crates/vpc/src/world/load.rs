//! From a world file to a cloud.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use freeboard_address::{AssociationId, Cidr, ReservationId, SubnetId, VpcId, check_vpc_block};
use jiff::Timestamp;

use super::check::check;
use super::{
    World, WorldError, WorldPeering, WorldReservationType, WorldRoute, WorldRouteTable, WorldSubnet, WorldVpc,
};
use crate::cloud::{Cloud, after, duration_of};
use crate::effect::CloudEffect;
use crate::error::ApiError;
use crate::front_door::FrontDoor;
use crate::ids::{GatewayId, IdGenerator, PeeringId};
use crate::limits::LimitTable;
use crate::model::{
    AvailabilityZone, CidrBlockState, InternetGateway, IpPermission, PeeringStatus, ReservationType, Route,
    RouteOrigin, RouteState, RouteTableAssociation, RouteTarget, SecurityGroup, SubnetCidrReservation, Tag,
    VpcCidrBlockAssociation,
};
use crate::timers::{Timer, Timers};
use crate::vpc_cidr_rules::block_refused;
use crate::world::UpcomingIds;

impl Cloud {
    /// The cloud of a world file; `now` is its start.
    ///
    /// The first effects are the blocks of every VPC, then every machine with its links. The attachments of its machines are
    /// `attached` from the start; their metadata shows an interface when its link is ready.
    ///
    /// # Errors
    /// [`WorldError`], naming the first thing that makes no sense.
    pub fn from_world(world: &World, now: Timestamp) -> Result<Self, WorldError> {
        check(world)?;
        let mut cloud = Self::empty(world);
        for vpc in &world.vpcs {
            cloud.load_vpc(vpc)?;
        }
        for peering in &world.peerings {
            cloud.load_peering(peering)?;
        }
        cloud.load_machines(world, now)?;
        for vpc in &world.vpcs {
            cloud.load_routes(vpc)?;
        }
        cloud.upcoming = world.upcoming_ids.clone();
        let vpcs: Vec<VpcId> = cloud.vpcs.keys().cloned().collect();
        for vpc in &vpcs {
            cloud.cidrs_changed(vpc);
        }
        for instance in &world.instances {
            cloud.boot(&instance.id);
        }
        for (index, scheduled) in world.faults.iter().enumerate() {
            let checked = cloud.check_fault(&scheduled.inject);
            checked.map_err(|error| WorldError::Fault { index: index + 1, error })?;
            let at = after(now, duration_of(scheduled.after_seconds));
            cloud.timers.set(at, Timer::FaultDue(scheduled.inject.clone()));
        }
        cloud.settle(now);
        cloud.handle_timeout(now);
        Ok(cloud)
    }

    fn empty(world: &World) -> Self {
        let zone = |zone: &super::WorldZone| AvailabilityZone {
            zone_name: zone.name.clone(),
            zone_id: zone.id.clone(),
            zone_state: "available".to_owned(),
            region_name: world.region.clone(),
            zone_type: "availability-zone".to_owned(),
            group_name: world.region.clone(),
            opt_in_status: "opt-in-not-required".to_owned(),
            network_border_group: world.region.clone(),
        };
        Self {
            region: world.region.clone(),
            account_id: world.account_id.clone(),
            speed: world.speed,
            timing: world.timing.clone(),
            quotas: world.quotas.clone(),
            behaviour: world.behaviour.clone(),
            upcoming: UpcomingIds::default(),
            ids: IdGenerator::new(world.seed),
            limits: Arc::new(LimitTable::embedded()),
            zones: world.availability_zones.iter().map(zone).collect(),
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            instances: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            security_groups: BTreeMap::new(),
            route_tables: BTreeMap::new(),
            gateways: BTreeMap::new(),
            peerings: BTreeMap::new(),
            links: BTreeMap::new(),
            foreign: BTreeSet::new(),
            create_tokens: BTreeMap::new(),
            launch_tokens: BTreeMap::new(),
            metadata: BTreeMap::new(),
            touched: BTreeSet::new(),
            timers: Timers::default(),
            effects: VecDeque::<CloudEffect>::new(),
            front_door: FrontDoor::new(world.throttling.clone()),
        }
    }

    fn load_vpc(&mut self, vpc: &WorldVpc) -> Result<(), WorldError> {
        let place = || format!("VPC {}", vpc.id);
        check_vpc_block(vpc.cidr).map_err(|refusal| refused(place(), block_refused(vpc.cidr, refusal)))?;
        self.add_vpc(&vpc.id, vpc.cidr, named_tags(vpc.name.as_ref(), &vpc.tags));
        for cidr in &vpc.secondary_cidrs {
            self.check_new_cidr(&vpc.id, *cidr).map_err(|error| refused(place(), error))?;
            let association = VpcCidrBlockAssociation {
                association_id: AssociationId::new(self.ids.next("vpc-cidr-assoc")),
                cidr_block: *cidr,
                state: CidrBlockState::Associated,
                status_message: None,
            };
            if let Some(vpc) = self.vpcs.get_mut(&vpc.id) {
                vpc.cidr_block_associations.push(association);
            }
        }
        self.add_default_group(&vpc.id, vpc.default_security_group.clone());
        for group in &vpc.security_groups {
            let loaded = SecurityGroup {
                group_id: group.id.clone(),
                group_name: group.name.clone(),
                group_description: group.description.clone(),
                vpc_id: vpc.id.clone(),
                owner_id: self.account_id.clone(),
                security_group_arn: self.arn("security-group", group.id.as_str()),
                ip_permissions: Vec::new(),
                ip_permissions_egress: vec![IpPermission::everything()],
                tags: named_tags(None, &group.tags),
            };
            self.security_groups.insert(group.id.clone(), loaded);
        }
        if let Some(id) = &vpc.internet_gateway {
            let gateway = InternetGateway {
                internet_gateway_id: id.clone(),
                owner_id: self.account_id.clone(),
                vpc_id: Some(vpc.id.clone()),
                tags: Vec::new(),
            };
            self.gateways.insert(id.clone(), gateway);
        }
        for subnet in &vpc.subnets {
            self.load_subnet(vpc, subnet)?;
        }
        self.load_tables(vpc)
    }

    fn load_subnet(&mut self, vpc: &WorldVpc, subnet: &WorldSubnet) -> Result<(), WorldError> {
        let cidr = subnet.cidr;
        let blocks = || std::iter::once(&vpc.cidr).chain(&vpc.secondary_cidrs);
        if !blocks().any(|block| block.contains_block(cidr)) || !(16..=28).contains(&cidr.length()) {
            let blocks: Vec<String> = blocks().map(ToString::to_string).collect();
            return Err(WorldError::SubnetOutsideVpc {
                subnet: subnet.id.to_string(),
                cidr,
                vpc: vpc.id.to_string(),
                blocks: blocks.join(", "),
            });
        }
        let mut others = self.subnets.values().filter(|other| other.subnet.vpc_id == vpc.id);
        if let Some(other) = others.find(|other| other.subnet.cidr_block.overlaps(cidr)) {
            return Err(WorldError::Overlap {
                first: format!("subnet {}", other.subnet.subnet_id),
                first_cidr: other.subnet.cidr_block,
                second: format!("subnet {}", subnet.id),
                second_cidr: cidr,
            });
        }
        let zone = self.zones.iter().find(|zone| zone.zone_name == subnet.zone).cloned();
        let zone = zone.ok_or_else(|| WorldError::Unknown {
            place: format!("subnet {}", subnet.id),
            kind: "zone",
            id: subnet.zone.clone(),
        })?;
        self.add_subnet(&subnet.id, &vpc.id, cidr, &zone, named_tags(subnet.name.as_ref(), &subnet.tags));
        if let Some(record) = self.subnets.get_mut(&subnet.id) {
            record.subnet.map_public_ip_on_launch = subnet.map_public_ip_on_launch;
        }
        for reservation in &subnet.reservations {
            let place = || format!("CIDR reservation {} of subnet {}", reservation.cidr, subnet.id);
            self.check_reservation(&subnet.id, reservation.cidr).map_err(|error| refused(place(), error))?;
            let id = reservation.id.clone().unwrap_or_else(|| ReservationId::new(self.ids.next("scr")));
            self.add_reservation(SubnetCidrReservation {
                subnet_cidr_reservation_id: id,
                subnet_id: subnet.id.clone(),
                cidr: reservation.cidr,
                reservation_type: match reservation.kind {
                    WorldReservationType::Prefix => ReservationType::Prefix,
                    WorldReservationType::Explicit => ReservationType::Explicit,
                },
                owner_id: self.account_id.clone(),
                description: None,
                tags: Vec::new(),
            });
        }
        Ok(())
    }

    /// The route tables of a VPC and who uses them; their routes come last, when every target exists.
    fn load_tables(&mut self, vpc: &WorldVpc) -> Result<(), WorldError> {
        let mains: Vec<&WorldRouteTable> = vpc.route_tables.iter().filter(|table| table.main).collect();
        if let &[first, second, ..] = mains.as_slice() {
            let id = format!("main route table of {}: {} and {}", vpc.id, first.id, second.id);
            return Err(WorldError::DuplicateId { id, first: "route table", second: "route table" });
        }
        self.add_main_table(&vpc.id, mains.first().map(|table| table.id.clone()));
        let mut seen: BTreeSet<&SubnetId> = BTreeSet::new();
        for table in &vpc.route_tables {
            if !table.main {
                self.add_table(&table.id, &vpc.id, Vec::new(), Vec::new());
            }
            for subnet in &table.subnets {
                if !vpc.subnets.iter().any(|known| known.id == *subnet) {
                    let place = format!("route table {}", table.id);
                    return Err(WorldError::Unknown { place, kind: "subnet", id: subnet.to_string() });
                }
                if !seen.insert(subnet) {
                    let id = format!("{subnet} in route table {}", table.id);
                    return Err(WorldError::DuplicateId { id, first: "route table", second: "route table" });
                }
                let association = RouteTableAssociation {
                    association_id: AssociationId::new(self.ids.next("rtbassoc")),
                    route_table_id: table.id.clone(),
                    subnet_id: Some(subnet.clone()),
                    main: false,
                };
                if let Some(table) = self.route_tables.get_mut(&table.id) {
                    table.associations.push(association);
                }
            }
            if let Some(loaded) = self.route_tables.get_mut(&table.id) {
                loaded.tags = named_tags(table.name.as_ref(), &table.tags);
            }
        }
        Ok(())
    }

    fn load_routes(&mut self, vpc: &WorldVpc) -> Result<(), WorldError> {
        for table in &vpc.route_tables {
            for route in &table.routes {
                let place = || format!("route to {} in {}", route.to, table.id);
                let target = target_of(route).ok_or_else(|| WorldError::Unknown {
                    place: place(),
                    kind: "target",
                    id: route.via.clone(),
                })?;
                self.check_target(&target).map_err(|error| refused(place(), error))?;
                let Some(loaded) = self.route_tables.get_mut(&table.id) else { continue };
                if loaded.routes.iter().any(|has| has.destination_cidr_block == route.to) {
                    let error = ApiError::new("RouteAlreadyExists", "there is a route with this destination already");
                    return Err(refused(place(), error));
                }
                loaded.routes.push(Route {
                    destination_cidr_block: route.to,
                    target,
                    state: RouteState::Active,
                    origin: RouteOrigin::CreateRoute,
                });
            }
        }
        Ok(())
    }

    fn load_peering(&mut self, peering: &WorldPeering) -> Result<(), WorldError> {
        for vpc in [&peering.requester, &peering.accepter] {
            if !self.vpcs.contains_key(vpc) {
                let place = format!("peering {}", peering.id);
                return Err(WorldError::Unknown { place, kind: "VPC", id: vpc.to_string() });
            }
        }
        if let Some((first, second)) = self.overlapping_blocks(&peering.requester, &peering.accepter) {
            return Err(WorldError::Overlap {
                first: format!("VPC {}", peering.requester),
                first_cidr: first,
                second: format!("its peer {}", peering.accepter),
                second_cidr: second,
            });
        }
        let tags = named_tags(peering.name.as_ref(), &BTreeMap::new());
        let added = self.add_peering(&peering.id, &peering.requester, &peering.accepter, PeeringStatus::Active, tags);
        added.map_err(|error| refused(format!("peering {}", peering.id), error))
    }

    fn overlapping_blocks(&self, one: &VpcId, other: &VpcId) -> Option<(Cidr, Cidr)> {
        let (one, other) = (self.vpcs.get(one)?, self.vpcs.get(other)?);
        let pairs = one.usable_cidrs().flat_map(|a| other.usable_cidrs().map(move |b| (a, b)));
        pairs.into_iter().find(|(a, b)| a.overlaps(*b))
    }
}

/// Tags of a world file, with the `Name` tag first.
pub(super) fn named_tags(name: Option<&String>, tags: &BTreeMap<String, String>) -> Vec<Tag> {
    let name = name.map(|name| Tag::new("Name", name.clone()));
    name.into_iter().chain(tags.iter().map(|(key, value)| Tag::new(key.clone(), value.clone()))).collect()
}

pub(super) fn refused(place: String, error: ApiError) -> WorldError {
    WorldError::Refused { place, error }
}

/// What the id of a route's target names.
fn target_of(route: &WorldRoute) -> Option<RouteTarget> {
    let (prefix, _) = route.via.split_once('-')?;
    let id = route.via.as_str();
    Some(match prefix {
        "igw" => RouteTarget::Gateway(GatewayId::new(id)),
        "pcx" => RouteTarget::Peering(PeeringId::new(id)),
        "nat" => RouteTarget::NatGateway(id.to_owned()),
        "tgw" => RouteTarget::TransitGateway(id.to_owned()),
        "eni" => RouteTarget::Interface(freeboard_address::EniId::new(id)),
        "i" => RouteTarget::Instance(freeboard_address::InstanceId::new(id)),
        _ => return None,
    })
}
