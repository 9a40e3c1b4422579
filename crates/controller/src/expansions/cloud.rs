//! What EC2 shows of an expansion, and its steps as calls.

use std::collections::BTreeMap;

use freeboard_address::{AssociationId, Cidr, RouteTableId, SubnetId};
use freeboard_capacity::carry_out::{BlockState, CNI_ROLE, MADE_FOR, Seen, SeenSubnet, Step};
use freeboard_capacity::{Expansion, Inventory, Peer, Vpc};
use freeboard_ec2::{
    AssociateRouteTable, AssociateVpcCidrBlock, CidrBlockState, CreateSubnet, CreateTags, DeleteSubnet,
    DescribeNetworkInterfaces, DescribeRouteTables, DescribeSubnets, DescribeVpcPeeringConnections, DescribeVpcs,
    DisassociateVpcCidrBlock, Ec2Client, Ec2Error, Filter, NetworkInterface, RouteTable,
};

/// The VPC of an expansion as EC2 shows it at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// What the expansion's parts are judged by; what the cluster shows is not in it yet.
    pub(crate) seen: Seen,
    /// What a block is judged by.
    pub(crate) vpc: Option<Vpc>,
}

/// Looks at the VPC of an expansion.
///
/// # Errors
/// The call that failed.
pub(crate) async fn look(ec2: &Ec2Client, expansion: &Expansion) -> Result<Shown, Ec2Error> {
    let id = &expansion.vpc;
    let of_vpc = || vec![Filter::new("vpc-id", [id.as_str()])];
    let found = ec2.describe_vpcs(&DescribeVpcs { vpcs: vec![id.clone()], ..DescribeVpcs::default() }).await?;
    let Some(vpc) = found.into_iter().next() else { return Ok(Shown::default()) };
    let subnets = ec2.describe_subnets(&DescribeSubnets { filters: of_vpc(), ..DescribeSubnets::default() }).await?;
    let tables =
        ec2.describe_route_tables(&DescribeRouteTables { filters: of_vpc(), ..DescribeRouteTables::default() }).await?;
    let peers = peers(ec2, expansion).await?;
    let on_table = by_subnet(&tables);
    let subnets = subnets.into_iter().map(|subnet| SeenSubnet {
        cni_role: subnet.tags.get(CNI_ROLE).cloned(),
        route_table: on_table.get(&subnet.id).cloned(),
        made_for: subnet.tags.get(MADE_FOR).cloned(),
        users: Vec::new(),
        id: subnet.id,
        cidr: subnet.cidr,
        zone: subnet.zone,
    });
    let block = block_state(&vpc, expansion.block);
    let association = association(&vpc, expansion.block);
    let seen = Seen { block, association, subnets: subnets.collect(), ..Seen::default() };
    let mut blocks = vec![vpc.primary_cidr];
    blocks.extend(vpc.associated_cidrs().filter(|block| *block != vpc.primary_cidr));
    let known = Vpc { id: id.clone(), name: vpc.tags.get("Name").cloned(), blocks, peers, routes: routes(&tables) };
    Ok(Shown { seen, vpc: Some(known) })
}

/// An association that ended stays in the list for a while, so the newest word on the block is the one that counts.
fn block_state(vpc: &freeboard_ec2::Vpc, block: Cidr) -> BlockState {
    let mut state = BlockState::Absent;
    for association in vpc.cidr_associations.iter().filter(|association| association.cidr == block) {
        match &association.state.state {
            CidrBlockState::Associated => return BlockState::Associated,
            CidrBlockState::Associating => state = BlockState::Associating,
            CidrBlockState::Disassociating => state = BlockState::Leaving,
            CidrBlockState::Failing | CidrBlockState::Failed => {
                let why = association.state.status_message.clone();
                state = BlockState::Failed(why.unwrap_or_else(|| "it gives no reason".to_owned()));
            }
            CidrBlockState::Disassociated | CidrBlockState::Other(_) => {}
        }
    }
    state
}

/// What joins the block to the VPC, while it is usable.
fn association(vpc: &freeboard_ec2::Vpc, block: Cidr) -> Option<AssociationId> {
    let usable =
        |one: &&freeboard_ec2::VpcCidrAssociation| one.cidr == block && one.state.state == CidrBlockState::Associated;
    vpc.cidr_associations.iter().find(usable).map(|association| association.id.clone())
}

/// Looks who has interfaces in the subnets that were made for an expansion.
///
/// # Errors
/// The call that failed.
pub(crate) async fn look_for_users(ec2: &Ec2Client, name: &str, subnets: &mut [SeenSubnet]) -> Result<(), Ec2Error> {
    let mut mine: Vec<&mut SeenSubnet> =
        subnets.iter_mut().filter(|subnet| subnet.made_for.as_deref() == Some(name)).collect();
    if mine.is_empty() {
        return Ok(());
    }
    let filters = vec![Filter::new("subnet-id", mine.iter().map(|subnet| subnet.id.as_str()))];
    let request = DescribeNetworkInterfaces { filters, ..DescribeNetworkInterfaces::default() };
    for interface in ec2.describe_network_interfaces(&request).await? {
        if let Some(subnet) = mine.iter_mut().find(|subnet| subnet.id == interface.subnet) {
            subnet.users.push(user(&interface));
        }
    }
    Ok(())
}

