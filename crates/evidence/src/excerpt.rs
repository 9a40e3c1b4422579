//! Short quotations: control characters removed, and cut around the words that matter.

use std::sync::Arc;

/// How long a quotation may be, in characters.
const MOST_CHARACTERS: usize = 300;

/// The text, cut to a readable length around `word`.
pub(crate) fn around(text: &str, word: &str) -> Arc<str> {
    let start = text.find(word).unwrap_or(0);
    let before = text[..start].char_indices().rev().nth(MOST_CHARACTERS / 3).map_or(0, |(index, _)| index);
    let (from, lead) =
        if text.chars().nth(MOST_CHARACTERS).is_none() || before == 0 { (0, "") } else { (before, "…") };
    let mut quotation = String::from(lead);
    let mut rest = text[from..].chars();
    quotation.extend(rest.by_ref().take(MOST_CHARACTERS).map(visible));
    if rest.next().is_some() {
        quotation.push('…');
    }
    quotation.trim().into()
}

/// Terminals must not be driven by evidence.
fn visible(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

#[cfg(test)]
mod tests {
    use super::around;

    #[test]
    fn a_long_line_is_cut_around_the_word_and_escapes_are_taken_out() {
        let text = format!("{}needle\u{1b}[31m{}", "a".repeat(1000), "ü".repeat(1000));
        let short = around(&text, "needle");
        assert!(short.contains("needle [31m"), "{short}");
        assert!(short.starts_with('…') && short.ends_with('…') && short.chars().count() < 310);
        assert_eq!(&*around("short", "x"), "short");
    }
}
