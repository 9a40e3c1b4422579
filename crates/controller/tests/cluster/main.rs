//! The controller on a real API server and etcd: nodes get blocks, shortage is told and ended, leaders change, a cluster of
//! kube-controller-manager is taken over, and nonsense is refused.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may say why it cannot run, and panic")]

mod expansions;
mod outlook;
mod stage;
mod withdrawal;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use freeboard_kubernetes::k8s_openapi::api::core::v1::Node;
use freeboard_kubernetes::kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use freeboard_kubernetes::resources::PodRange;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use stage::{Outcome, Stage, require};

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    // All control planes have the same address in the lab.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let mut trials = vec![
        Trial::test("three_hundred_nodes_get_blocks_and_a_shortage_is_told_and_ended", trial(shortage)),
        Trial::test("a_leader_that_is_killed_is_followed_by_one_that_gives_nothing_twice", trial(leaders)),
        Trial::test("a_cluster_of_another_controller_is_taken_over_and_handed_back_unchanged", trial(takeover)),
        Trial::test("ranges_that_cannot_stand_are_refused_and_one_in_use_waits_for_its_nodes", trial(bad_ranges)),
        Trial::test("a_range_says_when_it_is_full_and_one_for_nobody_says_so", trial(outlook::forecast)),
        Trial::test(
            "blocks_rest_under_the_next_leader_and_a_draining_range_says_for_whom_it_waits",
            trial(outlook::handing_over),
        ),
    ];
    trials.extend(expansions::trials());
    trials.extend(withdrawal::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(test: fn(&Stage) -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || Stage::set().and_then(|stage| test(&stage)).map_err(|error| Failed::from(error.to_string()))
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}-{index}")).collect()
}

fn shortage(stage: &Stage) -> Outcome {
    // Room for 300 nodes of 16 pods, and not for one more: 256 + 32 + 8 + 4.
    for (name, cidr) in [("a", "10.64.0.0/19"), ("b", "10.80.0.0/22"), ("c", "10.96.0.0/24"), ("d", "10.112.0.0/25")] {
        stage.add_range(name, cidr)?;
    }
    stage.create_nodes(&names("early", 40), 16)?;
    let mut controller = stage.start_controller("controller-a", 8081, &[])?;
    stage.create_nodes(&names("late", 260), 16)?;
    let took = stage.wait_until_served(300)?;
    eprintln!("300 nodes have a block {took:?} after the last was created");

    stage.create_nodes(&["one-more".to_owned()], 16)?;
    stage.wait("the shortage is told on the node", |stage| {
        let told = stage.events("one-more", "RangeExhausted")?;
        let condition = node_condition(stage, "one-more")?;
        let is_told = told.iter().any(|event| {
            let message = event.message.clone().unwrap_or_default();
            event.type_.as_deref() == Some("Warning")
                && message.contains("256 of 256 blocks of /27 are taken")
                && message.contains("add a range (PodRange)")
        });
        let is_false =
            condition.as_ref().is_some_and(|(status, reason)| status == "False" && reason == "RangeExhausted");
        Ok(if is_told && is_false { Ok(()) } else { Err(format!("{told:?} {condition:?}")) })
    })?;
    stage.wait("the shortage is told on the range", |stage| {
        let range = stage.do_it(stage.ranges().get("a"))?;
        let status = range.status.unwrap_or_default();
        let room = status.conditions.iter().find(|condition| condition.kind == "RoomAvailable").cloned();
        let told = !stage.events("a", "RangeExhausted")?.is_empty();
        let is_told = room.as_ref().is_some_and(|room| room.message.contains("no room for 1 nodes"));
        let is_counted = (status.nodes, status.free_addresses, status.waiting_nodes) == (256, 0, 1);
        Ok(if told && is_told && is_counted { Ok(()) } else { Err(format!("{status:?} {told}")) })
    })?;

    stage.add_range("e", "10.128.0.0/24")?;
    let took = stage.wait_until_served(301)?;
    eprintln!("the waiting node has its block {took:?} after the range was added");
    require(took < Duration::from_secs(5), format!("a new range serves at once: {took:?}"))?;
    stage.wait("the node is told that it does not wait any more", |stage| {
        let condition = node_condition(stage, "one-more")?;
        Ok(if condition.as_ref().is_some_and(|(status, _)| status == "True") {
            Ok(())
        } else {
            Err(format!("{condition:?}"))
        })
    })?;

    // A block that comes free serves who waits, after its cool-down.
    stage.create_nodes(&names("more", 7), 16)?;
    stage.wait_until_served(308)?;
    stage.create_nodes(&["last".to_owned()], 16)?;
    stage.wait("the last node waits", |stage| {
        Ok(if stage.events("last", "RangeExhausted")?.is_empty() { Err("it does not".to_owned()) } else { Ok(()) })
    })?;
    stage.delete_node("late-7")?;
    let took = stage.wait_until_served(308)?;
    eprintln!("a freed block is given again {took:?} after its node was deleted");
    require(took >= Duration::from_secs(9), format!("a freed block rests before it is given again: {took:?}"))?;
    let _ = controller.stop(Duration::from_secs(10))?;
    Ok(())
}

