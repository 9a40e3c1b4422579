//! What is known about a knob besides its value.

use serde::Serialize;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Apply {
    /// The engine can take a new value while it runs.
    Live,
    /// Read once, at start.
    Start,
}

/// Who defined the variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The Amazon VPC CNI; the name and its meaning are a contract.
    VpcCni,
    /// The AWS SDKs.
    Sdk,
    /// Freeboard.
    Freeboard,
}

/// One knob, as the reference table shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Knob {
    /// The environment variable.
    pub variable: &'static str,
    /// What is accepted, as the end of the sentence "expected …".
    pub expected: String,
    /// The default, as a text that would be accepted; empty is "not set".
    pub default: &'static str,
    /// When a change takes effect.
    pub apply: Apply,
    /// Who defined it.
    pub origin: Origin,
    /// What it does, in one sentence or two.
    pub help: &'static str,
}

/// One knob's value in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingValue {
    /// The environment variable.
    pub variable: &'static str,
    /// The value in use, as text.
    pub value: String,
    /// Whether it differs from the default.
    pub changed: bool,
    /// When a change takes effect.
    pub apply: Apply,
}

/// Something about the environment that a person should know and that does not stop the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(pub String);
