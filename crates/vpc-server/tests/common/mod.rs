//! What the wire tests share: a server for a world, and a plain HTTP client that shows the answer as it is.

#![allow(dead_code, clippy::unwrap_used, reason = "each test program uses a part, and a failed step is a failed test")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use freeboard_vpc_server::{Announcement, ServeOptions, Server};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long a condition may take to come true.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A server on free ports, with everything it announced.
pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) at: Announcement,
    _world: tempfile::TempDir,
}

/// Serves the world of this text.
pub(crate) async fn serve(world: &str) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("world.yaml");
    std::fs::write(&path, world).unwrap();
    let (server, at) = freeboard_vpc_server::start(options(&path)).await.unwrap();
    Served { server, at, _world: directory }
}

/// Options for free ports.
pub(crate) fn options(world: &std::path::Path) -> ServeOptions {
    let any_port = "127.0.0.1:0".parse().unwrap();
    ServeOptions {
        world: world.to_owned(),
        ec2: any_port,
        imds_base_port: None,
        control: any_port,
        access_key: None,
        secret_key: None,
        speed: Some(50.0),
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// The text of the first element of this name.
    pub(crate) fn element(&self, name: &str) -> &str {
        let (_, rest) = self.body.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no <{name}> in {self:?}"));
        rest.split_once('<').unwrap().0
    }

    /// Asserts a refusal of the EC2 API with this code, whose message holds this text.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, code: &str, text: &str) {
        assert_eq!((self.status, self.element("Code")), (status, code), "{self:?}");
        let message = quick_xml::escape::unescape(self.element("Message")).unwrap();
        assert!(message.contains(text), "expected {text:?} in {message:?}");
        assert!(!self.element("RequestID").is_empty());
    }
}

/// Sends a request on a connection of its own; none when the server hung up without an answer.
pub(crate) async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Option<Answer> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response: Response<_> = sender.send_request(request).await.ok()?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    Some(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    })
}

/// A request with these headers.
pub(crate) fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

impl Served {
    /// Calls the EC2 API with a form; none when the answer was lost.
    pub(crate) async fn try_ec2(&self, form: &str) -> Option<Answer> {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        send(self.at.ec2, request(Method::POST, "/", &headers, &format!("Version=2016-11-15&{form}"))).await
    }

    /// Calls the EC2 API with a form.
    pub(crate) async fn ec2(&self, form: &str) -> Answer {
        self.try_ec2(form).await.expect("the server hung up")
    }

    /// Asks the control endpoint.
    pub(crate) async fn control(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let answer = send(self.at.control, request(method, path, &[], body)).await.unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// All that the control endpoint shows of the cloud.
    pub(crate) async fn state(&self) -> Value {
        let (status, state) = self.control(Method::GET, "/state", "").await;
        assert_eq!((status, &state["audit"]), (200, &Value::Null));
        state
    }

    /// Asks the metadata service of the first instance.
    pub(crate) async fn imds(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        send(*self.at.imds.values().next().unwrap(), request(method, path, headers, "")).await.unwrap()
    }

    /// A token of the metadata service of the first instance.
    pub(crate) async fn token(&self, ttl_seconds: u32) -> String {
        let ttl = ttl_seconds.to_string();
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", ttl.as_str())];
        let answer = self.imds(Method::PUT, "/latest/api/token", &headers).await;
        assert_eq!(answer.status, 200);
        answer.body
    }

    /// A key of the metadata service, with a token.
    pub(crate) async fn metadata(&self, path: &str) -> Answer {
        let token = self.token(60).await;
        self.imds(Method::GET, path, &[("x-aws-ec2-metadata-token", &token)]).await
    }
}

/// Waits until `condition` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let wait = async {
        loop {
            if let Some(result) = condition().await {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}
