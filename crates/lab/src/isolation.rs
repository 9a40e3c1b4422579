//! Runs the calling program inside namespaces of its own, so that nothing it builds can outlive it or leave the machine.
//!
//! Three processes take part, all of the same executable: the *outer* one, which the user started; the *init* one, process 1
//! of the new process namespace, which prepares mounts and reaps orphans; and the *inner* one, which goes on after
//! [`isolate`] and is the program. When the outer process ends, however it ends, the kernel kills init; when init ends, the
//! kernel kills everything in the namespace, and with the last process its mounts and networks vanish.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::{env, fs, io};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid, getpid, getppid};

use crate::cgroups;
use crate::netlink::Netlink;

/// Where the lab keeps its files; a tmpfs that only the lab's own processes see.
pub const LAB_DIRECTORY: &str = "/run/freeboard-lab";

/// Tells the re-executed program which of the three processes it is.
const STAGE: &str = "FREEBOARD_LAB_STAGE";
/// The process id of the outer process, as the outer process namespace numbers it.
const OUTER: &str = "FREEBOARD_LAB_OUTER";

/// Why the program could not be isolated.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// The kernel, or its settings, refuse new namespaces.
    #[error(
        "cannot make {what}: {errno}. The lab needs root, or user namespaces for ordinary users. Check that none of these \
         forbids them: sysctl user.max_user_namespaces (must be above 0), kernel.unprivileged_userns_clone (must be 1 where \
         it exists), kernel.apparmor_restrict_unprivileged_userns (must be 0 where it exists), or a container's seccomp profile"
    )]
    Forbidden {
        /// What was to be made.
        what: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// A mount inside the new namespaces failed.
    #[error("cannot mount {what} inside the lab's own mount namespace: {errno}")]
    Mount {
        /// What was to be mounted, and where.
        what: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The program could not be started again inside the namespaces, or a file could not be prepared.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> IsolationError {
    let what = what.into();
    move |source| IsolationError::System { what, source }
}

/// Makes sure that the program runs inside namespaces of its own; call it first in `main`, before any thread exists.
///
/// In the process that the user started it does not return on success: it starts the program again inside, waits, and exits
/// with the program's exit status. Inside, it returns and the program goes on: it is root there, `/run` is empty, the only
/// network is a loopback, and no other process of the machine can be seen.
///
/// # Errors
/// When namespaces are not allowed; the message names what to check.
pub fn isolate() -> Result<(), IsolationError> {
    match env::var(STAGE).as_deref() {
        Ok("init") if getpid() == Pid::from_raw(1) => run_init(),
        Ok("inner") if getppid() == Pid::from_raw(1) => {
            unblock_signals();
            Ok(())
        }
        _ => run_outer(),
    }
}

/// Whether the calling program is inside the lab's namespaces.
#[must_use]
pub fn is_isolated() -> bool {
    env::var(STAGE).is_ok_and(|stage| stage == "inner") && getppid() == Pid::from_raw(1)
}

fn run_outer() -> Result<(), IsolationError> {
    enter_new_namespaces()?;
    let signals = watched_signals()?;
    let child = again("init")
        .env(OUTER, getpid().to_string())
        .env(cgroups::VARIABLE, cgroups::name_for(std::process::id()))
        .spawn()
        .map_err(system("start the program again in its new namespaces"))?;
    let status = supervise(&child, &signals)?;
    cgroups::sweep(std::process::id());
    std::process::exit(exit_code(status));
}

fn enter_new_namespaces() -> Result<(), IsolationError> {
    let flags =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        match unshare(flags) {
            Ok(()) => return Ok(()),
            // Root without the right to make namespaces, as in most containers, may still have a user namespace.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(forbidden("process, mount and network namespaces")(errno)),
        }
    }
    unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(forbidden("user, process, mount and network namespaces"))?;
    map_ids("setgroups", "deny")?;
    map_ids("uid_map", &format!("0 {user} 1"))?;
    map_ids("gid_map", &format!("0 {group} 1"))
}

fn map_ids(file: &str, text: &str) -> Result<(), IsolationError> {
    fs::write(format!("/proc/self/{file}"), text).map_err(|source| IsolationError::Forbidden {
        what: format!("a user namespace (writing {text:?} to /proc/self/{file})"),
        errno: Errno::from_raw(source.raw_os_error().unwrap_or(0)),
    })
}

fn forbidden(what: &str) -> impl FnOnce(Errno) -> IsolationError {
    let what = what.to_owned();
    move |errno| IsolationError::Forbidden { what, errno }
}

fn run_init() -> Result<(), IsolationError> {
    unblock_signals();
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| system("ask to die with the outer process")(errno.into()))?;
    if outer_is_gone() {
        std::process::exit(1);
    }
    prepare_mounts()?;
    // Programs of the lab itself (an API server, a client) talk over the loopback.
    Netlink::open()
        .and_then(|mut netlink| netlink.set_up("lo"))
        .map_err(|error| system("set the loopback up")(io::Error::other(error)))?;
    let signals = watched_signals()?;
    let child =
        again("inner").env_remove(OUTER).spawn().map_err(system("start the program again as process 2 of the lab"))?;
    let status = supervise(&child, &signals)?;
    std::process::exit(exit_code(status));
}

