//! Any history of calls leaves books that close, and a call that is refused leaves everything as it was.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod support;

use std::collections::BTreeMap;

use freeboard_gcp::{
    AliasRequest, AliasSize, ApiError, ClusterUpdate, GoogleCloud, InsertInstance, InstanceKey, InstanceName,
    Operation, PodRangeRequest, RangeName, RangeSize,
};
use proptest::prelude::*;
use support::{Scene, cluster, new_pool, pool, range, subnetwork, zone};

/// One call, with small numbers instead of names so that calls meet.
#[derive(Clone, Debug)]
enum Step {
    AddRange { range: u8, place: u8, length: u8 },
    RemoveRange { range: u8 },
    GiveToCluster { range: u8 },
    TakeFromCluster { range: u8 },
    CreatePool { pool: u8, range: Option<u8>, nodes: u32 },
    CreatePoolWithNewRange { pool: u8, length: u8, nodes: u32 },
    DeletePool { pool: u8 },
    Resize { pool: u8, nodes: u32 },
    Insert { machine: u8, range: Option<u8>, length: u8 },
    Update { machine: u8, range: u8, length: u8 },
    Delete { index: u8 },
    Expand { length: u8 },
    Wait { seconds: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8, 0..8_u8, 24..31_u8).prop_map(|(range, place, length)| Step::AddRange { range, place, length }),
        (0..6_u8).prop_map(|range| Step::RemoveRange { range }),
        (0..6_u8).prop_map(|range| Step::GiveToCluster { range }),
        (0..6_u8).prop_map(|range| Step::TakeFromCluster { range }),
        (0..4_u8, proptest::option::of(0..6_u8), 0..6_u32).prop_map(|(pool, range, nodes)| Step::CreatePool {
            pool,
            range,
            nodes
        }),
        (0..4_u8, 20..29_u8, 0..6_u32).prop_map(|(pool, length, nodes)| Step::CreatePoolWithNewRange {
            pool,
            length,
            nodes
        }),
        (0..4_u8).prop_map(|pool| Step::DeletePool { pool }),
        (0..5_u8, 0..12_u32).prop_map(|(pool, nodes)| Step::Resize { pool, nodes }),
        (0..5_u8, proptest::option::of(0..6_u8), 24..33_u8).prop_map(|(machine, range, length)| Step::Insert {
            machine,
            range,
            length
        }),
        (0..5_u8, 0..6_u8, 24..33_u8).prop_map(|(machine, range, length)| Step::Update { machine, range, length }),
        any::<u8>().prop_map(|index| Step::Delete { index }),
        (12..17_u8).prop_map(|length| Step::Expand { length }),
        (0..4000_u16).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn range_name(range: u8) -> String {
    if range == 0 { "pod-range".to_owned() } else { format!("range-{range}") }
}

fn pool_name(pool: u8) -> String {
    if pool == 4 { "original-nodepool".to_owned() } else { format!("pool-{pool}") }
}

fn machine(number: u8) -> InstanceKey {
    InstanceKey::new(zone(), InstanceName::new(format!("machine-{number}")))
}

/// Carries out a step; none when there was nothing to call.
fn carry_out(scene: &mut Scene, step: &Step) -> Option<Result<Operation, ApiError>> {
    let now = scene.now;
    let name = |number: u8| RangeName::new(range_name(number));
    let cloud = &mut scene.cloud;
    Some(match step {
        Step::AddRange { range: number, place, length } => {
            let cidr = freeboard_address::Cidr::containing([10, 2, 0, place * 32].into(), *length).unwrap();
            return Some(scene.add_ranges(&[(range_name(*number).as_str(), cidr.to_string().as_str())]));
        }
        Step::RemoveRange { range: number } => {
            let before = cloud.subnetwork(&subnetwork()).unwrap();
            let fingerprint = before.fingerprint;
            let kept = before.secondary.iter().filter(|one| one.name != name(*number));
            let kept: Vec<_> = kept.map(|one| range(one.name.as_str(), &one.cidr.to_string())).collect();
            cloud.patch_secondary_ranges(&subnetwork(), fingerprint, "latest", &kept, now)
        }
        Step::GiveToCluster { range } => {
            cloud.update_cluster(&cluster(), None, &ClusterUpdate::AddPodRanges(vec![name(*range)]), now)
        }
        Step::TakeFromCluster { range } => {
            cloud.update_cluster(&cluster(), None, &ClusterUpdate::RemovePodRanges(vec![name(*range)]), now)
        }
        Step::CreatePool { pool, range, nodes } => {
            let range = range.map_or(PodRangeRequest::ChosenByGke, |range| PodRangeRequest::Existing(name(range)));
            let request = new_pool(&pool_name(*pool), 9, range);
            cloud.create_pool(&freeboard_gcp::CreatePool { initial_node_count: *nodes, ..request }, now)
        }
        Step::CreatePoolWithNewRange { pool, length, nodes } => {
            let range = PodRangeRequest::New { name: None, size: RangeSize::Length(*length) };
            let request = new_pool(&pool_name(*pool), 9, range);
            cloud.create_pool(&freeboard_gcp::CreatePool { initial_node_count: *nodes, ..request }, now)
        }
        Step::DeletePool { pool: number } => cloud.delete_pool(&pool(&pool_name(*number)), now),
        Step::Resize { pool: number, nodes } => cloud.set_pool_size(&pool(&pool_name(*number)), *nodes, now),
        Step::Insert { machine: number, range, length } => {
            let request = InsertInstance {
                key: machine(*number),
                machine_type: "e2-medium".into(),
                subnetwork: subnetwork(),
                address: None,
                alias_ranges: vec![AliasRequest { size: AliasSize::Length(*length), range: range.map(name) }],
                labels: BTreeMap::new(),
            };
            cloud.insert_instance(&request, now)
        }
        Step::Update { machine: number, range, length } => {
            let fingerprint = cloud.instance(&machine(*number)).ok()?.interface.fingerprint;
            let wanted = [AliasRequest { size: AliasSize::Length(*length), range: Some(name(*range)) }];
            cloud.update_network_interface(&machine(*number), fingerprint, "latest", &wanted, now)
        }
        Step::Delete { index } => {
            let count = cloud.instances().count().max(1);
            let key = cloud.instances().nth(usize::from(*index) % count)?.key.clone();
            cloud.delete_instance(&key, now)
        }
        Step::Expand { length } => {
            let wider = freeboard_address::Cidr::containing([10, 1, 0, 0].into(), *length).unwrap();
            cloud.expand_primary_range(&subnetwork(), wider, now)
        }
        Step::Wait { seconds } => {
            scene.now += jiff::SignedDuration::from_secs(i64::from(*seconds));
            return None;
        }
    })
}

/// All that a caller can see.
fn visible(cloud: &GoogleCloud) -> String {
    let lists = (
        cloud.networks().collect::<Vec<_>>(),
        cloud.subnetworks().collect::<Vec<_>>(),
        cloud.instances().collect::<Vec<_>>(),
        cloud.groups().collect::<Vec<_>>(),
        cloud.clusters().collect::<Vec<_>>(),
    );
    format!("{lists:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn books_close_after_every_call_and_refusals_change_nothing(steps in prop::collection::vec(step(), 1..40)) {
        let mut scene = Scene::new();
        for step in &steps {
            let before = visible(&scene.cloud);
            match carry_out(&mut scene, step) {
                Some(Err(error)) => {
                    prop_assert!(error.message.len() > 10, "{error:?}");
                    prop_assert_eq!(before, visible(&scene.cloud), "{:?} was refused and changed something", step);
                }
                Some(Ok(operation)) => prop_assert!(operation.ends >= scene.now),
                None => {}
            }
            if let Err(what) = scene.cloud.audit() {
                prop_assert!(false, "after {step:?}: {what}");
            }
        }
    }

    #[test]
    fn equal_calls_make_equal_clouds(steps in prop::collection::vec(step(), 1..25)) {
        let (mut one, mut other) = (Scene::new(), Scene::new());
        for step in &steps {
            carry_out(&mut one, step);
            carry_out(&mut other, step);
        }
        prop_assert_eq!(visible(&one.cloud), visible(&other.cloud));
    }
}

#[test]
fn a_thousand_nodes_with_long_names_find_names_and_blocks() {
    let mut scene = Scene::new();
    let patch = scene.add_ranges(&[("wide", "10.8.0.0/13")]);
    scene.done(patch);
    let name = "a-pool-whose-name-is-as-long-as-the-name-of-a-pool-can-ever-be1";
    let request = new_pool(name, 1000, PodRangeRequest::Existing(RangeName::new("wide")));
    assert_eq!(scene.create_pool(&request).error, None);
    assert_eq!(scene.resize(name, 1000).error, None);
    assert_eq!(scene.blocks(name).len(), 1000);
    assert!(scene.cloud.instances().all(|instance| instance.key.name.as_str().len() <= 63));
}
