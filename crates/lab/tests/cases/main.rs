//! The hard cases, with real packets: bursts, fragments, full ranges, a cloud that is down, throttled or late, reboots, and a
//! change of mode under live pods. In each, every pod gets its address or a refusal with the right cause, living pods are never
//! silent, nothing leaks, and the books close.

#![allow(clippy::print_stderr, reason = "a test says why it cannot run")]

mod books;
mod cloud;
mod fleet;
mod growth;
mod node;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use support::{Outcome, Stage};

/// Cases played at once: most of their time they wait, for back-offs, ages and outages.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    // The long ones first, so that the short ones fill the time beside them.
    let trials = vec![
        trial("an_interface_in_a_full_subnet_makes_way_for_one_with_room", growth::FULL_SLOTS, growth::replacement),
        trial("a_minute_without_ec2_costs_no_living_pod_anything", cloud::TWO_NODES, cloud::outage),
        trial("a_minute_of_stale_metadata_holds_nothing_up", cloud::TWO_NODES, cloud::stale_metadata),
        trial("after_a_reboot_with_the_checkpoint_old_pods_give_way_to_new_ones", cloud::TWO_NODES, node::reboot_with),
        trial("after_a_reboot_without_the_checkpoint_all_addresses_are_free", cloud::TWO_NODES, node::reboot_without),
        trial("a_burst_of_110_pods_is_served", growth::LARGE, growth::burst),
        trial("single_addresses_stand_beside_prefixes_where_no_28_is_left", growth::CHEQUERED, growth::fragments),
        trial("full_ranges_spill_over_and_a_freed_one_serves_again", growth::THREE_RANGES, growth::spill_over),
        trial("nodes_that_share_one_call_a_second_are_all_served", cloud::FOUR_NODES, cloud::throttled),
        trial("the_mode_changes_under_live_pods_and_back", cloud::TWO_NODES, node::modes),
    ];
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, world: &'static str, case: fn(&Stage) -> Outcome) -> Trial {
    Trial::test(name, move || Stage::play(world, case).map_err(|error| Failed::from(error.to_string())))
}
