//! Decodes the parameters of an EC2 Query request into typed values, with EC2's own errors for what is missing or malformed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::str::FromStr;

use freeboard_address::Cidr;
use freeboard_vpc::{ApiError, parse_address, parse_cidr};

/// The parameters of one request, by their name on the wire.
///
/// Every read marks its parameter as recognised; [`Query::finish`] refuses the request when one is left that the action
/// does not know, as EC2 does. Lists are flattened (`Name.1`, `Name.2` …) and are read in the order of their numbers,
/// whatever the order in which the parameters arrive.
#[derive(Debug)]
pub(crate) struct Query {
    parameters: BTreeMap<String, String>,
    recognised: RefCell<BTreeSet<String>>,
}

/// One structure of a flattened list: the parameters under `Name.<number>.`.
#[derive(Clone, Debug)]
pub(crate) struct Member<'q> {
    query: &'q Query,
    prefix: String,
}

/// Parameters that every request may carry and that name no input of the action: the protocol's own, and the signature's.
fn belongs_to_the_protocol(name: &str) -> bool {
    matches!(name, "Action" | "Version") || name.starts_with("X-Amz-")
}

impl Query {
    /// Reads `application/x-www-form-urlencoded` texts: the query of the URL and the body of a POST; a later value replaces an earlier one.
    #[must_use]
    pub(crate) fn from_forms<'t>(forms: impl IntoIterator<Item = &'t [u8]>) -> Self {
        let parameters = forms
            .into_iter()
            .flat_map(|form| url::form_urlencoded::parse(form).into_owned())
            .collect::<BTreeMap<_, _>>();
        Self { parameters, recognised: RefCell::default() }
    }

    /// The value of `name`, if the request carries it. An empty value counts as absent, as it does in EC2.
    #[must_use]
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.text_or_empty(name).filter(|value| !value.is_empty())
    }

    /// The value of `name`, where an empty one differs from none.
    #[must_use]
    pub(crate) fn text_or_empty(&self, name: &str) -> Option<&str> {
        let value = self.parameters.get(name)?;
        self.recognised.borrow_mut().insert(name.to_owned());
        Some(value)
    }

    /// The value of `name`.
    ///
    /// # Errors
    /// `MissingParameter` when the request does not carry it.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| ApiError::missing_parameter(name))
    }

    /// The value of `name` as a `T`.
    ///
    /// # Errors
    /// `InvalidParameterValue` when the text is no `T`; `expected` completes "expected …".
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| ApiError::invalid_value(&spoken(name), text, &format!("Expected {expected}.")))
            })
            .transpose()
    }

    /// The value of `name` as a count, zero or more.
    ///
    /// # Errors
    /// `InvalidParameterValue` when it is no whole number from 0 to 4294967295.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u32>, ApiError> {
        self.parsed(name, "a whole number, zero or more")
    }

    /// The value of `name`, `true` or `false`.
    ///
    /// # Errors
    /// `InvalidParameterValue` for any other text.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some("true" | "True" | "1") => Ok(Some(true)),
            Some("false" | "False" | "0") => Ok(Some(false)),
            Some(other) => Err(ApiError::invalid_value(&spoken(name), other, "Expected true or false.")),
        }
    }

    /// The value of `name` as an IPv4 address.
    ///
    /// # Errors
    /// `InvalidParameterValue` when it is none.
    pub(crate) fn address(&self, name: &str) -> Result<Option<Ipv4Addr>, ApiError> {
        self.text(name).map(|text| parse_address(&spoken(name), text)).transpose()
    }

    /// The value of `name` as an IPv4 block; host bits are cleared, as EC2 does.
    ///
    /// # Errors
    /// `InvalidParameterValue` when it is none.
    pub(crate) fn block(&self, name: &str) -> Result<Option<Cidr>, ApiError> {
        self.text(name).map(|text| parse_cidr(&spoken(name), text)).transpose()
    }

    /// The texts of the flattened list `name`, by rising number.
    #[must_use]
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        self.numbers(name).into_iter().filter_map(|number| self.text(&format!("{name}.{number}"))).collect()
    }

    /// The structures of the flattened list `name`, by rising number.
    #[must_use]
    pub(crate) fn members(&self, name: &str) -> Vec<Member<'_>> {
        let member = |number| Member { query: self, prefix: format!("{name}.{number}") };
        self.numbers(name).into_iter().map(member).collect()
    }

    /// The flattened list `name` as IPv4 addresses.
    ///
    /// # Errors
    /// `InvalidParameterValue` at the first that is none.
    pub(crate) fn addresses(&self, name: &str) -> Result<Vec<Ipv4Addr>, ApiError> {
        self.texts(name).into_iter().map(|text| parse_address(&spoken(name), text)).collect()
    }

    /// The flattened list `name` as IPv4 blocks.
    ///
    /// # Errors
    /// `InvalidParameterValue` at the first that is none.
    pub(crate) fn blocks(&self, name: &str) -> Result<Vec<Cidr>, ApiError> {
        self.texts(name).into_iter().map(|text| parse_cidr(&spoken(name), text)).collect()
    }

    /// The request itself as a structure: its fields have no prefix.
    #[must_use]
    pub(crate) fn root(&self) -> Member<'_> {
        Member { query: self, prefix: String::new() }
    }

    /// The names of all parameters, recognised or not.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.keys().map(String::as_str)
    }

    /// Recognises every parameter called `name` or under `name.`, and does nothing with it.
    ///
    /// For inputs of the real service that have no effect on the network, like the user data of an instance.
    pub(crate) fn ignore(&self, name: &str) {
        let under = format!("{name}.");
        let ignored = self.parameters.keys().filter(|key| *key == name || key.starts_with(&under));
        self.recognised.borrow_mut().extend(ignored.cloned());
    }

    /// Ends the decoding.
    ///
    /// # Errors
    /// `UnknownParameter` for the first parameter that no read has recognised.
    pub(crate) fn finish(&self) -> Result<(), ApiError> {
        let recognised = self.recognised.borrow();
        let unknown = self.parameters.keys().find(|name| !recognised.contains(*name) && !belongs_to_the_protocol(name));
        unknown.map_or(Ok(()), |name| Err(ApiError::unknown_parameter(name)))
    }

    fn numbers(&self, name: &str) -> BTreeSet<u32> {
        let under = format!("{name}.");
        let first_part = |key: &String| key.strip_prefix(&under)?.split('.').next()?.parse().ok();
        self.parameters
            .range(under.clone()..)
            .take_while(|(key, _)| key.starts_with(&under))
            .filter_map(|(key, _)| first_part(key))
            .collect()
    }
}

