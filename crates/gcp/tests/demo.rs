//! The GKE demo of the seeds, on the simulated cloud: two nodes fit, the third is refused, and eight pools are put on ranges.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod support;

use freeboard_gcp::{
    ClusterScaler, ClusterUpdate, EventKind, ExhaustionAnswer, PodRangeRequest, PoolStatus, RangeName, RangeSize,
    ScalerTiming, Status,
};
use support::{Scene, cluster, new_pool, pool, subnetwork};

const EXTRA: [(&str, &str); 3] =
    [("range-a", "10.0.128.0/17"), ("range-b", "192.168.4.0/22"), ("range-c", "192.168.0.0/22")];

/// The demo's cluster with the three ranges of the screenshot.
fn with_extra_ranges() -> Scene {
    let mut scene = Scene::new();
    let patch = scene.add_ranges(&EXTRA);
    scene.done(patch);
    let names = EXTRA.iter().map(|(name, _)| RangeName::new(*name)).collect();
    let update = scene.cloud.update_cluster(&cluster(), None, &ClusterUpdate::AddPodRanges(names), scene.now);
    scene.done(update);
    scene
}

#[test]
fn a_range_of_64_addresses_holds_two_nodes_of_16_pods_and_refuses_the_third() {
    let mut scene = Scene::new();
    let original = scene.cloud.pool(&pool("original-nodepool")).unwrap();
    assert_eq!(original.block_length(), 27);
    assert_eq!(scene.blocks("original-nodepool"), ["10.0.0.0/27", "10.0.0.32/27"]);
    let usage = scene.cloud.subnetwork(&subnetwork()).unwrap().range(&RangeName::new("pod-range")).unwrap().usage();
    assert!((usage.utilization() - 1.0).abs() < f64::EPSILON && usage.free_addresses == 0);

    let operation = scene.resize("original-nodepool", 3);
    let error = operation.error.unwrap();
    assert_eq!(error.status, Status::IpSpaceExhaustedWithDetails);
    assert!(error.message.contains("Expected 3, running 2, transitioning 1"), "{}", error.message);
    assert!(
        error.message.contains("Insufficient free IP addresses in the IP range '10.0.0.0/26'"),
        "{}",
        error.message
    );
    let pool = scene.cloud.pool(&pool("original-nodepool")).unwrap();
    assert_eq!(scene.cloud.pool_status(pool, scene.now), PoolStatus::RunningWithError);
}

#[test]
fn the_message_tells_pod_addresses_from_node_addresses() {
    let mut scene = Scene::new();
    let message = scene.resize("original-nodepool", 3).error.unwrap().message;
    let place = scene.cloud.exhausted_place(&message).unwrap();
    assert_eq!((place.subnetwork, place.range), (subnetwork(), Some(RangeName::new("pod-range"))));
    let nodes = "Instance 'x' creation failed: IP space of 'projects/demo-project/regions/australia-southeast1/subnetworks/cluster' is exhausted.";
    assert_eq!(scene.cloud.exhausted_place(nodes).unwrap().range, None);
    // Written by Google, so with a hash of Google's.
    let other = nodes.replace("/cluster'", "/cluster-pod-range-49c037f0c13a0320'");
    assert_eq!(scene.cloud.exhausted_place(&other).unwrap().range, Some(RangeName::new("pod-range")));
    for unknown in
        ["", "quota exceeded", &nodes.replace("/cluster'", "/other'"), &nodes.replace("/cluster'", "/cluster-x-1'")]
    {
        assert_eq!(scene.cloud.exhausted_place(unknown), None, "{unknown}");
    }
}

#[test]
fn all_four_ways_to_say_exhausted_leave_no_machine_behind() {
    use ExhaustionAnswer::{Call, CallWithDetails, Operation, OperationWithDetails};
    for answer in [OperationWithDetails, Operation, CallWithDetails, Call] {
        let mut scene = Scene::with(|world| world.ip_space_exhausted = answer);
        let error = scene.resize("original-nodepool", 3).error.unwrap();
        let details = error.message.contains("10.0.0.0/26");
        let code = if details { "IP_SPACE_EXHAUSTED_WITH_DETAILS" } else { "IP_SPACE_EXHAUSTED" };
        assert_eq!((error.status.reason(), details), (code, answer.has_details()));
        assert_eq!(scene.cloud.instances().count(), 2);
        scene.cloud.audit().unwrap();
    }
}

