//! A signal: words that a program is known to write, and what they show.

use crate::{Declaration, Kind};

/// Where a signal leads.
#[derive(Clone, Copy, Debug)]
pub enum Lead {
    /// The words alone prove the finding.
    Proves(&'static Declaration),
    /// Single occurrences belong to a healthy life; from this many in one file on, the finding is made.
    Repeated(&'static Declaration, u64),
    /// A pod got no address; the words do not say why.
    NoAddress,
    /// No node could be added; the words do not say why.
    NoNode,
    /// Tells something of the circumstances, and nothing wrong.
    Context,
}

impl Lead {
    /// The finding, if the signal leads to one.
    #[must_use]
    pub fn finding(self) -> Option<&'static Declaration> {
        match self {
            Self::Proves(declaration) | Self::Repeated(declaration, _) => Some(declaration),
            Self::NoAddress | Self::NoNode | Self::Context => None,
        }
    }
}

/// Words that a program is known to write.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// The words; case matters.
    pub text: &'static str,
    /// Further words that the same line must hold; empty when none.
    pub and: &'static str,
    /// Where they are written.
    pub written_to: &'static [Kind],
    /// Where they lead.
    pub lead: Lead,
    /// What they show, in a few words.
    pub shows: &'static str,
}

impl Signal {
    /// Whether a line that holds [`Signal::text`] shows this signal.
    #[must_use]
    pub fn holds_in(&self, line: &str) -> bool {
        self.and.is_empty() || line.contains(self.and)
    }
}
