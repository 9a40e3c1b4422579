//! Cases in which the cloud does not do as it should: it is down, it throttles, its metadata is stale.

use std::time::{Duration, Instant};

use freeboard_vpc::{Call, Fault, Outcome as Verdict};

use crate::books;
use crate::fleet::{Fleet, names, never_silent, only};
use crate::growth::quick;
use crate::support::{LIMIT, Outcome, Stage, require, wait_until};

/// Two m5.large nodes: 27 pod addresses each.
pub(crate) const TWO_NODES: &str = r#"
region: us-west-2
seed: 21
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { api_latency_milliseconds: 100, attach_seconds: 2, metadata_lag_seconds: 1 }
throttling: { enabled: false }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.0.0/20, zone: us-west-2a }
instances:
  - id: i-00000000000000001
    type: m5.large
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.0.10 }]
  - id: i-00000000000000002
    type: m5.large
    interfaces: [{ id: eni-00000000000000002, subnet: subnet-00000000000000001, address: 10.0.0.11 }]
"#;

/// Four m5.large nodes of an account whose buckets refill with one changing call a second.
pub(crate) const FOUR_NODES: &str = r#"
region: us-west-2
seed: 22
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { api_latency_milliseconds: 100, attach_seconds: 2, metadata_lag_seconds: 1 }
throttling: { enabled: true, scale: 0.2 }
vpcs:
  - id: vpc-00000000000000001
    cidr: 10.0.0.0/16
    internet_gateway: igw-00000000000000001
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.0.0/20, zone: us-west-2a }
instances:
  - id: i-00000000000000001
    type: m5.large
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.0.10 }]
  - id: i-00000000000000002
    type: m5.large
    interfaces: [{ id: eni-00000000000000002, subnet: subnet-00000000000000001, address: 10.0.0.11 }]
  - id: i-00000000000000003
    type: m5.large
    interfaces: [{ id: eni-00000000000000003, subnet: subnet-00000000000000001, address: 10.0.0.12 }]
  - id: i-00000000000000004
    type: m5.large
    interfaces: [{ id: eni-00000000000000004, subnet: subnet-00000000000000001, address: 10.0.0.13 }]
"#;

/// How long the cloud is not itself: this time is the case's subject.
const OUTAGE: Duration = Duration::from_secs(60);
/// More calls than anybody makes in a minute.
const EVERY_CALL: u32 = 1_000_000;

/// Waits for the rest of the minute.
fn sit_out(since: Instant) {
    std::thread::sleep(OUTAGE.saturating_sub(since.elapsed()));
}

/// Every call fails for a minute. What the node holds serves; the rest is refused with the cause, and served afterwards.
pub(crate) fn outage(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let mut agent = stage.start_agent(machine, &quick(&[("WARM_IP_TARGET", "3")]))?;
    let mut fleet = Fleet::new(stage, machine);
    fleet.start(names("lasting", 4))?;
    let watched = fleet.watch(&names("lasting", 4))?;
    wait_until("the target is met", || {
        let held = books::singles(stage, machine)?.len();
        Ok(if held == 7 { Ok(()) } else { Err(format!("{held} addresses")) })
    })?;
    let down = Instant::now();
    let fault = Fault::Error {
        action: "*".into(),
        code: "ServiceUnavailable".into(),
        message: "down".into(),
        count: EVERY_CALL,
    };
    stage.lab.server().with_cloud(|cloud, now| cloud.inject(&fault, now))?;
    let refusals = fleet.start(names("warm", 3))?;
    require(refusals.is_empty(), format!("what is held serves: {refusals:?}"))?;
    wait_until("a pod beyond that is told that the cloud fails", || {
        let refusal = fleet.refused("beyond")?;
        only(std::slice::from_ref(&refusal), &["CloudUnavailable", "StillGrowing"])?;
        let words = format!("{} {}", refusal.message, refusal.details);
        Ok(if words.contains("CloudUnavailable") { Ok(()) } else { Err(words) })
    })?;
    // A pod that ends makes room for another; nobody needs the cloud for that.
    fleet.stop(&names("warm", 1))?;
    only(&fleet.start(names("instead", 1))?, &["CloudUnavailable", "StillGrowing", "CoolingDown"])?;
    require(books::singles(stage, machine)?.len() == 7, "nothing was taken meanwhile")?;
    // The agent itself may be restarted meanwhile: pods that run, run on.
    agent.kill()?;
    let _agent = stage.lab.start_agent(machine, &quick(&[("WARM_IP_TARGET", "3")]))?;
    let refusals = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fleet.start(names("waiting", 4)));
        sit_out(down);
        stage.lab.server().with_cloud(freeboard_vpc::Cloud::clear_faults);
        waiting.join().map_err(|_| "the waiting thread panicked")?
    })?;
    require(!refusals.is_empty(), "pods were refused while the cloud was down")?;
    only(&refusals, &["CloudUnavailable", "StillGrowing", "NotReady", "not finished its start", "cannot be reached"])?;
    fleet.reaches_all()?;
    fleet.close()?;
    never_silent(watched)
}

