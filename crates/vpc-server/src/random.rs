//! Random texts: request ids, metadata tokens, temporary keys.

use crate::error::ServeError;

/// `N` random bytes.
///
/// # Errors
/// [`ServeError::Random`] when the system gives none.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], ServeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ServeError::Random(error.to_string()))?;
    Ok(bytes)
}

/// A text of `length` capitals and digits, as access key ids have it; `length` is at most 64.
///
/// # Errors
/// As [`bytes`].
pub(crate) fn key_text(length: usize) -> Result<String, ServeError> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letters = bytes::<64>()?.into_iter().take(length);
    Ok(letters.map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect())
}

/// The id of a request: a random UUID.
#[must_use]
pub(crate) fn request_id() -> String {
    // An id without randomness is still an id: a caller only quotes it.
    let hex = hex::encode(bytes::<16>().unwrap_or_default());
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
    format!("{a}-{b}-4{c}-8{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_has_the_form_of_a_uuid() {
        let id = request_id();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        assert_ne!(id, request_id());
        assert_eq!(key_text(16).unwrap().len(), 16);
    }
}
