//! Session tokens of the metadata service: bound to an instance, with an end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use freeboard_address::InstanceId;

use crate::error::ServeError;
use crate::random;

/// The tokens that were issued and have not ended.
///
/// Their life is counted on the machine's monotonic clock, as their holders do, and not in the cloud's time.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeMap<String, Token>);

#[derive(Debug)]
struct Token {
    instance: InstanceId,
    ends: Instant,
}

impl Tokens {
    /// A new token for `instance`, good for `ttl_seconds`.
    ///
    /// # Errors
    /// [`ServeError::Random`] when the system gives no random bytes.
    pub(crate) fn issue(&mut self, instance: &InstanceId, ttl_seconds: u32) -> Result<String, ServeError> {
        let now = Instant::now();
        self.0.retain(|_, token| token.ends > now);
        let text = base64::engine::general_purpose::URL_SAFE.encode(random::bytes::<40>()?);
        let ends = now + Duration::from_secs(u64::from(ttl_seconds));
        self.0.insert(text.clone(), Token { instance: instance.clone(), ends });
        Ok(text)
    }

    /// Whether `text` is a token of `instance` that has not ended.
    pub(crate) fn is_valid(&self, text: &[u8], instance: &InstanceId) -> bool {
        let token = std::str::from_utf8(text).ok().and_then(|text| self.0.get(text));
        token.is_some_and(|token| token.instance == *instance && token.ends > Instant::now())
    }
}
