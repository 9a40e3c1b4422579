//! What the metadata service of an instance knows: a view that lags behind the control plane.

use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, InstanceId, MacAddress, SecurityGroupId, SubnetId, VpcId};
use jiff::Timestamp;
use serde::Serialize;

use crate::ids::ImageId;
use crate::model::{IamInstanceProfile, MetadataOptions, Tag};

/// Everything that the metadata service of one instance can answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetadataView {
    /// `instance-id`.
    pub instance_id: InstanceId,
    /// `instance-type`.
    pub instance_type: String,
    /// `ami-id`.
    pub image_id: ImageId,
    /// `reservation-id`.
    pub reservation_id: String,
    /// `ami-launch-index`.
    pub launch_index: u32,
    /// The account (`owner-id`, identity document).
    pub account_id: String,
    /// `x86_64` or `arm64` (identity document).
    pub architecture: String,
    /// When the instance was launched (identity document).
    pub pending_time: Timestamp,
    /// `placement/region`.
    pub region: String,
    /// `placement/availability-zone`.
    pub availability_zone: String,
    /// `placement/availability-zone-id`.
    pub availability_zone_id: String,
    /// `mac`: the first interface's.
    pub mac: MacAddress,
    /// `local-ipv4`: the first interface's primary address.
    pub local_ipv4: Ipv4Addr,
    /// `hostname` and `local-hostname`.
    pub local_hostname: String,
    /// `security-groups`: names of the first interface's groups.
    pub security_groups: Vec<String>,
    /// `iam/info`.
    pub iam_instance_profile: Option<IamInstanceProfile>,
    /// `user-data`.
    pub user_data: Option<String>,
    /// Token and hop-limit settings; never lag.
    pub options: MetadataOptions,
    /// The instance's tags.
    pub tags: Vec<Tag>,
    /// `network/interfaces/macs/`: the interfaces whose link exists, by device index.
    pub interfaces: Vec<InterfaceMetadata>,
}

/// The keys under `network/interfaces/macs/<mac>/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceMetadata {
    /// `mac`, and the directory's name.
    pub mac: MacAddress,
    /// `interface-id`.
    pub interface_id: EniId,
    /// `device-number`.
    pub device_number: u32,
    /// `network-card`.
    pub network_card: u32,
    /// `owner-id`.
    pub owner_id: String,
    /// `subnet-id`.
    pub subnet_id: SubnetId,
    /// `vpc-id`.
    pub vpc_id: VpcId,
    /// `subnet-ipv4-cidr-block`.
    pub subnet_ipv4_cidr_block: Cidr,
    /// `vpc-ipv4-cidr-block`: the primary block.
    pub vpc_ipv4_cidr_block: Cidr,
    /// `vpc-ipv4-cidr-blocks`: all usable blocks.
    pub vpc_ipv4_cidr_blocks: Vec<Cidr>,
    /// `local-hostname`.
    pub local_hostname: String,
    /// `local-ipv4s`: single addresses, the primary one first.
    pub local_ipv4s: Vec<Ipv4Addr>,
    /// `ipv4-prefix`: /28 blocks; the key is absent when there is none.
    pub ipv4_prefixes: Vec<Cidr>,
    /// `security-group-ids`.
    pub security_group_ids: Vec<SecurityGroupId>,
    /// `security-groups`.
    pub security_groups: Vec<String>,
}
