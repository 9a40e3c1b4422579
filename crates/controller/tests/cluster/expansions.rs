//! Expansions on a real API server and the simulated EC2: carried out once, whoever is killed on the way, and refused with reasons.

use std::time::Duration;

use freeboard_address::Cidr;
use freeboard_kubernetes::k8s_openapi::api::coordination::v1::Lease;
use freeboard_kubernetes::k8s_openapi::api::core::v1::Event;
use freeboard_kubernetes::kube::Api;
use freeboard_kubernetes::kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use freeboard_kubernetes::resources::{
    ENIConfig, Expansion, ExpansionMeans, ExpansionPhase, ExpansionSpec, ExpansionStatus, ExpansionSubnet, PartState,
};
use freeboard_lab::Program;
use freeboard_vpc::{Describe, Fault, Filter};
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::stage::{Outcome, Stage, require};

const WORLD: &str = include_str!("expansions.yaml");
/// The calls that change something, in the order in which an expansion makes them.
const CHANGES: [&str; 4] = ["AssociateVpcCidrBlock", "CreateSubnet", "AssociateRouteTable", "CreateTags"];
/// Those that take something back.
const WITHDRAWALS: [&str; 2] = ["DeleteSubnet", "DisassociateVpcCidrBlock"];
/// Calls for a block with two subnets, one of which gets a route table.
const STEPS: u64 = 6;

/// The trials.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_kill_after_every_step_of_an_expansion_ends_in_the_same_state", trial(kills)),
        Trial::test("no_expansion_begins_before_its_approval_and_what_is_wrong_with_it_is_said", trial(refusals)),
        Trial::test("a_step_of_an_expansion_that_iam_denies_waits_for_people_and_goes_on", trial(denials)),
        Trial::test("with_custom_networking_each_zone_of_an_expansion_gets_its_eniconfig", trial(custom_networking)),
    ]
}

pub(crate) fn trial(test: fn(&Stage) -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || Stage::set_in(WORLD).and_then(|stage| test(&stage)).map_err(|error| Failed::from(error.to_string()))
}

pub(crate) fn start(stage: &Stage, name: &str) -> Outcome<Program> {
    let environment = [
        ("AWS_ENDPOINT_URL_EC2", stage.lab().ec2_endpoint()),
        ("AWS_REGION", stage.lab().region().to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "example".to_owned()),
    ];
    stage.start_controller_in(name, 8081, &["--expansions"], &environment)
}

pub(crate) fn expansions(stage: &Stage) -> Api<Expansion> {
    Api::all(stage.client.clone())
}

/// A /20 with a /24 for each zone; the first one gets the table.
fn spec(vpc: &str, block: &str, table: &str, approved: bool) -> ExpansionSpec {
    let cidr: Cidr = block.parse().unwrap();
    let mut subnets = cidr.subdivide(24).skip(1);
    let mut subnet = |zone: &str, route_table: Option<&str>| ExpansionSubnet {
        zone: zone.to_owned(),
        cidr: subnets.next().unwrap().to_string(),
        route_table: route_table.map(str::to_owned),
    };
    ExpansionSpec {
        vpc: vpc.to_owned(),
        block: block.to_owned(),
        subnets: vec![subnet("ap-southeast-2a", Some(table)), subnet("ap-southeast-2b", None)],
        means: ExpansionMeans::Tag,
        security_groups: Vec::new(),
        approved,
        withdrawn: false,
    }
}

pub(crate) fn in_first_vpc(block: &str, approved: bool) -> ExpansionSpec {
    spec("vpc-0f3a9ca141c0acd04", block, "rtb-0f9e8d7c6b5a41302", approved)
}

pub(crate) fn create(stage: &Stage, name: &str, spec: ExpansionSpec) -> Outcome {
    stage.do_it(expansions(stage).create(&PostParams::default(), &Expansion::new(name, spec))).map(drop)
}

fn approve(stage: &Stage, name: &str) -> Outcome {
    let patch = Patch::Merge(json!({"spec": {"approved": true}}));
    stage.do_it(expansions(stage).patch(name, &PatchParams::default(), &patch)).map(drop)
}

pub(crate) fn status(stage: &Stage, name: &str) -> Outcome<ExpansionStatus> {
    Ok(stage.do_it(expansions(stage).get(name))?.status.unwrap_or_default())
}

pub(crate) fn wait_for_phase(stage: &Stage, name: &str, phase: ExpansionPhase) -> Outcome<ExpansionStatus> {
    stage.wait(format!("{name} is {phase:?}"), |stage| {
        let status = status(stage, name)?;
        let is_there = status.phase == phase && !status.now.is_empty();
        Ok(if is_there { Ok(()) } else { Err(format!("{:?}: {}", status.phase, status.now)) })
    })?;
    status(stage, name)
}

pub(crate) fn changes(stage: &Stage) -> u64 {
    let calls = stage.lab().server().calls();
    CHANGES.iter().chain(&WITHDRAWALS).filter_map(|action| calls.get(action)).map(|count| count.calls).sum()
}

