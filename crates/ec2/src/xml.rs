//! Reading of EC2's XML: lists of `<item>`, tag sets, and open enumerations.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// Reads the body of a successful answer. Root name and namespace do not matter, as for the official parsers.
pub(crate) fn read<T: DeserializeOwned>(body: &str) -> Result<T, quick_xml::DeError> {
    quick_xml::de::from_str(body)
}

#[derive(Deserialize)]
struct Items<T> {
    #[serde(rename = "item", default = "Vec::new")]
    items: Vec<T>,
}

/// Reads `<set><item>…</item>…</set>`; an empty set is an empty list.
pub(crate) fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Items::deserialize(deserializer).map(|set| set.items)
}

#[derive(Deserialize)]
struct TagItem {
    key: String,
    #[serde(default)]
    value: String,
}

/// Reads `<tagSet><item><key/><value/></item>…</tagSet>`.
pub(crate) fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let tags: Vec<TagItem> = items(deserializer)?;
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

/// Reads a text that may be absent or empty; both mean "none".
pub(crate) fn non_empty<'de, D: Deserializer<'de>, T: From<String>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(T::from))
}

/// Declares an enumeration that EC2 may extend: what is not known is kept as text.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
        #[serde(from = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A value that this client does not know.
            Other(String),
        }

        impl $name {
            /// The text on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)* Self::Other(text) => text }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() { $($text => Self::$variant,)* _ => Self::Other(text) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use open_enum;

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(rename = "Code", default)]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

#[derive(Deserialize)]
struct ErrorList {
    #[serde(rename = "Error", default = "Vec::new")]
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "Errors")]
    errors: ErrorList,
    #[serde(rename = "RequestID", alias = "RequestId", alias = "requestId")]
    request_id: Option<String>,
}

/// The content of an error answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ErrorAnswer {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
}

/// Reads an error answer; none when the body is not one (a proxy's page, an empty body).
pub(crate) fn read_error(body: &str) -> Option<ErrorAnswer> {
    let body: ErrorBody = quick_xml::de::from_str(body).ok()?;
    let first = body.errors.errors.into_iter().next()?;
    Some(ErrorAnswer { code: first.code, message: first.message, request_id: body.request_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_is_read_and_anything_else_is_not() {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>InvalidSubnetID.NotFound</Code>\
                    <Message>The subnet ID 'subnet-1' does not exist</Message></Error></Errors><RequestID>r-1</RequestID></Response>";
        let answer = read_error(body).unwrap();
        assert_eq!(answer.code, "InvalidSubnetID.NotFound");
        assert_eq!(answer.message, "The subnet ID 'subnet-1' does not exist");
        assert_eq!(answer.request_id.as_deref(), Some("r-1"));
        for other in
            ["", "<html><body>502 Bad Gateway</body></html>", "{\"message\":\"no\"}", "<Response><Errors/></Response>"]
        {
            assert_eq!(read_error(other), None, "{other}");
        }
    }

    #[test]
    fn an_empty_set_is_an_empty_list() {
        #[derive(Deserialize)]
        struct Sample {
            #[serde(rename = "tagSet", default, deserialize_with = "tags")]
            tags: BTreeMap<String, String>,
        }
        for body in ["<r><tagSet/></r>", "<r><tagSet></tagSet></r>", "<r/>"] {
            assert!(read::<Sample>(body).unwrap().tags.is_empty(), "{body}");
        }
        let body = "<r xmlns=\"http://x/\"><tagSet><item><key>a</key><value/></item><item><key>b</key><value>1 &amp; 2</value></item></tagSet></r>";
        let tags = read::<Sample>(body).unwrap().tags;
        assert_eq!(tags.get("a").map(String::as_str), Some(""));
        assert_eq!(tags.get("b").map(String::as_str), Some("1 & 2"));
    }
}
