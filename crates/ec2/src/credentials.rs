//! A cache before the official credential chain: a provider is asked again shortly before its credentials expire.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::Mutex;

use crate::transport::chain;

/// New credentials are fetched this long before the old ones expire, or after half of what is left of a shorter life.
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
                let renew_at = renewal(now, credentials.expiry());
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

/// When to fetch new credentials in the place of some that were fetched now.
fn renewal(now: SystemTime, expiry: Option<SystemTime>) -> SystemTime {
    let Some(expiry) = expiry else { return now + RENEW_STATIC };
    let left = expiry.duration_since(now).unwrap_or_default();
    now + left.saturating_sub(RENEW_BEFORE).max(left / 2)
}

fn no_credentials(error: &CredentialsError) -> NoCredentials {
    let text = chain(error);
    if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        NoCredentials::Missing(text)
    } else {
        NoCredentials::Failed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::provider::future;
    use std::sync::atomic::{AtomicU64, Ordering};

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn credentials_are_renewed_before_they_expire() {
        let rows = [(Some(21_600), 21_300), (Some(1200), 900), (Some(200), 100), (Some(0), 0), (None, 900)];
        for (expiry, renewed) in rows {
            assert_eq!(renewal(START, expiry.map(at)), at(renewed), "{expiry:?}");
        }
    }

    /// Gives credentials that live 1,000 s, but only the first time.
    #[derive(Debug, Default)]
    struct Once(AtomicU64);

    impl ProvideCredentials for Once {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(Credentials::new("AKID", "secret", None, Some(at(1000)), "once")),
                _ => Err(CredentialsError::provider_error("the service is down")),
            })
        }
    }

    #[tokio::test]
    async fn what_is_still_valid_is_used_when_it_cannot_be_renewed() {
        let cache = CredentialsCache::new(SharedCredentialsProvider::new(Once::default()));
        for seconds in [0, 600, 999] {
            assert_eq!(cache.get(at(seconds)).await.unwrap().access_key_id(), "AKID");
        }
        let error = cache.get(at(1000)).await.unwrap_err();
        assert!(matches!(error, NoCredentials::Failed(_)), "{error}");
        assert!(error.to_string().contains("the service is down"), "{error}");
    }
}
