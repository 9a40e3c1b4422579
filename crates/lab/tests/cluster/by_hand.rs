//! The way out of a full network as the demo goes that Freeboard learned from ("eks-demo-ip"): twelve steps with the aws CLI and
//! kubectl, in its order, and at the end a node that holds pods of both ranges.

use std::collections::BTreeSet;
use std::time::Instant;

use freeboard_lab::kubernetes::Cluster;
use serde_json::{Value, json};

use crate::expansion::pods;
use crate::seed::{aws, json_of};
use crate::support::{Outcome, Stage, require, wait_until};
use crate::view::{self, PATIENCE, event, get, running, wait_for};

/// The demo's two zones, with one of its nodes in a small public subnet, and a private subnet that nothing uses.
pub(crate) const WORLD: &str = "
region: ap-southeast-2
seed: 12
availability_zones:
  - { name: ap-southeast-2a, id: apse2-az1 }
  - { name: ap-southeast-2b, id: apse2-az3 }
timing: { api_latency_milliseconds: 100, attach_seconds: 2, detach_seconds: 2, metadata_lag_seconds: 1 }
vpcs:
  - id: vpc-0a0000000000000a1
    name: eks-demo-ip-vpc-stack
    cidr: 10.0.0.0/16
    default_security_group: sg-0a0000000000000a1
    subnets:
      - { id: subnet-0a0000000000000a1, name: PublicSubnet01, cidr: 10.0.208.0/28, zone: ap-southeast-2a }
      - { id: subnet-0b0000000000000b1, name: PrivateSubnet02, cidr: 10.0.192.0/27, zone: ap-southeast-2b }
    route_tables: [{ id: rtb-0a0000000000000a1, main: true }]
instances:
  - id: i-0a0000000000000a1
    type: t3.medium
    interfaces: [{ id: eni-0a0000000000000a1, subnet: subnet-0a0000000000000a1, address: 10.0.208.10 }]
";
const VPC: &str = "vpc-0a0000000000000a1";
/// The zones, with the block that each gets.
const ZONES: [(&str, &str); 2] = [("ap-southeast-2a", "100.64.1.0/24"), ("ap-southeast-2b", "100.64.2.0/24")];
/// More than the small subnet has addresses for.
const PODS: usize = 12;
const DAEMON_SET: [&str; 5] = ["set", "env", "daemonset/aws-node", "-n", "kube-system"];

