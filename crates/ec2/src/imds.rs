//! The instance metadata service, version 2 only.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use freeboard_address::{Cidr, EniId, InstanceId, MacAddress, SecurityGroupId, SubnetId, VpcId};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{ConfigError, Endpoint};
use crate::retry::{RetryPolicy, unit_random};
use crate::transport::{Answer, Transport, TransportError};

/// The service's address on every instance.
const DEFAULT_ENDPOINT: &str = "http://169.254.169.254";
/// How long a token is asked for: the longest that the service grants.
const TOKEN_TTL_SECONDS: u64 = 21_600;
/// A token is replaced this long before it expires, so that no request meets an expired one in the ordinary course.
const TOKEN_RENEW_BEFORE_SECONDS: u64 = 300;
/// The longest answer that is read.
const ANSWER_LIMIT_BYTES: usize = 256 << 10;
const METADATA: &str = "latest/meta-data/";
const MACS: &str = "network/interfaces/macs";

/// Where the service is, and how patiently it is asked.
#[derive(Clone, Debug)]
pub struct ImdsConfig {
    /// Its URL.
    pub endpoint: String,
    /// One request.
    pub attempt_timeout: Duration,
    /// How often and how patiently a request is repeated.
    pub retry: RetryPolicy,
    /// The HTTP transport; share one among the clients of a program.
    pub transport: Transport,
}

impl Default for ImdsConfig {
    /// The service's own address, 2 s per request, four requests.
    fn default() -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            attempt_timeout: Duration::from_secs(2),
            retry: RetryPolicy { base_pause: Duration::from_millis(100), ..RetryPolicy::default() },
            transport: Transport::new(),
        }
    }
}

impl ImdsConfig {
    /// The default configuration, with the endpoint that `AWS_EC2_METADATA_SERVICE_ENDPOINT` names, if it does.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").ok().filter(|url| !url.is_empty());
        Self { endpoint: given.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()), ..Self::default() }
    }
}

/// Why metadata could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImdsError {
    /// The service could not be reached or did not answer, also not when asked again.
    #[error("the instance metadata service did not answer for {path}: {reason}")]
    Unreachable {
        /// The path.
        path: String,
        /// What happened last.
        reason: String,
    },
    /// The service refuses.
    #[error("the instance metadata service refused {path} with HTTP status {status}{}", advice(*status))]
    Refused {
        /// The path.
        path: String,
        /// The HTTP status.
        status: u16,
    },
    /// A value that every instance has is missing.
    #[error("the instance metadata service has no {path}")]
    Missing {
        /// The path.
        path: String,
    },
    /// A value is not what it should be.
    #[error("the instance metadata {path} is {value:?}: {expected}")]
    Unreadable {
        /// The path.
        path: String,
        /// The value.
        value: String,
        /// What was expected.
        expected: String,
    },
}

fn advice(status: u16) -> &'static str {
    match status {
        403 => ": it is disabled for this instance; enable the HTTP endpoint in its metadata options",
        _ => "",
    }
}

/// What an instance knows about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceIdentity {
    /// The instance.
    pub instance: InstanceId,
    /// Its type.
    pub instance_type: String,
    /// Its Region.
    pub region: String,
    /// Its zone's name.
    pub zone: String,
    /// The hardware address of its primary interface.
    pub primary_mac: MacAddress,
    /// The primary address of its primary interface; none on IPv6-only subnets.
    pub primary_address: Option<Ipv4Addr>,
}

/// What the metadata service says about one interface of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceMetadata {
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its id.
    pub id: EniId,
    /// Its device index.
    pub device_index: u32,
    /// Its network card; 0 where the instance has but one.
    pub network_card: u32,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its security groups.
    pub groups: Vec<SecurityGroupId>,
    /// Its addresses, the primary first; empty on IPv6-only subnets.
    pub addresses: Vec<Ipv4Addr>,
    /// Its /28 prefixes.
    pub prefixes: Vec<Cidr>,
    /// The block of its subnet; none on IPv6-only subnets.
    pub subnet_cidr: Option<Cidr>,
    /// The IPv4 blocks of its VPC, the primary first.
    pub vpc_cidrs: Vec<Cidr>,
}

