//! What-if: what a change brings, where it breaks first, and the smallest change that gives so many pods room.

use std::collections::{BTreeMap, BTreeSet};

use freeboard_address::{Cidr, SubnetId};
use serde::Serialize;

use crate::expansion::{Demand, Expansion, Means, NoExpansion, demand_by_zone, expand};
use crate::forecast::{Exhaustion, Forecast, NoForecast};
use crate::max_pods::{TypeTable, Warm};
use crate::outlook::{Change, Outlook, ZoneModel, is_for_pods, model, whole};
use crate::{AgentSettings, Inventory, Node, Vpc};

/// What somebody wants to know about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Room for so many pods with addresses of their own.
    pub pods: Option<u64>,
    /// A new block for the VPC.
    pub block: Option<NewBlock>,
    /// The length of the new block's subnets.
    pub subnet_length: Option<u8>,
    /// Custom networking, or not.
    pub custom_networking: Option<bool>,
    /// Prefixes, or not.
    pub prefixes: Option<bool>,
    /// What nodes keep ready.
    pub warm: Option<Warm>,
    /// Max-pods of every node.
    pub max_pods: Option<u64>,
    /// Every node is of this type.
    pub instance_type: Option<String>,
    /// So many more nodes, spread over the zones.
    pub more_nodes: u64,
}

/// A new block for the VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewBlock {
    /// The planner chooses it, in 100.64.0.0/10.
    Chosen,
    /// This one.
    Given(Cidr),
}

impl Wishes {
    /// Whether a change is asked for, and not only room.
    #[must_use]
    pub fn names_a_change(&self) -> bool {
        let Self {
            pods: _,
            block,
            subnet_length,
            custom_networking,
            prefixes,
            warm,
            max_pods,
            instance_type,
            more_nodes,
        } = self;
        block.is_some()
            || subnet_length.is_some()
            || custom_networking.is_some()
            || prefixes.is_some()
            || warm.is_some()
            || max_pods.is_some()
            || instance_type.is_some()
            || *more_nodes > 0
    }
}

/// What a way to more room does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WayKind {
    /// More nodes at most, and nothing else.
    Nodes,
    /// Subnets that are there and idle are tagged for pods.
    IdleSubnets,
    /// A new block, and custom networking.
    NewBlock,
    /// What was asked for.
    Wished,
}

/// A way to more room, and what it brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// What it does.
    pub kind: WayKind,
    /// What the agents are then set to.
    pub agent: AgentSettings,
    /// The new block.
    pub expansion: Option<Expansion>,
    /// Subnets to tag for pods.
    pub tagged: Vec<SubnetId>,
    /// Nodes that are needed beside today's, by zone.
    pub more_nodes: BTreeMap<String, u64>,
    /// Max-pods of each instance type, before and after.
    pub max_pods: Vec<MaxPodsChange>,
    /// What comes of it.
    pub after: Outlook,
    /// Whether the wanted pods find addresses, whatever nodes keep ready.
    pub fits: bool,
    /// Why it cannot be done, or what is missing.
    pub missing: Vec<String>,
}

/// Max-pods of one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaxPodsChange {
    /// The type.
    pub instance_type: String,
    /// As it is set today, by the type's limits.
    pub before: Option<u64>,
    /// As it must be.
    pub after: Option<u64>,
    /// Whether the type cannot carry prefixes, and stays with single addresses.
    pub without_prefixes: bool,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// How it is.
    pub before: Outlook,
    /// Pods that were to find room.
    pub wanted_pods: u64,
    /// The ways, the smallest change first.
    pub ways: Vec<Way>,
    /// The smallest that does, as an index of `ways`.
    pub chosen: Option<usize>,
    /// How the number of pods grows; absent without a history.
    pub forecast: Option<Forecast>,
    /// Why there is none.
    #[serde(skip)]
    pub no_forecast: Option<NoForecast>,
    /// When today's room is used up.
    pub exhausted_before: Option<Exhaustion>,
    /// When the chosen way's room is used up.
    pub exhausted_after: Option<Exhaustion>,
}

impl Plan {
    /// The smallest way that does.
    #[must_use]
    pub fn chosen(&self) -> Option<&Way> {
        self.ways.get(self.chosen?)
    }
}

