//! The CNI_… variables: what is asked, and for which sandbox.

use std::env;
use std::path::PathBuf;

use freeboard_address::{AttachmentKey, PodKey};
use freeboard_datapath::names::check_interface_name;
use freeboard_rpc::node::Attachment;

use crate::configuration::{Configuration, IDENTIFIER, is_identifier};
use crate::failure::{Code, Failure};

/// What the runtime asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Delete,
    Check,
    GarbageCollect,
    Status,
    Version,
}

/// One attachment of a sandbox to the network.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) key: AttachmentKey,
    /// Where the network namespace is pinned; none when the runtime has none any more, which only DEL accepts.
    pub(crate) namespace: Option<PathBuf>,
    /// Empty when the runtime is not Kubernetes'; ADD does not accept that.
    pub(crate) pod: PodKey,
    pub(crate) infra_container: String,
    pub(crate) pod_uid: String,
}

impl Command {
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        match variable("CNI_COMMAND").as_str() {
            "ADD" => Ok(Self::Add),
            "DEL" => Ok(Self::Delete),
            "CHECK" => Ok(Self::Check),
            "GC" => Ok(Self::GarbageCollect),
            "STATUS" => Ok(Self::Status),
            "VERSION" => Ok(Self::Version),
            other => Err(bad("CNI_COMMAND", other, "ADD, DEL, CHECK, GC, STATUS or VERSION")),
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Delete => "DEL",
            Self::Check => "CHECK",
            Self::GarbageCollect => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

impl Sandbox {
    pub(crate) fn from_environment(command: Command, configuration: &Configuration) -> Result<Self, Failure> {
        let container = variable("CNI_CONTAINERID");
        if !is_identifier(&container) {
            return Err(bad("CNI_CONTAINERID", &container, IDENTIFIER));
        }
        let interface = variable("CNI_IFNAME");
        check_interface_name("CNI_IFNAME", &interface)
            .map_err(|e| Failure::new(Code::InvalidEnvironment, e.to_string(), ""))?;
        let namespace = variable("CNI_NETNS");
        if namespace.is_empty() && command != Command::Delete {
            return Err(bad("CNI_NETNS", "", "the path of the sandbox's network namespace"));
        }
        let arguments = variable("CNI_ARGS");
        let argument = |key: &str| {
            let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map_or_else(String::new, |(_, value)| value.to_owned())
        };
        let pod = PodKey::new(argument("K8S_POD_NAMESPACE"), argument("K8S_POD_NAME"));
        if command == Command::Add && (pod.namespace.is_empty() || pod.name.is_empty()) {
            return Err(bad("CNI_ARGS", &arguments, "K8S_POD_NAMESPACE=… and K8S_POD_NAME=…, separated by semicolons"));
        }
        Ok(Self {
            key: AttachmentKey { network: configuration.network()?.to_owned(), container, interface },
            namespace: (!namespace.is_empty()).then(|| PathBuf::from(namespace)),
            pod,
            infra_container: argument("K8S_POD_INFRA_CONTAINER_ID"),
            pod_uid: argument("K8S_POD_UID"),
        })
    }

    pub(crate) fn attachment(&self) -> Attachment {
        Attachment {
            network: self.key.network.clone(),
            container: self.key.container.clone(),
            interface: self.key.interface.clone(),
        }
    }
}

fn variable(name: &str) -> String {
    env::var_os(name).map_or_else(String::new, |value| value.to_string_lossy().into_owned())
}

fn bad(name: &str, value: &str, expected: &str) -> Failure {
    let message = if value.is_empty() {
        format!("required environment variable {name} is missing: expected {expected}")
    } else {
        format!("environment variable {name} has the value {value:?}: expected {expected}")
    };
    Failure::new(
        Code::InvalidEnvironment,
        message,
        "the container runtime sets it; look at its version and configuration",
    )
}
