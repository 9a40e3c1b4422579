//! Durable notes of deletions that the agent did not hear of.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use jiff::Timestamp;
use serde::Serialize;
use sha1::{Digest, Sha1};

use crate::invocation::Sandbox;

/// Where the agent looks for them, unless the configuration says otherwise.
pub(crate) const DEFAULT_DIRECTORY: &str = "/var/run/aws-node/tombstones";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tombstone<'a> {
    network_name: &'a str,
    #[serde(rename = "containerID")]
    container: &'a str,
    if_name: &'a str,
    #[serde(rename = "k8sPodNamespace")]
    pod_namespace: &'a str,
    #[serde(rename = "k8sPodName")]
    pod_name: &'a str,
    deleted_at: String,
}

/// Writes the note for this attachment, so that it survives a power failure when this returns.
pub(crate) fn write(directory: &Path, sandbox: &Sandbox) -> io::Result<PathBuf> {
    let tombstone = Tombstone {
        network_name: &sandbox.key.network,
        container: &sandbox.key.container,
        if_name: &sandbox.key.interface,
        pod_namespace: &sandbox.pod.namespace,
        pod_name: &sandbox.pod.name,
        deleted_at: Timestamp::now().to_string(),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let path = directory.join(file_name(sandbox));
    // The process number keeps two calls for the same attachment apart until the rename.
    let temporary = directory.join(format!(".{}.{}", file_name(sandbox), process::id()));
    let written = write_whole(&temporary, &serde_json::to_vec(&tombstone)?);
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, &path)) {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(directory)?.sync_all()?;
    Ok(path)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn file_name(sandbox: &Sandbox) -> String {
    use std::fmt::Write;
    let mut name = String::with_capacity(45);
    for byte in Sha1::digest(sandbox.key.to_string().as_bytes()) {
        let _ = write!(name, "{byte:02x}");
    }
    name + ".json"
}
