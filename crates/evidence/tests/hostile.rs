//! Bad input: whatever comes in, the reader ends, says what it could not read, and keeps its memory.

use std::fs;
use std::io::{self, Read, Write, empty};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use freeboard_diagnosis::diagnose;
use freeboard_evidence::{Evidence, Progress, gather};
use proptest::prelude::*;

struct Silent;

impl Progress for Silent {
    fn found(&mut self, _: usize, _: u64) {}
    fn begin(&mut self, _: &str) {}
    fn advance(&mut self, _: u64) {}
}

fn read(stream: &mut dyn Read) -> Evidence {
    gather(&[PathBuf::from("-")], stream, &mut Silent).expect("the standard input can always be read")
}

fn reason(bytes: &[u8]) -> String {
    let evidence = read(&mut &bytes[..]);
    assert_eq!(evidence.not_understood.len(), 1, "{evidence:?}");
    evidence.not_understood[0].reason.clone()
}

const LINE: &str = r#"{"level":"error","ts":"2023-11-04T10:00:00.000Z","caller":"awsutils/awsutils.go:2175","msg":"Failed to allocate a private IP/Prefix addresses on ENI eni-00259388be69d244d: api error InsufficientFreeAddressesInSubnet: x"}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

#[test]
fn what_is_no_evidence_is_named_with_its_reason() {
    assert_eq!(reason(b""), "empty");
    assert_eq!(reason(b" \n\n"), "empty");
    assert_eq!(reason(&[0, 1, 2, 3, 0, 0, 0, 7].repeat(100)), "binary");
    assert!(reason(b"PK\x03\x04rest").contains("zip"));
    assert!(reason(b"{\"a\": 1}").contains("keys a"));
    assert!(reason(b"{\"Subnets\": ").contains("line 1"));
    assert!(reason(b"The quick brown fox").contains("The quick brown fox"));
}

#[test]
fn gzip_that_is_cut_short_is_read_as_far_as_it_goes() {
    let whole = gzip(format!("{LINE}\n").repeat(20_000).as_bytes());
    let evidence = read(&mut &whole[..whole.len() / 2]);
    assert!(evidence.problems[0].what.starts_with("cut short"), "{:?}", evidence.problems);
    assert_eq!(diagnose(&evidence.facts).findings[0].declaration.id, "SubnetExhausted");
}

#[test]
fn a_line_without_an_end_takes_no_more_memory_than_a_block() {
    // Two gigabytes would not fit if they were kept; the first line and the last are read all the same.
    let start = format!("{LINE}\n{}", &LINE[..60]);
    let middle = io::repeat(b'x').take(2 << 30);
    let end = format!("\n{LINE}\n");
    let evidence = read(&mut start.as_bytes().chain(middle).chain(end.as_bytes()));
    assert_eq!(evidence.problems[0].line, Some(2));
    let seen: u64 = evidence
        .facts
        .sightings
        .iter()
        .filter(|one| one.signal.text.starts_with("InsufficientFree"))
        .map(|one| one.count)
        .sum();
    assert_eq!(seen, 2);
}

#[test]
fn zeros_of_a_torn_write_do_not_hide_the_rest_of_a_log() {
    let mut log = format!("{LINE}\n").into_bytes();
    log.extend([0; 4096]);
    log.extend(format!("\n{LINE}\n").into_bytes());
    let evidence = read(&mut &log[..]);
    assert_eq!(evidence.not_understood_count, 0, "{:?}", evidence.not_understood);
    assert_eq!(evidence.facts.sightings.iter().map(|one| one.count).max(), Some(2));
}

#[test]
fn utf16_is_read_like_anything_else() {
    let log = format!("{LINE}\r\n");
    let mut bytes = vec![0xff, 0xfe];
    bytes.extend(log.encode_utf16().flat_map(u16::to_le_bytes));
    let evidence = read(&mut &bytes[..]);
    assert_eq!(diagnose(&evidence.facts).findings[0].declaration.id, "SubnetExhausted");
}

#[test]
fn members_of_an_archive_that_lead_out_of_it_and_links_are_refused() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &[u8], kind: tar::EntryType| {
        let mut header = tar::Header::new_ustar();
        // The builder itself would refuse such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(if kind.is_file() { LINE.len() as u64 + 1 } else { 0 });
        header.set_cksum();
        let body = format!("{LINE}\n");
        archive.append(&header, if kind.is_file() { body.as_bytes() } else { &[] }).unwrap();
    };
    add(b"node/ipamd.log", tar::EntryType::Regular);
    add(b"../../etc/passwd", tar::EntryType::Regular);
    add(b"link", tar::EntryType::Symlink);
    let evidence = read(&mut &gzip(&archive.into_inner().unwrap())[..]);
    let refused: Vec<(&str, bool)> =
        evidence.not_understood.iter().map(|one| (&*one.file, one.reason.ends_with("refused"))).collect();
    assert_eq!(refused, [("-!../../etc/passwd", true), ("-!link", true)]);
    assert_eq!(evidence.facts.sightings.iter().map(|one| one.count).max(), Some(1));
}

