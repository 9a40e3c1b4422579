//! One line of a log: its time, who wrote it, and the message, in every dialect that is known.

use std::borrow::Cow;

use freeboard_diagnosis::Kind;
use jiff::Timestamp;

use super::entry::{self, Value};

/// One line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// When it was written; none where the line has no date with a year.
    pub(crate) time: Option<Timestamp>,
    /// Whose log it is, where the line shows it.
    pub(crate) kind: Option<Kind>,
    /// The message.
    pub(crate) message: Cow<'a, str>,
    /// The host, where a journal names it.
    pub(crate) host: Option<&'a str>,
    /// Whether the line has the form of a log line.
    pub(crate) is_log: bool,
}

/// Source files by which the programs are told apart.
const CALLERS: [(&str, Kind); 18] = [
    ("routed-eni-cni-plugin", Kind::PluginLog),
    ("cni/cni.go", Kind::PluginLog),
    ("driver/driver.go", Kind::PluginLog),
    ("ipamd/", Kind::AgentLog),
    ("datastore/", Kind::AgentLog),
    ("awsutils/", Kind::AgentLog),
    ("networkutils/", Kind::AgentLog),
    ("aws-k8s-agent/", Kind::AgentLog),
    ("eniconfig/", Kind::AgentLog),
    ("rpc_handler.go", Kind::AgentLog),
    ("scale_up", Kind::AutoscalerLog),
    ("static_autoscaler.go", Kind::AutoscalerLog),
    ("orchestrator.go", Kind::AutoscalerLog),
    ("clusterstate.go", Kind::AutoscalerLog),
    ("range_allocator.go", Kind::ControllerLog),
    ("cidr_allocator.go", Kind::ControllerLog),
    ("node_ipam_controller.go", Kind::ControllerLog),
    ("controller_utils.go", Kind::ControllerLog),
];

/// Reads a line. Whatever it is, its text comes back; a line that breaks off is read as far as it goes.
pub(crate) fn parse(text: &str) -> Line<'_> {
    let text = text.trim_end_matches(['\r', '\n']).trim_start_matches('\0');
    // `kubectl logs --prefix` puts the pod before each line; a container runtime puts time, stream and a flag.
    let (text, container_time) = if text.starts_with('{') { (text, None) } else { container(text) };
    let text = text.strip_prefix("[pod/").and_then(|rest| Some(rest.split_once("] ")?.1)).unwrap_or(text);
    let mut line = if text.starts_with('{') { json(text) } else { plain(text) };
    line.time = line.time.or(container_time);
    line.is_log |= container_time.is_some();
    if line.kind.is_none() {
        line.kind = kind_of_words(text);
    }
    line
}

/// `2023-11-04T10:41:08.123456789Z stderr F …`
fn container(text: &str) -> (&str, Option<Timestamp>) {
    let mut parts = text.splitn(4, ' ');
    let (time, stream, flag, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    match (time, stream, flag, rest) {
        (Some(time), Some("stdout" | "stderr"), Some("F" | "P"), Some(rest)) => (rest, timestamp(time)),
        _ => (text, None),
    }
}

/// JSON lines: of the agents (`level`, `ts`, `caller`, `msg`), of Docker (`log`, `time`), of tracing (`fields`).
fn json(text: &str) -> Line<'_> {
    let Some(entry) = entry::read(text) else { return torn(text) };
    let time = match entry.times.iter().flatten().next() {
        Some(Value::Text(time)) => timestamp(time),
        // zap's default: seconds with a fraction.
        Some(Value::Number(seconds)) => from_seconds(*seconds),
        Some(Value::Object(_) | Value::Other) | None => None,
    };
    let [plain, _, docker] = &entry.messages;
    let is_log = time.is_some() && (plain.is_some() || docker.is_some() || entry.has_level);
    let message = match entry.messages.into_iter().flatten().next() {
        Some(Value::Text(message)) => Some(message),
        Some(Value::Number(_) | Value::Object(_) | Value::Other) | None => entry.inner_message,
    };
    // An entry of a cloud log, or another object on one line, is a document.
    let Some(mut message) = message else { return Line { time, ..bare(text) } };
    // Freeboard writes ids and errors as fields of their own.
    for (name, value) in &entry.others {
        message.to_mut().push_str(&format!(" {name}=\"{value}\""));
    }
    Line { time, kind: of_caller(entry.caller.as_deref().unwrap_or_default()), message, host: None, is_log }
}