impl InterfaceMetadata {
    /// The interface's primary address.
    #[must_use]
    pub fn primary_address(&self) -> Option<Ipv4Addr> {
        self.addresses.first().copied()
    }
}

/// The metadata client; cheap to clone, all clones share connections and the token.
#[derive(Clone, Debug)]
pub struct ImdsClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ImdsConfig,
    base: String,
    token: Mutex<Option<Token>>,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    renew_at: Instant,
}

/// What became of one request.
enum Reply {
    Found(String),
    Absent,
    /// This token was not accepted.
    TokenRefused(String),
    /// Another request may do better.
    Passing(String),
    Refused(u16),
}

impl ImdsClient {
    /// A client of this configuration. No connection is made yet.
    ///
    /// # Errors
    /// [`ConfigError::Endpoint`] when the endpoint is no URL of a server.
    pub fn new(config: ImdsConfig) -> Result<Self, ConfigError> {
        let endpoint = Endpoint::parse(&config.endpoint)?;
        let base = if endpoint.url.ends_with('/') { endpoint.url } else { format!("{}/", endpoint.url) };
        Ok(Self { shared: Arc::new(Shared { config, base, token: Mutex::new(None) }) })
    }

    /// The value at `path` below `latest/meta-data/`, trimmed; none when there is no such key.
    ///
    /// # Errors
    /// [`ImdsError::Unreachable`] or [`ImdsError::Refused`].
    pub async fn get(&self, path: &str) -> Result<Option<String>, ImdsError> {
        self.read(&format!("{METADATA}{path}")).await
    }

    /// Who and where this instance is.
    ///
    /// # Errors
    /// Any [`ImdsError`].
    pub async fn instance_identity(&self) -> Result<InstanceIdentity, ImdsError> {
        let zone = self.require("placement/availability-zone").await?;
        let region = match self.get("placement/region").await? {
            Some(region) => region,
            None => self.region_of_document().await?,
        };
        let primary_address = match self.get("local-ipv4").await? {
            Some(text) => Some(parse("local-ipv4", &text, "expected an IPv4 address")?),
            None => None,
        };
        Ok(InstanceIdentity {
            instance: InstanceId::new(self.require("instance-id").await?),
            instance_type: self.require("instance-type").await?,
            region,
            zone,
            primary_mac: self.require_parsed("mac", "expected a hardware address").await?,
            primary_address,
        })
    }

    /// The interfaces that the service shows, by hardware address.
    ///
    /// An interface that is only half there (its directory exists, but keys that every interface has do not) is left out: it
    /// is just coming or just going (cloud-rules D.3).
    ///
    /// # Errors
    /// Any [`ImdsError`].
    pub async fn interfaces(&self) -> Result<Vec<InterfaceMetadata>, ImdsError> {
        let mut interfaces = Vec::new();
        for mac in self.macs().await? {
            match self.interface(mac).await? {
                Some(interface) => interfaces.push(interface),
                None => tracing::debug!(%mac, "an interface is not complete in the instance metadata"),
            }
        }
        Ok(interfaces)
    }

    /// The hardware addresses of the interfaces that the service shows.
    ///
    /// # Errors
    /// Any [`ImdsError`].
    pub async fn macs(&self) -> Result<Vec<MacAddress>, ImdsError> {
        let listing = self.require(MACS).await?;
        listing
            .split_ascii_whitespace()
            .map(|entry| parse(MACS, entry.trim_end_matches('/'), "expected a hardware address"))
            .collect()
    }

