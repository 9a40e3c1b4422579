//! Pods until both subnets are full: the pod that waits, the node and its summary say why. Settings change while pods run, the
//! API server is lost and comes back, a node is cordoned.

use freeboard_lab::Machine;
use freeboard_lab::kubernetes::Cluster;
use serde_json::Value;

use crate::support::{Outcome, Stage, held, require, wait_until};
use crate::view::{self, PATIENCE, condition, event, get, items, running, taints, wait_for};

/// Two nodes, each alone in a subnet of 11 addresses: its own, a second interface's, and nine for pods.
pub(crate) const WORLD: &str = "
region: ap-southeast-2
account_id: '111122223333'
seed: 7
availability_zones:
  - { name: ap-southeast-2a, id: apse2-az1 }
  - { name: ap-southeast-2b, id: apse2-az3 }
timing: { api_latency_milliseconds: 100, attach_seconds: 2, detach_seconds: 2, metadata_lag_seconds: 1 }
vpcs:
  - id: vpc-0a0000000000000a1
    name: cluster
    cidr: 10.0.0.0/16
    default_security_group: sg-0a0000000000000a1
    subnets:
      - { id: subnet-0a0000000000000a1, name: pods-a, cidr: 10.0.16.0/28, zone: ap-southeast-2a }
      - { id: subnet-0b0000000000000b1, name: pods-b, cidr: 10.0.32.0/28, zone: ap-southeast-2b }
    route_tables: [{ id: rtb-0a0000000000000a1, main: true }]
instances:
  - id: i-0a0000000000000a1
    type: t3.medium
    interfaces: [{ id: eni-0a0000000000000a1, subnet: subnet-0a0000000000000a1, address: 10.0.16.10 }]
  - id: i-0b0000000000000b1
    type: t3.medium
    interfaces: [{ id: eni-0b0000000000000b1, subnet: subnet-0b0000000000000b1, address: 10.0.32.10 }]
";
/// Pods that the two subnets have addresses for.
const ROOM: usize = 18;
const START_TAINT: &str = "ipam.freeboard.dev/agent-not-ready";
const FULL_TAINT: &str = "ipam.freeboard.dev/no-addresses";
const ACCOUNT: &str = "--as=system:serviceaccount:kube-system:aws-node";

pub(crate) fn play(stage: &Stage) -> Outcome {
    let mut cluster = Cluster::start(&stage.lab, view::options()?)?;
    nodes_come_up(&cluster, stage)?;
    the_agents_account_may_do_no_more_than_it_needs(&cluster)?;
    a_bad_config_map_is_refused(&cluster, stage)?;
    a_good_one_grows_the_pools_live_but_not_on_a_cordoned_node(&cluster, stage)?;
    full_subnets_are_told(&cluster)?;
    pods_come_and_go_while_the_api_server_does(&mut cluster, stage)
}

/// No pod is sent to a node whose agent cannot give addresses yet; then the taint goes.
fn nodes_come_up(cluster: &Cluster, stage: &Stage) -> Outcome {
    let names = cluster.node_names();
    for name in &names {
        let registered = ["get", "node", name, "-o", "name"];
        cluster.wait_for("the node is there", &registered, PATIENCE, |text| text.contains(name.as_str()))?;
        cluster.kubectl(&["taint", "node", name, &format!("{START_TAINT}=:NoSchedule")])?;
    }
    cluster.install_agent(
        &stage.lab,
        &[("IP_COOLDOWN_PERIOD", "1"), ("FREEBOARD_ADD_WAIT_SECONDS", "5"), ("MAX_ENI", "2")],
    )?;
    cluster.wait_until_ready(PATIENCE)?;
    for name in &names {
        wait_for(cluster, "the start-up taint is gone and addresses are there", &["node", name], |node| {
            !taints(node).contains(&START_TAINT.to_owned()) && condition(node).0 == "True"
        })?;
        let summary = wait_for(cluster, "the node's addresses are shown", &["nodeaddresses", name], |object| {
            object["status"]["interfaces"]["limit"] == 2
        })?;
        let owner = &summary["metadata"]["ownerReferences"][0];
        require(owner["kind"] == "Node" && owner["name"] == name.as_str(), format!("it goes with its node: {owner}"))?;
    }
    let ready = ["daemonset", "aws-node", "-n", "kube-system"];
    wait_for(cluster, "the probes hold", &ready, |set| set["status"]["numberReady"] == names.len())?;
    Ok(())
}

