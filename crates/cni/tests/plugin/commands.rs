//! What each command does.

use std::fs;
use std::path::Path;

use freeboard_datapath::netlink::RouteSocket;
use freeboard_rpc::cni::AddNetworkReply;
use freeboard_rpc::node::garbage_collect_reply::Released;
use freeboard_rpc::node::{Attachment, CheckReply, GarbageCollectReply, StatusReply};
use serde_json::{Value, json};

use crate::agent::{Agent, allocation, full_subnet, given, released};
use crate::runtime::{Invocation, host, ways};
use crate::sandbox::{Pinned, Test};

/// The host interface of `default/web`.
const HOST_INTERFACE: &str = "eni68caf03a5f4";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("add_gives_the_incumbents_result_and_del_undoes_it", add_gives_the_incumbents_result_and_del_undoes_it),
        ("older_versions_have_their_own_form", older_versions_have_their_own_form),
        ("a_refused_add_says_why_and_what_to_do", a_refused_add_says_why_and_what_to_do),
        ("a_failed_set_up_gives_the_address_back", a_failed_set_up_gives_the_address_back),
        ("add_without_an_agent_fails_and_changes_nothing", add_without_an_agent_fails),
        ("del_without_an_agent_cleans_the_host_and_leaves_a_note", del_without_an_agent_cleans_the_host),
        ("del_without_agent_and_result_reads_the_sandbox", del_without_agent_and_result_reads_the_sandbox),
        ("del_without_an_agent_spares_what_another_pod_has", del_without_an_agent_spares_others),
        ("del_of_an_unknown_pod_is_no_error", del_of_an_unknown_pod_is_no_error),
        ("check_asks_agent_and_kernel", check_asks_agent_and_kernel),
        ("status_is_50_when_no_address_can_be_given", status_is_50_when_no_address_can_be_given),
        ("the_incumbents_agent_is_served_too", the_incumbents_agent_is_served_too),
        ("gc_cleans_what_the_agent_released", gc_cleans_what_the_agent_released),
        ("version_lists_what_is_supported", version_lists_what_is_supported),
    ]
}

struct World {
    agent: Agent,
    sandbox: Pinned,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Agent::start())
    }

    fn with(agent: Agent) -> Self {
        agent.script(|script| {
            script.add = given();
            script.delete = Some(Ok(released()));
        });
        Self { agent, sandbox: Pinned::new(), directory: tempfile::tempdir().unwrap() }
    }

    fn call(&self, command: &str) -> Invocation {
        Invocation::new(command, &self.sandbox.path(), &self.agent.socket(), self.directory.path())
    }

    fn add(&self) -> Value {
        let outcome = self.call("ADD").run();
        assert!(outcome.success, "{}", outcome.output);
        outcome.json()
    }

    /// A call that finds no agent.
    fn orphaned(&self, command: &str) -> Invocation {
        self.call(command).with("agentSocket", json!(self.directory.path().join("nobody.sock")))
    }

    fn notes(&self) -> Vec<Value> {
        let Ok(files) = fs::read_dir(self.directory.path().join("tombstones")) else { return Vec::new() };
        files.map(|file| serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
    }
}

fn add_gives_the_incumbents_result_and_del_undoes_it() {
    let world = World::new();
    let before = ways();
    let result = world.add();
    let expected = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": HOST_INTERFACE},
            {"name": "eth0", "mac": "2", "sandbox": world.sandbox.path()},
            {"name": HOST_INTERFACE.replace("eni", "dummy"), "mac": "0", "sandbox": "1"},
        ],
        "ips": [{"interface": 1, "address": "10.0.208.9/32"}],
        "dns": {},
    });
    assert_eq!(result, expected);
    let request = world.agent.script(|script| script.added.remove(0));
    assert_eq!((request.k8s_pod_namespace.as_str(), request.k8s_pod_name.as_str()), ("default", "web"));
    assert_eq!((request.network_name.as_str(), request.container_id.as_str()), ("aws-cni", "c0ffee"));
    let outcome = world.call("DEL").with("prevResult", result).run();
    assert!(outcome.success && outcome.output.is_empty(), "{}", outcome.output);
    assert_eq!(ways(), before);
    assert!(world.notes().is_empty());
    // The pair stays until the sandbox goes, and does not hinder another ADD.
    let again = world.add();
    assert!(world.call("DEL").with("prevResult", again).run().success);
    assert_eq!(ways(), before);
    let log = world.call("ADD").log();
    let last = log.last().unwrap();
    assert_eq!((&last["level"], &last["msg"], &last["command"]), (&json!("info"), &json!("done"), &json!("DEL")));
    let ts = last["ts"].as_str().unwrap();
    assert!(ts.len() == 24 && ts.ends_with('Z'), "{ts}");
}

