//! A look at a served cloud: one GET, one JSON answer.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER_BYTES: usize = 64 << 20;

/// Why a served cloud could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// Nobody answers there.
    #[error("cannot reach {endpoint}: {source}; is `freeboard vpc serve-google` running?")]
    Unreachable {
        /// Where.
        endpoint: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The answer broke off, or is none of HTTP.
    #[error("{endpoint} does not answer as the simulated cloud does: {message}")]
    Broken {
        /// Where.
        endpoint: SocketAddr,
        /// What is wrong.
        message: String,
    },
    /// The cloud refused.
    #[error("{0}")]
    Refused(String),
}

/// Asks the Google-like cloud at `endpoint` for the object at `path`.
///
/// # Errors
/// [`GetError`]; a refusal is given in the cloud's own words.
pub async fn get(endpoint: SocketAddr, path: &str) -> Result<Value, GetError> {
    let stream = TcpStream::connect(endpoint).await.map_err(|source| GetError::Unreachable { endpoint, source })?;
    let broken = |error: &dyn std::fmt::Display| GetError::Broken { endpoint, message: error.to_string() };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // It ends with the sender, at the end of this function.
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(http::header::HOST, endpoint.to_string()).body(Empty::<Bytes>::new());
    let response =
        sender.send_request(request.map_err(|error| broken(&error))?).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| broken(&error))?.to_bytes();
    connection.abort();
    let value: Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    if status.is_success() {
        return Ok(value);
    }
    let message = value["error"]["message"].as_str().unwrap_or("refused without a reason");
    Err(GetError::Refused(format!("{message} ({status})")))
}
