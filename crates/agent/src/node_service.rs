//! Freeboard's own service `freeboard.node.v1.NodeAgent` on the same socket: CHECK, STATUS and GC.

use std::collections::BTreeSet;

use freeboard_address::AttachmentKey;
use freeboard_datapath::names::interface_table;
use freeboard_rpc::node::garbage_collect_reply::Released;
use freeboard_rpc::node::node_agent_server::NodeAgent;
use freeboard_rpc::node::{
    Attachment, CheckReply, CheckRequest, GarbageCollectReply, GarbageCollectRequest, StatusReply, StatusRequest,
};
use tonic::{Request, Response, Status};

use crate::cni_service::{metadata, not_started, wire};
use crate::peer::root_only;
use crate::pool_handle::{Command, PoolError, PoolHandle};

/// The service.
#[derive(Debug)]
pub struct NodeService {
    /// The pool.
    pub pool: PoolHandle,
}

#[tonic::async_trait]
impl NodeAgent for NodeService {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckReply>, Status> {
        root_only(&request).map_err(|status| *status)?;
        let CheckRequest { attachment, address } = request.into_inner();
        let key = key(attachment.ok_or_else(|| Status::invalid_argument("the request names no attachment"))?);
        let held = self.pool.ask(|answer| Command::Holds(key.clone(), answer)).await.map_err(gone)?;
        let mut reply = CheckReply::default();
        let Some(held) = held else {
            reply.message = format!("nothing is held for {key}");
            return Ok(Response::new(reply));
        };
        if let Some(index) = held.device_index {
            reply.device_number = i32::try_from(index).unwrap_or(i32::MAX);
            reply.route_table_id = i32::try_from(interface_table(0, index)).unwrap_or(i32::MAX);
        }
        if !address.is_empty() && address != held.address.to_string() {
            reply.message = format!("{key} holds {}, not {address}", held.address);
        } else if held.device_index.is_none() {
            reply.message = format!("{} of {key} is no address of this node", held.address);
        } else {
            reply.holds = true;
        }
        Ok(Response::new(reply))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        root_only(&request).map_err(|status| *status)?;
        let refusal = match self.pool.ask(Command::CanGive).await {
            Ok(answer) => answer.err(),
            Err(PoolError::NotStarted) => Some(not_started()),
            Err(error @ PoolError::Gone) => return Err(gone(error)),
        };
        Ok(Response::new(StatusReply { ready: refusal.is_none(), refusal: refusal.map(wire) }))
    }

    async fn garbage_collect(
        &self,
        request: Request<GarbageCollectRequest>,
    ) -> Result<Response<GarbageCollectReply>, Status> {
        root_only(&request).map_err(|status| *status)?;
        let GarbageCollectRequest { network, valid } = request.into_inner();
        if network.is_empty() {
            return Err(Status::invalid_argument("the request names no network"));
        }
        let valid: BTreeSet<AttachmentKey> = valid.into_iter().map(key).collect();
        let kept = valid.len();
        let released = self.pool.ask(|answer| Command::Collect(network.clone(), valid, answer)).await.map_err(gone)?;
        if !released.is_empty() {
            tracing::info!(
                network,
                kept,
                released = released.len(),
                "the runtime asked to collect what it no longer knows"
            );
        }
        let released = released.into_iter().map(|holding| {
            let pod = holding.pod.unwrap_or_default();
            Released {
                allocation: Some(metadata(holding.address, holding.device_index.unwrap_or(0))),
                attachment: Some(Attachment {
                    network: holding.key.network,
                    container: holding.key.container,
                    interface: holding.key.interface,
                }),
                pod_namespace: pod.namespace,
                pod_name: pod.name,
            }
        });
        Ok(Response::new(GarbageCollectReply { released: released.collect() }))
    }
}

fn key(attachment: Attachment) -> AttachmentKey {
    AttachmentKey { network: attachment.network, container: attachment.container, interface: attachment.interface }
}

fn gone(error: PoolError) -> Status {
    Status::unavailable(error.to_string())
}