/// An interface, and whose it is as far as it tells.
fn user(interface: &NetworkInterface) -> String {
    let instance = interface.attachment.as_ref().and_then(|attachment| attachment.instance.as_ref());
    match instance {
        Some(instance) => format!("{} of {instance}", interface.id),
        None if interface.description.is_empty() => interface.id.to_string(),
        None => format!("{} ({:?})", interface.id, interface.description),
    }
}

async fn peers(ec2: &Ec2Client, expansion: &Expansion) -> Result<Vec<Peer>, Ec2Error> {
    let mut peers = Vec::new();
    for side in ["requester-vpc-info.vpc-id", "accepter-vpc-info.vpc-id"] {
        let filters = vec![Filter::new(side, [expansion.vpc.as_str()])];
        for peering in ec2.describe_vpc_peering_connections(&DescribeVpcPeeringConnections { filters }).await? {
            let asked = peering.requester.vpc_id.as_ref() == Some(&expansion.vpc);
            let other = if asked { &peering.accepter } else { &peering.requester };
            let pending = asked && peering.status.code == "pending-acceptance";
            if pending || peering.status.code == "active" {
                let blocks = other.cidrs.iter().map(|block| block.cidr).collect();
                peers.push(Peer { peering: peering.id.clone(), blocks, pending });
            }
        }
    }
    Ok(peers)
}

fn by_subnet(tables: &[RouteTable]) -> BTreeMap<SubnetId, RouteTableId> {
    let associations = tables.iter().flat_map(|table| table.associations.iter().map(move |one| (one, &table.id)));
    associations.filter_map(|(one, table)| Some((one.subnet.clone()?, table.clone()))).collect()
}

/// Destinations but for the VPC's own blocks, to which every table has a route.
fn routes(tables: &[RouteTable]) -> Vec<Cidr> {
    let mut routes: Vec<Cidr> = tables
        .iter()
        .flat_map(|table| &table.routes)
        .filter(|route| route.gateway_id.as_deref() != Some("local"))
        .filter_map(|route| route.destination)
        .collect();
    routes.sort_unstable();
    routes.dedup();
    routes
}

/// What speaks for and against a block, besides the VPC.
pub(crate) fn inventory(vpc: Vpc, service_range: Option<Cidr>) -> Inventory {
    Inventory { vpcs: vec![vpc], service_range, ..Inventory::default() }
}

/// Carries out a step that is EC2's. What comes of it the next look shows; an answer that was lost is no different from one that
/// came.
///
/// # Errors
/// The call that failed.
pub(crate) async fn carry_out(ec2: &Ec2Client, expansion: &str, step: &Step) -> Result<(), Ec2Error> {
    match step {
        Step::AssociateBlock { vpc, block } => {
            ec2.associate_vpc_cidr_block(&AssociateVpcCidrBlock { vpc: vpc.clone(), cidr: *block }).await.map(drop)
        }
        Step::CreateSubnet { vpc, zone, cidr } => {
            let tags = BTreeMap::from([
                ("Name".to_owned(), format!("pods-{zone}")),
                (MADE_FOR.to_owned(), expansion.to_owned()),
            ]);
            let request = CreateSubnet { vpc: vpc.clone(), cidr: *cidr, zone: zone.clone(), tags };
            ec2.create_subnet(&request).await.map(drop)
        }
        Step::AssociateRouteTable { subnet, route_table } => {
            let request = AssociateRouteTable { route_table: route_table.clone(), subnet: subnet.clone() };
            ec2.associate_route_table(&request).await.map(drop)
        }
        Step::Tag { subnet } => tag(ec2, subnet, "1").await,
        // A subnet without the tag is not used either, but nobody could tell it from one that was never opened.
        Step::CloseSubnet { subnet } => tag(ec2, subnet, "0").await,
        Step::DeleteSubnet { subnet } => ec2.delete_subnet(&DeleteSubnet { subnet: subnet.clone() }).await,
        Step::DisassociateBlock { association, .. } => {
            let request = DisassociateVpcCidrBlock { association: association.clone() };
            ec2.disassociate_vpc_cidr_block(&request).await.map(drop)
        }
        Step::WriteEniConfig { .. } | Step::WithdrawEniConfig { .. } => Ok(()),
    }
}

async fn tag(ec2: &Ec2Client, subnet: &SubnetId, cni_role: &str) -> Result<(), Ec2Error> {
    let tags = BTreeMap::from([(CNI_ROLE.to_owned(), cni_role.to_owned())]);
    ec2.create_tags(&CreateTags { resources: vec![subnet.to_string()], tags }).await
}
