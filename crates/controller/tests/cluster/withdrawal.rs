//! Expansions taken back, on a real API server and the simulated EC2: whole or half made, killed on the way, in use, and with what was
//! there before.

use std::time::Duration;

use freeboard_address::{Cidr, EniId, SubnetId};
use freeboard_kubernetes::k8s_openapi::api::coordination::v1::Lease;
use freeboard_kubernetes::kube::Api;
use freeboard_kubernetes::kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use freeboard_kubernetes::resources::{
    ENIConfig, ENIConfigSpec, ExpansionMeans, ExpansionPhase, ExpansionSpec, PartState,
};
use freeboard_vpc::{CreateNetworkInterface, DeleteNetworkInterface, Describe};
use libtest_mimic::Trial;
use serde_json::json;

use crate::expansions::{changes, create, expansions, in_first_vpc, made, start, status, trial, wait_for_phase};
use crate::stage::{Outcome, Stage, require};

/// Nothing of an expansion's block: no association, no subnet, none with a table, none with the tag.
const NOTHING: (usize, usize, usize, usize) = (0, 0, 0, 0);

/// The trials.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_withdrawn_expansion_leaves_nothing_however_far_it_had_come", trial(half_made)),
        Trial::test("what_a_withdrawn_expansion_has_in_use_stays_and_is_named_with_its_user", trial(in_use)),
        Trial::test("a_withdrawal_gives_the_eniconfigs_back_and_a_deletion_says_what_it_leaves", trial(eni_configs)),
    ]
}

fn withdraw(stage: &Stage, name: &str, withdrawn: bool) -> Outcome {
    let patch = Patch::Merge(json!({"spec": {"withdrawn": withdrawn}}));
    stage.do_it(expansions(stage).patch(name, &PatchParams::default(), &patch)).map(drop)
}

/// After so many changes the controller is killed, the expansion withdrawn, and the next controller killed on the way back.
fn half_made(stage: &Stage) -> Outcome {
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), "kube-system");
    let wait_for_changes = |count: u64| {
        stage.wait(format!("{count} changes"), |stage| {
            Ok(if changes(stage) >= count { Ok(()) } else { Err(changes(stage).to_string()) })
        })
    };
    let kill = |mut controller: freeboard_lab::Program| -> Outcome {
        controller.kill()?;
        let _ = stage.do_it(leases.delete("freeboard-controller", &DeleteParams::default()));
        Ok(())
    };
    for forth in [1, 3, 6] {
        let (name, spec) = (format!("after-{forth}"), in_first_vpc(&format!("100.64.{}.0/20", forth * 16), true));
        let before = changes(stage);
        create(stage, &name, spec.clone())?;
        let first = start(stage, &format!("forth-{forth}"))?;
        wait_for_changes(before + forth)?;
        kill(first)?;
        withdraw(stage, &name, true)?;
        let before = changes(stage);
        let second = start(stage, &format!("back-{forth}"))?;
        stage.wait("the way back is begun, or there is none", |stage| {
            // The call whose caller was killed may not have done anything.
            let is_over = status(stage, &name)?.phase == ExpansionPhase::Withdrawn;
            Ok(if is_over || changes(stage) > before { Ok(()) } else { Err("nothing is changed".to_owned()) })
        })?;
        kill(second)?;
        let mut third = start(stage, &format!("again-{forth}"))?;
        let status = wait_for_phase(stage, &name, ExpansionPhase::Withdrawn)?;
        let found = made(stage, &spec)?;
        require(found == NOTHING, format!("killed after change {forth}, withdrawn: {found:?}"))?;
        let is_evident = status.parts.iter().all(|part| part.state == PartState::Done && !part.detail.is_empty());
        require(is_evident && status.now.contains("does not have 100.64."), format!("it is shown: {status:?}"))?;
        let _ = third.stop(Duration::from_secs(20))?;
        let _ = stage.do_it(leases.delete("freeboard-controller", &DeleteParams::default()));
    }
    create(stage, "never", ExpansionSpec { withdrawn: true, ..in_first_vpc("100.64.128.0/20", false) })?;
    let _controller = start(stage, "last")?;
    let status = wait_for_phase(stage, "never", ExpansionPhase::Withdrawn)?;
    require(status.now.contains("never approved"), status.now)
}

/// Puts an interface into the first subnet of a block, as an agent would.
fn occupy(stage: &Stage, block: &str) -> Outcome<EniId> {
    let block: Cidr = block.parse()?;
    let made = stage.lab().server().with_cloud(|cloud, now| {
        let subnets = cloud.describe_subnets(&Describe::default()).map(|page| page.items).unwrap_or_default();
        let first = subnets.into_iter().find(|subnet| block.contains_block(subnet.cidr_block))?;
        let request = CreateNetworkInterface {
            description: Some("aws-K8S-i-0123456789abcdef0".to_owned()),
            ..CreateNetworkInterface::in_subnet(first.subnet_id)
        };
        cloud.create_network_interface(&request, now).ok()
    });
    Ok(made.ok_or("there is no subnet to put an interface into")?.network_interface_id)
}

