//! The built program as a whole: on the simulated VPC, in namespaces of its own, with real links, rules and files.
//!
//! Each test runs itself again as process 1 of new namespaces, so that nothing it makes outlives it.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, clippy::print_stderr, reason = "a test may")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use freeboard_address::{InstanceId, MacAddress, VpcId};
use freeboard_datapath::netlink::{InterfaceAddress, Outcome, Request, RouteSocket, Veth, VethEnd};
use freeboard_ec2::{AssociateVpcCidrBlock, CreateSubnet, Ec2Client, Ec2Config};
use freeboard_rpc::cni::cni_backend_client::CniBackendClient;
use freeboard_rpc::cni::{AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest};
use freeboard_vpc::{Cloud, CloudEffect, InterfaceLink};
use freeboard_vpc_server::{Hypervisor, Server, parse_world};
use futures::future::BoxFuture;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

const INSIDE: &str = "FREEBOARD_TEST_INSIDE";
/// Nothing here takes longer than this, unless it hangs.
const LIMIT: Duration = Duration::from_secs(60);
const NODE: &str = "i-0b000000000000001";

const WORLD: &str = r#"
region: us-west-2
account_id: "111122223333"
seed: 1
availability_zones:
  - { name: us-west-2a, id: usw2-az1 }
timing: { api_latency_milliseconds: 5, attach_seconds: 0.2, detach_seconds: 0.2, cidr_association_seconds: 0.2, metadata_lag_seconds: 0 }
throttling: { enabled: false }
behaviour: { address_order: lowest }
vpcs:
  - id: vpc-0b0b0b0b0b0b0b0b0
    name: whole
    cidr: 10.0.0.0/16
    default_security_group: sg-0b0b0b0b0b0b0b0b0
    subnets:
      - { id: subnet-0b0b0b0b0b0b0b0b0, name: whole, cidr: 10.0.0.0/24, zone: us-west-2a }
instances:
  - id: i-0b000000000000001
    type: m5.xlarge
    name: node
    interfaces:
      - { id: eni-0b000000000000001, subnet: subnet-0b0b0b0b0b0b0b0b0, address: 10.0.0.10 }
"#;

/// Runs `test` in namespaces of its own. `name` is the test's own name.
fn isolated(name: &str, test: impl AsyncFnOnce(Node)) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(async { test(Node::start().await).await });
    }
    let program = std::env::current_exe().unwrap();
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("this test needs `unshare` of util-linux, and user namespaces");
    let said = format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{said}");
    assert!(said.contains("1 passed"), "the test {name} did not run in its namespaces:\n{said}");
}

/// Makes the node's links in this network namespace.
struct Links;

impl Hypervisor for Links {
    fn apply<'a>(
        &'a self,
        _: &'a Server,
        effect: &'a CloudEffect,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            match effect {
                CloudEffect::InterfaceAttaching(link) if link.instance.as_str() == NODE => attach(link)?,
                CloudEffect::InterfaceDetached { mac, .. } => detach(*mac)?,
                _ => {}
            }
            Ok(())
        })
    }
}

fn attach(link: &InterfaceLink) -> Result<(), Box<dyn Error + Send + Sync>> {
    let name = format!("ens{}", link.device_index);
    let end = |name: String, mac| VethEnd { name, mac, namespace: None };
    let far = end(format!("fabric{}", link.device_index), "02:ff:00:00:00:01".parse()?);
    let pair = Veth { near: end(name.clone(), link.mac), far, mtu_bytes: 9001 };
    let mut socket = RouteSocket::open()?;
    socket.execute(&[Request::AddVeth(pair)])?;
    let index = socket.link(&name)?.ok_or("no link")?.index;
    let far = socket.link(&format!("fabric{}", link.device_index))?.ok_or("no link")?.index;
    socket.execute(&[up(far)])?;
    if link.device_index == 0 {
        // The operating system configures the primary interface.
        let address = InterfaceAddress {
            interface: index,
            address: Ipv4Addr::new(10, 0, 0, 10),
            prefix_length: 24,
            connected_route: true,
        };
        socket.execute(&[up(index), Request::AddAddress(address)])?;
    }
    Ok(())
}

