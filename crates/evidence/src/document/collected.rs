//! What `freeboard collect` tells of an archive of its own: what could not be had.

use std::sync::Arc;

use freeboard_diagnosis::Kind;
use serde_json::Value;

use super::Document;
use crate::collector::Collector;
use crate::excerpt;

/// How many missing things are named.
const MOST_NAMED: usize = 5;

/// Reads it; says whether it was one.
pub(super) fn read(collector: &mut Collector, document: &Document<'_>, value: &Value) -> bool {
    let Some(about) = value.get("freeboardCollect").filter(|about| about.is_object()) else { return false };
    collector.count(Kind::Collection);
    let missing = about.get("missing").and_then(Value::as_object);
    let all: Vec<String> = missing
        .into_iter()
        .flatten()
        .map(|(what, why)| format!("{what} ({})", excerpt::around(why.as_str().unwrap_or("no reason given"), "")))
        .collect();
    if !all.is_empty() {
        let named: Vec<&str> = all.iter().take(MOST_NAMED).map(String::as_str).collect();
        let more =
            if all.len() > MOST_NAMED { format!("; and {} more", all.len() - MOST_NAMED) } else { String::new() };
        let file = Arc::clone(document.file);
        collector.problem(&file, None, format!("what was not collected: {}{more}", named.join("; ")));
    }
    true
}
