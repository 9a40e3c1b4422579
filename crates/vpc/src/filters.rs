//! Filters of the Describe actions: values with wildcards, OR inside one filter, AND between filters.

use crate::error::ApiError;
use crate::model::Tag;

/// One filter of a Describe call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its name, for example `vpc-id` or `tag:Name`.
    pub name: String,
    /// The patterns, one of which must match; `*` is any text, `?` any character, `\` takes the next one literally.
    pub values: Vec<String>,
}

impl Filter {
    /// The filter `name` with these patterns.
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), values: values.into_iter().map(Into::into).collect() }
    }
}

/// A resource that filters can narrow.
pub trait Filterable {
    /// The resource's values under a filter name; none when its type has no such filter. Tags are asked for by
    /// [`Filterable::tags`] instead.
    fn filter_values(&self, name: &str) -> Option<Vec<String>>;

    /// The resource's tags, for `tag:K` and `tag-key`; none when its type is not filtered by tags.
    fn tags(&self) -> Option<&[Tag]>;
}

/// How many filters one call may have, and how many values all together.
const MOST_FILTERS: usize = 50;
const MOST_VALUES: usize = 200;

/// Whether a resource passes all filters.
///
/// # Errors
/// `InvalidParameterValue` for a filter that the resource's type does not have.
pub fn passes<T: Filterable + ?Sized>(resource: &T, filters: &[Filter]) -> Result<bool, ApiError> {
    let mut all_hold = true;
    // Every filter is looked at, so that an unknown one is refused also behind one that does not hold.
    for filter in filters {
        let values = values_of(resource, &filter.name)?;
        all_hold &= filter.values.iter().any(|pattern| values.iter().any(|value| matches(pattern, value)));
    }
    Ok(all_hold)
}

/// Checks the number of filters and values of one call.
pub(crate) fn check_filters(filters: &[Filter]) -> Result<(), ApiError> {
    let values: usize = filters.iter().map(|filter| filter.values.len()).sum();
    if filters.len() <= MOST_FILTERS && values <= MOST_VALUES {
        return Ok(());
    }
    let text = format!(
        "The request has {} filters with {values} values: expected at most {MOST_FILTERS} filters with {MOST_VALUES} values",
        filters.len()
    );
    Err(ApiError::new("FilterLimitExceeded", text))
}

fn values_of<T: Filterable + ?Sized>(resource: &T, name: &str) -> Result<Vec<String>, ApiError> {
    if let Some(tags) = resource.tags() {
        if let Some(key) = name.strip_prefix("tag:") {
            return Ok(tags.iter().filter(|tag| tag.key == key).map(|tag| tag.value.clone()).collect());
        }
        match name {
            "tag-key" => return Ok(tags.iter().map(|tag| tag.key.clone()).collect()),
            "tag-value" => return Ok(tags.iter().map(|tag| tag.value.clone()).collect()),
            _ => {}
        }
    }
    resource.filter_values(name).ok_or_else(|| ApiError::invalid_parameter(format!("The filter '{name}' is invalid")))
}

/// Whether a text fits a pattern: `*` is any text, `?` any character, `\` takes the next one literally. Case counts.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Where to go back to when a literal does not fit: behind the last `*`, one character further in the text.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    while let Some(character) = text.get(t) {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t + 1));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('\\') if pattern.get(p + 1) == Some(character) => Some(2),
            Some('\\') => None,
            Some(literal) if literal == character => Some(1),
            Some(_) | None => None,
        };
        match (step, retry) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((behind, further))) => {
                (p, t) = (behind, further);
                retry = Some((behind, further + 1));
            }
            (None, None) => return false,
        }
    }
    pattern.iter().skip(p).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(Vec<Tag>);

    impl Filterable for Thing {
        fn filter_values(&self, name: &str) -> Option<Vec<String>> {
            (name == "kind").then(|| vec!["thing".to_owned()])
        }

        fn tags(&self) -> Option<&[Tag]> {
            Some(&self.0)
        }
    }

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("*.compute.*", "ip-10-0-0-1.eu.compute.internal", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("aws-K8S-*", "aws-K8S-i-1", true),
            ("*a*b*", "xxaxxbxx", true),
            ("abc", "ABC", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn values_are_alternatives_and_filters_must_all_hold() {
        let thing = Thing(vec![Tag::new("Name", "one"), Tag::new("team", "net")]);
        let passes = |filters: &[Filter]| passes(&thing, filters).unwrap();
        assert!(passes(&[]));
        assert!(passes(&[Filter::new("kind", ["other", "thing"])]));
        assert!(passes(&[Filter::new("kind", ["thing"]), Filter::new("tag:Name", ["o*"])]));
        assert!(!passes(&[Filter::new("kind", ["thing"]), Filter::new("tag:Name", ["two"])]));
        assert!(passes(&[Filter::new("tag-key", ["team"])]));
        assert!(!passes(&[Filter::new("tag:absent", ["*"])]));
        assert!(!passes(&[Filter { name: "kind".to_owned(), values: Vec::new() }]));
    }

    #[test]
    fn an_unknown_filter_is_refused_by_name() {
        let error = passes(&Thing(Vec::new()), &[Filter::new("colour", ["red"])]).unwrap_err();
        assert_eq!(error.message, "The filter 'colour' is invalid");
        let many: Vec<Filter> = (0..51).map(|_| Filter::new("kind", ["thing"])).collect();
        assert_eq!(check_filters(&many).unwrap_err().code, "FilterLimitExceeded");
    }
}