/// Status and reason of our condition.
fn node_condition(stage: &Stage, node: &str) -> Outcome<Option<(String, String)>> {
    let conditions =
        stage.do_it(stage.nodes().get(node))?.status.and_then(|status| status.conditions).unwrap_or_default();
    let ours = conditions.into_iter().find(|condition| condition.type_ == "PodBlockAvailable");
    Ok(ours.map(|condition| (condition.status, condition.reason.unwrap_or_default())))
}

fn leaders(stage: &Stage) -> Outcome {
    stage.add_range("pods", "10.64.0.0/16")?;
    let mut first = stage.start_controller("controller-a", 8081, &[])?;
    stage.create_nodes(&names("before", 20), 110)?;
    stage.wait_until_served(20)?;
    let _second = stage.start_controller("controller-b", 8082, &[])?;
    // It is killed in the middle of its work.
    stage.create_nodes(&names("during", 60), 110)?;
    first.kill()?;
    stage.create_nodes(&names("after", 20), 110)?;
    let took = stage.wait_until_served(100)?;
    eprintln!("all have a block {took:?} after the leader was killed");
    let lease = stage.cluster().kubectl(&[
        "get",
        "lease",
        "-n",
        "kube-system",
        "freeboard-controller",
        "-o",
        "jsonpath={.spec.holderIdentity}",
    ])?;
    require(lease == "controller-b", format!("the second replica leads: {lease}"))
}

/// The block of each node, and whether the controller has written anything on it.
fn written_on(stage: &Stage) -> Outcome<BTreeMap<String, String>> {
    let list = stage.do_it(stage.nodes().list(&ListParams::default()))?;
    let one = |node: Node| {
        let mut writers = node.metadata.managed_fields.into_iter().flatten().filter_map(|entry| entry.manager);
        let is_ours = writers.any(|writer| writer.starts_with("freeboard"));
        let block = node.spec.and_then(|spec| spec.pod_cidr);
        (node.metadata.name.unwrap_or_default(), format!("{block:?}, written by Freeboard: {is_ours}"))
    };
    Ok(list.items.into_iter().map(one).collect())
}

fn takeover(stage: &Stage) -> Outcome {
    let mut manager = stage.start_manager("10.64.0.0/16")?;
    stage.create_nodes(&names("theirs", 20), 110)?;
    stage.wait_until_served(20)?;
    manager.kill()?;
    let before = written_on(stage)?;
    stage.add_range("pods", "10.64.0.0/16")?;
    let mut controller = stage.start_controller("controller-a", 8081, &[])?;
    stage.create_nodes(&names("ours", 10), 110)?;
    stage.wait_until_served(30)?;
    let during = written_on(stage)?;
    for (name, node) in &before {
        require(during.get(name) == Some(node), format!("{name} is as it was: {node:?}, {:?}", during.get(name)))?;
    }
    let _ = controller.stop(Duration::from_secs(10))?;
    let _manager = stage.start_manager("10.64.0.0/16")?;
    stage.create_nodes(&names("theirs-again", 10), 110)?;
    stage.wait_until_served(40)?;
    let after = written_on(stage)?;
    for (name, node) in &during {
        require(after.get(name) == Some(node), format!("{name} is as it was: {node:?}, {:?}", after.get(name)))?;
    }
    Ok(())
}

