//! The kinds of values that a variable can have: how each is read, shown, and described to a person who got it wrong.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use freeboard_address::Cidr;
use serde::{Deserialize, Serialize};

/// One kind of value.
pub(crate) trait Kind {
    /// What the text becomes.
    type Value;

    /// What is accepted, as the end of the sentence "expected …".
    fn expected(&self) -> String;

    /// The value of the text, which is trimmed and may be empty; `None` when it is not of this kind.
    fn read(&self, text: &str) -> Option<Self::Value>;

    /// The value as a text that [`Kind::read`] would take.
    fn show(&self, value: &Self::Value) -> String;
}

/// A whole number within bounds.
pub(crate) struct Whole {
    pub(crate) least: u32,
    pub(crate) most: u32,
}

impl Kind for Whole {
    type Value = u32;

    fn expected(&self) -> String {
        format!("a whole number from {} to {}", self.least, self.most)
    }

    fn read(&self, text: &str) -> Option<u32> {
        // `parse` would also take "+5".
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value: u32 = digits.then(|| text.parse().ok()).flatten()?;
        (self.least..=self.most).contains(&value).then_some(value)
    }

    fn show(&self, value: &u32) -> String {
        value.to_string()
    }
}

/// A whole number, or 0 (or nothing) for "not set", as the Amazon VPC CNI reads its targets.
pub(crate) struct WholeOrUnset {
    pub(crate) most: u32,
}

impl Kind for WholeOrUnset {
    type Value = Option<u32>;

    fn expected(&self) -> String {
        format!("a whole number from 1 to {}, or 0 for not set", self.most)
    }

    fn read(&self, text: &str) -> Option<Option<u32>> {
        if text.is_empty() {
            return Some(None);
        }
        let value = Whole { least: 0, most: self.most }.read(text)?;
        Some((value > 0).then_some(value))
    }

    fn show(&self, value: &Option<u32>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
}

/// A whole number within bounds, or nothing for "not set"; unlike [`WholeOrUnset`] 0 is a number.
pub(crate) struct OptionalWhole {
    pub(crate) most: u32,
}

impl Kind for OptionalWhole {
    type Value = Option<u32>;

    fn expected(&self) -> String {
        Whole { least: 0, most: self.most }.expected()
    }

    fn read(&self, text: &str) -> Option<Option<u32>> {
        if text.is_empty() { Some(None) } else { Whole { least: 0, most: self.most }.read(text).map(Some) }
    }

    fn show(&self, value: &Option<u32>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
}

/// One word of a fixed list, or nothing.
pub(crate) struct OptionalChoice<T: 'static>(pub(crate) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for OptionalChoice<T> {
    type Value = Option<T>;

    fn expected(&self) -> String {
        Choice(self.0).expected()
    }

    fn read(&self, text: &str) -> Option<Option<T>> {
        if text.is_empty() { Some(None) } else { Choice(self.0).read(text).map(Some) }
    }

    fn show(&self, value: &Option<T>) -> String {
        value.as_ref().map(|value| Choice(self.0).show(value)).unwrap_or_default()
    }
}

/// True or false, by the words of Go's `strconv.ParseBool`, which the Amazon VPC CNI uses.
pub(crate) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn expected(&self) -> String {
        "true or false".to_owned()
    }

    fn read(&self, text: &str) -> Option<bool> {
        match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        }
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// One word of a fixed list; upper and lower case are the same.
pub(crate) struct Choice<T: 'static>(pub(crate) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn expected(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    }

    fn read(&self, text: &str) -> Option<T> {
        self.0.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
    }

    fn show(&self, value: &T) -> String {
        self.0.iter().find(|(_, known)| known == value).map_or(String::new(), |(word, _)| (*word).to_owned())
    }
}

/// Any text without control characters, or nothing.
pub(crate) struct Text;

impl Kind for Text {
    type Value = Option<String>;

    fn expected(&self) -> String {
        "a text of at most 1024 characters without control characters".to_owned()
    }

