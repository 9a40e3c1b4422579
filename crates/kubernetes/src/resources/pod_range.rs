//! `PodRange`: a range of addresses that nodes get their blocks from, and what is left of it.

use freeboard_address::{AddressesPerPod, BlockSize, Cidr, CidrError, NodePoolName, RangeName};
use freeboard_blocks::{Exclusion, NodeSelector, RangeSpec, RangeState, Reservation};
use jiff::Timestamp;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, date_time};

/// While an object has this finalizer, nodes may have blocks of it.
pub const POD_RANGE_FINALIZER: &str = "ipam.freeboard.dev/node-blocks";

/// A range as it is declared.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "ipam.freeboard.dev",
    version = "v1alpha1",
    kind = "PodRange",
    plural = "podranges",
    singular = "podrange",
    status = "PodRangeStatus",
    derive = "PartialEq",
    category = "freeboard",
    printcolumn = r#"{"name":"CIDR","type":"string","jsonPath":".spec.cidr"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".spec.state"}"#,
    printcolumn = r#"{"name":"Nodes","type":"integer","jsonPath":".status.nodes","description":"Blocks that nodes have"}"#,
    printcolumn = r#"{"name":"Free","type":"integer","jsonPath":".status.freeAddresses","description":"Addresses that no node has"}"#,
    printcolumn = r#"{"name":"Capacity","type":"integer","jsonPath":".status.capacityAddresses","description":"Addresses that nodes can have"}"#,
    printcolumn = r#"{"name":"Largest","type":"string","jsonPath":".status.largestFreeBlock","description":"The largest block that is free in one piece"}"#,
    printcolumn = r#"{"name":"Waiting","type":"integer","jsonPath":".status.waitingNodes","description":"Nodes that wait for a block of it"}"#,
    printcolumn = r#"{"name":"Room","type":"string","jsonPath":".status.conditions[?(@.type==\"RoomAvailable\")].status"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Accepted\")].reason"}"#,
    doc = "A range of addresses that nodes get their blocks of pod addresses from. A cluster has any number of them."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.blockSize) || !has(self.blockSize.length) || !isCIDR(self.cidr) || self.blockSize.length >= cidr(self.cidr).prefixLength()",
        "messageExpression": "'the block of a node is larger than the range ' + self.cidr + ': choose a longer block or a larger range'",
        "message": "the block of a node is larger than the range: choose a longer block or a larger range"
    }
]))]
pub struct PodRangeSpec {
    /// The addresses, like 10.0.0.0/16. May only grow, to a block that contains it: nodes keep what they have.
    #[schemars(schema_with = "range_cidr")]
    pub cidr: String,
    /// Whether nodes get new blocks from it. Nodes keep the blocks of a draining range.
    #[serde(default)]
    pub state: PodRangeState,
    /// Ranges of a higher priority are used first; of equal ones the fullest that has room.
    #[serde(default)]
    pub priority: i32,
    /// Which nodes it is for; all of them without one. The terms are ORed, what is in a term is ANDed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "node_selector")]
    pub node_selector: Option<NodeSelector>,
    /// How large a node's block is. A change counts for new blocks.
    #[serde(default)]
    pub block_size: PodRangeBlockSize,
    /// Parts that no node gets, such as addresses that are reserved for something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub excluded: Vec<ExcludedBlock>,
    /// Node pools for which room is kept, up to their maxima: other nodes do not get it, however long they wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub reservations: Vec<PoolReservation>,
}

/// Room that is kept for the nodes of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolReservation {
    /// The pool, as it is called in messages.
    #[schemars(length(min = 1, max = 63))]
    pub pool: String,
    /// Which nodes are of the pool.
    #[schemars(schema_with = "required_node_selector")]
    pub node_selector: NodeSelector,
    /// Max-pods of its nodes, from which the size of their blocks follows.
    #[schemars(range(min = 1, max = 1024))]
    pub max_pods: u32,
    /// How many nodes the pool may grow to on this range.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_nodes: u64,
}

/// Whether a range gives new blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodRangeState {
    /// Nodes get blocks from it.
    #[default]
    Active,
    /// Nodes keep their blocks, and none gets a new one.
    Draining,
}

/// How large a node's block is: by its max-pods, or the same for every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.length) && has(self.addressesPerPod))", "message": "give either length or addressesPerPod"}
]))]
pub struct PodRangeBlockSize {
    /// Addresses for each pod that the node may run, its max-pods rounded up to a power of two: 1, 2 (the default, as in GKE) or 4.
    /// A block is a /28 at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "addresses_per_pod")]
    pub addresses_per_pod: Option<u8>,
    /// The prefix length of every node's block, like 24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub length: Option<u8>,
}

/// A part of the range that no node gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExcludedBlock {
    /// The addresses.
    #[schemars(schema_with = "cidr")]
    pub cidr: String,
    /// What they are for, as in `load balancers`.
    #[schemars(length(max = 256))]
    pub purpose: String,
}

