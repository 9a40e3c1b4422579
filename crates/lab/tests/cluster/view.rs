//! The cluster as a person sees it through kubectl.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use freeboard_lab::Machine;
use freeboard_lab::kubernetes::{Cluster, ClusterOptions};
use serde_json::{Value, json};

use crate::support::Outcome;

/// How long anything in a cluster may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What the cluster is made of, as `cargo xtask test` provides it.
pub(crate) fn options() -> Outcome<ClusterOptions> {
    let directory = |variable: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .ok_or(format!("{variable} is not set: run the tests with `cargo xtask test`, which builds what it names"))
    };
    Ok(ClusterOptions { tools: directory("FREEBOARD_TOOLS")?, images: directory("FREEBOARD_IMAGES")? })
}

/// What `kubectl get … -o json` shows.
pub(crate) fn get(cluster: &Cluster, what: &[&str]) -> Outcome<Value> {
    let arguments: Vec<&str> = [&["get"], what, &["-o", "json"]].concat();
    Ok(serde_json::from_str(&cluster.kubectl(&arguments)?)?)
}

/// Waits until what `kubectl get … -o json` shows `holds`, and returns it.
pub(crate) fn wait_for(cluster: &Cluster, why: &str, what: &[&str], holds: impl Fn(&Value) -> bool) -> Outcome<Value> {
    let arguments: Vec<&str> = [&["get"], what, &["-o", "json"]].concat();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let text = cluster.wait_for(why, &arguments, PATIENCE, |text| holds(&parse(text)))?;
    Ok(parse(&text))
}

/// The items of a list.
pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// Waits for an event on an object, whose text contains each of `words`; returns the text.
pub(crate) fn event(cluster: &Cluster, kind: &str, reason: &str, words: &[&str]) -> Outcome<String> {
    let selector = format!("involvedObject.kind={kind},reason={reason}");
    let text = |event: &Value| event["message"].as_str().unwrap_or_default().to_owned();
    let is_it = |event: &Value| words.iter().all(|word| text(event).contains(word));
    let what = ["events", "-A", "--field-selector", &selector];
    let why = format!("an event {reason} on a {kind} says {words:?}");
    let list = wait_for(cluster, &why, &what, |list| items(list).any(is_it))?;
    Ok(items(&list).find(|event| is_it(event)).map(text).unwrap_or_default())
}

/// The condition `PodAddressesAvailable` of a node, as status and reason.
pub(crate) fn condition(node: &Value) -> (String, String) {
    let conditions = node["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == "PodAddressesAvailable");
    let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// The keys of a node's taints.
pub(crate) fn taints(node: &Value) -> Vec<String> {
    let taints = node["spec"]["taints"].as_array();
    taints.into_iter().flatten().filter_map(|taint| Some(taint["key"].as_str()?.to_owned())).collect()
}

/// A Deployment whose pods spread over the nodes and do nothing.
pub(crate) fn deployment(replicas: usize) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {{ matchLabels: {{ app: web }} }}
      containers:
        - {{ name: web, image: 'localhost/pause:1', imagePullPolicy: Never }}
"
    )
}

/// The ways out of a full network that have been gone, and how long each took until all pods ran.
static WAYS: Mutex<Vec<(&str, Duration)>> = Mutex::new(Vec::new());

/// Prints how long a way took, beside those that were gone before.
pub(crate) fn tell_time(way: &'static str, took: Duration) {
    let mut ways = WAYS.lock().unwrap_or_else(PoisonError::into_inner);
    ways.push((way, took));
    for (way, took) in ways.iter() {
        eprintln!("from a full network to pods that run, {way}: {:.1} s", took.as_secs_f64());
    }
}

/// Waits until this many pods of the Deployment are Running.
pub(crate) fn running(cluster: &Cluster, count: usize) -> Outcome<Value> {
    let what = ["pods", "-l", "app=web", "--field-selector", "status.phase=Running"];
    wait_for(cluster, &format!("{count} pods are Running"), &what, |list| items(list).count() == count)
}

/// Where a node without a kubelet has its agent's kubeconfig.
pub(crate) const KUBECONFIG: &str = "/run/kubeconfig";

/// What a control plane without kubelets needs before Nodes and Pods are written to it.
pub(crate) fn prepare(cluster: &Cluster) -> Outcome {
    cluster.define_resources()?;
    cluster.kubectl(&["create", "namespace", "test"])?;
    let account = ["get", "serviceaccount", "default", "-n", "test", "-o", "name"];
    cluster.wait_for("pods may be made", &account, PATIENCE, |text| text.contains("default"))?;
    Ok(())
}

/// Writes the administrator's kubeconfig to a machine.
pub(crate) fn give_kubeconfig(cluster: &Cluster, machine: &Machine) -> Outcome {
    let kubeconfig = std::fs::read(cluster.kubeconfig())?;
    machine.namespace().run(|| std::fs::write(KUBECONFIG, kubeconfig))??;
    Ok(())
}

/// The Node of a machine, as its kubelet would register it.
pub(crate) fn node(machine: &Machine, labels: &[(&str, &str)]) -> String {
    let mut all = json!({
        "topology.kubernetes.io/zone": machine.zone, "node.kubernetes.io/instance-type": machine.instance_type,
    });
    for (name, value) in labels {
        all[*name] = json!(value);
    }
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": machine.name, "labels": all}}).to_string()
}

/// A Pod in the namespace `test` that the scheduler has given to a machine.
pub(crate) fn pod_on(machine: &Machine, name: &str) -> String {
    let container = json!({"name": "web", "image": "localhost/pause:1"});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "test"},
        "spec": {"nodeName": machine.name, "automountServiceAccountToken": false, "containers": [container]},
    })
    .to_string()
}
