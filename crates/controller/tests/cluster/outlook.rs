//! What a range tells of its future: growth, emptying, blocks that rest, and a selector that is for nobody.

use freeboard_blocks::NodeSelector;
use freeboard_kubernetes::conditions::Condition;
use freeboard_kubernetes::k8s_openapi::api::coordination::v1::Lease;
use freeboard_kubernetes::kube::Api;
use freeboard_kubernetes::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use freeboard_kubernetes::resources::{PodRange, PodRangeSpec, PodRangeStatus};
use serde_json::json;

use crate::stage::{Outcome, Stage, require};

fn status(stage: &Stage, range: &str) -> Outcome<PodRangeStatus> {
    Ok(stage.do_it(stage.ranges().get(range))?.status.unwrap_or_default())
}

fn condition(status: &PodRangeStatus, kind: &str) -> Option<Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind).cloned()
}

/// Waits until the status of a range holds, and gives it.
fn until(stage: &Stage, range: &str, what: &str, holds: impl Fn(&PodRangeStatus) -> bool) -> Outcome<PodRangeStatus> {
    stage.wait(what, |stage| {
        let status = status(stage, range)?;
        Ok(if holds(&status) { Ok(()) } else { Err(format!("{status:?}")) })
    })?;
    status(stage, range)
}

/// A range that fills up says when it is full; one that is for nobody says so.
pub(crate) fn forecast(stage: &Stage) -> Outcome {
    stage.add_range("pods", "10.64.0.0/24")?;
    let mut spec = PodRangeSpec::new("10.65.0.0/24".parse()?);
    spec.node_selector = Some(NodeSelector::label("pool", "of-nobody"));
    stage.do_it(stage.ranges().create(&PostParams::default(), &PodRange::new("for-nobody", spec)))?;
    let _controller = stage.start_controller("controller-a", 8081, &["--sample-seconds=1"])?;
    for node in 1..6 {
        stage.create_nodes(&[format!("node-{node}")], 16)?;
        let addresses = node * 32;
        until(stage, "pods", "the use of the range is sampled", |status| {
            status.history.last().is_some_and(|sample| sample.allocated_addresses == addresses)
        })?;
    }
    let full = until(stage, "pods", "the growth leads to a day", |status| status.forecast.is_some())?;
    let told = condition(&full, "LastsBeyondHorizon").ok_or("the range says nothing of its future")?;
    require(told.reason == "FullSoon" && told.message.contains("range pods 10.64.0.0/24 is full on"), &told.message)?;
    until(stage, "for-nobody", "a selector that is for nobody is told of", |status| {
        condition(status, "Accepted").is_some_and(|told| told.reason == "MatchesNoNode")
    })?;
    Ok(())
}

/// A draining range says for whom it waits; blocks that rest go on resting under the next leader.
pub(crate) fn handing_over(stage: &Stage) -> Outcome {
    stage.add_range("pods", "10.64.0.0/25")?;
    let settings = ["--cooldown-seconds=600"];
    let mut first = stage.start_controller("controller-a", 8081, &settings)?;
    stage.create_nodes(&["early".to_owned(), "late".to_owned()], 16)?;
    stage.wait_until_served(2)?;
    let gone = stage.blocks()?.into_iter().find(|(name, _)| name == "early").and_then(|(_, block)| block);
    stage.delete_node("early")?;
    until(stage, "pods", "the block rests", |status| {
        status.cooling.iter().map(|block| block.cidr.to_string()).eq(gone.clone())
    })?;
    first.kill()?;
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), "kube-system");
    let _ = stage.do_it(leases.delete("freeboard-controller", &DeleteParams::default()));
    let _second = stage.start_controller("controller-b", 8082, &settings)?;
    stage.create_nodes(&["new".to_owned()], 16)?;
    stage.wait_until_served(2)?;
    let given = stage.blocks()?.into_iter().find(|(name, _)| name == "new").and_then(|(_, block)| block);
    require(given != gone, format!("{gone:?} rests, and the new node got {given:?}"))?;

    let drain = Patch::Merge(json!({"spec": {"state": "Draining"}}));
    stage.do_it(stage.ranges().patch("pods", &PatchParams::default(), &drain))?;
    let emptying = until(stage, "pods", "the range says for whom it waits", |status| status.used_by.len() == 2)?;
    let told = condition(&emptying, "Drained").ok_or("the range does not say how far it is")?;
    require(told.message.contains("2 nodes still have blocks of it (") && told.reason == "InUse", &told.message)?;
    for node in ["late", "new"] {
        stage.delete_node(node)?;
    }
    until(stage, "pods", "the range is empty", |status| {
        status.used_by.is_empty() && condition(status, "Drained").is_some_and(|told| told.reason == "Empty")
    })?;
    Ok(())
}
