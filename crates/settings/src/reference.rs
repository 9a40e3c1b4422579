//! The reference table of all knobs, as Markdown.

use std::fmt::Write;

use crate::declare::knobs;
use crate::knob::{Apply, Knob, Origin};

/// A Markdown page with every knob, by who defined it.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from("# Settings of freeboard-agent\n\nEvery setting is an environment variable. ");
    page.push_str("A value of the wrong type or out of range stops the agent, which names all of them at once.\n");
    let knobs = knobs();
    for (origin, title) in [
        (Origin::Freeboard, "Freeboard's own"),
        (Origin::VpcCni, "Of the Amazon VPC CNI, with the same meaning"),
        (Origin::Sdk, "Of the AWS SDKs"),
    ] {
        let _ =
            write!(page, "\n## {title}\n\n| variable | default | takes | changes | meaning |\n|---|---|---|---|---|\n");
        for knob in knobs.iter().filter(|knob| knob.origin == origin) {
            row(&mut page, knob);
        }
    }
    page
}

fn row(page: &mut String, knob: &Knob) {
    let default = if knob.default.is_empty() { "not set".to_owned() } else { format!("`{}`", knob.default) };
    let apply = match knob.apply {
        Apply::Live => "live",
        Apply::Start => "at start",
    };
    let _ = writeln!(page, "| `{}` | {default} | {} | {apply} | {} |", knob.variable, knob.expected, knob.help);
}
