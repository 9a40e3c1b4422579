//! Conditions: what is true of an object, since when, and why; on Freeboard's own objects and on nodes.

use std::borrow::Cow;
use std::fmt;

use freeboard_address::NodeName;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

impl ConditionStatus {
    /// The word in the object.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One condition of an object, in the shape of `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, for example `PodAddressesAvailable`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, as one word.
    pub reason: String,
    /// Why, as a sentence with figures.
    pub message: String,
    /// When the status last changed.
    #[schemars(schema_with = "date_time")]
    pub last_transition_time: Timestamp,
}

/// The schema of a time.
pub(crate) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

impl Condition {
    /// A condition whose status is new at `now`.
    pub fn new(
        kind: impl Into<String>,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        let (kind, reason, message) = (kind.into(), reason.into(), message.into());
        Self { kind, status, reason, message, last_transition_time: now }
    }

    /// The condition as it follows on `before`: with the same status it holds since then.
    #[must_use]
    pub fn following(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before
            && before.kind == self.kind
            && before.status == self.status
        {
            self.last_transition_time = before.last_transition_time;
        }
        self
    }

    /// Puts the condition in the place of the one of its kind, or behind the others. A status that stays keeps its time.
    pub fn put_into(self, conditions: &mut Vec<Self>) {
        match conditions.iter_mut().find(|condition| condition.kind == self.kind) {
            Some(place) => *place = self.following(Some(place)),
            None => conditions.push(self),
        }
    }
}

/// The condition of this kind that a node has.
#[must_use]
pub fn of_node(node: &Node, kind: &str) -> Option<Condition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    let status = match found.status.as_str() {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    };
    let since = found.last_transition_time.as_ref().and_then(|time| time.0.to_string().parse().ok());
    Some(Condition {
        kind: kind.to_owned(),
        status,
        reason: found.reason.clone().unwrap_or_default(),
        message: found.message.clone().unwrap_or_default(),
        last_transition_time: since.unwrap_or_default(),
    })
}

/// Sets one condition of a node and leaves the others to whom they belong: server-side apply under `manager`'s name.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn apply_to_node(
    client: &Client,
    node: &NodeName,
    condition: &Condition,
    manager: &str,
) -> Result<(), Error> {
    let applied = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.as_str()},
        "status": {"conditions": [{
            "type": condition.kind, "status": condition.status.as_str(), "reason": condition.reason,
            "message": shortened(&condition.message, LONGEST_MESSAGE_BYTES),
            "lastTransitionTime": to_the_second(condition.last_transition_time),
            "lastHeartbeatTime": to_the_second(Timestamp::now()),
        }]},
    });
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch_status(node.as_str(), &PatchParams::apply(manager).force(), &Patch::Apply(applied)).await.map(drop)
}

/// The API server takes up to 32 KiB in a condition; people read less.
const LONGEST_MESSAGE_BYTES: usize = 1024;

/// `metav1.Time` has no fractions of a second.
pub(crate) fn to_the_second(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// A text of at most `most` bytes; a longer one ends in `…`.
pub(crate) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(most.saturating_sub(MARK.len()));
    Cow::Owned(format!("{}{MARK}", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_status_that_stays_keeps_its_time_and_one_that_changes_gets_a_new_one() {
        let mut conditions = Vec::new();
        Condition::new("Available", ConditionStatus::True, "Free", "8 free", at(10)).put_into(&mut conditions);
        Condition::new("Available", ConditionStatus::True, "Free", "7 free", at(20)).put_into(&mut conditions);
        assert_eq!(conditions.len(), 1);
        assert_eq!((conditions[0].last_transition_time, conditions[0].message.as_str()), (at(10), "7 free"));
        Condition::new("Available", ConditionStatus::False, "Full", "0 free", at(30)).put_into(&mut conditions);
        Condition::new("Other", ConditionStatus::Unknown, "NotAsked", "", at(30)).put_into(&mut conditions);
        assert_eq!(conditions.iter().map(|c| c.last_transition_time).collect::<Vec<_>>(), [at(30), at(30)]);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("äääää", 8), "ää…");
        assert!(shortened(&"x".repeat(2000), 1024).len() <= 1024);
    }

    #[test]
    fn times_are_written_without_fractions() {
        assert_eq!(to_the_second("2026-01-02T03:04:05.678Z".parse().unwrap()), "2026-01-02T03:04:05Z");
    }
}
