//! The declared ranges: handed to the engine, kept while nodes use them, and their status written back.

use std::collections::{BTreeMap, BTreeSet};

use freeboard_address::RangeName;
use freeboard_blocks::{Blocks, RangeSpec, RangeState, RangeView, RestoredCooling};
use freeboard_kubernetes::client::{is_not_found, sentence};
use freeboard_kubernetes::conditions::{Condition, ConditionStatus};
use freeboard_kubernetes::events::Severity;
use freeboard_kubernetes::kube::api::{Patch, PatchParams};
use freeboard_kubernetes::kube::{Api, Client};
use freeboard_kubernetes::resources::{
    CoolingBlock, FittingNodes, POD_RANGE_FINALIZER, PodRange, PodRangeStatus, ReservationUse,
};
use futures::FutureExt;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::outlook::{self, Outlook};
use crate::reports::Reports;

/// The condition that says whether the declaration stands.
const ACCEPTED: &str = "Accepted";
/// The condition that says whether nodes wait for room.
const ROOM: &str = "RoomAvailable";
/// The condition that says how far a draining range is.
const DRAINED: &str = "Drained";
/// The condition that says whether there is room for all that is kept.
const RESERVATIONS_FIT: &str = "ReservationsFit";
/// Nodes that a status names, of those for whom a removal waits.
const NAMED: usize = 10;
/// Cooling blocks that a status names; a leader that follows does not know of more.
const COOLING: usize = 256;

/// All declared ranges.
pub(crate) struct Ranges {
    client: Client,
    outlook: Outlook,
    declared: BTreeMap<RangeName, Declared>,
}

/// One declared range.
#[derive(Debug)]
struct Declared {
    object: PodRange,
    /// What the engine took, or why it did not.
    outcome: Result<RangeSpec, Refused>,
    is_removing: bool,
    /// What was written last.
    written: Option<PodRangeStatus>,
    /// The write that is on its way; it tells whether it has landed.
    writing: Option<JoinHandle<bool>>,
}

/// Why a declaration does not stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    spec: Option<RangeSpec>,
    sentence: String,
}

impl Ranges {
    pub(crate) fn new(client: Client, outlook: Outlook) -> Self {
        Self { client, outlook, declared: BTreeMap::new() }
    }