fn in_use(stage: &Stage) -> Outcome {
    let _controller = start(stage, "controller")?;
    let spec = in_first_vpc("100.64.0.0/20", true);
    create(stage, "used", spec.clone())?;
    wait_for_phase(stage, "used", ExpansionPhase::Ready)?;
    let interface = occupy(stage, &spec.block)?;
    let before = changes(stage);
    withdraw(stage, "used", true)?;
    let said = wait_for_phase(stage, "used", ExpansionPhase::Stuck)?.now;
    for word in [interface.as_str(), "aws-K8S-i-0123456789abcdef0", "is in use by", "spec.withdrawn"] {
        require(said.contains(word), format!("{word:?} is said: {said}"))?;
    }
    require(changes(stage) == before, "nothing is changed of what is in use")?;
    require(made(stage, &spec)? == (1, 2, 1, 2), "and it is open as before")?;
    // Taken back, the withdrawal was none; given again, it waits for the interface and goes on by itself.
    withdraw(stage, "used", false)?;
    wait_for_phase(stage, "used", ExpansionPhase::Ready)?;
    withdraw(stage, "used", true)?;
    wait_for_phase(stage, "used", ExpansionPhase::Stuck)?;
    let request = DeleteNetworkInterface { network_interface_id: interface };
    stage.lab().server().with_cloud(|cloud, now| cloud.delete_network_interface(&request, now))?;
    wait_for_phase(stage, "used", ExpansionPhase::Withdrawn)?;
    let found = made(stage, &spec)?;
    require(found == NOTHING, format!("nothing is left: {found:?}"))?;
    // What is approved is still not changed otherwise.
    let edit = Patch::Merge(json!({"spec": {"block": "100.65.0.0/20"}}));
    let edited = stage.runtime.block_on(expansions(stage).patch("used", &PatchParams::default(), &edit));
    let said = edited.map(drop).map_err(|error| error.to_string());
    require(said.clone().is_err_and(|said| said.contains("is not changed any more")), format!("{said:?}"))
}

fn eni_configs(stage: &Stage) -> Outcome {
    let configs: Api<ENIConfig> = Api::all(stage.client.clone());
    let before = ENIConfigSpec {
        subnet: "subnet-0cd55c38980375d58".to_owned(),
        security_groups: vec!["sg-0123456789abcdef0".to_owned()],
    };
    let object = ENIConfig::new("ap-southeast-2a", before.clone());
    stage.do_it(configs.create(&PostParams::default(), &object))?;
    let _controller = start(stage, "controller")?;
    let by_config = |block: &str| ExpansionSpec {
        means: ExpansionMeans::CustomNetworking,
        security_groups: vec!["sg-0c7e5b3a1f9d24680".to_owned()],
        ..in_first_vpc(block, true)
    };
    create(stage, "by-config", by_config("100.64.0.0/20"))?;
    wait_for_phase(stage, "by-config", ExpansionPhase::Ready)?;
    withdraw(stage, "by-config", true)?;
    wait_for_phase(stage, "by-config", ExpansionPhase::Withdrawn)?;
    let left = stage.do_it(configs.list(&ListParams::default()))?.items;
    let left: Vec<_> = left.into_iter().map(|one| (one.metadata.name.unwrap_or_default(), one.spec)).collect();
    require(left == [("ap-southeast-2a".to_owned(), before)], format!("as it was before: {left:?}"))?;

    create(stage, "deleted", by_config("100.64.16.0/20"))?;
    wait_for_phase(stage, "deleted", ExpansionPhase::Ready)?;
    let subnet = status(stage, "deleted")?.parts.iter().find_map(|part| {
        let id = part.detail.split_whitespace().find(|word| word.starts_with("subnet-"))?;
        Some(SubnetId::new(id))
    });
    let subnet = subnet.ok_or("the evidence names the subnets")?;
    stage.do_it(expansions(stage).delete("deleted", &DeleteParams::default())).map(drop)?;
    stage.wait("an event says what a deletion leaves", |stage| {
        let told = stage.events("deleted", "ExpansionLeft")?;
        let message = told.iter().filter_map(|event| event.message.as_deref()).next().unwrap_or_default();
        Ok(if message.contains(subnet.as_str()) { Ok(()) } else { Err(format!("{told:?}")) })
    })?;
    Ok(())
}