fn older_versions_have_their_own_form() {
    let world = World::new();
    let outcome = world.call("ADD").with("cniVersion", json!("0.4.0")).run();
    let result = outcome.json();
    assert_eq!(result["cniVersion"], "0.4.0");
    assert_eq!(result["ips"][0]["version"], "4");
}

fn a_refused_add_says_why_and_what_to_do() {
    let world = World::new();
    let refused = AddNetworkReply { refusal: Some(full_subnet()), ..AddNetworkReply::default() };
    world.agent.script(|script| script.add = refused);
    let before = host();
    let outcome = world.call("ADD").run();
    let expected = json!({
        "cniVersion": "1.1.0",
        "code": 11,
        "msg": "add cmd: failed to assign an IP address to container: no address for default/web: \
                subnet 10.0.208.0/27 is full (0 of 27 addresses free) [SubnetExhausted]",
        "details": "associate a secondary CIDR block with the VPC",
    });
    assert_eq!(outcome.json(), expected);
    assert!(!outcome.success);
    assert_eq!(host(), before);
}

fn a_failed_set_up_gives_the_address_back() {
    let world = World::new();
    let before = host();
    // The sandbox has such an interface already.
    let outcome = world.call("ADD").set("CNI_IFNAME", "lo").run();
    let (code, message) = outcome.error();
    assert!(code == 999 && message.contains("failed to setup network") && message.contains("\"lo\""), "{message}");
    let reasons = world.agent.script(|script| script.deleted.iter().map(|d| d.reason.clone()).collect::<Vec<_>>());
    assert_eq!(reasons, ["SetupNSFailed"]);
    assert_eq!(host(), before);
}

fn add_without_an_agent_fails() {
    let world = World::new();
    let before = host();
    let (code, message) = world.orphaned("ADD").run().error();
    assert!(code == 11 && message.contains("nobody.sock"), "{message}");
    assert_eq!(host(), before);
}

fn del_without_an_agent_cleans_the_host() {
    let world = World::new();
    let before = ways();
    let result = world.add();
    let outcome = world.orphaned("DEL").with("prevResult", result).run();
    assert!(outcome.success, "{}", outcome.output);
    assert_eq!(ways(), before);
    let notes = world.notes();
    assert_eq!(notes.len(), 1);
    let mut note = notes[0].clone();
    assert!(note["deletedAt"].as_str().unwrap().ends_with('Z'));
    note.as_object_mut().unwrap().remove("deletedAt");
    let expected = json!({
        "networkName": "aws-cni", "containerID": "c0ffee", "ifName": "eth0",
        "k8sPodNamespace": "default", "k8sPodName": "web",
    });
    assert_eq!(note, expected);
    // The name is the SHA-1 of "aws-cni/c0ffee/eth0".
    let file = world.directory.path().join("tombstones/3870eeb1940a85ee760b77c1c5423fcc7b13cc25.json");
    assert!(file.exists());
}

fn del_without_agent_and_result_reads_the_sandbox() {
    let world = World::new();
    let before = ways();
    world.add();
    assert!(world.orphaned("DEL").run().success);
    assert_eq!(ways(), before);
    // Again, and with the sandbox gone: nothing is left to do, the note is still written.
    assert!(world.orphaned("DEL").set("CNI_NETNS", "").run().success);
    assert_eq!(world.notes().len(), 1);
    // A note that cannot be left is an error, so that the runtime tries again.
    let (code, message) = world.orphaned("DEL").with("tombstoneDir", json!("/proc/none")).run().error();
    assert!(code == 11 && message.contains("/proc/none"), "{message}");
}

