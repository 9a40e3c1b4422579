//! Lists in pages: `maxResults`, `pageToken`, and a filter that is refused.

use freeboard_gcp::ApiError;
use serde_json::{Map, Value, json};

use super::handler::Call;

/// The most items of a page, and how many a page has when nothing is said.
const LARGEST_PAGE: usize = 500;

/// One page of `items` as a compute list of this kind; the token of the next page is the number of items before it.
///
/// # Errors
/// [`Status::InvalidArgument`](freeboard_gcp::Status::InvalidArgument) for a token or size that is none, and for filters.
pub(crate) fn page(call: &Call, kind: &str, items: Vec<Value>) -> Result<Value, ApiError> {
    if let Some(filter) = call.parameter("filter").filter(|filter| !filter.is_empty()) {
        return Err(ApiError::invalid_field("filter", filter, "The simulated cloud does not understand filters."));
    }
    let size = match call.parameter("maxResults") {
        None => LARGEST_PAGE,
        Some(text) => match text.parse() {
            Ok(0) => LARGEST_PAGE,
            Ok(size) if size <= LARGEST_PAGE => size,
            Ok(_) | Err(_) => {
                return Err(ApiError::invalid_field("maxResults", text, "Must be between 0 and 500, inclusive."));
            }
        },
    };
    let first: usize = match call.parameter("pageToken").filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => {
            token.parse().map_err(|_| ApiError::invalid_field("pageToken", token, "It is not a token of this list."))?
        }
    };
    let mut list = Map::new();
    list.insert("kind".into(), json!(kind));
    let rest = items.len().saturating_sub(first);
    list.insert("items".into(), items.into_iter().skip(first).take(size).collect());
    if rest > size {
        list.insert("nextPageToken".into(), json!((first + size).to_string()));
    }
    Ok(Value::Object(list))
}