/// A JSON line that breaks off, or two that were written into one another.
fn torn(text: &str) -> Line<'_> {
    let quoted = |key: &str| {
        let start = text.find(key)? + key.len();
        text.get(start..)?.split('"').next()
    };
    let time = quoted("\"ts\":\"").and_then(timestamp);
    Line { is_log: time.is_some(), time, kind: quoted("\"caller\":\"").and_then(of_caller), ..bare(text) }
}

fn bare(text: &str) -> Line<'_> {
    Line { time: None, kind: None, message: Cow::Borrowed(text), host: None, is_log: false }
}

fn of_caller(caller: &str) -> Option<Kind> {
    // Freeboard's own: the agent writes its crate and the file, the plugin `src` and the file.
    let own = [("agent/", Kind::AgentLog), ("src/", Kind::PluginLog)];
    if let Some((_, kind)) = own.iter().find(|(start, _)| caller.starts_with(start)) {
        return Some(*kind);
    }
    CALLERS.iter().find(|(mark, _)| caller.contains(mark)).map(|(_, kind)| *kind)
}

fn plain(text: &str) -> Line<'_> {
    if let Some(line) = logfmt(text).or_else(|| old_agent(text)).or_else(|| journal(text)) {
        return line;
    }
    if is_klog(text) {
        return Line { is_log: true, kind: of_caller(text), ..bare(text) };
    }
    // `kubectl logs --timestamps`, and anything else that starts with a date and a time.
    match text.split_once(' ').and_then(|(time, rest)| Some((timestamp(time)?, rest))) {
        Some((time, rest)) => Line { time: Some(time), is_log: true, kind: of_caller(rest), ..bare(rest) },
        None => calico(text).unwrap_or_else(|| bare(text)),
    }
}

/// The agent before 1.6: `2019-10-01T12:34:56.789Z [INFO] Starting L-IPAMD v1.5.5 ...`, with a tab before the message
fn old_agent(text: &str) -> Option<Line<'_>> {
    let (time, rest) = text.split_once(' ')?;
    let time = timestamp(time)?;
    let rest = rest.trim_start().strip_prefix('[')?;
    let (level, message) = rest.split_once(']')?;
    let is_level = matches!(level, "TRACE" | "DEBUG" | "INFO" | "WARN" | "ERROR" | "CRITICAL");
    let message = message.trim_start();
    let is_plugin = message.contains("CNI add request")
        || message.contains("CNI del request")
        || message.contains("AddNetwork grpc call");
    let kind = if is_plugin { Kind::PluginLog } else { Kind::AgentLog };
    is_level.then_some(Line {
        time: Some(time),
        kind: Some(kind),
        message: Cow::Borrowed(message),
        host: None,
        is_log: true,
    })
}

/// containerd and Cilium: `time="…" level=error msg="…"`.
fn logfmt(text: &str) -> Option<Line<'_>> {
    let has_level = text.contains("level=");
    let time = text.strip_prefix("time=").map(|rest| rest.trim_start_matches('"'));
    let time = time.and_then(|rest| rest.split(['"', ' ']).next()).and_then(timestamp);
    if !has_level || (time.is_none() && !text.starts_with("level=")) {
        return None;
    }
    let kind = if text.contains("subsys=") || text.contains("module=") { Kind::CiliumLog } else { Kind::RuntimeLog };
    Some(Line { time, kind: Some(kind), is_log: true, ..bare(text) })
}

