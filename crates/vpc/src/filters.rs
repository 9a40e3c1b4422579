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
