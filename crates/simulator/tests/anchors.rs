//! Known figures: buckets (anchors D8) and exact fit (anchors D9).

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test that cannot go on fails")]

use freeboard_simulator::{Run, Scenario};
use freeboard_vpc::{Call, Cloud, Outcome, Throttling, World, WorldZone};
use jiff::{SignedDuration, Timestamp};

fn cloud() -> Cloud {
    let text = "{ region: ap-southeast-2, availability_zones: [{ name: ap-southeast-2a, id: apse2-az3 }] }";
    let mut world: World = serde_saphyr::from_str(text).unwrap();
    world.availability_zones = vec![WorldZone { name: "ap-southeast-2a".to_owned(), id: "apse2-az3".to_owned() }];
    world.throttling = Throttling { enabled: true, scale: 1.0 };
    Cloud::from_world(&world, Timestamp::UNIX_EPOCH).unwrap()
}

/// So many clients make one call each at once and again every 100 ms until it is let in; seconds until all are.
fn seconds_until_done(action: &str, clients: u32) -> f64 {
    let mut cloud = cloud();
    let (mut left, mut now) = (clients, Timestamp::UNIX_EPOCH);
    loop {
        while left > 0 && cloud.admit(&Call::new(action), now).outcome == Outcome::Proceed {
            left -= 1;
        }
        if left == 0 {
            return now.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
        }
        now += SignedDuration::from_millis(100);
    }
}

#[test]
fn simultaneous_creates_are_done_when_the_bucket_allows() {
    for (clients, expected) in [(100, 0.0), (150, 10.0), (1_000, 180.0), (5_000, 980.0)] {
        let seconds = seconds_until_done("CreateNetworkInterface", clients);
        assert!((seconds - expected).abs() <= 0.2, "{clients} creates were done after {seconds} s, not {expected} s");
    }
}

#[test]
fn an_empty_describe_bucket_is_full_again_after_five_seconds() {
    let mut cloud = cloud();
    let call = Call::new("DescribeNetworkInterfaces");
    let admitted =
        |cloud: &mut Cloud, now| (0..1_000).take_while(|_| cloud.admit(&call, now).outcome == Outcome::Proceed).count();
    assert_eq!(admitted(&mut cloud, Timestamp::UNIX_EPOCH), 100);
    assert_eq!(admitted(&mut cloud, Timestamp::UNIX_EPOCH), 0);
    assert_eq!(admitted(&mut cloud, Timestamp::UNIX_EPOCH + SignedDuration::from_secs(5)), 100);
}

/// 1,000 pods on 1,000 addresses: 1,022 that others leave, less the primary addresses of the 22 interfaces that 2 × 500 pods
/// on interfaces of 49 need.
const EXACT_FIT: &str = r#"
name: exact-fit
world:
  subnets: [{ cidr: 10.0.0.0/21, taken_by_others: 1021 }]
nodes: { count: 2, instance_type: m5.24xlarge, max_pods: 500 }
pool: { warm_eni_target: 0, warm_ip_target: 0, minimum_ip_target: 1, add_queue: 1000 }
workloads:
  - { kind: exact-fit, pods: 1000, rounds: 10, round_seconds: 300 }
duration_seconds: 3600
settle_seconds: 900
sample_seconds: 60
checking: replies
"#;

#[test]
fn a_thousand_pods_on_a_thousand_addresses_churned_ten_times_all_run() {
    let summary = Run::new(&Scenario::parse(EXACT_FIT).unwrap(), 1).unwrap().finish().unwrap();
    let end = summary.samples.last().unwrap();
    assert_eq!((end.used, end.held, end.waiting), (1_000, 1_000, 0), "{end:?}");
    assert_eq!(summary.time_to_address.count, 11_000, "{:?}", summary.time_to_address);
}

/// 135 pods on one node at once (cilium#45103): each gets an address, or a typed refusal and then an address.
#[test]
fn a_hundred_and_thirty_five_pods_at_once_on_one_node_all_run() {
    let text = r#"
name: burst-135
world: { subnets: [{ cidr: 10.0.0.0/22 }] }
nodes: { count: 1, instance_type: m5.4xlarge }
workloads:
  - { kind: bursts, pods_per_node: 135, every_seconds: 1000, lifetime_seconds: 999 }
duration_seconds: 600
checking: every-step
"#;
    let summary = Run::new(&Scenario::parse(text).unwrap(), 3).unwrap().finish().unwrap();
    assert_eq!(summary.time_to_address.count, 135);
    assert_eq!(summary.waiting_at_end, 0);
    // The kubelet gives a sandbox four minutes.
    assert!(summary.time_to_address.max < 240.0, "{:?}", summary.time_to_address);
}
