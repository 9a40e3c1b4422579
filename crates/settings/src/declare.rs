//! The declarations: each knob once, with its variable, kind, default, time of effect and meaning.

use std::collections::BTreeMap;
use std::path::PathBuf;

use freeboard_address::Cidr;

use crate::check;
use crate::kind::{
    AddressSource, Bind, Choice, Cidrs, Endpoint, FullNodeTaint, Kind, LOG_LEVELS, Listen, LogDestination, LogFile,
    LogLevel, Mark, OptionalChoice, OptionalPath, OptionalWhole, Path, Policy, RandomizeSnat, RangePreference, Switch,
    Tags, Text, VethPrefix, Whole, WholeOrUnset,
};
use crate::knob::{Apply, Knob, Notice, Origin, SettingValue};
use crate::reader::{Environment, Reader, SettingsError};

/// Settings that took what can be taken while the agent runs, and what has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveChange {
    /// The settings from now on.
    pub settings: Settings,
    /// Variables whose new value waits for the next start.
    pub at_next_start: Vec<&'static str>,
}

/// From each declaration: a field of [`Settings`], its line in [`knobs`], its parsing and its introspection.
macro_rules! declare {
    ($($variable:literal $origin:ident $apply:ident, $field:ident: $type:ty = $kind:expr, $default:literal, $help:literal;)*) => {
        /// Every setting in use. Made by [`Settings::parse`], so that each value is of its kind and within its bounds.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $(#[doc = concat!("`", $variable, "`: ", $help)] pub $field: $type,)*
        }

        impl Settings {
            /// Reads and checks the whole environment. The notices tell about variables that are known and do nothing here.
            ///
            /// # Errors
            /// Every variable whose value is of the wrong type or out of range, or does not fit another.
            pub fn parse(environment: &Environment) -> Result<(Self, Vec<Notice>), SettingsError> {
                let mut reader = Reader::new(environment);
                $(let $field = reader.read(&$kind, $variable, $default);)*
                let mut problems = std::mem::take(&mut reader.problems);
                if let ($(Some($field),)*) = ($($field,)*) {
                    let settings = Self { $($field,)* };
                    problems.extend(check::together(&settings, environment));
                    if problems.is_empty() {
                        let notices = check::notices(&settings, environment);
                        return Ok((settings, notices));
                    }
                }
                Err(SettingsError { problems })
            }

            /// These settings with those values of `new` that can be taken while the agent runs.
            #[must_use]
            pub fn with_live(&self, new: &Self) -> LiveChange {
                let mut settings = self.clone();
                let mut at_next_start = Vec::new();
                $(match Apply::$apply {
                    Apply::Live => settings.$field = new.$field.clone(),
                    Apply::Start if settings.$field != new.$field => at_next_start.push($variable),
                    Apply::Start => {}
                })*
                LiveChange { settings, at_next_start }
            }

            /// Every value in use, in the order of the declarations, for introspection.
            #[must_use]
            pub fn values(&self) -> Vec<SettingValue> {
                vec![$({
                    let value = $kind.show(&self.$field);
                    let default = $kind.read($default).map(|default| $kind.show(&default));
                    let changed = default.as_ref() != Some(&value);
                    SettingValue { variable: $variable, value, changed, apply: Apply::$apply }
                },)*]
            }
        }

        /// Every knob, in the order of the declarations.
        #[must_use]
        pub fn knobs() -> Vec<Knob> {
            vec![$(Knob {
                variable: $variable,
                expected: $kind.expected(),
                default: $default,
                apply: Apply::$apply,
                origin: Origin::$origin,
                help: $help,
            },)*]
        }
    };
}

const SECONDS: Whole = Whole { least: 1, most: 3600 };