/// The journal, with short and with ISO times: `Nov 24 10:41:08 host kubelet[4321]: …`.
fn journal(text: &str) -> Option<Line<'_>> {
    let (head, message) = text.split_once("]: ")?;
    let (head, _) = head.rsplit_once('[')?;
    let (head, unit) = head.rsplit_once(' ')?;
    let (time, host) = head.rsplit_once(' ')?;
    let parsed = timestamp(time);
    let is_short = time.len() <= 15 && time.as_bytes().get(time.len().checked_sub(3)?) == Some(&b':');
    if parsed.is_none() && !is_short {
        return None;
    }
    let kind = match unit {
        "kubelet" => Some(Kind::KubeletLog),
        "containerd" | "crio" | "dockerd" | "cri-dockerd" => Some(Kind::RuntimeLog),
        "kube-controller-manager" => Some(Kind::ControllerLog),
        _ => None,
    };
    let inner = logfmt(message).and_then(|line| line.time);
    Some(Line { time: parsed.or(inner), kind, message: Cow::Borrowed(message), host: Some(host), is_log: true })
}

/// `E1124 10:41:08.123456    4321 pod_workers.go:965] …`
fn is_klog(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|level| b"IWEF".contains(level))
        && bytes.get(1..5).is_some_and(|date| date.iter().all(u8::is_ascii_digit))
        && bytes.get(5) == Some(&b' ')
        && bytes.get(8) == Some(&b':')
        && text.contains("] ")
}

/// `2023-11-04 10:41:08.123 [INFO][4321] ipam/ipam.go 1234: …`
fn calico(text: &str) -> Option<Line<'_>> {
    let (date, rest) = text.split_once(' ')?;
    let (time, rest) = rest.split_once(' ')?;
    if date.len() != 10 || !rest.starts_with('[') {
        return None;
    }
    let time = timestamp(&format!("{date}T{time}Z"))?;
    let kind = (rest.contains("ipam") || rest.contains("k8s.go")).then_some(Kind::CalicoLog);
    Some(Line { time: Some(time), kind, message: Cow::Borrowed(rest), host: None, is_log: true })
}

fn kind_of_words(text: &str) -> Option<Kind> {
    let words = [
        ("pod_workers.go", Kind::KubeletLog),
        ("kuberuntime_", Kind::KubeletLog),
        ("kubelet.go", Kind::KubeletLog),
        ("log.go:", Kind::KubeletLog),
        ("RunPodSandbox", Kind::RuntimeLog),
        ("cluster-autoscaler", Kind::AutoscalerLog),
        ("projectcalico", Kind::CalicoLog),
        ("ipam/ipam.go", Kind::CalicoLog),
        ("cilium", Kind::CiliumLog),
    ];
    words.iter().find(|(mark, _)| text.contains(mark)).map(|(_, kind)| *kind)
}

/// A time with date, year and zone. Offsets without a colon and a missing zone (taken as UTC) are forgiven.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    let is_date = text.len() >= 19
        && text.as_bytes().get(4) == Some(&b'-')
        && text.as_bytes().get(10).is_some_and(|byte| b"T ".contains(byte));
    if !is_date {
        return None;
    }
    // What nearly every log has needs no repair.
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let (time, offset) = match text.get(19..)?.find(['+', '-']) {
        Some(index) => text.split_at_checked(19 + index)?,
        None => (text, ""),
    };
    let offset = offset.replace(':', "");
    let whole = match offset.as_str() {
        "" if time.ends_with('Z') => time.to_owned(),
        "" => format!("{time}Z"),
        offset => {
            format!("{time}{}:{}", offset.get(..3)?, offset.get(3..).filter(|rest| !rest.is_empty()).unwrap_or("00"))
        }
    };
    whole.replacen(' ', "T", 1).replace(',', ".").parse().ok()
}

fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let is_plausible = (0.0..1e11).contains(&seconds);
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    is_plausible.then(|| Timestamp::from_microsecond((seconds * 1e6) as i64).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, time: Option<&str>, kind: Option<Kind>, message: &str) {
        let line = parse(text);
        assert_eq!(line.time, time.map(|time| time.parse().unwrap()), "{text}");
        assert_eq!(line.kind, kind, "{text}");
        assert!(line.message.contains(message), "{text}: {}", line.message);
        assert!(line.is_log, "{text}");
    }

    #[test]
    fn every_dialect_is_read() {
        check(
            r#"{"level":"error","ts":"2023-11-04T00:33:02.972Z","caller":"datastore/data_store.go:858","msg":"DataStore has no available IP/Prefix addresses"}"#,
            Some("2023-11-04T00:33:02.972Z"),
            Some(Kind::AgentLog),
            "DataStore has no",
        );
        check(
            r#"{"level":"error","ts":"2023-11-04T00:33:02.972Z","caller":"routed-eni-cni-plugin/cni.go:219","msg":"Failed to assign"}"#,
            Some("2023-11-04T00:33:02.972Z"),
            Some(Kind::PluginLog),
            "Failed",
        );
        check(
            "2019-10-01T12:34:56.789Z [INFO]\tStarting L-IPAMD",
            Some("2019-10-01T12:34:56.789Z"),
            Some(Kind::AgentLog),
            "Starting",
        );
        check(
            r#"Nov 24 10:41:08 ip-10-0-208-27 kubelet[4321]: E1124 10:41:08.123456    4321 pod_workers.go:965] "Error syncing pod" err="x""#,
            None,
            Some(Kind::KubeletLog),
            "Error syncing",
        );
        check(
            r#"time="2023-11-04T10:41:08.123456789Z" level=error msg="RunPodSandbox for x failed""#,
            Some("2023-11-04T10:41:08.123456789Z"),
            Some(Kind::RuntimeLog),
            "RunPodSandbox",
        );
        check(
            "2023-11-04T10:41:08+1100 node-1 containerd[99]: time=\"2023-11-03T23:41:08Z\" level=info msg=x",
            Some("2023-11-03T23:41:08Z"),
            Some(Kind::RuntimeLog),
            "level=info",
        );
        check(
            "2023-11-04T10:41:08.1Z stderr F I1104 10:41:08.123456       1 range_allocator.go:400] no room",
            Some("2023-11-04T10:41:08.1Z"),
            Some(Kind::ControllerLog),
            "no room",
        );
        check(
            "2023-11-04 10:41:08.123 [INFO][4321] ipam/ipam.go 1234: x",
            Some("2023-11-04T10:41:08.123Z"),
            Some(Kind::CalicoLog),
            "ipam",
        );
        check(r#"level=error msg="x" subsys=ipam"#, None, Some(Kind::CiliumLog), "ipam");
    }

    #[test]
    fn a_torn_line_keeps_its_time() {
        let line =
            parse(r#"{"level":"error","ts":"2023-11-04T00:33:02.972Z","caller":"ipamd/ipamd.go:1","msg":"Insuffic"#);
        assert!(line.time.is_some());
        assert_eq!(line.kind, Some(Kind::AgentLog));
    }

    #[test]
    fn freeboard_s_fields_are_a_part_of_the_message() {
        let line = parse(
            r#"{"level":"error","ts":"2026-11-24T00:33:02.972Z","caller":"agent/cloud.rs:272","msg":"subnet doesn't seem to have enough IPs/Prefixes","interface":"eni-0123456789abcdef0","error":"InsufficientFreeAddressesInSubnet: x"}"#,
        );
        assert!(line.message.contains("eni-0123456789abcdef0") && line.message.contains("InsufficientFree"));
        assert_eq!(line.kind, Some(Kind::AgentLog));
        let plugin = parse(r#"{"level":"error","ts":"2026-11-24T00:33:02.972Z","caller":"src/add.rs:31","msg":"x"}"#);
        assert_eq!(plugin.kind, Some(Kind::PluginLog));
    }
}
