//! A refusal as each of the two APIs writes it.

use freeboard_gcp::{ApiError, Status};
use http::StatusCode;
use serde_json::{Value, json};

use crate::http_server::{Answer, typed};

/// Which API is asked: they write refusals differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Compute,
    Container,
}

/// The answer that refuses.
pub(crate) fn answer(api: Api, error: &ApiError) -> Answer {
    let status = error.status;
    let mut value = json!({
        "code": status.http_status(),
        "message": error.message,
        "errors": [{ "message": error.message, "domain": "global", "reason": status.reason() }],
    });
    if api == Api::Container {
        value["status"] = json!(status.canonical_name());
    }
    let code = StatusCode::from_u16(status.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_answer(code, &json!({ "error": value }))
}

/// The answer that gives what was asked for.
pub(crate) fn success(value: &Value) -> Answer {
    json_answer(StatusCode::OK, value)
}

fn json_answer(code: StatusCode, value: &Value) -> Answer {
    typed(code, "application/json; charset=UTF-8", format!("{value:#}\n"))
}

/// A path that leads nowhere here.
pub(crate) fn no_such_path(path: &str) -> ApiError {
    ApiError::new(Status::NotFound, format!("The simulated cloud serves no {path}."))
}

/// A path that does not take this method.
pub(crate) fn no_such_method(method: &http::Method, path: &str) -> ApiError {
    ApiError::new(Status::MethodNotAllowed, format!("{path} does not take {method}."))
}
