//! The control endpoint: look into the cloud, count its calls, break it on purpose, change its speed. JSON over HTTP.

use bytes::Bytes;
use freeboard_vpc::{Cloud, Describe, Fault};
use http::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http_server::{Answer, Handler, typed};
use crate::server::Server;

/// Answers the requests of one connection.
pub(crate) struct ControlHandler {
    server: Server,
}

/// A request that the endpoint refuses; nothing has changed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there is no {0}: expected /state, /calls, /faults or /speed")]
    Path(String),
    #[error("{path} does not take {method}: expected {expected}")]
    Method { path: String, method: Method, expected: &'static str },
    #[error("the body is not {expected}: {error}")]
    Body { expected: &'static str, error: serde_json::Error },
    #[error("fault {number}: {error}")]
    Fault { number: usize, error: freeboard_vpc::FaultError },
    #[error("{0}")]
    Speed(#[from] freeboard_vpc::WorldError),
    #[error("{0}")]
    Api(#[from] freeboard_vpc::ApiError),
}

/// The body of POST /faults: one fault or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Faults {
    Several(Vec<Fault>),
    One(Fault),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Speed {
    speed: f64,
}

impl ControlHandler {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }

    fn reply(&self, request: &Request<Bytes>) -> Result<Value, Refusal> {
        let path = request.uri().path();
        let other = |expected| Refusal::Method { path: path.to_owned(), method: request.method().clone(), expected };
        match (path, request.method()) {
            ("/state", &Method::GET) => self.server.with_cloud(|cloud, _| state(cloud)),
            ("/state", _) => Err(other("GET")),
            ("/calls", &Method::GET) => Ok(json!(self.server.calls())),
            ("/calls", &Method::DELETE) => {
                self.server.reset_calls();
                Ok(json!({}))
            }
            ("/calls", _) => Err(other("GET or DELETE")),
            ("/faults", &Method::POST) => self.inject(request.body()),
            ("/faults", &Method::DELETE) => {
                self.server.with_cloud(Cloud::clear_faults);
                Ok(json!({}))
            }
            ("/faults", _) => Err(other("POST or DELETE")),
            ("/speed", &Method::PUT) => self.set_speed(request.body()),
            ("/speed", _) => Err(other("PUT")),
            _ => Err(Refusal::Path(path.to_owned())),
        }
    }

    /// Injects all faults of the body, or none when one of them makes no sense.
    fn inject(&self, body: &[u8]) -> Result<Value, Refusal> {
        let expected =
            "a fault or a list of faults, like [{\"throttle\": {\"action\": \"Describe*\", \"seconds\": 5}}]";
        let faults = match serde_json::from_slice(body).map_err(|error| Refusal::Body { expected, error })? {
            Faults::Several(faults) => faults,
            Faults::One(fault) => vec![fault],
        };
        self.server.with_cloud(|cloud, now| {
            let mut changed = cloud.clone();
            for (index, fault) in faults.iter().enumerate() {
                changed.inject(fault, now).map_err(|error| Refusal::Fault { number: index + 1, error })?;
            }
            *cloud = changed;
            Ok(json!({ "injected": faults.len() }))
        })
    }

    fn set_speed(&self, body: &[u8]) -> Result<Value, Refusal> {
        let expected = "a speed, like {\"speed\": 4}";
        let Speed { speed } = serde_json::from_slice(body).map_err(|error| Refusal::Body { expected, error })?;
        self.server.with_cloud(|cloud, _| cloud.set_speed(speed))?;
        Ok(json!({ "speed": speed }))
    }
}

#[derive(Serialize)]
struct State<'c> {
    region: &'c str,
    account_id: &'c str,
    speed: f64,
    /// What does not add up in the cloud's books; null when all does.
    audit: Option<String>,
    vpcs: Vec<freeboard_vpc::Vpc>,
    subnets: Vec<freeboard_vpc::Subnet>,
    interfaces: Vec<freeboard_vpc::NetworkInterface>,
    reservations: Vec<freeboard_vpc::Reservation>,
}

fn state(cloud: &Cloud) -> Result<Value, Refusal> {
    Ok(json!(State {
        region: cloud.region(),
        account_id: cloud.account_id(),
        speed: cloud.speed(),
        audit: cloud.audit().err(),
        vpcs: cloud.describe_vpcs(&Describe::default())?.items,
        subnets: cloud.describe_subnets(&Describe::default())?.items,
        interfaces: cloud.describe_network_interfaces(&Describe::default())?.items,
        reservations: cloud.describe_instances(&Describe::default())?.items,
    }))
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body { .. } | Self::Fault { .. } | Self::Speed(_) => StatusCode::BAD_REQUEST,
            Self::Api(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Handler for ControlHandler {
    async fn answer(&self, request: Request<Bytes>) -> Option<Answer> {
        let (status, value) = match self.reply(&request) {
            Ok(value) => (StatusCode::OK, value),
            Err(refusal) => (refusal.status(), json!({ "error": refusal.to_string() })),
        };
        Some(typed(status, "application/json", format!("{value:#}\n")))
    }
}