#[test]
fn a_clock_that_jumps_is_noted() {
    let line = |time: &str| LINE.replace("2023-11-04T10:00:00.000Z", time);
    let log = [line("2023-11-04T10:00:00Z"), line("1970-01-01T00:00:10Z"), line("2023-11-04T10:00:05Z")].join("\n");
    let evidence = read(&mut log.as_bytes());
    let finding = &diagnose(&evidence.facts).findings[0];
    assert!(finding.notes.iter().any(|note| note.contains("went back 1 times")), "{:?}", finding.notes);
}

#[test]
fn a_directory_with_many_files_is_walked_and_links_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    for index in 0..2_000 {
        fs::write(directory.path().join(format!("{index}.log")), format!("{LINE}\n")).unwrap();
    }
    std::os::unix::fs::symlink(directory.path(), directory.path().join("circle")).unwrap();
    let evidence = gather(&[directory.path().to_path_buf()], &mut empty(), &mut Silent).unwrap();
    assert_eq!(evidence.files, 2_000);
    assert!(evidence.not_understood[0].reason.contains("symbolic link"));
}

#[test]
fn a_path_that_does_not_exist_is_an_error_and_not_silence() {
    let error = gather(&[PathBuf::from("/nowhere/at/all")], &mut empty(), &mut Silent).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/at/all"), "{error}");
}

#[test]
fn a_yaml_bomb_ends_at_once() {
    let mut bomb = String::from("apiVersion: v1\nkind: List\na0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..30 {
        let before = format!("*a{},", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(',')));
    }
    assert!(reason(bomb.as_bytes()).starts_with("YAML breaks"));
}

/// Pieces of every format, to be put together in every wrong way.
fn fragment() -> impl Strategy<Value = String> {
    let known = [
        LINE,
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\n",
        "  ",
        "\t",
        "---\n",
        "apiVersion: v1\n",
        "kind: Pod\n",
        "kind: List\n",
        "items:\n- ",
        "Name:   x\n",
        "Namespace:  y\n",
        "Node:  a/b\n",
        "Events:\n",
        "  Type  Reason  Age  From  Message\n",
        "  Warning  Failed  3s (x2 over 9s)  kubelet  m\n",
        "LAST SEEN   TYPE   REASON   OBJECT   MESSAGE\n",
        "|  DescribeSubnets  |\n",
        "||  SubnetId  |  subnet-0cd55c38980375d58  ||\n",
        "|  CidrBlock  |  State  |\n",
        "SUBNETS\tFalse\t3\t10.0.0.0/27\tsubnet-0cd55c38980375d58\n",
        "TAGS\tName\tx\n",
        "\"ENIs\"",
        "\"AssignedIPs\":1",
        "\"Subnets\":[",
        "\"logName\":\"x\"",
        "\"protoPayload\":",
        "time=\"2023",
        "level=error",
        "E1104 10:41:08.1 1 a.go:1] x",
        "2023-11-04T10:00:00+",
        "Nov 04 10:41:08 h kubelet[1]: ",
        "IP stats total IPs: 99999999999999999999, assigned IPs: 1",
        "%",
        "% kubectl describe po",
        "```",
        "\u{feff}",
        "\u{0}",
        "ü",
        "subnet-",
        "eni-0",
        "pod=\"/\"",
        "a->",
        "2->",
        "IP space of 'subnetworks/",
        "in range set: -",
        "awscni_x{",
        "# HELP awscni_x\n",
        "- ipCidrRange: 10.0.0.0/33\n",
        "podIpv4CidrSize: 99\n",
        "maxPodsConstraint:\n  maxPodsPerNode: '0'\n",
        "networkConfig:\n  podRange: r\n  podIpv4CidrBlock: 0.0.0.0/0\n",
        "18446744073709551615",
    ];
    prop_oneof![proptest::sample::select(known.to_vec()).prop_map(str::to_owned), "\\PC{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_input_makes_the_reader_or_the_rules_fail(parts in proptest::collection::vec(fragment(), 0..24)) {
        let evidence = read(&mut parts.concat().as_bytes());
        let _ = diagnose(&evidence.facts);
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = diagnose(&read(&mut &bytes[..]).facts);
    }

    #[test]
    fn a_known_file_with_a_hole_or_an_end_anywhere_does_no_harm(which in 0_usize..9, at in 0.0_f64..1.0, length in 0_usize..40) {
        let files = [
            "eks-seed/subnets.json", "eks-seed/pods.txt", "eks-seed/enis.json", "gke-seed/subnet.yaml", "gke-seed/node-pool.yaml",
            "gke-visibility/visibility.jsonl", "aws-tables/subnets.txt", "network-not-ready/nodes.txt", "eni-config-missing-computed/daemonset.yaml",
        ];
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dumps/broken").join(files[which]);
        let mut bytes = fs::read(path).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
        let start = (bytes.len() as f64 * at) as usize;
        let end = (start + length).min(bytes.len());
        bytes.drain(start..end);
        let _ = diagnose(&read(&mut &bytes[..]).facts);
        bytes.truncate(start);
        let _ = diagnose(&read(&mut &bytes[..]).facts);
    }
}