declare! {
    // Freeboard's own.
    "FREEBOARD_SOCKET" Freeboard Start, socket: PathBuf = Path, "/var/run/aws-node/ipamd.sock",
        "The unix socket on which the plugin asks for addresses.";
    "FREEBOARD_METRICS_BIND_ADDRESS" Freeboard Start, metrics_bind_address: Bind = Listen, "0.0.0.0:61678",
        "Where Prometheus metrics are served, at /metrics.";
    "FREEBOARD_TOMBSTONE_DIR" Freeboard Start, tombstone_directory: PathBuf = Path, "/var/run/aws-node/tombstones",
        "Where the plugin leaves word of pods that were deleted while the agent was down.";
    "FREEBOARD_SOURCE" Freeboard Start, source: AddressSource = Choice(&[
            ("eni", AddressSource::Interfaces), ("block", AddressSource::Blocks),
        ]), "eni",
        "Where pods' addresses come from: eni takes network interfaces and addresses on them from EC2; block gives out of the node's own blocks, as on GKE, and needs no cloud.";
    "FREEBOARD_NODE_BLOCKS_FILE" Freeboard Start, node_blocks_file: Option<PathBuf> = OptionalPath, "",
        "With FREEBOARD_SOURCE=block: a file with the node's blocks, in the order in which they are used, followed while the agent runs. By default they are those of Node.spec.podCIDRs.";
    "FREEBOARD_INPUT_LOG" Freeboard Start, input_log: Option<PathBuf> = OptionalPath, "",
        "A file into which everything is written that the pool is told, up to 100 MiB, so that freeboard simulate --replay makes the same run again. It names pods and addresses.";
    "FREEBOARD_ADD_WAIT_SECONDS" Freeboard Live, add_wait_seconds: u32 = Whole { least: 0, most: 110 }, "20",
        "How long an ADD waits for an address before it is refused. The runtime's own limit is above two minutes.";
    "FREEBOARD_ADD_QUEUE" Freeboard Live, add_queue: u32 = Whole { least: 1, most: 10_000 }, "512",
        "How many ADDs may wait for an address at once.";
    "FREEBOARD_RANGE_PREFERENCE" Freeboard Live, range_preference: RangePreference = Choice(&[
            ("secondary-first", RangePreference::SecondaryFirst),
            ("primary-first", RangePreference::PrimaryFirst),
            ("most-free", RangePreference::MostFree),
        ]), "most-free",
        "Which range new interfaces prefer: subnets of secondary VPC CIDRs, of the primary one, or the one with most free addresses.";
    "FREEBOARD_POLICY" Freeboard Live, chosen_policy: Option<Policy> = OptionalChoice(&[
            ("lean", Policy::Lean),
            ("compatible", Policy::Compatible),
        ]), "",
        "How much the pool holds: lean is what the next EC2 call is expected to be needed for, learned from this node; compatible is what the targets say. By default lean, and compatible when a target is set; lean wins over targets.";
    "FREEBOARD_MAX_PODS" Freeboard Start, max_pods: Option<u32> = WholeOrUnset { most: 1024 }, "",
        "How many pods the node may run; by default what the limits of its instance type allow.";
    "FREEBOARD_CNI_VERSION" Freeboard Start, cni_version: &'static str = Choice(&[
            ("0.3.1", "0.3.1"), ("0.4.0", "0.4.0"), ("1.0.0", "1.0.0"), ("1.1.0", "1.1.0"),
        ]), "1.0.0",
        "The cniVersion of the written configuration; 1.1.0 adds STATUS and GC and needs a runtime that knows it.";
    "FREEBOARD_WITHDRAW_CONFLIST" Freeboard Start, withdraw_conflist: bool = Switch, "true",
        "Whether the CNI configuration is removed when the agent ends by a signal, so that no pod is sent to a node without an agent.";
    "FREEBOARD_PLUGIN_SOURCE" Freeboard Start, plugin_source: Option<PathBuf> = OptionalPath, "",
        "The plugin executable that is installed as aws-cni into HOST_CNI_BIN_PATH at start; not set installs nothing.";
    "FREEBOARD_VPC_CIDR_SECONDS" Freeboard Start, vpc_cidr_seconds: u32 = SECONDS, "30",
        "How often the VPC's CIDRs are read, for SNAT; sooner when a subnet outside the known CIDRs shows.";
    "FREEBOARD_RECONCILE_SECONDS" Freeboard Live, reconcile_seconds: u32 = SECONDS, "60",
        "The interfaces are read from EC2 this long after the last change.";
    "FREEBOARD_SHRINK_SECONDS" Freeboard Live, shrink_seconds: u32 = SECONDS, "30",
        "Addresses above the target are given back at most this often.";
    "FREEBOARD_SUBNETS_SHORT_SECONDS" Freeboard Live, subnets_short_seconds: u32 = SECONDS, "5",
        "How often the subnets are read while addresses are short.";
    "FREEBOARD_SUBNETS_CALM_SECONDS" Freeboard Live, subnets_calm_seconds: u32 = SECONDS, "60",
        "How often the subnets are read otherwise.";
    "FREEBOARD_FULL_NODE_TAINT" Freeboard Live, full_node_taint: FullNodeTaint = Choice(&[
            ("prefer", FullNodeTaint::Prefer), ("forbid", FullNodeTaint::Forbid), ("off", FullNodeTaint::Off),
        ]), "prefer",
        "The taint ipam.freeboard.dev/no-addresses of a node that has no address to give: prefer sends new pods elsewhere while another node has room (PreferNoSchedule), forbid lets them wait unscheduled (NoSchedule), off sets none.";
    "FREEBOARD_KUBECONFIG" Freeboard Start, kubeconfig: Option<PathBuf> = OptionalPath, "",
        "The kubeconfig of an agent that does not run in a pod; by default the service account of its pod.";
    "FREEBOARD_BACKOFF_MAX_SECONDS" Freeboard Live, backoff_max_seconds: u32 = Whole { least: 5, most: 3600 }, "60",
        "The longest pause before a full subnet or a failing call is tried again.";

    // The Amazon VPC CNI's: the pool.
    "WARM_ENI_TARGET" VpcCni Live, warm_eni_target: Option<u32> = OptionalWhole { most: 128 }, "",
        "How many whole interfaces of spare addresses are kept; 1 when the policy is compatible and this is not set.";
    "WARM_IP_TARGET" VpcCni Live, warm_ip_target: Option<u32> = WholeOrUnset { most: 4096 }, "",
        "How many spare addresses are kept; replaces WARM_ENI_TARGET and WARM_PREFIX_TARGET.";
    "MINIMUM_IP_TARGET" VpcCni Live, minimum_ip_target: Option<u32> = WholeOrUnset { most: 16384 }, "",
        "How many addresses are held at least; replaces WARM_ENI_TARGET and WARM_PREFIX_TARGET.";
    "WARM_PREFIX_TARGET" VpcCni Live, warm_prefix_target: Option<u32> = OptionalWhole { most: 1024 }, "",
        "How many spare /28 prefixes are kept with prefix delegation; 1, as in the chart, when the policy is compatible and this is not set.";
    "ENABLE_PREFIX_DELEGATION" VpcCni Start, prefix_delegation: bool = Switch, "false",
        "Whether interfaces take /28 prefixes and not single addresses.";
    "MAX_ENI" VpcCni Live, max_eni: Option<u32> = WholeOrUnset { most: 128 }, "",
        "How many interfaces the node may have, below what its type allows.";
    "IP_COOLDOWN_PERIOD" VpcCni Live, cooldown_seconds: u32 = Whole { least: 0, most: 3600 }, "30",
        "How many seconds an address rests before it is given again.";
    "ENABLE_SUBNET_DISCOVERY" VpcCni Live, subnet_discovery: bool = Switch, "true",
        "Whether new interfaces may be made in other subnets of the zone, by their kubernetes.io/role/cni tag.";
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE" VpcCni Live, manage_non_schedulable: bool = Switch, "false",
        "Whether the pool also grows on a cordoned node.";
    "MANAGE_UNTAGGED_ENI" VpcCni Live, manage_untagged_eni: bool = Switch, "true",
        "Whether interfaces without this node's tag are used.";
    "DISABLE_NETWORK_RESOURCE_PROVISIONING" VpcCni Live, provisioning_disabled: bool = Switch, "false",
        "Whether EC2 is never asked for more interfaces or addresses.";
    "CLUSTER_NAME" VpcCni Start, cluster_name: Option<String> = Text, "",
        "The cluster, for tags on interfaces and for the cluster tag of subnets.";
    "ADDITIONAL_ENI_TAGS" VpcCni Start, additional_eni_tags: BTreeMap<String, String> = Tags, "{}",
        "Further tags for interfaces; keys that contain k8s.amazonaws.com are left out.";

    // The Amazon VPC CNI's: the node's network.
    "AWS_VPC_K8S_CNI_EXTERNALSNAT" VpcCni Start, external_snat: bool = Switch, "false",
        "Whether something outside the node does SNAT, so that the node does not.";
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS" VpcCni Start, exclude_snat_cidrs: Vec<Cidr> = Cidrs, "",
        "Destinations outside the VPC that see the pods' own addresses.";
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT" VpcCni Start, randomize_snat: RandomizeSnat = Choice(&[
            ("prng", RandomizeSnat::Prng), ("hashrandom", RandomizeSnat::HashRandom), ("none", RandomizeSnat::None),
        ]), "prng", "How SNAT chooses source ports.";
    "AWS_EXTERNAL_SERVICE_CIDRS" VpcCni Start, external_service_cidrs: Vec<Cidr> = Cidrs, "",
        "Destinations that are always reached through the primary interface.";
    "AWS_VPC_ENI_MTU" VpcCni Start, eni_mtu: u32 = Whole { least: 576, most: 9001 }, "9001",
        "The MTU of interfaces.";
    "POD_MTU" VpcCni Start, pod_mtu: Option<u32> = WholeOrUnset { most: 9001 }, "",
        "The MTU of pods, from 576; by default that of interfaces.";
    "AWS_VPC_CNI_NODE_PORT_SUPPORT" VpcCni Start, node_port_support: bool = Switch, "true",
        "Whether answers to node ports leave by the interface on which the request came.";
    "AWS_VPC_K8S_CNI_CONNMARK" VpcCni Start, connmark: u32 = Mark, "0x80",
        "The connection mark of traffic that belongs to the primary interface.";
    "AWS_VPC_K8S_CNI_VETHPREFIX" VpcCni Start, veth_prefix: String = VethPrefix, "eni",
        "The prefix of the names of the host's pod interfaces.";
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG" VpcCni Start, custom_networking: bool = Switch, "false",
        "Whether ENIConfig objects choose the subnets of pods, and the primary interface is kept for the node. Needs the Kubernetes API.";
    "ENI_CONFIG_LABEL_DEF" VpcCni Start, eni_config_label: Option<String> = Text, "k8s.amazonaws.com/eniConfig",
        "The node label that names the ENIConfig.";
    "ENI_CONFIG_ANNOTATION_DEF" VpcCni Start, eni_config_annotation: Option<String> = Text, "k8s.amazonaws.com/eniConfig",
        "The node annotation that names the ENIConfig.";
    "ENABLE_IPv4" VpcCni Start, ipv4: bool = Switch, "true", "Pods get IPv4 addresses; false is refused.";
    "ENABLE_IPv6" VpcCni Start, ipv6: bool = Switch, "false", "Pods get IPv6 addresses; true is refused.";

    // The Amazon VPC CNI's: files, logs, servers.
    "AWS_VPC_K8S_CNI_BACKING_STORE" VpcCni Start, backing_store: PathBuf = Path, "/var/run/aws-node/ipam.json",
        "The checkpoint: what was given to whom.";
    "HOST_CNI_BIN_PATH" VpcCni Start, host_cni_bin_path: PathBuf = Path, "/host/opt/cni/bin",
        "Where plugins are installed.";
    "HOST_CNI_CONFDIR_PATH" VpcCni Start, host_cni_confdir_path: PathBuf = Path, "/host/etc/cni/net.d",
        "Where 10-aws.conflist is written.";
    "AWS_VPC_K8S_CNI_LOGLEVEL" VpcCni Start, log_level: LogLevel = LOG_LEVELS, "DEBUG", "How much the agent logs.";
    "AWS_VPC_K8S_CNI_LOG_FILE" VpcCni Start, log_file: LogDestination = LogFile { stdout_allowed: true },
        "/host/var/log/aws-routed-eni/ipamd.log", "Where the agent logs.";
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL" VpcCni Start, plugin_log_level: LogLevel = LOG_LEVELS, "DEBUG",
        "How much the plugin logs; part of the written configuration.";
    "AWS_VPC_K8S_PLUGIN_LOG_FILE" VpcCni Start, plugin_log_file: LogDestination = LogFile { stdout_allowed: false },
        "/var/log/aws-routed-eni/plugin.log", "Where the plugin logs; part of the written configuration.";
    "DISABLE_METRICS" VpcCni Start, disable_metrics: bool = Switch, "false", "Whether metrics are not served.";
    "DISABLE_INTROSPECTION" VpcCni Start, disable_introspection: bool = Switch, "false",
        "Whether introspection is not served.";
    "INTROSPECTION_BIND_ADDRESS" VpcCni Start, introspection_bind_address: Bind = Listen, "127.0.0.1:61679",
        "Where introspection is served.";
    "CLUSTER_ENDPOINT" VpcCni Start, cluster_endpoint: Option<String> = Endpoint, "",
        "The API server; by default the service kubernetes, whose address works only where kube-proxy or the like runs.";
    "MY_NODE_NAME" VpcCni Start, node_name: Option<String> = Text, "", "The node's name.";
    "MY_POD_NAME" VpcCni Start, pod_name: Option<String> = Text, "", "The agent's own pod.";
    "HTTP_TIMEOUT" VpcCni Start, http_timeout_seconds: u32 = Whole { least: 1, most: 300 }, "10",
        "How many seconds one EC2 call may take.";
    "AWS_EC2_ENDPOINT" VpcCni Start, ec2_endpoint: Option<String> = Endpoint, "",
        "The EC2 endpoint; AWS_ENDPOINT_URL_EC2 wins over it.";

    // The AWS SDKs'.
    "AWS_ENDPOINT_URL_EC2" Sdk Start, endpoint_url_ec2: Option<String> = Endpoint, "", "The EC2 endpoint.";
    "AWS_EC2_METADATA_SERVICE_ENDPOINT" Sdk Start, metadata_endpoint: Option<String> = Endpoint, "",
        "The instance metadata service.";
    "AWS_REGION" Sdk Start, region: Option<String> = Text, "", "The region; by default the instance's.";
}

impl Settings {
    /// The MTU of pods: `POD_MTU`, or that of interfaces.
    #[must_use]
    pub fn effective_pod_mtu(&self) -> u32 {
        self.pod_mtu.unwrap_or(self.eni_mtu)
    }

    /// The policy in force: `FREEBOARD_POLICY`; else compatible when a target is set, and lean when none is.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let targets = [self.warm_eni_target, self.warm_ip_target, self.minimum_ip_target, self.warm_prefix_target];
        self.chosen_policy.unwrap_or(if targets.iter().any(Option::is_some) {
            Policy::Compatible
        } else {
            Policy::Lean
        })
    }

    /// `WARM_ENI_TARGET`, or its default under the compatible policy.
    #[must_use]
    pub fn effective_warm_eni_target(&self) -> u32 {
        self.warm_eni_target.unwrap_or(1)
    }

    /// `WARM_PREFIX_TARGET`, or its default under the compatible policy, which is the chart's.
    #[must_use]
    pub fn effective_warm_prefix_target(&self) -> u32 {
        self.warm_prefix_target.unwrap_or(1)
    }
}
