//! The kinds of evidence that are understood, recognised by content and never by name.

use std::fmt;

use serde::Serialize;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a file, or a part of one, is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Kind {
            /// Every kind, in the order in which they are listed.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What people call it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// The log of the node agent of the Amazon VPC CNI, and of Freeboard's agent, which writes the same dialect.
    AgentLog = "ipamd.log",
    /// The log of the CNI plugin.
    PluginLog = "plugin.log",
    /// Lines of the kubelet.
    KubeletLog = "kubelet log",
    /// Lines of containerd or CRI-O.
    RuntimeLog = "runtime log",
    /// Lines of kube-controller-manager or of another node-address controller.
    ControllerLog = "controller log",
    /// Lines of the cluster autoscaler.
    AutoscalerLog = "autoscaler log",
    /// Lines of Calico.
    CalicoLog = "Calico log",
    /// Lines of Cilium.
    CiliumLog = "Cilium log",
    /// Lines of another program.
    OtherLog = "log",
    /// `kubectl describe pod`.
    PodDescription = "kubectl describe pod",
    /// `kubectl describe node`.
    NodeDescription = "kubectl describe node",
    /// Events, in any output format.
    Events = "kubectl events",
    /// Pods, in any output format.
    Pods = "kubectl get pods",
    /// Nodes, in any output format.
    Nodes = "kubectl get nodes",
    /// The agent's DaemonSet or manifest.
    DaemonSet = "DaemonSet",
    /// ENIConfig objects.
    EniConfigs = "ENIConfig",
    /// A ConfigMap.
    ConfigMap = "ConfigMap",
    /// Another Kubernetes object.
    Object = "Kubernetes object",
    /// `/v1/enis` of a node.
    Introspection = "node introspection",
    /// `/v1/ipamd-env-settings` or `/v1/networkutils-env-settings` of a node.
    AgentSettings = "node settings",
    /// Metrics in the Prometheus text format.
    Metrics = "metrics",
    /// A CNI configuration list.
    Conflist = "CNI configuration",
    /// `aws ec2 describe-subnets`.
    Ec2Subnets = "describe-subnets",
    /// `aws ec2 describe-vpcs`.
    Ec2Vpcs = "describe-vpcs",
    /// `aws ec2 describe-network-interfaces`.
    Ec2Interfaces = "describe-network-interfaces",
    /// `aws ec2 describe-instances`.
    Ec2Instances = "describe-instances",
    /// Another answer of the aws CLI.
    AwsAnswer = "aws answer",
    /// CloudTrail records.
    CloudTrail = "CloudTrail",
    /// A subnet as gcloud prints it.
    GoogleSubnet = "gcloud subnet",
    /// A cluster as gcloud prints it.
    GoogleCluster = "gcloud cluster",
    /// A node pool as gcloud prints it.
    GooglePool = "gcloud node pool",
    /// Entries of Cloud Logging: audit logs and the autoscaler's visibility events.
    GoogleLog = "Google Cloud log",
    /// The autoscaler's status ConfigMap.
    AutoscalerStatus = "autoscaler status",
    /// Block pools of Calico or Cilium.
    BlockPools = "IP pools",
    /// What `freeboard collect` tells of its own archive.
    Collection = "freeboard collect",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
