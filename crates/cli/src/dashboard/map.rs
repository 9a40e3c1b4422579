//! The map of a range: one cell per /28, a /24 per row; and the sixteen addresses of one cell.

use std::collections::BTreeMap;
use std::fmt::Write;

use freeboard_address::Cidr;
use freeboard_capacity::{Holding, Inventory, Use};

use super::Shown;
use super::html::{escape, page as framed, segment};
use crate::layout::grouped;

/// What a cell shows.
const CELL_LENGTH: u8 = 28;
/// What a row shows.
const ROW_LENGTH: u8 = 24;
/// Wider ranges are not drawn: nobody finds anything on a map of more than 65,536 addresses.
const WIDEST: u8 = 16;

/// A range whose addresses are known one by one, as far as anything is known of them.
struct Mapped {
    id: String,
    title: String,
    cidr: Cidr,
    holdings: Vec<Holding>,
    /// Whether every address is accounted for.
    is_complete: bool,
}

fn mapped(inventory: &Inventory, id: &str) -> Option<Mapped> {
    if let Some(subnet) = inventory.subnets.iter().find(|subnet| subnet.id.as_str() == id) {
        return Some(Mapped {
            id: id.to_owned(),
            title: format!("{} {}", subnet.title(), subnet.cidr),
            cidr: subnet.cidr,
            holdings: subnet.holdings.clone(),
            is_complete: subnet.is_mapped,
        });
    }
    let range = inventory.ranges.iter().find(|range| range.name.as_str() == id)?;
    let mut holdings: Vec<Holding> = Vec::new();
    for node in &inventory.nodes {
        for block in node.pod_blocks.iter().filter(|block| range.cidr.contains_block(**block)) {
            holdings.push(Holding {
                block: *block,
                used_for: Use::Node,
                interface: None,
                node: Some(node.name.clone()),
                holder: None,
            });
        }
    }
    holdings.sort();
    Some(Mapped {
        id: id.to_owned(),
        title: format!("{} {}", range.name, range.cidr),
        cidr: range.cidr,
        is_complete: !holdings.is_empty(),
        holdings,
    })
}

/// How many addresses of a cell are in which use.
type Counts = BTreeMap<Use, u64>;

/// Every cell's counts by its index; free addresses are what is left.
fn cells(mapped: &Mapped, length: u8) -> Vec<(Cidr, Counts)> {
    let mut cells: Vec<(Cidr, Counts)> = mapped.cidr.subdivide(length).map(|cell| (cell, Counts::new())).collect();
    let first = u32::from(mapped.cidr.network());
    let size = 1_u32 << (32 - length);
    for held in &mapped.holdings {
        let from = u32::from(held.block.network()).saturating_sub(first) / size;
        let to = u32::from(held.block.last()).saturating_sub(first) / size;
        for index in from..=to {
            if let Some((cell, counts)) = usize::try_from(index).ok().and_then(|index| cells.get_mut(index)) {
                *counts.entry(held.used_for).or_default() += held.block.size().min(cell.size());
            }
        }
    }
    for (cell, counts) in &mut cells {
        let held: u64 = counts.values().sum();
        if held < cell.size() {
            counts.insert(Use::Free, cell.size() - held);
        }
    }
    cells
}

