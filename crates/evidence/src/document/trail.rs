//! CloudTrail records, as files of a trail and as `aws cloudtrail lookup-events` prints them.

use std::sync::Arc;

use freeboard_address::{EniId, SubnetId};
use freeboard_diagnosis::{Kind, Subject};
use serde_json::Value;

use super::Document;
use crate::collector::Collector;
use crate::log::{Message, note};
use crate::tree::{at, list, text};

/// Reads records; says whether there were any.
pub(super) fn read(collector: &mut Collector, document: &mut Document<'_>, value: &Value) -> bool {
    let is_record = |value: &Value| value.get("eventSource").is_some() && value.get("eventName").is_some();
    if is_record(value) {
        collector.count(Kind::CloudTrail);
        record(collector, document, value);
        return true;
    }
    let records = list(value, &["Records"]);
    if records.iter().any(is_record) {
        collector.count(Kind::CloudTrail);
        for value in records {
            record(collector, document, value);
        }
        return true;
    }
    // `lookup-events` puts each record into a text.
    let texts: Vec<&str> =
        list(value, &["Events"]).iter().filter_map(|event| text(event, &["CloudTrailEvent"])).collect();
    if texts.is_empty() {
        return false;
    }
    collector.count(Kind::CloudTrail);
    for inner in texts {
        if let Ok(value) = serde_json::from_str::<Value>(inner) {
            record(collector, document, &value);
        }
    }
    true
}

fn record(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let Some(code) = text(value, &["errorCode"]) else { return };
    let name = text(value, &["eventName"]).unwrap_or_default();
    // CloudTrail writes the codes of throttling and of missing permissions in a form of its own.
    let code = match code {
        "Client.RequestLimitExceeded" => "RequestLimitExceeded",
        "Client.UnauthorizedOperation" | "AccessDenied" => "UnauthorizedOperation",
        other => other.strip_prefix("Client.").unwrap_or(other),
    };
    let message = text(value, &["errorMessage"]).unwrap_or_default();
    let parameters = at(value, &["requestParameters"]).map(ToString::to_string).unwrap_or_default();
    let whole = format!("{name}: {code}: {message}");
    let time = text(value, &["eventTime"]).and_then(|time| time.parse().ok());
    let line = text(value, &["eventID"]).and_then(|id| document.find(id));
    let about = Subject {
        action: Some(format!("ec2:{name}")),
        subnet: crate::subject::id(&parameters, "subnet-").map(SubnetId::new),
        interface: crate::subject::id(&parameters, "eni-").map(EniId::new),
        ..Subject::default()
    };
    let file = Arc::clone(document.file);
    note(
        collector,
        &Message { file: &file, line, kind: Kind::CloudTrail, text: &whole, about, first: time, last: time, count: 1 },
    );
}
