//! Request parameters of the EC2 Query protocol: names, flattened lists, form encoding.

use std::collections::BTreeMap;
use std::fmt::Display;

/// The version of the EC2 API that the shapes are of.
pub(crate) const API_VERSION: &str = "2016-11-15";

/// A filter of a describe call: values are ORed, filters are ANDed; `*` and `?` are wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The filter's name, for example `vpc-id` or `tag:Name`.
    pub name: String,
    /// The accepted values, at most 200.
    pub values: Vec<String>,
}

impl Filter {
    /// The filter `name` that accepts any of `values`.
    pub fn new<V: Display>(name: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Self { name: name.into(), values: values.into_iter().map(|value| value.to_string()).collect() }
    }
}

/// The parameters of one request, kept sorted as text (`.1 .10 .2`), as the official clients send them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    pairs: BTreeMap<String, String>,
}

impl Parameters {
    /// Sets `name` to `value`.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Display) {
        self.pairs.insert(name.into(), value.to_string());
    }

    /// Sets `name` when there is a value.
    pub(crate) fn set_some<V: Display>(&mut self, name: &str, value: Option<V>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Sets `name.1`, `name.2` … as EC2 flattens a list.
    pub(crate) fn list<V: Display>(&mut self, name: &str, values: impl IntoIterator<Item = V>) {
        for (index, value) in values.into_iter().enumerate() {
            self.set(format!("{name}.{}", index + 1), value);
        }
    }

    /// Sets `name.1.field`, `name.2.field` … for a list of structures with one field that matters.
    pub(crate) fn list_of<V: Display>(&mut self, name: &str, field: &str, values: impl IntoIterator<Item = V>) {
        for (index, value) in values.into_iter().enumerate() {
            self.set(format!("{name}.{}.{field}", index + 1), value);
        }
    }

    /// Sets `Filter.N.Name` and `Filter.N.Value.M`.
    pub(crate) fn filters(&mut self, filters: &[Filter]) {
        for (index, filter) in filters.iter().enumerate() {
            let prefix = format!("Filter.{}", index + 1);
            self.set(format!("{prefix}.Name"), &filter.name);
            self.list(&format!("{prefix}.Value"), &filter.values);
        }
    }

    /// Sets `Tag.N.Key` and `Tag.N.Value` below `prefix` (empty, or ending in a dot).
    pub(crate) fn tags(&mut self, prefix: &str, tags: &BTreeMap<String, String>) {
        self.list_of(&format!("{prefix}Tag"), "Key", tags.keys());
        self.list_of(&format!("{prefix}Tag"), "Value", tags.values());
    }

    /// Sets `TagSpecification.1…`: tags that the object gets with its creation. Nothing when there are none, because EC2
    /// refuses an empty specification.
    pub(crate) fn tag_specification(&mut self, resource_type: &str, tags: &BTreeMap<String, String>) {
        if !tags.is_empty() {
            self.set("TagSpecification.1.ResourceType", resource_type);
            self.tags("TagSpecification.1.", tags);
        }
    }

    /// The parameters that describe calls have in common. Ids and a page size exclude each other (cloud-rules A.4).
    pub(crate) fn describe<I: Display>(ids_name: &str, ids: &[I], filters: &[Filter], page_size: Option<u32>) -> Self {
        let mut parameters = Self::default();
        parameters.list(ids_name, ids);
        parameters.filters(filters);
        parameters.set_some("MaxResults", page_size.filter(|_| ids.is_empty()));
        parameters
    }

    /// Sets the idempotency token; makes one when none is given, so that a repeated request is recognised.
    pub(crate) fn client_token(&mut self, given: Option<&str>) {
        let token = given.map_or_else(new_client_token, str::to_owned);
        self.set("ClientToken", token);
    }

    /// Whether a parameter of this name is set.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.pairs.contains_key(name)
    }

    /// The parameters, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The body of the request, `application/x-www-form-urlencoded`.
    pub(crate) fn encode(&self, action: &str) -> String {
        let mut body = url::form_urlencoded::Serializer::new(String::with_capacity(256));
        body.append_pair("Action", action).append_pair("Version", API_VERSION);
        body.extend_pairs(self.iter());
        body.finish()
    }
}

/// A token that no other call has: 128 random bits. Without entropy the time and a counter have to do.
fn new_client_token() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0_u8; 16];
    let number = match getrandom::fill(&mut bytes) {
        Ok(()) => u128::from_ne_bytes(bytes),
        Err(_) => {
            let nanoseconds = jiff::Timestamp::now().as_nanosecond().unsigned_abs();
            (nanoseconds << 16) ^ u128::from(COUNTER.fetch_add(1, Ordering::Relaxed))
        }
    };
    format!("freeboard-{number:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_flattened_and_sorted_as_text() {
        let mut parameters = Parameters::default();
        parameters.list("PrivateIpAddress", (1..=11).map(|last| format!("10.0.0.{last}")));
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name).take(4).collect();
        assert_eq!(names, ["PrivateIpAddress.1", "PrivateIpAddress.10", "PrivateIpAddress.11", "PrivateIpAddress.2"]);
    }

    #[test]
    fn a_body_is_form_encoded_and_names_action_and_version() {
        let mut parameters = Parameters::default();
        parameters.filters(&[Filter::new("tag:Name", ["a b", "c&d=e/é"])]);
        assert_eq!(
            parameters.encode("DescribeVpcs"),
            "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=tag%3AName&Filter.1.Value.1=a+b\
             &Filter.1.Value.2=c%26d%3De%2F%C3%A9"
        );
    }

    #[test]
    fn no_tags_make_no_specification() {
        let mut parameters = Parameters::default();
        parameters.tag_specification("subnet", &BTreeMap::new());
        assert_eq!(parameters, Parameters::default());
    }
}
