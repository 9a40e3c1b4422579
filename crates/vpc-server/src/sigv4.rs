//! Verifies AWS Signature Version 4: the signature is computed again, from the request as it arrived and the secret on file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use freeboard_vpc::ApiError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a signature's time may be from ours, in minutes. Source: AWS, "Signature Version 4", request age.
const MAXIMUM_AGE_MINUTES: i64 = 15;
/// The longest life of a signature in the URL, in seconds (seven days).
const MAXIMUM_LIFE_SECONDS: i64 = 604_800;

/// A key pair that callers may sign with.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The public half, `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
    /// The session token that must come with a temporary key.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// A request as the signature covers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedRequest<'r> {
    /// The method, in capitals.
    pub(crate) method: &'r str,
    /// The path of the URL, as it arrived.
    pub(crate) path: &'r str,
    /// The query of the URL, as it arrived, without the question mark.
    pub(crate) query: &'r str,
    /// The headers.
    pub(crate) headers: &'r HeaderMap,
    /// The body.
    pub(crate) body: &'r [u8],
}

/// The parts of a signature, wherever the request carries them.
struct Signature {
    access_key_id: String,
    /// `<date>/<region>/<service>/aws4_request`
    scope: String,
    signed_headers: Vec<String>,
    signature: String,
    /// The time of signing, as the request writes it: `20260101T000000Z`.
    date: String,
    session_token: Option<String>,
    /// How long the signature lives, in seconds; absent for a signature in the header.
    life_seconds: Option<i64>,
}

/// Checks that `request` is signed by one of `keys`, for the service `ec2`, at about `now`.
///
/// # Errors
/// `MissingAuthenticationToken` without a signature, `IncompleteSignature` for a malformed one, `AuthFailure` for an
/// unknown key or session token, `RequestExpired` for one made too long ago, `SignatureDoesNotMatch` for a wrong one.
pub(crate) fn verify(request: &SignedRequest<'_>, keys: &[AccessKey], now: Timestamp) -> Result<(), ApiError> {
    let given = Signature::of(request)?;
    let Some(key) = keys.iter().find(|key| key.access_key_id == given.access_key_id) else {
        return Err(refused(&given.access_key_id, "no such key"));
    };
    if key.session_token != given.session_token {
        return Err(refused(&given.access_key_id, "its session token is missing or wrong"));
    }
    given.check_time(now)?;
    let expected = sign(request, &given, key)?;
    if same(&expected, &given.signature) {
        return Ok(());
    }
    Err(unauthorized(
        "SignatureDoesNotMatch",
        format!(
            "The request signature we calculated for access key {} does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
            given.access_key_id
        ),
    ))
}

fn refused(access_key_id: &str, why: &str) -> ApiError {
    let message =
        format!("AWS was not able to validate the provided access credentials: access key {access_key_id}, {why}");
    unauthorized("AuthFailure", message)
}

/// A refusal with the status that the service uses for all that is wrong with a signature.
fn unauthorized(code: &str, message: impl Into<String>) -> ApiError {
    ApiError { http_status: 401, ..ApiError::new(code, message) }
}

fn incomplete(what: &str) -> ApiError {
    ApiError::new("IncompleteSignature", format!("The request signature does not conform to AWS standards: {what}"))
}

impl Signature {
    fn of(request: &SignedRequest<'_>) -> Result<Self, ApiError> {
        if let Some(header) = header(request.headers, "authorization") {
            return Self::of_header(request, header);
        }
        let parameters: BTreeMap<String, String> =
            url::form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
        if parameters.contains_key("X-Amz-Signature") {
            return Self::of_parameters(&parameters);
        }
        Err(unauthorized("MissingAuthenticationToken", "Request is missing Authentication Token"))
    }