/// Why nothing can be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// There are no nodes.
    #[error("no node is known: add the output of `kubectl get nodes -o json`")]
    NoNodes,
    /// There are no nodes with a zone and a known type.
    #[error(
        "of {0} nodes neither zone nor instance type is known: add the output of `kubectl get nodes -o json` (its labels say both) \
         and of `aws ec2 describe-subnets`"
    )]
    NoZones(usize),
    /// There is no VPC.
    #[error("the nodes' VPC is not known: add the output of `aws ec2 describe-vpcs`")]
    NoVpc,
    /// An instance type is not in the table.
    #[error("there is no instance type {0:?} in the table of {1}")]
    UnknownType(String, usize),
    /// A type cannot do what is asked for.
    #[error("{0} cannot carry prefixes: only Nitro and bare-metal types can")]
    NoPrefixes(String),
    /// More pods than the type has addresses for.
    #[error("max-pods {wanted} is more than a {instance_type} has addresses for: {most} at most, with these settings")]
    MaxPodsTooHigh {
        /// What was asked for.
        wanted: u64,
        /// The type.
        instance_type: String,
        /// What it can do.
        most: u64,
    },
}

/// Plans for a cluster whose nodes take addresses from a VPC.
///
/// # Errors
/// [`NoPlan`] where too little is known, or a wish cannot be meant.
pub fn plan(inventory: &Inventory, types: &TypeTable, wishes: &Wishes) -> Result<Plan, NoPlan> {
    if inventory.nodes.is_empty() {
        return Err(NoPlan::NoNodes);
    }
    let vpc = inventory.own_vpc().ok_or(NoPlan::NoVpc)?;
    let zones = model(inventory, types, &Change::default());
    if zones.iter().all(|zone| zone.groups.is_empty()) {
        return Err(NoPlan::NoZones(inventory.nodes.len()));
    }
    let before = whole(&zones);
    check_wishes(inventory, types, wishes)?;
    // Without another wish: room for twice the pods of today, the waiting ones included.
    let waiting = u64::try_from(inventory.waiting.len()).unwrap_or(0);
    let wanted_pods =
        wishes.pods.unwrap_or_else(|| (before.pods + waiting).max(1) * if wishes.names_a_change() { 1 } else { 2 });
    let planner = Planner { inventory, types, vpc, wishes, wanted_pods };
    let ways = if wishes.names_a_change() {
        vec![planner.way(WayKind::Wished)]
    } else {
        let mut ways = vec![planner.way(WayKind::Nodes)];
        if !planner.idle_subnets().is_empty() {
            ways.push(planner.way(WayKind::IdleSubnets));
        }
        ways.push(planner.way(WayKind::NewBlock));
        ways
    };
    let chosen = ways.iter().position(|way| way.fits);
    let (forecast, no_forecast) = match Forecast::of(&inventory.history) {
        Ok(forecast) => (Some(forecast), None),
        Err(reason) => (None, Some(reason)),
    };
    let reaches = |outlook: &Outlook| forecast.map(|forecast| forecast.reaches(outlook.pods_at_most));
    let exhausted_after = chosen.and_then(|index| reaches(&ways.get(index)?.after));
    Ok(Plan {
        exhausted_before: reaches(&before),
        exhausted_after,
        before,
        wanted_pods,
        ways,
        chosen,
        forecast,
        no_forecast,
    })
}

/// Refuses what cannot be meant.
fn check_wishes(inventory: &Inventory, types: &TypeTable, wishes: &Wishes) -> Result<(), NoPlan> {
    let agent = wished_agent(inventory.agent, wishes);
    if let Some(name) = &wishes.instance_type
        && !types.contains_key(name)
    {
        return Err(NoPlan::UnknownType(name.clone(), types.len()));
    }
    for name in type_names(inventory, wishes) {
        let Some(limits) = types.get(&name) else { continue };
        if wishes.prefixes == Some(true) && !limits.prefixes_supported {
            return Err(NoPlan::NoPrefixes(name));
        }
        let prefixes = agent.prefixes && limits.prefixes_supported;
        let slots = limits.pod_interfaces(agent.custom_networking) * limits.slots_per_interface();
        let most = slots * if prefixes { crate::PREFIX_ADDRESSES } else { 1 } + crate::HOST_PODS;
        if let Some(wanted) = wishes.max_pods.filter(|wanted| *wanted > most) {
            return Err(NoPlan::MaxPodsTooHigh { wanted, instance_type: name, most });
        }
    }
    Ok(())
}

