//! The checkpoint's file: read at start, replaced as a whole by each write, set aside when it cannot be used.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use freeboard_pool::CheckpointState;
use jiff::Timestamp;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::checkpoint;

/// The file and its directory.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    in_memory: bool,
}

/// What was found at start.
#[derive(Debug)]
pub enum Loaded {
    /// No file: the first start, or a reboot (the file lies on a tmpfs).
    Absent,
    /// The state as it was last written.
    Restored(CheckpointState),
    /// A file that cannot be used; it lies under its new name for a person to look at.
    Quarantined {
        /// Where it lies now.
        moved_to: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The file could not be read, moved or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct StoreError {
    action: &'static str,
    path: PathBuf,
    #[source]
    error: io::Error,
}

impl Store {
    /// The store at `path`. Makes the directory (0755), and removes temporary files that an earlier process left when it died
    /// during a write.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut store = Self { path: path.to_owned(), in_memory: false };
        std::fs::create_dir_all(store.directory()).map_err(|error| store.error("make the directory of", error))?;
        store.in_memory = is_in_memory(store.directory());
        let directory = store.directory();
        let entries = std::fs::read_dir(directory).map_err(|error| store.error("list the directory of", error))?;
        let leftover = store.temporary_prefix();
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&leftover) {
                tracing::info!(file = %entry.path().display(), "removing a temporary file of an interrupted write");
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(store)
    }

    /// Whether the file lies in memory, as `/run` does, so that a write waits for no disk.
    #[must_use]
    pub const fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Makes and removes an empty file, so that a read-only directory is told at start and not by the first pod.
    ///
    /// # Errors
    /// When the directory cannot be written to.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        let probe = self.directory().join(format!("{}probe", self.temporary_prefix()));
        File::create(&probe).map_err(|error| self.error("write (AWS_VPC_K8S_CNI_BACKING_STORE)", error))?;
        let _ = std::fs::remove_file(&probe);
        Ok(())
    }

    /// Reads the file. One that is torn, corrupt or of another version is renamed to `<name>.corrupt-<time>`.
    ///
    /// # Errors
    /// When the file exists and cannot be read or renamed.
    pub fn load(&self, now: Timestamp) -> Result<Loaded, StoreError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Absent),
            Err(error) => return Err(self.error("read", error)),
        };
        match checkpoint::decode(&text) {
            Ok(state) => Ok(Loaded::Restored(state)),
            Err(reason) => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".corrupt-{}", now.strftime("%Y%m%dT%H%M%S%.fZ")));
                let moved_to = PathBuf::from(name);
                std::fs::rename(&self.path, &moved_to).map_err(|error| self.error("set aside", error))?;
                Ok(Loaded::Quarantined { moved_to, reason: reason.to_string() })
            }
        }
    }

    /// Replaces the file so that after any crash either the old or the new text is there, whole: temporary file (0600), fsync,
    /// rename, fsync of the directory.
    ///
    /// # Errors
    /// When any of these fails; the old file is then still there.
    pub fn write(&self, text: &[u8]) -> Result<(), StoreError> {
        let temporary = self.directory().join(format!("{}{}", self.temporary_prefix(), std::process::id()));
        let written = write_durably(&temporary, text);
        if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, &self.path)) {
            let _ = std::fs::remove_file(&temporary);
            return Err(self.error("write", error));
        }
        let directory = File::open(self.directory()).and_then(|directory| directory.sync_all());
        directory.map_err(|error| self.error("sync the directory of", error))
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("/"))
    }

    /// The incumbent's temporary files begin the same way.
    fn temporary_prefix(&self) -> String {
        format!("{}.tmp", self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    fn error(&self, action: &'static str, error: io::Error) -> StoreError {
        StoreError { action, path: self.path.clone(), error }
    }
}

/// What cannot be told is taken for a disk.
fn is_in_memory(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

fn write_durably(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/ipam.json");
        let store = Store::open(&path).unwrap();
        assert!(matches!(store.load(now()).unwrap(), Loaded::Absent));
        store.write(&checkpoint::encode(&CheckpointState::default()).unwrap()).unwrap();
        store.write(&checkpoint::encode(&CheckpointState::default()).unwrap()).unwrap();
        assert!(matches!(store.load(now()).unwrap(), Loaded::Restored(_)));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_temporary_file_of_an_interrupted_write_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipam.json");
        std::fs::write(directory.path().join("ipam.json.tmp123"), "{").unwrap();
        std::fs::write(directory.path().join("other.json"), "{}").unwrap();
        Store::open(&path).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other.json"]);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_set_aside_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipam.json");
        let store = Store::open(&path).unwrap();
        for text in
            ["", "{\"version\":\"vpc-cni-ipam/1\",\"alloc", "{\"version\":\"vpc-cni-ipam/9\"}", "null", "\u{0}\u{0}"]
        {
            std::fs::write(&path, text).unwrap();
            let Loaded::Quarantined { moved_to, reason } = store.load(now()).unwrap() else {
                panic!("{text:?} was used")
            };
            assert_eq!(moved_to, directory.path().join("ipam.json.corrupt-20260102T030405Z"));
            assert_eq!(std::fs::read_to_string(&moved_to).unwrap(), text);
            assert!(reason.contains("vpc-cni-ipam/1"), "{reason}");
            assert!(!path.exists());
        }
    }
}
