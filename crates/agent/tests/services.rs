//! The services over a real socket, with a stand-in for the pool: texts, permissions, silent connections, tombstones.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use freeboard_address::{AttachmentKey, EniId, PodKey};
use freeboard_agent::cni_service::CniService;
use freeboard_agent::evidence::rebuilt_key;
use freeboard_agent::metrics::Metrics;
use freeboard_agent::node_service::NodeService;
use freeboard_agent::pool_handle::{self, Command, PoolEnd, PoolHandle, Status};
use freeboard_agent::{grpc, socket, tombstones};
use freeboard_pool::{Cause, Holding, Place, Refusal, Reply};
use freeboard_rpc::cni::cni_backend_client::CniBackendClient;
use freeboard_rpc::cni::{AddNetworkRequest, DelNetworkRequest};
use freeboard_rpc::node::node_agent_client::NodeAgentClient;
use freeboard_rpc::node::{Attachment, CheckRequest, StatusRequest};
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// In the child process of the permission test: the socket to call.
const CHILD_SOCKET: &str = "FREEBOARD_TEST_CHILD_SOCKET";

fn refusal() -> Refusal {
    Refusal {
        cause: Cause::SubnetExhausted,
        place: Place::Subnet {
            id: freeboard_address::SubnetId::new("subnet-1"),
            cidr: "10.0.208.0/27".parse().unwrap(),
        },
        message: "subnet 10.0.208.0/27 is full (0 of 27 addresses free)".to_owned(),
        remedy: "add a range".to_owned(),
    }
}

/// A pool that gives 10.0.0.10, 10.0.0.11, … and refuses containers called `full`.
async fn stand_in(mut end: PoolEnd, mut held: BTreeMap<AttachmentKey, Holding>) {
    let mut unserved = BTreeSet::new();
    while let Some(command) = end.commands.recv().await {
        match command {
            Command::Add(_, add, answer) if add.key.container == "full" => {
                unserved.insert(add.key);
                let _ = answer.send(Reply::Refused(refusal()));
            }
            Command::HasAsked(key, answer) => drop(answer.send(unserved.contains(&key))),
            Command::Add(_, add, answer) => {
                let address = std::net::Ipv4Addr::new(10, 0, 0, 10 + u8::try_from(held.len()).unwrap());
                held.insert(add.key.clone(), holding(add.key, add.pod, &address.to_string()));
                let _ = answer.send(Reply::Assigned { address, interface: Some(EniId::new("eni-1")), device_index: 1 });
            }
            Command::Del(_, del, answer) => drop(answer.send(match held.remove(&del.key) {
                Some(holding) => Reply::Released { address: holding.address, device_index: 1 },
                None => Reply::UnknownPod,
            })),
            Command::Holds(key, answer) => drop(answer.send(held.get(&key).cloned())),
            Command::CanGive(answer) => drop(answer.send(Err(refusal()))),
            other => panic!("{other:?}"),
        }
    }
}

fn key(container: &str) -> AttachmentKey {
    AttachmentKey { network: "aws-cni".into(), container: container.into(), interface: "eth0".into() }
}

