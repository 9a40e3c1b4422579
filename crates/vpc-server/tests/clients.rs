//! The cloud's own clients drive the server: boto3, the aws CLI, and botocore's model as the judge of every answer.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use freeboard_vpc_server::{Announcement, ServeOptions, Server};

/// How many times faster than real time the cloud works: the stories wait for attachments, launches and associations.
const SPEED: f64 = 50.0;
const KEY: (&str, &str) = ("AKIAFREEBOARDTESTS00", "secret/for+tests");

/// One machine whose role has keys of the cloud's own.
const WORLD_WITH_A_ROLE: &str = "
region: us-west-2
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
vpcs:
  - id: vpc-00000001
    cidr: 10.0.0.0/16
    subnets: [{ id: subnet-00000001, cidr: 10.0.0.0/24, zone: us-west-2a }]
instances:
  - { id: i-00000001, type: t3.medium, instance_profile: node, interfaces: [{ subnet: subnet-00000001 }] }
";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The interpreter that has the clients.
fn python() -> PathBuf {
    let python = std::env::var_os("FREEBOARD_PYTHON")
        .map_or_else(|| workspace().join(".cache/python/bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "{} is missing: run `cargo xtask tools`, which installs boto3 and the aws CLI",
        python.display()
    );
    python
}

async fn serve(world: &Path, key: Option<(&str, &str)>) -> (Server, Announcement) {
    let any_port = "127.0.0.1:0".parse().unwrap();
    let options = ServeOptions {
        world: world.to_owned(),
        ec2: any_port,
        imds_base_port: None,
        control: any_port,
        access_key: key.map(|(id, _)| id.to_owned()),
        secret_key: key.map(|(_, secret)| secret.to_owned()),
        speed: Some(SPEED),
    };
    freeboard_vpc_server::start(options).await.unwrap()
}

/// The environment of a client that knows this server and nothing else: no profile, proxy or key of the machine.
fn client(program: &Path, announcement: &Announcement) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("AWS_ENDPOINT_URL_EC2", format!("http://{}", announcement.ec2))
        .env("AWS_REGION", &announcement.region)
        .env("AWS_DEFAULT_REGION", &announcement.region)
        .env("AWS_ACCESS_KEY_ID", KEY.0)
        .env("AWS_SECRET_ACCESS_KEY", KEY.1)
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn assert_success(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
}

async fn run_script(script: &str, arguments: impl IntoIterator<Item = &str>, announcement: &Announcement) {
    let mut command = client(&python(), announcement);
    if let Some(address) = announcement.imds.values().next() {
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{address}"));
    }
    command.arg(workspace().join("tests/clients").join(script)).args(arguments);
    assert_success(&run(command).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_drives_a_network_from_nothing_to_exhaustion_and_back() {
    let (server, announcement) = serve(&workspace().join("worlds/empty.yaml"), Some(KEY)).await;
    run_script("ec2_story.py", [], &announcement).await;
    server.with_cloud(|cloud, _| cloud.audit().unwrap());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_shape_of_botocores_model() {
    let (server, announcement) = serve(&workspace().join("worlds/empty.yaml"), Some(KEY)).await;
    run_script("ec2_every_action.py", freeboard_vpc_server::action_names(), &announcement).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_cli_does_what_a_person_types() {
    let (server, announcement) = serve(&workspace().join("worlds/empty.yaml"), Some(KEY)).await;
    let directory = tempfile::tempdir().unwrap();
    let mut command = client(Path::new("/bin/sh"), &announcement);
    let python = std::path::absolute(python()).unwrap();
    let path = format!("{}:/usr/bin:/bin", python.parent().unwrap().display());
    let script = std::path::absolute(workspace().join("tests/clients/ec2_cli.sh")).unwrap();
    command.env("PATH", path).env("AWS_MAX_ATTEMPTS", "1").arg(script).current_dir(directory.path());
    assert_success(&run(command).await);
    assert!(server.calls()["CreateSubnet"].calls == 2, "{:?}", server.calls());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_signer_is_believed_and_a_wrong_secret_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let world = directory.path().join("world.yaml");
    std::fs::write(&world, WORLD_WITH_A_ROLE).unwrap();
    let (server, announcement) = serve(&world, Some(KEY)).await;
    run_script("ec2_signatures.py", [], &announcement).await;
    server.shutdown().await;
}
