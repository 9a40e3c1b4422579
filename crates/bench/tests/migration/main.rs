//! Freeboard takes the place of the Amazon VPC CNI on a node with living pods, is upgraded there, and makes way for it again: no
//! pod is ever silent, new pods come and old ones go in each phase, and nothing is left of whoever went.
//!
//! Agents, plugins and packets are the real ones of both sides.

#![allow(clippy::print_stderr, reason = "a test tells what it has measured, and why it cannot run")]

#[path = "../../../lab/tests/cases/books.rs"]
#[allow(dead_code, reason = "the cases of the lab use the rest")]
mod books;
#[path = "../../../lab/tests/cases/fleet.rs"]
#[allow(dead_code, reason = "the cases of the lab use the rest")]
mod fleet;
#[path = "../../../lab/tests/support/mod.rs"]
mod support;
mod trial;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use support::Stage;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(error) = freeboard_lab::isolate()
    {
        eprintln!("the lab cannot be built: {error}");
        return ExitCode::FAILURE;
    }
    let play = || Stage::play(trial::WORLD, trial::play).map_err(|error| Failed::from(error.to_string()));
    let name = "twenty_pods_notice_neither_freeboards_coming_nor_its_upgrade_nor_its_going";
    libtest_mimic::run(&arguments, vec![Trial::test(name, play)]).exit_code()
}
