//! The EKS story in five acts: two /27 subnets fill up, pods are refused and told why, a second range makes room.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use freeboard_address::{Cidr, SubnetId, VpcId};
use freeboard_capacity::RangeUsage;
use freeboard_ec2::{
    AssociateVpcCidrBlock, CidrBlockState, CreateSubnet, CreateTags, DescribeVpcs, Ec2Client, Ec2Config,
};
use freeboard_lab::{Lab, LabOptions, Machine};
use serde_json::json;

use super::checks::{self, short};
use super::cluster::Cluster;
use super::story::Story;
use super::{DemoArguments, read_world};
use crate::agents::Node;
use crate::{lab, programs, tree};

/// The limit of every wait in the story; none comes near it.
const PATIENCE: Duration = Duration::from_secs(90);
/// The range that makes room, as in the seeds.
const SECONDARY_RANGE: &str = "100.64.0.0/20";
/// Its subnets: name, block, zone.
const NEW_SUBNETS: [(&str, &str, &str); 2] = [
    ("eks-demo-ip-vpc-stack-PrivateSubnet01", "100.64.1.0/24", "ap-southeast-2a"),
    ("eks-demo-ip-vpc-stack-PrivateSubnet02", "100.64.2.0/24", "ap-southeast-2b"),
];
/// One spare address a node, so that all that the subnets have can be used; short rests, so that the story is short.
const SETTINGS: [(&str, &str); 7] = [
    ("WARM_IP_TARGET", "1"),
    ("IP_COOLDOWN_PERIOD", "3"),
    ("FREEBOARD_RANGE_PREFERENCE", "secondary-first"),
    ("FREEBOARD_SHRINK_SECONDS", "2"),
    ("FREEBOARD_SUBNETS_SHORT_SECONDS", "1"),
    ("FREEBOARD_VPC_CIDR_SECONDS", "1"),
    ("FREEBOARD_ADD_WAIT_SECONDS", "10"),
];

/// Everything the acts share.
struct Stage {
    lab: Lab,
    ec2: Ec2Client,
    vpc: VpcId,
    cluster: Cluster,
}

/// Tells the story; fails when something that must hold does not.
pub(crate) async fn tell(arguments: &DemoArguments) -> Result<()> {
    let mut story = Story::new(arguments.json);
    let mut stage = set(&mut story, arguments).await?;
    fill(&mut story, &mut stage).await?;
    explain(&mut story, &stage).await?;
    expand(&mut story, &stage).await?;
    reshuffle(&mut story, &mut stage).await?;
    prove(&mut story, &stage)?;
    summary(&story);
    if arguments.keep && !arguments.json {
        anstream::println!("\n{}", lab::how_to_look_around(&stage.lab, &stage.cluster.nodes));
        tokio::task::block_in_place(|| lab::shell(&stage.lab, &[], &[]))?;
    }
    story.end()
}

/// Act 1: the network and its nodes.
async fn set(story: &mut Story, arguments: &DemoArguments) -> Result<Stage> {
    story.act(
        "A cluster in a small network",
        "On EKS every pod takes an address of the VPC, from the subnet of its node. These nodes live in two public subnets of \
         27 usable addresses each. The cloud is simulated; the agent, the plugin, the API calls and the packets are real.",
    );
    let programs = programs::find()?;
    let world = read_world(arguments.world.as_deref())?;
    let vpc = world.vpcs.first().context("the world has no VPC")?.id.clone();
    let waiting = story.waiting("six nodes boot and their agents start");
    let options = LabOptions { agent: programs.agent, plugin: programs.plugin, speed: arguments.speed };
    let lab = Lab::start(world, options).await?;
    let machines = lab.machines();
    let nodes = tokio::task::block_in_place(|| start_agents(&lab, &machines))?;
    let ec2 = Ec2Client::new(Ec2Config::for_endpoint(lab.region(), lab.ec2_endpoint(), "lab", "lab"))?;
    drop(waiting);
    story.did("freeboard-agent    # on each node, in its own network and mount namespace");
    for node in &nodes {
        let machine = &node.machine;
        story.show(&format!("  {:<18} {:<10} {}", short(&machine.name), machine.instance_type, machine.zone));
    }
    story.fact("nodes", json!(nodes.iter().map(|node| node.machine.name.clone()).collect::<Vec<_>>()));
    Ok(Stage { lab, ec2, vpc, cluster: Cluster::new(nodes) })
}

