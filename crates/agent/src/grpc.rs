//! The gRPC server on the agent's socket: health, the incumbent's service, and Freeboard's own.

use std::time::Duration;

use freeboard_rpc::cni::cni_backend_server::CniBackendServer;
use freeboard_rpc::node::node_agent_server::NodeAgentServer;
use tokio::net::UnixListener;
use tonic::transport::Server;
use tonic_health::ServingStatus;

use crate::accept::greeted;
use crate::cni_service::CniService;
use crate::node_service::NodeService;

/// A connection that is silent this long is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The names under which health is asked for: the server as a whole, and the incumbent's.
const HEALTH: [&str; 2] = ["", "grpc.health.v1.aws-node"];
/// The name under which it is asked whether the start is finished.
pub const READY: &str = "freeboard.ready";
/// Larger than any request of the plugin, GC with all its attachments included.
const LARGEST_REQUEST_BYTES: usize = 1024 * 1024;

/// Serves until the end of the process. Health is good as soon as this runs: the incumbent's probe means "the process
/// answers", and whether an address can be given is asked with STATUS.
///
/// # Errors
/// When the server ends, which it should not.
pub async fn serve(listener: UnixListener, cni: CniService, node: NodeService) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    for name in HEALTH {
        health.set_service_status(name, ServingStatus::Serving).await;
    }
    health.set_service_status(READY, ServingStatus::NotServing).await;
    let mut status = node.pool.status();
    tokio::spawn(async move {
        if status.wait_for(|status| status.ready).await.is_ok() {
            health.set_service_status(READY, ServingStatus::Serving).await;
        }
    });
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(health_service)
        .add_service(CniBackendServer::new(cni).max_decoding_message_size(LARGEST_REQUEST_BYTES))
        .add_service(NodeAgentServer::new(node).max_decoding_message_size(LARGEST_REQUEST_BYTES))
        .serve_with_incoming(greeted(listener))
        .await
}
