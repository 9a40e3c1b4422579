//! Metrics in the Prometheus text format.

use std::collections::BTreeMap;
use std::sync::Arc;

use freeboard_diagnosis::{Citation, Cited, Kind, Subject};

use super::Block;
use crate::collector::Collector;
use crate::log::{Message, note};

/// Metrics that are kept: those of the agent, of the controller manager's address controller, and of Cilium's operator.
const KEPT: [&str; 4] = ["awscni_", "node_ipam_controller_", "cilium_operator_ipam_", "freeboard_"];
/// Counters whose labels name an error.
const ERRORS: [&str; 2] = ["awscni_aws_api_error_count{", "awscni_ec2api_error_count{"];

/// Reads metrics; says whether there were any.
pub(super) fn read(collector: &mut Collector, block: &Block<'_>) -> bool {
    let is_sample = |line: &&str| {
        line.starts_with("# HELP ") || line.starts_with("# TYPE ") || KEPT.iter().any(|prefix| line.starts_with(prefix))
    };
    let seen = block.text.lines().filter(|line| !line.trim().is_empty()).take(20);
    let (all, samples) = seen.fold((0, 0), |(all, samples), line| (all + 1, samples + usize::from(is_sample(&line))));
    if samples == 0 || samples * 3 < all {
        return false;
    }
    collector.count(Kind::Metrics);
    let mut values = BTreeMap::new();
    let mut first: Option<(u64, &str)> = None;
    for (index, line) in block.text.lines().enumerate() {
        let number = block.first_line + u64::try_from(index).unwrap_or(0);
        let Some((name, value)) =
            line.rsplit_once(' ').filter(|(name, _)| KEPT.iter().any(|prefix| name.starts_with(prefix)))
        else {
            continue;
        };
        let Ok(value) = value.trim().parse::<f64>() else { continue };
        first = first.or(Some((number, line)));
        if ERRORS.iter().any(|prefix| name.starts_with(prefix)) && value >= 1.0 {
            error(collector, block, number, line, value);
        }
        values.insert(name.to_owned(), value);
    }
    if let Some((line, excerpt)) = first {
        let citation =
            Citation { file: Arc::clone(block.file), line: Some(line), kind: Kind::Metrics, excerpt: excerpt.into() };
        collector.facts().metrics.push(Cited { fact: values, citation });
    }
    true
}

/// An error that the agent has counted is one that it has seen.
fn error(collector: &mut Collector, block: &Block<'_>, number: u64, line: &str, value: f64) {
    let label = |name: &str| crate::subject::after(line, &format!("{name}=\""), |byte| byte != b'"').map(str::to_owned);
    let about = Subject {
        action: label("api").or_else(|| label("fn")).map(|name| format!("ec2:{name}")),
        ..Subject::default()
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter; the cast saturates")]
    let count = value as u64;
    note(
        collector,
        &Message {
            file: block.file,
            line: Some(number),
            kind: Kind::Metrics,
            text: line,
            about,
            first: None,
            last: None,
            count,
        },
    );
}
