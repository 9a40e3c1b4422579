//! The client of the API server: found in the pod or in a kubeconfig, with a limit on every request.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

/// How long a connection to the API server may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the answer to a request may take. A watch is answered at once too; what it then shows has no limit here.
const ANSWER: Duration = Duration::from_secs(10);

/// Where the API server and the credentials for it are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A program of the cluster: the service account of its pod. `KUBECONFIG` and the home directory are not looked at, so
    /// that a program never speaks to a cluster that it is no part of.
    Pod,
    /// This kubeconfig.
    Kubeconfig(PathBuf),
    /// A person's program that names the cluster by a context, in this kubeconfig or in what kubectl reads.
    Context {
        /// The file; none for `KUBECONFIG`, then the home directory.
        kubeconfig: Option<PathBuf>,
        /// The context in it.
        context: String,
    },
    /// A person's program: as kubectl finds it (`KUBECONFIG`, then the home directory), then the pod's service account.
    Person,
}

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Where it is found.
    pub access: Access,
    /// An URL that replaces the one found, for example where the address of the service `kubernetes` does not work yet because
    /// kube-proxy is late.
    pub server: Option<String>,
    /// Who asks: name and version, as in `freeboard-agent/0.1.0`.
    pub user_agent: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing says where the API server is.
    #[error("no Kubernetes API is configured: {reason}")]
    NotConfigured {
        /// What was looked for.
        reason: String,
    },
    /// A kubeconfig cannot be used.
    #[error("the kubeconfig {path} cannot be used: {source}; expected a file as kubectl reads it")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// The URL of the API server is none.
    #[error("the API server's URL {url:?} cannot be used: expected https://host:port")]
    Url {
        /// What was given.
        url: String,
    },
    /// The name of the program is no header value.
    #[error("the user agent {user_agent:?} cannot be used: expected visible ASCII, as in freeboard-agent/0.1.0")]
    UserAgent {
        /// What was given.
        user_agent: String,
    },
    /// The credentials or certificates cannot be used.
    #[error("a client of the Kubernetes API cannot be made: {0}")]
    Client(#[from] Box<kube::Error>),
}

/// A client that is ready to ask. Nothing is asked yet: the API server may be away when this returns, and come back later.
///
/// # Errors
/// When nothing says where the API server is, or what says it cannot be used.
pub async fn connect(options: &ClientOptions) -> Result<Client, ClientError> {
    let mut config = find(&options.access).await?;
    if let Some(url) = &options.server {
        config.cluster_url = parse_url(url)?;
    }
    config.connect_timeout = Some(CONNECT);
    let user_agent = HeaderValue::from_str(&options.user_agent)
        .map_err(|_| ClientError::UserAgent { user_agent: options.user_agent.clone() })?;
    config.headers.push((USER_AGENT, user_agent));
    let builder = ClientBuilder::try_from(config).map_err(Box::new)?;
    Ok(builder.with_layer(&AnswerLimit).build())
}

async fn find(access: &Access) -> Result<Config, ClientError> {
    match access {
        Access::Pod => Config::incluster()
            .map_err(|error| ClientError::NotConfigured { reason: format!("no service account: {error}") }),
        Access::Kubeconfig(path) => from_file(path, None).await,
        Access::Context { kubeconfig: Some(path), context } => from_file(path, Some(context)).await,
        Access::Context { kubeconfig: None, context } => {
            let named = |source| ClientError::Kubeconfig { path: "of kubectl".to_owned(), source: Box::new(source) };
            in_context(Kubeconfig::read().map_err(named)?, Some(context)).await.map_err(named)
        }
        Access::Person => {
            Config::infer().await.map_err(|error| ClientError::NotConfigured { reason: format!("{error:#}") })
        }
    }
}

async fn from_file(path: &Path, context: Option<&str>) -> Result<Config, ClientError> {
    let failed = |source| ClientError::Kubeconfig { path: path.display().to_string(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    in_context(kubeconfig, context).await.map_err(failed)
}

async fn in_context(kubeconfig: Kubeconfig, context: Option<&str>) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await
}

fn parse_url(url: &str) -> Result<http::Uri, ClientError> {
    let refused = || ClientError::Url { url: url.to_owned() };
    let parsed: http::Uri = url.parse().map_err(|_| refused())?;
    let is_usable = matches!(parsed.scheme_str(), Some("https" | "http")) && parsed.authority().is_some();
    if is_usable { Ok(parsed) } else { Err(refused()) }
}

/// The API server did not answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API server did not answer within {} s", ANSWER.as_secs())]
pub struct NoAnswer;

/// Puts a limit on the time until the head of each answer is there.
#[derive(Clone, Copy, Debug)]
struct AnswerLimit;

impl<S> Layer<S> for AnswerLimit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner }
    }
}

#[derive(Debug)]
struct Limited<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move { tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(NoAnswer.into())) })
    }
}

/// Whether an error says that the object is not there.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    has_code(error, 404)
}

/// Whether an error says that somebody else changed or made the object first.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    has_code(error, 409)
}

/// Whether an error says that this client may not do what it asked for.
#[must_use]
pub fn is_forbidden(error: &kube::Error) -> bool {
    has_code(error, 403)
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    // Every other error is one of the way there, and not an answer.
    if let kube::Error::Api(status) = error { status.code == code } else { false }
}

/// An error of the client as one sentence for people: what the server said, or why it could not be asked.
#[must_use]
pub fn sentence(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        if status.reason.is_empty() {
            return status.message.clone();
        }
        return format!("{} ({})", status.message, status.reason);
    }
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_without_a_service_account_has_no_api() {
        let options = ClientOptions { access: Access::Pod, server: None, user_agent: "test/1".to_owned() };
        let error = connect(&options).await.err().unwrap();
        assert!(matches!(error, ClientError::NotConfigured { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let access = Access::Kubeconfig(PathBuf::from("/nowhere/kubeconfig"));
        let options = ClientOptions { access, server: None, user_agent: "test/1".to_owned() };
        let error = connect(&options).await.err().unwrap().to_string();
        assert!(error.contains("/nowhere/kubeconfig"), "{error}");
    }

    #[test]
    fn an_url_without_scheme_is_refused_with_what_was_expected() {
        assert!(parse_url("https://10.0.0.1:6443").is_ok());
        for url in ["", "10.0.0.1:6443", "ftp://host", "https:///path"] {
            let error = parse_url(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(&format!("{url:?}")) && error.contains("https://host:port"), "{url}: {error}");
        }
    }
}