    /// One interface; none when it is not there, or not complete.
    ///
    /// # Errors
    /// Any [`ImdsError`].
    pub async fn interface(&self, mac: MacAddress) -> Result<Option<InterfaceMetadata>, ImdsError> {
        let directory = format!("{MACS}/{mac}");
        let Some(listing) = self.get(&directory).await? else { return Ok(None) };
        let keys: Vec<&str> = listing.split_ascii_whitespace().map(|key| key.trim_end_matches('/')).collect();
        let reader = InterfaceReader { client: self, directory: &directory, keys: &keys };
        let Some(id) = reader.value("interface-id").await? else { return Ok(None) };
        let Some(device_index) = reader.parsed("device-number", "expected a device index").await? else {
            return Ok(None);
        };
        let Some(subnet) = reader.value("subnet-id").await? else { return Ok(None) };
        let Some(vpc) = reader.value("vpc-id").await? else { return Ok(None) };
        let groups = reader.value("security-group-ids").await?.unwrap_or_default();
        Ok(Some(InterfaceMetadata {
            mac,
            id: EniId::new(id),
            device_index,
            network_card: reader.parsed("network-card", "expected a network card index").await?.unwrap_or(0),
            subnet: SubnetId::new(subnet),
            vpc: VpcId::new(vpc),
            groups: groups.split_ascii_whitespace().map(SecurityGroupId::new).collect(),
            addresses: reader.list("local-ipv4s", "expected IPv4 addresses").await?,
            prefixes: reader.list("ipv4-prefix", "expected IPv4 blocks").await?,
            subnet_cidr: reader.parsed("subnet-ipv4-cidr-block", "expected an IPv4 block").await?,
            vpc_cidrs: reader.list("vpc-ipv4-cidr-blocks", "expected IPv4 blocks").await?,
        }))
    }

    /// The IPv4 blocks of the VPC of the interface with this hardware address, the primary first.
    ///
    /// # Errors
    /// Any [`ImdsError`].
    pub async fn vpc_ipv4_cidrs(&self, mac: MacAddress) -> Result<Vec<Cidr>, ImdsError> {
        let path = format!("{MACS}/{mac}/vpc-ipv4-cidr-blocks");
        let text = self.require(&path).await?;
        text.split_ascii_whitespace().map(|entry| parse(&path, entry, "expected IPv4 blocks")).collect()
    }

    async fn region_of_document(&self) -> Result<String, ImdsError> {
        const PATH: &str = "latest/dynamic/instance-identity/document";
        #[derive(serde::Deserialize)]
        struct Document {
            region: String,
        }
        let text = self.read(PATH).await?.ok_or_else(|| ImdsError::Missing { path: PATH.to_owned() })?;
        let document: Document = serde_json::from_str(&text).map_err(|error| ImdsError::Unreadable {
            path: PATH.to_owned(),
            value: text.clone(),
            expected: format!("expected an identity document with a region ({error})"),
        })?;
        Ok(document.region)
    }

    async fn require(&self, path: &str) -> Result<String, ImdsError> {
        self.get(path).await?.ok_or_else(|| ImdsError::Missing { path: path.to_owned() })
    }

    async fn require_parsed<T: std::str::FromStr>(&self, path: &str, expected: &str) -> Result<T, ImdsError> {
        parse(path, &self.require(path).await?, expected)
    }

