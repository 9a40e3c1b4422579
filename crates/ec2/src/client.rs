//! One call: budget, signature, request, answer, and the next attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::action::{Action, Repeat};
use crate::budget::Budgets;
use crate::config::{ConfigError, Ec2Config, Endpoint};
use crate::credentials::{CredentialsCache, NoCredentials};
use crate::error::{Ec2Error, ErrorClass, classify};
use crate::query::Parameters;
use crate::retry::{Decision, Failure, unit_random};
use crate::transport::{Answer, TransportError};
use crate::{sign, xml};

/// The longest answer that is read; a page of 1,000 interfaces with 50 addresses each is about 16 MB.
const ANSWER_LIMIT_BYTES: usize = 32 << 20;
/// A page loop that goes on for this many pages has met a server that repeats itself.
const MAX_PAGES: usize = 10_000;

/// The EC2 client; cheap to clone, all clones share connections, credentials and budgets.
///
/// Each method is one action. It waits for the client's own budget, signs, sends, and repeats where that is harmless
/// ([`Repeat`] of the action, [`crate::RetryPolicy`]). Paged actions read all pages.
///
/// A method's future may be dropped at any time; a change that it was about to make may then have happened or not, as after
/// [`ErrorClass::Uncertain`].
#[derive(Clone, Debug)]
pub struct Ec2Client {
    shared: Arc<Shared>,
    call_timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    config: Ec2Config,
    endpoint: Endpoint,
    credentials: CredentialsCache,
    budgets: Budgets,
}

/// A request: an action with its parameters and the shape of its answer.
pub(crate) trait Operation {
    /// The action.
    const ACTION: Action;
    /// The answer's body as it is on the wire.
    type Answer: DeserializeOwned;
    /// The parameters on the wire.
    fn parameters(&self) -> Parameters;
}

/// One page of a paged answer.
pub(crate) trait Page {
    /// What the pages list.
    type Item;
    /// The items and, when there are more, the token of the next page.
    fn split(self) -> (Vec<Self::Item>, Option<String>);
}

/// What became of one request.
enum Attempt {
    Done(String),
    Failed(Failure, Ec2Error),
}

impl Ec2Client {
    /// A client of this configuration. No connection is made yet.
    ///
    /// # Errors
    /// [`ConfigError::Endpoint`] when the endpoint is no URL of a server.
    pub fn new(config: Ec2Config) -> Result<Self, ConfigError> {
        let endpoint = config.resolved_endpoint()?;
        let credentials = CredentialsCache::new(config.credentials.clone());
        let budgets = config.budgets();
        let call_timeout = config.timeouts.call;
        Ok(Self { shared: Arc::new(Shared { config, endpoint, credentials, budgets }), call_timeout })
    }

