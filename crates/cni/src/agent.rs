//! Calls to the agent: gRPC over its unix socket, one call per connection, each with a deadline.
//!
//! A call is one HTTP/2 stream, so `h2` and `prost` are all it takes; a whole gRPC stack would double the executable and the
//! time to start it.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use prost::Message;
use tokio::net::UnixStream;

/// gRPC's code for a service or method that the server does not have.
const UNIMPLEMENTED: u32 = 12;
/// Bytes in front of a message: whether it is compressed, and its length.
const MESSAGE_HEADER_BYTES: usize = 5;
/// More than any answer of the agent.
const LONGEST_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the agent cannot be reached at {}: {source}", .socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("the agent did not answer {method} within {seconds} s")]
    NoAnswer { method: &'static str, seconds: u64 },
    #[error("the connection to the agent broke during {method}: {reason}")]
    Broken { method: &'static str, reason: String },
    #[error("the agent refused {method}: {message} (gRPC code {code})")]
    Status { method: &'static str, code: u32, message: String },
}

impl CallError {
    /// Whether the agent has no such method: it is the Amazon VPC CNI's.
    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Status { code: UNIMPLEMENTED, .. })
    }

    /// Whether the agent says that it holds nothing for this attachment. The incumbent's text is all it gives to know that by.
    pub(crate) fn is_unknown_pod(&self) -> bool {
        matches!(self, Self::Status { message, .. } if message.contains("datastore: unknown pod"))
    }
}

/// The request of the standard health service; the empty name asks for the whole server.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// The reply of the standard health service.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HealthReply {
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
}

impl HealthReply {
    /// The status of a server that serves.
    pub(crate) const SERVING: i32 = 1;
}

/// The agent of this node.
pub(crate) struct Agent {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Agent {
    /// An agent that listens at `socket`; nothing is connected yet.
    pub(crate) fn at(socket: &Path) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket: socket.to_owned(), runtime })
    }

    /// Calls `method`, the path of a unary gRPC method, and waits at most `deadline` from connecting to the whole answer.
    pub(crate) fn call<Reply: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        let work = exchange(&self.socket, method, encode(request), deadline);
        let answer = self.runtime.block_on(within(deadline, method, work))?;
        Reply::decode(answer).map_err(|e| CallError::Broken { method, reason: format!("unreadable answer: {e}") })
    }
}

async fn within<T>(
    deadline: Duration,
    method: &'static str,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let late = CallError::NoAnswer { method, seconds: deadline.as_secs() };
    tokio::time::timeout(deadline, work).await.unwrap_or(Err(late))
}

fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(length + MESSAGE_HEADER_BYTES);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

async fn exchange(socket: &Path, method: &'static str, body: Bytes, deadline: Duration) -> Result<Bytes, CallError> {
    let unreachable = |source| CallError::Unreachable { socket: socket.to_owned(), source };
    let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
    let broken = |error: h2::Error| CallError::Broken { method, reason: error.to_string() };
    let (client, connection) = h2::client::handshake(stream).await.map_err(broken)?;
    // The connection is driven until the runtime goes; its error, if any, also ends the stream below.
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", deadline.as_millis()))
        .body(())
        .map_err(|e| CallError::Broken { method, reason: e.to_string() })?;
    let mut client = client.ready().await.map_err(broken)?;
    let (response, mut sender) = client.send_request(request, false).map_err(broken)?;
    sender.send_data(body, true).map_err(broken)?;
    let response = response.await.map_err(broken)?;
    let (head, mut body) = response.into_parts();
    let (answer, trailers) = receive(&mut body).await.map_err(broken)?;
    // A refusal without a body has its status in the headers.
    check_status(method, trailers.as_ref().unwrap_or(&head.headers))?;
    unwrap_message(answer).ok_or_else(|| CallError::Broken { method, reason: "the answer is cut off".to_owned() })
}

async fn receive(body: &mut RecvStream) -> Result<(BytesMut, Option<HeaderMap>), h2::Error> {
    let mut answer = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        if answer.len() + chunk.len() > LONGEST_ANSWER_BYTES {
            return Err(h2::Reason::ENHANCE_YOUR_CALM.into());
        }
        answer.extend_from_slice(&chunk);
    }
    Ok((answer, body.trailers().await?))
}

fn check_status(method: &'static str, headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name: &str| headers.get(name).map(|value| percent_decoded(value.as_bytes()));
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(CallError::Status { method, code, message: text("grpc-message").unwrap_or_default() }),
        None => Err(CallError::Broken { method, reason: "the answer has no gRPC status".to_owned() }),
    }
}

fn unwrap_message(mut answer: BytesMut) -> Option<Bytes> {
    let header = answer.get(..MESSAGE_HEADER_BYTES)?;
    let length = usize::try_from(u32::from_be_bytes(header[1..].try_into().ok()?)).ok()?;
    let is_plain = header[0] == 0;
    let message = answer.split_off(MESSAGE_HEADER_BYTES);
    (is_plain && message.len() == length).then(|| message.freeze())
}

/// gRPC writes bytes outside of printable ASCII as `%` and two hexadecimal digits.
fn percent_decoded(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_refusals_are_decoded() {
        assert_eq!(percent_decoded(b"1 error: %C3%A4 100% %zz %4"), "1 error: ä 100% %zz %4");
    }

    #[test]
    fn a_cut_answer_is_no_answer() {
        let whole = encode(&HealthReply { status: 1 });
        for end in 0..whole.len() {
            assert_eq!(unwrap_message(BytesMut::from(&whole[..end])), None);
        }
        assert!(unwrap_message(BytesMut::from(&whole[..])).is_some());
    }

    #[test]
    fn an_unknown_pod_is_known_by_the_incumbents_text() {
        let status = |message: &str| CallError::Status { method: "x", code: 2, message: message.to_owned() };
        assert!(status("1 error occurred:\n\t* datastore: unknown pod\n\n").is_unknown_pod());
        assert!(!status("datastore: something else").is_unknown_pod());
    }
}