#[test]
fn a_waiting_pod_is_told_what_the_seed_shows_in_that_order() {
    let mut scene = Scene::new();
    let mut scaler = ClusterScaler::new(pool("original-nodepool"), ScalerTiming::default());
    let pod = scaler.handle_pod_without_node(&mut scene.cloud, scene.now).unwrap();
    scene.cloud.audit().unwrap();
    let said: Vec<(EventKind, &str, &str)> =
        pod.events.iter().map(|event| (event.kind, event.reason, event.message.as_str())).collect();
    assert_eq!(
        said,
        [
            (
                EventKind::Normal,
                "TriggeredScaleUp",
                "pod triggered scale-up: [{https://www.googleapis.com/compute/v1/projects/demo-project/zones/australia-southeast1-b/instanceGroups/gke-demo-ip-original-nodepool-22330990-grp 2->3 (max: 7)}]"
            ),
            (
                EventKind::Warning,
                "FailedScaleUp",
                "Node scale up in zones australia-southeast1-b associated with this pod failed: IP space exhausted. Pod is at risk of not being scheduled."
            ),
            (
                EventKind::Warning,
                "FailedScheduling",
                "0/2 nodes are available: 2 Too many pods. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.."
            ),
            (EventKind::Normal, "NotTriggerScaleUp", "pod didn't trigger scale-up: 1 in backoff after failed scale-up"),
        ]
    );
    let ages: Vec<i64> = pod.events.iter().map(|event| (event.last - scene.now).as_secs()).collect();
    assert_eq!(ages, [5, 49, 60, 60]);
    assert_eq!(pod.events[2].count, 2, "the scheduler said it twice");
    let notes: Vec<&str> = pod.annotations.values().map(String::as_str).collect();
    assert_eq!(notes, ["2023-11-03T07:01:00+0000", "Inf"]);
    assert!(pod.refusal.unwrap().contains("cluster-pod-range-"));

    // Each failure doubles the time for which the group is left alone: 5, 10, 20, 30, 30 minutes.
    let group = scene.cloud.pool(&pool_key()).unwrap().groups[0].clone();
    let mut now = scaler.backoff_until(&group).unwrap();
    for minutes in [10, 20, 30, 30] {
        scaler.handle_pod_without_node(&mut scene.cloud, now).unwrap();
        let failed = now.as_second() + 49;
        now = scaler.backoff_until(&group).unwrap();
        assert_eq!(now.as_second() - failed, minutes * 60);
    }
}

fn pool_key() -> freeboard_gcp::PoolKey {
    pool("original-nodepool")
}

#[test]
fn eight_pools_are_put_on_the_ranges_of_the_screenshot_and_the_third_fails_at_its_17th_node() {
    let mut scene = with_extra_ranges();
    for i in 1..=8 {
        let name = format!("nodepool-{i}");
        assert_eq!(scene.create_pool(&new_pool(&name, (6 + i) * i, PodRangeRequest::ChosenByGke)).error, None);
        assert_eq!(scene.resize(&name, 0).error, None);
    }
    let given: Vec<String> = (1..=8)
        .map(|i| {
            let pool = scene.cloud.pool(&pool(&format!("nodepool-{i}"))).unwrap();
            scene.cloud.subnetwork(&subnetwork()).unwrap().range(&pool.pod_range).unwrap().cidr.to_string()
        })
        .collect();
    let (a, b, c) = ("10.0.128.0/17", "192.168.4.0/22", "192.168.0.0/22");
    assert_eq!(given, [a, b, c, a, a, a, a, a]);
    for i in 1..=8_u32 {
        let name = format!("nodepool-{i}");
        let max = (6 + i) * i;
        let outcome = scene.resize(&name, max);
        let nodes = scene.cloud.nodes_of(scene.cloud.pool(&pool(&name)).unwrap());
        if i == 3 {
            assert_eq!((nodes, outcome.error.is_some()), (16, true), "27 are wanted, the range holds 16");
        } else {
            assert_eq!((nodes, outcome.error), (max, None), "{name}");
        }
    }
    let spare =
        scene.cloud.subnetwork(&subnetwork()).unwrap().range(&RangeName::new("range-a")).unwrap().free_blocks(26);
    assert_eq!(spare, 135, "while the /17 has room");
}

