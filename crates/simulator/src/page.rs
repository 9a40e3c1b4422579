//! The page about the zoo, made from its declaration; a test holds `docs/zoo.md` to it.

use std::fmt::Write;

use crate::check::Check;
use crate::zoo::ZOO;

/// Incidents and defects of the lists that no animal re-creates, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "B4: leaked rules mis-route the next pod (vpc-cni#2048, #2125, #641; §12 row 15)",
        "the datapath's, not the engine's: `crates/datapath` plans rules from what is desired and removes others; tested with real rules in the lab",
    ),
    (
        "B4: duplicate node blocks (k8s#127792 and others)",
        "of a cluster controller that gives blocks to nodes; a node's pool gives no blocks",
    ),
    ("B4: outage write-ups (a range ran out)", "not a wrong behaviour of an engine; the capacity engine warns of it"),
    (
        "§12 row 5: defaults waste subnets",
        "a policy that breaks no invariant; the oracle tables and the table of idle addresses judge it",
    ),
    ("§12 row 8, 20, 21: slow datapath, iptables, interface naming", "the datapath's"),
    (
        "§12 row 11: shortage at CreateNetworkInterface not recognised (vpc-cni#3105)",
        "a table from code to meaning: its tests are in `crates/ec2` (table) and `crates/pool` (what follows)",
    ),
    (
        "§12 row 18, 19, 26: ready too early, memory and probes, dependency on the API server",
        "the agent's start; the engine refuses with a cause until it is ready",
    ),
    (
        "§12 row 22, 23: ENIConfig and subnet discovery surprises",
        "settings and tags; the engine tells for each subnet why it is used or not",
    ),
    ("§12 row 27: security groups for pods", "not built"),
    (
        "§3.11: gauge series never deleted, cards overwrite each other's gauges, unreachable log branch",
        "metrics and logs of the incumbent",
    ),
    ("§3.11: random choice", "breaks no invariant; the oracle of the placement order is in `crates/pool/tests`"),
    ("§3.11: scans of all addresses", "a cost, not a behaviour: `crates/pool/tests/cost.rs`"),
    (
        "§3.6: a prefix of an excluded interface is dropped without telling the cloud",
        "re-created by `deletions-forgotten` and `never-freed` as far as an invariant is concerned",
    ),
];

/// The page `docs/zoo.md`.
#[must_use]
pub fn zoo_page() -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n| animal | what it does | seen in | found by |\n|---|---|---|---|\n");
    for animal in ZOO {
        let checks: Vec<String> = animal.found_by.iter().map(|check| format!("`{check}`")).collect();
        // Writing to a text cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            animal.name,
            animal.recreates,
            animal.reference,
            checks.join(", ")
        );
    }
    page.push_str("\n## The checks, and what each is proved by\n\n| check | animals |\n|---|---|\n");
    for check in Check::ALL {
        let animals = ZOO.iter().filter(|animal| animal.found_by.contains(check));
        let names: Vec<String> = animals.map(|animal| format!("`{}`", animal.name)).collect();
        let _ = writeln!(page, "| `{check}` | {} |", names.join(", "));
    }
    page.push_str("\n## What is not here, and why\n\n| incident or defect | why |\n|---|---|\n");
    for (what, why) in ELSEWHERE {
        let _ = writeln!(page, "| {what} | {why} |");
    }
    page
}

const HEAD: &str = "# The zoo

A check that has never caught anything proves nothing. So each engine incident and defect that we know of is kept here as an
animal: a wrong behaviour that can be switched on in the simulator. Each must be found, by each of its checks alone, within 200
seeds; with the zoo closed the same seeds must pass. `crates/simulator/tests/zoo.rs` demands it, and

    freeboard simulate --zoo            every animal; ends with an error when one escapes
    freeboard simulate --zoo empty-start

shows it. The engine itself holds no wrong code: an animal sits between the real engine and the world, and drops, alters, delays
or invents what goes in or comes out (`crates/simulator/src/mischief.rs`). The list is declared in
`crates/simulator/src/zoo.rs`; this page is made from it.

B3, B4 and B6 are our lists of known invariants, incidents and faults; § are sections of our notes on the Amazon VPC CNI, whose
rows of user pains (§12) and of defects of its datastore (§3) are meant.
";
