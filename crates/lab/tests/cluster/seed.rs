//! The document that Freeboard was made from ("Efficient use of IPv4 address space in Kubernetes with VPC CNI"), section by section:
//! every command and every file that it names is tried, and gives what its heading promises.

use std::path::PathBuf;
use std::process::{Command, Output};

use freeboard_lab::Machine;
use freeboard_lab::kubernetes::Cluster;
use serde_json::Value;

use crate::support::{Outcome, Stage, held, require, wait_until};
use crate::view::{self, event, running, wait_for};

/// One node in a small subnet of the primary range, and no secondary range yet.
pub(crate) const WORLD: &str = one_node!("[]", "");
const VPC: &str = "vpc-0a0000000000000a1";
/// Pods that the small subnet has addresses for.
const ROOM: usize = 9;
/// More than that.
const PODS: usize = 12;

pub(crate) fn play(stage: &Stage) -> Outcome {
    let cluster = Cluster::start(&stage.lab, view::options()?)?;
    cluster.install_agent(
        &stage.lab,
        &[("IP_COOLDOWN_PERIOD", "1"), ("FREEBOARD_ADD_WAIT_SECONDS", "5"), ("MAX_ENI", "2")],
    )?;
    cluster.wait_until_ready(view::PATIENCE)?;
    let machine = stage.lab.machines().pop().ok_or("the world has no machine")?;
    section_5_configuration_files(&machine)?;
    cluster.apply(&view::deployment(PODS))?;
    event(&cluster, "Pod", "SubnetExhausted", &["no address", "10.0.16.0/28"])?;
    running(&cluster, ROOM)?;
    section_6_primary_and_secondary(&cluster, stage, &machine)?;
    a_dump_alone_tells_why(&cluster, stage)?;
    section_8_1_a_secondary_range(&cluster, stage)?;
    section_7_2_a_larger_pool(&cluster, &machine)?;
    section_7_1_usage(&cluster, &machine)?;
    section_8_2_addresses_of_pods(&cluster)?;
    section_7_4_leaks(&cluster, stage, &machine)
}

fn section_5_configuration_files(machine: &Machine) -> Outcome {
    let text = machine.output("cat", &["/etc/cni/net.d/10-aws.conflist"])?;
    let file: Value = serde_json::from_str(&text)?;
    require(file["plugins"][0]["type"] == "aws-cni", format!("the configuration starts our plugin: {text}"))
}

fn section_6_primary_and_secondary(cluster: &Cluster, stage: &Stage, machine: &Machine) -> Outcome {
    let map = cluster.kubectl(&["get", "configmap", "aws-node", "-n", "kube-system", "-o", "yaml"])?;
    require(map.contains("IP_COOLDOWN_PERIOD: \"1\""), format!("1. the settings are shown: {map}"))?;
    let agent = machine.output("cat", &["/var/log/aws-routed-eni/ipamd.log"])?;
    require(agent.contains("\"cause\":\"SubnetExhausted\""), "2. the agent's log names the cause of the refusals")?;
    let plugin = machine.output("cat", &["/var/log/aws-routed-eni/plugin.log"])?;
    require(
        plugin.contains("ailed to assign an IP address to container"),
        format!("2. and the plugin's too: {plugin}"),
    )?;
    let pods = cluster.kubectl(&["get", "pods", "-o", "wide"])?;
    require(pods.contains(" 10.0.16."), format!("3. pods have addresses of the primary range: {pods}"))?;
    let ranges = json_of(&aws(stage, &["describe-vpcs", "--vpc-ids", VPC])?)?;
    let associated = ranges["Vpcs"][0]["CidrBlockAssociationSet"].as_array().map_or(0, Vec::len);
    require(associated == 1, format!("4. there is no secondary range yet: {ranges}"))
}

/// What cluster, kubelets and EC2 show while pods wait goes into one archive, and from that alone the full subnet is found.
fn a_dump_alone_tells_why(cluster: &Cluster, stage: &Stage) -> Outcome {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("dump.tar.gz").display().to_string();
    let (kubeconfig, endpoint) = (cluster.kubeconfig().display().to_string(), stage.lab.ec2_endpoint());
    let of_ec2 = ["--ec2", &endpoint, "--region", stage.lab.region()];
    let collected = freeboard(&[&["collect", "--file", &file, "--kubeconfig", &kubeconfig], &of_ec2[..]].concat())?;
    let said = format!("{}{}", String::from_utf8_lossy(&collected.stdout), String::from_utf8_lossy(&collected.stderr));
    require(
        collected.status.success() && said.contains("account ids"),
        format!("an archive is written, masked: {said}"),
    )?;
    eprintln!("{said}");
    let found = freeboard(&["doctor", "-v", &file])?;
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    let first = said.lines().find(|line| line.starts_with('✗')).unwrap_or_default();
    require(
        found.status.code() == Some(1) && first.contains("SubnetExhausted") && first.contains("10.0.16.0/28"),
        format!("the archive names the full subnet: {said}"),
    )?;
    require(said.contains("/ipamd.log"), format!("the node's own log is a part of the evidence: {said}"))?;
    eprintln!("{said}");
    Ok(())
}

