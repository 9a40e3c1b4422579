//! The built plugin, run as a container runtime runs it, with a stand-in agent, in network namespaces of its own.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod agent;
mod bad_input;
mod commands;
mod runtime;
mod sandbox;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let isolated = sandbox::isolate();
    let mut trials = Vec::new();
    for (name, test) in commands::tests().into_iter().chain(bad_input::tests()) {
        let isolated = isolated.clone();
        trials.push(Trial::test(name, move || {
            isolated?;
            sandbox::in_new_network(test).map_err(Failed::from)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
