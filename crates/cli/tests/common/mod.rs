//! What the tests of several commands share: the program, and the simulated EC2 with the world of the first seed.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use freeboard_vpc_server::{Announcement, ServeOptions, Server};

/// A path below the crate.
pub(crate) fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs the program among the dumps of a directory below the crate.
pub(crate) fn freeboard_in(directory: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freeboard"));
    // No test asks the cluster of whoever runs it.
    command.env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST").env("HOME", "/nonexistent");
    command.args(arguments).current_dir(here(directory)).output().expect("the program starts")
}

/// The standard output.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both outputs with single spaces, so that it does not matter where lines wrap.
pub(crate) fn words(output: &Output) -> String {
    let said = text(output) + &String::from_utf8_lossy(&output.stderr);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The simulated EC2 with the world of the first seed, fifty times as fast as real time.
pub(crate) async fn serve() -> (Server, Announcement) {
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let options = ServeOptions {
        world: here("../../worlds/eks-demo.yaml"),
        ec2: any_port,
        imds_base_port: None,
        control: any_port,
        access_key: None,
        secret_key: None,
        speed: Some(50.0),
    };
    freeboard_vpc_server::start(options).await.expect("the simulated cloud starts")
}