/// The document's own example is refused by EC2 beside a 10.0.0.0/16, and 100.64.0.0/16 takes its place.
fn section_8_1_a_secondary_range(cluster: &Cluster, stage: &Stage) -> Outcome {
    let associate = ["associate-vpc-cidr-block", "--vpc-id", VPC, "--cidr-block"];
    let refused = aws(stage, &[&associate[..], &["172.20.0.0/16"]].concat())?;
    let said = String::from_utf8_lossy(&refused.stderr).trim().to_owned();
    require(!refused.status.success() && said.contains("172.20.0.0/16"), format!("EC2 refuses it: {said}"))?;
    eprintln!("EC2 on 172.20.0.0/16: {said}");
    let planned = plan(cluster, stage, "172.20.0.0/16")?;
    for words in ["172.20.0.0/16: EC2 refuses it beside 10.0.0.0/16", "--add-cidr 100.64.0.0/16"] {
        require(planned.contains(words), format!("the plan says {words:?}: {planned}"))?;
    }
    eprintln!("{planned}");
    json_of(&aws(stage, &[&associate[..], &["100.64.0.0/16"]].concat())?)?;
    let subnet = [
        "create-subnet",
        "--vpc-id",
        VPC,
        "--cidr-block",
        "100.64.1.0/24",
        "--availability-zone",
        "ap-southeast-2a",
        "--tag-specifications",
        "ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]",
    ];
    wait_until("the new range takes a subnet", || {
        let output = aws(stage, &subnet)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(if output.status.success() { Ok(()) } else { Err(said) })
    })
}

/// What `freeboard plan` says of one more block, from what kubectl and the aws CLI show.
fn plan(cluster: &Cluster, stage: &Stage, block: &str) -> Outcome<String> {
    let dump = tempfile::tempdir()?;
    std::fs::write(dump.path().join("cluster.json"), cluster.kubectl(&["get", "nodes,pods", "-A", "-o", "json"])?)?;
    for what in ["vpcs", "subnets", "network-interfaces", "instances", "route-tables", "vpc-peering-connections"] {
        let shown = json_of(&aws(stage, &[&format!("describe-{what}")])?)?;
        std::fs::write(dump.path().join(format!("{what}.json")), shown.to_string())?;
    }
    let said = freeboard(&["plan", &dump.path().display().to_string(), "--add-cidr", block])?;
    Ok(format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr)))
}

/// Runs `freeboard`.
fn freeboard(arguments: &[&str]) -> Outcome<Output> {
    Ok(Command::new(variable("FREEBOARD_PROGRAMS")?.join("freeboard")).args(arguments).output()?)
}

/// `kubectl edit configmap aws-node`: what is edited counts at once, and the pods that wait get addresses of the new range.
fn section_7_2_a_larger_pool(cluster: &Cluster, machine: &Machine) -> Outcome {
    wait_for(cluster, "the agent sees the new subnet", &["nodeaddresses", &machine.name], |object| {
        object["status"]["subnets"].as_array().is_some_and(|subnets| {
            subnets.iter().any(|subnet| subnet["cidr"] == "100.64.1.0/24" && subnet["usedForPods"] == true)
        })
    })?;
    edit(cluster, "/^data:/a\\  FREEBOARD_RANGE_PREFERENCE: secondary-first")?;
    event(cluster, "ConfigMap", "SettingsAccepted", &["FREEBOARD_RANGE_PREFERENCE=\"secondary-first\""])?;
    edit(cluster, "s/MAX_ENI: .*/MAX_ENI: \"3\"/")?;
    let obeyed = event(cluster, "ConfigMap", "SettingsAccepted", &["MAX_ENI=\"3\" (was \"2\")"])?;
    eprintln!("event on the ConfigMap: {obeyed}");
    running(cluster, PODS)?;
    let total = held(machine)?.total;
    require(total >= PODS, format!("the pool has grown from 9 addresses to {total}"))
}

