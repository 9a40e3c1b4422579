//! The agent in a real cluster: what it watches there, and what it tells there.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may say why it cannot run, and panic")]

#[path = "../support/mod.rs"]
mod support;

/// A world with one t3.medium in a small subnet of 10.0.0.0/16, and what else its VPC has: further blocks and subnets.
macro_rules! one_node {
    ($blocks:literal, $subnets:literal) => {
        concat!(
            "
region: ap-southeast-2
account_id: '111122223333'
seed: 8
availability_zones: [{ name: ap-southeast-2a, id: apse2-az1 }]
timing: { api_latency_milliseconds: 100, attach_seconds: 2, detach_seconds: 2, metadata_lag_seconds: 1 }
vpcs:
  - id: vpc-0a0000000000000a1
    name: cluster
    cidr: 10.0.0.0/16
    secondary_cidrs: ",
            $blocks,
            "
    default_security_group: sg-0a0000000000000a1
    subnets:
      - { id: subnet-0a0000000000000a1, name: nodes, cidr: 10.0.16.0/28, zone: ap-southeast-2a }
",
            $subnets,
            "
    route_tables: [{ id: rtb-0a0000000000000a1, main: true }]
instances:
  - id: i-0a0000000000000a1
    type: t3.medium
    interfaces: [{ id: eni-0a0000000000000a1, subnet: subnet-0a0000000000000a1, address: 10.0.16.10 }]
"
        )
    };
}

mod bad_days;
mod by_hand;
mod causes;
mod custom_networking;
mod expansion;
mod seed;
mod signals;
mod view;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use support::{Outcome, Stage};

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("a_full_node_says_so_everywhere_and_settings_are_live", trial(signals::WORLD, signals::play)),
        Trial::test(
            "an_agent_lives_with_a_node_object_and_an_api_server_that_misbehave",
            trial(bad_days::WORLD, bad_days::play),
        ),
        Trial::test("every_cause_is_named_everywhere_and_never_another", trial(causes::WORLD, causes::play)),
        Trial::test(
            "custom_networking_follows_the_eniconfigs",
            trial(custom_networking::WORLD, custom_networking::play),
        ),
        Trial::test("one_approval_gives_waiting_pods_room_on_their_nodes", trial(expansion::WORLD, expansion::play)),
        Trial::test(
            "the_twelve_steps_of_the_second_document_give_a_node_pods_of_both_ranges",
            trial(by_hand::WORLD, by_hand::play),
        ),
        Trial::test("every_command_of_the_first_document_tells_the_truth", trial(seed::WORLD, seed::play)),
    ];
    // All control planes have the same address in the lab.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(world: &'static str, test: fn(&Stage) -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || Stage::play(world, test).map_err(|error| Failed::from(error.to_string()))
}
