//! Network and mount namespaces, and work done inside them.
//!
//! A namespace is entered by a thread made for the work, never by the caller's: what the thread opens or starts (a socket, a
//! listener, a process) stays in the namespace, and the caller's thread is never in the wrong one.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::LabError;

/// A network namespace, and for a node a mount namespace with it. Cloning shares it; it lives as long as a clone, a process,
/// a link or a pin does.
#[derive(Clone, Debug)]
pub struct Namespace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    network: Arc<OwnedFd>,
    mounts: Option<File>,
}

impl Namespace {
    /// Makes an empty network namespace. `name` is for messages.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(name: impl Into<String>) -> Result<Self, LabError> {
        let name = name.into();
        let network = on_new_thread(&name, || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
            File::open("/proc/thread-self/ns/net")
        })
        .map_err(|source| LabError::Namespace { name: name.clone(), source })?;
        Ok(Self { inner: Arc::new(Inner { name, network: Arc::new(network.into()), mounts: None }) })
    }

    /// The caller's own network, without mounts of its own.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn current(name: impl Into<String>) -> Result<Self, LabError> {
        let name = name.into();
        let network = File::open("/proc/thread-self/ns/net")
            .map_err(|source| LabError::Namespace { name: name.clone(), source })?;
        Ok(Self { inner: Arc::new(Inner { name, network: Arc::new(network.into()), mounts: None }) })
    }

    /// A network namespace that a program has pinned at `path` in this namespace's mounts.
    ///
    /// # Errors
    /// When there is none.
    pub fn open_pinned(&self, path: &Path) -> Result<Self, LabError> {
        let name = path.display().to_string();
        let network =
            self.run(|| File::open(path))?.map_err(|source| LabError::Namespace { name: name.clone(), source })?;
        Ok(Self { inner: Arc::new(Inner { name, network: Arc::new(network.into()), mounts: None }) })
    }

    /// Makes an empty network namespace together with a mount namespace in which `prepare` has mounted what it needs.
    ///
    /// # Errors
    /// When the kernel refuses, or `prepare` fails.
    pub fn create_with_mounts(
        name: impl Into<String>,
        prepare: impl FnOnce() -> io::Result<()> + Send,
    ) -> Result<Self, LabError> {
        let name = name.into();
        let (network, mounts) = on_new_thread(&name, || {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(io::Error::from)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            prepare()?;
            Ok((File::open("/proc/thread-self/ns/net")?, File::open("/proc/thread-self/ns/mnt")?))
        })
        .map_err(|source| LabError::Namespace { name: name.clone(), source })?;
        Ok(Self { inner: Arc::new(Inner { name, network: Arc::new(network.into()), mounts: Some(mounts) }) })
    }

    /// Makes an empty network namespace and pins it at `path` in this namespace's mounts, as a container runtime does for a
    /// sandbox.
    ///
    /// # Errors
    /// When the file exists already, or the kernel refuses.
    pub fn create_pinned(&self, name: impl Into<String>, path: &Path) -> Result<Self, LabError> {
        let name = name.into();
        let network = self.run(|| {
            File::create_new(path)?;
            unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
            mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            File::open("/proc/thread-self/ns/net")
        });
        match network {
            Ok(Ok(network)) => {
                Ok(Self { inner: Arc::new(Inner { name, network: Arc::new(network.into()), mounts: None }) })
            }
            Ok(Err(source)) => Err(LabError::Namespace { name, source }),
            Err(error) => Err(error),
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The network namespace as an open file, for netlink messages that name it.
    #[must_use]
    pub fn network(&self) -> &Arc<OwnedFd> {
        &self.inner.network
    }

    /// Does `work` inside, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        on_new_thread(&self.inner.name, || {
            self.enter()?;
            Ok(work())
        })
        .map_err(|source| LabError::Namespace { name: self.inner.name.clone(), source })
    }

    /// Does `work` inside, on a thread of its own, without blocking the asynchronous caller.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub async fn run_async<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, LabError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let namespace = self.clone();
        let failed = |source| LabError::Namespace { name: self.inner.name.clone(), source };
        thread::Builder::new()
            .name(self.inner.name.clone())
            .spawn(move || {
                let outcome = namespace.enter().map(|()| work());
                // The caller may have gone; then nobody wants the outcome.
                let _ = sender.send(outcome);
            })
            .map_err(failed)?;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the work panicked"))).map_err(failed)
    }

    /// Moves the calling thread inside, for good.
    pub(crate) fn enter(&self) -> io::Result<()> {
        if let Some(mounts) = &self.inner.mounts {
            // A thread may change its mounts only when it shares its directories with no other thread.
            unshare(CloneFlags::CLONE_FS)?;
            setns(mounts, CloneFlags::CLONE_NEWNS)?;
        }
        setns(&self.inner.network, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }
}

fn on_new_thread<T: Send>(name: &str, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work)?;
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the work panicked")))
    })
}
