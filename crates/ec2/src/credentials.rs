//! A cache before the official credential chain: a provider is asked again shortly before its credentials expire.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_types::error::display::DisplayErrorContext;
use tokio::sync::Mutex;

/// New credentials are fetched this long before the old ones expire.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// Credentials without an expiry are asked for again after this long, because a profile or a process may have changed.
const RENEW_STATIC: Duration = Duration::from_secs(900);

#[derive(Debug)]
pub(crate) struct CredentialsCache {
    provider: SharedCredentialsProvider,
    held: Mutex<Option<Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    credentials: Credentials,
    renew_at: SystemTime,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCredentials {
    /// No source of the chain has any.
    #[error("no credentials are configured: {0}")]
    Missing(String),
    /// A source failed.
    #[error("the credentials could not be fetched: {0}")]
    Failed(String),
}

impl CredentialsCache {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, held: Mutex::new(None) }
    }

    /// Credentials that are valid at `now`. One fetch at a time; when a renewal fails, what is still valid is used on.
    pub(crate) async fn get(&self, now: SystemTime) -> Result<Credentials, NoCredentials> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| now < held.renew_at) {
            return Ok(held.credentials.clone());
        }
        match self.provider.provide_credentials().await {
            Ok(credentials) => {
                let renew_at = credentials
                    .expiry()
                    .map_or(now + RENEW_STATIC, |expiry| expiry.checked_sub(RENEW_BEFORE).unwrap_or(expiry));
                *held = Some(Held { credentials: credentials.clone(), renew_at });
                Ok(credentials)
            }
            Err(error) => {
                let still_valid = held
                    .as_ref()
                    .filter(|held| held.credentials.expiry().is_none_or(|expiry| now < expiry))
                    .map(|held| held.credentials.clone());
                still_valid.ok_or_else(|| no_credentials(&error))
            }
        }
    }

    /// Forgets what is held: the cloud said that it has expired.
    pub(crate) async fn forget(&self) {
        *self.held.lock().await = None;
    }
}

fn no_credentials(error: &CredentialsError) -> NoCredentials {
    let text = DisplayErrorContext(error).to_string();
    if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        NoCredentials::Missing(text)
    } else {
        NoCredentials::Failed(text)
    }
}
