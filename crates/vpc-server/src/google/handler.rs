//! Finds the call that a request means, and answers it.

use bytes::Bytes;
use freeboard_gcp::{ApiError, Scope};
use http::{Method, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::{self, Api};
use super::server::GoogleServer;
use super::{compute, container, encode};
use crate::http_server::{Answer, Handler};

/// The longest that `wait` holds an answer back, as the real API has it.
const LONGEST_WAIT: jiff::SignedDuration = jiff::SignedDuration::from_secs(120);

/// Answers the requests of one connection.
pub(crate) struct GoogleHandler {
    server: GoogleServer,
}

/// A request, taken apart.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The parts of the path below the API's version.
    pub(crate) segments: Vec<String>,
    pub(crate) path: String,
    query: Vec<(String, String)>,
    body: Bytes,
}

/// What a call comes to.
pub(crate) enum Reply {
    /// An answer at once.
    Now(Value),
    /// The operation, once it is done.
    WhenDone { scope: Scope, name: String },
}

impl Call {
    /// The parts of the path, to match on.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// The first value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a query parameter has this value, once or among others.
    pub(crate) fn has_parameter(&self, name: &str, value: &str) -> bool {
        self.query.iter().any(|(key, found)| key == name && found == value)
    }

    /// The body, read as JSON; an empty one is an empty object.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`](freeboard_gcp::Status::InvalidArgument) that says where the body is wrong.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let text: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(text)
            .map_err(|error| ApiError::invalid(format!("Invalid JSON payload received. {error}")))
    }

    /// A path that does not take the call's method.
    pub(crate) fn wrong_method(&self) -> ApiError {
        failure::no_such_method(&self.method, &self.path)
    }

    /// A path that leads nowhere.
    pub(crate) fn no_such_path(&self) -> ApiError {
        failure::no_such_path(&self.path)
    }
}

impl GoogleHandler {
    pub(crate) fn new(server: GoogleServer) -> Self {
        Self { server }
    }

    async fn reply(&self, api: Api, call: &Call) -> Result<Value, ApiError> {
        let reply = match api {
            Api::Compute => compute::answer(&self.server, call)?,
            Api::Container => Reply::Now(container::answer(&self.server, call)?),
        };
        match reply {
            Reply::Now(value) => Ok(value),
            Reply::WhenDone { scope, name } => {
                let left = self.server.with_cloud(|cloud, now| {
                    cloud.operation(&scope, &name).map(|operation| operation.ends.duration_since(now).min(LONGEST_WAIT))
                })?;
                // Negative when it is done already.
                if let Ok(left) = std::time::Duration::try_from(left) {
                    tokio::time::sleep(left).await;
                }
                self.server.with_cloud(|cloud, now| {
                    let operation = cloud.operation(&scope, &name)?;
                    Ok(encode::compute_operation(cloud, operation, now))
                })
            }
        }
    }
}

impl Handler for GoogleHandler {
    async fn answer(&self, request: Request<Bytes>) -> Option<Answer> {
        let path = request.uri().path().to_owned();
        let found = [("/compute/v1/", Api::Compute), ("/v1/", Api::Container)]
            .into_iter()
            .find_map(|(prefix, api)| path.strip_prefix(prefix).map(|rest| (api, rest)));
        let Some((api, rest)) = found else {
            return Some(failure::answer(Api::Container, &failure::no_such_path(&path)));
        };
        let decode = |part: &str| {
            url::form_urlencoded::parse(format!("x={}", part.replace('+', "%2B")).as_bytes())
                .next()
                .map_or_else(String::new, |(_, value)| value.into_owned())
        };
        let query = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
        let call = Call {
            method: request.method().clone(),
            segments: rest.trim_end_matches('/').split('/').map(decode).collect(),
            query: query.into_owned().collect(),
            path,
            body: request.into_body(),
        };
        Some(match self.reply(api, &call).await {
            Ok(value) => failure::success(&value),
            Err(error) => failure::answer(api, &error),
        })
    }
}
