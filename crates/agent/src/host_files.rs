//! Files on the host that the runtime reads: `10-aws.conflist`, whose presence makes the node Ready, and the plugin.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use freeboard_settings::{LogLevel, Settings};
use serde_json::{Value, json};

/// The incumbent's name for the file; a take-over replaces it.
const CONFLIST: &str = "10-aws.conflist";
/// The name under which the runtime executes the plugin.
const PLUGIN: &str = "aws-cni";

/// A file could not be written, installed or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct HostFileError {
    action: &'static str,
    path: PathBuf,
    #[source]
    error: io::Error,
}

/// The CNI configuration, as the settings want it: our plugin alone, which sets up host ports too. `pod_mtu`: the largest packet
/// of a pod, in bytes.
#[must_use]
pub fn render(settings: &Settings, pod_mtu: u32) -> String {
    let mut plugin = json!({
        "name": "aws-cni",
        "type": PLUGIN,
        "vethPrefix": settings.veth_prefix,
        // The incumbent's plugin reads a text.
        "mtu": pod_mtu.to_string(),
        "podSGEnforcingMode": "strict",
        "pluginLogFile": settings.plugin_log_file.to_string(),
        "pluginLogLevel": level(settings.plugin_log_level),
        "capabilities": {"portMappings": true, "io.kubernetes.cri.pod-annotations": true},
    });
    // Only where they differ from what the plugin takes anyway, so that the incumbent's plugin meets no unknown key.
    let (socket, tombstones) =
        (settings.socket.display().to_string(), settings.tombstone_directory.display().to_string());
    if let Value::Object(fields) = &mut plugin {
        if socket != freeboard_rpc::DEFAULT_SOCKET {
            fields.insert("agentSocket".to_owned(), socket.into());
        }
        if tombstones != "/var/run/aws-node/tombstones" {
            fields.insert("tombstoneDir".to_owned(), tombstones.into());
        }
    }
    let mut list = json!({"cniVersion": settings.cni_version, "name": "aws-cni", "plugins": [plugin]});
    // With 1.1.0 the runtime may ask for CHECK, which this plugin answers; the incumbent's configuration forbids it.
    if settings.cni_version != "1.1.0"
        && let Value::Object(fields) = &mut list
    {
        fields.insert("disableCheck".to_owned(), true.into());
    }
    format!("{list:#}\n")
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "DEBUG",
        LogLevel::Info => "INFO",
        LogLevel::Warn => "WARN",
        LogLevel::Error => "ERROR",
    }
}

/// Where the configuration lies.
#[must_use]
pub fn conflist_path(settings: &Settings) -> PathBuf {
    settings.host_cni_confdir_path.join(CONFLIST)
}

/// Writes the configuration. To be called only when an address can really be given.
///
/// # Errors
/// When the directory or the file cannot be written.
pub fn write_conflist(settings: &Settings, pod_mtu: u32) -> Result<(), HostFileError> {
    let path = conflist_path(settings);
    let text = render(settings, pod_mtu);
    replace(&path, 0o644, |file| file.write_all(text.as_bytes())).map_err(|error| HostFileError {
        action: "write",
        path,
        error,
    })
}

/// Removes the configuration, so that the node is not Ready without an agent.
///
/// # Errors
/// When it exists and cannot be removed.
pub fn withdraw_conflist(settings: &Settings) -> Result<(), HostFileError> {
    let path = conflist_path(settings);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HostFileError { action: "remove", path, error }),
        _ => Ok(()),
    }
}

/// Installs the plugin that `FREEBOARD_PLUGIN_SOURCE` names, if it names one. A running plugin keeps its old file.
///
/// # Errors
/// When the source cannot be read or the target cannot be written.
pub fn install_plugin(settings: &Settings) -> Result<Option<PathBuf>, HostFileError> {
    let Some(source) = &settings.plugin_source else { return Ok(None) };
    let target = settings.host_cni_bin_path.join(PLUGIN);
    let mut from = File::open(source).map_err(|error| HostFileError { action: "read", path: source.clone(), error })?;
    match replace(&target, 0o755, |file| io::copy(&mut from, file).map(|_| ())) {
        Ok(()) => Ok(Some(target)),
        Err(error) => Err(HostFileError { action: "install", path: target, error }),
    }
}

/// Replaces a file so that a reader sees either the old or the new one, whole.
fn replace(path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut temporary = path.to_owned().into_os_string();
    // The runtime takes only names that end in .conf, .conflist or .json.
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    // A left-over with another mode would keep it.
    let _ = std::fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    let done = fill(&mut file).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&temporary, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use freeboard_settings::Environment;

    use super::*;

    fn settings(directory: &Path, more: &[(&str, &str)]) -> Settings {
        let mut environment: Environment =
            more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for (name, part) in [("HOST_CNI_CONFDIR_PATH", "net.d"), ("HOST_CNI_BIN_PATH", "bin")] {
            environment.insert(name.to_owned(), directory.join(part).display().to_string());
        }
        Settings::parse(&environment).unwrap().0
    }

    #[test]
    fn the_configuration_has_the_incumbents_fields() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), &[("POD_MTU", "1500"), ("FREEBOARD_SOCKET", "/run/x.sock")]);
        write_conflist(&settings, settings.effective_pod_mtu()).unwrap();
        let text = std::fs::read_to_string(directory.path().join("net.d/10-aws.conflist")).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["name"], "aws-cni");
        assert_eq!(list["cniVersion"], "1.0.0");
        assert_eq!(list["plugins"][0]["type"], "aws-cni");
        assert_eq!(list["plugins"][0]["mtu"], "1500");
        assert_eq!(list["plugins"][0]["vethPrefix"], "eni");
        assert_eq!(list["plugins"][0]["agentSocket"], "/run/x.sock");
        assert_eq!(list["plugins"][0]["tombstoneDir"], Value::Null);
        assert_eq!(list["plugins"][0]["capabilities"]["portMappings"], true);
        assert_eq!(list["plugins"].as_array().unwrap().len(), 1, "no plugin has to follow for host ports");
        assert_eq!(std::fs::read_dir(directory.path().join("net.d")).unwrap().count(), 1);
        withdraw_conflist(&settings).unwrap();
        withdraw_conflist(&settings).unwrap();
        assert_eq!(std::fs::read_dir(directory.path().join("net.d")).unwrap().count(), 0);
    }

    #[test]
    fn the_plugin_is_replaced_under_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("plugin");
        std::fs::write(&source, "new").unwrap();
        let settings = settings(directory.path(), &[("FREEBOARD_PLUGIN_SOURCE", source.to_str().unwrap())]);
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        std::fs::write(directory.path().join("bin/aws-cni"), "old").unwrap();
        let target = install_plugin(&settings).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o755);
        std::fs::remove_file(&source).unwrap();
        let message = install_plugin(&settings).unwrap_err().to_string();
        assert!(message.starts_with("cannot read ") && message.contains("plugin"), "{message}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "new");
    }
}