impl<'q> Member<'q> {
    /// The value of the member's field `name`, like [`Query::text`].
    #[must_use]
    pub(crate) fn text(&self, name: &str) -> Option<&'q str> {
        self.query.text(&self.key(name))
    }

    /// The value of the member's field `name`, like [`Query::text_or_empty`].
    #[must_use]
    pub(crate) fn text_or_empty(&self, name: &str) -> Option<&'q str> {
        self.query.text_or_empty(&self.key(name))
    }

    /// The value of the member's field `name`, like [`Query::required`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn required(&self, name: &str) -> Result<&'q str, ApiError> {
        self.query.required(&self.key(name))
    }

    /// The value of the member's field `name`, like [`Query::count`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u32>, ApiError> {
        self.query.count(&self.key(name))
    }

    /// The value of the member's field `name`, like [`Query::flag`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.query.flag(&self.key(name))
    }

    /// The value of the member's field `name`, like [`Query::address`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn address(&self, name: &str) -> Result<Option<Ipv4Addr>, ApiError> {
        self.query.address(&self.key(name))
    }

    /// The value of the member's field `name`, like [`Query::block`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn block(&self, name: &str) -> Result<Option<Cidr>, ApiError> {
        self.query.block(&self.key(name))
    }

    /// The texts of the member's list `name`, like [`Query::texts`].
    #[must_use]
    pub(crate) fn texts(&self, name: &str) -> Vec<&'q str> {
        self.query.texts(&self.key(name))
    }

    /// The structures of the member's list `name`, like [`Query::members`].
    #[must_use]
    pub(crate) fn members(&self, name: &str) -> Vec<Self> {
        self.query.members(&self.key(name))
    }

    /// The full name of the member's field `name` on the wire.
    #[must_use]
    pub(crate) fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }
}

/// The spelling that EC2's messages use for a parameter: `CidrBlock` is called `cidrBlock` there.
fn spoken(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::from_forms([text.as_bytes()])
    }

    #[test]
    fn a_list_is_read_by_number_and_not_by_text() {
        let request = query("A.10=ten&A.2=two&A.1=one&A.11=eleven&AB.1=x");
        assert_eq!(request.texts("A"), ["one", "two", "ten", "eleven"]);
    }

    #[test]
    fn structures_nest() {
        let request = query(
            "TagSpecification.1.ResourceType=subnet&TagSpecification.1.Tag.2.Key=b&TagSpecification.1.Tag.1.Key=a",
        );
        let [specification] = &request.members("TagSpecification")[..] else { panic!("one structure expected") };
        assert_eq!(specification.text("ResourceType"), Some("subnet"));
        let keys: Vec<_> = specification.members("Tag").iter().filter_map(|tag| tag.text("Key")).collect();
        assert_eq!(keys, ["a", "b"]);
        request.finish().unwrap();
    }

    #[test]
    fn what_no_action_reads_is_refused_by_name() {
        let request = query("Action=X&Version=2016-11-15&X-Amz-Date=d&SubnetId=subnet-1&Subnet=2");
        assert_eq!(request.text("SubnetId"), Some("subnet-1"));
        let error = request.finish().unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("UnknownParameter", "The parameter Subnet is not recognized")
        );
    }

    #[test]
    fn an_empty_or_malformed_value_is_named() {
        let request = query("CidrBlock=10.0.0.0&MaxResults=-1&Force=maybe&PrivateIpAddress=10.0.0&Empty=");
        assert_eq!(request.required("Empty").unwrap_err().code, "MissingParameter");
        assert_eq!(request.required("Absent").unwrap_err().message, "The request must contain the parameter Absent");
        let message = request.block("CidrBlock").unwrap_err().message;
        assert_eq!(message, "Value (10.0.0.0) for parameter cidrBlock is invalid. This is not a valid CIDR block.");
        for error in [request.count("MaxResults").unwrap_err(), request.flag("Force").unwrap_err()] {
            assert_eq!(error.code, "InvalidParameterValue");
        }
        assert!(request.address("PrivateIpAddress").unwrap_err().message.contains("(10.0.0)"));
    }
}