/// What the cloud has of an expansion's block: subnets, those with the table, those with the tag.
pub(crate) fn made(stage: &Stage, spec: &ExpansionSpec) -> Outcome<(usize, usize, usize, usize)> {
    let block: Cidr = spec.block.parse()?;
    Ok(stage.lab().server().with_cloud(|cloud, _| {
        let vpcs = cloud.describe_vpcs(&Describe::default()).map(|page| page.items).unwrap_or_default();
        let associations = vpcs.iter().flat_map(|vpc| &vpc.cidr_block_associations);
        let blocks = associations.filter(|one| one.cidr_block == block).count();
        let subnets = cloud.describe_subnets(&Describe::default()).map(|page| page.items).unwrap_or_default();
        let inside: Vec<_> = subnets.into_iter().filter(|subnet| block.contains_block(subnet.cidr_block)).collect();
        let tables = cloud.describe_route_tables(&Describe::default()).map(|page| page.items).unwrap_or_default();
        let is_routed = |subnet: &freeboard_address::SubnetId| {
            tables.iter().flat_map(|table| &table.associations).any(|one| one.subnet_id.as_ref() == Some(subnet))
        };
        let tagged = Filter::new("tag:kubernetes.io/role/cni", ["1"]);
        let tagged = cloud.describe_subnets(&Describe::by_filter([tagged])).map(|page| page.items).unwrap_or_default();
        let tagged = tagged.iter().filter(|subnet| block.contains_block(subnet.cidr_block)).count();
        (blocks, inside.len(), inside.iter().filter(|subnet| is_routed(&subnet.subnet_id)).count(), tagged)
    }))
}

/// The controller is killed as soon as EC2 has got a call that changes something, each round one call later; the next one goes on.
fn kills(stage: &Stage) -> Outcome {
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), "kube-system");
    for round in 1..=STEPS {
        let (vpc, table) = match round {
            1..=4 => ("vpc-0f3a9ca141c0acd04", "rtb-0f9e8d7c6b5a41302"),
            _ => ("vpc-0f3a9ca141c0acd05", "rtb-0f9e8d7c6b5a41303"),
        };
        let spec = spec(vpc, &format!("100.64.{}.0/20", round * 16), table, true);
        let before = changes(stage);
        create(stage, &format!("round-{round}"), spec.clone())?;
        let mut first = start(stage, &format!("first-{round}"))?;
        stage.wait(format!("{round} changes"), |stage| {
            Ok(if changes(stage) >= before + round { Ok(()) } else { Err(format!("{}", changes(stage) - before)) })
        })?;
        first.kill()?;
        // The next one need not wait until the killed one's lease has run out.
        let _ = stage.do_it(leases.delete("freeboard-controller", &DeleteParams::default()));
        let mut second = start(stage, &format!("second-{round}"))?;
        let status = wait_for_phase(stage, &format!("round-{round}"), ExpansionPhase::Ready)?;
        let done = status.parts.iter().filter(|part| part.state == PartState::Done).count();
        require(done == status.parts.len() - 1, format!("all but the first pod is done: {:?}", status.parts))?;
        let found = made(stage, &spec)?;
        require(found == (1, 2, 1, 2), format!("after a kill at change {round}: {found:?}"))?;
        // A change may have been asked for twice, when its answer did not come.
        let asked = changes(stage) - before;
        require((STEPS..=STEPS + 2).contains(&asked), format!("{asked} changes were asked for"))?;
        eprintln!("killed at change {round}: {asked} changes for {STEPS} steps");
        let _ = second.stop(Duration::from_secs(20))?;
        let _ = stage.do_it(leases.delete("freeboard-controller", &DeleteParams::default()));
    }
    Ok(())
}

/// What the API server says to an expansion with this spec.
fn refusal(stage: &Stage, spec: &serde_json::Value) -> Outcome<String> {
    let object = json!({
        "apiVersion": "ipam.freeboard.dev/v1alpha1", "kind": "Expansion", "metadata": {"name": "bad"}, "spec": spec,
    });
    match stage.cluster().apply(&object.to_string()) {
        Ok(()) => Err(format!("{spec} is accepted").into()),
        Err(error) => Ok(error.to_string()),
    }
}

