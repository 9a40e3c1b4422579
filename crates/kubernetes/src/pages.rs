//! Answers of the API server as the text that it sends: lists page by page, so that a cluster of any size needs little memory here,
//! and single documents.

use http::{HeaderMap, HeaderValue, Request};
use kube::{Client, Error};
use serde::Deserialize;

/// How many objects a page has: as many as kubectl asks for at once.
const PAGE_OBJECTS: usize = 500;

/// A list, page by page.
pub struct Pages {
    client: Client,
    path: String,
    /// What the server wants to be told for the next page; empty for the first one.
    token: String,
    is_at_end: bool,
}

/// The part of a list that says how it goes on.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: HeadMetadata,
}

#[derive(Default, Deserialize)]
struct HeadMetadata {
    #[serde(default, rename = "continue")]
    token: String,
}

impl Pages {
    /// The list at a path of the API, for example `/api/v1/nodes`.
    #[must_use]
    pub fn of(client: &Client, path: &str) -> Self {
        Self { client: client.clone(), path: path.to_owned(), token: String::new(), is_at_end: false }
    }

    /// The next page, as JSON; none after the last one.
    ///
    /// # Errors
    /// What the server answers, or what is in the way to it. A list that the server does not remember any more (410) is one of them:
    /// it must be begun again.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        if self.is_at_end {
            return Ok(None);
        }
        let mut path = format!("{}?limit={PAGE_OBJECTS}", self.path);
        if !self.token.is_empty() {
            path.push_str("&continue=");
            path.push_str(&escaped(&self.token));
        }
        let text = text(&self.client, &path, &HeaderMap::new()).await?;
        self.token = serde_json::from_str::<Head>(&text).map_err(Error::SerdeError)?.metadata.token;
        self.is_at_end = self.token.is_empty();
        Ok(Some(text))
    }
}

/// What a GET of a path of the API answers.
///
/// # Errors
/// What the server answers, or what is in the way to it.
pub async fn text(client: &Client, path: &str, headers: &HeaderMap<HeaderValue>) -> Result<String, Error> {
    let mut request = Request::get(path).body(Vec::new()).map_err(Error::HttpError)?;
    request.headers_mut().extend(headers.clone());
    client.request_text(request).await
}

/// A text as a value in a query.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::{Head, escaped};

    #[test]
    fn the_token_of_the_next_page_is_read_and_written_safely() {
        let read = |text: &str| serde_json::from_str::<Head>(text).unwrap().metadata.token;
        assert_eq!(
            read(r#"{"kind":"NodeList","metadata":{"continue":"a+b/c=","resourceVersion":"7"},"items":[{}]}"#),
            "a+b/c="
        );
        assert_eq!(read(r#"{"kind":"NodeList","metadata":{"resourceVersion":"7"},"items":[]}"#), "");
        assert_eq!(escaped("a+b/c="), "a%2Bb%2Fc%3D");
    }
}