    /// Reads a path, again where that may help: after time-outs, 5xx and 429, and once with a new token after a 401.
    async fn read(&self, path: &str) -> Result<Option<String>, ImdsError> {
        let mut token_renewed = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let reason = match self.read_once(path).await {
                Reply::Found(text) => return Ok(Some(text)),
                Reply::Absent => return Ok(None),
                Reply::TokenRefused(refused) if !token_renewed => {
                    token_renewed = true;
                    // Another task may have renewed it meanwhile.
                    self.shared.token.lock().await.take_if(|held| held.text == refused);
                    continue;
                }
                Reply::TokenRefused(_) => return Err(ImdsError::Refused { path: path.to_owned(), status: 401 }),
                Reply::Refused(status) => return Err(ImdsError::Refused { path: path.to_owned(), status }),
                Reply::Passing(reason) => reason,
            };
            if attempt >= self.shared.config.retry.max_attempts {
                return Err(ImdsError::Unreachable { path: path.to_owned(), reason });
            }
            let pause = self.shared.config.retry.pause_limit(attempt).mul_f64(unit_random());
            tracing::debug!(path, attempt, reason, "metadata request repeated");
            tokio::time::sleep(pause).await;
        }
    }

    async fn read_once(&self, path: &str) -> Reply {
        let token = match self.token().await {
            Ok(token) => token,
            Err(reply) => return reply,
        };
        match self.send("GET", path, ("x-aws-ec2-metadata-token", &token)).await {
            Ok(answer) => match answer.status {
                200..=299 => Reply::Found(answer.into_text().trim().to_owned()),
                404 => Reply::Absent,
                401 => Reply::TokenRefused(token),
                429 | 500.. => Reply::Passing(format!("HTTP status {}", answer.status)),
                status => Reply::Refused(status),
            },
            Err(reason) => Reply::Passing(reason),
        }
    }

    /// The token, a new one when there is none or it is about to expire; one request for it at a time.
    async fn token(&self) -> Result<String, Reply> {
        let mut held = self.shared.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.text.clone());
        }
        let ttl = TOKEN_TTL_SECONDS.to_string();
        let header = ("x-aws-ec2-metadata-token-ttl-seconds", ttl.as_str());
        let answer = self.send("PUT", "latest/api/token", header).await.map_err(Reply::Passing)?;
        match answer.status {
            200..=299 => {
                let text = answer.into_text().trim().to_owned();
                let renew_at = Instant::now() + Duration::from_secs(TOKEN_TTL_SECONDS - TOKEN_RENEW_BEFORE_SECONDS);
                *held = Some(Token { text: text.clone(), renew_at });
                Ok(text)
            }
            429 | 500.. => Err(Reply::Passing(format!("HTTP status {} for a token", answer.status))),
            status => Err(Reply::Refused(status)),
        }
    }

    async fn send(&self, method: &str, path: &str, header: (&'static str, &str)) -> Result<Answer, String> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method(method).map_err(|error| error.to_string())?;
        request.set_uri(format!("{}{path}", self.shared.base)).map_err(|error| error.to_string())?;
        request.headers_mut().try_insert(header.0, header.1.to_owned()).map_err(|error| error.to_string())?;
        if method == "PUT" {
            request.headers_mut().try_insert("content-length", "0").map_err(|error| error.to_string())?;
        }
        let timeout = self.shared.config.attempt_timeout;
        let outcome = self.shared.config.transport.exchange(request, timeout, ANSWER_LIMIT_BYTES).await;
        outcome.map_err(|error: TransportError| error.to_string())
    }
}

/// Reads the keys of one interface's directory; a key that is not listed is not asked for.
struct InterfaceReader<'a> {
    client: &'a ImdsClient,
    directory: &'a str,
    keys: &'a [&'a str],
}

impl InterfaceReader<'_> {
    async fn value(&self, key: &str) -> Result<Option<String>, ImdsError> {
        if !self.keys.contains(&key) {
            return Ok(None);
        }
        let value = self.client.get(&format!("{}/{key}", self.directory)).await?;
        Ok(value.filter(|text| !text.is_empty()))
    }

    async fn parsed<T: std::str::FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>, ImdsError> {
        let value = self.value(key).await?;
        value.map(|text| parse(&format!("{}/{key}", self.directory), &text, expected)).transpose()
    }

    async fn list<T: std::str::FromStr>(&self, key: &str, expected: &str) -> Result<Vec<T>, ImdsError> {
        let text = self.value(key).await?.unwrap_or_default();
        let path = format!("{}/{key}", self.directory);
        text.split_ascii_whitespace().map(|entry| parse(&path, entry, expected)).collect()
    }
}

fn parse<T: std::str::FromStr>(path: &str, text: &str, expected: &str) -> Result<T, ImdsError> {
    text.parse().map_err(|_| ImdsError::Unreadable {
        path: path.to_owned(),
        value: text.to_owned(),
        expected: expected.to_owned(),
    })
}