fn start_agents(lab: &Lab, machines: &[Machine]) -> Result<Vec<Node>> {
    std::thread::scope(|scope| {
        let starting: Vec<_> =
            machines.iter().map(|machine| scope.spawn(move || Node::start(lab, machine, &SETTINGS))).collect();
        starting.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("a start panicked")))).collect()
    })
}

/// Act 2: pods until both subnets are full.
async fn fill(story: &mut Story, stage: &mut Stage) -> Result<()> {
    story.act(
        "Pods start until both public subnets are full",
        "A deployment is scaled up. Each node asks EC2 for one address after the other, and for a second interface when the \
         first one is full. Interfaces need an address themselves.",
    );
    story.did("kubectl scale deployment alpine-curl -n test --replicas=50");
    let waiting = story.waiting("pods start");
    for (number, round) in rounds(&stage.cluster).into_iter().enumerate() {
        let cluster = &mut stage.cluster;
        let started: Vec<usize> = round.iter().map(|node| cluster.start_pod(*node)).collect::<Result<_>>()?;
        tokio::task::block_in_place(|| {
            started.iter().try_for_each(|index| cluster.wait_for_answer(*index, PATIENCE).map(drop))
        })?;
        settle(stage).await?;
        waiting.now(format!("{} pods started, round {}", stage.cluster.pods.len(), number + 1));
    }
    drop(waiting);
    show_pods(story, &stage.cluster);
    let (all, without) = (stage.cluster.pods.len(), stage.cluster.waiting().len());
    story.say(&format!("{} of {all} pods run; {without} wait for an address.", all - without));
    story.fact("pods_running_before", all - without);
    story.fact("pods_waiting_before", without);
    Ok(())
}

/// The order in which nodes get pods. Per zone the small node gets two first, then the others take turns; the last rounds ask
/// for more than there is. One pod per zone and round.
fn rounds(cluster: &Cluster) -> Vec<Vec<usize>> {
    let mut zones: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (index, node) in cluster.nodes.iter().enumerate() {
        let (large, small) = zones.entry(node.machine.zone.as_str()).or_default();
        if node.machine.instance_type.ends_with(".small") { small.push(index) } else { large.push(index) }
    }
    let order = |(large, small): &(Vec<usize>, Vec<usize>)| -> Vec<usize> {
        let two_on_small = small.iter().flat_map(|node| [*node; 2]);
        let turns = (0..9).flat_map(|_| large.iter().copied());
        let more = large.first().into_iter().chain(small.first()).copied();
        let too_many = large.iter().chain(small).copied();
        two_on_small.chain(turns).chain(more).chain(too_many).collect()
    };
    let orders: Vec<Vec<usize>> = zones.values().map(order).collect();
    let longest = orders.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).map(|round| orders.iter().filter_map(|order| order.get(round).copied()).collect()).collect()
}

