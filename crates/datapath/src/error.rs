//! What can go wrong between Freeboard and the kernel.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// A request to the kernel that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The kernel refused one request; those before it in the same batch hold.
    #[error("the kernel refused to {request}: {}{}", .errno.desc().to_lowercase(), explained(.explanation))]
    Refused {
        /// The request as a phrase, for example `add rule from 10.0.208.9 lookup 2 priority 1536`.
        request: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own sentence; empty when it gave none.
        explanation: String,
    },
    /// A list kept changing while it was read.
    #[error(
        "the kernel's list of {what} changed during each of {attempts} readings: try again when the node is calmer"
    )]
    Interrupted {
        /// What was listed.
        what: &'static str,
        /// How often it was tried.
        attempts: u32,
    },
    /// A socket or file operation failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// The action as a phrase, for example `open a route netlink socket`.
        action: String,
        /// Why.
        source: io::Error,
    },
    /// The path names no network namespace.
    #[error("network namespace {} cannot be entered: {source}; the sandbox is gone or the path is wrong", .path.display())]
    NoNamespace {
        /// The path as it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value cannot be used.
    #[error("{what} {value:?} cannot be used: expected {expected}")]
    BadValue {
        /// What the value is for.
        what: &'static str,
        /// The value as it was given.
        value: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A link that should exist does not.
    #[error("there is no link {0}")]
    NoLink(String),
    /// Something that should exist in the kernel does not.
    #[error("missing: {0}")]
    Missing(String),
    /// Several steps failed, each on its own.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Self>),
}

impl DatapathError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Success when nothing failed, the one error when one did, else [`DatapathError::Several`].
    pub(crate) fn collected(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

fn explained(explanation: &str) -> String {
    if explanation.is_empty() { String::new() } else { format!(" ({explanation})") }
}
