//! What a container runtime does to a pod's network: it calls a list of CNI plugins, one process each, and tries again.
//!
//! All calls are made from the thread that asks, which must already be inside the node (see `Namespace::run`), so that a
//! measurement holds the plugins' processes and nothing of the lab.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// A list of plugins, as a `.conflist` file declares it.
#[derive(Clone, Debug)]
pub struct PluginList {
    /// The version in which results are asked for.
    pub cni_version: String,
    /// The network's name.
    pub name: String,
    /// The plugins' own configurations, in the order in which ADD calls them.
    pub plugins: Vec<Value>,
    /// The directories in which the plugins' executables are, in the order in which they are looked for.
    pub directories: Vec<PathBuf>,
}

/// One interface of one pod's sandbox.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The sandbox's id.
    pub container_id: String,
    /// The sandbox's network namespace, as a path inside the node.
    pub network_namespace: PathBuf,
    /// The interface's name inside the pod.
    pub interface: String,
    /// The pod's Kubernetes namespace.
    pub pod_namespace: String,
    /// The pod's name.
    pub pod_name: String,
    /// Ports of the node that lead to the pod, as the runtime passes them to plugins that can do it (`portMappings`).
    pub port_mappings: Vec<Value>,
}

/// Why a plugin failed.
#[derive(Clone, Debug)]
pub struct CniError {
    /// The plugin's type.
    pub plugin: String,
    /// The code in its answer; 0 when there was no answer.
    pub code: i64,
    /// Its message.
    pub message: String,
    /// Its details: for Freeboard's plugin, what to do about it.
    pub details: String,
}

impl std::fmt::Display for CniError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} failed with code {}: {} {}", self.plugin, self.code, self.message, self.details)
    }
}

impl std::error::Error for CniError {}

/// What became of a pod that was started with tries as a runtime makes them.
#[derive(Clone, Debug)]
pub struct Served {
    /// The last plugin's result.
    pub result: Value,
    /// From the first try to the success.
    pub waited: Duration,
    /// ADDs that failed before.
    pub failed: u32,
}

