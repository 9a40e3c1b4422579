//! Every kind of exhaustion is made on a node of its own, and told in four places: the refusal, the event on the pod, the condition
//! of the node, and `freeboard explain pod`. Each names the cause that was made, and no other.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_lab::kubernetes::Cluster;
use freeboard_lab::runtime::CniError;
use freeboard_lab::{LabError, Machine, Pod, Program};
use freeboard_vpc::Fault;
use serde_json::{Value, json};

use crate::expansion::program;
use crate::support::{LIMIT, Outcome, Problem, Stage, require, wait_until};
use crate::view::{self, condition, get, items, wait_for};

/// A node for each cause, each alone in its subnet; other subnets of the zone are not for pods.
pub(crate) const WORLD: &str = "
region: ap-southeast-2
seed: 31
availability_zones: [{ name: ap-southeast-2a, id: apse2-az1 }, { name: ap-southeast-2b, id: apse2-az3 }]
timing: { api_latency_milliseconds: 100, attach_seconds: 2, detach_seconds: 2, metadata_lag_seconds: 0 }
throttling: { enabled: false }
vpcs:
  - id: vpc-0a0000000000000a1
    cidr: 10.0.0.0/16
    default_security_group: sg-0a0000000000000a1
    subnets:
      - { id: subnet-00000000000000001, cidr: 10.0.1.0/28, zone: ap-southeast-2a }
      - id: subnet-00000000000000002
        cidr: 10.0.2.0/27
        zone: ap-southeast-2a
        reservations: [{ cidr: 10.0.2.8/29, type: explicit }, { cidr: 10.0.2.16/28, type: explicit }]
      - { id: subnet-00000000000000003, cidr: 10.0.3.0/24, zone: ap-southeast-2a }
      - { id: subnet-00000000000000009, cidr: 10.0.9.0/24, zone: ap-southeast-2b }
    route_tables: [{ id: rtb-0a0000000000000a1, main: true }]
instances:
  - id: i-00000000000000001
    type: t3.small
    interfaces: [{ id: eni-00000000000000001, subnet: subnet-00000000000000001, address: 10.0.1.4 }]
  - id: i-00000000000000002
    type: m5.large
    interfaces: [{ id: eni-00000000000000002, subnet: subnet-00000000000000002, address: 10.0.2.4 }]
  - id: i-00000000000000003
    type: t3.small
    interfaces: [{ id: eni-00000000000000003, subnet: subnet-00000000000000003, address: 10.0.3.13 }]
  - id: i-00000000000000004
    type: t3.small
    interfaces: [{ id: eni-00000000000000004, subnet: subnet-00000000000000003, address: 10.0.3.14 }]
  - id: i-00000000000000005
    type: t3.small
    interfaces: [{ id: eni-00000000000000005, subnet: subnet-00000000000000003, address: 10.0.3.15 }]
  - id: i-00000000000000006
    type: t3.small
    interfaces: [{ id: eni-00000000000000006, subnet: subnet-00000000000000003, address: 10.0.3.16 }]
  - id: i-00000000000000007
    type: t3.small
    interfaces: [{ id: eni-00000000000000007, subnet: subnet-00000000000000003, address: 10.0.3.17 }]
  - id: i-00000000000000008
    type: t3.small
    interfaces: [{ id: eni-00000000000000008, subnet: subnet-00000000000000003, address: 10.0.3.18 }]
  - id: i-00000000000000009
    type: t3.small
    interfaces: [{ id: eni-00000000000000009, subnet: subnet-00000000000000003, address: 10.0.3.19 }]
";
/// The ENIConfig of the node that has custom networking.
const ENI_CONFIG: &str = "causes";
/// More pods than any of these nodes has addresses for.
const MOST_PODS: usize = 12;
/// More calls than anybody makes meanwhile.
const EVERY_CALL: u32 = 1_000_000;
/// Calls by which a node takes more addresses.
const GROWING: [&str; 2] = ["AssignPrivateIpAddresses", "CreateNetworkInterface"];
/// How long it is watched that nobody names another cause.
const WATCHED: Duration = Duration::from_secs(2);
/// The runtime's pause between two tries.
const PAUSE: Duration = Duration::from_millis(300);

