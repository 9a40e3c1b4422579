//! HTTP over the official connector: connections are reused, and TLS (with its roots) is set up only when an `https` endpoint
//! is called, because a node agent against a plain endpoint should not pay for it.

use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::byte_stream::ByteStream;

/// Connections that are not used are closed after this long: below the idle time-outs of EC2's and of most proxies' front
/// ends, so that a request rarely meets a connection that the other side is just closing.
const IDLE_CONNECTION_SECONDS: u64 = 15;
/// Idle connections kept per endpoint.
const IDLE_CONNECTIONS: usize = 4;
/// How long a connection may take to come about, TLS included.
const CONNECT_TIMEOUT_SECONDS: u64 = 3;

/// The HTTP transport that EC2, the instance metadata service and the credential chain share; cheap to clone.
#[derive(Clone, Debug)]
pub struct Transport {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    own: SharedHttpConnector,
    /// Connectors with the time-outs that parts of the credential chain ask for; they are few.
    others: Mutex<Vec<(HttpConnectorSettings, SharedHttpConnector)>>,
}

/// A complete HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn into_text(self) -> String {
        String::from_utf8(self.body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// No complete answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// No connection came about; the request never left.
    #[error("no connection: {0}")]
    NotSent(String),
    /// The request may have left, and the answer did not arrive whole.
    #[error("the answer was lost: {0}")]
    AnswerLost(String),
}

impl Default for Transport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport {
    /// A transport without connections.
    #[must_use]
    pub fn new() -> Self {
        let settings =
            HttpConnectorSettings::builder().connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_SECONDS)).build();
        Self { shared: Arc::new(Shared { own: LazyConnector::shared(settings), others: Mutex::default() }) }
    }

    /// Sends `request` and reads the whole answer, at most `limit_bytes` of body, within `timeout`.
    pub(crate) async fn exchange(
        &self,
        request: HttpRequest,
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<Answer, TransportError> {
        match tokio::time::timeout(timeout, self.exchange_untimed(request, limit_bytes)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TransportError::AnswerLost(format!("nothing complete within {} ms", timeout.as_millis()))),
        }
    }

    async fn exchange_untimed(&self, request: HttpRequest, limit_bytes: usize) -> Result<Answer, TransportError> {
        let response: HttpResponse = self.shared.own.call(request).await.map_err(|error| connector_error(&error))?;
        let status = response.status().as_u16();
        let mut stream = ByteStream::new(response.into_body());
        let mut body = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| TransportError::AnswerLost(chain(&error)))?;
            if body.len() + chunk.len() > limit_bytes {
                return Err(TransportError::AnswerLost(format!("the answer is longer than {limit_bytes} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

impl HttpClient for Transport {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let mut others = self.shared.others.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |other: &HttpConnectorSettings| (other.connect_timeout(), other.read_timeout());
        if let Some((_, connector)) = others.iter().find(|(other, _)| key(other) == key(settings)) {
            return connector.clone();
        }
        let connector = LazyConnector::shared(settings.clone());
        others.push((settings.clone(), connector.clone()));
        connector
    }
}

/// Chooses the plain or the TLS connector by the request's scheme; each is built on its first use.
#[derive(Debug)]
struct LazyConnector {
    settings: HttpConnectorSettings,
    plain: OnceLock<Connector>,
    tls: OnceLock<Connector>,
}

impl LazyConnector {
    fn shared(settings: HttpConnectorSettings) -> SharedHttpConnector {
        SharedHttpConnector::new(Self { settings, plain: OnceLock::new(), tls: OnceLock::new() })
    }

    fn builder(&self) -> aws_smithy_http_client::ConnectorBuilder {
        Connector::builder()
            .connector_settings(self.settings.clone())
            .pool_idle_timeout(Duration::from_secs(IDLE_CONNECTION_SECONDS))
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
    }
}

impl HttpConnector for LazyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = if request.uri().starts_with("https:") {
            // HTTPS_PROXY and NO_PROXY are obeyed for the public API, as the official SDKs for Go and Python do. Plain endpoints
            // are the metadata service, the Pod Identity agent and laboratories: never behind a proxy.
            self.tls.get_or_init(|| {
                let provider = Provider::Rustls(CryptoMode::Ring);
                self.builder().tls_provider(provider).proxy_config(ProxyConfig::from_env()).build()
            })
        } else {
            self.plain.get_or_init(|| self.builder().build_http())
        };
        connector.call(request)
    }
}

/// Tells a connection that never came about from an answer that was lost. In doubt the answer counts as lost, because only
/// the other case may be repeated without thought.
fn connector_error(error: &ConnectorError) -> TransportError {
    let text = chain(error);
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(client) = current.downcast_ref::<hyper_util::client::legacy::Error>() {
            return if client.is_connect() { TransportError::NotSent(text) } else { TransportError::AnswerLost(text) };
        }
        cause = current.source();
    }
    if error.is_user() { TransportError::NotSent(text) } else { TransportError::AnswerLost(text) }
}

/// The error and its causes as one line; a cause that its effect already quotes is not said twice.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let part = current.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = current.source();
    }
    text
}
