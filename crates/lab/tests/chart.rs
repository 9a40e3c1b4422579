//! The chart as its user meets it: helm lints and renders it, the API server takes it, and nothing is left of it afterwards. The plain
//! manifests are what helm renders, and its schema knows the programs' own settings.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may say why it cannot run, and panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use freeboard_lab::LAB_DIRECTORY;
use freeboard_lab::kubernetes::{BareCluster, Cluster};
use freeboard_settings::{ignored_variables, knobs};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Map, Value, json};

/// Why a test fails.
type Problem = Box<dyn std::error::Error + Send + Sync>;
/// What a test ends with.
type Outcome<T = ()> = Result<T, Problem>;

/// Set to write the files that the chart decides, instead of comparing them.
const WRITE: &str = "FREEBOARD_WRITE_DEFINITIONS";
/// How long the API server's own controllers may take to remove what belonged to an object that is gone.
const LIMIT: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The manifests for people without helm, and the values that they are rendered with.
const MANIFESTS: [(&str, &[&str]); 3] = [
    ("freeboard-agent.yaml", &["controller.enabled=false"]),
    ("freeboard-controller.yaml", &["agent.enabled=false"]),
    ("freeboard-controller-expansions.yaml", &["agent.enabled=false", "controller.settings.FREEBOARD_EXPANSIONS=true"]),
];
/// What the chart itself says to the controller.
const SAID_BY_THE_CHART: [&str; 3] = ["FREEBOARD_IDENTITY", "FREEBOARD_BIND", "FREEBOARD_KUBECONFIG"];
/// Names that the AWS SDKs, TLS libraries and HTTP clients read.
const OF_THE_SDKS: &str = "^AWS_[A-Z0-9_]+$|^SSL_CERT_(FILE|DIR)$|_(proxy|PROXY)$";

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("helm_finds_nothing_wrong_with_the_chart", trial(lint)),
        Trial::test("the_plain_manifests_are_what_the_chart_renders", trial(manifests)),
        Trial::test("the_chart_knows_every_setting_and_refuses_what_is_none", trial(settings)),
        Trial::test("the_alerts_come_when_they_must_and_not_before", trial(alerts)),
        Trial::test("what_the_chart_installs_the_api_server_takes_and_nothing_of_it_stays", trial(installation)),
    ];
    // They read and write the same files.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(test: fn() -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || test().map_err(|error| Failed::from(error.to_string()))
}

fn require(holds: bool, what: impl std::fmt::Display) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn chart() -> PathBuf {
    root().join("deploy/helm/freeboard")
}

/// A directory that `cargo xtask test` names.
fn directory(variable: &str) -> Outcome<PathBuf> {
    let missing = format!("{variable} is not set: run the tests with `cargo xtask test`, which builds what it names");
    Ok(std::env::var_os(variable).map(PathBuf::from).ok_or(missing)?)
}

/// A tool, to be run in the workspace; all that it keeps is the lab's and goes with it.
fn tool(name: &str, arguments: &[&str]) -> Outcome<Command> {
    let mut command = Command::new(directory("FREEBOARD_TOOLS")?.join(name));
    command.args(arguments).current_dir(root());
    for (variable, place) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(variable, Path::new(LAB_DIRECTORY).join("helm").join(place));
    }
    Ok(command)
}

