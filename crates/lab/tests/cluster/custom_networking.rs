//! Custom networking by the Amazon VPC CNI's rules: the ENIConfig of a node's zone says where its pods' interfaces are made, and
//! one that is missing or wrong is named on the pod.

use std::net::Ipv4Addr;

use freeboard_lab::kubernetes::Cluster;

use crate::support::{Outcome, Stage, require};
use crate::view::{self, PATIENCE, event, items, running};

/// One node in a small subnet, and a second range in its zone.
pub(crate) const WORLD: &str = one_node!(
    "[100.64.0.0/20]",
    "      - { id: subnet-0c0000000000000c1, name: pods, cidr: 100.64.1.0/24, zone: ap-southeast-2a }"
);

pub(crate) fn play(stage: &Stage) -> Outcome {
    let cluster = Cluster::start(&stage.lab, view::options()?)?;
    let settings = [
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"),
        ("ENI_CONFIG_LABEL_DEF", "topology.kubernetes.io/zone"),
        ("FREEBOARD_ADD_WAIT_SECONDS", "5"),
    ];
    cluster.install_agent(&stage.lab, &settings)?;
    let node = cluster.node_names().pop().ok_or("the cluster has no node")?;
    // Without its ENIConfig the node has no address to give, so it is not Ready, and says why.
    let condition =
        ["get", "node", &node, "-o", "jsonpath={.status.conditions[?(@.type==\"PodAddressesAvailable\")].message}"];
    let said = cluster.wait_for("the node names what is missing", &condition, PATIENCE, |text| {
        text.contains("there is no ENIConfig named \"ap-southeast-2a\"")
    })?;
    eprintln!("the node's condition: {said}");
    cluster.apply(&config("subnet-0c0000000000000c9"))?;
    cluster.wait_for("the node names the wrong subnet", &condition, PATIENCE, |text| {
        text.contains("names subnet-0c0000000000000c9")
    })?;
    cluster.apply(&config("subnet-0c0000000000000c1"))?;
    cluster.wait_until_ready(PATIENCE)?;
    cluster.apply(&view::deployment(3))?;
    for pod in items(&running(&cluster, 3)?) {
        let address: Ipv4Addr = pod["status"]["podIP"].as_str().unwrap_or_default().parse()?;
        require(address.octets()[0] == 100, format!("a pod has an address of the second range, not {address}"))?;
    }
    let shown = cluster.kubectl(&["get", "eniconfigs"])?;
    require(shown.contains("subnet-0c0000000000000c1"), format!("kubectl shows the subnet: {shown}"))?;
    // Interfaces that are there stay; only a new one needs the object again.
    cluster.kubectl(&["delete", "eniconfig", "ap-southeast-2a"])?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=14"])?;
    let text = event(&cluster, "Pod", "NoSubnetAllowed", &["ap-southeast-2a"])?;
    eprintln!("event on the pod: {text}");
    Ok(())
}

fn config(subnet: &str) -> String {
    format!(
        "
apiVersion: crd.k8s.amazonaws.com/v1alpha1
kind: ENIConfig
metadata: {{ name: ap-southeast-2a }}
spec: {{ subnet: {subnet} }}
"
    )
}