/// Waits until every node has a spare address again, or its subnet has none left to give.
async fn settle(stage: &Stage) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let usage = tree::read(&stage.ec2, &stage.vpc).await?;
        let full_zones: Vec<String> =
            subnets(&usage).filter(|subnet| subnet.usage.is_full()).map(|subnet| subnet.zone.clone()).collect();
        let mut settled = true;
        for node in &stage.cluster.nodes {
            let spare = tokio::task::block_in_place(|| node.spare_addresses())?;
            settled &= spare > 0 || full_zones.contains(&node.machine.zone);
        }
        if settled {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(anyhow!("after {PATIENCE:?} a node has no spare address although its subnet has"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn subnets(usage: &[RangeUsage]) -> impl Iterator<Item = &freeboard_capacity::SubnetUsage> {
    usage.iter().flat_map(|range| &range.subnets)
}

/// Act 3: the refusal explained, and the tree of the first screenshot.
async fn explain(story: &mut Story, stage: &Stage) -> Result<()> {
    story.act(
        "Why a pod waits",
        "kubelet would say \"failed to assign an IP address to container\" and no more. Freeboard says which range is full, in \
         figures, and what to do.",
    );
    let waiting = stage.cluster.waiting();
    let pod = waiting.first().context("no pod waits, so there is nothing to explain")?;
    let (message, remedy) = pod.progress().refusal.context("the waiting pod was not refused")?;
    story.say(&format!("test/{}:", pod.name));
    story.say(&message);
    story.say(&remedy);
    story.fact("refusal", json!({"message": message, "remedy": remedy}));
    story.check("the refusal names its cause", message.contains("[SubnetExhausted]"));
    story.did("aws ec2 describe-subnets");
    let usage = tree::read(&stage.ec2, &stage.vpc).await?;
    story.show(&tree::show(&usage));
    story.fact("usage_before", serde_json::to_value(&usage)?);
    let shown: BTreeMap<String, String> =
        subnets(&usage).map(|subnet| (subnet.cidr.to_string(), subnet.usage.to_string())).collect();
    let expected = [
        ("10.0.208.0/27", "100.00 %"),
        ("10.0.224.0/27", "100.00 %"),
        ("10.0.186.0/27", "18.75 %"),
        ("10.0.192.0/27", "18.75 %"),
    ];
    let subnets_match = expected.iter().all(|(cidr, percent)| shown.get(*cidr).is_some_and(|shown| shown == percent));
    let vpc_matches = usage.first().is_some_and(|range| range.assigned_to_subnets.to_string() == "0.20 %");
    story.check("usage is 100.00, 100.00, 18.75, 18.75 and 0.20 %", subnets_match && vpc_matches);
    Ok(())
}

/// Act 4: a second range, through the EC2 API.
async fn expand(story: &mut Story, stage: &Stage) -> Result<()> {
    story.act(
        "A second range",
        "100.64.0.0/10 is shared address space: inside the VPC it works like any other, outside nobody routes it. So pods can \
         have it without asking the network team for more of 10.0.0.0/8.",
    );
    let range: Cidr = SECONDARY_RANGE.parse()?;
    story.did(&format!("aws ec2 associate-vpc-cidr-block --cidr-block {range}"));
    let waiting = story.waiting(format!("{range} is being associated"));
    stage.ec2.associate_vpc_cidr_block(&AssociateVpcCidrBlock { vpc: stage.vpc.clone(), cidr: range }).await?;
    until_associated(stage, range).await?;
    drop(waiting);
    for (name, cidr, zone) in NEW_SUBNETS {
        story.did(&format!("aws ec2 create-subnet --cidr-block {cidr} --availability-zone {zone}"));
        create_subnet(stage, name, cidr.parse()?, zone).await?;
    }
    story.did("aws ec2 create-tags --tags Key=kubernetes.io/role/cni,Value=1");
    let without = stage.cluster.waiting().len();
    let waiting = story.waiting(format!("{without} waiting pods get addresses"));
    tokio::task::block_in_place(|| {
        Cluster::wait_until("every pod has an address", PATIENCE, || Ok(stage.cluster.waiting().is_empty()))
    })?;
    drop(waiting);
    show_pods(story, &stage.cluster);
    story.check(
        "every waiting pod got an address on the node where it was, nothing was restarted",
        stage.cluster.waiting().is_empty(),
    );
    Ok(())
}

async fn until_associated(stage: &Stage, range: Cidr) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let request = DescribeVpcs { vpcs: vec![stage.vpc.clone()], ..DescribeVpcs::default() };
        let vpcs = stage.ec2.describe_vpcs(&request).await?;
        let associations = vpcs.iter().flat_map(|vpc| &vpc.cidr_associations);
        if associations.into_iter().any(|one| one.cidr == range && one.state.state == CidrBlockState::Associated) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(anyhow!("{range} is not associated after {PATIENCE:?}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn create_subnet(stage: &Stage, name: &str, cidr: Cidr, zone: &str) -> Result<SubnetId> {
    let tags =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let subnet = stage
        .ec2
        .create_subnet(&CreateSubnet {
            vpc: stage.vpc.clone(),
            cidr,
            zone: zone.to_owned(),
            tags: tags(&[("Name", name)]),
        })
        .await?;
    let tag = tags(&[("kubernetes.io/role/cni", "1")]);
    stage.ec2.create_tags(&CreateTags { resources: vec![subnet.id.to_string()], tags: tag }).await?;
    Ok(subnet.id)
}

/// Act 5: some pods are made anew, and no subnet is full any more.
async fn reshuffle(story: &mut Story, stage: &mut Stage) -> Result<()> {
    story.act(
        "Room everywhere",
        "Some pods are made anew, as every rollout does. New ones prefer the second range; the addresses that they leave rest \
         for a few seconds and go back to the subnets.",
    );
    story.did("kubectl rollout restart deployment alpine-curl -n test    # a part of it");
    let waiting = story.waiting("pods are made anew");
    tokio::task::block_in_place(|| recreate(&mut stage.cluster))?;
    waiting.now("addresses go back to the subnets");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let usage = loop {
        let usage = tree::read(&stage.ec2, &stage.vpc).await?;
        let roomy = subnets(&usage).all(|subnet| !subnet.usage.is_full());
        let tidy = tokio::task::block_in_place(|| {
            let spare = stage.cluster.nodes.iter().map(Node::spare_addresses);
            spare.collect::<Result<Vec<u64>>>().map(|spare| spare.into_iter().all(|spare| spare <= 1))
        })?;
        if roomy && tidy && stage.cluster.waiting().is_empty() || tokio::time::Instant::now() > deadline {
            break usage;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    drop(waiting);
    story.show(&tree::show(&usage));
    story.fact("usage_after", serde_json::to_value(&usage)?);
    story.check("no subnet is full", subnets(&usage).all(|subnet| !subnet.usage.is_full()));
    story.check("every pod has an address", stage.cluster.waiting().is_empty());
    show_seed_node(story, stage)
}

/// On every larger node, a few pods of the primary range are deleted and started again.
fn recreate(cluster: &mut Cluster) -> Result<()> {
    const PER_NODE: usize = 3;
    let larger: Vec<usize> = (0..cluster.nodes.len())
        .filter(|node| !cluster.nodes[*node].machine.instance_type.ends_with(".small"))
        .collect();
    for node in larger {
        for _ in 0..PER_NODE {
            let is_primary = |address: std::net::Ipv4Addr| address.octets()[0] == 10;
            let old = cluster.pods.iter().rposition(|pod| pod.node == node && pod.address().is_some_and(is_primary));
            let Some(old) = old else { continue };
            cluster.delete_pod(old)?;
            let new = cluster.start_pod(node)?;
            cluster.wait_for_answer(new, PATIENCE)?;
        }
    }
    Ok(())
}

/// The seed's queries on its node.
fn show_seed_node(story: &mut Story, stage: &Stage) -> Result<()> {
    let node = stage
        .cluster
        .nodes
        .iter()
        .find(|node| node.machine.name.starts_with("ip-10-0-208-27"))
        .unwrap_or(&stage.cluster.nodes[0]);
    story.did("curl -s http://localhost:61679/v1/enis | jq '.ENIs|keys'");
    let interfaces = tokio::task::block_in_place(|| node.pods_by_interface())?;
    story.show(&format!("  on {}:", short(&node.machine.name)));
    for (id, addresses) in &interfaces {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        story.say(&format!("{id}  {}", addresses.join(" ")));
    }
    let holds = |octet: u8| interfaces.iter().flat_map(|(_, held)| held).any(|address| address.octets()[0] == octet);
    story.check("one node holds pods of 10.0.208.0/27 and of 100.64.1.0/24", holds(10) && holds(100));
    story.fact("seed_node_interfaces", json!(interfaces));
    Ok(())
}

fn prove(story: &mut Story, stage: &Stage) -> Result<()> {
    story.say("And the packets:");
    tokio::task::block_in_place(|| checks::run(story, &stage.lab, &stage.cluster))
}

fn show_pods(story: &Story, cluster: &Cluster) {
    for (index, node) in cluster.nodes.iter().enumerate() {
        let ranges: Vec<String> =
            cluster.pods_by_range(index).iter().map(|(range, count)| format!("{range} {count:>2}")).collect();
        let waiting = cluster.waiting().iter().filter(|pod| pod.node == index).count();
        let waiting = if waiting > 0 { format!("   {waiting} waiting") } else { String::new() };
        story.show(&format!("  {:<18} pods in {}{waiting}", short(&node.machine.name), ranges.join(" · ")));
    }
}

fn summary(story: &Story) {
    story.show("");
    story.say(
        "You saw two subnets run out while 99.8 % of the VPC was free; a refusal that names the range and the remedy; and pods \
         of a full subnet served from a second range on the same nodes, without a restart.",
    );
    story.say("Next: freeboard lab (look around), freeboard vpc serve --world worlds/eks-demo.yaml (the simulated EC2 alone).");
}
