//! The agent in a real cluster: what it watches there, and what it tells there.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may say why it cannot run, and panic")]

#[path = "../support/mod.rs"]
mod support;

mod custom_networking;
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
            "custom_networking_follows_the_eniconfigs",
            trial(custom_networking::WORLD, custom_networking::play),
        ),
        Trial::test("every_command_of_the_first_document_tells_the_truth", trial(seed::WORLD, seed::play)),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(world: &'static str, test: fn(&Stage) -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || Stage::play(world, test).map_err(|error| Failed::from(error.to_string()))
}
