//! The nodes: listed with a consistent read, then watched; listed again when the watch breaks, or when the engine asks for it.

use std::time::Duration;

use freeboard_address::{NodeName, NodeUid};
use freeboard_blocks::ResourceVersion;
use freeboard_kubernetes::client::sentence;
use freeboard_kubernetes::kube::api::{ListParams, WatchEvent, WatchParams};
use freeboard_kubernetes::kube::{self, Api, Client};
use freeboard_kubernetes::lean_node::LeanNode;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Notify, mpsc};

use crate::input::{Input, observed, version};

/// What is lost while the API server is away.
const WHAT: &str = "nodes";
/// Nodes in one answer of a list.
const PAGE: u32 = 500;
/// The pause after a failed list, doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Tells of all nodes until nobody listens.
pub(crate) async fn follow(client: Client, listen: mpsc::Sender<Input>, list_again: &Notify) {
    let api: Api<LeanNode> = Api::all(client);
    let mut pause = PAUSE;
    while !listen.is_closed() {
        let outcome = match list(&api, &listen).await {
            Ok(version) => {
                pause = PAUSE;
                tokio::select! {
                    outcome = watch(&api, version, &listen) => outcome,
                    () = list_again.notified() => continue,
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            let _ = listen.send(Input::Lost(WHAT, sentence(&error))).await;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Lists all nodes; returns the version to watch from.
async fn list(api: &Api<LeanNode>, listen: &mpsc::Sender<Input>) -> Result<String, kube::Error> {
    let mut nodes = Vec::new();
    // Without a version the answer is a consistent read, and all of its pages show the same one.
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        nodes.extend(page.items.into_iter().filter_map(observed));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => {
                let text = page.metadata.resource_version.unwrap_or_default();
                let version = version(Some(&text)).unwrap_or(ResourceVersion(0));
                let _ = listen.send(Input::Nodes(nodes, version)).await;
                return Ok(text);
            }
        }
    }
}

/// Tells of changes until the watch ends. Its regular end is none: it is asked for again, from where it was.
async fn watch(api: &Api<LeanNode>, from: String, listen: &mpsc::Sender<Input>) -> Result<(), kube::Error> {
    let mut from = from;
    loop {
        let mut events = api.watch(&WatchParams::default(), &from).await?.boxed();
        while let Some(event) = events.try_next().await? {
            let input = match event {
                WatchEvent::Added(node) | WatchEvent::Modified(node) => {
                    from = node.metadata.resource_version.clone().unwrap_or(from);
                    observed(node).map(Input::Node)
                }
                WatchEvent::Deleted(node) => {
                    from = node.metadata.resource_version.clone().unwrap_or(from);
                    let (name, uid) = (node.metadata.name, node.metadata.uid);
                    name.zip(uid).map(|(name, uid)| Input::NodeDeleted(NodeName::new(name), NodeUid::new(uid)))
                }
                WatchEvent::Bookmark(bookmark) => {
                    from = bookmark.metadata.resource_version;
                    None
                }
                // Mostly 410 Gone: what was asked for is not remembered any more, and only a list helps.
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            };
            if let Some(input) = input
                && listen.send(input).await.is_err()
            {
                return Ok(());
            }
        }
    }
}
