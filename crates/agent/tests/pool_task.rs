//! The pool's task with the real engine and store, and a cloud that always answers.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test may")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freeboard_address::{Addresses, AttachmentKey, EniId, InstanceId, PodKey, SubnetId, VpcId};
use freeboard_agent::clock::SteadyClock;
use freeboard_agent::input_log::LoggedPool;
use freeboard_agent::live_settings::LiveSettings;
use freeboard_agent::metrics::Metrics;
use freeboard_agent::pool_handle::{self, Command, PoolHandle};
use freeboard_agent::pool_settings::pool_settings;
use freeboard_agent::pool_task::{Operations, PoolTask};
use freeboard_agent::store::{Loaded, Store};
use freeboard_pool::{
    AddRequest, Cause, CloudFailure, CloudOperation, CloudSuccess, DelRequest, FailureKind, Input, NodeFacts,
    ObservedInterface, ObservedSubnet, Origin, Pool, Record, Reply,
};
use freeboard_settings::{Environment, Settings};
use jiff::Timestamp;

const ADDRESSES: u8 = 45;
/// The settings of the start.
const STARTED: [(&str, &str); 2] = [("FREEBOARD_ADD_WAIT_SECONDS", "0"), ("IP_COOLDOWN_PERIOD", "0")];

/// One interface with 45 addresses, and nothing more to be had.
#[derive(Default)]
struct Cloud {
    panics: AtomicBool,
}

impl Operations for Cloud {
    async fn execute(&self, operation: CloudOperation) -> Result<CloudSuccess, CloudFailure> {
        assert!(!self.panics.load(Ordering::Relaxed), "a bug in an operation");
        match operation {
            CloudOperation::DescribeInterfaces => Ok(CloudSuccess::Interfaces(vec![interface()])),
            CloudOperation::DescribeSubnets => Ok(CloudSuccess::Subnets(vec![subnet()])),
            CloudOperation::PrepareInterface { interface, .. } => Ok(CloudSuccess::Attached(interface)),
            other => Err(CloudFailure {
                kind: FailureKind::SubnetShort,
                action: format!("{other:?}"),
                detail: "full".to_owned(),
                at: Timestamp::now(),
            }),
        }
    }
}

fn interface() -> ObservedInterface {
    ObservedInterface {
        id: EniId::new("eni-1"),
        mac: "02:00:00:00:00:01".parse().unwrap(),
        device_index: 0,
        network_card: 0,
        subnet: SubnetId::new("subnet-1"),
        primary_address: Ipv4Addr::new(10, 0, 0, 4),
        secondary_addresses: (0..ADDRESSES).map(|number| Ipv4Addr::new(10, 0, 0, 10 + number)).collect(),
        prefixes: Vec::new(),
        tags: [("node.k8s.amazonaws.com/instance_id".to_owned(), "i-1".to_owned())].into(),
        attached: true,
        special: false,
    }
}

fn subnet() -> ObservedSubnet {
    ObservedSubnet {
        id: SubnetId::new("subnet-1"),
        cidr: "10.0.0.0/26".parse().unwrap(),
        zone: "a".to_owned(),
        free: Addresses(0),
        in_primary_range: true,
        tags: Default::default(),
    }
}

fn facts() -> NodeFacts {
    NodeFacts {
        instance: InstanceId::new("i-1"),
        instance_type: "m5.24xlarge".to_owned(),
        interface_limit: 15,
        addresses_per_interface: 50,
        prefixes_supported: true,
        max_pods: 100,
        vpc: VpcId::new("vpc-1"),
        zone: "a".to_owned(),
        primary_interface: EniId::new("eni-1"),
        primary_subnet: SubnetId::new("subnet-1"),
    }
}

struct Running {
    pool: PoolHandle,
    metrics: Arc<Metrics>,
    cloud: Arc<Cloud>,
}

/// Starts the task on the state that lies in `directory`.
async fn start(directory: &Path) -> Running {
    start_with_log(directory, None).await
}

