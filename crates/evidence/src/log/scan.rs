//! The scan of a log: bytes go by in blocks, and only lines with a signal in them are looked at.

use std::io::{self, Read};
use std::sync::Arc;

use freeboard_address::{EniId, InstanceId, NodeName, SubnetId, VpcId};
use freeboard_diagnosis::{Citation, Identity, Kind, PoolSample};
use jiff::Timestamp;
use memchr::{memchr, memchr_iter, memrchr};

use super::line::{Line, parse};
use super::matcher::{MATCHER, Sightings};
use super::usual::{Remembered, Usual};
use crate::collector::Collector;
use crate::{excerpt, subject};

/// How many bytes are held at once.
const BLOCK_BYTES: usize = 512 * 1024;
/// How much of one line is looked at.
const LONGEST_LINE_BYTES: usize = 64 * 1024;
/// A clock that goes back by more has been set, and is not just the order of two writers.
const CLOCK_STEP_SECONDS: i64 = 60;

/// What is known of the log while it goes by.
struct Scan<'a> {
    file: &'a Arc<str>,
    kind: Kind,
    sightings: Sightings,
    remembered: Remembered,
    identity: Identity,
    /// Lines before the block.
    lines_before: u64,
    long_lines: u64,
    first_long_line: Option<u64>,
}

/// Scans a log to its end.
///
/// # Errors
/// Those of the stream; what was found until then is kept.
pub(crate) fn scan(collector: &mut Collector, file: &Arc<str>, kind: Kind, input: &mut dyn Read) -> io::Result<()> {
    let mut scan = Scan {
        file,
        kind,
        sightings: Sightings::default(),
        remembered: Remembered::default(),
        identity: Identity { node: node_in_path(file), ..Identity::default() },
        lines_before: 0,
        long_lines: 0,
        first_long_line: None,
    };
    let read = scan.run(collector, input);
    if scan.long_lines > 0 {
        let what = format!(
            "{} lines are longer than {} KiB: only their beginnings were read",
            scan.long_lines,
            BLOCK_BYTES / 1024
        );
        collector.problem(file, scan.first_long_line, what);
    }
    if matches!(
        kind,
        Kind::AgentLog | Kind::PluginLog | Kind::KubeletLog | Kind::RuntimeLog | Kind::CalicoLog | Kind::CiliumLog
    ) {
        collector.identify(file, scan.identity);
    }
    scan.sightings.finish(collector);
    read
}

