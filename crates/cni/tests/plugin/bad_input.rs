//! Input that cannot be used: the message says so, the agent is not asked, and nothing changes.

use std::path::Path;

use serde_json::json;

use crate::agent::{Agent, given};
use crate::runtime::{Invocation, Outcome, host};
use crate::sandbox::{Pinned, Test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("an_unknown_command_is_refused", an_unknown_command_is_refused),
        ("a_missing_variable_is_named", a_missing_variable_is_named),
        ("bad_json_is_refused_with_its_place", bad_json_is_refused_with_its_place),
        ("an_unsupported_version_is_refused_with_the_supported_ones", an_unsupported_version_is_refused),
        ("a_sandbox_that_is_gone_is_refused", a_sandbox_that_is_gone_is_refused),
        ("an_interface_name_the_kernel_would_refuse_is_refused", an_interface_name_is_refused),
        ("a_container_id_with_a_path_is_refused", a_container_id_with_a_path_is_refused),
        ("five_megabytes_of_input_are_refused", five_megabytes_of_input_are_refused),
        ("a_command_that_the_version_does_not_know_is_refused", a_command_of_a_later_version_is_refused),
        ("a_bad_configuration_value_is_named", a_bad_configuration_value_is_named),
    ]
}

/// Runs an ADD that `change` has spoilt, and sees that neither the host nor the agent noticed.
fn spoilt(change: impl FnOnce(Invocation) -> Outcome) -> (u64, String) {
    let (agent, sandbox, directory) = (Agent::start(), Pinned::new(), tempfile::tempdir().unwrap());
    agent.script(|script| script.add = given());
    let before = host();
    let outcome = change(Invocation::new("ADD", &sandbox.path(), &agent.socket(), directory.path()));
    assert_eq!(host(), before);
    agent.script(|script| assert!(script.added.is_empty() && script.deleted.is_empty()));
    assert!(!directory.path().join("tombstones").exists());
    outcome.error()
}

fn expect(found: &(u64, String), code: u64, parts: &[&str]) {
    assert_eq!(found.0, code, "{}", found.1);
    for part in parts {
        assert!(found.1.contains(part), "{part:?} is not in {:?}", found.1);
    }
}

fn an_unknown_command_is_refused() {
    expect(&spoilt(|call| call.set("CNI_COMMAND", "ADDD").run()), 4, &["CNI_COMMAND", "\"ADDD\"", "ADD, DEL"]);
    expect(&spoilt(|call| call.without("CNI_COMMAND").run()), 4, &["CNI_COMMAND is missing"]);
}

fn a_missing_variable_is_named() {
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_ARGS"] {
        expect(&spoilt(|call| call.without(name).run()), 4, &[name, "missing"]);
    }
    expect(&spoilt(|call| call.without("CNI_IFNAME").run()), 4, &["CNI_IFNAME"]);
    expect(&spoilt(|call| call.set("CNI_ARGS", "K8S_POD_NAME=web").run()), 4, &["K8S_POD_NAMESPACE"]);
}

fn bad_json_is_refused_with_its_place() {
    expect(&spoilt(|call| call.run_with(b"{\"cniVersion\": 1")), 6, &["cannot be read", "line 1"]);
    expect(&spoilt(|call| call.run_with(b"")), 6, &["cannot be read"]);
    expect(&spoilt(|call| call.run_with(b"[]")), 6, &["cannot be read"]);
}

fn an_unsupported_version_is_refused() {
    expect(&spoilt(|call| call.with("cniVersion", json!("2.0.0")).run()), 1, &["\"2.0.0\"", "0.3.0, 0.3.1, 0.4.0"]);
    expect(&spoilt(|call| call.with("cniVersion", json!("0.2.0")).run()), 1, &["\"0.2.0\""]);
}

fn a_sandbox_that_is_gone_is_refused() {
    let gone = Path::new("/run/netns/cni-gone").to_str().unwrap();
    expect(&spoilt(|call| call.set("CNI_NETNS", gone).run()), 4, &["CNI_NETNS", gone]);
    expect(&spoilt(|call| call.set("CNI_NETNS", "/etc/hostname").run()), 4, &["CNI_NETNS", "no namespace"]);
}

fn an_interface_name_is_refused() {
    let long = "abcdefghijklmnop";
    expect(&spoilt(|call| call.set("CNI_IFNAME", long).run()), 4, &["CNI_IFNAME", long, "15 bytes"]);
    expect(&spoilt(|call| call.set("CNI_IFNAME", "et/h0").run()), 4, &["CNI_IFNAME", "et/h0", "slash"]);
}

fn a_container_id_with_a_path_is_refused() {
    let id = "../../etc/passwd";
    expect(&spoilt(|call| call.set("CNI_CONTAINERID", id).run()), 4, &["CNI_CONTAINERID", id]);
    expect(&spoilt(|call| call.set("CNI_CONTAINERID", id).set("CNI_COMMAND", "DEL").run()), 4, &["CNI_CONTAINERID"]);
}

fn five_megabytes_of_input_are_refused() {
    let input = vec![b' '; 5_000_000];
    expect(&spoilt(|call| call.run_with(&input)), 6, &["longer than 1048576 bytes"]);
}

fn a_command_of_a_later_version_is_refused() {
    let call = |call: Invocation, command| call.set("CNI_COMMAND", command).with("cniVersion", json!("1.0.0")).run();
    for command in ["STATUS", "GC"] {
        expect(&spoilt(|spoilt| call(spoilt, command)), 1, &["config version does not allow", command, "1.1.0"]);
    }
}

fn a_bad_configuration_value_is_named() {
    expect(&spoilt(|call| call.with("mtu", json!("12x")).run()), 7, &["mtu", "\"12x\""]);
    expect(&spoilt(|call| call.with("vethPrefix", json!("toolong")).run()), 7, &["vethPrefix", "\"toolong\""]);
    expect(&spoilt(|call| call.with("name", json!("")).run()), 7, &["name"]);
    let ports = json!({"portMappings": [{"hostPort": 80800, "containerPort": 80, "protocol": "tcp"}]});
    expect(&spoilt(|call| call.with("runtimeConfig", ports).run()), 7, &["portMappings: hostPort", "80800"]);
}