/// What a command prints; an error, with all that it said, when it fails.
fn output(mut command: Command) -> Outcome<String> {
    let output = command.output().map_err(|error| format!("{command:?} cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{command:?} ended with {}:\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// What helm renders with these values.
fn render(values: &[&str]) -> Outcome<String> {
    let chart = chart();
    let mut arguments = vec!["template", "freeboard", chart.to_str().unwrap_or_default(), "--namespace=kube-system"];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    output(tool("helm", &arguments)?)
}

fn lint() -> Outcome {
    let chart = chart();
    let said = output(tool("helm", &["lint", "--strict", chart.to_str().unwrap_or_default()])?)?;
    require(said.contains("0 chart(s) failed"), said)?;
    // The parts that are left out by default are YAML too, and hold the files whole.
    let monitoring = render(&[
        "monitoring.podMonitors=true",
        "monitoring.rules=true",
        "monitoring.dashboard=true",
        "controller.hostNetwork=false",
    ])?;
    for part in [
        "kind: PodMonitor",
        "kind: PrometheusRule",
        "alert: FreeboardExpansionStuck",
        "grafana_dashboard: \"1\"",
        "kind: NetworkPolicy",
    ] {
        require(monitoring.contains(part), format!("{part} is rendered"))?;
    }
    for document in monitoring.split("\n---\n") {
        serde_saphyr::from_str::<Value>(document).map_err(|error| format!("{error} in\n{document}"))?;
    }
    Ok(())
}

/// Compares a file with what it must hold, or writes it.
fn hold(path: &Path, expected: &str) -> Outcome {
    if std::env::var_os(WRITE).is_some() {
        return Ok(std::fs::write(path, expected)?);
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let remedy = format!("{WRITE}=1 cargo xtask test the_");
    require(
        found == expected,
        format!("{} is what the chart and the programs say; write it with {remedy}", path.display()),
    )
}

fn manifests() -> Outcome {
    for (name, values) in MANIFESTS {
        let set: String = values.iter().map(|value| format!(" --set {value}")).collect();
        let head = format!(
            "# Rendered from the chart by: helm template freeboard deploy/helm/freeboard -n kube-system --set crds.install=false{set}\n\
             # Apply the definitions in crds/ first. On EKS the one of ENIConfig is there already.\n"
        );
        let values: Vec<&str> = [&["crds.install=false"], values].concat();
        hold(&root().join("deploy/kubernetes").join(name), &(head + &render(&values)?))?;
    }
    Ok(())
}

/// A property of the schema whose value is a text, or is written as one.
fn scalar(description: &str) -> Value {
    json!({"description": description, "type": ["string", "integer", "boolean"]})
}

fn settings() -> Outcome {
    let path = chart().join("values.schema.json");
    let mut schema: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    let before = schema.clone();
    let agent: Map<String, Value> = knobs()
        .iter()
        .map(|knob| (knob.variable.to_owned(), scalar(&format!("{} Expected: {}.", knob.help, knob.expected))))
        .chain(ignored_variables().map(|name| (name.to_owned(), scalar("Accepted, and does nothing here."))))
        .collect();
    let mut controller = Command::new(directory("FREEBOARD_PROGRAMS")?.join("freeboard-controller"));
    controller.arg("--help");
    let help = output(controller)?;
    let names: BTreeSet<&str> = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split(['=', ']']).next())
        .filter(|name| !SAID_BY_THE_CHART.contains(name))
        .collect();
    require(names.contains("FREEBOARD_EXPANSIONS"), format!("the help names the options' variables: {names:?}"))?;
    let controller: Map<String, Value> =
        names.into_iter().map(|name| (name.to_owned(), scalar("See freeboard-controller --help."))).collect();
    for (component, properties) in [("agent", agent), ("controller", controller)] {
        let place = schema.pointer_mut(&format!("/properties/{component}/properties/settings"));
        *place.ok_or(format!("the schema says nothing of {component}.settings"))? = json!({
            "type": "object",
            "properties": properties,
            "patternProperties": {OF_THE_SDKS: scalar("Read by the AWS SDKs, TLS libraries and HTTP clients.")},
            "additionalProperties": false,
        });
    }
    // The order of keys is nobody's business.
    if schema != before {
        hold(&path, &(serde_json::to_string_pretty(&schema)? + "\n"))?;
    }
    for (value, part) in [
        ("agent.settings.WARM_IP_TARGETS=3", "WARM_IP_TARGETS"),
        ("controller.settings.FREEBOARD_COOLDOWN=3", "FREEBOARD_COOLDOWN"),
        ("controller.replicas=-1", "replicas"),
        ("agent.enabled=maybe", "enabled"),
        ("agnet.enabled=true", "agnet"),
    ] {
        let said = render(&[value]).err().map(|error| error.to_string()).unwrap_or_default();
        require(said.contains(part), format!("{value} is refused by name: {said}"))?;
    }
    let closed = render(&["controller.bindAddress=127.0.0.1:8081", "controller.hostNetwork=false"]);
    let said = closed.err().map(|error| error.to_string()).unwrap_or_default();
    require(said.contains("kubelet could not probe it"), format!("a closed port is refused: {said}"))
}

fn alerts() -> Outcome {
    let rules = chart().join("files/prometheus-rules.yaml");
    let said = output(tool(
        "promtool",
        &["check", "rules", "--lint=all", "--lint-fatal", rules.to_str().unwrap_or_default()],
    )?)?;
    eprintln!("{said}");
    let said = output(tool("promtool", &["test", "rules", "deploy/prometheus/rules-test.yaml"])?)?;
    require(said.contains("SUCCESS"), said)
}

/// Every object of every kind that can be listed, but for what comes and goes by itself.
fn objects(cluster: &Cluster) -> Outcome<BTreeSet<String>> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"])?;
    let kinds: Vec<&str> =
        kinds.lines().filter(|kind| !kind.starts_with("events") && !kind.starts_with("leases")).collect();
    let listed =
        cluster.kubectl(&["get", &kinds.join(","), "-A", "-o", "name", "--show-kind", "--ignore-not-found"])?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Waits until the cluster has these objects and no others.
fn wait_for_objects(cluster: &Cluster, expected: &BTreeSet<String>, why: &str) -> Outcome {
    let started = Instant::now();
    loop {
        let found = objects(cluster)?;
        if found == *expected {
            return Ok(());
        }
        if started.elapsed() > LIMIT {
            let (more, fewer): (Vec<_>, Vec<_>) =
                (found.difference(expected).collect(), expected.difference(&found).collect());
            return Err(format!("after {LIMIT:?} still not: {why}: too many {more:?}, too few {fewer:?}").into());
        }
        std::thread::sleep(LOOK);
    }
}

fn installation() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bare = BareCluster::start(runtime.handle(), &directory("FREEBOARD_TOOLS")?)?;
    let cluster = bare.cluster();
    let helm = |arguments: &[&str]| -> Outcome<String> {
        let mut command = tool("helm", arguments)?;
        command.arg("--namespace=kube-system").envs(cluster.environment());
        output(command)
    };
    let chart = chart();
    let chart = chart.to_str().unwrap_or_default();
    // As on EKS: this definition is somebody else's.
    let foreign = std::fs::read_to_string(root().join("deploy/kubernetes/crds/eniconfigs.crd.k8s.amazonaws.com.yaml"))?;
    cluster.apply(&foreign)?;
    let before = objects(cluster)?;

    let with = [
        "--set",
        "crds.keep=false",
        "--set",
        "controller.settings.FREEBOARD_EXPANSIONS=true",
        "--set",
        "agent.settings.WARM_IP_TARGET=3",
    ];
    let notes = helm(&[&["install", "freeboard", chart], &with[..]].concat())?;
    eprintln!("{notes}");
    require(notes.contains("kubectl get nodeaddresses"), format!("it says how to go on: {notes}"))?;
    installed_is_what_was_said(cluster)?;
    helm(&[&["upgrade", "freeboard", chart], &with[..], &["--set", "agent.settings.WARM_IP_TARGET=5"]].concat())?;
    let target = cluster.kubectl(&[
        "get",
        "configmap",
        "aws-node",
        "-n",
        "kube-system",
        "-o",
        "jsonpath={.data.WARM_IP_TARGET}",
    ])?;
    require(target == "5", format!("an upgrade changes the live settings: {target:?}"))?;
    helm(&["uninstall", "freeboard"])?;
    wait_for_objects(cluster, &before, "nothing stays")?;

    // By default the definitions stay, and with them what people have made.
    helm(&["install", "freeboard", chart])?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    cluster.apply(
        "{apiVersion: ipam.freeboard.dev/v1alpha1, kind: PodRange, metadata: {name: pods}, spec: {cidr: 10.64.0.0/16}}",
    )?;
    helm(&["uninstall", "freeboard"])?;
    cluster.kubectl(&["get", "podranges", "pods"])?;
    helm(&["install", "freeboard", chart])?;
    helm(&["uninstall", "freeboard"])?;
    cluster.kubectl(&["get", "podranges", "pods"]).map(drop)?;
    Ok(())
}

fn installed_is_what_was_said(cluster: &Cluster) -> Outcome {
    let get = |what: &[&str]| cluster.kubectl(&[&["get", "-n", "kube-system"], what].concat());
    let replicas = get(&["deployment", "freeboard-controller", "-o", "jsonpath={.spec.replicas}"])?;
    require(replicas == "2", format!("two replicas: {replicas}"))?;
    let capabilities =
        get(&["daemonset", "aws-node", "-o", "jsonpath={.spec.template.spec.containers[*].securityContext}"])?;
    require(
        capabilities.contains(r#"{"add":["NET_ADMIN"],"drop":["ALL"]}"#) && !capabilities.contains("privileged"),
        format!("the agent has one capability: {capabilities}"),
    )?;
    get(&["poddisruptionbudget", "freeboard-controller"])?;
    let may = |account: &str, verb: &str, what: &str| {
        let account = format!("--as=system:serviceaccount:kube-system:{account}");
        // kubectl would take what follows the stroke for a name.
        let (kind, part) = what.split_once('/').unwrap_or((what, ""));
        let part = format!("--subresource={part}");
        cluster.kubectl(&["auth", "can-i", verb, kind, &part, "-n", "kube-system", &account]).is_ok()
    };
    for (account, verb, what) in [
        ("freeboard-controller", "patch", "nodes"),
        ("freeboard-controller", "patch", "expansions.ipam.freeboard.dev/status"),
        ("aws-node", "patch", "nodes/status"),
    ] {
        require(may(account, verb, what), format!("{account} may {verb} {what}"))?;
    }
    for (account, verb, what) in [
        ("freeboard-controller", "get", "secrets"),
        ("freeboard-controller", "delete", "nodes"),
        ("freeboard-controller", "patch", "pods"),
        ("aws-node", "list", "pods"),
        ("aws-node", "get", "expansions.ipam.freeboard.dev"),
    ] {
        require(!may(account, verb, what), format!("{account} may not {verb} {what}"))?;
    }
    let untouched =
        get(&["crd", "eniconfigs.crd.k8s.amazonaws.com", "-o", "jsonpath={.metadata.labels}{.metadata.annotations}"])?;
    require(!untouched.contains("helm"), format!("a definition of somebody else stays theirs: {untouched}"))
}
