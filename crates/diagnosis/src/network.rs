//! The network around a cluster, as the cloud describes it: peerings, route tables, instances, the cluster itself.

use std::net::Ipv4Addr;

use freeboard_address::{Cidr, SecurityGroupId, SubnetId, VpcId};

/// One end of a peering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeeringSide {
    /// The VPC, where the evidence names it.
    pub vpc: Option<VpcId>,
    /// Its blocks.
    pub blocks: Vec<Cidr>,
}

/// A peering of two VPCs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peering {
    /// Its status, for example `active` or `pending-acceptance`.
    pub status: String,
    /// Who asked.
    pub requester: PeeringSide,
    /// Who was asked.
    pub accepter: PeeringSide,
}

/// A route table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// Its VPC.
    pub vpc: Option<VpcId>,
    /// The subnets that are associated with it by name.
    pub subnets: Vec<SubnetId>,
    /// Destinations of its routes, local ones and the default route left out.
    pub destinations: Vec<Cidr>,
}

/// An instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// Its type.
    pub instance_type: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its own address.
    pub address: Option<Ipv4Addr>,
    /// Its private DNS name, which is its node's name unless somebody chose another.
    pub private_name: Option<String>,
    /// Its state, for example `running`.
    pub state: String,
    /// The cluster that its tags name.
    pub cluster: Option<String>,
}

/// A cluster of EKS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EksCluster {
    /// Its services.
    pub service_range: Option<Cidr>,
    /// Its security group.
    pub security_group: Option<SecurityGroupId>,
}
