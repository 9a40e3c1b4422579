//! Prints how long the plugin at the given path takes for VERSION, ADD and DEL, with a stand-in agent that answers at once.
//! Needs root. Usage: `plugin_speed target/release/aws-cni`.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program for people, on the tests' stand-ins"
)]

#[path = "../tests/plugin/agent.rs"]
mod agent;
#[path = "../tests/plugin/sandbox.rs"]
mod sandbox;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

const PODS: usize = 50;

fn main() {
    let plugin = std::env::args().nth(1).unwrap();
    sandbox::isolate().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let agent = agent::Agent::start();
    let sandboxes: Vec<_> = (0..PODS).map(|_| sandbox::Pinned::new()).collect();
    let configuration = json!({
        "cniVersion": "1.0.0", "name": "aws-cni", "type": "aws-cni", "agentSocket": agent.socket(),
        "pluginLogFile": directory.path().join("plugin.log"),
    });
    for command in ["VERSION", "ADD", "DEL"] {
        let mut times = Vec::new();
        for (number, sandbox) in sandboxes.iter().enumerate() {
            agent.script(|script| {
                let address = format!("10.0.208.{}", number + 1);
                script.add = agent::given();
                script.add.ip_allocation_metadata[0].ipv4_addr.clone_from(&address);
                let mut released = agent::released();
                released.ip_allocation_metadata[0].ipv4_addr = address;
                script.delete = Some(Ok(released));
            });
            times.push(call(&plugin, command, number, &sandbox.path(), configuration.to_string().as_bytes()));
        }
        times.sort();
        println!("{command}: p50 {:?}, p99 {:?}", times[PODS / 2], times[PODS * 99 / 100]);
    }
}

fn call(plugin: &str, command: &str, number: usize, namespace: &Path, input: &[u8]) -> Duration {
    let start = Instant::now();
    let mut child = Command::new(plugin)
        .env_clear()
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", format!("c{number}"))
        .env("CNI_NETNS", namespace)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-{number}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    start.elapsed()
}
