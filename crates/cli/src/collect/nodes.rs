//! What nodes tell through the API server: the logs of the CNI, by the kubelet, and what the agent shows, if it may be reached.

use std::collections::BTreeSet;

use freeboard_kubernetes::client::sentence;
use freeboard_kubernetes::kube::Client;
use freeboard_kubernetes::pages::text;
use futures::StreamExt;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

/// Nodes that are asked at once.
const AT_ONCE: usize = 8;
/// Logs of the CNI, as the kubelet shows them below /var/log: the file, and its name in the archive.
const LOGS: [(&str, &str); 2] =
    [("aws-routed-eni/ipamd.log", "ipamd.log"), ("aws-routed-eni/plugin.log", "plugin.log")];
/// What an agent shows, if it listens on more than the loopback: port, path, and the name in the archive.
const SHOWN: [(u16, &str, &str); 2] = [(61679, "v1/enis", "enis.json"), (61678, "metrics", "metrics.txt")];

/// The nodes that the lists name, and what else is needed to ask them.
#[derive(Debug, Default)]
pub(super) struct Named {
    nodes: Vec<String>,
    /// Nodes with pods that wait for a sandbox: they are asked first.
    troubled: BTreeSet<String>,
    /// The agent's pod on each node.
    agents: Vec<(String, String)>,
}

/// One answer of a node.
pub(super) struct NodeAnswer {
    /// The node.
    pub(super) node: String,
    /// The name in the archive.
    pub(super) file: &'static str,
    /// The text, or why there is none.
    pub(super) text: Result<String, String>,
}

impl Named {
    /// Notes what a list of nodes or pods names.
    pub(super) fn note(&mut self, list: &Value) {
        let kind = list["kind"].as_str().unwrap_or_default();
        for item in list["items"].as_array().into_iter().flatten() {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            if kind == "NodeList" {
                self.nodes.push(name.to_owned());
            }
            let Some(node) = item["spec"]["nodeName"].as_str().filter(|_| kind == "PodList") else { continue };
            if item["status"]["phase"] == "Pending" {
                self.troubled.insert(node.to_owned());
            }
            if item["metadata"]["labels"]["k8s-app"] == "aws-node" {
                let namespace = item["metadata"]["namespace"].as_str().unwrap_or("kube-system");
                self.agents.push((node.to_owned(), format!("/api/v1/namespaces/{namespace}/pods/{name}")));
            }
        }
    }

    /// How many nodes there are.
    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// At most so many nodes, those in trouble first.
    fn chosen(&self, most: usize) -> Vec<&String> {
        let troubled = self.nodes.iter().filter(|node| self.troubled.contains(*node));
        let others = self.nodes.iter().filter(|node| !self.troubled.contains(*node));
        troubled.chain(others).take(most).collect()
    }

    /// Asks at most so many nodes; of each log the end of at most so many bytes.
    pub(super) async fn ask(&self, client: &Client, most: usize, log_bytes: u64) -> Vec<NodeAnswer> {
        let asking = self.chosen(most).into_iter().map(|node| {
            let pod = self.agents.iter().find(|(of, _)| of == node).map(|(_, path)| path.as_str());
            ask(client, node, pod, log_bytes)
        });
        let answers: Vec<Vec<NodeAnswer>> = futures::stream::iter(asking).buffered(AT_ONCE).collect().await;
        answers.into_iter().flatten().collect()
    }
}

async fn ask(client: &Client, node: &str, pod: Option<&str>, log_bytes: u64) -> Vec<NodeAnswer> {
    let mut tail = HeaderMap::new();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes=-{log_bytes}")) {
        tail.insert(RANGE, range);
    }
    let mut answers = Vec::new();
    for (log, file) in LOGS {
        let path = format!("/api/v1/nodes/{node}/proxy/logs/{log}");
        let answer = text(client, &path, &tail).await.map_err(|error| sentence(&error));
        answers.push(NodeAnswer { node: node.to_owned(), file, text: answer });
    }
    for (port, shown, file) in SHOWN {
        let Some(pod) = pod else { continue };
        let path = format!("{pod}:{port}/proxy/{shown}");
        let answer = text(client, &path, &HeaderMap::new()).await.map_err(|error| sentence(&error));
        answers.push(NodeAnswer { node: node.to_owned(), file, text: answer });
    }
    answers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Named;

    #[test]
    fn nodes_in_trouble_are_asked_first() {
        let mut named = Named::default();
        let node = |name: &str| json!({"metadata": {"name": name}});
        named.note(&json!({"kind": "NodeList", "items": [node("a"), node("b"), node("c")]}));
        named.note(&json!({"kind": "PodList", "items": [
            {"metadata": {"name": "web"}, "spec": {"nodeName": "c"}, "status": {"phase": "Pending"}},
            {"metadata": {"name": "aws-node-1", "labels": {"k8s-app": "aws-node"}}, "spec": {"nodeName": "a"}, "status": {}},
        ]}));
        assert_eq!(named.chosen(2), ["c", "a"]);
        assert_eq!(named.agents, [("a".to_owned(), "/api/v1/namespaces/kube-system/pods/aws-node-1".to_owned())]);
    }
}