    fn of_header(request: &SignedRequest<'_>, header_text: &str) -> Result<Self, ApiError> {
        let fields = header_text
            .strip_prefix(ALGORITHM)
            .ok_or_else(|| incomplete(&format!("expected {ALGORITHM} in the Authorization header")))?;
        let fields: BTreeMap<&str, &str> = fields.split(',').filter_map(|field| field.trim().split_once('=')).collect();
        let field = |name: &str| {
            fields.get(name).copied().ok_or_else(|| incomplete(&format!("Authorization header requires {name}")))
        };
        let date = header(request.headers, "x-amz-date").ok_or_else(|| incomplete("X-Amz-Date is missing"))?;
        let (access_key_id, scope) = credential(field("Credential")?)?;
        Ok(Self {
            access_key_id,
            scope,
            signed_headers: field("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: field("Signature")?.to_owned(),
            date: date.to_owned(),
            session_token: header(request.headers, "x-amz-security-token").map(str::to_owned),
            life_seconds: None,
        })
    }

    fn of_parameters(parameters: &BTreeMap<String, String>) -> Result<Self, ApiError> {
        let parameter = |name: &str| {
            parameters.get(name).cloned().ok_or_else(|| incomplete(&format!("query parameter {name} is missing")))
        };
        if parameter("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(&format!("X-Amz-Algorithm must be {ALGORITHM}")));
        }
        let (access_key_id, scope) = credential(&parameter("X-Amz-Credential")?)?;
        let life = parameter("X-Amz-Expires")?;
        let life_seconds = life.parse().ok().filter(|seconds| (1..=MAXIMUM_LIFE_SECONDS).contains(seconds));
        Ok(Self {
            access_key_id,
            scope,
            signed_headers: parameter("X-Amz-SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: parameter("X-Amz-Signature")?,
            date: parameter("X-Amz-Date")?,
            session_token: parameters.get("X-Amz-Security-Token").cloned(),
            life_seconds: Some(life_seconds.ok_or_else(|| {
                incomplete(&format!("X-Amz-Expires is {life:?}, expected 1 to {MAXIMUM_LIFE_SECONDS} seconds"))
            })?),
        })
    }

    fn check_time(&self, now: Timestamp) -> Result<(), ApiError> {
        let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &self.date)
            .and_then(|date| jiff::tz::TimeZone::UTC.to_timestamp(date))
            .map_err(|_| {
                incomplete(&format!("X-Amz-Date is {:?}, expected a time like 20260101T000000Z", self.date))
            })?;
        let leeway = SignedDuration::from_mins(MAXIMUM_AGE_MINUTES);
        let life = self.life_seconds.map_or(leeway, SignedDuration::from_secs);
        let age = now.duration_since(signed);
        if age > life || age < -leeway {
            return Err(ApiError::new(
                "RequestExpired",
                format!("Request has expired: it was signed at {}", self.date),
            ));
        }
        Ok(())
    }
}

fn credential(text: &str) -> Result<(String, String), ApiError> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        [key, _, _, "ec2", "aws4_request"] => Ok((key.to_owned(), parts[1..].join("/"))),
        _ => Err(incomplete(&format!("credential scope {text:?}, expected <key>/<date>/<region>/ec2/aws4_request"))),
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn sign(request: &SignedRequest<'_>, given: &Signature, key: &AccessKey) -> Result<String, ApiError> {
    let canonical = canonical_request(request, &given.signed_headers)?;
    let text = format!("{ALGORITHM}\n{}\n{}\n{}", given.date, given.scope, hex::encode(Sha256::digest(canonical)));
    let secret = format!("AWS4{}", key.secret_access_key);
    let signing_key = given.scope.split('/').fold(secret.into_bytes(), |key, part| keyed_hash(&key, part.as_bytes()));
    Ok(hex::encode(keyed_hash(&signing_key, text.as_bytes())))
}

fn keyed_hash(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes a key of any length (RFC 2104), so the error of the generic constructor cannot occur.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|hash| hash.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

/// Compares without ending early, so that the time taken tells nothing about the expected value.
fn same(expected: &str, given: &str) -> bool {
    let differing = expected.bytes().zip(given.bytes()).fold(0u8, |difference, (a, b)| difference | (a ^ b));
    differing == 0 && expected.len() == given.len()
}

fn canonical_request(request: &SignedRequest<'_>, signed_headers: &[String]) -> Result<String, ApiError> {
    let mut text = format!("{}\n{}\n{}\n", request.method, encode_path(request.path), canonical_query(request.query));
    for name in signed_headers {
        let values: Vec<String> = request
            .headers
            .get_all(name.as_str())
            .iter()
            .map(|value| {
                String::from_utf8_lossy(value.as_bytes()).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        if values.is_empty() {
            return Err(incomplete(&format!("header {name} is signed and not sent")));
        }
        let _ = writeln!(text, "{name}:{}", values.join(","));
    }
    let payload = header(request.headers, "x-amz-content-sha256")
        .map_or_else(|| hex::encode(Sha256::digest(request.body)), str::to_owned);
    let _ = write!(text, "\n{}\n{payload}", signed_headers.join(";"));
    Ok(text)
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encode(&name, false), encode(&value, false)))
        .collect();
    pairs.sort();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn encode_path(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { encode(path, true) }
}

/// Percent-encodes all but the unreserved characters of RFC 3986 (and, in a path, the slash).
fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// The example of AWS's own signing test suite (`get-vanilla-query-order-key-case`) with its published secret, for the service `ec2`.
    fn key() -> AccessKey {
        AccessKey {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        }
    }

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:1"));
        headers.insert("x-amz-date", HeaderValue::from_static("20260101T000000Z"));
        headers.insert("authorization", HeaderValue::from_str(authorization).unwrap());
        headers
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn signed(request: SignedRequest<'_>) -> HeaderMap {
        let given = Signature::of(&request).unwrap();
        headers(&format!(
            "{ALGORITHM} Credential=AKIDEXAMPLE/{}, SignedHeaders=host;x-amz-date, Signature={}",
            given.scope,
            sign(&request, &given, &key()).unwrap()
        ))
    }

    const UNSIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature=00";

    #[test]
    fn agrees_with_the_signing_key_that_aws_publishes() {
        let scope = ["20150830", "us-east-1", "iam", "aws4_request"];
        let secret = format!("AWS4{}", key().secret_access_key).into_bytes();
        let signing_key = scope.iter().fold(secret, |key, part| keyed_hash(&key, part.as_bytes()));
        assert_eq!(hex::encode(signing_key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn accepts_a_signature_and_refuses_a_changed_body() {
        let blank = headers(UNSIGNED);
        let request =
            SignedRequest { method: "POST", path: "/", query: "", headers: &blank, body: b"Action=DescribeVpcs" };
        let good = signed(request);
        let now = at("2026-01-01T00:05:00Z");
        verify(&SignedRequest { headers: &good, ..request }, &[key()], now).unwrap();
        let error =
            verify(&SignedRequest { headers: &good, body: b"Action=DeleteVpc", ..request }, &[key()], now).unwrap_err();
        assert_eq!(error.code, "SignatureDoesNotMatch");
        assert!(error.message.contains("AKIDEXAMPLE"));
    }

    #[test]
    fn names_what_is_wrong_with_a_signature() {
        let now = at("2026-01-01T00:05:00Z");
        let refusal = |authorization: &str, keys: &[AccessKey], now| {
            let headers = headers(authorization);
            let request = SignedRequest { method: "POST", path: "/", query: "", headers: &headers, body: b"" };
            verify(&request, keys, now).unwrap_err().code
        };
        assert_eq!(refusal(UNSIGNED, &[], now), "AuthFailure");
        assert_eq!(refusal(UNSIGNED, &[key()], now), "SignatureDoesNotMatch");
        assert_eq!(refusal(UNSIGNED, &[key()], at("2026-01-01T00:15:01Z")), "RequestExpired");
        assert_eq!(refusal("AWS4-HMAC-SHA256 Credential=a/b", &[key()], now), "IncompleteSignature");
        assert_eq!(refusal("Basic x", &[key()], now), "IncompleteSignature");
        let none = HeaderMap::new();
        let request = SignedRequest { method: "GET", path: "/", query: "", headers: &none, body: b"" };
        assert_eq!(verify(&request, &[key()], now).unwrap_err().code, "MissingAuthenticationToken");
    }

    #[test]
    fn a_temporary_key_needs_its_session_token() {
        let blank = headers(UNSIGNED);
        let request = SignedRequest { method: "POST", path: "/", query: "", headers: &blank, body: b"" };
        let temporary = AccessKey { session_token: Some("token".into()), ..key() };
        let error = verify(&request, &[temporary], at("2026-01-01T00:00:00Z")).unwrap_err();
        assert_eq!(error.code, "AuthFailure");
        assert!(error.message.contains("session token"));
    }

    #[test]
    fn a_query_is_sorted_and_leaves_out_its_own_signature() {
        assert_eq!(canonical_query("b=2&a=x%20y&X-Amz-Signature=0&a=1"), "a=1&a=x%20y&b=2");
        assert_eq!(encode_path(""), "/");
    }
}