fn the_agents_account_may_do_no_more_than_it_needs(cluster: &Cluster) -> Outcome {
    for (verb, what) in [("delete", "nodes"), ("list", "pods"), ("get", "secrets"), ("update", "configmaps")] {
        let arguments = ["auth", "can-i", verb, what, "-n", "kube-system", ACCOUNT];
        require(cluster.kubectl(&arguments).is_err(), format!("the agent may not {verb} {what}"))?;
    }
    // Its own node is named by the token of its pod; who only says to be it has none.
    let node = cluster.node_names().pop().ok_or("the cluster has no node")?;
    let written = cluster.kubectl(&["label", "node", &node, "any=thing", ACCOUNT]);
    let said = written.err().map(|error| error.to_string()).unwrap_or_default();
    require(said.contains("may write to its own node only"), format!("another's node is refused: {said}"))
}

fn full_subnets_are_told(cluster: &Cluster) -> Outcome {
    cluster.apply(&view::deployment(ROOM + 4))?;
    running(cluster, ROOM)?;
    let text = event(cluster, "Pod", "SubnetExhausted", &["is full (0 of 11 free)", "What helps: "])?;
    eprintln!("event on the pod: {text}");
    let pending = get(cluster, &["pods", "-l", "app=web", "--field-selector", "status.phase=Pending"])?;
    let names: Vec<&str> = items(&pending).filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    require(names.len() == 4, format!("four pods wait: {names:?}"))?;
    let events = get(cluster, &["events", "--field-selector", "reason=SubnetExhausted"])?;
    for event in items(&events).filter(|event| event["involvedObject"]["kind"] == "Pod") {
        let name = event["involvedObject"]["name"].as_str().unwrap_or_default();
        require(names.contains(&name), format!("only a pod that waits is told that it does: {name}"))?;
    }
    for node in cluster.node_names() {
        wait_for(cluster, "the node says that it is full", &["node", &node], |node| {
            condition(node) == ("False".to_owned(), "SubnetExhausted".to_owned())
                && taints(node).contains(&FULL_TAINT.to_owned())
        })?;
    }
    let described = cluster.kubectl(&["describe", "pod", names[0]])?;
    require(described.contains("SubnetExhausted"), format!("kubectl describe shows the event: {described}"))?;
    // A figure that follows its pods by some seconds.
    for node in cluster.node_names() {
        wait_for(cluster, "nine addresses are assigned", &["nodeaddresses", &node], |object| {
            object["status"]["addresses"]["assigned"] == 9
        })?;
    }
    eprintln!("{}", cluster.kubectl(&["get", "nodeaddresses"])?);
    Ok(())
}

fn edit(cluster: &Cluster, data: &Value) -> Outcome {
    let patch = serde_json::json!({"data": data}).to_string();
    cluster.kubectl(&["patch", "configmap", "aws-node", "-n", "kube-system", "--type=merge", "-p", &patch])?;
    Ok(())
}

/// The setting in force on a machine.
fn setting(machine: &Machine, variable: &str) -> Outcome<String> {
    let values: Value = serde_json::from_str(&machine.get(61679, "/v1/freeboard/settings")?)?;
    let found = values.as_array().into_iter().flatten().find(|setting| setting["variable"] == variable);
    Ok(found.and_then(|setting| setting["value"].as_str()).unwrap_or_default().to_owned())
}

fn a_bad_config_map_is_refused(cluster: &Cluster, stage: &Stage) -> Outcome {
    edit(cluster, &serde_json::json!({"MINIMUM_IP_TARGET": "4", "WARM_IP_TARGET": "many"}))?;
    let words = ["WARM_IP_TARGET=\"many\": expected a whole number", "the old ones stay"];
    let text = event(cluster, "ConfigMap", "SettingsRefused", &words)?;
    eprintln!("event on the ConfigMap: {text}");
    event(cluster, "Node", "SettingsRefused", &words)?;
    for machine in stage.lab.machines() {
        let minimum = setting(&machine, "MINIMUM_IP_TARGET")?;
        require(minimum.is_empty(), format!("nothing of it counts, also not what was right in it: {minimum}"))?;
    }
    edit(cluster, &serde_json::json!({"WARM_IP_TARGET": null, "MINIMUM_IP_TARGET": null, "WARM_IP_TARGETS": "4"}))?;
    event(cluster, "ConfigMap", "SettingsRefused", &["WARM_IP_TARGETS: expected the name of a setting"])?;
    edit(cluster, &serde_json::json!({"WARM_IP_TARGETS": null}))
}