impl PluginList {
    /// Reads the first list in a directory, by file name, as a runtime does.
    ///
    /// # Errors
    /// When there is none, or it cannot be understood.
    pub fn read(configurations: &Path, executables: &Path) -> Result<Self, CniError> {
        let failed =
            |message: String| CniError { plugin: "conflist".to_owned(), code: 0, message, details: String::new() };
        let entries = std::fs::read_dir(configurations)
            .map_err(|error| failed(format!("cannot list {}: {error}", configurations.display())))?;
        let mut lists: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "conflist"))
            .collect();
        lists.sort();
        let path = lists.first().ok_or_else(|| failed(format!("no .conflist in {}", configurations.display())))?;
        let text = std::fs::read(path).map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
        let list: Value = serde_json::from_slice(&text)
            .map_err(|error| failed(format!("{} is not JSON: {error}", path.display())))?;
        let text = |key: &str| list[key].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            cni_version: text("cniVersion"),
            name: text("name"),
            plugins: list["plugins"].as_array().cloned().unwrap_or_default(),
            directories: vec![executables.to_owned()],
        })
    }

    /// CHECK: each plugin in order, each with the result of the ADD.
    ///
    /// # Errors
    /// The first plugin that finds a difference.
    pub fn check(&self, attachment: &Attachment, result: &Value) -> Result<(), CniError> {
        self.plugins.iter().try_for_each(|plugin| self.call("CHECK", plugin, Some(attachment), Some(result)).map(drop))
    }

    /// STATUS: each plugin in order.
    ///
    /// # Errors
    /// The first plugin that cannot serve an ADD.
    pub fn status(&self) -> Result<(), CniError> {
        self.plugins.iter().try_for_each(|plugin| self.call("STATUS", plugin, None, None).map(drop))
    }

    /// GC: each plugin in order is told the attachments that are still wanted.
    ///
    /// # Errors
    /// The first plugin that fails.
    pub fn collect(&self, valid: &[&Attachment]) -> Result<(), CniError> {
        let valid: Vec<Value> = valid
            .iter()
            .map(|attachment| json!({"containerID": attachment.container_id, "ifname": attachment.interface}))
            .collect();
        self.plugins.iter().try_for_each(|plugin| {
            let mut plugin = plugin.clone();
            plugin["cni.dev/valid-attachments"] = json!(valid);
            self.call("GC", &plugin, None, None).map(drop)
        })
    }

    /// ADD: each plugin in order, each with the result of the one before; returns the last result.
    ///
    /// # Errors
    /// The first plugin that fails.
    pub fn add(&self, attachment: &Attachment) -> Result<Value, CniError> {
        let mut previous = None;
        for plugin in &self.plugins {
            previous = Some(self.call("ADD", plugin, Some(attachment), previous.as_ref())?);
        }
        Ok(previous.unwrap_or_default())
    }

    /// DEL: each plugin in reverse order, each with the result of the ADD when there was one.
    ///
    /// # Errors
    /// The first plugin that fails.
    pub fn delete(&self, attachment: &Attachment, result: Option<&Value>) -> Result<(), CniError> {
        let result = result.map(|result| in_version(result, &self.cni_version));
        for plugin in self.plugins.iter().rev() {
            self.call("DEL", plugin, Some(attachment), result.as_ref())?;
        }
        Ok(())
    }

    /// Starts a pod as kubelet and its runtime do: a failed ADD is followed by a DEL, a pause and another ADD.
    ///
    /// # Errors
    /// The last failure, when `patience` is over.
    pub fn add_with_tries(
        &self,
        attachment: &Attachment,
        pause: Duration,
        patience: Duration,
    ) -> Result<Served, CniError> {
        let started = Instant::now();
        let mut failed = 0;
        loop {
            let error = match self.add(attachment) {
                Ok(result) => return Ok(Served { result, waited: started.elapsed(), failed }),
                Err(error) => error,
            };
            failed += 1;
            // A runtime does not care whether the clean-up of a failed ADD failed too; it will ask again.
            let _ = self.delete(attachment, None);
            if started.elapsed() > patience {
                return Err(error);
            }
            std::thread::sleep(pause);
        }
    }

    /// Calls one plugin once. Commands that concern no attachment (STATUS, GC, VERSION) get none.
    ///
    /// # Errors
    /// When the plugin says so, or cannot be started.
    pub fn call(
        &self,
        command: &str,
        plugin: &Value,
        attachment: Option<&Attachment>,
        previous: Option<&Value>,
    ) -> Result<Value, CniError> {
        let name = plugin["type"].as_str().unwrap_or_default().to_owned();
        let failed = |code, message: String| CniError { plugin: name.clone(), code, message, details: String::new() };
        let Some(program) = self.directories.iter().map(|directory| directory.join(&name)).find(|path| path.is_file())
        else {
            return Err(failed(0, format!("there is no executable of that name in {:?}", self.directories)));
        };
        let port_mappings = attachment.map(|attachment| attachment.port_mappings.as_slice()).unwrap_or_default();
        let configuration = self.configuration(plugin, port_mappings, previous).to_string();
        let (output, is_success) = self
            .execute(&program, command, attachment, &configuration)
            .map_err(|error| failed(0, format!("cannot run {}: {error}", program.display())))?;
        let answer: Value =
            if output.is_empty() { Value::Null } else { serde_json::from_slice(&output).unwrap_or_default() };
        if is_success {
            return Ok(answer);
        }
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let code = answer["code"].as_i64().unwrap_or(0);
        Err(CniError { plugin: name.clone(), code, message: text("msg"), details: text("details") })
    }

    /// What a plugin reads from its standard input.
    fn configuration(&self, plugin: &Value, port_mappings: &[Value], previous: Option<&Value>) -> Value {
        let mut keys = plugin.as_object().cloned().unwrap_or_default();
        keys.insert("cniVersion".to_owned(), json!(self.cni_version));
        keys.insert("name".to_owned(), json!(self.name));
        if let Some(Value::Object(capabilities)) = keys.remove("capabilities") {
            let values = |name: &str| if name == "portMappings" { json!(port_mappings) } else { json!({}) };
            let asked: Map<String, Value> =
                capabilities.into_iter().map(|(name, _)| (name.clone(), values(&name))).collect();
            keys.insert("runtimeConfig".to_owned(), Value::Object(asked));
        }
        if let Some(previous) = previous {
            keys.insert("prevResult".to_owned(), previous.clone());
        }
        Value::Object(keys)
    }

    fn execute(
        &self,
        program: &Path,
        command: &str,
        attachment: Option<&Attachment>,
        configuration: &str,
    ) -> std::io::Result<(Vec<u8>, bool)> {
        let directories = self.directories.iter().map(|directory| directory.display().to_string());
        let mut process = Command::new(program);
        process.env("CNI_COMMAND", command).env("CNI_PATH", directories.collect::<Vec<_>>().join(":"));
        if let Some(attachment) = attachment {
            process
                .env("CNI_CONTAINERID", &attachment.container_id)
                .env("CNI_NETNS", &attachment.network_namespace)
                .env("CNI_IFNAME", &attachment.interface)
                .env("CNI_ARGS", attachment.arguments());
        }
        let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A plugin may answer without reading everything; then its answer counts and not the broken pipe.
            let _ = input.write_all(configuration.as_bytes());
        }
        let mut output = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_end(&mut output)?;
        }
        Ok((output, child.wait()?.success()))
    }
}

impl Attachment {
    /// The pod's identity as a runtime passes it on.
    #[must_use]
    pub fn arguments(&self) -> String {
        format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={}",
            self.pod_namespace, self.pod_name, self.container_id
        )
    }
}

/// A result in the version of the list that is in force: a runtime keeps the result of ADD, and the node's list may have been
/// replaced since. Since 1.0.0 addresses do not say of which family they are.
fn in_version(result: &Value, cni_version: &str) -> Value {
    let mut converted = result.clone();
    converted["cniVersion"] = json!(cni_version);
    for address in converted["ips"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if cni_version.starts_with("0.") {
            address.insert("version".to_owned(), json!("4"));
        } else {
            address.remove("version");
        }
    }
    converted
}

/// The first address in a result.
#[must_use]
pub fn address_of(result: &Value) -> Option<std::net::Ipv4Addr> {
    result["ips"][0]["address"].as_str()?.split('/').next()?.parse().ok()
}
