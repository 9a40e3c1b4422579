//! Reads one knob after the other from the environment and gathers what is wrong.

use std::collections::BTreeMap;
use std::fmt;

use crate::kind::Kind;

/// The environment: names and values.
pub type Environment = BTreeMap<String, String>;

/// One variable that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable.
    pub variable: &'static str,
    /// Its value as it was given.
    pub value: String,
    /// What was expected, and what to do.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}: expected {}", self.variable, self.value, self.expected)
    }
}

/// Everything that is wrong with the environment, in the order of the reference table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.problems))]
pub struct SettingsError {
    /// What is wrong; never empty.
    pub problems: Vec<Problem>,
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    match lines.as_slice() {
        [one] => format!("1 setting cannot be used: {one}"),
        many => format!("{} settings cannot be used: {}", many.len(), many.join("; ")),
    }
}

/// Reads values and gathers problems.
pub(crate) struct Reader<'a> {
    environment: &'a Environment,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(environment: &'a Environment) -> Self {
        Self { environment, problems: Vec::new() }
    }

    /// The value of `variable`; a variable that is empty counts as not set, because charts set empty texts.
    pub(crate) fn read<K: Kind>(
        &mut self,
        kind: &K,
        variable: &'static str,
        default: &'static str,
    ) -> Option<K::Value> {
        let given = self.environment.get(variable).map(|text| text.trim()).filter(|text| !text.is_empty());
        let value = kind.read(given.unwrap_or(default));
        if value.is_none() {
            let value = given.unwrap_or(default).to_owned();
            self.problems.push(Problem { variable, value, expected: kind.expected() });
        }
        value
    }
}
