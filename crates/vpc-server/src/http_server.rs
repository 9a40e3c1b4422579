//! One HTTP/1.1 server for the three services: accept, read the whole request, answer or hang up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The longest body that is read, in bytes. EC2 requests are a few kilobytes; user data is at most 16 kB.
const LONGEST_BODY_BYTES: usize = 1 << 20;
/// How long a connection may stay without a request.
const IDLE: Duration = Duration::from_secs(120);
/// How long to wait after accept failed, which it does while the process is out of file descriptors.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// An answer, ready to be sent.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What answers the requests of one connection.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The answer; none closes the connection without one.
    fn answer(&self, request: Request<Bytes>) -> impl Future<Output = Option<Answer>> + Send;
}

/// Serves every connection of `listener` until `shutdown` turns true; `open` makes a connection's handler.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    mut shutdown: watch::Receiver<bool>,
    open: impl Fn(&TcpStream) -> std::io::Result<H>,
) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = ended(&mut shutdown) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                    continue;
                }
            },
        };
        // Answers are small and written at once; waiting for more would add 40 ms to each.
        let handler = stream.set_nodelay(true).and_then(|()| open(&stream));
        match handler {
            Ok(handler) => {
                connections.spawn(serve_connection(stream, Arc::new(handler)));
            }
            Err(error) => tracing::debug!(%error, "the connection was gone before its first request"),
        }
    }
    connections.shutdown().await;
}

/// Waits until `shutdown` turns true, or nobody is left who could turn it.
pub(crate) async fn ended(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|end| *end).await;
}

async fn serve_connection<H: Handler>(stream: TcpStream, handler: Arc<H>) {
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { answer(request, handler.as_ref()).await }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    let connection =
        server.timer(TokioTimer::new()).header_read_timeout(IDLE).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

/// An answer that is never sent: hyper closes the connection on an error of the service.
#[derive(Debug, thiserror::Error)]
#[error("the answer is withheld on purpose")]
struct Withheld;

async fn answer<H: Handler>(request: Request<Incoming>, handler: &H) -> Result<Answer, Withheld> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, LONGEST_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 1048576 bytes, or broke off"));
        }
    };
    handler.answer(Request::from_parts(parts, body)).await.ok_or(Withheld)
}

/// An answer of this status, type and body.
pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    answer
}

/// A plain text answer.
pub(crate) fn plain(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain", body)
}
