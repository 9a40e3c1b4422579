//! Signature Version 4, by the official signer.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The signed POST of `body` to `endpoint` (scheme, host, port and a path), or why it cannot be made.
pub(crate) fn signed_post(
    endpoint: &str,
    host: &str,
    region: &str,
    credentials: &Credentials,
    body: String,
    now: SystemTime,
) -> Result<HttpRequest, String> {
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("ec2")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let headers = [("content-type", CONTENT_TYPE), ("host", host)];
    let signable = SignableRequest::new("POST", endpoint, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
        .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(signable, &parameters).map_err(|error| error.to_string())?.into_parts();

    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST").map_err(|error| error.to_string())?;
    request.set_uri(endpoint).map_err(|error| error.to_string())?;
    for (name, value) in headers.into_iter().chain(instructions.headers()) {
        request.headers_mut().try_insert(name.to_owned(), value.to_owned()).map_err(|error| error.to_string())?;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_request_carries_a_scope_of_day_region_and_service() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("session".to_owned()), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let body = "Action=DescribeVpcs&Version=2016-11-15".to_owned();
        let request =
            signed_post("http://127.0.0.1:8080/", "127.0.0.1:8080", "ap-southeast-2", &credentials, body, now).unwrap();
        let authorization = request.headers().get("authorization").unwrap();
        assert!(
            authorization.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/ap-southeast-2/ec2/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
            ),
            "{authorization}"
        );
        assert_eq!(request.headers().get("x-amz-date"), Some("20150830T123600Z"));
        assert_eq!(request.headers().get("x-amz-security-token"), Some("session"));
        assert_eq!(request.headers().get("content-type"), Some(CONTENT_TYPE));
    }
}
