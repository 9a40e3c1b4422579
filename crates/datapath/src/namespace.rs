//! Work done in another network namespace by the calling thread.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::DatapathError;

/// A network namespace, held open.
#[derive(Debug)]
pub struct NetworkNamespace {
    file: Arc<OwnedFd>,
    path: PathBuf,
}

impl NetworkNamespace {
    /// Opens the namespace pinned at `path`, for example `/var/run/netns/cni-…` or `/proc/<pid>/ns/net`.
    ///
    /// # Errors
    /// [`DatapathError::NoNamespace`] when nothing can be opened there.
    pub fn open(path: &Path) -> Result<Self, DatapathError> {
        let no_namespace = |source| DatapathError::NoNamespace { path: path.to_owned(), source };
        let file = File::open(path).map_err(no_namespace)?;
        let kind = fstatfs(&file).map_err(|errno| no_namespace(errno.into()))?.filesystem_type();
        if kind != NSFS_MAGIC {
            return Err(no_namespace(io::Error::other("the file is no namespace")));
        }
        Ok(Self { file: Arc::new(file.into()), path: path.to_owned() })
    }

    /// The calling thread's own namespace.
    ///
    /// # Errors
    /// [`DatapathError::NoNamespace`] when /proc is not mounted.
    pub fn current() -> Result<Self, DatapathError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The open file, for requests that name the namespace.
    #[must_use]
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Does `work` inside, on the calling thread, and comes back, also when `work` panics.
    ///
    /// A thread that cannot come back would send its packets in a foreign network, so the process ends then.
    ///
    /// # Errors
    /// [`DatapathError::NoNamespace`] when the file is no network namespace or must not be entered; `work` is not done.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, DatapathError> {
        let home = Return(Self::current()?);
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| DatapathError::NoNamespace { path: self.path.clone(), source: errno.into() })?;
        let outcome = work();
        drop(home);
        Ok(outcome)
    }
}

/// Brings the thread home when dropped.
struct Return(NetworkNamespace);

impl Drop for Return {
    fn drop(&mut self) {
        if setns(&self.0.file, CloneFlags::CLONE_NEWNET).is_err() {
            process::abort();
        }
    }
}
