//! A stand-in for the Kubernetes API server, with the one node that the incumbent's agent asks for.
//!
//! Freeboard's agent needs no API server. The incumbent's panics without any kubeconfig and waits 30 s for an unreachable
//! server, so a comparison without this stand-in would be unfair to it. It answers at once and from memory, which a real
//! API server does not; what is unfair here is in the incumbent's favour.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use freeboard_lab::Namespace;
use futures::StreamExt;
use serde_json::{Value, json};

/// One kind of object that the stand-in knows.
struct Kind {
    group_version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
}

const KINDS: &[Kind] = &[
    Kind { group_version: "v1", kind: "Node", plural: "nodes", namespaced: false },
    Kind { group_version: "v1", kind: "Pod", plural: "pods", namespaced: true },
    Kind { group_version: "v1", kind: "Namespace", plural: "namespaces", namespaced: false },
    Kind { group_version: "v1", kind: "Event", plural: "events", namespaced: true },
    Kind { group_version: "events.k8s.io/v1", kind: "Event", plural: "events", namespaced: true },
    Kind {
        group_version: "crd.k8s.amazonaws.com/v1alpha1",
        kind: "ENIConfig",
        plural: "eniconfigs",
        namespaced: false,
    },
    Kind { group_version: "vpcresources.k8s.aws/v1alpha1", kind: "CNINode", plural: "cninodes", namespaced: false },
];

/// The version of everything; nothing ever changes.
const RESOURCE_VERSION: &str = "1";

/// The name of the pod in which the incumbent's agent believes to be.
pub const AGENT_POD: &str = "aws-node-bench";

/// A running stand-in; it ends with the runtime.
#[derive(Clone, Debug)]
pub struct ApiServer {
    address: SocketAddr,
}

/// The node that the stand-in knows.
#[derive(Clone, Debug)]
pub struct KnownNode {
    /// Its name.
    pub name: String,
    /// What kubelet would report as its capacity for pods.
    pub max_pods: u32,
}

impl ApiServer {
    /// Listens on the loopback of `namespace` and serves `node`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn start(namespace: &Namespace, node: KnownNode) -> Result<Self> {
        let listener = namespace
            .run(|| {
                std::net::TcpListener::bind("127.0.0.1:0")
                    .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            })?
            .context("cannot listen for the API server's stand-in")?;
        let address = listener.local_addr().context("the stand-in's socket has no address")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot use the stand-in's socket")?;
        let router = Router::new().fallback(answer).with_state(node);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address })
    }

    /// A kubeconfig that leads here.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "lab", "user": {}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        })
        .to_string()
    }
}

async fn answer(State(node): State<KnownNode>, method: Method, uri: Uri) -> Response {
    let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let (group_version, rest): (String, &[&str]) = match parts.as_slice() {
        ["version"] => return reply(StatusCode::OK, &json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})),
        ["api"] => return reply(StatusCode::OK, &json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => return reply(StatusCode::OK, &groups()),
        ["api", version, rest @ ..] => ((*version).to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return not_found(uri.path()),
    };
    match rest {
        [] => reply(StatusCode::OK, &resources(&group_version)),
        ["namespaces", _, rest @ ..] | rest => answer_objects(&group_version, rest, &method, &uri, &node),
    }
}

fn answer_objects(group_version: &str, rest: &[&str], method: &Method, uri: &Uri, node: &KnownNode) -> Response {
    let plural = rest.first().copied().unwrap_or("namespaces");
    let Some(kind) = KINDS.iter().find(|kind| kind.group_version == group_version && kind.plural == plural) else {
        return not_found(uri.path());
    };
    if *method != Method::GET {
        // Events and annotations are accepted and forgotten.
        let metadata = json!({"name": "accepted", "namespace": "default", "resourceVersion": RESOURCE_VERSION});
        return reply(
            StatusCode::CREATED,
            &json!({"kind": kind.kind, "apiVersion": group_version, "metadata": metadata}),
        );
    }
    let objects = match kind.kind {
        "Node" => vec![node_object(node)],
        "Pod" => vec![pod_object(node)],
        _ => Vec::new(),
    };
    let query = uri.query().unwrap_or_default();
    match rest.get(1) {
        Some(name) => match objects.into_iter().find(|object| object["metadata"]["name"] == *name) {
            Some(object) => reply(StatusCode::OK, &object),
            None => not_found(uri.path()),
        },
        None if query.contains("watch=true") || query.contains("watch=1") => watch(kind, objects, query),
        None => reply(
            StatusCode::OK,
            &json!({
                "kind": format!("{}List", kind.kind), "apiVersion": group_version,
                "metadata": {"resourceVersion": RESOURCE_VERSION}, "items": objects,
            }),
        ),
    }
}

/// A watch sends what is there, if it was asked to, and then stays open and silent.
fn watch(kind: &Kind, objects: Vec<Value>, query: &str) -> Response {
    let mut lines = String::new();
    if query.contains("sendInitialEvents=true") {
        for object in objects {
            lines += &(json!({"type": "ADDED", "object": object}).to_string() + "\n");
        }
        let metadata = json!({
            "resourceVersion": RESOURCE_VERSION, "annotations": {"k8s.io/initial-events-end": "true"},
        });
        let bookmark = json!({"kind": kind.kind, "apiVersion": kind.group_version, "metadata": metadata});
        lines += &(json!({"type": "BOOKMARK", "object": bookmark}).to_string() + "\n");
    }
    let first = futures::stream::once(async move { Ok::<_, Infallible>(Bytes::from(lines)) });
    let stream = first.chain(futures::stream::pending());
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response()
}

fn node_object(node: &KnownNode) -> Value {
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {
            "name": node.name, "uid": "00000000-0000-4000-8000-000000000001", "resourceVersion": RESOURCE_VERSION,
            "labels": {"kubernetes.io/hostname": node.name},
        },
        "spec": {},
        "status": {"capacity": {"pods": node.max_pods.to_string()}, "allocatable": {"pods": node.max_pods.to_string()}},
    })
}

/// The agent's own pod, on which it puts its events.
fn pod_object(node: &KnownNode) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": AGENT_POD, "namespace": "kube-system", "uid": "00000000-0000-4000-8000-000000000002",
            "resourceVersion": RESOURCE_VERSION, "labels": {"k8s-app": "aws-node"},
        },
        "spec": {"nodeName": node.name, "containers": []}, "status": {"phase": "Running"},
    })
}

fn groups() -> Value {
    let mut versions: Vec<&str> =
        KINDS.iter().map(|kind| kind.group_version).filter(|version| version.contains('/')).collect();
    versions.dedup();
    let groups: Vec<Value> = versions
        .into_iter()
        .filter_map(|group_version| {
            let (group, version) = group_version.split_once('/')?;
            let version = json!({"groupVersion": group_version, "version": version});
            Some(json!({"name": group, "versions": [version], "preferredVersion": version}))
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn resources(group_version: &str) -> Value {
    let verbs = ["create", "get", "list", "patch", "update", "watch"];
    let resources: Vec<Value> = KINDS
        .iter()
        .filter(|kind| kind.group_version == group_version)
        .map(|kind| {
            json!({
                "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
                "kind": kind.kind, "verbs": verbs,
            })
        })
        .collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn not_found(path: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": format!("the stand-in for the API server has no {path}"),
    });
    reply(StatusCode::NOT_FOUND, &status)
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
