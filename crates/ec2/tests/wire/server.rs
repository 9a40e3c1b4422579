//! A scripted HTTP server on 127.0.0.1: each request is answered, dropped or left without an answer, as the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `POST`, `GET` …
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) path: String,
    /// The headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    pub(crate) body: String,
    /// On which connection it came, from 0.
    pub(crate) connection: usize,
}

impl Request {
    /// The value of a form parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.body.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Answers with this status and body.
    Answer(u16, String),
    /// Closes the connection without a word: the answer is lost.
    Drop,
    /// Sends half an answer and closes the connection.
    Half,
    /// Leaves the request without an answer until the client goes away.
    Silence,
}

/// The running server; it ends with this value.
pub(crate) struct Server {
    /// Its URL.
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server that asks `script` about the n-th request, from 0.
    pub(crate) async fn start(script: impl Fn(usize, &Request) -> Step + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) = (Arc::clone(&requests), Arc::new(script));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, connection, Arc::clone(&seen), Arc::clone(&script)));
            }
        });
        Self { url, requests, task }
    }

    /// The requests that arrived so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    seen: Arc<Mutex<Vec<Request>>>,
    script: Arc<impl Fn(usize, &Request) -> Step>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, connection).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        match script(number, &request) {
            Step::Answer(status, body) => {
                // The official metadata client insists on the echo of the token's life; nothing else minds it.
                let ttl = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds").map_or("0", String::as_str);
                let head = format!(
                    "HTTP/1.1 {status} -\r\nx-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
            Step::Drop => return,
            Step::Half => {
                let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n<half";
                stream.write_all(half).await.ok();
                return;
            }
            Step::Silence => {
                stream.read_to_end(&mut buffer).await.ok();
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Request> {
    loop {
        if let Some(request) = take_request(buffer, connection) {
            return Some(request);
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => buffer.extend_from_slice(&chunk[..length]),
        }
    }
}

fn take_request(buffer: &mut Vec<u8>, connection: usize) -> Option<Request> {
    let text = String::from_utf8_lossy(buffer).into_owned();
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |value| value.parse().unwrap());
    let body = rest.get(..length)?.to_owned();
    buffer.drain(..head.len() + 4 + length);
    Some(Request { method, path, headers, body, connection })
}
