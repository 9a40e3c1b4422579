//! An agent as a process of a node: its health, and the processor time that it has used.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use freeboard_lab::{Machine, Namespace, Program, ProgramOptions};
use hyper_util::rt::TokioIo;
use nix::unistd::{SysconfVar, sysconf};
use tokio::runtime::Handle;
use tonic::transport::{Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Where either agent listens, inside its node.
const SOCKET: &str = "/run/aws-node/ipamd.sock";
/// Until when an agent must be healthy.
const HEALTHY_LIMIT: Duration = Duration::from_secs(60);

/// Starts an agent and waits until its health service says SERVING, as the DaemonSet's probe asks it; returns how long that
/// took from the start.
///
/// # Errors
/// When it cannot be started, ends before, or is not healthy in time; with the end of its log.
pub async fn start(machine: &Machine, options: &ProgramOptions) -> Result<(Program, Duration)> {
    let (machine, options, handle) = (machine.clone(), options.clone(), Handle::current());
    tokio::task::spawn_blocking(move || {
        let mut program = machine.start(&options)?;
        let is_healthy = || handle.block_on(is_serving(machine.namespace()));
        let took = program.wait_until("health", HEALTHY_LIMIT, is_healthy)?;
        Ok((program, took))
    })
    .await?
}

/// Processor time that a program has used so far.
///
/// # Errors
/// When the process is gone.
pub fn processor_time(program: &Program) -> Result<Duration> {
    let path = format!("/proc/{}/stat", program.id());
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name, in parentheses, may hold blanks; user and system time are the 12th and 13th field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).unsigned_abs();
    Ok(Duration::from_millis(ticks * 1000 / per_second))
}

async fn is_serving(node: &Namespace) -> bool {
    let Ok(Ok(stream)) = node.run(|| connect(Path::new(SOCKET))) else { return false };
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("one connection only"));
        async move { stream.and_then(tokio::net::UnixStream::from_std).map(TokioIo::new) }
    });
    let connected = Endpoint::from_static("http://agent").connect_with_connector(connector).await;
    let Ok(channel) = connected else { return false };
    let mut client = HealthClient::new(channel);
    let request = HealthCheckRequest { service: String::new() };
    let answer = tokio::time::timeout(Duration::from_secs(1), client.check(request)).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving))
}

fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