    /// Takes in all ranges as they are now.
    pub(crate) fn take(
        &mut self,
        mut objects: BTreeMap<String, PodRange>,
        engine: &mut Blocks,
        reports: &Reports,
        now: Timestamp,
    ) {
        let names: BTreeSet<RangeName> = objects.keys().map(|name| RangeName::new(name.as_str())).collect();
        let gone: Vec<RangeName> = self.declared.keys().filter(|name| !names.contains(name)).cloned().collect();
        // What goes makes room for what comes.
        for name in gone {
            self.declared.remove(&name);
            engine.handle_range_removed(&name, now);
        }
        objects.retain(|name, object| {
            let is_removing = object.metadata.deletion_timestamp.is_some();
            if is_removing {
                self.remove(&RangeName::new(name.as_str()), object.clone(), engine, now);
            }
            !is_removing
        });
        // Of two that cannot both stand the one stands that nodes may have blocks of already, then the older one.
        let mut objects: Vec<(String, PodRange)> = objects.into_iter().collect();
        objects.sort_by_key(|(name, object)| {
            let since = object.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string());
            (!is_kept(object), since, name.clone())
        });
        for (name, object) in objects {
            self.declare(RangeName::new(name), object, engine, reports, now);
        }
    }

    fn remove(&mut self, name: &RangeName, object: PodRange, engine: &mut Blocks, now: Timestamp) {
        let known = self.declared.get_mut(name);
        if let Some(known) = known.filter(|known| known.is_removing) {
            known.object = object;
            return;
        }
        // A leader that finds a range being removed must know which nodes use it.
        let outcome = match object.spec.to_range(name.as_str()) {
            Ok(spec) => engine
                .handle_range(spec.clone(), now)
                .map(|()| spec.clone())
                .map_err(|refused| Refused { spec: Some(spec), sentence: refused.to_string() }),
            Err(error) => Err(Refused { spec: None, sentence: error.to_string() }),
        };
        restore_cooling(&object, engine, now);
        self.declared
            .insert(name.clone(), Declared { object, outcome, is_removing: true, written: None, writing: None });
        engine.handle_range_removed(name, now);
    }

    fn declare(&mut self, name: RangeName, object: PodRange, engine: &mut Blocks, reports: &Reports, now: Timestamp) {
        let parsed = object.spec.to_range(name.as_str());
        let known = self.declared.remove(&name);
        let (before, written, writing) = match known {
            Some(known) => (Some(known.outcome), known.written, known.writing),
            None => (None, None, None),
        };
        let outcome = match (parsed, &before) {
            (Ok(spec), Some(Ok(taken))) if spec == *taken => Ok(spec),
            // One that was refused is tried again: what was in its way may be gone.
            (Ok(spec), _) => match engine.handle_range(spec.clone(), now) {
                Ok(()) => Ok(spec),
                Err(refused) => Err(Refused { spec: Some(spec), sentence: refused.to_string() }),
            },
            (Err(error), _) => Err(Refused { spec: None, sentence: error.to_string() }),
        };
        if let Err(refused) = &outcome
            && before.as_ref().and_then(|before| before.as_ref().err()) != Some(refused)
        {
            tracing::warn!(range = %name, "the range is refused: {}", refused.sentence);
            reports.range(&object, Severity::Warning, "RangeRefused", refused.sentence.clone());
        }
        if before.is_none() && outcome.is_ok() {
            restore_cooling(&object, engine, now);
        }
        if outcome.is_ok() && !is_kept(&object) {
            tokio::spawn(keep(self.client.clone(), object.clone()));
        }
        self.declared.insert(name, Declared { object, outcome, is_removing: false, written, writing });
    }

    /// No node uses the range any more: its object may go.
    pub(crate) fn forget(&mut self, name: &RangeName) {
        if let Some(declared) = self.declared.get(name).filter(|declared| declared.is_removing) {
            tokio::spawn(release(self.client.clone(), declared.object.clone()));
        }
    }

    /// A range has no room for nodes that wait, or has room again.
    pub(crate) fn exhausted(&self, name: &RangeName, is_exhausted: bool, engine: &Blocks, reports: &Reports) {
        let (Some(declared), Some(view)) = (self.declared.get(name), engine.range(name)) else { return };
        let room = room_condition(&view, Timestamp::now());
        let severity = if is_exhausted { Severity::Warning } else { Severity::Normal };
        reports.range(&declared.object, severity, &room.reason, room.message);
    }

    /// Writes what has changed in the status of each range.
    pub(crate) fn write_status(&mut self, engine: &Blocks) {
        let now = Timestamp::now();
        let views: BTreeMap<RangeName, RangeView> =
            engine.range_views().into_iter().map(|view| (view.name.clone(), view)).collect();
        for (name, declared) in &mut self.declared {
            // One write of a range at a time, so that an older one never lands last.
            match declared.writing.as_mut().map(FutureExt::now_or_never) {
                Some(None) => continue,
                Some(Some(landed)) => {
                    declared.writing = None;
                    declared.written.take_if(|_| !landed.unwrap_or(false));
                }
                None => {}
            }
            let status = declared.status(views.get(name), engine, &self.outlook, now);
            let known = declared.written.as_ref().or(declared.object.status.as_ref());
            if known == Some(&status) {
                continue;
            }
            declared.written = Some(status.clone());
            declared.writing = Some(tokio::spawn(write(self.client.clone(), name.clone(), status)));
        }
    }
}

