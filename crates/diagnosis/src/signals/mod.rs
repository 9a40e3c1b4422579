//! What programs are known to write, and what it shows: the table that the scanner of log lines and messages is built from.

mod agent;
mod causes;
mod cluster;
mod plugin;

use std::sync::LazyLock;

use crate::Signal;

/// Every signal. A line may show several.
pub static SIGNALS: LazyLock<Vec<&'static Signal>> = LazyLock::new(|| {
    [causes::SIGNALS, agent::SIGNALS, plugin::SIGNALS, cluster::SIGNALS].into_iter().flatten().collect()
});

/// Shortens the tables: text, further text, what it shows.
macro_rules! signals {
    ($kinds:expr; $($lead:expr => [$(($text:literal, $and:literal, $shows:literal)),* $(,)?]),* $(,)?) => {
        &[$($($crate::Signal { text: $text, and: $and, written_to: $kinds, lead: $lead, shows: $shows },)*)*]
    };
}
use signals;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SIGNALS;
    use crate::{Lead, catalogue};

    #[test]
    fn no_two_signals_are_the_same_and_none_is_too_short_to_be_sure() {
        let mut seen = BTreeSet::new();
        for signal in SIGNALS.iter() {
            assert!(seen.insert((signal.text, signal.and)), "{:?} stands twice", signal.text);
            assert!(signal.text.len() >= 8, "{:?} may stand for anything", signal.text);
        }
    }

    #[test]
    fn every_signal_leads_to_a_declared_finding_or_says_that_it_does_not() {
        let declared: BTreeSet<&str> = catalogue::all().map(|declaration| declaration.id).collect();
        for signal in SIGNALS.iter() {
            if let Lead::Proves(declaration) | Lead::Repeated(declaration, _) = signal.lead {
                assert!(declared.contains(declaration.id), "{}", declaration.id);
            }
        }
    }
}