/// The same, and what the pool is told is written into a file.
async fn start_with_log(directory: &Path, log: Option<&Path>) -> Running {
    let settings = Settings::parse(&environment(&STARTED)).unwrap().0;
    let store = Store::open(&directory.join("ipam.json")).unwrap();
    let now = Timestamp::now();
    let mut pool = LoggedPool::new(pool_settings(&settings), Some(facts()), log, now).unwrap();
    let state = match store.load(now).unwrap() {
        Loaded::Restored(state) => state,
        Loaded::Absent => Default::default(),
        Loaded::Quarantined { reason, .. } => panic!("{reason}"),
    };
    pool.tell(Input::Restore { allocations: state.allocations, cooling: state.cooling }, now);
    let metrics = Arc::new(Metrics::new().unwrap());
    let cloud = Arc::new(Cloud::default());
    let (handle, end) = pool_handle::handle();
    let task = PoolTask::new(pool, SteadyClock::start(), end, Arc::clone(&cloud), store, Arc::clone(&metrics));
    tokio::spawn(task.run());
    handle.status().wait_for(|status| status.can_give).await.unwrap();
    Running { pool: handle, metrics, cloud }
}

fn key(container: &str) -> AttachmentKey {
    AttachmentKey { network: "aws-cni".into(), container: container.into(), interface: "eth0".into() }
}

async fn add(pool: &PoolHandle, container: &str) -> Reply {
    let add = AddRequest { key: key(container), pod: Some(PodKey::new("default", container)) };
    pool.add(add, Duration::from_secs(20)).await.unwrap()
}

fn address(reply: &Reply) -> Ipv4Addr {
    let Reply::Assigned { address, .. } = reply else { panic!("{reply:?}") };
    *address
}

#[tokio::test]
async fn a_burst_shares_writes_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path()).await;
    let replies = futures::future::join_all((0..40).map(|number| {
        let pool = running.pool.clone();
        async move { add(&pool, &format!("c{number}")).await }
    }))
    .await;
    let given: Vec<Ipv4Addr> = replies.iter().map(address).collect();
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 40);
    let writes = running.metrics.checkpoint_seconds.get_sample_count();
    assert!(writes <= 10, "40 ADDs at once must share writes: {writes}");

    // As after SIGKILL: the new task knows only the file.
    let again = start(directory.path()).await;
    for (number, before) in given.iter().enumerate() {
        let held = again.pool.ask(|answer| Command::Holds(key(&format!("c{number}")), answer)).await.unwrap();
        assert_eq!(held.unwrap().address, *before);
        assert_eq!(address(&add(&again.pool, &format!("c{number}")).await), *before, "an ADD again brings the same");
    }
    let fresh = address(&add(&again.pool, "new").await);
    assert!(!given.contains(&fresh));
}

#[tokio::test]
async fn an_add_that_cannot_be_written_is_refused_and_undone() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let running = start(&state).await;
    let first = address(&add(&running.pool, "c1").await);
    std::fs::rename(&state, directory.path().join("away")).unwrap();
    let refused = add(&running.pool, "c2").await;
    let Reply::Refused(refusal) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.cause, Cause::CheckpointFailed);
    let held = running.pool.ask(|answer| Command::Holds(key("c2"), answer)).await.unwrap();
    assert_eq!(held, None);
    let del = DelRequest { key: key("c1"), pod: None };
    let refused = running.pool.del(del.clone()).await.unwrap();
    assert!(matches!(refused, Reply::Refused(_)), "{refused:?}");

    std::fs::rename(directory.path().join("away"), &state).unwrap();
    let second = address(&add(&running.pool, "c2").await);
    assert_ne!(second, first);
    assert!(matches!(running.pool.del(del).await.unwrap(), Reply::Released { address, .. } if address == first));
}

#[tokio::test]
async fn an_operation_that_panics_leaves_the_service_alive() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path()).await;
    address(&add(&running.pool, "c0").await);
    running.cloud.panics.store(true, Ordering::Relaxed);
    // The pool runs dry, tries to grow, and the operation panics.
    let mut last = None;
    for number in 1..=ADDRESSES {
        last = Some(add(&running.pool, &format!("c{number}")).await);
    }
    assert!(matches!(last, Some(Reply::Refused(_))), "{last:?}");
    assert!(running.pool.ask(Command::Show).await.is_ok());
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The task with the settings of its start, and the way to change them.
async fn live(directory: &Path) -> (Running, LiveSettings) {
    let running = start(directory).await;
    let settings = Settings::parse(&environment(&STARTED)).unwrap().0;
    let live = LiveSettings::new(running.pool.clone(), Arc::new(settings));
    (running, live)
}

async fn decisions(pool: &PoolHandle) -> Vec<String> {
    let shown = pool.ask(Command::Show).await.unwrap();
    shown.decisions.iter().map(|noted| format!("{}: {}", noted.what, noted.why)).collect()
}