/// The page of one range.
pub(super) fn range_page(shown: &Shown, id: &str) -> Option<String> {
    let mapped = mapped(&shown.input.inventory, id)?;
    let length = mapped.cidr.length().max(CELL_LENGTH);
    let mut body = String::new();
    if mapped.cidr.length() < WIDEST {
        body.push_str("<p>The range is too wide for a map; its subnets have one each.</p>\n");
        return Some(framed(&mapped.title, &body));
    }
    let cells = cells(&mapped, length);
    legend(&mut body, &mapped, &cells);
    body.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Map\"><table class=\"map\">\n<caption>One cell is a /28, sixteen addresses; a row is a /24. A letter tells what most of a cell's \
         taken addresses are for; the fuller a cell, the more of it is coloured.</caption>\n<tbody>\n",
    );
    let per_row = 1_usize << (CELL_LENGTH - ROW_LENGTH);
    for row in cells.chunks(per_row) {
        let Some((first, _)) = row.first() else { continue };
        // Writing to a string cannot fail.
        let _ = write!(body, "<tr><th scope=\"row\">{}</th>", first.network());
        for (cell, counts) in row {
            self::cell(&mut body, &mapped, *cell, counts);
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody>\n</table></div>\n");
    Some(framed(&mapped.title, &body))
}

fn cell(body: &mut String, mapped: &Mapped, cell: Cidr, counts: &Counts) {
    let free = counts.get(&Use::Free).copied().unwrap_or(0);
    // What EC2 keeps is in every subnet and says nothing: only a cell with nothing else shows it.
    let most = counts
        .iter()
        .filter(|(used_for, _)| !matches!(used_for, Use::Free | Use::Reserved))
        .max_by_key(|(_, count)| **count)
        .map(|(used_for, _)| *used_for);
    let shown = most.unwrap_or(if counts.contains_key(&Use::Reserved) { Use::Reserved } else { Use::Free });
    let eighths = (cell.size() - free) * 8 / cell.size().max(1);
    let words = describe(counts);
    let _ = write!(
        body,
        "<td><a class=\"cell {} fill-{eighths}\" href=\"/range/{}/{}\" title=\"{cell}: {words}\" aria-label=\"{cell}: {words}\">{}</a></td>",
        shown.as_str(),
        segment(&mapped.id),
        segment(&cell.to_string().replace('/', "_")),
        letter(shown)
    );
}

fn letter(used_for: Use) -> char {
    match used_for {
        Use::Reserved => 'R',
        Use::Node => 'N',
        Use::Pod => 'P',
        Use::Warm => 'W',
        Use::Cooling => 'C',
        Use::Foreign => 'F',
        Use::Free => '·',
    }
}

fn describe(counts: &Counts) -> String {
    let parts: Vec<String> = Use::ALL
        .iter()
        .filter_map(|used_for| Some(format!("{} {}", counts.get(used_for)?, used_for.as_str())))
        .collect();
    parts.join(", ")
}

fn legend(body: &mut String, mapped: &Mapped, cells: &[(Cidr, Counts)]) {
    let mut all = Counts::new();
    for (used_for, count) in cells.iter().flat_map(|(_, counts)| counts) {
        *all.entry(*used_for).or_default() += count;
    }
    body.push_str("<ul class=\"legend\">\n");
    for used_for in Use::ALL {
        let count = all.get(&used_for).copied().unwrap_or(0);
        let _ = writeln!(
            body,
            "<li><span class=\"cell {} fill-8\" aria-hidden=\"true\">{}</span> {} {}</li>",
            used_for.as_str(),
            letter(used_for),
            grouped(count),
            used_for.as_str()
        );
    }
    body.push_str("</ul>\n");
    if !mapped.is_complete {
        body.push_str(
            "<p class=\"note\">Not every address is accounted for: more of what looks free may be taken. The output of <code>aws ec2 \
             describe-network-interfaces</code> (on GKE, <code>kubectl get nodes</code>) names every holder.</p>\n",
        );
    }
}

/// The page of one cell: its addresses one by one.
pub(super) fn block_page(shown: &Shown, id: &str, block: &str) -> Option<String> {
    let mapped = mapped(&shown.input.inventory, id)?;
    let block: Cidr = block.replace('_', "/").parse().ok()?;
    if !mapped.cidr.contains_block(block) || block.length() < CELL_LENGTH {
        return None;
    }
    let mut body = format!(
        "<p><a href=\"/range/{}\">Back to the map of {}</a></p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Addresses\"><table>\n<thead><tr><th scope=\"col\">Address</th>\
         <th scope=\"col\">Use</th><th scope=\"col\">Holder</th><th scope=\"col\">Node</th><th scope=\"col\">Interface</th></tr></thead>\n<tbody>\n",
        segment(&mapped.id),
        escape(&mapped.title)
    );
    for address in block.addresses() {
        let held = mapped.holdings.iter().find(|held| held.block.contains(address));
        let used_for = held.map_or(Use::Free, |held| held.used_for);
        let text = |text: Option<&str>| escape(text.unwrap_or_default());
        let _ = writeln!(
            body,
            "<tr><th scope=\"row\">{address}</th><td><span class=\"cell {} fill-8\" aria-hidden=\"true\">{}</span> {}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            used_for.as_str(),
            letter(used_for),
            used_for.as_str(),
            text(held.and_then(|held| held.holder.as_deref())),
            text(held.and_then(|held| held.node.as_ref()).map(|node| node.as_str())),
            text(held.and_then(|held| held.interface.as_ref()).map(|interface| interface.as_str())),
        );
    }
    body.push_str("</tbody>\n</table></div>\n");
    Some(framed(&block.to_string(), &body))
}
