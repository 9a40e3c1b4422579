//! `freeboard-agent --hand-over`: when the Amazon VPC CNI works on this node again, what it does not know of goes.
//!
//! Checkpoint, links, routes and policy rules are in the form that it reads, and stay. Left are nf_tables tables: the node's own,
//! which would translate by the VPC's blocks of today for ever, and those of host ports.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use freeboard_datapath::DatapathError;
use freeboard_datapath::host::ObservedHost;
use freeboard_datapath::nft::{NODE_TABLE, NftSocket, find_leftovers};
use freeboard_datapath::ports_of_pods;
use freeboard_settings::Settings;

use crate::probe::{self, ProbeError, Question};

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// Freeboard's own agent answers.
    #[error("Freeboard's agent still runs on this node (it answers on {}): end it first, it looks after what would be removed", .0.display())]
    StillRuns(PathBuf),
    /// Nobody translates in our place yet.
    #[error(
        "the Amazon VPC CNI has not written its rules on this node (no chain AWS-SNAT-CHAIN-0 and no rule of its own in \
         nf_tables): without any, pods could not reach what is outside the VPC; wait until its agent is ready. If it writes by \
         iptables-legacy, which is not seen here, look at `iptables-legacy -t nat -S AWS-SNAT-CHAIN-0` and add --force"
    )]
    NoSuccessor,
    /// The kernel refused.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// Tables that were removed.
    pub removed: Vec<String>,
    /// Pods that live and have host ports, which stay as they are.
    pub kept: Vec<Ipv4Addr>,
}

impl fmt::Display for HandedOver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.removed.is_empty() {
            writeln!(formatter, "nothing of Freeboard's own was left on this node")?;
        }
        for table in &self.removed {
            writeln!(formatter, "removed the nf_tables table ip {table}")?;
        }
        for pod in &self.kept {
            writeln!(
                formatter,
                "kept the host ports of the pod with {pod}: the Amazon VPC CNI does not know of them; run this again \
                 when the pod is gone"
            )?;
        }
        Ok(())
    }
}

/// Removes what only Freeboard's agent would look after. Doing it again is no error. `is_forced` leaves out the look for a
/// successor's rules.
///
/// # Errors
/// When Freeboard's agent still runs, when nobody has taken over, or when the kernel refuses.
pub fn hand_over(settings: &Settings, is_forced: bool) -> Result<HandedOver, HandOverError> {
    // The other's agent answers on the same socket, and does not know the service that is asked for.
    if matches!(probe::ask(Question::Ready, &settings.socket), Ok(()) | Err(ProbeError::NotReady)) {
        return Err(HandOverError::StillRuns(settings.socket.clone()));
    }
    let mut socket = NftSocket::open()?;
    let needs_successor = !settings.external_snat || settings.node_port_support;
    if needs_successor && !is_forced && find_leftovers(&mut socket)?.is_empty() {
        return Err(HandOverError::NoSuccessor);
    }
    let mut done = HandedOver::default();
    if socket.remove(NODE_TABLE)? {
        done.removed.push(NODE_TABLE.to_owned());
    }
    let living: Vec<Ipv4Addr> =
        ObservedHost::read_tables([])?.witnesses("").into_iter().map(|witness| witness.address).collect();
    for (pod, table) in ports_of_pods(&mut socket)? {
        if living.contains(&pod) {
            done.kept.push(pod);
        } else if socket.remove(&table)? {
            done.removed.push(table);
        }
    }
    Ok(done)
}
