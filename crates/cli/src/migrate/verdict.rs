//! One line of the answer: a subject, what becomes of it, and what to do about it.

use serde::Serialize;

/// What becomes of something, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It stays as it is, or nobody notices.
    Safe,
    /// Somebody may notice.
    Changes,
    /// It would not work any more.
    Unsupported,
}

impl Verdict {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Safe => "Safe:",
            Self::Changes => "Would change, or is not known:",
            Self::Unsupported => "Not supported:",
        }
    }

    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Safe => "✓",
            Self::Changes => "!",
            Self::Unsupported => "✗",
        }
    }

    pub(super) fn summary(self) -> &'static str {
        match self {
            Self::Safe => "Freeboard can take over these nodes; their pods will not notice.",
            Self::Changes => {
                "Freeboard can take over these nodes, and their pods will not notice. Read the lines marked ! first."
            }
            Self::Unsupported => "Keep the Amazon VPC CNI until the lines marked ✗ are dealt with.",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) verdict: Verdict,
    /// What it is about.
    pub(super) subject: String,
    /// What becomes of it, as the rest of a sentence.
    pub(super) says: String,
    /// Where in the input it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<String>,
    /// What a person can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Line {
    pub(super) fn safe(subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Safe, subject.into(), says.into())
    }

    pub(super) fn changes(subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Changes, subject.into(), says.into())
    }

    pub(super) fn unsupported(subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Unsupported, subject.into(), says.into())
    }

    fn new(verdict: Verdict, subject: String, says: String) -> Self {
        Self { verdict, subject, says, place: None, remedy: None }
    }

    pub(super) fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    pub(super) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// A name, and how many more there are.
pub(super) fn and_more(first: impl std::fmt::Display, count: usize) -> String {
    match count {
        0 | 1 => first.to_string(),
        _ => format!("{first} and {} more", count - 1),
    }
}
