//! A stand-in agent on a unix socket: it answers what the test tells it to, and remembers what it was asked.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use freeboard_rpc::cni::cni_backend_server::{CniBackend, CniBackendServer};
use freeboard_rpc::cni::{
    AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocationMetadata, Refusal,
};
use freeboard_rpc::node::node_agent_server::{NodeAgent, NodeAgentServer};
use freeboard_rpc::node::{
    CheckReply, CheckRequest, GarbageCollectReply, GarbageCollectRequest, StatusReply, StatusRequest,
};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// What the agent answers next, and what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) add: AddNetworkReply,
    pub(crate) delete: Option<Result<DelNetworkReply, Status>>,
    pub(crate) check: CheckReply,
    pub(crate) status: StatusReply,
    pub(crate) collected: GarbageCollectReply,
    pub(crate) added: Vec<AddNetworkRequest>,
    pub(crate) deleted: Vec<DelNetworkRequest>,
    pub(crate) kept: Vec<GarbageCollectRequest>,
}

#[derive(Clone)]
struct Service(Arc<Mutex<Script>>);

#[tonic::async_trait]
impl CniBackend for Service {
    async fn add_network(&self, request: Request<AddNetworkRequest>) -> Result<Response<AddNetworkReply>, Status> {
        let mut script = self.0.lock().unwrap();
        script.added.push(request.into_inner());
        Ok(Response::new(script.add.clone()))
    }

    async fn del_network(&self, request: Request<DelNetworkRequest>) -> Result<Response<DelNetworkReply>, Status> {
        let mut script = self.0.lock().unwrap();
        script.deleted.push(request.into_inner());
        let unknown = || Err(Status::unknown("1 error occurred:\n\t* datastore: unknown pod\n\n"));
        script.delete.clone().unwrap_or_else(unknown).map(Response::new)
    }
}

#[tonic::async_trait]
impl NodeAgent for Service {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckReply>, Status> {
        Ok(Response::new(self.0.lock().unwrap().check.clone()))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.0.lock().unwrap().status.clone()))
    }

    async fn garbage_collect(
        &self,
        request: Request<GarbageCollectRequest>,
    ) -> Result<Response<GarbageCollectReply>, Status> {
        let mut script = self.0.lock().unwrap();
        script.kept.push(request.into_inner());
        Ok(Response::new(script.collected.clone()))
    }
}

/// A running stand-in; dropping it ends it.
pub(crate) struct Agent {
    directory: tempfile::TempDir,
    script: Arc<Mutex<Script>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::start_with(true)
    }

    /// The incumbent's agent: it has no service for CHECK, STATUS and GC, but a health service.
    pub(crate) fn start_incumbent() -> Self {
        Self::start_with(false)
    }

    fn start_with(ours: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("ipamd.sock");
        let script = Arc::new(Mutex::new(Script::default()));
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Service(Arc::clone(&script));
        let (listening, is_listening) = std::sync::mpsc::channel();
        let serve = async move {
            let listener = tokio::net::UnixListener::bind(socket).unwrap();
            listening.send(()).unwrap();
            let (_, health) = tonic_health::server::health_reporter();
            let node = ours.then(|| NodeAgentServer::new(service.clone()));
            let stop = async {
                let _ = stopped.await;
            };
            Server::builder()
                .add_service(CniBackendServer::new(service.clone()))
                .add_service(health)
                .add_optional_service(node)
                .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
                .await
                .unwrap();
        };
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve);
        });
        is_listening.recv().unwrap();
        Self { directory, script, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("ipamd.sock")
    }

    pub(crate) fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn allocation() -> IpAllocationMetadata {
    IpAllocationMetadata {
        ipv4_addr: "10.0.208.9".to_owned(),
        device_number: 1,
        route_table_id: 2,
        ..IpAllocationMetadata::default()
    }
}

pub(crate) fn given() -> AddNetworkReply {
    AddNetworkReply { success: true, ip_allocation_metadata: vec![allocation()], ..AddNetworkReply::default() }
}

pub(crate) fn released() -> DelNetworkReply {
    DelNetworkReply { success: true, ip_allocation_metadata: vec![allocation()], ..DelNetworkReply::default() }
}

pub(crate) fn full_subnet() -> Refusal {
    Refusal {
        cause: "SubnetExhausted".to_owned(),
        place: "10.0.208.0/27".to_owned(),
        message: "subnet 10.0.208.0/27 is full (0 of 27 addresses free)".to_owned(),
        remedy: "associate a secondary CIDR block with the VPC".to_owned(),
    }
}