#[test]
fn each_of_the_three_options_makes_a_pool_with_one_range_for_life() {
    let mut scene = with_extra_ranges();
    scene.create_pool(&new_pool("by-gke", 4, PodRangeRequest::ChosenByGke));
    let existing = PodRangeRequest::Existing(RangeName::new("range-c"));
    scene.create_pool(&new_pool("by-user", 4, existing));
    let new = PodRangeRequest::New { name: Some(RangeName::new("fresh")), size: RangeSize::Length(22) };
    scene.create_pool(&new_pool("new-range", 4, new));
    let range_of = |name: &str| scene.cloud.pool(&pool(name)).unwrap().pod_range.to_string();
    assert_eq!([range_of("by-gke"), range_of("by-user"), range_of("new-range")], ["range-a", "range-c", "fresh"]);
    let fresh = scene.cloud.subnetwork(&subnetwork()).unwrap().range(&RangeName::new("fresh")).unwrap().cidr;
    assert_eq!(fresh.to_string(), "10.0.4.0/22", "the lowest free one in 10.0.0.0/8");
    assert_eq!(scene.blocks("original-nodepool").len(), 2, "and the old pool still has its two nodes");
    assert!(scene.resize("original-nodepool", 3).error.is_some());
    let gone = scene.cloud.delete_pool(&pool("new-range"), scene.now);
    scene.done(gone);
    assert!(scene.cloud.subnetwork(&subnetwork()).unwrap().range(&RangeName::new("fresh")).is_none(), "managed by GKE");
}

#[test]
fn a_new_range_that_is_too_small_leaves_the_pool_provisioning_until_it_is_given_up() {
    let mut scene = with_extra_ranges();
    let size = RangeSize::Block("10.2.0.0/25".parse().unwrap());
    let request = new_pool("small", 4, PodRangeRequest::New { name: None, size });
    let operation = scene.cloud.create_pool(&request, scene.now).unwrap();
    let small = scene.cloud.pool(&pool("small")).unwrap();
    assert_eq!(scene.cloud.pool_status(small, scene.now), PoolStatus::Provisioning);
    assert_eq!((operation.ends - scene.now).as_secs(), 1800);
    assert!(operation.failure(scene.now).is_none() && operation.failure(operation.ends).is_some());
    let size = scene.cloud.set_pool_size(&pool("small"), 2, scene.now);
    support::refused(size, Status::FailedPrecondition, &["running incompatible operation", &operation.name]);
    assert_eq!(scene.cloud.pool_status(small_pool(&scene), operation.ends), PoolStatus::RunningWithError);
    scene.now = operation.ends;
    assert_eq!(scene.resize("small", 2).error, None);
}

fn small_pool(scene: &Scene) -> &freeboard_gcp::NodePool {
    scene.cloud.pool(&pool("small")).unwrap()
}

#[test]
fn a_group_that_misses_a_machine_makes_it_when_a_block_comes_free() {
    let mut scene = Scene::new();
    scene.resize("original-nodepool", 3);
    let first = scene.cloud.instances().next().unwrap().key.clone();
    let freed = scene.cloud.instance(&first).unwrap().interface.alias_ranges[0].cidr;
    let deleted = scene.cloud.delete_node(&first, scene.now);
    scene.done(deleted);
    assert_eq!(scene.blocks("original-nodepool").len(), 2);
    assert!(scene.blocks("original-nodepool").contains(&freed.to_string()));
    assert!(scene.cloud.instance(&first).is_err());
}
