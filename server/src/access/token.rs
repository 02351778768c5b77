//! An access token as a text: `wpt_` and base32 without padding, in lower case, over its id (8 bytes), its secret (20)
//! and the first 4 bytes of the SHA-256 over both.
//!
//! The checksum tells a text that was cut or mistyped from a token that is unknown, without a look at any store, and lets
//! scanners of source code find tokens that leaked.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD_NOCASE;
use kv_core::{AccessTokenId, RandomError, env::Environment};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

/// The beginning of each token.
pub const PREFIX: &str = "wpt_";

/// The length of an id, in bytes.
const ID_BYTES: usize = 8;
/// The length of a secret, in bytes: 160 bits.
const SECRET_BYTES: usize = 20;
/// The length of a checksum, in bytes.
const CHECKSUM_BYTES: usize = 4;
/// The length of a token's bytes.
const BYTES: usize = ID_BYTES + SECRET_BYTES + CHECKSUM_BYTES;
/// The length of a token's text after its prefix.
const DIGITS: usize = (BYTES * 8).div_ceil(5);

/// A token with its secret. It is left out of debug output, and shown only on request.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    /// The id, which is not secret.
    id: AccessTokenId,
    /// The secret.
    secret: [u8; SECRET_BYTES],
}

/// A text is not a token. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenTextError {
    /// It does not begin as a token does.
    #[error("this is not a token: a token begins with wpt_; `waypost token create` prints one")]
    NoToken,
    /// Its length or its checksum is wrong.
    #[error(
        "the token was mistyped or cut: copy the whole line that `waypost token create` printed"
    )]
    Mistyped,
}

impl TokenText {
    /// Makes a token that nobody has.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn generate(environment: &dyn Environment) -> Result<TokenText, RandomError> {
        let random = [environment.random_id()?, environment.random_id()?].concat();
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        id.copy_from_slice(&random[..ID_BYTES]);
        secret.copy_from_slice(&random[ID_BYTES..ID_BYTES + SECRET_BYTES]);
        Ok(TokenText { id: AccessTokenId(id), secret })
    }

    /// The same secret with another id.
    #[must_use]
    pub(super) fn with_id(self, id: AccessTokenId) -> TokenText {
        TokenText { id, ..self }
    }

    /// The id, which is not secret.
    #[must_use]
    pub fn id(&self) -> AccessTokenId {
        self.id
    }

    /// The hash that is stored in place of the secret.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        hash(&[b"waypost access token".as_slice(), &self.id.0, &self.secret].concat())
    }

    /// Whether this hash is that of the secret, compared in constant time.
    #[must_use]
    pub fn has_hash(&self, hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(hash).into()
    }

    /// The whole text, with the secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut bytes = [&self.id.0[..], &self.secret].concat();
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        format!("{PREFIX}{}", BASE32_NOPAD_NOCASE.encode(&bytes).to_ascii_lowercase())
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({}, …)", self.id)
    }
}

impl FromStr for TokenText {
    type Err = TokenTextError;

    fn from_str(text: &str) -> Result<TokenText, TokenTextError> {
        let digits = text.strip_prefix(PREFIX).ok_or(TokenTextError::NoToken)?;
        if digits.len() != DIGITS {
            return Err(TokenTextError::Mistyped);
        }
        let mut bytes = [0; BYTES];
        let decoded = BASE32_NOPAD_NOCASE.decode_mut(digits.as_bytes(), &mut bytes);
        if decoded != Ok(BYTES) {
            return Err(TokenTextError::Mistyped);
        }
        let (content, sum) = bytes.split_at(BYTES - CHECKSUM_BYTES);
        if *sum != checksum(content) {
            return Err(TokenTextError::Mistyped);
        }
        let (id, secret) = content.split_at(ID_BYTES);
        let mut token = TokenText { id: AccessTokenId([0; ID_BYTES]), secret: [0; SECRET_BYTES] };
        token.id.0.copy_from_slice(id);
        token.secret.copy_from_slice(secret);
        Ok(token)
    }
}

/// The SHA-256 of bytes.
fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// The first bytes of the SHA-256 of everything before the checksum.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = hash(bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
impl TokenText {
    /// The id of this token with the secret of another one.
    pub(super) fn with_secret_of(&self, other: &TokenText) -> TokenText {
        TokenText { id: self.id, secret: other.secret }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::env::SystemEnvironment;

    use super::*;

    fn generated() -> TokenText {
        TokenText::generate(&SystemEnvironment::new()).expect("randomness")
    }

    #[test]
    fn a_token_reads_back_from_its_text_and_has_its_hash() {
        let (one, other) = (generated(), generated());
        let text = one.reveal();
        assert_eq!(text.len(), PREFIX.len() + DIGITS);
        assert_eq!(text.parse(), Ok(one.clone()));
        assert!(one.has_hash(&one.hash()) && !other.has_hash(&one.hash()));
        let debug = format!("{one:?}");
        assert!(debug.contains(&one.id().to_string()) && debug.len() < 40, "{debug}");
    }

    #[test]
    fn a_text_that_was_changed_cut_or_extended_is_refused() {
        let text = generated().reveal();
        for at in PREFIX.len()..text.len() - 1 {
            let other = if &text[at..=at] == "a" { "b" } else { "a" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(changed.parse::<TokenText>(), Err(TokenTextError::Mistyped), "at {at}");
        }
        for wrong in ["wpt_", &text[..text.len() - 1], &format!("{text}a"), "wpt_\u{e4}"] {
            assert_eq!(wrong.parse::<TokenText>(), Err(TokenTextError::Mistyped), "{wrong}");
        }
        for wrong in ["", "wp1-aaaa", "Bearer", " wpt_", &text[1..]] {
            assert_eq!(wrong.parse::<TokenText>(), Err(TokenTextError::NoToken), "{wrong}");
        }
    }
}
