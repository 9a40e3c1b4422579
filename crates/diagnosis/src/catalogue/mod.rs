//! Everything that can be found, declared once; the pages under docs/findings are written from here.

/// Declares findings as constants, and their list.
macro_rules! findings {
    ($($name:ident = $id:literal, $severity:ident, $title:literal;
        means: $means:literal;
        remedies: [$($what:literal => [$($command:literal),* $(,)?]),* $(,)?];
        apart_from: [$($apart:ident),* $(,)?];
    )*) => {
        $(
            #[doc = $title]
            pub static $name: $crate::Declaration = $crate::Declaration {
                id: $id,
                severity: $crate::Severity::$severity,
                title: $title,
                means: $means,
                remedies: &[$($crate::Remedy { what: $what, commands: &[$($command),*] }),*],
                apart_from: &[$($crate::Alternative::$apart),*],
            };
        )*
        /// The findings of this group.
        pub(super) static GROUP: &[&$crate::Declaration] = &[$(&$name),*];
    };
}

mod cloud;
mod interfaces;
mod node;
mod ranges;
mod settings;
mod shortage;
mod state;

pub use cloud::*;
pub use interfaces::*;
pub use node::*;
pub use ranges::*;
pub use settings::*;
pub use shortage::*;
pub use state::*;

use crate::Declaration;

/// The groups: first what empties a pool, last what is only advice. A finding that explains another stands before it.
const GROUPS: [&[&Declaration]; 7] =
    [shortage::GROUP, ranges::GROUP, cloud::GROUP, state::GROUP, interfaces::GROUP, node::GROUP, settings::GROUP];

/// Everything that can be found, in the order in which findings of the same severity are told.
pub fn all() -> impl Iterator<Item = &'static Declaration> {
    GROUPS.iter().flat_map(|group| group.iter().copied())
}

/// The finding with this id; case does not matter.
#[must_use]
pub fn find(id: &str) -> Option<&'static Declaration> {
    all().find(|declaration| declaration.id.eq_ignore_ascii_case(id))
}

/// The place of a finding in [`all`].
pub(crate) fn rank(declaration: &Declaration) -> usize {
    all().position(|one| one.id == declaration.id).unwrap_or(usize::MAX)
}
