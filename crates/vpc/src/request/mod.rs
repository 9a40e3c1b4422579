//! What callers ask of the cloud: one struct per EC2 action, already decoded.

mod interfaces;
mod network;

pub use interfaces::*;
pub use network::*;

use crate::filters::Filter;
use crate::model::Tag;

/// A Describe call: the named resources, or all, narrowed by filters, a page at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Describe<Id> {
    /// The resources asked for; all when empty. An unknown one is refused.
    pub ids: Vec<Id>,
    /// All of them must hold.
    pub filters: Vec<Filter>,
    /// The longest page wanted; everything in one page when none.
    pub max_results: Option<u32>,
    /// Where the last page ended.
    pub next_token: Option<String>,
}

impl<Id> Default for Describe<Id> {
    fn default() -> Self {
        Self { ids: Vec::new(), filters: Vec::new(), max_results: None, next_token: None }
    }
}

impl<Id> Describe<Id> {
    /// Asks for these resources by id.
    #[must_use]
    pub fn by_id(ids: impl IntoIterator<Item = Id>) -> Self {
        Self { ids: ids.into_iter().collect(), ..Self::default() }
    }

    /// Asks for what passes these filters.
    #[must_use]
    pub fn by_filter(filters: impl IntoIterator<Item = Filter>) -> Self {
        Self { filters: filters.into_iter().collect(), ..Self::default() }
    }
}

/// One page of a Describe answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<Item> {
    /// The resources, in id order.
    pub items: Vec<Item>,
    /// Present when there may be more.
    pub next_token: Option<String>,
}

/// Tags for resources that the call creates, per resource type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagSpecification {
    /// The type that gets them, for example `network-interface`.
    pub resource_type: String,
    /// The tags.
    pub tags: Vec<Tag>,
}

/// CreateTags: sets these tags on all of these resources; a key that exists gets the new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateTags {
    /// The resources' ids, of any type.
    pub resources: Vec<String>,
    /// The tags.
    pub tags: Vec<Tag>,
}

/// DeleteTags: removes these tags from all of these resources; all their tags when none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteTags {
    /// The resources' ids, of any type.
    pub resources: Vec<String>,
    /// The keys, each with the value it must have to be removed, or none for any value.
    pub tags: Vec<TagKey>,
}

/// A tag to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagKey {
    /// Its key.
    pub key: String,
    /// The value it must have; any when none.
    pub value: Option<String>,
}
