//! Where the API is, who calls it, and how patiently.

use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::Region;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

use crate::budget::Budgets;
use crate::observer::Observer;
use crate::retry::RetryPolicy;
use crate::transport::Transport;

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// One request, from the connection to the last byte of the answer.
    pub attempt: Duration,
    /// The whole call: client budget, all requests and the pauses between them.
    pub call: Duration,
}

impl Default for Timeouts {
    /// 10 s for a request, as the Amazon VPC CNI has it (aws-vpc-cni §4.7); 30 s for a call.
    fn default() -> Self {
        Self { attempt: Duration::from_secs(10), call: Duration::from_secs(30) }
    }
}

/// What an [`crate::Ec2Client`] is made of.
#[derive(Clone, Debug)]
pub struct Ec2Config {
    /// The Region that calls are signed for.
    pub region: String,
    /// The URL of the API instead of the Region's own; `http` and `https`.
    pub endpoint: Option<String>,
    /// Who calls.
    pub credentials: SharedCredentialsProvider,
    /// How long a call may take.
    pub timeouts: Timeouts,
    /// How often and how patiently a request is repeated.
    pub retry: RetryPolicy,
    /// The share (0 to 1) of the account's quota per action that this client may use; none for no client-side limit.
    pub budget_share: Option<f64>,
    /// Sees every finished call.
    pub observer: Option<Arc<dyn Observer>>,
    /// The HTTP transport; share one among the clients of a program.
    pub transport: Transport,
    /// `AWS_USE_FIPS_ENDPOINT`: use the Region's FIPS endpoint.
    pub use_fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`: use the Region's dual-stack endpoint.
    pub use_dual_stack: bool,
}

/// Why there is no usable configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No Region in the environment, the profile or the instance metadata.
    #[error("no AWS Region is known: expected it in AWS_REGION, in the profile or from the instance metadata service")]
    NoRegion,
    /// No credentials provider.
    #[error(
        "no AWS credentials provider is configured: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or an instance role"
    )]
    NoCredentials,
    /// The endpoint is no URL of a server.
    #[error(
        "{given:?} is not the URL of an API endpoint: expected http:// or https://, a host and perhaps a port ({reason})"
    )]
    Endpoint {
        /// The text as it was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The share of the account's quota that one client may use unless told otherwise: a single runaway client leaves half of it
/// to the rest of the account, and a burst of one node's ordinary work is never slowed down.
const DEFAULT_BUDGET_SHARE: f64 = 0.5;

impl Ec2Config {
    /// A configuration with the Region's own endpoint, default time-outs, retries and budget.
    #[must_use]
    pub fn new(region: impl Into<String>, credentials: SharedCredentialsProvider) -> Self {
        Self {
            region: region.into(),
            endpoint: None,
            credentials,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            budget_share: Some(DEFAULT_BUDGET_SHARE),
            observer: None,
            transport: Transport::new(),
            use_fips: false,
            use_dual_stack: false,
        }
    }

    /// A configuration for `endpoint` with a fixed access key, for simulated clouds and tests.
    #[must_use]
    pub fn for_endpoint(
        region: impl Into<String>,
        endpoint: impl Into<String>,
        access_key_id: &str,
        secret_access_key: &str,
    ) -> Self {
        let credentials = Credentials::new(access_key_id, secret_access_key, None, None, "fixed");
        let mut config = Self::new(region, SharedCredentialsProvider::new(credentials));
        config.endpoint = Some(endpoint.into());
        config
    }

    /// The configuration that the official SDKs would come to: environment, profile, web identity (IRSA), Pod Identity and
    /// container credentials, instance metadata.
    ///
    /// The endpoint is the first of `AWS_ENDPOINT_URL_EC2` (or the profile's own for EC2), `AWS_EC2_ENDPOINT` (the Amazon VPC
    /// CNI's name) and `AWS_ENDPOINT_URL` that is set: the more specific name wins.
    ///
    /// # Errors
    /// [`ConfigError`] when no Region or no credentials provider is found. Credentials themselves are fetched by the first call.
    pub async fn from_environment() -> Result<Self, ConfigError> {
        let transport = Transport::new();
        let loaded = aws_config::defaults(BehaviorVersion::latest()).http_client(transport.clone()).load().await;
        let region = loaded.region().map(Region::to_string).ok_or(ConfigError::NoRegion)?;
        let credentials = loaded.credentials_provider().ok_or(ConfigError::NoCredentials)?;
        let mut config = Self::new(region, credentials);
        config.endpoint = endpoint_of(&loaded, std::env::var("AWS_EC2_ENDPOINT").ok());
        config.use_fips = loaded.use_fips().unwrap_or(false);
        config.use_dual_stack = loaded.use_dual_stack().unwrap_or(false);
        config.transport = transport;
        Ok(config)
    }

    /// The budgets of a client with this configuration.
    pub(crate) fn budgets(&self) -> Budgets {
        self.budget_share.map_or_else(Budgets::unlimited, Budgets::share_of_account)
    }

    /// The URL that requests go to, and the value of their `Host` header.
    pub(crate) fn resolved_endpoint(&self) -> Result<Endpoint, ConfigError> {
        match &self.endpoint {
            Some(given) => Endpoint::parse(given),
            None => Endpoint::parse(&regional_endpoint(&self.region, self.use_fips, self.use_dual_stack)),
        }
    }
}

fn endpoint_of(loaded: &SdkConfig, incumbent: Option<String>) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("EC2").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let specific = key.ok().and_then(|key| loaded.service_config()?.load_config(key));
    let general = || loaded.endpoint_url().map(str::to_owned);
    specific.or(incumbent).filter(|url| !url.is_empty()).or_else(general).filter(|url| !url.is_empty())
}

/// The Region's endpoint, by the partition that its name begins with (AWS partitions document).
fn regional_endpoint(region: &str, fips: bool, dual_stack: bool) -> String {
    let partitions = [
        ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
        ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
        ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
        ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
        ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ];
    let (plain, dual) = partitions
        .iter()
        .find(|(prefix, ..)| region.starts_with(prefix))
        .map_or(("amazonaws.com", "api.aws"), |(_, plain, dual)| (*plain, *dual));
    // GovCloud has no separate FIPS names: its ordinary endpoints are FIPS endpoints.
    let service = if fips && !region.starts_with("us-gov-") { "ec2-fips" } else { "ec2" };
    format!("https://{service}.{region}.{}/", if dual_stack { dual } else { plain })
}

/// The place that requests go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) host: String,
}

impl Endpoint {
    pub(crate) fn parse(given: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &str| ConfigError::Endpoint { given: given.to_owned(), reason: reason.to_owned() };
        let url = url::Url::parse(given).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("the scheme is neither http nor https"));
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("it carries a query, a fragment or a user"));
        }
        let name = url.host_str().ok_or_else(|| refuse("it has no host"))?;
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Ok(Self { url: url.to_string(), host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_types::service_config::LoadServiceConfig;

    #[test]
    fn an_endpoint_is_a_url_of_a_server() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8080").unwrap();
        assert_eq!((endpoint.url.as_str(), endpoint.host.as_str()), ("http://127.0.0.1:8080/", "127.0.0.1:8080"));
        assert_eq!(Endpoint::parse("https://ec2.example.test:443/").unwrap().host, "ec2.example.test");
        for bad in ["", "localhost:80", "ftp://x/", "http://", "http://u:p@x/", "http://x/?a=b"] {
            let message = Endpoint::parse(bad).unwrap_err().to_string();
            assert!(message.contains(&format!("{bad:?}")), "{message}");
        }
    }

    #[test]
    fn a_region_has_its_endpoint() {
        let rows = [
            ("ap-southeast-2", false, false, "https://ec2.ap-southeast-2.amazonaws.com/"),
            ("us-east-1", true, false, "https://ec2-fips.us-east-1.amazonaws.com/"),
            ("us-east-1", false, true, "https://ec2.us-east-1.api.aws/"),
            ("us-gov-west-1", true, false, "https://ec2.us-gov-west-1.amazonaws.com/"),
            ("cn-north-1", false, false, "https://ec2.cn-north-1.amazonaws.com.cn/"),
            ("us-iso-east-1", false, false, "https://ec2.us-iso-east-1.c2s.ic.gov/"),
        ];
        for (region, fips, dual_stack, expected) in rows {
            assert_eq!(regional_endpoint(region, fips, dual_stack), expected);
        }
    }

    #[derive(Debug)]
    struct Specific(Option<&'static str>);

    impl LoadServiceConfig for Specific {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            assert_eq!((key.service_id(), key.env()), ("EC2", "AWS_ENDPOINT_URL"));
            self.0.map(str::to_owned)
        }
    }

    #[test]
    fn the_more_specific_endpoint_wins() {
        let loaded = |specific, general: Option<&str>| {
            let mut builder = SdkConfig::builder().service_config(Specific(specific));
            builder.set_endpoint_url(general.map(str::to_owned));
            builder.build()
        };
        let incumbent = || Some("http://cni/".to_owned());
        let rows = [
            (loaded(Some("http://ec2/"), Some("http://all/")), incumbent(), Some("http://ec2/")),
            (loaded(None, Some("http://all/")), incumbent(), Some("http://cni/")),
            (loaded(None, Some("http://all/")), Some(String::new()), Some("http://all/")),
            (loaded(None, None), None, None),
        ];
        for (config, incumbent, expected) in rows {
            assert_eq!(endpoint_of(&config, incumbent).as_deref(), expected);
        }
    }
}
