//! The built program and what it says when it cannot start.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::{Command, Output};

/// The program in namespaces of its own (it must reach nothing), after `before` has run there. It sees only `environment`.
fn agent(directory: &Path, before: &str, environment: &[(&str, &str)]) -> Output {
    let script = format!("set -e\n{before}\nexec \"$AGENT\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c", &script]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("DIR", directory);
    command.env("AGENT", env!("CARGO_BIN_EXE_freeboard-agent"));
    for (name, file) in [
        ("FREEBOARD_SOCKET", "run/ipamd.sock"),
        ("AWS_VPC_K8S_CNI_BACKING_STORE", "state/ipam.json"),
        ("AWS_VPC_K8S_CNI_LOG_FILE", "ipamd.log"),
        ("HOST_CNI_CONFDIR_PATH", "net.d"),
        ("FREEBOARD_TOMBSTONE_DIR", "tombstones"),
    ] {
        command.env(name, directory.join(file));
    }
    command.envs(environment.iter().copied());
    command.output().expect("this test needs `unshare` of util-linux, and user namespaces")
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "the agent must not start");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn wrong_settings_stop_it_and_are_all_named() {
    let directory = tempfile::tempdir().unwrap();
    let output = agent(
        directory.path(),
        "",
        &[("WARM_IP_TARGET", "-1"), ("AWS_VPC_ENI_MTU", "9002"), ("ENABLE_PREFIX_DELEGATION", "yes")],
    );
    assert_eq!(
        complaint(&output),
        "freeboard-agent stops: 3 settings cannot be used: \
         WARM_IP_TARGET=\"-1\": expected a whole number from 1 to 4096, or 0 for not set; \
         ENABLE_PREFIX_DELEGATION=\"yes\": expected true or false; \
         AWS_VPC_ENI_MTU=\"9002\": expected a whole number from 576 to 9001\n"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_socket_in_use_stops_it_and_stays_in_use() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("run")).unwrap();
    let socket = directory.path().join("run/ipamd.sock");
    let owner = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let message = complaint(&agent(directory.path(), "", &[]));
    assert!(message.contains(&format!("{} is in use by a live process", socket.display())), "{message}");
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    drop(owner);
    assert!(!directory.path().join("net.d").exists());
}

#[test]
fn a_read_only_state_directory_stops_it_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("state")).unwrap();
    let before = "mount -t tmpfs -o ro none \"$DIR/state\"";
    let message = complaint(&agent(directory.path(), before, &[]));
    let expected = format!(
        "cannot write (AWS_VPC_K8S_CNI_BACKING_STORE) {}/state/ipam.json: Read-only file system",
        directory.path().display()
    );
    assert!(message.contains(&expected), "{message}");
    assert!(!directory.path().join("net.d").exists());
}

#[test]
fn the_settings_are_printed_as_a_page() {
    let output = Command::new(env!("CARGO_BIN_EXE_freeboard-agent")).arg("--print-settings").output().unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && page.contains("| `FREEBOARD_POLICY` | not set |"), "{page}");
}
