//! Which nodes a range is for: node selector terms with the semantics of Kubernetes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The labels of a node.
pub type Labels = BTreeMap<String, String>;

/// A choice of nodes. The terms are ORed, as Kubernetes documents it for node selectors (and as the multi-CIDR controller does
/// not do it: it ANDs them).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSelector {
    /// A node is chosen when one of these matches. No term matches no node.
    pub node_selector_terms: Vec<SelectorTerm>,
}

/// One term: all of its labels and expressions must hold. A term with none of either matches no node, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectorTerm {
    /// Labels that the node must have with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: Labels,
    /// Expressions that must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One expression over one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label is compared.
    pub operator: Operator,
    /// With what: at least one value for `In` and `NotIn`, none for `Exists` and `DoesNotExist`, one integer for `Gt` and `Lt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The label exists and has one of the values.
    In,
    /// The label does not exist or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
    /// The label is an integer above the value.
    Gt,
    /// The label is an integer below the value.
    Lt,
}

/// Why a selector is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorRefused {
    /// There is no term, or a term says nothing, so that it would match no node.
    #[error("the node selector matches no node: {0}; leave the selector out to match every node")]
    MatchesNothing(String),
    /// The number of values does not suit the operator.
    #[error("{operator:?} on label {key:?} takes {expected}, not {given:?}")]
    Values {
        /// The label's key.
        key: String,
        /// The operator.
        operator: Operator,
        /// What it takes.
        expected: &'static str,
        /// What was given.
        given: Vec<String>,
    },
    /// The key is empty.
    #[error("an expression of the node selector has an empty label key: name the label")]
    EmptyKey,
}

impl NodeSelector {
    /// A selector of the nodes that have this label with this value, for example those of one node pool.
    #[must_use]
    pub fn label(key: &str, value: &str) -> Self {
        let match_labels = Labels::from([(key.to_owned(), value.to_owned())]);
        Self { node_selector_terms: vec![SelectorTerm { match_labels, match_expressions: Vec::new() }] }
    }

    /// Whether a node with these labels is chosen.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(labels))
    }

    /// Checks that the selector can match something and is well formed.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), SelectorRefused> {
        if self.node_selector_terms.is_empty() {
            return Err(SelectorRefused::MatchesNothing("it has no term".to_owned()));
        }
        for (index, term) in self.node_selector_terms.iter().enumerate() {
            if term.match_labels.is_empty() && term.match_expressions.is_empty() {
                return Err(SelectorRefused::MatchesNothing(format!(
                    "term {index} has neither labels nor expressions"
                )));
            }
            term.match_expressions.iter().try_for_each(Requirement::check)?;
            if term.match_labels.contains_key("") {
                return Err(SelectorRefused::EmptyKey);
            }
        }
        Ok(())
    }

    /// The labels that the selector looks at.
    pub(crate) fn keys(&self) -> BTreeSet<&str> {
        let terms = self.node_selector_terms.iter();
        terms
            .flat_map(|term| {
                term.match_labels.keys().chain(term.match_expressions.iter().map(|expression| &expression.key))
            })
            .map(String::as_str)
            .collect()
    }
}

