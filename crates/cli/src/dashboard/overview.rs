//! The front page: ranges, waiting pods with their explanation, node pools, forecast; and the page of all nodes.

use std::fmt::Write;

use freeboard_capacity::{Forecast, RangeKind, RangeStatus, Use};
use freeboard_diagnosis::{Finding, Severity};

use super::html::{escape, page as framed, segment};
use super::{Shown, curve};
use crate::layout::{counted, grouped};
use crate::status::{NodeStatus, WaitingPod};

/// Waiting pods that are listed; the count is always told.
const MOST_WAITING: usize = 50;

/// The front page.
pub(super) fn page(shown: &Shown) -> String {
    let title = shown.status.cluster.as_deref().map_or_else(|| "Ranges".to_owned(), |name| format!("Cluster {name}"));
    let mut body = summary(shown);
    findings(&mut body, &shown.diagnosis.findings);
    ranges(&mut body, &shown.status.ranges);
    pools(&mut body, shown);
    if let Ok(forecast) = Forecast::of(&shown.input.inventory.history) {
        curve::section(&mut body, &forecast, shown);
    }
    waiting(&mut body, &shown.status.waiting);
    framed(&title, &body, shown.seen)
}

fn summary(shown: &Shown) -> String {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let flat: Vec<&RangeStatus> = shown.status.ranges.iter().flat_map(RangeStatus::flat).collect();
    let full = flat.iter().filter(|range| range.for_pods && range.is_full()).count();
    let waiting = count(shown.status.waiting.len());
    format!(
        "<p class=\"summary\">{}, {}. {} of {} for pods {} full. {} {} for an address.</p>\n",
        counted(count(shown.input.inventory.nodes.len()), "node", "nodes"),
        counted(shown.input.inventory.pods(), "pod with an address", "pods with an address"),
        grouped(count(full)),
        counted(count(flat.iter().filter(|range| range.for_pods).count()), "range", "ranges"),
        if full == 1 { "is" } else { "are" },
        counted(waiting, "pod", "pods"),
        if waiting == 1 { "waits" } else { "wait" },
    )
}

fn findings(body: &mut String, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    body.push_str("<section aria-labelledby=\"findings\">\n<h2 id=\"findings\">What was found</h2>\n");
    for finding in findings {
        let class = match finding.severity {
            Severity::Broken => "broken",
            Severity::Wrong => "wrong",
            Severity::Advice => "advice",
        };
        // Writing to a string cannot fail.
        let _ = write!(
            body,
            "<details class=\"finding {class}\"><summary><span class=\"sign\" aria-hidden=\"true\">{}</span> <strong>{}</strong> {}: {}{}\
             </summary>\n<p>{}</p>\n",
            finding.severity.mark(),
            finding.declaration.id,
            escape(&finding.place.to_string()),
            escape(&finding.summary),
            match finding.waiting_pods.len() {
                0 => String::new(),
                pods => format!(" ({} waiting)", counted(u64::try_from(pods).unwrap_or(u64::MAX), "pod", "pods")),
            },
            escape(finding.declaration.means)
        );
        for note in finding.notes.iter().chain(&finding.contradictions) {
            let _ = writeln!(body, "<p>{}</p>", escape(note));
        }
        body.push_str("<h3>Evidence</h3>\n<ul>\n");
        for citation in finding.evidence.iter().take(5) {
            let line = citation.line.map_or_else(String::new, |line| format!(":{line}"));
            let _ = writeln!(
                body,
                "<li>{}{line} ({})<br><code>{}</code></li>",
                escape(&citation.file),
                citation.kind,
                escape(&citation.excerpt)
            );
        }
        body.push_str("</ul>\n<h3>Remedies</h3>\n<ol>\n");
        for remedy in &finding.remedies {
            let _ = write!(body, "<li>{}", escape(&remedy.what));
            for command in &remedy.commands {
                let _ = write!(body, "<pre tabindex=\"0\"><code>{}</code></pre>", escape(command));
            }
            body.push_str("</li>\n");
        }
        body.push_str("</ol>\n</details>\n");
    }
    body.push_str("</section>\n");
}