    /// The same client with another deadline for each call (all requests of it, with their pauses and the wait for the budget).
    #[must_use]
    pub fn with_call_timeout(&self, call_timeout: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), call_timeout }
    }

    /// The Region that calls are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.shared.config.region
    }

    /// The URL that requests go to.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint.url
    }

    /// Makes one call and reads its answer.
    pub(crate) async fn call<O: Operation>(&self, operation: &O) -> Result<O::Answer, Ec2Error> {
        self.call_with(O::ACTION, &operation.parameters()).await
    }

    /// Makes a call per page until there is no next token, even after an empty page (cloud-rules A.4).
    pub(crate) async fn pages<O>(&self, operation: &O) -> Result<Vec<<O::Answer as Page>::Item>, Ec2Error>
    where
        O: Operation,
        O::Answer: Page,
    {
        let mut parameters = operation.parameters();
        let mut all = Vec::new();
        let mut last_token = None;
        for _ in 0..MAX_PAGES {
            let page: O::Answer = self.call_with(O::ACTION, &parameters).await?;
            let (items, token) = page.split();
            all.extend(items);
            let Some(token) = token else { return Ok(all) };
            if last_token.as_ref() == Some(&token) {
                break;
            }
            parameters.set("NextToken", &token);
            last_token = Some(token);
        }
        Err(Ec2Error::local(
            O::ACTION,
            ErrorClass::Other,
            "UnreadableAnswer",
            "the pages do not end: the same next token came twice",
        ))
    }

    async fn call_with<T: DeserializeOwned>(&self, action: Action, parameters: &Parameters) -> Result<T, Ec2Error> {
        let started = Instant::now();
        let outcome = self.attempts(action, parameters, started + self.call_timeout).await.and_then(|body| {
            xml::read(&body).map_err(|error| {
                // The cloud said that it is done; what exactly it did is not known.
                let class = if is_read(action) { ErrorClass::Other } else { ErrorClass::Uncertain };
                Ec2Error::local(action, class, "UnreadableAnswer", format!("the answer could not be read: {error}"))
            })
        });
        let elapsed = started.elapsed();
        let seen = outcome.as_ref().map(|_| ());
        match seen {
            Ok(()) => tracing::debug!(action = action.as_str(), elapsed_ms = elapsed.as_millis(), "EC2 call done"),
            Err(error) => {
                tracing::debug!(action = action.as_str(), elapsed_ms = elapsed.as_millis(), %error, "EC2 call failed");
            }
        }
        if let Some(observer) = &self.shared.config.observer {
            observer.call_finished(action, seen, elapsed);
        }
        outcome
    }

    /// Sends requests until one is answered for good.
    async fn attempts(&self, action: Action, parameters: &Parameters, deadline: Instant) -> Result<String, Ec2Error> {
        let policy = self.shared.config.retry;
        let mut perhaps_done = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (failure, mut error) = match self.attempt(action, parameters, deadline).await {
                Attempt::Done(body) => return Ok(body),
                Attempt::Failed(failure, error) => (failure, error),
            };
            if failure == Failure::Throttled && error.http_status.is_some() {
                self.shared.budgets.drain(action);
            }
            let gone = action.repeat() == Repeat::GoneMeansDone && error.class == ErrorClass::NotFound;
            if perhaps_done && gone {
                return Ok("<done><return>true</return></done>".to_owned());
            }
            perhaps_done |= matches!(failure, Failure::AnswerLost | Failure::ServerError);
            error.attempts = attempt;
            let left = deadline.saturating_duration_since(Instant::now());
            let pause = match policy.decide(attempt, failure, action.repeat()) {
                Decision::RetryWithin(limit) => limit.mul_f64(unit_random()),
                Decision::GiveUp => return Err(settle(error, failure, perhaps_done)),
            };
            if pause >= left {
                return Err(settle(error, failure, perhaps_done));
            }
            tracing::debug!(action = action.as_str(), attempt, pause_ms = pause.as_millis(), %error, "EC2 request repeated");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, action: Action, parameters: &Parameters, deadline: Instant) -> Attempt {
        let shared = &self.shared;
        let left = || deadline.saturating_duration_since(Instant::now());
        let fail = |failure, class, code: &str, message: String| {
            Attempt::Failed(failure, Ec2Error::local(action, class, code, message))
        };
        if let Err(exhausted) = shared.budgets.acquire(action, left()).await {
            return fail(Failure::Refused, ErrorClass::Throttled, "ClientBudgetExhausted", exhausted.to_string());
        }
        let now = SystemTime::now();
        let credentials = match tokio::time::timeout(left(), shared.credentials.get(now)).await {
            Ok(Ok(credentials)) => credentials,
            Ok(Err(error @ NoCredentials::Missing(_))) => {
                return fail(Failure::Refused, ErrorClass::NotAuthorized, "CredentialsMissing", error.to_string());
            }
            Ok(Err(error @ NoCredentials::Failed(_))) => {
                return fail(Failure::NotSent, ErrorClass::Unavailable, "CredentialsUnavailable", error.to_string());
            }
            Err(_) => {
                let message = "the credentials did not arrive before the deadline".to_owned();
                return fail(Failure::Refused, ErrorClass::Unavailable, "DeadlineExceeded", message);
            }
        };
        let body = parameters.encode(action.as_str());
        let Endpoint { url, host } = &shared.endpoint;
        let request = match sign::signed_post(url, host, &shared.config.region, &credentials, body, now) {
            Ok(request) => request,
            Err(message) => return fail(Failure::Refused, ErrorClass::Invalid, "RequestNotBuilt", message),
        };
        let timeout = shared.config.timeouts.attempt.min(left());
        if timeout.is_zero() {
            let message = "no time was left to send the request".to_owned();
            return fail(Failure::Refused, ErrorClass::Unavailable, "DeadlineExceeded", message);
        }
        match shared.config.transport.exchange(request, timeout, ANSWER_LIMIT_BYTES).await {
            Ok(answer) if (200..300).contains(&answer.status) => Attempt::Done(answer.into_text()),
            Ok(answer) => {
                let (failure, error) = refused(action, answer);
                if failure == Failure::ClockSkew {
                    shared.credentials.forget().await;
                }
                Attempt::Failed(failure, error)
            }
            Err(error @ TransportError::NotSent(_)) => {
                fail(Failure::NotSent, ErrorClass::Unavailable, "ConnectionFailed", error.to_string())
            }
            Err(error @ TransportError::AnswerLost(_)) => {
                fail(Failure::AnswerLost, ErrorClass::Unavailable, "AnswerLost", error.to_string())
            }
        }
    }
}

/// Whether the action changes nothing.
fn is_read(action: Action) -> bool {
    let name = action.as_str();
    name.starts_with("Describe") || name.starts_with("Get")
}

