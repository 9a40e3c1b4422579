//! Fuzz targets: each reads bytes as one of our parsers would, and must come back. They say nothing about what is read; what must
//! hold all the same is asserted here. With a nightly compiler and cargo-fuzz, from the root: `cargo +nightly fuzz run log`; `evidence`
//! begins from `crates/evidence/tests/dumps`, given as its second directory.

use std::io::{Cursor, Read};

use freeboard_address::{Cidr, MacAddress};
use freeboard_capacity::{Inventory, TypeTable, leaks, status};
use freeboard_diagnosis::diagnose;
use freeboard_evidence::{Collector, Evidence, inventory, read_piece};
use freeboard_vpc::World;

/// Reads bytes as one parser would.
pub type Target = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: [(&str, Target); 6] = [
    ("evidence", evidence),
    ("log", log),
    ("document", document),
    ("description", description),
    ("world", world),
    ("address", address),
];

/// A line that makes whatever follows it a log.
const LOG_LINE: &[u8] =
    b"{\"level\":\"info\",\"ts\":\"2023-11-04T10:00:00.000Z\",\"caller\":\"ipamd/ipamd.go:1\",\"msg\":\"x\"}\n";

/// Any piece of evidence: its kind is seen from its bytes.
pub fn evidence(bytes: &[u8]) {
    conclude(&read(&mut Cursor::new(bytes)));
}

/// A log in any dialect.
pub fn log(bytes: &[u8]) {
    conclude(&read(&mut LOG_LINE.repeat(2).chain(bytes)));
}

/// The elements of a list of the aws CLI, of Kubernetes or of gcloud: what stands around them is given.
pub fn document(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let (before, after): (&[u8], &[u8]) = match first % 6 {
        0 => (b"{\"Subnets\":[", b"]}"),
        1 => (b"{\"NetworkInterfaces\":[", b"]}"),
        2 => (b"{\"kind\":\"List\",\"apiVersion\":\"v1\",\"items\":[", b"]}"),
        3 => (b"{\"kind\":\"EventList\",\"apiVersion\":\"v1\",\"items\":[", b"]}"),
        4 => (b"apiVersion: v1\nkind: List\nitems:\n", b"\n"),
        _ => (b"[", b"]"),
    };
    conclude(&read(&mut before.chain(rest).chain(after)));
}

fn read(input: &mut dyn Read) -> Evidence {
    let mut collector = Collector::new();
    read_piece(&mut collector, "fuzz", input);
    collector.finish()
}

/// What is concluded from evidence, and that it can be written down.
fn conclude(evidence: &Evidence) {
    let diagnosis = diagnose(&evidence.facts);
    let inventory = inventory(&evidence.facts);
    consider(&inventory);
    assert!(serde_json::to_string(&diagnosis).is_ok(), "a diagnosis cannot be written");
}

fn consider(inventory: &Inventory) {
    let ranges = status(inventory, &TypeTable::default(), &std::collections::BTreeMap::new());
    assert!(serde_json::to_string(&ranges).is_ok(), "a status cannot be written");
    let _ = leaks(inventory);
}

/// A cluster described in YAML.
pub fn description(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(inventory) = serde_saphyr::from_str::<Inventory>(text) {
        consider(&inventory);
    }
}

/// A world of the simulated cloud.
pub fn world(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = serde_saphyr::from_str::<World>(text);
}

/// Blocks and hardware addresses: what is read is written as it can be read again.
pub fn address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(block) = text.parse::<Cidr>() {
        assert_eq!(block.to_string().parse(), Ok(block));
        assert!(block.contains(block.network()) && block.contains(block.last()));
        assert_eq!(u64::from(u32::from(block.last()) - u32::from(block.network())) + 1, block.size());
    }
    if let Ok(address) = text.parse::<MacAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
}