    fn read(&self, text: &str) -> Option<Option<String>> {
        let sound = text.len() <= 1024 && !text.chars().any(char::is_control);
        sound.then(|| (!text.is_empty()).then(|| text.to_owned()))
    }

    fn show(&self, value: &Option<String>) -> String {
        value.clone().unwrap_or_default()
    }
}

/// An absolute path.
pub(crate) struct Path;

impl Kind for Path {
    type Value = PathBuf;

    fn expected(&self) -> String {
        "an absolute path".to_owned()
    }

    fn read(&self, text: &str) -> Option<PathBuf> {
        (text.starts_with('/') && !text.contains('\0')).then(|| PathBuf::from(text))
    }

    fn show(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }
}

/// An absolute path, or nothing.
pub(crate) struct OptionalPath;

impl Kind for OptionalPath {
    type Value = Option<PathBuf>;

    fn expected(&self) -> String {
        "an absolute path, or nothing".to_owned()
    }

    fn read(&self, text: &str) -> Option<Option<PathBuf>> {
        if text.is_empty() { Some(None) } else { Path.read(text).map(Some) }
    }

    fn show(&self, value: &Option<PathBuf>) -> String {
        value.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

/// IPv4 blocks, separated by commas.
pub(crate) struct Cidrs;

impl Kind for Cidrs {
    type Value = Vec<Cidr>;

    fn expected(&self) -> String {
        "IPv4 blocks separated by commas, like 10.1.0.0/16,192.168.0.0/24".to_owned()
    }

    fn read(&self, text: &str) -> Option<Vec<Cidr>> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        // Host bits are cleared, as the Amazon VPC CNI does.
        let blocks: Option<Vec<Cidr>> = parts.map(|part| Cidr::parse_clearing_host_bits(part).ok()).collect();
        blocks.map(|mut blocks| {
            blocks.sort();
            blocks.dedup();
            blocks
        })
    }

    fn show(&self, value: &Vec<Cidr>) -> String {
        join(value)
    }
}

/// A JSON object of texts: tags.
pub(crate) struct Tags;

impl Kind for Tags {
    type Value = BTreeMap<String, String>;

    fn expected(&self) -> String {
        "a JSON object of texts, like {\"team\":\"network\"}".to_owned()
    }

    fn read(&self, text: &str) -> Option<BTreeMap<String, String>> {
        serde_json::from_str(text).ok()
    }

    fn show(&self, value: &BTreeMap<String, String>) -> String {
        serde_json::to_string(value).unwrap_or_default()
    }
}

/// How many calls an account may make: at once, and in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRate {
    /// At once, after a pause.
    pub burst: u32,
    /// In the long run, per minute.
    pub per_minute: u32,
}

/// Calls at once, a slash, and calls per minute.
pub(crate) struct Calls;

impl Kind for Calls {
    type Value = CallRate;

    fn expected(&self) -> String {
        "calls at once and calls per minute, each from 1 to 1000000, like 100/1200".to_owned()
    }

    fn read(&self, text: &str) -> Option<CallRate> {
        let (burst, per_minute) = text.split_once('/')?;
        let number = |text: &str| Whole { least: 1, most: 1_000_000 }.read(text);
        Some(CallRate { burst: number(burst)?, per_minute: number(per_minute)? })
    }

    fn show(&self, value: &CallRate) -> String {
        format!("{}/{}", value.burst, value.per_minute)
    }
}

/// A non-zero packet mark: decimal, or hexadecimal with `0x`.
pub(crate) struct Mark;

impl Kind for Mark {
    type Value = u32;

    fn expected(&self) -> String {
        "a packet mark from 0x1 to 0xffffffff".to_owned()
    }

    fn read(&self, text: &str) -> Option<u32> {
        let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let value = match hexadecimal {
            Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok()?,
            Some(_) => return None,
            None => Whole { least: 0, most: u32::MAX }.read(text)?,
        };
        (value != 0).then_some(value)
    }

    fn show(&self, value: &u32) -> String {
        format!("{value:#x}")
    }
}

/// The prefix of the host's interface names. Sixteen bytes are all a name may have, and eleven are the pod's hash.
pub(crate) struct VethPrefix;

