//! The measurements: single calls, forty at once, and the least that any plugin needs.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use freeboard_address::{MacAddress, PodKey};
use freeboard_datapath::{PodNetwork, names};
use freeboard_lab::{Machine, Pod};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::Value;

use freeboard_lab::runtime::{CniError, PluginList, Served};

/// Pods of a burst.
pub const BURST_PODS: usize = 40;

/// What single calls took.
#[derive(Clone, Debug, Default)]
pub struct SerialSample {
    /// Each ADD.
    pub add: Vec<Duration>,
    /// Each DEL.
    pub delete: Vec<Duration>,
}

/// What forty calls at once took.
#[derive(Clone, Debug)]
pub struct BurstSample {
    /// From the first start to the last end.
    pub wall: Duration,
    /// Each ADD.
    pub add: Vec<Duration>,
    /// Processor time of all the plugins' processes together.
    pub plugin_processor_time: Duration,
}

/// An empty sandbox for a pod whose name no other has.
///
/// # Errors
/// When the namespace cannot be made.
pub fn sandbox(node: &Machine) -> Result<Pod> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let name = format!("pod-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    Ok(Pod::create(node, PodKey::new("bench", name))?)
}

/// Several empty sandboxes.
///
/// # Errors
/// When a namespace cannot be made.
pub fn sandboxes(node: &Machine, count: usize) -> Result<Vec<Pod>> {
    (0..count).map(|_| sandbox(node)).collect()
}

/// Adds and deletes `count` pods, one after the other.
///
/// # Errors
/// The first call that fails.
pub fn serial(node: &Machine, list: &PluginList, count: usize, sample: &mut SerialSample) -> Result<()> {
    let sandboxes = sandboxes(node, count)?;
    node.namespace().run(|| {
        for sandbox in &sandboxes {
            let started = Instant::now();
            let result = list.add(&sandbox.attachment)?;
            sample.add.push(started.elapsed());
            let started = Instant::now();
            list.delete(&sandbox.attachment, Some(&result))?;
            sample.delete.push(started.elapsed());
        }
        Ok::<_, CniError>(())
    })??;
    Ok(())
}

/// Adds forty pods at once, and deletes them at once.
///
/// # Errors
/// The first call that fails.
pub fn burst(node: &Machine, list: &PluginList) -> Result<BurstSample> {
    let sandboxes = sandboxes(node, BURST_PODS)?;
    let before = processor_time_of_children()?;
    let started = at_once(node, &sandboxes, |sandbox| {
        let started = Instant::now();
        let result = list.add(&sandbox.attachment)?;
        Ok((result, started, Instant::now()))
    })?;
    let plugin_processor_time = processor_time_of_children()?.saturating_sub(before);
    let first = started.iter().map(|(_, start, _)| *start).min().context("a burst has pods")?;
    let last = started.iter().map(|(_, _, end)| *end).max().context("a burst has pods")?;
    let add = started.iter().map(|(_, start, end)| *end - *start).collect();
    let results: Vec<Value> = started.into_iter().map(|(result, _, _)| result).collect();
    delete_all(node, list, &sandboxes, &results)?;
    Ok(BurstSample { wall: last - first, add, plugin_processor_time })
}

/// Starts forty pods at once and goes on trying until each has its address, as kubelet and its runtime do.
///
/// # Errors
/// A pod without address after `patience`.
pub fn burst_with_tries(
    node: &Machine,
    list: &PluginList,
    sandboxes: &[Pod],
    pause: Duration,
    patience: Duration,
) -> Result<Vec<Served>> {
    at_once(node, sandboxes, |sandbox| list.add_with_tries(&sandbox.attachment, pause, patience))
}

/// Deletes pods at once.
///
/// # Errors
/// The first call that fails.
pub fn delete_all(node: &Machine, list: &PluginList, sandboxes: &[Pod], results: &[Value]) -> Result<()> {
    let pairs: Vec<(&Pod, &Value)> = sandboxes.iter().zip(results).collect();
    at_once(node, &pairs, |(sandbox, result)| list.delete(&sandbox.attachment, Some(result)))?;
    Ok(())
}

/// Does `work` for all items at the same moment, each on a thread inside the node.
fn at_once<I: Sync, T: Send>(
    node: &Machine,
    items: &[I],
    work: impl Fn(&I) -> Result<T, CniError> + Sync,
) -> Result<Vec<T>> {
    let barrier = Barrier::new(items.len());
    std::thread::scope(|scope| {
        let (barrier, work) = (&barrier, &work);
        let threads: Vec<_> = items
            .iter()
            .map(|item| {
                scope.spawn(move || {
                    node.namespace().run(|| {
                        barrier.wait();
                        work(item)
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| Ok(thread.join().map_err(|_| anyhow!("a caller panicked"))???)).collect()
    })
}

fn processor_time_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot ask for the processor time of children")?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(microseconds.unsigned_abs()))
}

/// The same netlink work as an ADD of ours, in this process and without any agent; for pods on a secondary interface.
///
/// # Errors
/// When the kernel refuses.
pub fn kernel_floor(node: &Machine, count: usize) -> Result<Vec<Duration>> {
    let mut sample = Vec::with_capacity(count);
    for number in (1..=u8::MAX).take(count) {
        let sandbox = sandbox(node)?;
        let pod = PodNetwork {
            host_interface: names::host_interface("eni", &PodKey::new("bench", &sandbox.attachment.pod_name)),
            pod_interface: "eth0".to_owned(),
            namespace: sandbox.attachment.network_namespace.clone(),
            address: [192, 168, 254, number].into(),
            table: 2,
            mtu_bytes: 9001,
            host_mac: MacAddress::new([0x02, 0, 0, 0, 1, number]),
            pod_mac: MacAddress::new([0x02, 0, 0, 0, 2, number]),
            host_ports: Vec::new(),
        };
        sample.push(node.namespace().run(|| -> Result<Duration> {
            let started = Instant::now();
            pod.set_up()?;
            let took = started.elapsed();
            pod.remains().tear_down()?;
            Ok(took)
        })??);
    }
    Ok(sample)
}

/// Starting a program that does nothing, and waiting for its end.
///
/// # Errors
/// When there is no `true` on this machine.
pub fn process_start(count: usize) -> Result<Vec<Duration>> {
    (0..count)
        .map(|_| {
            let mut command = Command::new("/bin/true");
            command.arg0("true").stdin(Stdio::null()).stdout(Stdio::null());
            let started = Instant::now();
            command.status().context("cannot start /bin/true")?;
            Ok(started.elapsed())
        })
        .collect()
}