/// What the API server says to a range with this spec.
fn refusal(stage: &Stage, spec: &serde_json::Value) -> Outcome<String> {
    let object = json!({"apiVersion": "ipam.freeboard.dev/v1alpha1", "kind": "PodRange", "metadata": {"name": "bad"}, "spec": spec});
    match stage.cluster().apply(&object.to_string()) {
        Ok(()) => Err(format!("{spec} is accepted").into()),
        Err(error) => Ok(error.to_string()),
    }
}

fn bad_ranges(stage: &Stage) -> Outcome {
    for (spec, reason) in [
        (json!({"cidr": "10.64.0.1/16"}), "10.64.0.1/16 has bits set below its length"),
        (json!({"cidr": "10.64.0.0/33"}), "\"10.64.0.0/33\" is not an IPv4 block"),
        (json!({"cidr": "fd00::/64"}), "\"fd00::/64\" is not an IPv4 block"),
        (
            json!({"cidr": "10.64.0.0/24", "blockSize": {"length": 20}}),
            "the block of a node is larger than the range 10.64.0.0/24",
        ),
        (json!({"cidr": "10.64.0.0/24", "blockSize": {"length": 33}}), "blockSize.length"),
        (
            json!({"cidr": "10.64.0.0/24", "blockSize": {"length": 26, "addressesPerPod": 2}}),
            "give either length or addressesPerPod",
        ),
        (json!({"cidr": "10.64.0.0/24", "nodeSelector": {"nodeSelectorTerms": [{}]}}), "matches no node"),
        (json!({"cidr": "10.64.0.0/24", "state": "Closed"}), "\"Active\", \"Draining\""),
    ] {
        let said = refusal(stage, &spec)?;
        require(said.contains(reason), format!("{spec} is refused with {reason:?}: {said}"))?;
    }
    let _controller = stage.start_controller("controller-a", 8081, &[])?;
    stage.add_range("pods", "10.64.0.0/24")?;
    stage.wait("the range is kept", |stage| {
        let finalizers = stage.do_it(stage.ranges().get("pods"))?.metadata.finalizers.unwrap_or_default();
        Ok(if finalizers.is_empty() { Err("it has no finalizer".to_owned()) } else { Ok(()) })
    })?;
    stage.add_range("overlapping", "10.64.0.128/25")?;
    stage.add_range("services", "172.20.1.0/24")?;
    for (name, reason) in [
        ("overlapping", "range overlapping (10.64.0.128/25) overlaps range pods (10.64.0.0/24)"),
        ("services", "lies wholly in 172.20.0.0/16, which is excluded as service range"),
    ] {
        stage.wait(format!("{name} is refused"), |stage| {
            let conditions = stage.do_it(stage.ranges().get(name))?.status.unwrap_or_default().conditions;
            let is_refused =
                conditions.iter().any(|condition| condition.kind == "Accepted" && condition.message.contains(reason));
            Ok(if is_refused { Ok(()) } else { Err(format!("{conditions:?}")) })
        })?;
    }
    // It grows, and never moves.
    let change = |cidr: &str| {
        let patch = Patch::Merge(json!({"spec": {"cidr": cidr}}));
        stage.do_it(stage.ranges().patch("overlapping", &PatchParams::default(), &patch))
    };
    let said = change("10.65.0.0/25").map(drop).unwrap_err().to_string();
    require(said.contains("a range cannot change from 10.64.0.128/25 to 10.65.0.0/25"), said)?;

    // A range in use waits for its nodes, says for whom, and then gives way to the one that it was in the way of.
    stage.create_nodes(&["user".to_owned()], 16)?;
    stage.wait_until_served(1)?;
    stage.do_it(stage.ranges().delete("pods", &DeleteParams::default()))?;
    stage.wait("its removal waits for the node", |stage| {
        let status = stage.do_it(stage.ranges().get("pods"))?.status.unwrap_or_default();
        Ok(if status.used_by == ["user"] { Ok(()) } else { Err(format!("{status:?}")) })
    })?;
    stage.delete_node("user")?;
    stage.wait("the range is gone", |stage| {
        let left: Option<PodRange> = stage.do_it(stage.ranges().get_opt("pods"))?;
        Ok(if left.is_none() { Ok(()) } else { Err(format!("{:?}", left.map(|range| range.metadata.finalizers))) })
    })?;
    stage.create_nodes(&["heir".to_owned()], 16)?;
    stage.wait_until_served(1)?;
    require(stage.blocks()? == [("heir".to_owned(), Some("10.64.0.128/27".to_owned()))], "the other range stands now")?;
    Ok(())
}