impl SelectorTerm {
    fn matches(&self, labels: &Labels) -> bool {
        let says_something = !self.match_labels.is_empty() || !self.match_expressions.is_empty();
        says_something
            && self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|expression| expression.holds(labels.get(&expression.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&String>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => !value.is_some_and(|value| self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => self.both_integers(value).is_some_and(|(value, bound)| value > bound),
            Operator::Lt => self.both_integers(value).is_some_and(|(value, bound)| value < bound),
        }
    }

    fn both_integers(&self, value: Option<&String>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }

    fn check(&self) -> Result<(), SelectorRefused> {
        if self.key.is_empty() {
            return Err(SelectorRefused::EmptyKey);
        }
        let expected = match self.operator {
            Operator::In | Operator::NotIn if self.values.is_empty() => "at least one value",
            Operator::Exists | Operator::DoesNotExist if !self.values.is_empty() => "no value",
            Operator::Gt | Operator::Lt if self.values.len() != 1 || self.bound().is_none() => "one integer",
            Operator::In
            | Operator::NotIn
            | Operator::Exists
            | Operator::DoesNotExist
            | Operator::Gt
            | Operator::Lt => return Ok(()),
        };
        let (key, given) = (self.key.clone(), self.values.clone());
        Err(SelectorRefused::Values { key, operator: self.operator, expected, given })
    }

    fn bound(&self) -> Option<i64> {
        self.values.first()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expression(key: &str, operator: Operator, values: &[&str]) -> NodeSelector {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let match_expressions = vec![Requirement { key: key.to_owned(), operator, values }];
        NodeSelector { node_selector_terms: vec![SelectorTerm { match_labels: Labels::new(), match_expressions }] }
    }

    #[test]
    fn operators_mean_what_they_mean_in_kubernetes() {
        let node = labels(&[("zone", "a"), ("cores", "8")]);
        let table = [
            ("zone", Operator::In, &["a", "b"][..], true),
            ("zone", Operator::In, &["b"], false),
            ("rack", Operator::In, &["a"], false),
            ("zone", Operator::NotIn, &["a"], false),
            ("zone", Operator::NotIn, &["b"], true),
            ("rack", Operator::NotIn, &["a"], true),
            ("zone", Operator::Exists, &[], true),
            ("rack", Operator::Exists, &[], false),
            ("rack", Operator::DoesNotExist, &[], true),
            ("zone", Operator::DoesNotExist, &[], false),
            ("cores", Operator::Gt, &["7"], true),
            ("cores", Operator::Gt, &["8"], false),
            ("cores", Operator::Lt, &["9"], true),
            ("zone", Operator::Lt, &["9"], false),
            ("rack", Operator::Gt, &["0"], false),
        ];
        for (key, operator, values, expected) in table {
            let selector = expression(key, operator, values);
            assert_eq!(selector.check(), Ok(()));
            assert_eq!(selector.matches(&node), expected, "{key} {operator:?} {values:?}");
        }
    }

    #[test]
    fn terms_are_ored_and_what_is_in_a_term_is_anded() {
        let mut selector = NodeSelector::label("zone", "a");
        selector.node_selector_terms.push(NodeSelector::label("zone", "b").node_selector_terms.remove(0));
        selector.node_selector_terms[1].match_labels.insert("disk".to_owned(), "ssd".to_owned());
        assert!(selector.matches(&labels(&[("zone", "a")])));
        assert!(!selector.matches(&labels(&[("zone", "b")])));
        assert!(selector.matches(&labels(&[("zone", "b"), ("disk", "ssd")])));
        assert_eq!(selector.keys().into_iter().collect::<Vec<_>>(), ["disk", "zone"]);
    }

    #[test]
    fn a_selector_that_can_match_nothing_is_refused_and_says_so() {
        let empty_term = NodeSelector { node_selector_terms: vec![SelectorTerm::default()] };
        for selector in [NodeSelector::default(), empty_term] {
            assert!(!selector.matches(&labels(&[("zone", "a")])));
            let message = selector.check().unwrap_err().to_string();
            assert!(message.contains("matches no node"), "{message}");
        }
        for (operator, values) in
            [(Operator::In, &[][..]), (Operator::Exists, &["x"]), (Operator::Gt, &["x"]), (Operator::Lt, &["1", "2"])]
        {
            let message = expression("zone", operator, values).check().unwrap_err().to_string();
            assert!(message.contains("zone") && message.contains("takes"), "{message}");
        }
        assert_eq!(expression("", Operator::Exists, &[]).check(), Err(SelectorRefused::EmptyKey));
    }

    #[test]
    fn reads_the_shape_of_kubernetes() {
        let text = r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}]}"#;
        let selector: NodeSelector = serde_json::from_str(text).unwrap();
        assert!(selector.matches(&labels(&[("zone", "a")])));
        assert_eq!(serde_json::to_string(&selector).unwrap(), text);
    }
}
