//! Why the lab could not do something.

use std::io;

use crate::namespace::Namespace;

/// Why the lab could not do something.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A namespace could not be made or entered.
    #[error("cannot use the namespace of {name}: {source}")]
    Namespace {
        /// Whose namespace.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The network inside a namespace could not be set up.
    #[error("cannot {what} in the namespace of {name}: {source}")]
    Network {
        /// Whose namespace.
        name: String,
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be started, or did not become ready.
    #[error("{program} on {node}: {problem}")]
    Program {
        /// The program.
        program: String,
        /// The node that was to run it.
        node: String,
        /// What went wrong.
        problem: String,
    },
    /// The lab was asked for before [`isolate`](crate::isolate) had moved the program into namespaces of its own.
    #[error("the lab builds networks only inside namespaces of its own: call freeboard_lab::isolate() first in main")]
    NotIsolated,
    /// Nothing has this name.
    #[error("the lab has no {kind} {name:?}; it has: {known}")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The simulated cloud refused.
    #[error("the simulated cloud: {0}")]
    Cloud(String),
    /// A pod's network could not be made, checked or removed.
    #[error(transparent)]
    Cni(#[from] crate::runtime::CniError),
}

impl LabError {
    pub(crate) fn network(namespace: &Namespace, what: impl Into<String>, source: io::Error) -> Self {
        Self::Network { name: namespace.name().to_owned(), what: what.into(), source }
    }
}