impl Scan<'_> {
    fn run(&mut self, collector: &mut Collector, input: &mut dyn Read) -> io::Result<()> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut filled = 0;
        // Whether the block begins inside a line that was too long for the one before.
        let mut is_skipping = false;
        loop {
            let read = match input.read(&mut block[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.lines(&block[..filled]);
                    return Err(error);
                }
                Ok(read) => read,
            };
            collector.evidence.bytes += u64::try_from(read).unwrap_or(0);
            if read == 0 {
                if !is_skipping {
                    self.lines(&block[..filled]);
                }
                return Ok(());
            }
            let new = filled;
            filled += read;
            if is_skipping {
                match memchr(b'\n', &block[..filled]) {
                    Some(end) => {
                        self.lines_before += 1;
                        block.copy_within(end + 1..filled, 0);
                        filled -= end + 1;
                        is_skipping = false;
                    }
                    None => filled = 0,
                }
                continue;
            }
            if let Some(end) = memrchr(b'\n', &block[new..filled]) {
                // Small reads (a pipe, a decompressor) are gathered until it is worth while.
                if filled < BLOCK_BYTES / 2 {
                    continue;
                }
                let end = new + end + 1;
                self.lines(&block[..end]);
                block.copy_within(end..filled, 0);
                filled -= end;
            } else if filled == block.len() {
                is_skipping = self.full(&mut block, &mut filled);
            }
        }
    }

    /// A full block: the whole lines in it are looked at; if there is none, the beginning of the long line is.
    fn full(&mut self, block: &mut [u8], filled: &mut usize) -> bool {
        if let Some(end) = memrchr(b'\n', &block[..*filled]) {
            self.lines(&block[..=end]);
            block.copy_within(end + 1..*filled, 0);
            *filled -= end + 1;
            return false;
        }
        self.long_lines += 1;
        self.first_long_line = self.first_long_line.or(Some(self.lines_before + 1));
        let before = self.lines_before;
        self.lines(&block[..LONGEST_LINE_BYTES]);
        self.lines_before = before;
        *filled = 0;
        true
    }

    /// Looks at whole lines.
    fn lines(&mut self, bytes: &[u8]) {
        let mut from = 0;
        let mut counted = 0;
        let mut line = self.lines_before;
        while let Some(piece) = MATCHER.first_piece(bytes, from) {
            // Whatever stands before this line was looked at already.
            let start = memrchr(b'\n', &bytes[from..piece.start]).map_or(from, |index| from + index + 1);
            let end = memchr(b'\n', &bytes[piece.end..]).map_or(bytes.len(), |index| piece.end + index);
            from = (end + 1).min(bytes.len());
            let whole = &bytes[start..end.min(start + LONGEST_LINE_BYTES)];
            let usual = Usual::of(whole);
            if usual.is_some_and(|usual| self.is_nothing_new(&usual)) {
                continue;
            }
            line += count(&bytes[counted..start]);
            counted = start;
            let shown = self.line(whole, line + 1);
            if let Some((usual, shown)) = usual.zip(shown) {
                self.remembered.put(usual.rest, shown);
            }
        }
        self.lines_before = line + count(&bytes[counted..]);
    }

    /// Takes what a line tells again, if it only does that.
    fn is_nothing_new(&mut self, usual: &Usual<'_>) -> bool {
        if let Some(sample) = usual.counts() {
            self.clock(sample.at);
            self.sample(sample);
            return true;
        }
        let Some(shown) = self.remembered.get(usual.rest) else { return false };
        if !shown.is_empty() {
            let time = usual.time();
            shown.iter().for_each(|place| self.sightings.again(*place, time));
            self.clock(time);
        }
        true
    }

    /// Looks at a line, and gives the places of what it shows; none when it also told of the circumstances, which may change.
    fn line(&mut self, bytes: &[u8], number: u64) -> Option<Vec<usize>> {
        // A piece may stand in a line without a signal; that is cheaper to see than to parse the line.
        if !MATCHER.is_signal_in(bytes) {
            return Some(Vec::new());
        }
        let text = String::from_utf8_lossy(bytes);
        let line = parse(&text);
        self.clock(line.time);
        let mut subject = None;
        let mut shown = Some(Vec::new());
        for signal in MATCHER.signals_in(&line.message) {
            if self.context(signal.text, &line) {
                shown = None;
                continue;
            }
            let subject = subject.get_or_insert_with(|| {
                let mut subject = subject::of(&line.message);
                subject.node = subject.node.or_else(|| line.host.map(NodeName::new));
                subject
            });
            let (file, kind) = (self.file, line.kind.unwrap_or(self.kind));
            let place = self.sightings.add(signal, subject, line.time, || Citation {
                file: Arc::clone(file),
                line: Some(number),
                kind,
                excerpt: excerpt::around(&line.message, signal.text),
            });
            if let Some(shown) = &mut shown {
                shown.push(place);
            }
        }
        shown
    }

    fn clock(&mut self, time: Option<Timestamp>) {
        let Some(time) = time else { return };
        let identity = &mut self.identity;
        if identity.last.is_some_and(|last| last.as_second() - time.as_second() > CLOCK_STEP_SECONDS) {
            identity.clock_steps += 1;
        }
        identity.first = Some(identity.first.map_or(time, |first| first.min(time)));
        identity.last = Some(time);
    }

    /// Takes what a line tells of the circumstances; says whether that was all.
    fn context(&mut self, signal: &str, line: &Line<'_>) -> bool {
        let message = &*line.message;
        let identity = &mut self.identity;
        let value = |mark: &str| {
            subject::after(message, mark, |byte| !byte.is_ascii_whitespace() && byte != b'"' && byte != b',')
        };
        match signal {
            "IP stats" => self.counts(line),
            "Found subnet-id:" => identity.subnet = value("Found subnet-id: ").map(SubnetId::new),
            "Found vpc-id:" => identity.vpc = value("Found vpc-id: ").map(VpcId::new),
            "Found instance-id:" => identity.instance = value("Found instance-id: ").map(InstanceId::new),
            "Found instance-type:" => identity.instance_type = value("Found instance-type: ").map(str::to_owned),
            "Found availability zone:" => identity.zone = value("Found availability zone: ").map(str::to_owned),
            "the instance primary IPv4 address" => {
                identity.address = value("IPv4 address: ").and_then(|text| text.parse().ok())
            }
            "found this instance" => {
                identity.instance = value("instance=\"").map(InstanceId::new);
                identity.instance_type = value("instance_type=\"").map(str::to_owned);
                identity.zone = value("zone=\"").map(str::to_owned);
            }
            "Creating ENI with security groups" => {
                // The interface is named in a later line; until then the subnet is the last one that was tried.
                let subnet = subject::id(message, "subnet-").map(SubnetId::new);
                if let Some(subnet) = subnet.filter(|_| identity.subnet.is_none()) {
                    identity.subnet = Some(subnet);
                }
            }
            "Failed to allocate a private IP/Prefix addresses on ENI" => {
                let named = subject::id(message, "eni-")
                    .map(EniId::new)
                    .zip(subject::id(message, "subnet-").map(SubnetId::new));
                if let Some((interface, subnet)) = named {
                    identity.interface_subnets.insert(interface, subnet);
                }
            }
            "Failed to CreateNetworkInterface" => {}
            _ => return false,
        }
        true
    }

    /// `IP stats for Network Card 0 - total IPs: 12, assigned IPs: 12, cooldown IPs: 0`
    fn counts(&mut self, line: &Line<'_>) {
        let number = |mark: &str| subject::after(&line.message, mark, |byte| byte.is_ascii_digit())?.parse().ok();
        let counts = (number("total IPs: "), number("assigned IPs: "));
        let (Some(total), Some(assigned)) = counts else { return };
        self.sample(PoolSample { at: line.time, total, assigned, cooling: number("cooldown IPs: ").unwrap_or(0) });
    }

    fn sample(&mut self, sample: PoolSample) {
        if sample.free() == 0 && sample.total > 0 {
            if sample.cooling > 0 {
                self.identity.cooling_sample = Some(sample.clone());
            } else {
                self.identity.full_sample = Some(sample.clone());
            }
        }
        self.identity.last_sample = Some(sample);
    }
}

/// How many lines end in the bytes.
fn count(bytes: &[u8]) -> u64 {
    u64::try_from(memchr_iter(b'\n', bytes).count()).unwrap_or(0)
}

/// A node's name in the path, as EC2 names nodes: `…/ip-10-0-208-27.ap-southeast-2.compute.internal/ipamd.log`.
fn node_in_path(file: &str) -> Option<NodeName> {
    file.split(['/', '!']).rev().find_map(|part| {
        let rest = part.strip_prefix("ip-")?;
        let end = rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-' && letter != '.')
            .unwrap_or(rest.len());
        let name = rest.get(..end)?;
        let name = name
            .strip_suffix(".log")
            .or_else(|| name.strip_suffix(".json"))
            .or_else(|| name.strip_suffix(".txt"))
            .unwrap_or(name);
        let digits = name.split('.').next()?;
        (digits.split('-').count() >= 4).then(|| NodeName::new(format!("ip-{name}")))
    })
}
