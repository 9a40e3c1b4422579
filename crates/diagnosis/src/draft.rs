//! Findings while they are being made: evidence is gathered under one id and one place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freeboard_address::{NodeName, PodKey};
use jiff::Timestamp;

use crate::{AppliedRemedy, Citation, Declaration, Figure, Finding, Kind, Place, Severity, Sighting};

/// How many citations a finding keeps: enough to look it up, not enough to drown in.
const MOST_CITATIONS: usize = 20;

/// A finding in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) declaration: &'static Declaration,
    pub(crate) place: Place,
    pub(crate) severity: Severity,
    pub(crate) summary: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) occurrences: u64,
    pub(crate) figures: Vec<Figure>,
    pub(crate) notes: Vec<String>,
    pub(crate) waiting_pods: BTreeSet<PodKey>,
    pub(crate) evidence: Vec<Citation>,
    pub(crate) kinds: BTreeSet<Kind>,
    pub(crate) files: BTreeSet<Arc<str>>,
    pub(crate) nodes: BTreeSet<NodeName>,
    pub(crate) seen: bool,
    pub(crate) words: BTreeMap<&'static str, String>,
    pub(crate) ruled_out: Vec<String>,
    pub(crate) not_ruled_out: Vec<String>,
    pub(crate) contradictions: Vec<String>,
}

impl Draft {
    fn new(declaration: &'static Declaration, place: Place) -> Self {
        Self {
            declaration,
            place,
            severity: declaration.severity,
            summary: None,
            since: None,
            until: None,
            occurrences: 0,
            figures: Vec::new(),
            notes: Vec::new(),
            waiting_pods: BTreeSet::new(),
            evidence: Vec::new(),
            kinds: BTreeSet::new(),
            files: BTreeSet::new(),
            nodes: BTreeSet::new(),
            seen: false,
            words: BTreeMap::new(),
            ruled_out: Vec::new(),
            not_ruled_out: Vec::new(),
            contradictions: Vec::new(),
        }
    }

    /// Adds what was seen.
    pub(crate) fn see(&mut self, sighting: &Sighting) -> &mut Self {
        self.seen = true;
        self.occurrences += sighting.count;
        self.since = earlier(self.since, sighting.first);
        self.until = self.until.max(sighting.last);
        if let Some(pod) = &sighting.subject.pod {
            self.waiting_pods.insert(pod.clone());
        }
        self.cite(&sighting.citation)
    }

    /// Adds a place in the evidence.
    pub(crate) fn cite(&mut self, citation: &Citation) -> &mut Self {
        self.kinds.insert(citation.kind);
        self.files.insert(Arc::clone(&citation.file));
        if self.evidence.len() < MOST_CITATIONS && !self.evidence.contains(citation) {
            self.evidence.push(citation.clone());
        }
        self
    }

    /// Adds a figure, once.
    pub(crate) fn figure(&mut self, what: &'static str, value: u64, of: Option<u64>) -> &mut Self {
        if !self.figures.iter().any(|figure| figure.what == what) {
            self.figures.push(Figure { what, value, of });
        }
        self
    }

    /// Adds a sentence, once.
    pub(crate) fn note(&mut self, sentence: impl Into<String>) -> &mut Self {
        let sentence = sentence.into();
        if !self.notes.contains(&sentence) {
            self.notes.push(sentence);
        }
        self
    }

    /// Fills in a word of the commands.
    pub(crate) fn word(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        self.words.entry(name).or_insert_with(|| value.into());
        self
    }

    /// Says what is wrong, in one sentence without a full stop.
    pub(crate) fn summarise(&mut self, summary: impl Into<String>) -> &mut Self {
        self.summary = Some(summary.into());
        self
    }

    fn finish(self) -> Finding {
        let remedies = self.declaration.remedies.iter().map(|remedy| AppliedRemedy {
            what: fill(remedy.what, &self.words),
            commands: remedy.commands.iter().map(|command| fill(command, &self.words)).collect(),
        });
        let remedies: Vec<AppliedRemedy> = remedies.collect();
        Finding {
            declaration: self.declaration,
            severity: self.severity,
            place: self.place,
            summary: self.summary.unwrap_or_else(|| self.declaration.title.to_owned()),
            since: self.since,
            until: self.until,
            figures: self.figures,
            notes: self.notes,
            evidence: self.evidence,
            sources: self.kinds.len(),
            computed: !self.seen && self.waiting_pods.is_empty(),
            waiting_pods: self.waiting_pods.into_iter().collect(),
            remedies,
            ruled_out: self.ruled_out,
            not_ruled_out: self.not_ruled_out,
            contradictions: self.contradictions,
        }
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Puts what is known in place of `{word}`, and `<word>` in place of what is not. Braces that hold more than a name, as in
/// JSON and in shell, are left alone.
pub(crate) fn fill(template: &str, words: &BTreeMap<&'static str, String>) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        text.push_str(&rest[..start]);
        let inside = &rest[start + 1..];
        let end = inside.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap_or(inside.len());
        let name = &inside[..end];
        if end > 0 && inside[end..].starts_with('}') {
            match words.get(name) {
                Some(value) => text.push_str(value),
                None => {
                    text.push('<');
                    text.push_str(&name.replace('_', "-"));
                    text.push('>');
                }
            }
            rest = &inside[end + 1..];
        } else {
            text.push('{');
            rest = inside;
        }
    }
    text.push_str(rest);
    text
}

/// All findings in the making.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    drafts: BTreeMap<(&'static str, Place), Draft>,
}

impl Drafts {
    /// The finding with this id at this place, new or begun.
    pub(crate) fn at(&mut self, declaration: &'static Declaration, place: Place) -> &mut Draft {
        self.drafts
            .entry((declaration.id, place))
            .or_insert_with_key(|(_, place)| Draft::new(declaration, place.clone()))
    }

    /// Whether anything with this id was found.
    pub(crate) fn has(&self, declaration: &Declaration) -> bool {
        self.drafts.keys().any(|(id, _)| *id == declaration.id)
    }

    /// All with this id.
    pub(crate) fn all(&mut self, declaration: &Declaration) -> impl Iterator<Item = &mut Draft> {
        self.drafts.values_mut().filter(move |draft| draft.declaration.id == declaration.id)
    }

    /// Every one.
    pub(crate) fn every(&mut self) -> impl Iterator<Item = &mut Draft> {
        self.drafts.values_mut()
    }

    /// Takes all with this id out.
    pub(crate) fn take(&mut self, declaration: &Declaration) -> Vec<Draft> {
        self.drafts.extract_if(.., |(id, _), _| *id == declaration.id).map(|(_, draft)| draft).collect()
    }

    /// Ends the making: the worst first, among equals the most fundamental, then the one with more pods waiting and more sources.
    pub(crate) fn finish(self, rank: impl Fn(&Declaration) -> usize) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.drafts.into_values().map(Draft::finish).collect();
        findings.sort_by_key(|finding| {
            let weight = std::cmp::Reverse((finding.waiting_pods.len(), finding.sources));
            (finding.severity, rank(finding.declaration), weight, finding.place.clone())
        });
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_and_other_braces_stay() {
        let words = BTreeMap::from([("subnet", "subnet-1".to_owned())]);
        assert_eq!(
            fill("tag {subnet} of {other_vpc} {Key=K} '{\"a\":1}' {", &words),
            "tag subnet-1 of <other-vpc> {Key=K} '{\"a\":1}' {"
        );
    }
}