fn holding(key: AttachmentKey, pod: Option<PodKey>, address: &str) -> Holding {
    Holding {
        key,
        pod,
        address: address.parse().unwrap(),
        interface: Some(EniId::new("eni-1")),
        device_index: Some(1),
        since: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

struct Agent {
    directory: tempfile::TempDir,
    pool: PoolHandle,
    metrics: Arc<Metrics>,
}

impl Agent {
    fn start(held: impl IntoIterator<Item = Holding>) -> Self {
        let (pool, end) = pool_handle::handle();
        end.status.send_replace(Status { started: true, ready: true, can_give: true, subnets: Vec::new() });
        tokio::spawn(stand_in(end, held.into_iter().map(|holding| (holding.key.clone(), holding)).collect()));
        Self::serve(pool)
    }

    fn serve(pool: PoolHandle) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let listener = socket::bind(&directory.path().join("ipamd.sock")).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let cni = CniService {
            pool: pool.clone(),
            metrics: Arc::clone(&metrics),
            vpc_cidrs: watch::channel(vec!["10.0.0.0/16".parse().unwrap()]).1,
            excluded_cidrs: vec!["192.168.0.0/16".parse().unwrap()],
            external_snat: false,
            start_wait: Duration::from_millis(50),
        };
        let node = NodeService { pool: pool.clone() };
        tokio::spawn(async move { grpc::serve(listener, cni, node).await.unwrap() });
        Self { directory, pool, metrics }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("ipamd.sock")
    }
}

async fn channel(socket: &Path) -> Channel {
    Endpoint::try_from(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

fn add(container: &str) -> AddNetworkRequest {
    AddNetworkRequest {
        k8s_pod_name: "sample-pod".into(),
        k8s_pod_namespace: "default".into(),
        network_name: "aws-cni".into(),
        container_id: container.into(),
        if_name: "eth0".into(),
        ..AddNetworkRequest::default()
    }
}

fn del(container: &str) -> DelNetworkRequest {
    DelNetworkRequest {
        k8s_pod_name: "sample-pod".into(),
        k8s_pod_namespace: "default".into(),
        network_name: "aws-cni".into(),
        container_id: container.into(),
        if_name: "eth0".into(),
        reason: "PodDeleted".into(),
        ..DelNetworkRequest::default()
    }
}

#[tokio::test]
async fn an_add_and_its_del_answer_as_the_incumbent_does() {
    let agent = Agent::start([]);
    let mut client = CniBackendClient::new(channel(&agent.socket()).await);
    let reply = client.add_network(add("c1")).await.unwrap().into_inner();
    assert!(reply.success && reply.refusal.is_none() && !reply.use_external_snat);
    let given = &reply.ip_allocation_metadata[0];
    assert_eq!((given.ipv4_addr.as_str(), given.device_number, given.route_table_id), ("10.0.0.10", 1, 2));
    assert_eq!(reply.vpc_v4_cidrs, ["10.0.0.0/16", "192.168.0.0/16"]);

    let released = client.del_network(del("c1")).await.unwrap().into_inner();
    assert!(released.success);
    assert_eq!(released.ip_allocation_metadata, reply.ip_allocation_metadata);

    let unknown = client.del_network(del("c1")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unknown);
    assert!(unknown.message().contains("datastore: unknown pod"), "{}", unknown.message());
}

#[tokio::test]
async fn a_refusal_is_a_reply_without_success_that_says_why() {
    let agent = Agent::start([]);
    let mut client = CniBackendClient::new(channel(&agent.socket()).await);
    let reply = client.add_network(add("full")).await.unwrap().into_inner();
    assert!(!reply.success && reply.ip_allocation_metadata.is_empty());
    let why = reply.refusal.unwrap();
    assert_eq!((why.cause.as_str(), why.place.as_str()), ("SubnetExhausted", "subnet subnet-1 (10.0.208.0/27)"));
    let unnamed = client.add_network(add("")).await.unwrap().into_inner();
    assert!(!unnamed.success);
    let metrics = agent.metrics.render(None).unwrap();
    assert!(metrics.contains("freeboard_refusals{cause=\"SubnetExhausted\"} 1"), "{metrics}");
}

#[tokio::test]
async fn before_the_start_is_finished_an_add_is_refused_and_health_is_good() {
    let (pool, end) = pool_handle::handle();
    let agent = Agent::serve(pool);
    let channel = channel(&agent.socket()).await;
    let reply = CniBackendClient::new(channel.clone()).add_network(add("c1")).await.unwrap().into_inner();
    assert_eq!(reply.refusal.unwrap().cause, "NotReady");
    let status = NodeAgentClient::new(channel.clone()).status(StatusRequest {}).await.unwrap().into_inner();
    assert!(!status.ready && status.refusal.unwrap().cause == "NotReady");
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    for service in ["", "grpc.health.v1.aws-node"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
    }
    drop(end);
}

#[tokio::test]
async fn check_and_status_tell_what_the_pool_knows() {
    let agent = Agent::start([holding(key("c1"), None, "10.0.0.9")]);
    let mut client = NodeAgentClient::new(channel(&agent.socket()).await);
    let mut check = async |container: &str, address: &str| {
        let attachment =
            Attachment { network: "aws-cni".into(), container: container.into(), interface: "eth0".into() };
        let request = CheckRequest { attachment: Some(attachment), address: address.to_owned() };
        client.check(request).await.unwrap().into_inner()
    };
    let good = check("c1", "10.0.0.9").await;
    assert!(good.holds && good.device_number == 1 && good.route_table_id == 2);
    assert_eq!(check("c1", "10.0.0.8").await.message, "aws-cni/c1/eth0 holds 10.0.0.9, not 10.0.0.8");
    assert_eq!(check("c2", "10.0.0.8").await.message, "nothing is held for aws-cni/c2/eth0");
    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.refusal.unwrap().cause, "SubnetExhausted");
}

#[tokio::test]
async fn a_del_finds_what_was_rebuilt_from_the_kernel() {
    let rebuilt = rebuilt_key(&PodKey::new("default", "sample-pod"));
    let agent = Agent::start([holding(rebuilt, None, "10.0.0.9")]);
    let mut client = CniBackendClient::new(channel(&agent.socket()).await);
    let reply = client.del_network(del("a-container-that-only-the-lost-file-knew")).await.unwrap().into_inner();
    assert_eq!(reply.ip_allocation_metadata[0].ipv4_addr, "10.0.0.9");
}

/// The old sandbox lives on, and only the kernel speaks for it; the new one of the same pod was refused an address.
#[tokio::test]
async fn a_del_of_a_refused_sandbox_leaves_alone_what_was_rebuilt_for_another_of_the_same_pod() {
    let rebuilt = rebuilt_key(&PodKey::new("default", "sample-pod"));
    let agent = Agent::start([holding(rebuilt.clone(), None, "10.0.0.9")]);
    let mut client = CniBackendClient::new(channel(&agent.socket()).await);
    assert!(!client.add_network(add("full")).await.unwrap().into_inner().success);
    assert!(client.del_network(del("full")).await.unwrap_err().message().contains("unknown pod"));
    let held = agent.pool.ask(|answer| Command::Holds(rebuilt, answer)).await.unwrap();
    assert_eq!(held.unwrap().address.to_string(), "10.0.0.9");
}

#[tokio::test]
async fn a_thousand_silent_connections_do_not_keep_a_caller_out() {
    let agent = Agent::start([]);
    let mut silent = Vec::new();
    for _ in 0..1000 {
        // The queue of the kernel may be full for a moment; the agent empties it.
        loop {
            match tokio::net::UnixStream::connect(agent.socket()).await {
                Ok(stream) => break silent.push(stream),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let mut client = CniBackendClient::new(channel(&agent.socket()).await);
    assert!(client.add_network(add("c1")).await.unwrap().into_inner().success);
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(descriptors < 1300, "this side alone holds 1000; the agent's side must have let go of most: {descriptors}");
}

#[tokio::test]
async fn a_caller_that_is_not_root_is_turned_away() {
    if let Ok(socket) = std::env::var(CHILD_SOCKET) {
        let mut client = CniBackendClient::new(channel(Path::new(&socket)).await);
        let refused = client.add_network(add("c1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let uid = nix::unistd::getuid();
        assert_eq!(refused.message(), format!("user id {uid} may not ask for addresses; expected 0 (root)"));
        let channel = channel(Path::new(&socket)).await;
        assert_eq!(
            CniBackendClient::new(channel.clone()).del_network(del("c1")).await.unwrap_err().code(),
            Code::PermissionDenied
        );
        assert_eq!(
            NodeAgentClient::new(channel).status(StatusRequest {}).await.unwrap_err().code(),
            Code::PermissionDenied
        );
        return;
    }
    let agent = Agent::start([]);
    // The file's mode would keep the caller out already; this is about the second lock.
    std::fs::set_permissions(agent.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(agent.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = agent.directory.path().join("child");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut child = std::process::Command::new(program);
    child.args(["--exact", "a_caller_that_is_not_root_is_turned_away"]).env(CHILD_SOCKET, agent.socket());
    if nix::unistd::getuid().is_root() {
        child.uid(65534).gid(65534);
    }
    let child = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(agent.pool.ask(|answer| Command::Holds(key("c1"), answer)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_tombstone_releases_what_was_deleted_and_nothing_younger() {
    let agent = Agent::start([holding(key("old"), None, "10.0.0.8"), holding(key("young"), None, "10.0.0.9")]);
    let directory = agent.directory.path().join("tombstones");
    std::fs::create_dir(&directory).unwrap();
    let write = |name: &str, container: &str, deleted: &str| {
        let text = serde_json::json!({
            "networkName": "aws-cni", "containerID": container, "ifName": "eth0",
            "k8sPodNamespace": "default", "k8sPodName": "web-0", "deletedAt": deleted,
        });
        std::fs::write(directory.join(name), text.to_string()).unwrap();
    };
    write("1.json", "old", "2026-01-02T03:05:00Z");
    write("2.json", "young", "2026-01-02T03:04:00Z");
    write("3.json", "unknown", "2026-01-02T03:05:00Z");
    std::fs::write(directory.join("4.json"), "{\"networkName\":").unwrap();
    tombstones::consume(&directory, &agent.pool, &agent.metrics).await.unwrap();
    let holds = async |container| agent.pool.ask(|answer| Command::Holds(key(container), answer)).await.unwrap();
    assert!(holds("old").await.is_none());
    assert!(holds("young").await.is_some());
    let left: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["4.corrupt"]);
}
