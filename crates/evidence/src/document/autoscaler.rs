//! The status of the cluster autoscaler, as it lies in its ConfigMap: YAML of today, and the free text of before.

use std::sync::Arc;

use freeboard_diagnosis::{Kind, Subject};
use serde_json::Value;

use super::Document;
use crate::collector::Collector;
use crate::log::{Message, note};
use crate::tree::{at, list, text};

/// Reads a status in YAML; says whether it was one.
pub(super) fn read(collector: &mut Collector, document: &mut Document<'_>, value: &Value) -> bool {
    let is_status = value.get("autoscalerStatus").is_some()
        || (value.get("clusterWide").is_some() && value.get("nodeGroups").is_some());
    if !is_status {
        return false;
    }
    collector.count(Kind::AutoscalerStatus);
    for group in list(value, &["nodeGroups"]) {
        let Some(scale_up) = at(group, &["scaleUp"]) else { continue };
        if text(scale_up, &["status"]) != Some("Backoff") {
            continue;
        }
        let information = at(scale_up, &["backoffInfo"]).unwrap_or(&Value::Null);
        let code = text(information, &["errorCode"]).unwrap_or_default();
        let reason = text(information, &["errorMessage"]).unwrap_or_default();
        let name = text(group, &["name"]).unwrap_or_default();
        let message = format!("{name} in backoff after failed scale-up: {code}: {reason}");
        let line = document.find(name);
        let about = Subject { name: Some(name.to_owned()), ..Subject::default() };
        let file = Arc::clone(document.file);
        note(
            collector,
            &Message {
                file: &file,
                line,
                kind: Kind::AutoscalerStatus,
                text: &message,
                about,
                first: None,
                last: None,
                count: 1,
            },
        );
    }
    true
}

/// Reads a status in either form.
pub(super) fn read_text(collector: &mut Collector, document: &mut Document<'_>, status: &str) {
    for (_, value) in crate::tree::yaml(status) {
        if value.is_ok_and(|value| read(collector, document, &value)) {
            return;
        }
    }
    collector.count(Kind::AutoscalerStatus);
    let mut name = "";
    for line in status.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("Name:") {
            name = rest.trim();
        }
        if line.starts_with("ScaleUp:") && line.contains("Backoff") {
            let message = format!("{name} in backoff after failed scale-up: {line}");
            let about = Subject { name: Some(name.to_owned()), ..Subject::default() };
            let at = document.find("Backoff");
            let file = Arc::clone(document.file);
            note(
                collector,
                &Message {
                    file: &file,
                    line: at,
                    kind: Kind::AutoscalerStatus,
                    text: &message,
                    about,
                    first: None,
                    last: None,
                    count: 1,
                },
            );
        }
    }
}
