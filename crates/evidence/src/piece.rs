//! One piece of evidence: what it is, is seen from its first bytes, and it goes to the reader for that.

use std::io::{self, Read};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use freeboard_diagnosis::Kind;

use crate::collector::Collector;
use crate::{document, log, text, utf16};

/// How much is looked at to see what a piece is.
const HEAD_BYTES: usize = 64 * 1024;
/// The largest document that is read whole.
const LARGEST_DOCUMENT_BYTES: u64 = 1024 * 1024 * 1024;
/// Archives in archives are opened so deep.
const DEEPEST: u8 = 3;
/// Members of one archive that are read.
const MOST_MEMBERS: usize = 100_000;

/// Signs of formats that are not opened, at the start of a piece.
const FOREIGN: [(&[u8], &str); 8] = [
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"\xfd7zXZ\0", "compressed with xz: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it first"),
    (b"BZh", "compressed with bzip2: decompress it first"),
    (b"\x7fELF", "a program"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"LPKSHHRH", "a binary journal: export it with journalctl --file"),
];

/// Reads a piece from a stream.
///
/// # Errors
/// None: what cannot be read is noted in the collector.
pub(crate) fn read(collector: &mut Collector, file: &Arc<str>, input: &mut dyn Read) {
    read_at(collector, file, input, 0);
}

fn read_at(collector: &mut Collector, file: &Arc<str>, input: &mut dyn Read, depth: u8) {
    let mut head = Vec::new();
    let started = (&mut *input).take(HEAD_BYTES as u64).read_to_end(&mut head);
    if let Err(error) = started {
        tell(collector, file, &error, head.is_empty());
        if head.is_empty() {
            return;
        }
    }
    if depth >= DEEPEST {
        collector.not_understood(file, "an archive in an archive in an archive");
        return;
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        let mut inner = MultiGzDecoder::new((&head[..]).chain(input));
        read_at(collector, file, &mut inner, depth + 1);
        return;
    }
    if is_tar(&head) {
        members(collector, file, &mut (&head[..]).chain(input), depth);
        return;
    }
    collector.evidence.files += 1;
    if head.iter().all(u8::is_ascii_whitespace) && head.len() < HEAD_BYTES {
        collector.not_understood(file, "empty");
        return;
    }
    if let Some((_, what)) = FOREIGN.iter().find(|(sign, _)| head.starts_with(sign)) {
        collector.not_understood(file, *what);
        return;
    }
    if let Some(order) = utf16::order(&head) {
        let mut decoder = utf16::Decoder::new((&head[..]).chain(input), order);
        let mut decoded = Vec::new();
        if let Err(error) = decoder.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut decoded) {
            tell(collector, file, &error, false);
        }
        content(collector, file, &decoded, &mut decoder);
        return;
    }
    if is_binary(&head) {
        collector.not_understood(file, "binary");
        return;
    }
    content(collector, file, &head, input);
}

fn tell(collector: &mut Collector, file: &Arc<str>, error: &io::Error, is_all: bool) {
    let is_damaged = [io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData].contains(&error.kind());
    let what = if error.kind() == io::ErrorKind::UnexpectedEof {
        "cut short: the compressed stream ends before its end".to_owned()
    } else if is_damaged {
        format!("the compressed stream is damaged ({error})")
    } else {
        format!("cannot be read further: {error}")
    };
    if is_all {
        collector.evidence.files += 1;
        collector.not_understood(file, what);
    } else {
        collector.problem(file, None, what);
    }
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// Control characters, beyond the few that stand in text. Holes of zeros after text are what a torn write leaves in a log.
fn is_binary(head: &[u8]) -> bool {
    let is_control = |byte: &&u8| byte.is_ascii_control() && !b"\n\r\t\x1b\x0c\x08".contains(byte);
    let starts_as_text = !head.iter().take(64).any(|byte| is_control(&byte));
    let control = head.iter().filter(is_control).filter(|byte| !starts_as_text || **byte != 0).count();
    control * 10 > head.len()
}

fn members(collector: &mut Collector, file: &Arc<str>, input: &mut dyn Read, depth: u8) {
    let mut archive = tar::Archive::new(input);
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return tell(collector, file, &error, true),
    };
    for entry in entries.take(MOST_MEMBERS) {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => return tell(collector, file, &error, false),
        };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let member: Arc<str> = format!("{file}!{name}").into();
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        // Nothing is ever written to disk; a name that would leave its directory is a sign of a hostile archive all the same.
        let leaves = name.starts_with('/') || name.split('/').any(|part| part == "..");
        if leaves || !kind.is_file() {
            collector.evidence.files += 1;
            let what = if leaves {
                "a member whose name leads out of the archive: refused"
            } else {
                "a link or device in an archive: refused"
            };
            collector.not_understood(&member, what);
            continue;
        }
        read_at(collector, &member, &mut entry, depth + 1);
    }
}

/// What is text.
fn content(collector: &mut Collector, file: &Arc<str>, head: &[u8], rest: &mut dyn Read) {
    let stream = &mut head.chain(rest);
    if let Some(kind) = log_kind(head) {
        collector.count(kind);
        if let Err(error) = log::scan(collector, file, kind, stream) {
            tell(collector, file, &error, false);
        }
        return;
    }
    // A line that does not end, and is not JSON either, is nothing that a whole document could come of.
    let is_endless = head.len() >= HEAD_BYTES && memchr::memchr(b'\n', head).is_none();
    if is_endless && !head.trim_ascii_start().starts_with(b"{") && !head.trim_ascii_start().starts_with(b"[") {
        collector.not_understood(file, format!("one line of more than {} KiB, and no JSON", HEAD_BYTES / 1024));
        return;
    }
    let mut whole = Vec::new();
    if let Err(error) = stream.take(LARGEST_DOCUMENT_BYTES).read_to_end(&mut whole) {
        tell(collector, file, &error, false);
    }
    collector.evidence.bytes += u64::try_from(whole.len()).unwrap_or(0);
    if u64::try_from(whole.len()).is_ok_and(|length| length == LARGEST_DOCUMENT_BYTES) {
        collector.problem(file, None, "longer than 1 GiB: only the beginning was read");
    }
    let whole = String::from_utf8_lossy(&whole);
    let whole = whole.trim_start_matches('\u{feff}');
    let part = document::Part { file, text: whole, first_line: 1, command: "" };
    if !document::read(collector, &part) && !text::read(collector, file, whole) {
        let shown: String =
            whole.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().chars().take(60).collect();
        collector.not_understood(file, format!("nothing known in it; it begins {shown:?}"));
    }
}

/// Whether the beginning looks like a log, and whose.
fn log_kind(head: &[u8]) -> Option<Kind> {
    let text = String::from_utf8_lossy(head);
    let mut kinds: Vec<Kind> = Vec::new();
    let mut logs = 0;
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(40) {
        let parsed = log::parse(line);
        lines += 1;
        if parsed.is_log {
            logs += 1;
            kinds.extend(parsed.kind);
        }
    }
    // A stack trace or a torn first line may stand between.
    if logs == 0 || logs * 2 < lines {
        return None;
    }
    let most = Kind::ALL.iter().copied().max_by_key(|kind| kinds.iter().filter(|one| *one == kind).count());
    Some(most.filter(|kind| kinds.contains(kind)).unwrap_or(Kind::OtherLog))
}