impl Declared {
    fn status(&self, view: Option<&RangeView>, engine: &Blocks, outlook: &Outlook, now: Timestamp) -> PodRangeStatus {
        let before = self.written.as_ref().or(self.object.status.as_ref());
        let mut conditions = before.map(|status| status.conditions.clone()).unwrap_or_default();
        self.accepted(engine, now).put_into(&mut conditions);
        let mut status = PodRangeStatus {
            observed_generation: self.object.metadata.generation.unwrap_or_default(),
            largest_free_block: "-".to_owned(),
            ..PodRangeStatus::default()
        };
        if let Some(view) = view {
            room_condition(view, now).put_into(&mut conditions);
            status.capacity_addresses = view.capacity_addresses;
            status.allocated_addresses = view.allocated_addresses;
            status.cooling_addresses = view.cooling_addresses;
            status.free_addresses = view.free_addresses;
            status.nodes = view.nodes;
            status.waiting_nodes = view.waiting_nodes;
            status.largest_free_block =
                view.largest_free_block.map_or_else(|| "-".to_owned(), |length| format!("/{length}"));
            status.fits = view
                .fits
                .iter()
                .map(|fit| FittingNodes {
                    max_pods: fit.max_pods,
                    block_length: fit.block_length,
                    nodes: fit.nodes,
                    capacity_nodes: fit.capacity_nodes,
                })
                .collect();
            let is_emptying = self.is_removing || view.state == RangeState::Draining;
            if is_emptying {
                status.used_by = engine.users(&view.name, 0).take(NAMED).map(|(_, node)| node.to_string()).collect();
                drained_condition(view, &status.used_by, now).put_into(&mut conditions);
            } else {
                conditions.retain(|condition| condition.kind != DRAINED);
            }
            status.cooling = cooling_of(view, engine);
            status.reservations = reservations_of(view);
            if status.reservations.is_empty() {
                conditions.retain(|condition| condition.kind != RESERVATIONS_FIT);
            } else {
                reservations_condition(view, engine, now).put_into(&mut conditions);
            }
            let history = before.map(|status| status.history.as_slice()).unwrap_or_default();
            status.history = outlook.sampled(history, view.allocated_addresses, now);
            status.forecast = outlook::forecast(&status.history, view.capacity_addresses);
            outlook.condition(view, status.forecast.as_ref(), &status.history, now).put_into(&mut conditions);
        }
        status.conditions = conditions;
        status
    }

    fn accepted(&self, engine: &Blocks, now: Timestamp) -> Condition {
        let (status, reason, message) = match &self.outcome {
            Ok(_) if self.is_removing => (
                ConditionStatus::False,
                "Removing",
                "nodes still have blocks of it; it goes with the last of them".to_owned(),
            ),
            Ok(spec) if spec.selector.is_some() && !engine.is_for_a_node(&spec.name) => (
                ConditionStatus::True,
                "MatchesNoNode",
                "no node has the labels that its node selector asks for, so nobody gets a block of it".to_owned(),
            ),
            Ok(_) => (ConditionStatus::True, "InUse", "nodes get blocks from it as its spec says".to_owned()),
            Err(refused) => (ConditionStatus::False, "Refused", refused.sentence.clone()),
        };
        Condition::new(ACCEPTED, status, reason, message, now)
    }
}

/// Whether nodes may have blocks of a range: it was accepted once.
fn is_kept(object: &PodRange) -> bool {
    object.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == POD_RANGE_FINALIZER)
}

/// Goes on with the blocks that rest, as an earlier leader wrote them down.
fn restore_cooling(object: &PodRange, engine: &mut Blocks, now: Timestamp) {
    let resting = object.status.iter().flat_map(|status| &status.cooling);
    let resting: Vec<RestoredCooling> =
        resting.map(|block| RestoredCooling { cidr: block.cidr, released: block.released_at }).collect();
    if !resting.is_empty() {
        engine.handle_cooling(&resting, now);
    }
}

/// The blocks of a range that rest, those that were released last.
fn cooling_of(view: &RangeView, engine: &Blocks) -> Vec<CoolingBlock> {
    if view.cooling_addresses == 0 {
        return Vec::new();
    }
    let resting = engine.cooling().into_iter().rev().filter(|block| view.cidr.contains_block(block.cidr));
    resting.take(COOLING).map(|block| CoolingBlock { cidr: block.cidr, released_at: block.released }).collect()
}

fn reservations_of(view: &RangeView) -> Vec<ReservationUse> {
    let used = view.reservations.iter();
    used.map(|one| ReservationUse { pool: one.pool.to_string(), nodes: one.nodes, max_nodes: one.max_nodes }).collect()
}