impl Kind for VethPrefix {
    type Value = String;

    fn expected(&self) -> String {
        "1 to 4 letters or digits, and not eth, vlan or lo".to_owned()
    }

    fn read(&self, text: &str) -> Option<String> {
        let form = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (form && !["eth", "vlan", "lo"].contains(&text)).then(|| text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// Where the addresses of pods come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSource {
    /// From network interfaces, taken and given back by calls to EC2.
    Interfaces,
    /// From blocks that the node has.
    Blocks,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening address: `host:port` with an IP address as host (empty is every interface), or `unix:<path>`.
pub(crate) struct Listen;

impl Kind for Listen {
    type Value = Bind;

    fn expected(&self) -> String {
        "address and port, like 127.0.0.1:61679, or unix:/an/absolute/path".to_owned()
    }

    fn read(&self, text: &str) -> Option<Bind> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Path.read(path.strip_prefix("//").unwrap_or(path)).map(Bind::Unix);
        }
        if let Some(port) = text.strip_prefix(':') {
            let port = Whole { least: 0, most: 65535 }.read(port)?;
            return Some(Bind::Tcp(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), u16::try_from(port).ok()?)));
        }
        text.parse().ok().map(Bind::Tcp)
    }

    fn show(&self, value: &Bind) -> String {
        value.to_string()
    }
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// A file, rotated.
    File(PathBuf),
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

impl Display for LogDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
        }
    }
}

/// A log file, or a standard stream.
pub(crate) struct LogFile {
    /// The plugin's standard output is its answer to the runtime, so it may not be its log.
    pub(crate) stdout_allowed: bool,
}

impl Kind for LogFile {
    type Value = LogDestination;

    fn expected(&self) -> String {
        let streams = if self.stdout_allowed { "stdout or stderr" } else { "stderr" };
        format!("an absolute path, {streams}")
    }

    fn read(&self, text: &str) -> Option<LogDestination> {
        match text {
            "stdout" => self.stdout_allowed.then_some(LogDestination::Stdout),
            "stderr" => Some(LogDestination::Stderr),
            path => Path.read(path).map(LogDestination::File),
        }
    }

    fn show(&self, value: &LogDestination) -> String {
        value.to_string()
    }
}

/// An HTTP endpoint, or nothing for the service's own.
pub(crate) struct Endpoint;

impl Kind for Endpoint {
    type Value = Option<String>;

    fn expected(&self) -> String {
        "a URL that starts with http:// or https://".to_owned()
    }

    fn read(&self, text: &str) -> Option<Option<String>> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => Some(Some(text.to_owned())),
            None if text.is_empty() => Some(None),
            Some(_) | None => None,
        }
    }

    fn show(&self, value: &Option<String>) -> String {
        value.clone().unwrap_or_default()
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warn,
    /// What failed.
    Error,
}

/// The words of a log level.
pub(crate) const LOG_LEVELS: Choice<LogLevel> = Choice(&[
    ("DEBUG", LogLevel::Debug),
    ("INFO", LogLevel::Info),
    ("WARN", LogLevel::Warn),
    ("ERROR", LogLevel::Error),
    ("FATAL", LogLevel::Error),
]);

/// How SNAT chooses the source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomizeSnat {
    /// The port is kept when it is free.
    None,
    /// By a hash of the connection.
    HashRandom,
    /// Fully random.
    Prng,
}

/// The taint of a node that has no address to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullNodeTaint {
    /// New pods go elsewhere while another node has room.
    Prefer,
    /// New pods wait unscheduled.
    Forbid,
    /// None.
    Off,
}

/// Which range new interfaces prefer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RangePreference {
    /// Subnets of secondary VPC CIDRs first.
    SecondaryFirst,
    /// Subnets of the primary VPC CIDR first.
    PrimaryFirst,
    /// The subnet with the most free addresses first.
    MostFree,
}

/// How much the pool holds beyond what its pods have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// What the next cloud call is expected to be needed for, learned from this node.
    Lean,
    /// What the targets of the Amazon VPC CNI say.
    Compatible,
}

fn join<T: Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