/// The parent may have died before the death signal was asked for; then `/proc`, still the outer one, shows another parent.
fn outer_is_gone() -> bool {
    let Ok(expected) = env::var(OUTER) else { return false };
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    status.lines().find_map(|line| line.strip_prefix("PPid:")).is_some_and(|parent| parent.trim() != expected)
}

/// The same program with the same arguments, told to play `stage`.
fn again(stage: &str) -> Command {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("freeboard"));
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(arguments).env(STAGE, stage);
    command
}

fn unblock_signals() {
    // The mask is inherited over exec; a failure can only mean an invalid argument, and there is none.
    let _ = SigSet::empty().thread_set_mask();
}

fn watched_signals() -> Result<SignalFd, IsolationError> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
        mask.add(signal);
    }
    mask.thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC))
        .map_err(|errno| system("watch for signals")(errno.into()))
}

/// Waits for `child`, reaps every other orphan, and passes signals on.
fn supervise(child: &Child, signals: &SignalFd) -> Result<ExitStatus, IsolationError> {
    let child = Pid::from_raw(child.id().cast_signed());
    loop {
        if let Some(status) = reap(child) {
            return Ok(status);
        }
        let Some(signal) = signals.read_signal().map_err(|errno| system("read a signal")(errno.into()))? else {
            continue;
        };
        let number = Signal::try_from(signal.ssi_signo.cast_signed());
        // A terminal sends its signals to the whole foreground group, so the program has them already.
        let from_terminal = signal.ssi_code == libc::SI_KERNEL;
        if let Ok(number) = number
            && number != Signal::SIGCHLD
            && !from_terminal
        {
            // The child is not reaped yet, so the id is still its own.
            let _ = kill(child, number);
        }
    }
}

/// Collects everything that has ended; returns the status of `child` when it is among it.
fn reap(child: Pid) -> Option<ExitStatus> {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Some(ExitStatus::from_raw(code << 8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Some(ExitStatus::from_raw(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(_) | Err(_) => {}
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    // The shell's convention for a program that a signal ended.
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn prepare_mounts() -> Result<(), IsolationError> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(mount_failed("/ as private"))?;
    // In some containers /proc is partly covered and may not be mounted anew; then the outer one stays and shows other
    // process ids, which nothing in the lab relies on.
    let _ = mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    );
    mount_tmpfs(Path::new("/run"))?;
    fs::create_dir_all(LAB_DIRECTORY).map_err(system(format!("make {LAB_DIRECTORY}")))?;
    ensure_directory(Path::new("/etc"), "cni")?;
    ensure_directory(Path::new("/opt"), "cni")?;
    ensure_directory(Path::new("/var"), "log")?;
    ensure_directory(Path::new("/var/lib"), "kubelet")
}

fn mount_tmpfs(path: &Path) -> Result<(), IsolationError> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .map_err(mount_failed(&format!("a tmpfs on {}", path.display())))
}

fn mount_failed(what: &str) -> impl FnOnce(Errno) -> IsolationError {
    let what = what.to_owned();
    move |errno| IsolationError::Mount { what, errno }
}

/// Makes `parent/name` exist without touching the machine's disk: when it is missing, `parent` is covered by a tmpfs that
/// links to everything the old one has.
fn ensure_directory(parent: &Path, name: &str) -> Result<(), IsolationError> {
    if parent.join(name).is_dir() {
        return Ok(());
    }
    let kept = PathBuf::from(LAB_DIRECTORY).join("machine").join(parent.strip_prefix("/").unwrap_or(parent));
    fs::create_dir_all(&kept).map_err(system(format!("make {}", kept.display())))?;
    bind(parent, &kept)?;
    mount_tmpfs(parent)?;
    // The nodes cover /run, so the links lead through the covered directory itself.
    let old = parent.join(".machine");
    fs::create_dir(&old).map_err(system(format!("make {}", old.display())))?;
    bind(&kept, &old)?;
    let entries = fs::read_dir(&old).map_err(system(format!("list {}", old.display())))?;
    for entry in entries {
        let entry = entry.map_err(system(format!("list {}", old.display())))?;
        let (from, to) = (entry.path(), parent.join(entry.file_name()));
        // A relative link would lead elsewhere from one directory further down, so a link is copied.
        let target = fs::read_link(&from).unwrap_or_else(|_| Path::new(".machine").join(entry.file_name()));
        std::os::unix::fs::symlink(target, &to).map_err(system(format!("make {}", to.display())))?;
    }
    let wanted = parent.join(name);
    fs::create_dir(&wanted).map_err(system(format!("make {}", wanted.display())))
}

fn bind(from: &Path, to: &Path) -> Result<(), IsolationError> {
    // Recursive, because in a user namespace a mount under `from` may not be uncovered.
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(mount_failed(&format!("{} on {}", from.display(), to.display())))
}