#[tokio::test]
async fn new_settings_are_obeyed_without_a_restart_and_told_with_their_effect() {
    let directory = tempfile::tempdir().unwrap();
    let (running, mut live) = live(directory.path()).await;
    let followed = live.follow();
    let new = [&STARTED[..], &[("WARM_IP_TARGET", "50"), ("MAX_ENI", "4")]].concat();
    let taken = live.take(&environment(&new)).await.unwrap();
    let changed: Vec<_> = taken.changes.iter().map(|change| (change.name, change.to.as_str())).collect();
    assert!(changed.contains(&("WARM_IP_TARGET", "50")) && changed.contains(&("MAX_ENI", "4")), "{changed:?}");
    assert!(changed.contains(&("FREEBOARD_POLICY", "compatible")), "a target brings the formulas: {changed:?}");
    assert_eq!(taken.at_next_start, [""; 0]);
    assert_eq!(followed.borrow().warm_ip_target, Some(50));
    let decisions = decisions(&running.pool).await;
    let told = decisions.iter().find(|told| told.starts_with("obey new settings:")).unwrap();
    assert!(told.contains("WARM_IP_TARGET=\"50\" (was \"\")") && told.contains("the pool is to grow by 5"), "{told}");
    assert_eq!(live.take(&environment(&new)).await.unwrap().changes, [], "the same again changes nothing");
}

#[tokio::test]
async fn settings_that_are_wrong_or_contradict_the_node_are_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (running, mut live) = live(directory.path()).await;
    let before = live.follow().borrow().clone();
    for (new, says) in [
        (&[("WARM_IP_TARGET", "many"), ("MAX_ENI", "4")][..], "WARM_IP_TARGET"),
        (&[("ENABLE_IPv6", "true"), ("WARM_IP_TARGET", "5")], "ENABLE_IPv6"),
        (
            &[("FREEBOARD_RANGE_PREFERENCE", "secondary-first"), ("WARM_IP_TARGET", "5")],
            "FREEBOARD_RANGE_PREFERENCE=secondary-first prefers a range that does not exist",
        ),
    ] {
        let refused = live.take(&environment(&[&STARTED[..], new].concat())).await.unwrap_err().to_string();
        assert!(refused.contains("refused and the old ones stay") && refused.contains(says), "{refused}");
        assert_eq!(**live.follow().borrow(), *before, "nothing has changed");
    }
    let decisions = decisions(&running.pool).await;
    assert!(decisions.iter().all(|told| !told.starts_with("obey new settings")), "{decisions:?}");
}

#[tokio::test]
async fn what_is_read_at_the_start_only_is_named_and_waits() {
    let directory = tempfile::tempdir().unwrap();
    let (_running, mut live) = live(directory.path()).await;
    let new = [&STARTED[..], &[("AWS_VPC_ENI_MTU", "1500"), ("IP_COOLDOWN_PERIOD", "7")]].concat();
    let new: Vec<_> = new.into_iter().filter(|pair| *pair != ("IP_COOLDOWN_PERIOD", "0")).collect();
    let taken = live.take(&environment(&new)).await.unwrap();
    assert_eq!(taken.at_next_start, ["AWS_VPC_ENI_MTU"]);
    assert_eq!(taken.changes.len(), 1, "{:?}", taken.changes);
    let in_force = live.follow().borrow().clone();
    assert_eq!((in_force.cooldown_seconds, in_force.eni_mtu), (7, 9001));
}

#[tokio::test]
async fn the_log_of_what_the_pool_is_told_makes_the_same_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("inputs.jsonl");
    let running = start_with_log(directory.path(), Some(&file)).await;
    for container in ["a", "b", "c"] {
        assert!(matches!(add(&running.pool, container).await, Reply::Assigned { .. }));
    }
    running.pool.del(DelRequest { key: key("b"), pod: None }).await.unwrap();
    running.pool.ask(Command::Settled).await.unwrap();
    let live = running.pool.ask(Command::Show).await.unwrap().view;

    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    let mut again = Pool::of_origin(&serde_json::from_str::<Origin>(lines.next().unwrap()).unwrap());
    for line in lines {
        let Record { at, input } = serde_json::from_str(line).unwrap();
        if let Input::Taken { effects } = input {
            assert_eq!(std::iter::from_fn(|| again.poll_effect()).count() as u64, effects, "{line}");
        }
        again.handle(input, at);
    }
    assert_eq!(again.view().tally, live.tally);
    for container in ["a", "b", "c"] {
        let held = running.pool.ask(|answer| Command::Holds(key(container), answer)).await.unwrap();
        assert_eq!(again.holds(&key(container)), held, "{container}");
    }
}