/// The final class of a failed call: when a request of it may have taken effect and the last answer is not a verdict on that,
/// the caller must look. A refusal by the cloud is a verdict; one of this side (no budget, no time) is not.
fn settle(mut error: Ec2Error, failure: Failure, perhaps_done: bool) -> Ec2Error {
    let verdict = failure == Failure::Refused && error.http_status.is_some();
    if perhaps_done && !verdict && !is_read(error.action) {
        error.class = ErrorClass::Uncertain;
    }
    error
}

/// Reads an error answer: how it bears on retrying, and the error.
fn refused(action: Action, answer: Answer) -> (Failure, Ec2Error) {
    let status = answer.status;
    let text = answer.into_text();
    let mut error = match xml::read_error(&text) {
        Some(content) => {
            let class = classify(action, &content.code, &content.message);
            let mut error = Ec2Error::local(action, class, &content.code, content.message);
            error.request_id = content.request_id;
            error
        }
        None => {
            // A proxy's or a load balancer's page rather than EC2's own answer.
            let start: String = text.chars().take(200).collect();
            let class = if status == 429 { ErrorClass::Throttled } else { ErrorClass::Other };
            Ec2Error::local(action, class, "HttpStatus", format!("HTTP status {} with {start:?}", status))
        }
    };
    error.http_status = Some(status);
    if status >= 500 && error.code == "HttpStatus" {
        error.class = ErrorClass::Unavailable;
    }
    (failure_of(&error, status), error)
}

fn failure_of(error: &Ec2Error, status: u16) -> Failure {
    // RequestExpired and ExpiredToken: a stale clock or stale credentials; both are renewed for the next attempt.
    let stale = ["RequestExpired", "ExpiredToken", "ExpiredTokenException"];
    match (error.class, status) {
        (ErrorClass::Throttled, _) => Failure::Throttled,
        _ if stale.contains(&error.code.as_str()) => Failure::ClockSkew,
        (ErrorClass::Unavailable, 503) => Failure::NotAccepted,
        (ErrorClass::Unavailable, _) => Failure::ServerError,
        _ => Failure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Answer {
        let body = format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors><RequestID>r</RequestID></Response>"
        );
        Answer { status, body: body.into_bytes() }
    }

    #[test]
    fn answers_bear_on_retrying_by_code_and_status() {
        let rows = [
            (503, "RequestLimitExceeded", Failure::Throttled),
            (400, "Throttling", Failure::Throttled),
            (503, "Unavailable", Failure::NotAccepted),
            (500, "InternalError", Failure::ServerError),
            (500, "InsufficientInstanceCapacity", Failure::Refused),
            (400, "RequestExpired", Failure::ClockSkew),
            (400, "InvalidParameterValue", Failure::Refused),
            (403, "UnauthorizedOperation", Failure::Refused),
        ];
        for (status, code, expected) in rows {
            assert_eq!(refused(Action::DescribeVpcs, answer(status, code)).0, expected, "{status} {code}");
        }
    }

    #[test]
    fn a_page_of_a_proxy_is_reported_with_its_beginning() {
        for (status, failure, class) in [
            (502, Failure::ServerError, ErrorClass::Unavailable),
            (503, Failure::NotAccepted, ErrorClass::Unavailable),
            (429, Failure::Throttled, ErrorClass::Throttled),
            (404, Failure::Refused, ErrorClass::Other),
        ] {
            let page = Answer { status, body: b"<html>gateway</html>".to_vec() };
            let (found, error) = refused(Action::DescribeVpcs, page);
            assert_eq!((found, error.class), (failure, class));
            assert!(error.message.contains("gateway") && error.message.contains(&status.to_string()));
        }
    }

    #[test]
    fn a_change_that_may_have_happened_is_uncertain_and_a_read_is_not() {
        let lost = |action| Ec2Error::local(action, ErrorClass::Unavailable, "ConnectionFailed", "");
        let class = |action, failure, perhaps| settle(lost(action), failure, perhaps).class;
        assert_eq!(class(Action::AssignPrivateIpAddresses, Failure::AnswerLost, true), ErrorClass::Uncertain);
        assert_eq!(class(Action::CreateNetworkInterface, Failure::NotSent, true), ErrorClass::Uncertain);
        assert_eq!(class(Action::CreateNetworkInterface, Failure::NotSent, false), ErrorClass::Unavailable);
        assert_eq!(class(Action::DescribeSubnets, Failure::AnswerLost, true), ErrorClass::Unavailable);
        // No budget or no time was left for the second request: that says nothing about the first.
        assert_eq!(class(Action::CreateNetworkInterface, Failure::Refused, true), ErrorClass::Uncertain);
        let (failure, refusal) = refused(Action::CreateNetworkInterface, answer(400, "InvalidParameterValue"));
        assert_eq!(settle(refusal, failure, true).class, ErrorClass::Invalid);
    }
}