/// What has become of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodRangeStatus {
    /// The generation of the spec that this tells of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Addresses that nodes can have: all but the excluded ones.
    #[serde(default)]
    pub capacity_addresses: u64,
    /// Addresses that nodes have.
    #[serde(default)]
    pub allocated_addresses: u64,
    /// Addresses that rest after use.
    #[serde(default)]
    pub cooling_addresses: u64,
    /// Addresses that nobody has.
    #[serde(default)]
    pub free_addresses: u64,
    /// Blocks that nodes have.
    #[serde(default)]
    pub nodes: u64,
    /// Nodes that wait, and could be served from here if there were room.
    #[serde(default)]
    pub waiting_nodes: u64,
    /// The largest block that could be given in one piece, as in `/24`; a dash when nothing is free.
    #[serde(default)]
    pub largest_free_block: String,
    /// How many more nodes of each size it holds, room that is kept for pools included.
    #[serde(default)]
    pub fits: Vec<FittingNodes>,
    /// How far the room is used that is kept for pools.
    #[serde(default)]
    pub reservations: Vec<ReservationUse>,
    /// Nodes that have blocks of it, the first few: for whom a removal waits, or a range that is drained.
    #[serde(default)]
    pub used_by: Vec<String>,
    /// Blocks that rest after use, those that were released last: a new leader goes on with them.
    #[serde(default)]
    pub cooling: Vec<CoolingBlock>,
    /// How many addresses nodes had, now and then: what the forecast is drawn through.
    #[serde(default)]
    pub history: Vec<UsageSample>,
    /// When it will be full, if its use goes on growing as it did; absent while the history shows no growth.
    #[serde(default)]
    pub forecast: Option<RangeForecast>,
    /// `Accepted`, `RoomAvailable`, `LastsBeyondHorizon`; `Drained` of a draining range, `ReservationsFit` of one that keeps room.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// How far a reservation is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReservationUse {
    /// The pool.
    pub pool: String,
    /// How many of its nodes have a block of the range.
    pub nodes: u64,
    /// How many nodes it may grow to on this range.
    pub max_nodes: u64,
}

/// A block that rests after use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoolingBlock {
    /// The block.
    #[schemars(with = "String")]
    pub cidr: Cidr,
    /// Since when no node has it.
    #[schemars(schema_with = "date_time")]
    pub released_at: Timestamp,
}

/// How many addresses of a range nodes had at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageSample {
    /// When.
    #[schemars(schema_with = "date_time")]
    pub at: Timestamp,
    /// How many.
    pub allocated_addresses: u64,
}

/// When a range will be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RangeForecast {
    /// Addresses more every day.
    pub addresses_per_day: i64,
    /// The day that the growth leads to.
    #[schemars(schema_with = "date_time")]
    pub expected_full: Timestamp,
    /// The earliest day that the scatter of the history makes likely.
    #[schemars(schema_with = "date_time")]
    pub earliest_full: Timestamp,
}

/// How many more nodes of one size a range holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FittingNodes {
    /// Max-pods of the nodes.
    pub max_pods: u32,
    /// The prefix length of the block of such a node.
    pub block_length: u8,
    /// How many of them fit now.
    pub nodes: u64,
    /// How many the empty range would hold.
    pub capacity_nodes: u64,
}

impl PodRangeSpec {
    /// The declaration as the engine takes it.
    ///
    /// # Errors
    /// When a text is no IPv4 block. The definition of the object lets none through; an older one may have.
    pub fn to_range(&self, name: &str) -> Result<RangeSpec, CidrError> {
        let exclusion = |excluded: &ExcludedBlock| {
            Ok(Exclusion { cidr: excluded.cidr.parse()?, purpose: excluded.purpose.clone() })
        };
        Ok(RangeSpec {
            name: RangeName::new(name),
            cidr: self.cidr.parse()?,
            state: match self.state {
                PodRangeState::Active => RangeState::Active,
                PodRangeState::Draining => RangeState::Draining,
            },
            priority: self.priority,
            selector: self.node_selector.clone(),
            block_size: self.block_size.to_block_size(),
            excluded: self.excluded.iter().map(exclusion).collect::<Result<_, CidrError>>()?,
            reservations: self.reservations.iter().map(PoolReservation::to_reservation).collect(),
        })
    }

    /// A range of these addresses for every node, with the defaults.
    #[must_use]
    pub fn new(cidr: Cidr) -> Self {
        Self {
            cidr: cidr.to_string(),
            state: PodRangeState::default(),
            priority: 0,
            node_selector: None,
            block_size: PodRangeBlockSize::default(),
            excluded: Vec::new(),
            reservations: Vec::new(),
        }
    }
}

impl PoolReservation {
    fn to_reservation(&self) -> Reservation {
        Reservation {
            pool: NodePoolName::new(self.pool.as_str()),
            selector: self.node_selector.clone(),
            max_pods: self.max_pods,
            max_nodes: self.max_nodes,
        }
    }
}

