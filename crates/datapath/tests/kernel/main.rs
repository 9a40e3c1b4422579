//! Freeboard's requests on the real kernel, each test in network namespaces of its own.
//!
//! The process first enters a new user namespace (unless it is root), a new mount and a new network namespace; each test then
//! gets a thread in a network namespace of its own. The machine's own namespace is never touched.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod host;
mod nft;
mod pod;
mod sandbox;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let isolated = sandbox::isolate();
    let mut trials = Vec::new();
    for (name, test) in pod::tests().into_iter().chain(host::tests()).chain(nft::tests()) {
        let isolated = isolated.clone();
        trials.push(Trial::test(name, move || {
            isolated?;
            sandbox::in_new_network(test).map_err(Failed::from)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