/// The metadata service shows the past for a minute. Growth, an agent's restart and looks at what is held go on beside it.
pub(crate) fn stale_metadata(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let settings = quick(&[("WARM_IP_TARGET", "1")]);
    let mut agent = stage.start_agent(machine, &settings)?;
    let mut fleet = Fleet::new(stage, machine);
    fleet.start(names("lasting", 2))?;
    let stale = Instant::now();
    let fault = Fault::StaleMetadata { instance: machine.instance.clone(), seconds: OUTAGE.as_secs_f64() };
    stage.lab.server().with_cloud(|cloud, now| cloud.inject(&fault, now))?;
    let refusals = fleet.start(names("grown", 20))?;
    require(refusals.is_empty(), format!("growth does not wait for metadata: {refusals:?}"))?;
    require(books::interfaces(stage, machine)?.len() == 3, "interfaces came that metadata does not show")?;
    let watched = fleet.watch(&names("grown", 20))?;
    fleet.reaches_all()?;
    agent.kill()?;
    let _agent = stage.start_agent(machine, &settings)?;
    fleet.close()?;
    fleet.stop(&names("lasting", 2))?;
    fleet.start(names("again", 4))?;
    fleet.close()?;
    sit_out(stale);
    fleet.reaches_all()?;
    fleet.close()?;
    never_silent(watched)
}

/// Four nodes are to take 20 addresses each while the account has one changing call a second for all of them.
pub(crate) fn throttled(stage: &Stage) -> Outcome {
    let machines = stage.lab.machines();
    let settings = quick(&[("WARM_IP_TARGET", "1")]);
    let _agents = machines.iter().map(|machine| stage.start_agent(machine, &settings)).collect::<Outcome<Vec<_>>>()?;
    let mut fleets: Vec<Fleet<'_>> = machines.iter().map(|machine| Fleet::new(stage, machine)).collect();
    for fleet in &mut fleets {
        fleet.start(names("lasting", 1))?;
    }
    let watched = fleets.iter().map(|fleet| fleet.watch(&names("lasting", 1))).collect::<Outcome<Vec<_>>>()?;
    // Somebody else of the account has emptied the buckets.
    stage.lab.server().with_cloud(|cloud, now| {
        for action in ["AssignPrivateIpAddresses", "CreateNetworkInterface", "AttachNetworkInterface"] {
            while !matches!(cloud.admit(&Call::new(action), now).outcome, Verdict::Refuse(_)) {}
        }
    });
    stage.lab.server().reset_calls();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let starts: Vec<_> =
            fleets.iter_mut().map(|fleet| scope.spawn(move || fleet.start(names("burst", 20)))).collect();
        starts.into_iter().try_for_each(|start| {
            let refusals = start.join().map_err(|_| "a starting thread panicked")??;
            only(&refusals, &["Throttled", "StillGrowing"])
        })
    })?;
    let seconds = began.elapsed().as_secs();
    require(began.elapsed() < LIMIT, format!("80 pods are served in {seconds} s"))?;
    let calls = stage.lab.server().calls();
    let refused: u64 = calls.values().flat_map(|count| count.refused.get("RequestLimitExceeded")).sum();
    let all: u64 = calls.values().map(|count| count.calls).sum();
    require(refused > 0, "calls were throttled")?;
    require(refused <= 30 * 4, format!("no storm: {refused} of {all} calls were refused in {seconds} s"))?;
    for fleet in &fleets {
        fleet.reaches_all()?;
        fleet.close()?;
    }
    watched.into_iter().try_for_each(never_silent)
}