impl PodRangeBlockSize {
    fn to_block_size(self) -> BlockSize {
        match (self.length, self.addresses_per_pod) {
            (Some(length), _) => BlockSize::Fixed(length),
            (None, Some(1)) => BlockSize::PerPod(AddressesPerPod::One),
            (None, Some(4)) => BlockSize::PerPod(AddressesPerPod::Four),
            (None, _) => BlockSize::GKE,
        }
    }
}

/// Rules for the text of a block; all of them quote what was given. (What was meant cannot be computed: the API server gives a
/// message no time for that.)
fn cidr_rules() -> Vec<serde_json::Value> {
    vec![
        serde_json::json!({
            "rule": "isCIDR(self) && cidr(self).ip().family() == 4",
            "messageExpression": "'\"' + self + '\" is not an IPv4 block: expected address and length, like 10.0.0.0/16'",
            "message": "not an IPv4 block: expected address and length, like 10.0.0.0/16",
        }),
        serde_json::json!({
            "rule": "!isCIDR(self) || cidr(self) == cidr(self).masked()",
            "messageExpression": "self + ' has bits set below its length: give the first address of the block'",
            "message": "bits are set below the length of the block",
        }),
    ]
}

fn cidr(_: &mut SchemaGenerator) -> Schema {
    // The longest is 255.255.255.255/32.
    json_schema!({"type": "string", "maxLength": 18, "x-kubernetes-validations": cidr_rules()})
}

fn range_cidr(_: &mut SchemaGenerator) -> Schema {
    let mut rules = cidr_rules();
    rules.push(serde_json::json!({
        "rule": "!isCIDR(self) || !isCIDR(oldSelf) || cidr(self).containsCIDR(oldSelf)",
        "messageExpression": "'a range cannot change from ' + oldSelf + ' to ' + self + ': it may only grow to a block that contains it; add another range instead'",
        "message": "a range may only grow to a block that contains it; add another range instead",
    }));
    json_schema!({"type": "string", "maxLength": 18, "x-kubernetes-validations": rules})
}

fn addresses_per_pod(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "nullable": true, "enum": [1, 2, 4]})
}

/// As in Kubernetes, and with labels to match besides expressions. A term that says nothing would match no node.
fn node_selector(_: &mut SchemaGenerator) -> Schema {
    selector_schema(true)
}

fn required_node_selector(_: &mut SchemaGenerator) -> Schema {
    selector_schema(false)
}

fn selector_schema(is_optional: bool) -> Schema {
    let requirement = serde_json::json!({
        "type": "object", "required": ["key", "operator"],
        "properties": {
            "key": {"type": "string", "minLength": 1, "maxLength": 317, "description": "The label's key."},
            "operator": {
                "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
                "description": "How the label is compared.",
            },
            "values": {
                "type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 63},
                "description": "With what: at least one for In and NotIn, none for Exists and DoesNotExist, one integer for Gt and Lt.",
            },
        },
    });
    let labels = serde_json::json!({
        "type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 63},
        "description": "Labels that the node must have with these values.",
    });
    json_schema!({
        "type": "object", "nullable": is_optional, "required": ["nodeSelectorTerms"],
        "properties": {"nodeSelectorTerms": {
            "type": "array", "minItems": 1, "maxItems": 16,
            "description": "A node is chosen when one of these matches.",
            "items": {
                "type": "object",
                "properties": {
                    "matchLabels": labels,
                    "matchExpressions": {
                        "type": "array", "maxItems": 16, "items": requirement,
                        "description": "Expressions that must hold.",
                    },
                },
                "x-kubernetes-validations": [{
                    "rule": "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
                    "message": "a term with neither labels nor expressions matches no node; leave nodeSelector out to match every node",
                }],
            },
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_becomes_the_engines() {
        let spec: PodRangeSpec = serde_json::from_value(serde_json::json!({
            "cidr": "10.0.0.0/16", "state": "Draining", "priority": 3,
            "nodeSelector": {"nodeSelectorTerms": [{"matchLabels": {"pool": "a"}}]},
            "blockSize": {"length": 25},
            "excluded": [{"cidr": "10.0.1.0/24", "purpose": "load balancers"}],
        }))
        .unwrap();
        let range = spec.to_range("pods").unwrap();
        assert_eq!((range.name.as_str(), range.priority, range.state), ("pods", 3, RangeState::Draining));
        assert_eq!((range.block_size, range.selector), (BlockSize::Fixed(25), Some(NodeSelector::label("pool", "a"))));
        assert_eq!(range.excluded[0].purpose, "load balancers");
    }

    #[test]
    fn what_is_not_given_is_as_in_gke() {
        let spec: PodRangeSpec = serde_json::from_value(serde_json::json!({"cidr": "10.0.0.0/16"})).unwrap();
        assert_eq!(spec, PodRangeSpec::new("10.0.0.0/16".parse().unwrap()));
        let range = spec.to_range("pods").unwrap();
        assert_eq!((range.block_size, range.selector, range.state), (BlockSize::GKE, None, RangeState::Active));
    }
}
