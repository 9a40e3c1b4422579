//! What can be found, declared once: id, severity, meaning, remedies, and what it must be told apart from.

use std::fmt;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Broken now.
    Broken,
    /// Will break, or is wrong.
    Wrong,
    /// Advice: a healthy system may have it.
    Advice,
}

impl Severity {
    /// The sign before a finding.
    #[must_use]
    pub fn mark(self) -> char {
        match self {
            Self::Broken => '✗',
            Self::Wrong => '!',
            Self::Advice => 'i',
        }
    }

    /// The severity in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken now",
            Self::Wrong => "will break, or is wrong",
            Self::Advice => "advice",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A remedy. Words in braces stand for what the evidence names: `{subnet}`, `{vpc}`, `{zone}`, `{node}`, `{cluster}`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What to do, as one sentence.
    pub what: &'static str,
    /// The commands, ready to paste once the words in braces are filled in; may be empty.
    pub commands: &'static [&'static str],
}

/// Another cause with the same symptom, which the evidence may rule out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// The subnet is full.
    Exhaustion,
    /// Free addresses, but no aligned block.
    Fragmentation,
    /// The instance type's limits.
    InterfaceLimits,
    /// The cloud refuses calls at this rate.
    Throttling,
    /// The node's role may not make the call.
    Permissions,
    /// Addresses are held after use.
    CoolDown,
    /// The range of the nodes' own addresses is full.
    NodeRange,
    /// Another quota, or no machine to be had.
    OtherQuota,
}

impl Alternative {
    /// What people call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhaustion => "a full subnet",
            Self::Fragmentation => "fragmentation",
            Self::InterfaceLimits => "interface limits",
            Self::Throttling => "throttling",
            Self::Permissions => "permissions",
            Self::CoolDown => "cool-down",
            Self::NodeRange => "node range",
            Self::OtherQuota => "quota or stock of machines",
        }
    }
}

/// What can be found.
#[derive(Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The word that people see everywhere; where the pool engine knows the cause, it is the cause's word.
    pub id: &'static str,
    /// How bad it is, unless the evidence says that it is over.
    pub severity: Severity,
    /// One line.
    pub title: &'static str,
    /// What it means and how it comes about, in whole sentences.
    pub means: &'static str,
    /// What to do, the best first.
    pub remedies: &'static [Remedy],
    /// What looks the same, and is checked.
    pub apart_from: &'static [Alternative],
}
