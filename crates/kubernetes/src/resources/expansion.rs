//! `Expansion`: another block for a VPC, from the proposal to the first pod in it.

use freeboard_address::{Cidr, CidrError};
use jiff::Timestamp;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, date_time};

/// A block as it is proposed. Once it is approved nothing of it changes any more, but that it may be taken back.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "ipam.freeboard.dev",
    version = "v1alpha1",
    kind = "Expansion",
    plural = "expansions",
    singular = "expansion",
    status = "ExpansionStatus",
    derive = "PartialEq",
    category = "freeboard",
    printcolumn = r#"{"name":"Block","type":"string","jsonPath":".spec.block"}"#,
    printcolumn = r#"{"name":"VPC","type":"string","jsonPath":".spec.vpc"}"#,
    printcolumn = r#"{"name":"Approved","type":"boolean","jsonPath":".spec.approved"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Pods","type":"integer","jsonPath":".status.pods","description":"Pods with an address of the block"}"#,
    printcolumn = r#"{"name":"Now","type":"string","jsonPath":".status.now","description":"What is being done, waited for, or in the way"}"#,
    doc = "Another block of addresses for a VPC, with a subnet for each zone. Nothing is done before it is approved; then each step is done once, and shown in the status. With withdrawn it is undone, as long as nobody uses it."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!oldSelf.approved || (self.approved && self.vpc == oldSelf.vpc && self.block == oldSelf.block && self.subnets == oldSelf.subnets && self.means == oldSelf.means && has(self.securityGroups) == has(oldSelf.securityGroups) && (!has(self.securityGroups) || self.securityGroups == oldSelf.securityGroups))",
        "message": "an approved expansion is not changed any more: delete it and make another one"
    },
    {
        "rule": "self.subnets.all(one, !isCIDR(one.cidr) || !isCIDR(self.block) || cidr(self.block).containsCIDR(one.cidr))",
        "message": "every subnet must lie inside the block"
    }
]))]
pub struct ExpansionSpec {
    /// The VPC that gets the block.
    #[schemars(regex(pattern = "^vpc-[0-9a-f]{8,17}$"))]
    pub vpc: String,
    /// The block, /16 to /28.
    #[schemars(schema_with = "vpc_block")]
    pub block: String,
    /// The subnets that are made in it: one for each zone.
    #[schemars(length(min = 1, max = 16))]
    pub subnets: Vec<ExpansionSubnet>,
    /// How pods come to use the subnets.
    #[serde(default)]
    pub means: ExpansionMeans,
    /// Security groups of the pods' interfaces with custom networking; those of each node's first interface when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub security_groups: Vec<String>,
    /// Whether it may be carried out.
    #[serde(default)]
    pub approved: bool,
    /// Whether it is taken back: what was made for it and nobody uses is undone. What is in use stays, and the status says by whom.
    #[serde(default)]
    pub withdrawn: bool,
}

/// A subnet that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpansionSubnet {
    /// The zone's name.
    #[schemars(length(min = 1, max = 64))]
    pub zone: String,
    /// The addresses.
    #[schemars(schema_with = "vpc_block")]
    pub cidr: String,
    /// The route table that it gets; the VPC's main one when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^rtb-[0-9a-f]{8,17}$"))]
    pub route_table: Option<String>,
}

/// How pods come to use new subnets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExpansionMeans {
    /// The tag `kubernetes.io/role/cni=1`: nodes stay, and new interfaces go there.
    #[default]
    Tag,
    /// One ENIConfig per zone, for nodes with custom networking.
    CustomNetworking,
}

/// What has become of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpansionStatus {
    /// The generation of the spec that this tells of.
    #[serde(default)]
    pub observed_generation: i64,
    /// How far it is, in one word.
    #[serde(default)]
    pub phase: ExpansionPhase,
    /// What is being done, waited for, or in the way, as a sentence.
    #[serde(default)]
    pub now: String,
    /// Pods with an address of the block.
    #[serde(default)]
    pub pods: u64,
    /// Its parts, in the order in which they are done.
    #[serde(default)]
    pub parts: Vec<ExpansionPart>,
    /// What speaks against the block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<String>,
    /// `Accepted`, `Ready` and `Used`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// How far an expansion is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExpansionPhase {
    /// It waits to be approved.
    #[default]
    Proposed,
    /// It would be refused by the cloud, or break the cluster: it is not carried out.
    Refused,
    /// It is being carried out.
    Running,
    /// Somebody has to do something before it goes on.
    Stuck,
    /// Everything is made; no pod has used it yet.
    Ready,
    /// A pod has an address of the block.
    Done,
    /// It is being taken back.
    Withdrawing,
    /// It is taken back: nothing is left of it but what its status names.
    Withdrawn,
}

impl ExpansionPhase {
    /// Every phase, for metric labels.
    pub const ALL: [Self; 8] = [
        Self::Proposed,
        Self::Refused,
        Self::Running,
        Self::Stuck,
        Self::Ready,
        Self::Done,
        Self::Withdrawing,
        Self::Withdrawn,
    ];
}

/// One part of an expansion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpansionPart {
    /// What is to be so.
    pub aim: String,
    /// Whether it is.
    pub state: PartState,
    /// What shows it, what is waited for, or what is in the way.
    pub detail: String,
    /// Since when it is so.
    #[schemars(schema_with = "date_time")]
    pub since: Timestamp,
}

/// Whether a part of an expansion is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartState {
    /// It is so.
    Done,
    /// It is being done.
    Due,
    /// It comes by itself, or after something else.
    Waits,
    /// Something is in the way.
    Stuck,
}

/// A block in a spec that is none; only an object that was written past the validation has such.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the block {value:?} of the expansion cannot be used: {reason}")]
pub struct BadBlock {
    /// The block as it is written.
    pub value: String,
    /// What is wrong with it.
    pub reason: CidrError,
}

/// A block of a spec as a value.
///
/// # Errors
/// When it is none.
pub fn parse_block(value: &str) -> Result<Cidr, BadBlock> {
    value.parse().map_err(|reason| BadBlock { value: value.to_owned(), reason })
}

/// A block as EC2 takes it.
fn vpc_block(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 18,
        "x-kubernetes-validations": [
            {
                "rule": "isCIDR(self) && cidr(self).ip().family() == 4 && cidr(self) == cidr(self).masked()",
                "messageExpression": "'\"' + self + '\" is no IPv4 block: expected its first address and a length, like 100.64.0.0/20'",
                "message": "no IPv4 block: expected its first address and a length, like 100.64.0.0/20"
            },
            {
                "rule": "!isCIDR(self) || (cidr(self).prefixLength() >= 16 && cidr(self).prefixLength() <= 28)",
                "messageExpression": "self + ' cannot be used: EC2 takes blocks from /16 to /28'",
                "message": "EC2 takes blocks from /16 to /28"
            }
        ]
    })
}
