//! One call of the plugin: its configuration, its log, its agent.

use std::path::Path;

use crate::agent::Agent;
use crate::configuration::Configuration;
use crate::failure::{Code, Failure};
use crate::invocation::{Command, Sandbox};
use crate::log::Log;
use crate::version::Version;

/// Everything that the commands share.
pub(crate) struct Call {
    pub(crate) configuration: Configuration,
    pub(crate) version: Version,
    pub(crate) log: Log,
}

impl Call {
    pub(crate) fn new(command: Command, configuration: Configuration) -> Result<Self, Failure> {
        let version = Version::parse(configuration.cni_version.as_deref())?;
        let file = configuration.plugin_log_file.as_deref();
        let mut log = Log::open(file, configuration.plugin_log_level.as_deref());
        log.with("command", command.as_str());
        Ok(Self { configuration, version, log })
    }

    /// Makes every line of the log say which pod it is about.
    pub(crate) fn describe(&mut self, sandbox: &Sandbox) {
        self.log.with("containerID", sandbox.key.container.as_str());
        self.log.with("ifName", sandbox.key.interface.as_str());
        self.log.with("pod", sandbox.pod.to_string());
    }

    /// Refuses a command that the configuration's version does not know.
    pub(crate) fn requires(&self, version: Version, command: Command) -> Result<(), Failure> {
        if self.version >= version {
            return Ok(());
        }
        let (command, given, needed) = (command.as_str(), self.version.as_str(), version.as_str());
        let message =
            format!("config version does not allow {command}: cniVersion is {given}, {command} needs {needed}");
        Err(Failure::new(Code::IncompatibleVersion, message, format!("set cniVersion to {needed} or later")))
    }

    /// The agent of this node.
    pub(crate) fn agent(&self) -> Result<Agent, Failure> {
        let socket = self.configuration.agent_socket.as_deref().unwrap_or(freeboard_rpc::DEFAULT_SOCKET);
        Agent::at(Path::new(socket))
            .map_err(|e| Failure::new(Code::InputOutput, format!("cannot prepare a call to the agent: {e}"), ""))
    }
}
