//! What single values cannot tell: values that do not fit together, and variables that do nothing here.

use crate::declare::{Settings, knobs};
use crate::kind::{AddressSource, Policy};
use crate::knob::Notice;
use crate::reader::{Environment, Problem};

/// Variables of the Amazon VPC CNI that are accepted and do nothing here, and what that means.
const IGNORED: [(&str, &str); 19] = [
    ("ENABLE_POD_ENI", "pods get addresses of shared interfaces; security groups for pods do not apply"),
    ("POD_SECURITY_GROUP_ENFORCING_MODE", "security groups for pods are not supported"),
    ("DISABLE_TCP_EARLY_DEMUX", "it matters only with security groups for pods"),
    ("ENABLE_MULTI_NIC", "only network card 0 carries pods"),
    ("ENABLE_V4_EGRESS", "it matters only in IPv6 clusters"),
    ("ENABLE_V6_EGRESS", "pods have IPv4 only"),
    ("DISABLE_POD_V6", "the tuning plugin is not part of the written configuration"),
    ("ENABLE_BANDWIDTH_PLUGIN", "the bandwidth plugin is not part of the written configuration"),
    ("NETWORK_POLICY_ENFORCING_MODE", "network policy is left to others"),
    ("ANNOTATE_POD_IP", "pods are not annotated"),
    ("ENABLE_IMDS_ONLY_MODE", "EC2 is the authority on what a node holds; set DISABLE_NETWORK_RESOURCE_PROVISIONING"),
    ("DISABLE_LEAKED_ENI_CLEANUP", "the agent does not collect leaked interfaces"),
    ("AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE", "there is no egress plugin"),
    ("AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE", "there is no egress plugin"),
    ("VPC_CNI_VERSION", "the agent names its own version"),
    ("ENABLE_NFTABLES", "nf_tables is always used"),
    ("AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "it does nothing in the Amazon VPC CNI either"),
    ("USE_CLOUDWATCH", "metrics are served to Prometheus only"),
    ("USE_PROMETHEUS", "metrics are always served to Prometheus"),
];

/// Variables of the Amazon VPC CNI that are accepted and do nothing here.
pub fn ignored_variables() -> impl Iterator<Item = &'static str> {
    IGNORED.iter().map(|(variable, _)| *variable)
}

/// Values that are each in order and do not fit together.
pub(crate) fn together(settings: &Settings, environment: &Environment) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |variable: &'static str, expected: &str| {
        let value = environment.get(variable).cloned().unwrap_or_default();
        problems.push(Problem { variable, value, expected: expected.to_owned() });
    };
    if settings.pod_mtu.is_some_and(|mtu| mtu < 576) {
        refuse("POD_MTU", "a whole number from 576 to 9001, or 0 for not set");
    }
    if settings.ipv6 {
        refuse("ENABLE_IPv6", "false: IPv6 pods are not supported");
    }
    if !settings.ipv4 {
        refuse("ENABLE_IPv4", "true: pods get IPv4 addresses");
    }
    let on_blocks = settings.source == AddressSource::Blocks;
    if on_blocks && settings.custom_networking {
        refuse("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false with FREEBOARD_SOURCE=block, which makes no interface");
    }
    if !on_blocks && settings.node_blocks_file.is_some() {
        refuse("FREEBOARD_NODE_BLOCKS_FILE", "nothing, or FREEBOARD_SOURCE=block beside it");
    }
    let no_target = settings.warm_ip_target.is_none() && settings.minimum_ip_target.is_none();
    let obeyed = settings.policy() == Policy::Compatible;
    if obeyed && settings.prefix_delegation && no_target && settings.effective_warm_prefix_target() == 0 {
        let expected = "at least 1 with ENABLE_PREFIX_DELEGATION, or WARM_IP_TARGET or MINIMUM_IP_TARGET set, or FREEBOARD_POLICY=lean";
        refuse("WARM_PREFIX_TARGET", expected);
    }
    problems
}

/// A key of the `aws-node` ConfigMap that is no setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey(String);

impl std::fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: expected the name of a setting, as freeboard-agent --print-settings lists them", self.0)
    }
}

/// The keys that name no setting. In a ConfigMap a name that nobody knows is a mistake; in a process's environment it is not,
/// because others put theirs there too. What the AWS SDKs and HTTP clients read is let through, and so are the keys in lower
/// case with which EKS configures its VPC resource controller.
pub fn unknown_keys<'a>(keys: impl Iterator<Item = &'a str>) -> impl Iterator<Item = UnknownKey> {
    let known = knobs();
    keys.filter(move |key| {
        let is_ours = known.iter().any(|knob| knob.variable == *key) || IGNORED.iter().any(|(name, _)| name == key);
        let is_for_others = ["_proxy", "_PROXY"].iter().any(|end| key.ends_with(end)) || is_of_the_sdks(key);
        let is_for_the_controller = !key.chars().any(|letter| letter.is_ascii_uppercase());
        !(is_ours || is_for_others || is_for_the_controller)
    })
    .map(|key| UnknownKey(key.to_owned()))
}

/// Whether a variable is one that AWS SDKs or TLS libraries read; names of the Amazon VPC CNI begin in the same way.
fn is_of_the_sdks(key: &str) -> bool {
    let is_of_the_cni = ["AWS_VPC_", "AWS_MANAGE_", "AWS_EXTERNAL_SERVICE_"].iter().any(|start| key.starts_with(start));
    key.starts_with("AWS_") && !is_of_the_cni || key.starts_with("SSL_CERT_")
}

const TARGETS: [&str; 4] = ["WARM_ENI_TARGET", "WARM_IP_TARGET", "MINIMUM_IP_TARGET", "WARM_PREFIX_TARGET"];

/// What a person should know about the environment although it can be used.
pub(crate) fn notices(settings: &Settings, environment: &Environment) -> Vec<Notice> {
    let known = knobs();
    let is_set = |value: &str| !value.trim().is_empty();
    let ignored = IGNORED.iter().filter_map(|(variable, why)| {
        let value = environment.get(*variable).filter(|value| is_set(value))?;
        // Charts set switches that are off; that deserves no line.
        let off = ["false", "0", "standard", "strict"].contains(&value.as_str());
        (!off).then(|| Notice(format!("{variable}={value:?} is accepted and does nothing here: {why}")))
    });
    // Kubernetes itself adds variables for every service of the namespace, so an unknown one cannot be an error.
    let of_a_service = |name: &str| name.contains("_SERVICE_") || name.contains("_PORT");
    let unknown = environment.keys().filter(|name| {
        name.starts_with("FREEBOARD_") && !of_a_service(name) && !known.iter().any(|knob| knob.variable == **name)
    });
    let unknown = unknown.map(|name| Notice(format!("{name} is not a setting of this version and does nothing")));
    // The manifests of the Amazon VPC CNI set targets, so lean beside a target is not refused: the explicit choice wins.
    let is_overruled = settings.chosen_policy == Some(Policy::Lean);
    let overruled = TARGETS.iter().filter_map(|variable| {
        let value = environment.get(*variable).filter(|value| is_overruled && is_set(value))?;
        Some(Notice(format!("{variable}={value:?} does nothing: FREEBOARD_POLICY=lean wins over targets")))
    });
    ignored.chain(overruled).chain(unknown).collect()
}