pub(crate) fn play(stage: &Stage) -> Outcome {
    let mut cluster = Cluster::start(&stage.lab, view::options()?)?;
    cluster.install_agent(&stage.lab, &[("FREEBOARD_ADD_WAIT_SECONDS", "5")])?;
    cluster.wait_until_ready(PATIENCE)?;
    cluster.apply(&view::deployment(PODS))?;
    event(&cluster, "Pod", "SubnetExhausted", &["10.0.208.0/28"])?;
    let early = pods(&cluster)?;
    require(early.len() < PODS, format!("not all pods have an address: {early:?}"))?;

    let began = Instant::now();
    // 1. Custom networking is turned on, before anything is there that it could use.
    set(&cluster, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true")?;
    // 2. and 3. The cluster's security group, and the zones.
    let filter = format!("Name=vpc-id,Values={VPC}");
    let groups = ask(stage, &["describe-security-groups", "--filters", &filter])?;
    let group = text(&groups, "/SecurityGroups/0/GroupId")?;
    let subnets = ask(stage, &["describe-subnets", "--filters", &filter])?;
    let zones: BTreeSet<&str> = list(&subnets, "Subnets").filter_map(|one| one["AvailabilityZone"].as_str()).collect();
    require(ZONES.iter().all(|(zone, _)| zones.contains(zone)), format!("both zones are there: {zones:?}"))?;
    // 4. and 5. The secondary block; the demo sleeps for a minute then.
    ask(stage, &["associate-vpc-cidr-block", "--vpc-id", VPC, "--cidr-block", "100.64.0.0/20"])?;
    wait_until("the block is associated", || {
        let vpcs = ask(stage, &["describe-vpcs", "--vpc-ids", VPC])?;
        let states: Vec<&str> = list(&vpcs["Vpcs"][0], "CidrBlockAssociationSet")
            .filter_map(|one| one["CidrBlockState"]["State"].as_str())
            .collect();
        Ok(if states == ["associated", "associated"] { Ok(()) } else { Err(format!("{states:?}")) })
    })?;
    // 6. and 7. A subnet in each zone.
    let made = ZONES.iter().map(|(zone, block)| create_subnet(stage, zone, block)).collect::<Outcome<Vec<String>>>()?;
    // 8. and 9. What there is now, for the person at the screen.
    eprintln!("{}", ask(stage, &["describe-vpcs", "--vpc-ids", VPC])?["Vpcs"][0]["CidrBlockAssociationSet"]);
    let subnets = ask(stage, &["describe-subnets", "--filters", &filter])?;
    require(list(&subnets, "Subnets").count() == 4, format!("there are four subnets: {subnets}"))?;
    // 10. An ENIConfig for each zone.
    for ((zone, _), subnet) in ZONES.iter().zip(&made) {
        cluster.apply(&eni_config(zone, subnet, &group))?;
    }
    let shown = cluster.kubectl(&["get", "eniconfigs"])?;
    require(ZONES.iter().all(|(zone, _)| shown.contains(zone)), format!("kubectl shows both: {shown}"))?;
    // 11. The zone's label chooses among them.
    set(&cluster, "ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone")?;
    running(&cluster, PODS)?;
    view::tell_time("by hand, in twelve steps", began.elapsed());
    both_ranges_on_the_old_node(&cluster, &early)?;
    // 12. New nodes.
    a_new_node(stage, &mut cluster)
}

fn set(cluster: &Cluster, variable: &str) -> Outcome {
    cluster.kubectl(&[&DAEMON_SET[..], &[variable]].concat())?;
    Ok(())
}

fn ask(stage: &Stage, arguments: &[&str]) -> Outcome<Value> {
    json_of(&aws(stage, arguments)?)
}

fn text(value: &Value, pointer: &str) -> Outcome<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    Ok(found.ok_or_else(|| format!("no {pointer} in {value}"))?.to_owned())
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn create_subnet(stage: &Stage, zone: &str, block: &str) -> Outcome<String> {
    let tags =
        "ResourceType=subnet,Tags=[{Key=kubernetes.io/role/internal-elb,Value=1},{Key=provisioning,Value=manual}]";
    let place = ["create-subnet", "--vpc-id", VPC, "--cidr-block", block, "--availability-zone", zone];
    text(&ask(stage, &[&place[..], &["--tag-specifications", tags]].concat())?, "/Subnet/SubnetId")
}

fn eni_config(zone: &str, subnet: &str, group: &str) -> String {
    json!({
        "apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": {"name": zone},
        "spec": {"subnet": subnet, "securityGroups": [group]},
    })
    .to_string()
}

/// Pods that ran keep their addresses of the first range, and those that waited have some of the second, on the same node.
fn both_ranges_on_the_old_node(cluster: &Cluster, early: &BTreeSet<(String, std::net::Ipv4Addr)>) -> Outcome {
    let all = pods(cluster)?;
    require(early.is_subset(&all), format!("pods that had an address keep it: {early:?}, {all:?}"))?;
    let secondary = all.iter().filter(|(_, address)| address.octets()[0] == 100).count();
    require((1..PODS).contains(&secondary), format!("pods of both ranges: {all:?}"))?;
    let [node] = &cluster.node_names()[..] else { return Err("the cluster has one node".into()) };
    let listed = get(cluster, &["pods", "-l", "app=web", "--field-selector", &format!("spec.nodeName={node}")])?;
    require(list(&listed, "items").count() == PODS, format!("all of them on {node}"))
}

/// A node that comes up now has its pods in the second range from the first one on.
fn a_new_node(stage: &Stage, cluster: &mut Cluster) -> Outcome {
    let old = cluster.node_names();
    let launch =
        ["run-instances", "--image-id", "ami-0a0000000000000a1", "--instance-type", "t3.medium", "--count", "1"];
    ask(stage, &[&launch[..], &["--subnet-id", "subnet-0b0000000000000b1"]].concat())?;
    wait_until("the machine is there", || {
        let machines = stage.lab.machines().len();
        Ok(if machines == 2 { Ok(()) } else { Err(format!("{machines} machines")) })
    })?;
    cluster.follow(&stage.lab)?;
    cluster.wait_until_ready(PATIENCE)?;
    let new = cluster.node_names().into_iter().find(|name| !old.contains(name)).ok_or("there is a new node")?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on-the-new-node"},
        "spec": {"nodeName": new, "automountServiceAccountToken": false, "containers": [
            {"name": "web", "image": "localhost/pause:1", "imagePullPolicy": "Never"},
        ]},
    });
    cluster.apply(&pod.to_string())?;
    wait_for(cluster, "its pod has an address of the second range", &["pod", "on-the-new-node"], |pod| {
        pod["status"]["podIP"].as_str().is_some_and(|address| address.starts_with("100.64.2."))
    })?;
    Ok(())
}
