//! Network namespaces for tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{geteuid, getgid, getuid};

/// A test: its name and what it does in a fresh network namespace.
pub(crate) type Test = (&'static str, fn());

/// Moves the process, which must have one thread, out of the machine's namespaces.
pub(crate) fn isolate() -> Result<(), String> {
    let (user, group) = (getuid(), getgid());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    if !geteuid().is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|errno| {
        format!("these tests need root or unprivileged user namespaces (user.max_user_namespaces > 0): {errno}")
    })?;
    if flags.contains(CloneFlags::CLONE_NEWUSER) {
        let write = |file: &str, text: String| fs::write(file, text).map_err(|e| format!("write {file}: {e}"));
        write("/proc/self/setgroups", "deny".to_owned())?;
        write("/proc/self/uid_map", format!("0 {user} 1"))?;
        write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|errno| format!("make the mounts private: {errno}"))
}

/// Runs a test on a thread in a new network namespace, and says what it panicked with.
pub(crate) fn in_new_network(test: fn()) -> Result<(), String> {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        test();
    };
    thread::spawn(run).join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "panic".to_owned())
    })
}

/// A pinned network namespace, as a container runtime makes one.
pub(crate) struct Pinned {
    directory: tempfile::TempDir,
}

impl Pinned {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pin = directory.path().join("netns");
        File::create(&pin).unwrap();
        let target = pin;
        let make = move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let source = Some("/proc/thread-self/ns/net");
            mount(source, &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        };
        thread::spawn(make).join().unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("netns")
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        unpin(&self.path());
    }
}

fn unpin(path: &Path) {
    nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH).unwrap();
}
