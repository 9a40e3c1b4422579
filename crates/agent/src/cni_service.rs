//! The incumbent's service `rpc.CNIBackend`: ADD and DEL, with its semantics and texts.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freeboard_address::{AttachmentKey, Cidr, PodKey};
use freeboard_datapath::names::interface_table;
use freeboard_pool::{AddRequest, Cause, DelRequest, Place, Refusal, Reply};
use freeboard_rpc::cni::cni_backend_server::CniBackend;
use freeboard_rpc::cni::{
    self, AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocationMetadata,
};
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::evidence;
use crate::metrics::Metrics;
use crate::peer::root_only;
use crate::pool_handle::{Command, PoolError, PoolHandle};

/// The text by which the incumbent's plugin knows that a DEL has nothing to release.
const UNKNOWN_POD: &str = "datastore: unknown pod";

/// The service.
#[derive(Debug)]
pub struct CniService {
    /// The pool.
    pub pool: PoolHandle,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The VPC's blocks, as they are known now.
    pub vpc_cidrs: watch::Receiver<Vec<Cidr>>,
    /// Blocks that see the pods' own addresses besides.
    pub excluded_cidrs: Vec<Cidr>,
    /// Whether something outside the node does SNAT.
    pub external_snat: bool,
    /// How long an ADD waits for the agent's start.
    pub start_wait: Duration,
}

#[tonic::async_trait]
impl CniBackend for CniService {
    async fn add_network(&self, request: Request<AddNetworkRequest>) -> Result<Response<AddNetworkReply>, Status> {
        root_only(&request).map_err(|status| *status)?;
        let started = Instant::now();
        let request = request.into_inner();
        self.metrics.adds.inc();
        tracing::debug!(
            pod = request.k8s_pod_name,
            namespace = request.k8s_pod_namespace,
            container = request.container_id,
            "Received AddNetwork for NS {}, Sandbox {}, ifname {}",
            request.netns,
            request.container_id,
            request.if_name
        );
        let pod = pod(&request.k8s_pod_namespace, &request.k8s_pod_name);
        // An empty key breaks out as "no address", as the incumbent has it.
        let Some(key) = key(&request.network_name, &request.container_id, &request.if_name) else {
            tracing::warn!("Returning failure response for AddNetwork: network, container and interface must be named");
            return Ok(Response::new(AddNetworkReply::default()));
        };
        let reply = match self.pool.add(AddRequest { key, pod }, self.start_wait).await {
            Ok(reply) => reply,
            Err(PoolError::NotStarted) => Reply::Refused(not_started()),
            Err(gone @ PoolError::Gone) => return Err(Status::unavailable(gone.to_string())),
        };
        let (reply, outcome) = match reply {
            Reply::Assigned { address, device_index, .. } => {
                (self.assigned(address, device_index, &request), "assigned")
            }
            Reply::Refused(refusal) => (self.refused(refusal, &request), "refused"),
            other @ (Reply::Released { .. } | Reply::UnknownPod) => return Err(mismatch("ADD", &other)),
        };
        self.metrics.add_seconds.with_label_values(&[outcome]).observe(started.elapsed().as_secs_f64());
        Ok(Response::new(reply))
    }

    async fn del_network(&self, request: Request<DelNetworkRequest>) -> Result<Response<DelNetworkReply>, Status> {
        root_only(&request).map_err(|status| *status)?;
        let started = Instant::now();
        let request = request.into_inner();
        // The reason comes from outside: only the known ones become a label.
        let reason = match request.reason.as_str() {
            known @ ("PodDeleted" | "SetupNSFailed") => known,
            _ => "other",
        };
        self.metrics.dels.with_label_values(&[reason]).inc();
        tracing::debug!(
            pod = request.k8s_pod_name,
            namespace = request.k8s_pod_namespace,
            container = request.container_id,
            "Received DelNetwork for Sandbox {}",
            request.container_id
        );
        let pod = pod(&request.k8s_pod_namespace, &request.k8s_pod_name);
        let key = AttachmentKey {
            network: request.network_name,
            container: request.container_id,
            interface: request.if_name,
        };
        let reply =
            release(&self.pool, key.clone(), pod, None).await.map_err(|gone| Status::unavailable(gone.to_string()))?;
        self.metrics.del_seconds.observe(started.elapsed().as_secs_f64());
        match reply {
            Reply::Released { address, device_index } => {
                tracing::info!(%address, device_index, "Send DelNetworkReply: IPv4Addr: {address}, DeviceNumber: {device_index}");
                Ok(Response::new(DelNetworkReply {
                    success: true,
                    ip_allocation_metadata: vec![metadata(address, device_index)],
                    ..DelNetworkReply::default()
                }))
            }
            Reply::UnknownPod => {
                tracing::warn!("UnassignPodIPAddress: Failed to find sandbox {key}");
                Err(Status::unknown(format!("1 error occurred:\n\t* {UNKNOWN_POD}\n\n")))
            }
            Reply::Refused(refusal) => Err(Status::unavailable(refusal.to_string())),
            other @ Reply::Assigned { .. } => Err(mismatch("DEL", &other)),
        }
    }
}

