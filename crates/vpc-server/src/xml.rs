//! Writes the XML of the EC2 Query protocol: no indentation, lists as `<item>`, text escaped.

use std::fmt::Display;

use quick_xml::escape::escape;

use freeboard_vpc::ApiError;

const DECLARATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// A document under construction. Elements are closed by construction: what opens one takes the closure that fills it.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

/// A value that is written as the content of an element.
pub(crate) trait Encode {
    /// Appends the children of the element that stands for this value.
    fn encode(&self, xml: &mut Xml);
}

impl Xml {
    /// The answer of a successful `action`: the envelope, the request id and what `body` appends.
    pub(crate) fn response(action: &str, request_id: &str, body: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self(String::from(DECLARATION));
        xml.0.push_str(&format!("<{action}Response xmlns=\"{NAMESPACE}\">"));
        xml.text("requestId", request_id);
        body(&mut xml);
        xml.0.push_str(&format!("</{action}Response>"));
        xml.0
    }

    /// The answer of a refused call.
    #[must_use]
    pub(crate) fn error(error: &ApiError, request_id: &str) -> String {
        let mut xml = Self(String::from(DECLARATION));
        xml.element("Response", |xml| {
            xml.element("Errors", |xml| {
                xml.element("Error", |xml| {
                    xml.text("Code", &error.code);
                    xml.text("Message", &error.message);
                });
            });
            xml.text("RequestID", request_id);
        });
        xml.0
    }

    /// `<name>value</name>`.
    pub(crate) fn text(&mut self, name: &str, value: impl Display) {
        self.0.push_str(&format!("<{name}>{}</{name}>", escape(value.to_string().as_str())));
    }

    /// `<name>value</name>`, or nothing.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// `<name>…</name>` around what `content` appends.
    pub(crate) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.0.push_str(&format!("<{name}>"));
        let start = self.0.len();
        content(self);
        if self.0.len() == start {
            self.0.truncate(start - 1);
            self.0.push_str("/>");
        } else {
            self.0.push_str(&format!("</{name}>"));
        }
    }

    /// `<name>…</name>` around a value.
    pub(crate) fn value(&mut self, name: &str, value: &impl Encode) {
        self.element(name, |xml| value.encode(xml));
    }

    /// `<name><item>…</item>…</name>`, each item filled by `encode`; an empty list is `<name/>`.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut encode: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for item in items {
                xml.element("item", |xml| encode(xml, item));
            }
        });
    }

    /// A list of values that know how to write themselves.
    pub(crate) fn values<'v, T: Encode + 'v>(&mut self, name: &str, values: impl IntoIterator<Item = &'v T>) {
        self.list(name, values, |xml, value| value.encode(xml));
    }

    /// The answer of an action that returns nothing else.
    pub(crate) fn done(&mut self) {
        self.text("return", true);
    }
}

/// A point in time as EC2 writes it, with milliseconds: `2012-07-01T21:45:27.000Z`.
#[must_use]
pub(crate) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_envelope_without_white_space() {
        let text = Xml::response("DescribeTags", "r-1", |xml| {
            xml.list("tagSet", ["a<b", "c"], |xml, key| xml.text("key", key));
            xml.list("none", [0; 0], |xml, _| xml.text("never", 0));
            xml.optional("nextToken", None::<&str>);
        });
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <DescribeTagsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>\
             <tagSet><item><key>a&lt;b</key></item><item><key>c</key></item></tagSet><none/></DescribeTagsResponse>"
        );
    }

    #[test]
    fn an_error_has_no_namespace_and_a_capital_request_id() {
        let text = Xml::error(&ApiError::new("InvalidAction", "no & such"), "r-2");
        assert!(text.ends_with(
            "<Response><Errors><Error><Code>InvalidAction</Code><Message>no &amp; such</Message></Error></Errors>\
             <RequestID>r-2</RequestID></Response>"
        ));
    }

    #[test]
    fn times_carry_milliseconds() {
        assert_eq!(time("2012-07-01T21:45:27Z".parse().unwrap()), "2012-07-01T21:45:27.000Z");
    }
}