fn detach(mac: MacAddress) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut socket = RouteSocket::open()?;
    let link = socket.links()?.into_iter().find(|link| link.mac == Some(mac));
    if let Some(link) = link {
        socket.execute(&[Request::DeleteLink(link.name)])?;
    }
    Ok(())
}

fn up(index: u32) -> Request {
    Request::SetLinkUp { index, mtu_bytes: None }
}

/// The node: its links, its metadata service, EC2, and a directory for the agent's files.
struct Node {
    server: Server,
    directory: PathBuf,
    endpoint: String,
    metadata: String,
}

impl Node {
    async fn start() -> Self {
        let mut socket = RouteSocket::open().unwrap();
        let loopback = socket.link("lo").unwrap().unwrap().index;
        let _: Vec<Outcome> = socket.execute(&[up(loopback)]).unwrap();
        let directory = PathBuf::from("/tmp");
        mount_tmpfs(&directory, "");
        let world = parse_world("whole", WORLD).unwrap();
        let cloud = Cloud::from_world(&world, jiff::Timestamp::now()).unwrap();
        let server = Server::start(cloud, Arc::new(Links), None).unwrap();
        server.effects_applied().await;
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ec2, imds) = (listen().await, listen().await);
        let endpoint = format!("http://{}", ec2.local_addr().unwrap());
        let metadata = format!("http://{}", imds.local_addr().unwrap());
        server.serve_ec2(ec2);
        server.serve_imds(imds, InstanceId::new(NODE));
        Self { server, directory, endpoint, metadata }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Starts the agent; the caller decides when it counts as started.
    fn agent(&self, environment: &[(&str, &str)]) -> Agent<'_> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freeboard-agent"));
        command.env_clear().env("AWS_ENDPOINT_URL_EC2", &self.endpoint).env("AWS_REGION", "us-west-2");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.metadata);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        for (name, file) in [
            ("FREEBOARD_SOCKET", "ipamd.sock"),
            ("AWS_VPC_K8S_CNI_BACKING_STORE", "state/ipam.json"),
            ("AWS_VPC_K8S_CNI_LOG_FILE", "ipamd.log"),
            ("HOST_CNI_CONFDIR_PATH", "net.d"),
            ("FREEBOARD_TOMBSTONE_DIR", "tombstones"),
        ] {
            command.env(name, self.path(file));
        }
        command.envs(environment.iter().copied());
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        Agent { node: self, child }
    }
}

struct Agent<'a> {
    node: &'a Node,
    child: Child,
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.node.path("ipamd.log")).unwrap_or_default();
            eprintln!("the agent's log:\n{log}");
        }
    }
}

