//! Taints of a node, set and removed without disturbing those of others.

use std::time::Duration;

use freeboard_address::NodeName;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::json;

use crate::client::is_conflict;

/// How often a change is tried when others change the node at the same time.
const TRIES: usize = 5;
/// The pause before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be true of one taint key on a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// No taint has this key.
    Absent {
        /// The key.
        key: String,
    },
    /// This taint, and no other with its key.
    Present(Taint),
}

impl Wanted {
    fn key(&self) -> &str {
        match self {
            Self::Absent { key } => key,
            Self::Present(taint) => &taint.key,
        }
    }

    /// The node's taints as they should be; `None` when they are.
    #[must_use]
    pub fn change(&self, taints: &[Taint]) -> Option<Vec<Taint>> {
        let is_same = |have: &&Taint| match self {
            Self::Absent { .. } => false,
            Self::Present(taint) => have.effect == taint.effect && have.value == taint.value,
        };
        let own: Vec<&Taint> = taints.iter().filter(|taint| taint.key == self.key()).collect();
        let is_right = match self {
            Self::Absent { .. } => own.is_empty(),
            Self::Present(_) => own.len() == 1 && own.iter().all(is_same),
        };
        if is_right {
            return None;
        }
        let others = taints.iter().filter(|taint| taint.key != self.key()).cloned();
        let present = match self {
            Self::Absent { .. } => None,
            Self::Present(taint) => Some(taint.clone()),
        };
        Some(others.chain(present).collect())
    }
}

/// Makes the node's taints as wanted; returns whether anything had to be changed.
///
/// # Errors
/// When the API server refuses or does not answer, or others change the node all the time.
pub async fn ensure(client: &Client, node: &NodeName, wanted: &Wanted) -> Result<bool, Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut tries = 1;
    loop {
        let found = nodes.get(node.as_str()).await?;
        let taints = found.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let Some(changed) = wanted.change(&taints) else { return Ok(false) };
        // The list has no keys by which parts of it could be merged: the version says whether it is still the one that was read.
        let patch = json!({
            "metadata": {"resourceVersion": found.metadata.resource_version},
            "spec": {"taints": changed},
        });
        match nodes.patch(node.as_str(), &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(true),
            Err(error) if is_conflict(&error) && tries < TRIES => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
        tries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str) -> Taint {
        let value = (!value.is_empty()).then(|| value.to_owned());
        Taint { effect: "NoSchedule".to_owned(), key: key.to_owned(), value, time_added: None }
    }

    #[test]
    fn only_the_taints_with_the_key_change() {
        let others = [taint("a", ""), taint("b", "1")];
        let absent = Wanted::Absent { key: "ours".to_owned() };
        assert_eq!(absent.change(&others), None);
        let with_ours = [others.to_vec(), vec![taint("ours", "Full")]].concat();
        assert_eq!(absent.change(&with_ours), Some(others.to_vec()));

        let present = Wanted::Present(taint("ours", "Full"));
        assert_eq!(present.change(&with_ours), None);
        assert_eq!(present.change(&others), Some(with_ours.clone()));
        let other_value = Wanted::Present(taint("ours", "Limit")).change(&with_ours).unwrap();
        assert_eq!(other_value.last(), Some(&taint("ours", "Limit")));
        assert_eq!(other_value.len(), 3);
    }
}