/// Whether pools can grow as far as room is promised to them.
fn reservations_condition(view: &RangeView, engine: &Blocks, now: Timestamp) -> Condition {
    let RangeView { name, cidr, .. } = view;
    let (status, reason, message) = if engine.reservations_fit(name) {
        (
            ConditionStatus::True,
            "RoomKept",
            format!("range {name} {cidr} has room for all nodes that its pools may still get"),
        )
    } else {
        let open = view.reservations.iter().filter(|one| one.nodes < one.max_nodes);
        let pools: Vec<String> = open.map(|one| format!("{} ({} of {})", one.pool, one.nodes, one.max_nodes)).collect();
        let message = format!(
            "range {name} {cidr} has no room for all nodes that are promised to {}: lower maxNodes, or let the range grow",
            pools.join(", ")
        );
        (ConditionStatus::False, "PromisedTooMuch", message)
    };
    Condition::new(RESERVATIONS_FIT, status, reason, message, now)
}

/// How far a range is that gives no more blocks.
fn drained_condition(view: &RangeView, used_by: &[String], now: Timestamp) -> Condition {
    if view.nodes == 0 {
        return Condition::new(DRAINED, ConditionStatus::True, "Empty", "no node has a block of it any more", now);
    }
    let more = if used_by.len() == NAMED { ", …" } else { "" };
    let message = format!(
        "{} nodes still have blocks of it ({}{more}): it is empty when they are gone",
        view.nodes,
        used_by.join(", ")
    );
    Condition::new(DRAINED, ConditionStatus::False, "InUse", message, now)
}

/// Whether nodes wait for room in a range, with its figures and what to do.
fn room_condition(view: &RangeView, now: Timestamp) -> Condition {
    let RangeView { name, cidr, capacity_addresses, free_addresses, cooling_addresses, nodes, waiting_nodes, .. } =
        view;
    let figures =
        format!("{free_addresses} of {capacity_addresses} addresses are free, {nodes} nodes have blocks of it");
    if view.is_exhausted {
        let cooling =
            if *cooling_addresses > 0 { format!(", {cooling_addresses} cool down after use") } else { String::new() };
        let message = format!(
            "range {name} {cidr} has no room for {waiting_nodes} nodes that wait: {figures}{cooling}; add a range (PodRange) or delete nodes that are not needed"
        );
        Condition::new(ROOM, ConditionStatus::False, "RangeExhausted", message, now)
    } else {
        Condition::new(
            ROOM,
            ConditionStatus::True,
            "NobodyWaits",
            format!("no node waits for range {name} {cidr}: {figures}"),
            now,
        )
    }
}

/// Puts the finalizer on an object, unless it was changed in the meantime: then the watch shows it again.
async fn keep(client: Client, object: PodRange) {
    let finalizers = object.metadata.finalizers.iter().flatten().cloned().chain([POD_RANGE_FINALIZER.to_owned()]);
    set_finalizers(client, &object, finalizers.collect()).await;
}

/// Takes the finalizer off.
async fn release(client: Client, object: PodRange) {
    let others = object.metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != POD_RANGE_FINALIZER);
    set_finalizers(client, &object, others.cloned().collect()).await;
}

async fn set_finalizers(client: Client, object: &PodRange, finalizers: Vec<String>) {
    let Some(name) = object.metadata.name.as_deref() else { return };
    let patch = serde_json::json!({
        "metadata": {"finalizers": finalizers, "resourceVersion": object.metadata.resource_version},
    });
    let api: Api<PodRange> = Api::all(client);
    if let Err(error) = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
        && !is_not_found(&error)
    {
        tracing::info!(range = name, "the finalizer is set later: {}", sentence(&error));
    }
}

/// Writes the status; whether that has succeeded, or there is nothing to write it to.
async fn write(client: Client, name: RangeName, status: PodRangeStatus) -> bool {
    let api: Api<PodRange> = Api::all(client);
    let patch = Patch::Merge(serde_json::json!({"status": status}));
    match api.patch_status(name.as_str(), &PatchParams::default(), &patch).await {
        Ok(_) => true,
        Err(error) if is_not_found(&error) => true,
        Err(error) => {
            tracing::warn!(range = %name, "the status cannot be written: {}", sentence(&error));
            false
        }
    }
}