fn wished_agent(agent: AgentSettings, wishes: &Wishes) -> AgentSettings {
    let prefixes = wishes.prefixes.unwrap_or(agent.prefixes);
    // Without a word about it, nodes with prefixes keep one ready, as the Amazon VPC CNI does.
    let usual = if prefixes && !agent.prefixes { Warm::Prefixes(1) } else { agent.warm };
    AgentSettings {
        prefixes,
        custom_networking: wishes.custom_networking.unwrap_or(agent.custom_networking),
        warm: wishes.warm.unwrap_or(usual),
    }
}

/// The instance types that there would be.
fn type_names(inventory: &Inventory, wishes: &Wishes) -> BTreeSet<String> {
    match &wishes.instance_type {
        Some(name) => BTreeSet::from([name.clone()]),
        None => inventory.nodes.iter().filter_map(|node| node.instance_type.clone()).collect(),
    }
}

struct Planner<'a> {
    inventory: &'a Inventory,
    types: &'a TypeTable,
    vpc: &'a Vpc,
    wishes: &'a Wishes,
    wanted_pods: u64,
}

impl Planner<'_> {
    fn way(&self, kind: WayKind) -> Way {
        let mut agent = wished_agent(self.inventory.agent, self.wishes);
        let wants_block = match kind {
            WayKind::NewBlock => Some(NewBlock::Chosen),
            WayKind::Wished => self.wishes.block,
            WayKind::Nodes | WayKind::IdleSubnets => None,
        };
        let uses_custom_networking = match kind {
            WayKind::NewBlock => true,
            WayKind::Wished => wants_block.is_some() && self.wishes.custom_networking != Some(false),
            WayKind::Nodes | WayKind::IdleSubnets => false,
        };
        agent.custom_networking |= uses_custom_networking;
        let tagged = if kind == WayKind::IdleSubnets { self.idle_subnets() } else { Vec::new() };
        let mut change = Change {
            agent: Some(agent),
            instance_type: self.wishes.instance_type.clone(),
            max_pods: self.wishes.max_pods,
            replaces_nodes: agent != self.inventory.agent,
            also: tagged.iter().cloned().collect(),
            ..Change::default()
        };
        let zones = model(self.inventory, self.types, &change);
        change.more_nodes = self.more_nodes(&zones);
        let mut missing = Vec::new();
        let expansion = wants_block.and_then(|block| match self.expansion(block, agent, &change) {
            Ok(expansion) => Some(expansion),
            Err(reason) => {
                missing.push(reason.to_string());
                None
            }
        });
        if let Some(expansion) = &expansion {
            change.new_subnets = expansion.by_zone();
            if expansion.is_refused() {
                missing.extend(self.refusal(expansion));
            }
        }
        let after = whole(&model(self.inventory, self.types, &change));
        let lacks = self.wanted_pods.saturating_sub(after.pods_for_certain);
        let fits = missing.is_empty() && lacks == 0;
        if missing.is_empty() && lacks > 0 {
            missing.push(format!(
                "{lacks} of {} pods would find no address for certain; it is enough for {} ({} when no node keeps more than its pods need)",
                self.wanted_pods, after.pods_for_certain, after.pods_at_most
            ));
        }
        let max_pods = self.max_pods(agent);
        Way { kind, agent, expansion, tagged, more_nodes: change.more_nodes, max_pods, after, fits, missing }
    }

    /// Why the block cannot be had, and the nearest that can.
    fn refusal(&self, expansion: &Expansion) -> Vec<String> {
        let mut said: Vec<String> =
            expansion.objections.iter().map(|one| format!("{}: {one}", expansion.block)).collect();
        let length = expansion.block.length().clamp(16, 28);
        if let Some(free) = crate::check::free_block(self.inventory, self.vpc, length) {
            said.push(format!("the nearest possible: --add-cidr {free}"));
        }
        said
    }

    fn expansion(&self, block: NewBlock, agent: AgentSettings, change: &Change) -> Result<Expansion, NoExpansion> {
        let zones = model(self.inventory, self.types, change);
        let pods = self.pods_by_zone(&zones);
        let demand = Demand {
            vpc: self.vpc,
            by_zone: demand_by_zone(&zones, &pods),
            means: if agent.custom_networking { Means::CustomNetworking } else { Means::Tag },
            block: match block {
                NewBlock::Chosen => None,
                NewBlock::Given(block) => Some(block),
            },
            subnet_length: self.wishes.subnet_length,
        };
        expand(self.inventory, &demand)
    }

    /// The wanted pods, spread over the zones as the nodes are; the last ones go where there are fewest.
    fn pods_by_zone(&self, zones: &[ZoneModel]) -> BTreeMap<String, u64> {
        let nodes = |zone: &ZoneModel| zone.groups.iter().map(|group| group.count).sum::<u64>();
        let all: u64 = zones.iter().map(nodes).sum::<u64>().max(1);
        let share = |zone: &ZoneModel| {
            let pods = (u128::from(self.wanted_pods) * u128::from(nodes(zone))).div_ceil(u128::from(all));
            (zone.zone.clone(), u64::try_from(pods).unwrap_or(u64::MAX))
        };
        zones.iter().map(share).collect()
    }

    /// Nodes without which the wanted pods have no place, each like its zone's most frequent; and those asked for.
    fn more_nodes(&self, zones: &[ZoneModel]) -> BTreeMap<String, u64> {
        let pods = self.pods_by_zone(zones);
        let count = u64::try_from(zones.len()).unwrap_or(1).max(1);
        let mut more = BTreeMap::new();
        for (index, zone) in zones.iter().enumerate() {
            let index = u64::try_from(index).unwrap_or(0);
            let asked = self.wishes.more_nodes / count + u64::from(index < self.wishes.more_nodes % count);
            let short = pods.get(&zone.zone).copied().unwrap_or(0).saturating_sub(zone.most());
            let each = zone.groups.iter().max_by_key(|group| group.count).map_or(0, |group| group.shape.most_pods);
            let needed = if each == 0 { 0 } else { short.div_ceil(each) };
            if asked.max(needed) > 0 {
                more.insert(zone.zone.clone(), asked.max(needed));
            }
        }
        more
    }

    /// Subnets of zones with nodes that have free addresses and no part in the cluster's pods.
    fn idle_subnets(&self) -> Vec<SubnetId> {
        let agent = self.inventory.agent;
        let nodes: Vec<&Node> = self.inventory.nodes.iter().collect();
        let zones: BTreeSet<String> =
            nodes.iter().filter_map(|node| crate::outlook::zone_of(self.inventory, node)).collect();
        let is_idle = |subnet: &&crate::Subnet| {
            subnet.vpc.as_ref().is_none_or(|vpc| *vpc == self.vpc.id)
                && subnet.zone.as_ref().is_some_and(|zone| zones.contains(zone))
                && subnet.cni_role.as_deref() != Some("0")
                && subnet.free_addresses.unwrap_or(0) > 0
                && !is_for_pods(self.inventory, subnet, agent, &nodes)
        };
        if agent.custom_networking {
            return Vec::new();
        }
        self.inventory.subnets.iter().filter(is_idle).map(|subnet| subnet.id.clone()).collect()
    }

    fn max_pods(&self, agent: AgentSettings) -> Vec<MaxPodsChange> {
        let old = self.inventory.agent;
        let change = |name: String| {
            let limits = self.types.get(&name)?;
            let without_prefixes = agent.prefixes && !limits.prefixes_supported;
            let by_type = limits.max_pods(agent.prefixes && limits.prefixes_supported, agent.custom_networking);
            let after = match (self.wishes.max_pods, by_type) {
                (Some(wished), _) => Some(wished),
                (None, by_type) => by_type,
            };
            let before = limits.max_pods(old.prefixes && limits.prefixes_supported, old.custom_networking);
            Some(MaxPodsChange { instance_type: name, before, after, without_prefixes })
        };
        type_names(self.inventory, self.wishes).into_iter().filter_map(change).collect()
    }
}