impl Agent<'_> {
    async fn ready(self) -> Self {
        let conflist = self.node.path("net.d/10-aws.conflist");
        wait_until("the CNI configuration is written", || conflist.exists()).await;
        self
    }

    async fn client(&self) -> CniBackendClient<Channel> {
        let socket = self.node.path("ipamd.sock");
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).unwrap();
        let started = Instant::now();
        loop {
            match endpoint.connect().await {
                Ok(channel) => return CniBackendClient::new(channel),
                Err(error) => assert!(started.elapsed() < LIMIT, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn add(&self, container: &str) -> AddNetworkReply {
        let request = AddNetworkRequest {
            k8s_pod_name: container.to_owned(),
            k8s_pod_namespace: "default".to_owned(),
            network_name: "aws-cni".to_owned(),
            container_id: container.to_owned(),
            if_name: "eth0".to_owned(),
            ..AddNetworkRequest::default()
        };
        self.client().await.add_network(request).await.unwrap().into_inner()
    }

    async fn del(&self, container: &str) -> Result<DelNetworkReply, tonic::Status> {
        let request = DelNetworkRequest {
            k8s_pod_name: container.to_owned(),
            k8s_pod_namespace: "default".to_owned(),
            network_name: "aws-cni".to_owned(),
            container_id: container.to_owned(),
            if_name: "eth0".to_owned(),
            ..DelNetworkRequest::default()
        };
        self.client().await.del_network(request).await.map(tonic::Response::into_inner)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.node.path("ipamd.log")).unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn terminate(mut self) -> std::process::ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }
}

fn given(reply: &AddNetworkReply) -> Ipv4Addr {
    assert!(reply.success, "{reply:?}");
    reply.ip_allocation_metadata[0].ipv4_addr.parse().unwrap()
}

async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn mount_tmpfs(path: &std::path::Path, options: &str) {
    use nix::mount::{MsFlags, mount};
    mount(Some("none"), path, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
}

/// A GET of the agent's own HTTP servers.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

#[test]
fn pods_get_addresses_and_everything_shows_it() {
    isolated("pods_get_addresses_and_everything_shows_it", async |node| {
        let agent = node.agent(&[]).ready().await;
        let replies = futures::future::join_all((0..40).map(|number| {
            let agent = &agent;
            async move { agent.add(&format!("c{number}")).await }
        }))
        .await;
        let addresses: BTreeSet<Ipv4Addr> = replies.iter().map(given).collect();
        assert_eq!(addresses.len(), 40);
        assert_eq!(replies[0].vpc_v4_cidrs, ["10.0.0.0/16"]);

        let enis: Value = serde_json::from_str(&get(61679, "/v1/enis")).unwrap();
        assert_eq!(enis["AssignedIPs"], 40);
        assert_eq!(enis["0"]["ENIs"], enis["ENIs"]);
        assert!(enis["ENIs"].as_object().unwrap().len() >= 3);
        let pool: Value = serde_json::from_str(&get(61679, "/v1/freeboard/pool")).unwrap();
        assert_eq!(pool["tally"]["assigned"], 40);
        let metrics = get(61678, "/metrics");
        assert!(metrics.contains("\nawscni_assigned_ip_addresses 40\n"), "{metrics}");
        assert!(metrics.contains("\nawscni_add_ip_req_count 40\n"), "{metrics}");

        // Every secondary interface has its address, its table and its rule.
        let mut socket = RouteSocket::open().unwrap();
        let rules = socket.rules().unwrap();
        let used: BTreeSet<i32> = replies.iter().map(|reply| reply.ip_allocation_metadata[0].route_table_id).collect();
        for table in used.into_iter().filter(|table| *table != 254) {
            let table = u32::try_from(table).unwrap();
            assert_eq!(socket.routes(table).unwrap().len(), 2, "table {table}");
            assert!(rules.iter().any(|rule| rule.table == table && rule.priority == 32765), "table {table}");
        }

        let released = agent.del("c7").await.unwrap();
        assert_eq!(released.ip_allocation_metadata, replies[7].ip_allocation_metadata);
        assert!(agent.del("c7").await.unwrap_err().message().contains("datastore: unknown pod"));

        assert!(agent.terminate().success());
        assert!(!node.path("net.d/10-aws.conflist").exists(), "the node must not stay Ready without an agent");
        assert!(!node.path("ipamd.sock").exists());
        node.server.shutdown().await;
    });
}

#[test]
fn a_killed_agent_comes_back_with_every_address_and_changes_nothing_on_the_host() {
    isolated("a_killed_agent_comes_back_with_every_address_and_changes_nothing_on_the_host", async |node| {
        let agent = node.agent(&[]).ready().await;
        let mut before = Vec::new();
        for number in 0..20 {
            before.push(given(&agent.add(&format!("c{number}")).await));
        }
        wait_until("every interface is ready", || {
            let pool: Value = serde_json::from_str(&get(61679, "/v1/freeboard/pool")).unwrap();
            let interfaces = pool["interfaces"].as_array().unwrap();
            let ready = interfaces.iter().all(|interface| interface["state"] == "ready");
            interfaces.len() >= 2 && ready && pool["operations"].as_array().unwrap().is_empty()
        })
        .await;
        agent.kill();
        std::fs::remove_file(node.path("ipamd.log")).unwrap();
        let agent = node.agent(&[]);
        for (number, address) in before.iter().enumerate() {
            assert_eq!(given(&agent.add(&format!("c{number}")).await), *address);
        }
        wait_until("the agent has prepared its interfaces", || {
            let pool: Value = serde_json::from_str(&get(61679, "/v1/freeboard/pool")).unwrap();
            pool["interfaces"].as_array().unwrap().iter().all(|interface| interface["state"] == "ready")
        })
        .await;
        let log = agent.log();
        assert!(!log.contains("\"msg\":\"host: "), "a restart must touch nothing that is right:\n{log}");
        assert!(!log.contains("wrote the nf_tables table"), "{log}");
    });
}

#[test]
fn a_full_disk_refuses_and_undoes_and_heals() {
    isolated("a_full_disk_refuses_and_undoes_and_heals", async |node| {
        let state = node.path("state");
        std::fs::create_dir(&state).unwrap();
        mount_tmpfs(&state, "size=64k");
        let agent = node.agent(&[("IP_COOLDOWN_PERIOD", "0")]).ready().await;
        let first = given(&agent.add("c1").await);
        let written = std::fs::read(state.join("ipam.json")).unwrap();
        // The last free byte goes.
        let mut ballast = std::fs::File::create(state.join("ballast")).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}

        let refused = agent.add("c2").await;
        assert!(!refused.success && refused.ip_allocation_metadata.is_empty());
        let why = refused.refusal.unwrap();
        assert_eq!(why.cause, "CheckpointFailed");
        assert!(why.message.contains("No space left on device"), "{why:?}");
        assert_eq!(std::fs::read(state.join("ipam.json")).unwrap(), written, "the old file must stay whole");
        assert_eq!(given(&agent.add("c1").await), first, "what was promised stays");
        assert!(agent.del("c1").await.is_err(), "a release that is not durable is not acknowledged");

        drop(ballast);
        std::fs::remove_file(state.join("ballast")).unwrap();
        // The runtime asks again, as it does after any refusal.
        let started = Instant::now();
        let mut reply = agent.add("c2").await;
        while !reply.success {
            assert!(started.elapsed() < LIMIT, "{reply:?}");
            reply = agent.add("c2").await;
        }
        assert_ne!(given(&reply), first);
        assert!(agent.del("c1").await.unwrap().success);
    });
}

#[test]
fn a_checkpoint_cut_at_any_byte_is_restored_whole_or_rebuilt_from_the_kernel() {
    isolated("a_checkpoint_cut_at_any_byte_is_restored_whole_or_rebuilt_from_the_kernel", async |node| {
        let agent = node.agent(&[]).ready().await;
        let address = given(&agent.add("c1").await);
        // What the plugin does for the pod, as far as the kernel's evidence goes.
        witness("c1", address);
        agent.kill();
        let path = node.path("state/ipam.json");
        let text = std::fs::read(&path).unwrap();
        let whole = text.len();
        // Every length is tried on the decoder in the unit tests; here each kind of cut meets the whole program.
        for length in [0, 1, whole / 4, whole / 2, whole - 2, whole - 1, whole] {
            let _ = std::fs::remove_dir_all(node.path("state"));
            std::fs::create_dir(node.path("state")).unwrap();
            std::fs::write(&path, &text[..length]).unwrap();
            let agent = node.agent(&[]);
            let fresh = given(&agent.add(&format!("other-{length}")).await);
            assert_ne!(fresh, address, "cut at {length}: the running pod's address was given again");
            let names: Vec<String> = std::fs::read_dir(node.path("state"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect();
            let set_aside = names.iter().any(|name| name.starts_with("ipam.json.corrupt-"));
            assert_eq!(set_aside, length < whole - 1, "cut at {length}: {names:?}");
            let released = agent.del("c1").await.unwrap();
            assert_eq!(released.ip_allocation_metadata[0].ipv4_addr, address.to_string(), "cut at {length}");
            agent.kill();
        }
    });
}

#[test]
fn a_checkpoint_of_another_version_is_set_aside_and_named() {
    isolated("a_checkpoint_of_another_version_is_set_aside_and_named", async |node| {
        std::fs::create_dir(node.path("state")).unwrap();
        std::fs::write(node.path("state/ipam.json"), r#"{"version":"vpc-cni-ipam/2","allocations":[]}"#).unwrap();
        let agent = node.agent(&[]).ready().await;
        given(&agent.add("c1").await);
        let log = agent.log();
        assert!(log.contains(r#"the checkpoint is of version \"vpc-cni-ipam/2\"; expected vpc-cni-ipam/1"#), "{log}");
    });
}

#[test]
fn snat_follows_a_new_block_of_the_vpc_as_soon_as_a_subnet_of_it_shows() {
    isolated("snat_follows_a_new_block_of_the_vpc_as_soon_as_a_subnet_of_it_shows", async |node| {
        // The ordinary period is far away: only the subnet can bring it on.
        let patient = [("FREEBOARD_VPC_CIDR_SECONDS", "3600"), ("FREEBOARD_SUBNETS_CALM_SECONDS", "1")];
        let agent = node.agent(&patient).ready().await;
        let ec2 = Ec2Client::new(Ec2Config::for_endpoint("us-west-2", &node.endpoint, "test", "test")).unwrap();
        let vpc = VpcId::new("vpc-0b0b0b0b0b0b0b0b0");
        let block = "100.64.0.0/20".parse().unwrap();
        ec2.associate_vpc_cidr_block(&AssociateVpcCidrBlock { vpc: vpc.clone(), cidr: block }).await.unwrap();
        let cidr = "100.64.1.0/24".parse().unwrap();
        let subnet = CreateSubnet { vpc, cidr, zone: "us-west-2a".to_owned(), tags: Default::default() };
        let started = Instant::now();
        while let Err(error) = ec2.create_subnet(&subnet).await {
            // The block is still being associated.
            assert!(started.elapsed() < LIMIT, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        wait_until("SNAT knows the block", || agent.log().contains(r#""blocks":"10.0.0.0/16,100.64.0.0/20""#)).await;
        let reply = agent.add("c1").await;
        assert_eq!(reply.vpc_v4_cidrs, ["10.0.0.0/16", "100.64.0.0/20"]);
    });
}

/// A veth pair named for the pod, and the route to its address.
fn witness(pod: &str, address: Ipv4Addr) {
    use freeboard_address::{Cidr, PodKey};
    use freeboard_datapath::names::host_interface;
    use freeboard_datapath::netlink::Route;
    let name = host_interface("eni", &PodKey::new("default", pod));
    let end = |name: &str, mac: &str| VethEnd { name: name.to_owned(), mac: mac.parse().unwrap(), namespace: None };
    let pair = Veth { near: end(&name, "02:aa:00:00:00:01"), far: end("pod", "02:aa:00:00:00:02"), mtu_bytes: 1500 };
    let mut socket = RouteSocket::open().unwrap();
    socket.execute(&[Request::AddVeth(pair)]).unwrap();
    let index = socket.link(&name).unwrap().unwrap().index;
    socket.execute(&[up(index), Request::ReplaceRoute(Route::on_link(Cidr::host(address), index))]).unwrap();
}
