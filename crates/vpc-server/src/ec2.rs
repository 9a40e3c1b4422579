//! The EC2 Query API over HTTP: authenticate, weigh, decode, carry out, answer.

use bytes::Bytes;
use freeboard_vpc::{ApiError, Outcome};
use http::{HeaderValue, Method, Request, StatusCode};
use jiff::Timestamp;

use crate::dispatch::{self, Action};
use crate::http_server::{Answer, Handler, typed};
use crate::query::Query;
use crate::random;
use crate::server::Server;
use crate::sigv4::{self, SignedRequest};
use crate::xml::Xml;

const CONTENT_TYPE: &str = "text/xml;charset=UTF-8";
const VERSION: &str = "2016-11-15";

/// Answers the requests of one connection.
pub(crate) struct Ec2Handler {
    server: Server,
}

impl Ec2Handler {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }

    /// The answer's text; none when it is to be lost.
    async fn carry_out(&self, request: &Request<Bytes>, request_id: &str) -> Result<Option<String>, ApiError> {
        let query = read(request)?;
        let action = Action::of(&query)?;
        self.server.count(action.name, |count| count.calls += 1);
        let refused = |error: &ApiError| {
            self.server.count(action.name, |count| *count.refused.entry(error.code.clone()).or_default() += 1);
        };
        let result = self.admitted(request, action, query, request_id).await.inspect_err(refused)?;
        if result.is_none() {
            self.server.count(action.name, |count| count.answers_lost += 1);
        }
        Ok(result)
    }

    async fn admitted(
        &self,
        request: &Request<Bytes>,
        action: &'static Action,
        query: Query,
        request_id: &str,
    ) -> Result<Option<String>, ApiError> {
        self.authenticate(request)?;
        let call = dispatch::call(action, &query);
        let admission = self.server.with_cloud(|cloud, now| cloud.admit(&call, now));
        if !admission.delay.is_zero() {
            tokio::time::sleep(admission.delay).await;
        }
        let answer_is_lost = match admission.outcome {
            Outcome::Refuse(error) => return Err(error),
            Outcome::Proceed => false,
            Outcome::ProceedThenLoseAnswer => true,
        };
        let operation = action.prepare(&query)?;
        let body = self.server.with_cloud(|cloud, now| operation.run(cloud, now));
        if answer_is_lost {
            return Ok(None);
        }
        let body = body?;
        Ok(Some(Xml::response(action.name, request_id, |xml| body.write(xml))))
    }

    fn authenticate(&self, request: &Request<Bytes>) -> Result<(), ApiError> {
        let keys = self.server.keys();
        if keys.is_empty() {
            return Ok(());
        }
        let signed = SignedRequest {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            headers: request.headers(),
            body: request.body(),
        };
        // Signatures are made with the caller's clock, which is this machine's, whatever the cloud's time is.
        sigv4::verify(&signed, keys, Timestamp::now())
    }
}

/// The parameters of a request, from its URL and its body.
fn read(request: &Request<Bytes>) -> Result<Query, ApiError> {
    if !matches!(*request.method(), Method::POST | Method::GET) {
        let message = format!("The HTTP method {} is not supported: use POST or GET", request.method());
        return Err(ApiError::new("InvalidRequest", message));
    }
    let query = Query::from_forms([request.uri().query().unwrap_or_default().as_bytes(), request.body()]);
    match query.text("Version") {
        None | Some(VERSION) => Ok(query),
        Some(other) => {
            let message = format!("The requested version ({other}) of service AmazonEC2 does not exist: use {VERSION}");
            Err(ApiError::new("NoSuchVersion", message))
        }
    }
}

impl Handler for Ec2Handler {
    async fn answer(&self, request: Request<Bytes>) -> Option<Answer> {
        let request_id = random::request_id();
        let (status, text) = match self.carry_out(&request, &request_id).await {
            Ok(text) => (StatusCode::OK, text?),
            Err(error) => {
                tracing::debug!(%error, request_id, "refused");
                let status = StatusCode::from_u16(error.http_status).unwrap_or(StatusCode::BAD_REQUEST);
                (status, Xml::error(&error, &request_id))
            }
        };
        let mut answer = typed(status, CONTENT_TYPE, text);
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            answer.headers_mut().insert("x-amzn-requestid", value);
        }
        Some(answer)
    }
}