/// One cause, and how it is made.
struct Case {
    cause: &'static str,
    /// Settings of its node besides those of all.
    settings: &'static [(&'static str, &'static str)],
    /// Makes it, once the node's agent has started well.
    make: Option<fn(&Scene<'_>, &Machine) -> Outcome>,
    /// Whether the node's pods go before the last one comes.
    frees: bool,
}

const CASES: [Case; 9] = [
    Case { cause: "SubnetExhausted", settings: &[], make: None, frees: false },
    Case { cause: "SubnetFragmented", settings: &[("ENABLE_PREFIX_DELEGATION", "true")], make: None, frees: false },
    Case { cause: "InterfaceLimit", settings: &[("MAX_ENI", "1")], make: None, frees: false },
    Case {
        cause: "CoolingDown",
        settings: &[("MAX_ENI", "1"), ("IP_COOLDOWN_PERIOD", "600")],
        make: None,
        frees: true,
    },
    Case { cause: "NodeCordoned", settings: &[], make: Some(cordon), frees: false },
    Case {
        cause: "NoSubnetAllowed",
        settings: &[("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"), ("MAX_ENI", "3")],
        make: Some(wrong_eni_config),
        frees: false,
    },
    Case { cause: "Throttled", settings: &[], make: Some(throttle), frees: false },
    Case { cause: "NotAuthorized", settings: &[], make: Some(deny), frees: false },
    Case { cause: "CloudUnavailable", settings: &[], make: Some(cloud_down), frees: false },
];

struct Scene<'a> {
    stage: &'a Stage,
    cluster: Cluster,
}

/// What was said in one case.
#[derive(Debug)]
struct Row {
    cause: &'static str,
    refusal: String,
    events: BTreeSet<String>,
    condition: String,
    explained: BTreeSet<String>,
}

pub(crate) fn play(stage: &Stage) -> Outcome {
    let cluster = Cluster::start_without_nodes(&stage.lab, view::options()?)?;
    let scene = Scene { stage, cluster };
    scene.prepare()?;
    let mut machines = stage.lab.machines();
    machines.sort_by_key(|machine| machine.address);
    let agents = CASES
        .iter()
        .zip(&machines)
        .map(|(case, machine)| scene.start_agent(case, machine))
        .collect::<Outcome<Vec<Program>>>()?;
    for (case, machine) in CASES.iter().zip(&machines) {
        scene.cluster.apply(&view::pod_on(machine, &case.pod()))?;
    }
    let places: Vec<(&Case, &Machine)> = CASES.iter().zip(&machines).collect();
    // What is wrong with the cloud is wrong for all nodes; the other causes do not meet.
    let (alone, together): (Vec<_>, Vec<_>) = places.into_iter().partition(|(case, _)| case.is_of_the_cloud());
    let play = |(case, machine): (&Case, &Machine)| {
        scene.play(case, machine).map_err(|error| -> Problem { format!("{}: {error}", case.cause).into() })
    };
    let mut rows = thread::scope(|scope| {
        let plays: Vec<_> = together.into_iter().map(|place| scope.spawn(move || play(place))).collect();
        let rows = plays.into_iter().map(|play| play.join().map_err(|_| "a case panicked")?);
        rows.collect::<Outcome<Vec<Row>>>()
    })?;
    for place in alone {
        rows.push(play(place)?);
        stage.lab.server().with_cloud(freeboard_vpc::Cloud::clear_faults);
    }
    drop(agents);
    let wrong: Vec<&Row> = rows.iter().filter(|row| !row.is_right()).collect();
    print(&rows);
    require(wrong.is_empty(), format!("each cause is named everywhere, and no other: {wrong:#?}"))
}

fn print(rows: &[Row]) {
    eprintln!("{:18} {:18} {:18} {:18} EXPLAIN POD", "CAUSE MADE", "REFUSAL", "EVENT ON POD", "NODE CONDITION");
    for row in rows {
        let join = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join("+");
        let (events, explained) = (join(&row.events), join(&row.explained));
        eprintln!("{:18} {:18} {:18} {:18} {explained}", row.cause, row.refusal, events, row.condition);
    }
}

impl Case {
    /// The name of the pod that is refused.
    fn pod(&self) -> String {
        format!("pod-{}", self.cause.to_lowercase())
    }

    fn is_of_the_cloud(&self) -> bool {
        matches!(self.cause, "Throttled" | "NotAuthorized" | "CloudUnavailable")
    }
}

impl Row {
    fn is_right(&self) -> bool {
        let only = BTreeSet::from([self.cause.to_owned()]);
        // The explanation also tells what else went wrong on the node, such as calls that were refused on the way.
        let is_explained = self.explained.contains(self.cause);
        self.refusal == self.cause && self.condition == self.cause && self.events == only && is_explained
    }
}