fn ranges(body: &mut String, ranges: &[RangeStatus]) {
    body.push_str(
        "<section aria-labelledby=\"ranges\">\n<h2 id=\"ranges\">Ranges</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of ranges\"><table>\n\
         <thead><tr><th scope=\"col\">Range</th><th scope=\"col\">Block</th><th scope=\"col\" class=\"number\">Use</th>\
         <th scope=\"col\" class=\"number\">Free</th><th scope=\"col\" class=\"number\">Largest</th><th scope=\"col\">What fits, notes</th></tr></thead>\n<tbody>\n",
    );
    for range in ranges {
        row(body, range, 0);
    }
    body.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn row(body: &mut String, range: &RangeStatus, depth: usize) {
    let title = escape(range.name.as_deref().unwrap_or(&range.id));
    let has_map = matches!(range.kind, RangeKind::Subnet | RangeKind::SecondaryRange);
    let linked = if has_map { format!("<a href=\"/range/{}\">{title}</a>", segment(&range.id)) } else { title };
    let zone = range
        .zone
        .as_deref()
        .map_or_else(String::new, |zone| format!(" <span class=\"quiet\">{}</span>", escape(zone)));
    let usage = range.usage.map_or_else(
        || "?".to_owned(),
        |usage| {
            format!(
                "{usage}<br><progress max=\"{}\" value=\"{}\" aria-label=\"{usage} used\"></progress>",
                usage.size, usage.used
            )
        },
    );
    let free = match range.kind {
        RangeKind::NodePool => String::new(),
        RangeKind::VpcBlock | RangeKind::Subnet | RangeKind::GoogleSubnet | RangeKind::SecondaryRange => {
            range.free_addresses.map_or_else(|| "?".to_owned(), grouped)
        }
    };
    let largest = range.largest_free_length.map_or_else(String::new, |length| format!("/{length}"));
    let mut notes: Vec<String> = Vec::new();
    if !range.fits.is_empty() && !range.is_full() {
        let fits: Vec<String> = range.fits.iter().map(|fit| format!("{} {}", grouped(fit.count), fit.of)).collect();
        notes.push(format!("fits {}", fits.join(" or ")));
    }
    notes.extend(range.remarks.iter().cloned());
    if range.waiting > 0 {
        notes.push(format!("{} waiting", counted(range.waiting, "pod", "pods")));
    }
    let class = if range.for_pods && range.is_full() { " class=\"full\"" } else { "" };
    let _ = writeln!(
        body,
        "<tr{class}><th scope=\"row\" class=\"depth-{}\">{linked}{zone}</th><td>{}</td><td class=\"number\">{usage}</td>\
         <td class=\"number\">{free}</td><td class=\"number\">{largest}</td><td>{}</td></tr>",
        depth.min(3),
        if range.kind == RangeKind::NodePool { String::new() } else { range.cidr.to_string() },
        escape(&notes.join(" · "))
    );
    for inside in &range.inside {
        row(body, inside, depth + 1);
    }
}

fn pools(body: &mut String, shown: &Shown) {
    let pools = &shown.input.inventory.pools;
    if pools.is_empty() {
        return;
    }
    body.push_str(
        "<section aria-labelledby=\"pools\">\n<h2 id=\"pools\">Node pools</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of node pools\"><table>\n\
         <thead><tr><th scope=\"col\">Node pool</th><th scope=\"col\">Pod range</th><th scope=\"col\" class=\"number\">Nodes</th>\
         <th scope=\"col\" class=\"number\">At most</th><th scope=\"col\" class=\"number\">Pods per node</th><th scope=\"col\">Notes</th></tr></thead>\n<tbody>\n",
    );
    let flat: Vec<&RangeStatus> = shown.status.ranges.iter().flat_map(RangeStatus::flat).collect();
    for pool in pools {
        let known = flat.iter().find(|range| range.kind == RangeKind::NodePool && range.id == pool.name.as_str());
        let notes = known.map_or_else(String::new, |range| range.remarks.join(" · "));
        let _ = writeln!(
            body,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            escape(pool.name.as_str()),
            escape(pool.range.as_ref().map_or("–", |range| range.as_str())),
            pool.nodes.map_or_else(|| "?".to_owned(), grouped),
            grouped(pool.max_nodes),
            pool.max_pods,
            escape(&notes)
        );
    }
    body.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn waiting(body: &mut String, waiting: &[WaitingPod]) {
    if waiting.is_empty() {
        return;
    }
    body.push_str(
        "<section aria-labelledby=\"waiting\">\n<h2 id=\"waiting\">Pods that wait for an address</h2>\n<ul>\n",
    );
    for one in waiting.iter().take(MOST_WAITING) {
        let why = match (&one.finding, &one.place) {
            (Some(finding), Some(place)) => format!("{finding}, {place}"),
            (Some(_), None) | (None, _) => "nothing in the evidence says why".to_owned(),
        };
        let node = one.node.as_ref().map_or_else(String::new, |node| format!(", on {node}"));
        let _ = writeln!(
            body,
            "<li><strong>{}</strong>{}: {}</li>",
            escape(&one.pod.to_string()),
            escape(&node),
            escape(&why)
        );
    }
    body.push_str("</ul>\n");
    if waiting.len() > MOST_WAITING {
        let more = u64::try_from(waiting.len() - MOST_WAITING).unwrap_or(u64::MAX);
        let _ = writeln!(body, "<p>And {} more.</p>", grouped(more));
    }
    body.push_str("</section>\n");
}

/// The page of all nodes.
pub(super) fn nodes_page(shown: &Shown) -> String {
    let mut body = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Nodes\"><table>\n<thead><tr><th scope=\"col\">Node</th><th scope=\"col\">Type</th><th scope=\"col\">Zone</th>\
         <th scope=\"col\" class=\"number\">Pods</th><th scope=\"col\" class=\"number\">Allowed</th><th scope=\"col\" class=\"number\">Warm</th>\
         <th scope=\"col\" class=\"number\">Cooling</th><th scope=\"col\">State</th></tr></thead>\n<tbody>\n",
    );
    for node in &shown.status.nodes {
        node_row(&mut body, node);
    }
    body.push_str("</tbody>\n</table></div>\n");
    framed(&counted(u64::try_from(shown.status.nodes.len()).unwrap_or(u64::MAX), "node", "nodes"), &body, shown.seen)
}

fn node_row(body: &mut String, node: &NodeStatus) {
    let of = |used_for: Use| node.addresses.get(&used_for).map_or_else(|| "–".to_owned(), |count| grouped(*count));
    let state = match node.ready {
        Some(true) => "ready",
        Some(false) => "not ready",
        None => "",
    };
    let _ = writeln!(
        body,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
         <td class=\"number\">{}</td><td>{state}</td></tr>",
        escape(node.name.as_str()),
        escape(node.instance_type.as_deref().unwrap_or("?")),
        escape(node.zone.as_deref().unwrap_or("?")),
        grouped(node.pods),
        node.pods_allowed.map_or_else(|| "?".to_owned(), grouped),
        of(Use::Warm),
        of(Use::Cooling)
    );
}