fn section_7_1_usage(cluster: &Cluster, machine: &Machine) -> Outcome {
    // kubectl describe nodes | grep PodCIDR
    view::wait_for(cluster, "both ranges are in the node's condition", &["node", &machine.name], |node| {
        let text = node["status"]["conditions"].to_string();
        text.contains("PodCIDR 10.0.16.0/28: ") && text.contains("PodCIDR 100.64.1.0/24: ")
    })?;
    let described = cluster.kubectl(&["describe", "nodes"])?;
    let lines: Vec<&str> = described.lines().filter(|line| line.contains("PodCIDR")).collect();
    require(!lines.is_empty(), format!("kubectl describe nodes | grep PodCIDR shows the use: {described}"))?;
    eprintln!("{}", lines.join("\n"));
    eprintln!("{}", cluster.kubectl(&["get", "nodeaddresses"])?);
    Ok(())
}

fn section_8_2_addresses_of_pods(cluster: &Cluster) -> Outcome {
    let text = cluster.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.podIP}"])?;
    let addresses: Vec<&str> = text.split_whitespace().collect();
    require(addresses.len() == PODS, format!("every pod has an address: {text}"))?;
    for range in ["10.0.16.", "100.64.1."] {
        require(addresses.iter().any(|address| address.starts_with(range)), format!("some are of {range}0: {text}"))?;
    }
    Ok(())
}

/// A leak that is really there is found; and terminated pods give their addresses back.
fn section_7_4_leaks(cluster: &Cluster, stage: &Stage, machine: &Machine) -> Outcome {
    let tags =
        "ResourceType=network-interface,Tags=[{Key=node.k8s.amazonaws.com/instance_id,Value=i-0dead00000000dead}]";
    let subnets = json_of(&aws(stage, &["describe-subnets", "--filters", "Name=cidr-block,Values=100.64.1.0/24"])?)?;
    let subnet = subnets["Subnets"][0]["SubnetId"].as_str().unwrap_or_default().to_owned();
    let leaked = json_of(&aws(
        stage,
        &[
            "create-network-interface",
            "--subnet-id",
            &subnet,
            "--description",
            "aws-K8S-i-0dead00000000dead",
            "--tag-specifications",
            tags,
        ],
    )?)?;
    let interface = leaked["NetworkInterface"]["NetworkInterfaceId"].as_str().unwrap_or_default().to_owned();
    let endpoint = stage.lab.ec2_endpoint();
    let found = freeboard(&["leaks", "--ec2", &endpoint, "--region", stage.lab.region(), "--interval", "1"])?;
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    require(found.status.code() == Some(1) && said.contains(&interface), format!("{interface} is a leak: {said}"))?;
    eprintln!("{said}");
    cluster.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    wait_until("terminated pods give their addresses back", || {
        let held = held(machine)?;
        Ok(if held.assigned.is_empty() { Ok(()) } else { Err(format!("still assigned: {:?}", held.assigned)) })
    })
}

/// `kubectl edit`, with a script of sed as the editor.
fn edit(cluster: &Cluster, script: &str) -> Outcome {
    let tools = variable("FREEBOARD_TOOLS")?;
    let output = Command::new(tools.join("kubectl"))
        .args(["edit", "configmap", "aws-node", "-n", "kube-system"])
        .envs(cluster.environment())
        .env("KUBE_EDITOR", format!("sed -i '{script}'"))
        .output()?;
    require(output.status.success(), String::from_utf8_lossy(&output.stderr))
}

/// The aws CLI against the lab's EC2.
pub(crate) fn aws(stage: &Stage, arguments: &[&str]) -> Outcome<Output> {
    let mut command = Command::new(variable("FREEBOARD_PYTHON")?);
    command.args(["-m", "awscli", "--endpoint-url", &stage.lab.ec2_endpoint(), "--region", stage.lab.region()]);
    command.args(["--output", "json", "ec2"]).args(arguments);
    command.env("AWS_ACCESS_KEY_ID", "lab").env("AWS_SECRET_ACCESS_KEY", "lab").env("AWS_PAGER", "");
    Ok(command.output()?)
}

/// What a command printed, once it has succeeded.
pub(crate) fn json_of(output: &Output) -> Outcome<Value> {
    require(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn variable(name: &str) -> Outcome<PathBuf> {
    let missing = || format!("{name} is not set: run the tests with `cargo xtask test`, which builds what it names");
    Ok(std::env::var_os(name).map(PathBuf::from).ok_or_else(missing)?)
}