impl Scene<'_> {
    fn prepare(&self) -> Outcome {
        view::prepare(&self.cluster)?;
        self.eni_config("subnet-00000000000000003")
    }

    fn eni_config(&self, subnet: &str) -> Outcome {
        let config = json!({
            "apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig",
            "metadata": {"name": ENI_CONFIG}, "spec": {"subnet": subnet},
        });
        // The kind may have been defined a moment ago.
        wait_until("the ENIConfig is taken", || {
            Ok(self.cluster.apply(&config.to_string()).map_err(|error| error.to_string()))
        })
    }

    fn start_agent(&self, case: &Case, machine: &Machine) -> Outcome<Program> {
        self.cluster.apply(&view::node(machine, &[("k8s.amazonaws.com/eniConfig", ENI_CONFIG)]))?;
        view::give_kubeconfig(&self.cluster, machine)?;
        let common = [
            ("FREEBOARD_KUBECONFIG", view::KUBECONFIG),
            ("FREEBOARD_ADD_WAIT_SECONDS", "1"),
            ("IP_COOLDOWN_PERIOD", "1"),
            ("WARM_IP_TARGET", "1"),
        ];
        // The later of two wins.
        let settings: Vec<(&str, &str)> = common.iter().chain(case.settings).copied().collect();
        self.stage.start_agent(machine, &settings)
    }

    fn play(&self, case: &Case, machine: &Machine) -> Outcome<Row> {
        case.make.map_or(Ok(()), |make| make(self, machine))?;
        let fillers = self.fill(machine, case.cause)?;
        if case.frees {
            fillers.into_iter().try_for_each(|mut pod| pod.delete())?;
        }
        let name = case.pod();
        let refusal = self.refused(machine, &name)?;
        let refusal = cause_in(&refusal);
        let watched = Instant::now();
        let condition = self.condition(machine, case.cause)?;
        let mut events = BTreeSet::new();
        while events.is_empty() && watched.elapsed() < LIMIT || watched.elapsed() < WATCHED {
            // The runtime asks again and again, and what is told then counts too.
            if !case.frees {
                self.refused(machine, &name)?;
            }
            thread::sleep(PAUSE);
            events = self.events(&name)?;
        }
        let explained = self.explain(machine, &name)?;
        Ok(Row { cause: case.cause, refusal, events, condition, explained })
    }

    /// Pods of which the API server knows nothing, until the node refuses one for the expected cause, or for good.
    fn fill(&self, machine: &Machine, cause: &str) -> Outcome<Vec<Pod>> {
        let (mut pods, began) = (Vec::new(), Instant::now());
        while pods.len() < MOST_PODS {
            let mut pod = Pod::create(machine, PodKey::new("filler", format!("filler-{}", pods.len())))?;
            match pod.add() {
                Ok(_) => pods.push(pod),
                Err(LabError::Cni(error)) => {
                    pod.delete()?;
                    let is_settled = cause_in(&error) == cause || cause == "CoolingDown" && pods.len() == 3;
                    if is_settled || began.elapsed() > LIMIT {
                        return Ok(pods);
                    }
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(format!("{} gives {MOST_PODS} addresses", machine.name).into())
    }

    /// An ADD that must be refused.
    fn refused(&self, machine: &Machine, name: &str) -> Outcome<CniError> {
        let mut pod = Pod::create(machine, PodKey::new("test", name))?;
        let answer = pod.add();
        pod.delete()?;
        match answer {
            Err(LabError::Cni(error)) => Ok(error),
            other => Err(format!("{name} is to be refused; instead: {other:?}").into()),
        }
    }

    /// The reason of the node's condition, once it says the cause; or what it says instead.
    fn condition(&self, machine: &Machine, cause: &str) -> Outcome<String> {
        let mut said = String::new();
        let began = Instant::now();
        while said != cause && began.elapsed() < LIMIT {
            thread::sleep(PAUSE);
            said = condition(&get(&self.cluster, &["node", &machine.name])?).1;
        }
        Ok(said)
    }

    fn events(&self, name: &str) -> Outcome<BTreeSet<String>> {
        let selector = format!("involvedObject.kind=Pod,involvedObject.name={name}");
        let list = get(&self.cluster, &["events", "-n", "test", "--field-selector", &selector])?;
        let reasons = items(&list).filter(|event| event["source"]["component"] == "freeboard-agent");
        Ok(reasons.filter_map(|event| Some(event["reason"].as_str()?.to_owned())).collect())
    }

    /// What `freeboard explain pod` makes of the cluster's objects and the node's logs.
    fn explain(&self, machine: &Machine, name: &str) -> Outcome<BTreeSet<String>> {
        let dump = tempfile::tempdir()?;
        let objects = self.cluster.kubectl(&["get", "nodes,pods,events,eniconfigs", "-A", "-o", "json"])?;
        std::fs::write(dump.path().join("cluster.json"), objects)?;
        let logs = dump.path().join(&machine.name);
        std::fs::create_dir(&logs)?;
        for log in ["ipamd.log", "plugin.log"] {
            let text = machine.output("cat", &[&format!("/var/log/aws-routed-eni/{log}")])?;
            std::fs::write(logs.join(log), text)?;
        }
        explain(dump.path(), name)
    }
}

fn explain(dump: &Path, name: &str) -> Outcome<BTreeSet<String>> {
    let output = Command::new(program("freeboard")?)
        .args(["explain", "pod", &format!("test/{name}"), &dump.display().to_string(), "-o", "json"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    require(output.status.code() == Some(1), format!("something is wrong with the pod: {} {said}", output.status))?;
    let explanation: Value = serde_json::from_slice(&output.stdout)?;
    let whys = explanation["links"].as_array().into_iter().flatten().filter(|link| link["role"] == "why");
    let named = whys.filter_map(|link| {
        // A finding begins with its word; what it means in general does not.
        let word = link["says"].as_str()?.split_once(',')?.0;
        (!word.contains(' ')).then(|| word.to_owned())
    });
    Ok(named.collect())
}

/// The word in brackets at the end of a refusal.
fn cause_in(error: &CniError) -> String {
    let bracket = |text: &str| Some(text.rsplit_once('[')?.1.split_once(']')?.0.to_owned());
    bracket(&error.message).unwrap_or_else(|| error.to_string())
}

fn cordon(scene: &Scene<'_>, machine: &Machine) -> Outcome {
    scene.cluster.kubectl(&["cordon", &machine.name])?;
    wait_until("the agent knows that its node is cordoned", || {
        let log = machine.output("cat", &["/var/log/aws-routed-eni/ipamd.log"])?;
        let knows = log.contains("the node's schedulability has changed");
        Ok(if knows { Ok(()) } else { Err("it has not noticed".to_owned()) })
    })
}

/// A subnet of another zone, once the node has an interface by the right one.
fn wrong_eni_config(scene: &Scene<'_>, machine: &Machine) -> Outcome {
    scene.eni_config("subnet-00000000000000009")?;
    wait_for(&scene.cluster, "the ENIConfig is wrong", &["eniconfig", ENI_CONFIG], |object| {
        object["spec"]["subnet"] == "subnet-00000000000000009"
    })?;
    wait_until("the agent knows of the wrong subnet", || {
        let log = machine.output("cat", &["/var/log/aws-routed-eni/ipamd.log"])?;
        let knows = log.contains("subnet-00000000000000009");
        Ok(if knows { Ok(()) } else { Err("it has not noticed".to_owned()) })
    })
}

fn inject(scene: &Scene<'_>, fault: &Fault) -> Outcome {
    Ok(scene.stage.lab.server().with_cloud(|cloud, now| cloud.inject(fault, now))?)
}

fn throttle(scene: &Scene<'_>, _: &Machine) -> Outcome {
    GROWING
        .iter()
        .try_for_each(|action| inject(scene, &Fault::Throttle { action: (*action).to_owned(), seconds: 86_400.0 }))
}

fn failing(scene: &Scene<'_>, action: &str, code: &str, message: &str) -> Outcome {
    let (action, code, message) = (action.to_owned(), code.to_owned(), message.to_owned());
    inject(scene, &Fault::Error { action, code, message, count: EVERY_CALL })
}

fn deny(scene: &Scene<'_>, _: &Machine) -> Outcome {
    let message = "You are not authorized to perform this operation.";
    GROWING.iter().try_for_each(|action| failing(scene, action, "UnauthorizedOperation", message))
}

fn cloud_down(scene: &Scene<'_>, _: &Machine) -> Outcome {
    failing(scene, "*", "ServiceUnavailable", "The service is unavailable.")
}