fn refusals(stage: &Stage) -> Outcome {
    let vpc = "vpc-0f3a9ca141c0acd04";
    let subnet = |cidr: &str| json!([{"zone": "ap-southeast-2a", "cidr": cidr}]);
    for (block, subnet, part) in [
        ("100.64.0.0/29", subnet("100.64.0.0/29"), "EC2 takes blocks from /16 to /28"),
        ("fd00::/56", subnet("100.64.1.0/24"), "is no IPv4 block"),
        ("100.64.0.1/20", subnet("100.64.1.0/24"), "is no IPv4 block"),
        ("100.64.0.0/20", subnet("100.64.16.0/24"), "every subnet must lie inside the block"),
    ] {
        let said = refusal(stage, &json!({"vpc": vpc, "block": block, "subnets": subnet}))?;
        require(said.contains(part), format!("{part:?} is said of {block}: {said}"))?;
    }
    let _controller = start(stage, "controller")?;
    let in_second_vpc = spec("vpc-0f3a9ca141c0acd05", "10.1.16.0/20", "rtb-0f9e8d7c6b5a41303", true);
    for (name, spec, part) in [
        ("services", in_first_vpc("172.20.0.0/16", true), "EC2 refuses it beside 10.0.0.0/16"),
        ("own", in_second_vpc, "it overlaps 10.1.0.0/16, which the VPC has already"),
        (
            "peers",
            in_first_vpc("100.127.0.0/20", true),
            "it overlaps 100.127.0.0/16 of the VPC at the other end of pcx-0e5d4c3b2a1908f76",
        ),
    ] {
        create(stage, name, spec.clone())?;
        let status = wait_for_phase(stage, name, ExpansionPhase::Refused)?;
        require(status.now.contains(part), format!("{part:?} is said of {}: {}", spec.block, status.now))?;
    }
    create(stage, "unknown", spec("vpc-0000000000000ffff", "100.64.0.0/20", "rtb-0f9e8d7c6b5a41302", true))?;
    stage.wait("an unknown VPC is said", |stage| {
        let status = status(stage, "unknown")?;
        Ok(if status.now.contains("vpc-0000000000000ffff") { Ok(()) } else { Err(format!("{status:?}")) })
    })?;
    create(stage, "waits", in_first_vpc("100.64.0.0/20", false))?;
    let proposed = wait_for_phase(stage, "waits", ExpansionPhase::Proposed)?;
    require(proposed.now.contains("waits to be approved"), format!("it says so: {}", proposed.now))?;
    require(changes(stage) == 0, "nothing is changed before an approval, and nothing that is refused")?;
    approve(stage, "waits")?;
    approve(stage, "waits")?;
    wait_for_phase(stage, "waits", ExpansionPhase::Ready)?;
    let edit = Patch::Merge(json!({"spec": {"block": "100.65.0.0/20"}}));
    let edited = stage.runtime.block_on(expansions(stage).patch("waits", &PatchParams::default(), &edit));
    let said = edited.map(drop).map_err(|error| error.to_string());
    require(
        said.clone().is_err_and(|said| said.contains("an approved expansion is not changed")),
        format!("{said:?}"),
    )?;
    let api: Api<Event> = Api::all(stage.client.clone());
    stage.wait("events tell of it", |stage| {
        let listed = stage.do_it(api.list(&ListParams::default().fields("involvedObject.name=waits")))?;
        let reasons: Vec<String> = listed.items.into_iter().filter_map(|event| event.reason).collect();
        let told =
            ["ExpansionProposed", "ExpansionReady"].iter().all(|reason| reasons.iter().any(|told| told == reason));
        Ok(if told { Ok(()) } else { Err(format!("{reasons:?}")) })
    })?;
    Ok(())
}

/// Each action that changes something is denied in turn.
fn denials(stage: &Stage) -> Outcome {
    let _controller = start(stage, "controller")?;
    for (index, action) in CHANGES.iter().enumerate() {
        let fault = Fault::Error {
            action: (*action).to_owned(),
            code: "UnauthorizedOperation".to_owned(),
            message: "You are not authorized to perform this operation.".to_owned(),
            count: 1000,
        };
        stage.lab().server().with_cloud(|cloud, now| cloud.inject(&fault, now))?;
        let name = format!("denied-{}", action.to_lowercase());
        create(stage, &name, in_first_vpc(&format!("100.64.{}.0/20", (index + 1) * 16), true))?;
        let status = wait_for_phase(stage, &name, ExpansionPhase::Stuck)?;
        let part = format!("allow ec2:{action} to the role of freeboard-controller");
        require(status.now.contains(&part), format!("{part:?} is said: {}", status.now))?;
        stage.lab().server().with_cloud(|cloud, now| cloud.clear_faults(now));
        wait_for_phase(stage, &name, ExpansionPhase::Ready)?;
    }
    Ok(())
}

fn custom_networking(stage: &Stage) -> Outcome {
    let _controller = start(stage, "controller")?;
    let by_config = ExpansionSpec {
        means: ExpansionMeans::CustomNetworking,
        security_groups: vec!["sg-0c7e5b3a1f9d24680".to_owned()],
        ..in_first_vpc("100.64.0.0/20", true)
    };
    create(stage, "by-config", by_config.clone())?;
    wait_for_phase(stage, "by-config", ExpansionPhase::Ready)?;
    let configs: Api<ENIConfig> = Api::all(stage.client.clone());
    let listed = stage.do_it(configs.list(&ListParams::default()))?.items;
    let names: Vec<_> = listed.iter().filter_map(|one| one.metadata.name.as_deref()).collect();
    require(names == ["ap-southeast-2a", "ap-southeast-2b"], format!("one for each zone: {names:?}"))?;
    for config in &listed {
        require(config.spec.subnet.starts_with("subnet-"), format!("it names a subnet: {config:?}"))?;
        require(config.spec.security_groups == by_config.security_groups, format!("and the groups: {config:?}"))?;
    }
    let found = made(stage, &by_config)?;
    require(found == (1, 2, 1, 0), format!("no subnet has the tag: {found:?}"))
}
