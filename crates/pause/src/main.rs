//! The program `freeboard-pause`: holds a pod's namespaces open, reaps what is orphaned in them, and ends when asked to.

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

fn main() -> ExitCode {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    while let Ok(signal) = signals.wait() {
        if signal != Signal::SIGCHLD {
            return ExitCode::SUCCESS;
        }
        // As process 1 it inherits every orphan of the pod.
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
    }
    ExitCode::FAILURE
}