impl CniService {
    fn assigned(&self, address: Ipv4Addr, device_index: u32, request: &AddNetworkRequest) -> AddNetworkReply {
        tracing::info!(
            %address, device_index, pod = request.k8s_pod_name, namespace = request.k8s_pod_namespace,
            container = request.container_id,
            "Send AddNetworkReply: IPv4Addr: {address}, DeviceNumber: {device_index}"
        );
        let mut cidrs = self.vpc_cidrs.borrow().clone();
        if !self.external_snat {
            cidrs.extend(&self.excluded_cidrs);
        }
        AddNetworkReply {
            success: true,
            ip_allocation_metadata: vec![metadata(address, device_index)],
            use_external_snat: self.external_snat,
            vpc_v4_cidrs: cidrs.iter().map(ToString::to_string).collect(),
            ..AddNetworkReply::default()
        }
    }

    fn refused(&self, refusal: Refusal, request: &AddNetworkRequest) -> AddNetworkReply {
        self.metrics.refused(&refusal);
        tracing::error!(
            cause = refusal.cause.as_str(), place = %place(&refusal.place), remedy = refusal.remedy,
            pod = request.k8s_pod_name, namespace = request.k8s_pod_namespace,
            "DataStore has no available IP/Prefix addresses: {}", refusal.message
        );
        AddNetworkReply { refusal: Some(wire(refusal)), ..AddNetworkReply::default() }
    }
}

/// The refusal while the agent starts.
#[must_use]
pub fn not_started() -> Refusal {
    Refusal {
        cause: Cause::NotReady,
        place: Place::Node,
        message: PoolError::NotStarted.to_string(),
        remedy: "nothing, if the node has just come up; otherwise look at the last lines of ipamd.log".to_owned(),
    }
}

/// Releases what is held under `key`; failing that, under the keys that stand for it: the one that an old agent gave to pods
/// of an even older one, and the one that a rebuilt state has.
///
/// What was rebuilt from the kernel is known by the pod's name alone. It is another sandbox's than `key` when `key` asked for an
/// address since (the rebuilt one is older than that), or when the kernel spoke for it after `key` was deleted; `deleted` is when,
/// if that is in the past.
///
/// # Errors
/// When the pool's task has ended.
pub async fn release(
    pool: &PoolHandle,
    key: AttachmentKey,
    pod: Option<PodKey>,
    deleted: Option<Timestamp>,
) -> Result<Reply, PoolError> {
    let has_asked = pool.ask(|answer| Command::HasAsked(key.clone(), answer)).await?;
    let migrated = AttachmentKey {
        network: "_migrated-from-cri".to_owned(),
        container: key.container.clone(),
        interface: "unknown".to_owned(),
    };
    let mut reply = pool.del(DelRequest { key, pod: pod.clone() }).await?;
    if reply == Reply::UnknownPod {
        reply = pool.del(DelRequest { key: migrated, pod: pod.clone() }).await?;
    }
    if reply == Reply::UnknownPod
        && !has_asked
        && let Some(known) = &pod
    {
        let rebuilt = evidence::rebuilt_key(known);
        let held = pool.ask(|answer| Command::Holds(rebuilt.clone(), answer)).await?;
        if held.is_some_and(|held| deleted.is_none_or(|deleted| held.since <= deleted)) {
            reply = pool.del(DelRequest { key: rebuilt, pod }).await?;
        }
    }
    Ok(reply)
}

/// A pod, unless the runtime named none.
#[must_use]
pub fn pod(namespace: &str, name: &str) -> Option<PodKey> {
    (!name.is_empty()).then(|| PodKey::new(namespace, name))
}

fn key(network: &str, container: &str, interface: &str) -> Option<AttachmentKey> {
    let whole = !network.is_empty() && !container.is_empty() && !interface.is_empty();
    whole.then(|| AttachmentKey {
        network: network.to_owned(),
        container: container.to_owned(),
        interface: interface.to_owned(),
    })
}

/// An address as the wire has it.
#[must_use]
pub fn metadata(address: Ipv4Addr, device_index: u32) -> IpAllocationMetadata {
    IpAllocationMetadata {
        ipv4_addr: address.to_string(),
        ipv6_addr: String::new(),
        device_number: i32::try_from(device_index).unwrap_or(i32::MAX),
        route_table_id: i32::try_from(interface_table(0, device_index)).unwrap_or(i32::MAX),
    }
}

/// A refusal as the wire has it.
#[must_use]
pub fn wire(refusal: Refusal) -> cni::Refusal {
    cni::Refusal {
        cause: refusal.cause.as_str().to_owned(),
        place: place(&refusal.place),
        message: refusal.message,
        remedy: refusal.remedy,
    }
}

/// A place for people.
#[must_use]
pub fn place(place: &Place) -> String {
    match place {
        Place::Subnet { id, cidr } => format!("subnet {id} ({cidr})"),
        Place::Block { cidr } => format!("block {cidr}"),
        Place::Interface { id } => format!("interface {id}"),
        Place::Node => "node".to_owned(),
        Place::Api { action } => action.clone(),
    }
}

fn mismatch(request: &str, reply: &Reply) -> Status {
    tracing::error!(?reply, "the pool answered {request} with something else");
    Status::internal(format!("the pool answered {request} with something else; please report this"))
}
