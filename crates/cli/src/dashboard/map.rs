//! The map of a range: one cell per address where there are few, one per /28 where there are many; and a /28's addresses.

use std::collections::BTreeMap;
use std::fmt::Write;

use freeboard_address::Cidr;
use freeboard_capacity::{Holding, Inventory, Use};

use super::Shown;
use super::html::{escape, page as framed, segment};
use crate::layout::grouped;

/// What a cell of a wide range shows, and a row of a narrow one.
const CELL_LENGTH: u8 = 28;
/// Ranges as narrow as this are drawn address by address.
const NARROW: u8 = 24;
/// Cells in a row: a row of addresses is a /28, a row of /28s is a /24.
const PER_ROW: usize = 16;
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
    let is_narrow = mapped.cidr.length() >= NARROW;
    let mut body = String::new();
    if mapped.cidr.length() < WIDEST {
        body.push_str("<p>The range is too wide for a map; its subnets have one each.</p>\n");
        return Some(framed(&mapped.title, &body, shown.seen));
    }
    let cells = cells(&mapped, if is_narrow { 32 } else { CELL_LENGTH });
    let caption = if is_narrow {
        "One cell is an address; a row is a /28, which a prefix needs free as a whole."
    } else {
        "One cell is a /28, sixteen addresses; a row is a /24. A letter tells what most of a cell's taken addresses are for; the fuller a \
         cell, the more of it is coloured."
    };
    legend(&mut body, &mapped, &cells);
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Map\"><table class=\"map\">\n\
         <caption>{caption}</caption>\n<tbody>\n"
    );
    for row in cells.chunks(PER_ROW) {
        let Some((first, _)) = row.first() else { continue };
        let _ = write!(body, "<tr><th scope=\"row\">{}</th>", first.network());
        for (cell, counts) in row {
            self::cell(&mut body, &mapped, *cell, counts);
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody>\n</table></div>\n");
    Some(framed(&mapped.title, &body, shown.seen))
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
    let words = describe(mapped, counts);
    let holder = mapped.holdings.iter().find(|held| cell.length() == 32 && held.block.contains(cell.network()));
    let holder = holder.and_then(|held| held.holder.as_deref().or(held.node.as_ref().map(|node| node.as_str())));
    let words = match (cell.length(), holder) {
        (32, Some(holder)) => format!("{}: {}, {}", cell.network(), shown.as_str(), escape(holder)),
        (32, None) => format!("{}: {}", cell.network(), word(mapped, shown)),
        _ => format!("{cell}: {words}"),
    };
    let block = Cidr::containing(cell.network(), CELL_LENGTH).unwrap_or(cell);
    let _ = write!(
        body,
        "<td><a class=\"cell {} fill-{eighths}\" href=\"/range/{}/{}\" title=\"{words}\" aria-label=\"{words}\">{}</a></td>",
        shown.as_str(),
        segment(&mapped.id),
        segment(&block.to_string().replace('/', "_")),
        letter(mapped, shown)
    );
}

fn letter(mapped: &Mapped, used_for: Use) -> char {
    match used_for {
        Use::Reserved => 'R',
        Use::Node => 'N',
        Use::Pod => 'P',
        Use::Warm => 'W',
        Use::Cooling => 'C',
        Use::Foreign => 'F',
        Use::Free if !mapped.is_complete => '?',
        Use::Free => '·',
    }
}

/// The use in words; where holders are missing, what looks free may not be.
fn word(mapped: &Mapped, used_for: Use) -> &'static str {
    if used_for == Use::Free && !mapped.is_complete { "free or not known" } else { used_for.as_str() }
}

fn describe(mapped: &Mapped, counts: &Counts) -> String {
    let parts: Vec<String> = Use::ALL
        .iter()
        .filter_map(|used_for| Some(format!("{} {}", counts.get(used_for)?, word(mapped, *used_for))))
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
            letter(mapped, used_for),
            grouped(count),
            word(mapped, used_for)
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
    if !mapped.cidr.overlaps(block) || block.length() < CELL_LENGTH {
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
            letter(&mapped, used_for),
            word(&mapped, used_for),
            text(held.and_then(|held| held.holder.as_deref())),
            text(held.and_then(|held| held.node.as_ref()).map(|node| node.as_str())),
            text(held.and_then(|held| held.interface.as_ref()).map(|interface| interface.as_str())),
        );
    }
    body.push_str("</tbody>\n</table></div>\n");
    Some(framed(&block.to_string(), &body, shown.seen))
}
