//! The Node object is missing or made anew, the API server is slow, a pod goes while its ADD waits or comes again at once: the agent
//! serves its pods all the same, and tells the truth as soon as it can.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_lab::kubernetes::Cluster;
use freeboard_lab::{CONTROL_PLANE_HOST, Machine, Namespace, Pod, ping};
use freeboard_vpc::Fault;
use serde_json::{Value, json};

use crate::support::{LIMIT, Outcome, Stage, held, require, start_pod, wait_until};
use crate::view::{self, condition, event, get, wait_for};

/// One node in a subnet of 11 addresses.
pub(crate) const WORLD: &str = one_node!("[]", "");
/// How long the API server takes to answer on its slow day.
const SLOWNESS: Duration = Duration::from_secs(2);
/// Where the way to the slow API server begins, on the node.
const SLOW_DOOR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 16443);
/// How late EC2's answer is on which a pod waits: longer than its ADD does.
const LATE_SECONDS: f64 = 5.0;
const SETTINGS: [(&str, &str); 4] = [
    ("FREEBOARD_KUBECONFIG", view::KUBECONFIG),
    ("FREEBOARD_ADD_WAIT_SECONDS", "3"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("WARM_IP_TARGET", "1"),
];

pub(crate) fn play(stage: &Stage) -> Outcome {
    let cluster = Cluster::start_without_nodes(&stage.lab, view::options()?)?;
    view::prepare(&cluster)?;
    let machine = &stage.lab.machines()[0];
    view::give_kubeconfig(&cluster, machine)?;
    let mut agent = stage.start_agent(machine, &SETTINGS)?;
    without_a_node_object(&cluster, machine)?;
    a_node_object_made_anew(&cluster, machine)?;
    the_same_pod_again_at_once(machine)?;
    a_pod_deleted_while_it_waits(stage, machine)?;
    agent.stop(Duration::from_secs(5))?;
    slow_door(machine)?;
    let slow = slow_kubeconfig(&cluster)?;
    machine.namespace().run(|| std::fs::write(view::KUBECONFIG, slow))??;
    let _agent = stage.start_agent(machine, &SETTINGS)?;
    a_slow_api_server(&cluster, machine)
}

/// The kubelet has not registered the node, or under another name.
fn without_a_node_object(cluster: &Cluster, machine: &Machine) -> Outcome {
    wait_until("the log names the Node that is missing", || {
        let log = machine.output("cat", &["/var/log/aws-routed-eni/ipamd.log"])?;
        let says = log.contains("there is no Node of this name (MY_NODE_NAME)") && log.contains(&machine.name);
        Ok(if says { Ok(()) } else { Err("it does not".to_owned()) })
    })?;
    let (mut pod, address) = start_pod(machine, "without-a-node")?;
    require(held(machine)?.assigned.contains_key(&address), "a pod gets an address all the same")?;
    pod.delete()?;
    cluster.apply(&view::node(machine, &[]))?;
    wait_for(cluster, "the Node that came late is told", &["node", &machine.name], |node| condition(node).0 == "True")?;
    Ok(())
}

/// Somebody deletes the Node, and the kubelet registers it again: another object of the same name.
fn a_node_object_made_anew(cluster: &Cluster, machine: &Machine) -> Outcome {
    let owned = |uid: &Value| {
        let uid = uid.clone();
        move |object: &Value| object["metadata"]["ownerReferences"][0]["uid"] == uid
    };
    let uid = get(cluster, &["node", &machine.name])?["metadata"]["uid"].clone();
    wait_for(cluster, "its addresses are shown", &["nodeaddresses", &machine.name], owned(&uid))?;
    cluster.kubectl(&["delete", "node", &machine.name])?;
    cluster.apply(&view::node(machine, &[]))?;
    let node = wait_for(cluster, "the new Node is told", &["node", &machine.name], |node| condition(node).0 == "True")?;
    require(node["metadata"]["uid"] != uid, "it is another object")?;
    wait_for(
        cluster,
        "its addresses are the new Node's",
        &["nodeaddresses", &machine.name],
        owned(&node["metadata"]["uid"]),
    )?;
    Ok(())
}

/// A StatefulSet's pod comes again under its name before the old sandbox is gone; the late DEL of that takes nothing away.
fn the_same_pod_again_at_once(machine: &Machine) -> Outcome {
    let (mut old, before) = start_pod(machine, "web-0")?;
    let (mut new, after) = start_pod(machine, "web-0")?;
    require(before != after, format!("the new sandbox has an address of its own: {before}, {after}"))?;
    old.delete()?;
    require(ping(machine.namespace(), after, LIMIT)?, format!("{after} answers after the late DEL"))?;
    let assigned = held(machine)?.assigned;
    require(assigned.len() == 1 && assigned.contains_key(&after), format!("only {after} is held: {assigned:?}"))?;
    new.delete()
        .map_err(Into::into)
        .and_then(|()| require(held(machine)?.assigned.is_empty(), "and then nothing is held any more"))
}

/// The runtime gives up a sandbox whose ADD still waits for EC2: the address that comes goes to nobody.
fn a_pod_deleted_while_it_waits(stage: &Stage, machine: &Machine) -> Outcome {
    for action in ["AssignPrivateIpAddresses", "CreateNetworkInterface"] {
        let fault = Fault::Delay { action: action.to_owned(), delay_seconds: LATE_SECONDS, seconds: None };
        stage.lab.server().with_cloud(|cloud, now| cloud.inject(&fault, now))?;
    }
    let mut running = Vec::new();
    while held(machine)?.assigned.len() < held(machine)?.total {
        running.push(start_pod(machine, &format!("running-{}", running.len()))?.0);
    }
    let mut waiting = Pod::create(machine, PodKey::new("test", "waiting"))?;
    let attachment = waiting.attachment.clone();
    thread::scope(|scope| -> Outcome {
        let add = scope.spawn(|| waiting.add());
        wait_until("its ADD waits", || {
            let metrics = machine.get(61678, "/metrics")?;
            let waits = metrics.lines().any(|line| line == "freeboard_waiting_adds 1");
            Ok(if waits { Ok(()) } else { Err("no ADD waits".to_owned()) })
        })?;
        machine.cni_delete(&attachment)?;
        let answer = add.join().map_err(|_| "the waiting thread panicked")?;
        require(answer.is_err(), format!("the ADD of a sandbox that is given up fails: {answer:?}"))
    })?;
    stage.lab.server().with_cloud(freeboard_vpc::Cloud::clear_faults);
    wait_until("the address has come, and nobody holds it", || {
        let held = held(machine)?;
        let is_right = held.total > running.len() && held.assigned.len() == running.len();
        Ok(if is_right { Ok(()) } else { Err(format!("{held:?}")) })
    })?;
    Ok(running.iter_mut().try_for_each(Pod::delete)?)
}

/// Pods get addresses as fast as ever; who has none is told, only later.
fn a_slow_api_server(cluster: &Cluster, machine: &Machine) -> Outcome {
    let began = Instant::now();
    // Asked again as the runtime does: the subnet is full in between, while addresses of before rest or are given back.
    let start = |index| -> Outcome<(Pod, Ipv4Addr)> {
        let mut started = None;
        wait_until("a pod starts", || {
            let tried = start_pod(machine, &format!("fast-{index}"));
            Ok(tried.map(|pod| started = Some(pod)).map_err(|error| error.to_string()))
        })?;
        started.ok_or_else(|| "a pod that started is one".into())
    };
    let pods = (0..9).map(start).collect::<Outcome<Vec<_>>>()?;
    eprintln!("{} pods beside a slow API server: {:.1} s", pods.len(), began.elapsed().as_secs_f64());
    cluster.apply(&view::pod_on(machine, "refused"))?;
    let mut pod = Pod::create(machine, PodKey::new("test", "refused"))?;
    require(pod.add().is_err(), "the tenth pod is refused")?;
    pod.delete()?;
    event(cluster, "Pod", "SubnetExhausted", &["no address", "10.0.16.0/28"])?;
    wait_for(cluster, "the node says that it is full", &["node", &machine.name], |node| {
        condition(node) == ("False".to_owned(), "SubnetExhausted".to_owned())
    })?;
    Ok(())
}

/// A kubeconfig that leads through the slow door; the certificate is that of the API server's own address.
fn slow_kubeconfig(cluster: &Cluster) -> Outcome<String> {
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig())?)?;
    let entry = &mut kubeconfig["clusters"][0]["cluster"];
    let server = entry["server"].as_str().unwrap_or_default().to_owned();
    let host = server.trim_start_matches("https://").rsplit_once(':').ok_or("the server has a port")?.0.to_owned();
    entry["server"] = json!(format!("https://{SLOW_DOOR}"));
    entry["tls-server-name"] = json!(host);
    Ok(kubeconfig.to_string())
}

/// Listens on the node, and passes everything on to the API server; what that says comes two seconds later.
fn slow_door(machine: &Machine) -> Outcome {
    let namespace = machine.namespace().clone();
    let listener = namespace.run(|| TcpListener::bind(SLOW_DOOR))??;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let namespace = namespace.clone();
            thread::spawn(move || pass(&namespace, client));
        }
    });
    Ok(())
}

/// One connection, until either side ends it.
fn pass(namespace: &Namespace, client: TcpStream) -> Option<()> {
    let server = namespace.run(|| TcpStream::connect((CONTROL_PLANE_HOST, 6443))).ok()?.ok()?;
    let (to_server, to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let forth = thread::spawn(move || copy(client, to_server, Duration::ZERO));
    copy(server, to_client, SLOWNESS);
    forth.join().ok()
}

fn copy(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        // The slowness is the subject, not a way to wait for something.
        thread::sleep(delay);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Either may be gone already.
    let _ = to.shutdown(Shutdown::Both);
}