fn del_without_an_agent_spares_others() {
    let world = World::new();
    let result = world.add();
    assert!(world.call("DEL").with("prevResult", result.clone()).run().success);
    // The address is another pod's by now.
    let other = Pinned::new();
    let arguments = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=db";
    let add = Invocation::new("ADD", &other.path(), &world.agent.socket(), world.directory.path())
        .set("CNI_CONTAINERID", "decade")
        .set("CNI_ARGS", arguments);
    assert!(add.run().success);
    let before = host();
    assert!(world.orphaned("DEL").with("prevResult", result).run().success);
    assert_eq!(host(), before);
}

fn del_of_an_unknown_pod_is_no_error() {
    let world = World::new();
    world.agent.script(|script| script.delete = None);
    assert!(world.call("DEL").run().success);
    assert!(world.notes().is_empty());
}

fn check_asks_agent_and_kernel() {
    let world = World::new();
    let result = world.add();
    let check = world.call("CHECK").with("prevResult", result);
    world.agent.script(|script| script.check = CheckReply { holds: true, ..CheckReply::default() });
    let outcome = check.run();
    assert!(outcome.success, "{}", outcome.output);
    let link = freeboard_datapath::netlink::Request::DeleteLink(HOST_INTERFACE.to_owned());
    RouteSocket::open().unwrap().execute(&[link]).unwrap();
    let (_, message) = check.run().error();
    assert!(message.contains(&format!("link {HOST_INTERFACE} on the host")), "{message}");
    let message = "10.0.208.9 is cooling".to_owned();
    world.agent.script(|script| script.check = CheckReply { message, ..CheckReply::default() });
    assert!(check.run().error().1.contains("10.0.208.9 is cooling"));
}

fn status_is_50_when_no_address_can_be_given() {
    let world = World::new();
    world.agent.script(|script| script.status = StatusReply { ready: true, refusal: None });
    assert!(world.call("STATUS").run().success);
    world.agent.script(|script| script.status = StatusReply { ready: false, refusal: Some(full_subnet()) });
    let outcome = world.call("STATUS").run();
    let (code, message) = outcome.error();
    assert_eq!(code, 50);
    assert!(message.contains("is full") && message.contains("[SubnetExhausted]"), "{message}");
    assert_eq!(outcome.json()["details"], "associate a secondary CIDR block with the VPC");
    assert_eq!(world.orphaned("STATUS").run().error().0, 50);
}

fn the_incumbents_agent_is_served_too() {
    let world = World::with(Agent::start_incumbent());
    let result = world.add();
    let check = world.call("CHECK").with("prevResult", result);
    assert!(check.run().success);
    let status = world.call("STATUS").run();
    assert!(status.success, "{}", status.output);
    let collect = world.call("GC").with("cni.dev/valid-attachments", json!([])).run();
    assert!(collect.success, "{}", collect.output);
}

fn gc_cleans_what_the_agent_released() {
    let world = World::new();
    let before = host();
    world.add();
    let attachment = |container: &str| Attachment {
        network: "aws-cni".to_owned(),
        container: container.to_owned(),
        interface: "eth0".to_owned(),
    };
    let gone = Released {
        attachment: Some(attachment("c0ffee")),
        allocation: Some(allocation()),
        pod_namespace: "default".to_owned(),
        pod_name: "web".to_owned(),
    };
    world.agent.script(|script| script.collected = GarbageCollectReply { released: vec![gone] });
    let valid = json!([{"containerID": "decade", "ifname": "eth0"}]);
    let outcome = world.call("GC").with("cni.dev/valid-attachments", valid).run();
    assert!(outcome.success, "{}", outcome.output);
    assert_eq!(host(), before);
    let kept = world.agent.script(|script| script.kept.remove(0));
    assert_eq!((kept.network.as_str(), kept.valid), ("aws-cni", vec![attachment("decade")]));
    // A runtime that names no valid attachments must not lose every pod's address.
    let (code, message) = world.call("GC").run().error();
    assert!(code == 7 && message.contains("cni.dev/valid-attachments"), "{message}");
}

fn version_lists_what_is_supported() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = Path::new("/nowhere");
    let outcome =
        Invocation::new("VERSION", nowhere, nowhere, directory.path()).with("cniVersion", json!("1.0.0")).run();
    let expected = json!({"cniVersion": "1.0.0", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]});
    assert_eq!(outcome.json(), expected);
}
