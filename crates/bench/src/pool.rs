//! An agent's pool as its introspection server tells it; both agents answer in the same shape.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use freeboard_lab::Namespace;
use serde_json::Value;

/// Where either agent answers, on its node's loopback.
const INTROSPECTION: ([u8; 4], u16) = ([127, 0, 0, 1], 61679);
/// A pool that has not changed for so long is at rest; the incumbent looks at its pool every 5 s.
const REST: Duration = Duration::from_secs(7);
/// Until when a pool must be as it was asked to be.
const LIMIT: Duration = Duration::from_secs(180);
const INTERVAL: Duration = Duration::from_millis(100);

/// How many addresses a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// All addresses for pods.
    pub total_addresses: u64,
    /// Those that pods have.
    pub assigned_addresses: u64,
}

impl PoolView {
    /// Asks the agent of the node in `namespace`.
    ///
    /// # Errors
    /// When it does not answer, or not as expected.
    pub fn of(namespace: &Namespace) -> Result<Self> {
        let body = namespace.run(|| get("/v1/enis"))?.context("cannot ask the introspection server")?;
        let answer: Value = serde_json::from_str(&body).with_context(|| format!("/v1/enis is not JSON: {body:?}"))?;
        // Since multi-card support the pool of card 0 stands under "0".
        let pool = answer.get("0").unwrap_or(&answer);
        let figure = |key: &str| pool[key].as_u64().with_context(|| format!("/v1/enis has no {key}: {body}"));
        Ok(Self { total_addresses: figure("TotalIPs")?, assigned_addresses: figure("AssignedIPs")? })
    }

    /// Waits until the pool has not changed for a while.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub async fn at_rest(namespace: &Namespace) -> Result<Self> {
        let (mut view, mut since) = (None, Instant::now());
        Self::wait(namespace, "come to rest", |now| {
            if view != Some(now) {
                (view, since) = (Some(now), Instant::now());
            }
            since.elapsed() >= REST
        })
        .await
    }

    /// Waits until the pool holds `count` free addresses.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn with_at_least(namespace: &Namespace, count: u64) -> Result<Self> {
        Self::wait(namespace, &format!("hold {count} free addresses"), |now| {
            now.total_addresses.saturating_sub(now.assigned_addresses) >= count
        })
        .await
    }

    async fn wait(namespace: &Namespace, what: &str, mut is_so: impl FnMut(Self) -> bool) -> Result<Self> {
        let started = Instant::now();
        loop {
            let view = Self::of(namespace);
            if let Ok(view) = view
                && is_so(view)
            {
                return Ok(view);
            }
            if started.elapsed() > LIMIT {
                bail!("the pool of {} does not {what} within {LIMIT:?}; it says {view:?}", namespace.name());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

fn get(path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(INTROSPECTION), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
