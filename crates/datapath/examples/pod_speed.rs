//! Prints how long it takes to set up and tear down pods in network namespaces of its own: the floor for a plugin's ADD and
//! DEL. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program for people")]

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use freeboard_address::{MacAddress, PodKey};
use freeboard_datapath::PodNetwork;
use freeboard_datapath::names::host_interface;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const PODS: u8 = 100;

fn main() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pods: Vec<PodNetwork> = (1..=PODS).map(|number| pod(number, directory.path())).collect();
    let set_up = pods.iter().map(|pod| measure(|| pod.set_up().unwrap())).collect();
    let disconnected = pods.iter().map(|pod| measure(|| pod.remains().disconnect().unwrap())).collect();
    for pod in &pods {
        pod.set_up().unwrap();
    }
    let torn_down = pods.iter().map(|pod| measure(|| pod.remains().tear_down().unwrap())).collect();
    report("set up", set_up);
    report("disconnect", disconnected);
    report("tear down", torn_down);
    for pod in &pods {
        umount2(&pod.namespace, MntFlags::MNT_DETACH).unwrap();
    }
}

fn pod(number: u8, directory: &Path) -> PodNetwork {
    let namespace = directory.join(number.to_string());
    File::create(&namespace).unwrap();
    let target = namespace.clone();
    let make = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    };
    thread::spawn(make).join().unwrap();
    PodNetwork {
        host_interface: host_interface("eni", &PodKey::new("default", number.to_string())),
        pod_interface: "eth0".to_owned(),
        namespace,
        address: Ipv4Addr::new(10, 0, 208, number),
        table: 2,
        mtu_bytes: 9001,
        host_mac: MacAddress::new([2, 0, 0, 1, 0, number]),
        pod_mac: MacAddress::new([2, 0, 0, 2, 0, number]),
        host_ports: Vec::new(),
    }
}

fn measure(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{what}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}