fn a_good_one_grows_the_pools_live_but_not_on_a_cordoned_node(cluster: &Cluster, stage: &Stage) -> Outcome {
    let machines = stage.lab.machines();
    let [first, second] = machines.as_slice() else { return Err("the world has two machines".into()) };
    cluster.kubectl(&["cordon", &first.name])?;
    wait_until(format!("{} knows that it is cordoned", first.name), || {
        let log = first.output("cat", &["/var/log/aws-routed-eni/ipamd.log"])?;
        Ok(if log.contains("schedulability has changed") { Ok(()) } else { Err("its log does not say so".to_owned()) })
    })?;
    edit(cluster, &serde_json::json!({"WARM_IP_TARGET": "6"}))?;
    event(cluster, "ConfigMap", "SettingsAccepted", &["WARM_IP_TARGET=\"6\" (was \"\")"])?;
    let free = |machine: &Machine| held(machine).map(|held| held.total - held.assigned.len());
    wait_until(format!("{} grows without a restart", second.name), || {
        let free = free(second)?;
        Ok(if free >= 6 { Ok(()) } else { Err(format!("{free} are free")) })
    })?;
    require(free(first)? < 6, "the cordoned node does not grow")?;
    cluster.kubectl(&["uncordon", &first.name])?;
    wait_until(format!("{} grows too", first.name), || {
        let free = free(first)?;
        Ok(if free >= 6 { Ok(()) } else { Err(format!("{free} are free")) })
    })
}

fn pods_come_and_go_while_the_api_server_does(cluster: &mut Cluster, stage: &Stage) -> Outcome {
    cluster.kubectl(&["scale", "deployment/web", "--replicas=2"])?;
    for machine in stage.lab.machines() {
        wait_until(format!("{} has the addresses of its pods back", machine.name), || {
            let assigned = held(&machine)?.assigned.len();
            Ok(if assigned <= 2 { Ok(()) } else { Err(format!("{assigned} are assigned")) })
        })?;
    }
    // As long as one of them is marked as full, new pods would crowd on the other.
    for node in cluster.node_names() {
        wait_for(cluster, "the node can give addresses again", &["node", &node], |node| {
            condition(node).0 == "True" && !taints(node).contains(&FULL_TAINT.to_owned())
        })?;
    }
    cluster.kubectl(&["scale", "deployment/web", "--replicas=10"])?;
    cluster.stop_api_server()?;
    for machine in stage.lab.machines() {
        wait_until(format!("the agent of {} serves without the API server", machine.name), || {
            let log = machine.output("cat", &["/var/log/aws-routed-eni/ipamd.log"])?;
            let knows = log.contains("Unable to reach API Server");
            held(&machine)?;
            Ok(if knows { Ok(()) } else { Err("it has not noticed".to_owned()) })
        })?;
        let (mut pod, address) = crate::support::start_pod(&machine, "without-api")?;
        require(held(&machine)?.assigned.contains_key(&address), "a pod gets an address all the same")?;
        pod.delete()?;
    }
    cluster.start_api_server()?;
    running(cluster, 10)?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    for machine in stage.lab.machines() {
        wait_until(format!("{} gets back the addresses of its pods", machine.name), || {
            let held = held(&machine)?;
            Ok(if held.assigned.is_empty() { Ok(()) } else { Err(format!("still assigned: {:?}", held.assigned)) })
        })?;
    }
    edit(cluster, &serde_json::json!({"WARM_IP_TARGET": "3"}))?;
    event(cluster, "ConfigMap", "SettingsAccepted", &["WARM_IP_TARGET=\"3\" (was \"6\")"])?;
    Ok(())
}
