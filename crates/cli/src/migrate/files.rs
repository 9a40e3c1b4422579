//! The files of a node that the evidence reader does not know: lists of CNI plugins and the agent's checkpoint.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// Where a runtime looks for its configuration, below a node's root.
const CONFIGURATIONS: &str = "etc/cni/net.d";
/// Where the agent keeps its state; `/var/run` is a link to `/run` that leads out of a root that is not `/`.
const CHECKPOINTS: [&str; 2] = ["run/aws-node/ipam.json", "var/run/aws-node/ipam.json"];
/// The tables that iptables-legacy uses, where the kernel has them loaded.
const LEGACY_TABLES: &str = "proc/net/ip_tables_names";
/// The version of a checkpoint that Freeboard reads.
const CHECKPOINT_VERSION: &str = "vpc-cni-ipam/1";
/// Neither kind of file is ever this large.
const MOST_BYTES: u64 = 16 << 20;
/// Directories below this are not a dump.
const DEEPEST: u8 = 12;

/// A file with what it says.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) value: Value,
}

/// What was found of nodes' files.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeFiles {
    /// Lists of plugins, in the order in which a runtime takes them.
    pub(super) lists: Vec<Found>,
    /// Checkpoints.
    pub(super) checkpoints: Vec<Found>,
    /// Files that one would have to understand and cannot: the path, and why.
    pub(super) broken: Vec<(PathBuf, String)>,
    /// The tables that iptables-legacy uses on the node itself.
    pub(super) legacy_tables: Vec<String>,
}

impl NodeFiles {
    /// Takes what there is at a path, and below it.
    ///
    /// # Errors
    /// When the path itself cannot be read.
    pub(super) fn find(&mut self, path: &Path) -> Result<()> {
        let found = self.walk(path, DEEPEST).with_context(|| format!("cannot read {}", path.display()));
        self.lists.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }

    /// Takes a node's own files.
    ///
    /// # Errors
    /// When there is neither a configuration nor a checkpoint.
    pub(super) fn read_node(&mut self, root: &Path) -> Result<()> {
        let configurations = root.join(CONFIGURATIONS);
        self.walk(&configurations, 1).with_context(|| {
            format!("cannot read {}: expected the root of a node, for example --root /", configurations.display())
        })?;
        self.lists.sort_by(|one, other| one.path.cmp(&other.path));
        if let Some(checkpoint) = CHECKPOINTS.iter().map(|path| root.join(path)).find(|path| path.is_file()) {
            self.take(&checkpoint).with_context(|| format!("cannot read {}", checkpoint.display()))?;
        }
        // A kernel without the old tables has no such file.
        let tables = fs::read_to_string(root.join(LEGACY_TABLES)).unwrap_or_default();
        self.legacy_tables.extend(tables.split_whitespace().map(str::to_owned));
        Ok(())
    }

    fn walk(&mut self, path: &Path, depth: u8) -> std::io::Result<()> {
        if !path.is_dir() {
            return self.take(path);
        }
        if depth == 0 {
            return Ok(());
        }
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            // What cannot be read below a directory that was named is somebody else's.
            let _ = self.walk(&entry, depth - 1);
        }
        Ok(())
    }

    fn take(&mut self, path: &Path) -> std::io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_list = [".conflist", ".conf"].iter().any(|end| name.ends_with(end));
        let is_checkpoint = name.starts_with("ipam") && name.ends_with(".json");
        if !(is_list || is_checkpoint) || fs::metadata(path)?.len() > MOST_BYTES {
            return Ok(());
        }
        let value: Value = match serde_json::from_slice(&fs::read(path)?) {
            Ok(value) => value,
            // A `.conf` may be anybody's.
            Err(error) if is_checkpoint || name.ends_with(".conflist") => {
                self.broken.push((path.to_owned(), format!("it is not JSON ({error})")));
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        let found = Found { path: path.to_owned(), value };
        if is_list && (found.value["plugins"].is_array() || found.value["type"].is_string()) {
            self.lists.push(found);
        } else if is_checkpoint {
            let version = found.value["version"].as_str().unwrap_or_default();
            if version == CHECKPOINT_VERSION {
                self.checkpoints.push(found);
            } else {
                let why = format!("its version is {version:?}; expected {CHECKPOINT_VERSION:?}");
                self.broken.push((path.to_owned(), why));
            }
        }
        Ok(())
    }
}
