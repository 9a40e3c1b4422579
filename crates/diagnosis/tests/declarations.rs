//! The declarations hold together, and the causes of the pool engine have the same words here.

use std::collections::BTreeSet;

use freeboard_diagnosis::{Facts, Lead, SIGNALS, catalogue, diagnose};
use freeboard_pool::Cause;

#[test]
fn every_cause_of_a_refusal_is_a_finding_of_the_same_name_and_is_recognised() {
    for cause in Cause::ALL {
        let finding = catalogue::find(cause.as_str()).unwrap_or_else(|| panic!("{cause} is no finding"));
        assert_eq!(finding.id, cause.as_str());
        let word = format!("[{cause}]");
        let signal = SIGNALS.iter().find(|signal| signal.text == word).unwrap_or_else(|| panic!("{word} is no signal"));
        assert_eq!(signal.lead.finding().map(|one| one.id), Some(cause.as_str()));
    }
}

#[test]
fn ids_are_words_of_their_own_and_texts_are_whole_sentences() {
    let mut ids = BTreeSet::new();
    for declaration in catalogue::all() {
        assert!(ids.insert(declaration.id), "{} stands twice", declaration.id);
        assert!(declaration.id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", declaration.id);
        assert!(declaration.means.ends_with('.') && declaration.means.len() > 60, "{}", declaration.id);
        assert!(!declaration.title.ends_with('.'), "{}", declaration.id);
        for remedy in declaration.remedies {
            assert!(remedy.what.ends_with('.'), "{}: {}", declaration.id, remedy.what);
        }
    }
}

#[test]
fn every_row_of_the_signal_table_that_means_trouble_leads_somewhere() {
    let troubles = SIGNALS.iter().filter(|signal| !matches!(signal.lead, Lead::Context)).count();
    assert!(troubles > 120, "{troubles} signals");
}

#[test]
fn no_facts_lead_to_no_findings() {
    assert!(diagnose(&Facts::default()).findings.is_empty());
}
