//! Machines and interfaces of a world file.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, InstanceId, SecurityGroupId, SubnetId};
use serde::{Deserialize, Serialize};

use crate::ids::ImageId;

/// A machine, running at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldInstance {
    /// Its id.
    pub id: InstanceId,
    /// Its type, for example `t3.medium`.
    #[serde(rename = "type")]
    pub instance_type: String,
    /// Its `Name` tag.
    #[serde(default)]
    pub name: Option<String>,
    /// Further tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Its image; a made-up one when none.
    #[serde(default)]
    pub image: Option<ImageId>,
    /// How its metadata service answers.
    #[serde(default)]
    pub metadata_options: WorldMetadataOptions,
    /// The name of its instance profile.
    #[serde(default)]
    pub instance_profile: Option<String>,
    /// The text for `user-data`.
    #[serde(default)]
    pub user_data: Option<String>,
    /// Its interfaces; the first one is device 0.
    pub interfaces: Vec<WorldInterface>,
}

/// How the metadata service of a machine answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldMetadataOptions {
    /// Whether a request needs a token.
    pub tokens_required: bool,
    /// The IP TTL of the answer that carries a token, 1 to 64.
    pub hop_limit: u8,
    /// Whether the service answers at all.
    pub enabled: bool,
}

impl Default for WorldMetadataOptions {
    fn default() -> Self {
        Self { tokens_required: true, hop_limit: 2, enabled: true }
    }
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldInterface {
    /// Its id; made when none.
    #[serde(default)]
    pub id: Option<EniId>,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its primary address; chosen when none.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Named secondary addresses.
    #[serde(default)]
    pub secondary_addresses: Vec<Ipv4Addr>,
    /// So many further secondary addresses of the cloud's choice.
    #[serde(default)]
    pub secondary_address_count: u32,
    /// Named /28 prefixes.
    #[serde(default)]
    pub prefixes: Vec<Cidr>,
    /// So many further /28 prefixes of the cloud's choice.
    #[serde(default)]
    pub prefix_count: u32,
    /// Its device index; its place in the list when none. Only for interfaces of a machine.
    #[serde(default)]
    pub device_index: Option<u32>,
    /// The network card it sits on. Only for interfaces of a machine.
    #[serde(default)]
    pub network_card: Option<u32>,
    /// A note.
    #[serde(default)]
    pub description: String,
    /// Its groups; the VPC's default group when empty.
    #[serde(default)]
    pub security_groups: Vec<SecurityGroupId>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Whether it goes with its machine; true for device 0, else false, when none.
    #[serde(default)]
    pub delete_on_termination: Option<bool>,
    /// The service that made and manages it; nobody else may change it. Only for interfaces in no machine.
    #[serde(default)]
    pub requester: Option<String>,
}
