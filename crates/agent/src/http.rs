//! A small HTTP server for introspection and metrics: bounded connections, short deadlines, GET only.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::CONTENT_TYPE;
use ::http::{Method, Request, Response, StatusCode};
use freeboard_settings::Bind;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// The incumbent's read timeout.
const HEADERS: Duration = Duration::from_secs(5);
/// A connection may live this long, so that an idle scraper holds no slot.
const LIFE: Duration = Duration::from_secs(60);
/// A port that is taken is tried again; pods must not wait for it.
const RETRY: Duration = Duration::from_secs(5);

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    /// 200 with this JSON text.
    #[must_use]
    pub fn json(body: String) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body }
    }

    /// An error with this sentence.
    #[must_use]
    pub fn error(status: StatusCode, sentence: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{sentence}\n") }
    }
}

/// What answers: path and query to answer.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a GET of `path`.
    fn get(&self, path: &str) -> impl Future<Output = Answer> + Send;
}

/// Serves until the end of the process. `setting` is named when the address cannot be had.
pub async fn serve<H: Handler>(bind: Bind, setting: &'static str, handler: Arc<H>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let result = match &bind {
            Bind::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => tcp(listener, &slots, &handler).await,
                Err(error) => Err(error),
            },
            Bind::Unix(path) => match unix_listener(path) {
                Ok(listener) => unix(listener, &slots, &handler).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = result {
            tracing::error!(%error, "cannot listen on {setting}={bind}; trying again every {} s", RETRY.as_secs());
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn unix_listener(path: &Path) -> std::io::Result<UnixListener> {
    let listener = crate::socket::bind(path).map_err(|error| std::io::Error::other(error.to_string()))?;
    UnixListener::from_std(listener)
}

async fn tcp<H: Handler>(listener: TcpListener, slots: &Arc<Semaphore>, handler: &Arc<H>) -> std::io::Result<()> {
    loop {
        let Ok(slot) = Arc::clone(slots).acquire_owned().await else { return Ok(()) };
        let (stream, _) = listener.accept().await?;
        let handler = Arc::clone(handler);
        tokio::spawn(async move {
            connection(stream, handler).await;
            drop(slot);
        });
    }
}

async fn unix<H: Handler>(listener: UnixListener, slots: &Arc<Semaphore>, handler: &Arc<H>) -> std::io::Result<()> {
    loop {
        let Ok(slot) = Arc::clone(slots).acquire_owned().await else { return Ok(()) };
        let (stream, _) = listener.accept().await?;
        let handler = Arc::clone(handler);
        tokio::spawn(async move {
            connection(stream, handler).await;
            drop(slot);
        });
    }
}

async fn connection<H: Handler>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, handler: Arc<H>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(respond(&request, handler.as_ref()).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(16 * 1024);
    // A caller that goes away or sends nonsense is its own affair.
    let _ = tokio::time::timeout(LIFE, builder.serve_connection(TokioIo::new(stream), service)).await;
}

async fn respond<H: Handler>(request: &Request<Incoming>, handler: &H) -> Response<String> {
    let answer = if request.method() == Method::GET || request.method() == Method::HEAD {
        handler.get(request.uri().path()).await
    } else {
        Answer::error(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here")
    };
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, ::http::HeaderValue::from_static(answer.content_type));
    response
}
