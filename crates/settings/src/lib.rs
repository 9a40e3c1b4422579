//! Every knob of the node agent: one declaration each, from which come parser, validation, reference table and introspection.
//!
//! Pure: the environment comes in as a map. A value of the wrong type or out of range is an error that names variable,
//! value and what was expected; all errors are reported at once, and nothing falls back to a default in silence.

mod check;
mod declare;
mod kind;
mod knob;
mod reader;
mod reference;

pub use check::{UnknownKey, ignored_variables, unknown_keys};
pub use declare::{LiveChange, Settings, knobs};
pub use kind::{
    AddressSource, Bind, CallRate, FullNodeTaint, LogDestination, LogLevel, Policy, RandomizeSnat, RangePreference,
};
pub use knob::{Apply, Knob, Notice, Origin, SettingValue};
pub use reader::{Environment, Problem, SettingsError};
pub use reference::markdown;
