//! Access tokens: their rows in the system namespace, and the registry that is built from these.
//!
//! A store keeps what a token permits as a text, which it does not interpret, and a hash in place of the secret. The rows
//! are joined rows, so that a token is known and revoked at all locations.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use super::{
    joined::{FieldNumber, FieldValue, JoinedRow},
    limits::{MAX_DESCRIPTION_BYTES, MAX_SCOPES_BYTES},
};
use crate::codec::{DecodeError, Reader, put_text};

/// The id of a token: 64 random bits, which are no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessTokenId(pub [u8; 8]);

/// 16 lowercase hexadecimal digits.
impl fmt::Display for AccessTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AccessTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessTokenId({self})")
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// Its id.
    pub id: AccessTokenId,
    /// The SHA-256 hash of its secret.
    pub hash: [u8; 32],
    /// What it permits, at most [`MAX_SCOPES_BYTES`].
    pub scopes: String,
    /// Its description for people, at most [`MAX_DESCRIPTION_BYTES`].
    pub description: String,
    /// The time from which it is not accepted any more, in Unix seconds.
    pub expires_at: Option<u64>,
    /// It was revoked. Final: no later write brings it back.
    pub is_revoked: bool,
    /// The time when it was created, in Unix milliseconds.
    pub created_ms: u64,
}

/// A token's text is longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// The scopes are too long. Holds their length in bytes.
    #[error("the scopes of a token have at most {MAX_SCOPES_BYTES} bytes; these have {0}")]
    Scopes(usize),
    /// The description is too long. Holds its length in bytes.
    #[error(
        "the description of a token has at most {MAX_DESCRIPTION_BYTES} bytes; this one has {0}"
    )]
    Description(usize),
}

/// The field of everything but the revocation.
const INFO: FieldNumber = FieldNumber::new(1).expect("a field number");
/// The field of the revocation: that it is there is all that counts.
const REVOKED: FieldNumber = FieldNumber::new(2).expect("a field number");

/// The version of the layout of the first field.
const LAYOUT: u8 = 1;

/// The first byte of the key of a token's row; the id follows.
const KEY_TAG: u8 = b't';

impl AccessToken {
    /// Returns the key of a token's row in the system namespace.
    #[must_use]
    pub fn key(id: AccessTokenId) -> [u8; 9] {
        let mut key = [KEY_TAG; 9];
        key[1..].copy_from_slice(&id.0);
        key
    }

    /// Returns the token that a key of the system namespace names, or `None` if it names something else.
    #[must_use]
    pub fn id_of(key: &[u8]) -> Option<AccessTokenId> {
        let id = key.strip_prefix(&[KEY_TAG])?;
        id.try_into().map(AccessTokenId).ok()
    }

    /// The field that creates this token: everything but the revocation and the time.
    ///
    /// # Errors
    /// See [`AccessTokenError`].
    ///
    /// # Panics
    /// Never: the bounds of the texts are below that of a field.
    pub fn creation(&self) -> Result<(FieldNumber, FieldValue), AccessTokenError> {
        if self.scopes.len() > MAX_SCOPES_BYTES {
            return Err(AccessTokenError::Scopes(self.scopes.len()));
        }
        if self.description.len() > MAX_DESCRIPTION_BYTES {
            return Err(AccessTokenError::Description(self.description.len()));
        }
        let mut out = vec![LAYOUT];
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.expires_at.map_or(0, |at| at.max(1)).to_be_bytes());
        put_text(&mut out, &self.scopes);
        put_text(&mut out, &self.description);
        Ok((INFO, FieldValue::new(out).expect("a token's texts are short")))
    }

    /// The field that revokes a token.
    #[must_use]
    pub fn revocation() -> (FieldNumber, FieldValue) {
        (REVOKED, FieldValue::default())
    }

    /// Interprets the row of a token. Returns `None` if it has no first field that this program understands.
    #[must_use]
    pub fn of(id: AccessTokenId, row: &JoinedRow) -> Option<AccessToken> {
        let info = row.get(INFO)?;
        let token = decode(id, info.value.as_bytes()).ok()?;
        let created_ms = info.version.hlc.millis();
        Some(AccessToken { is_revoked: row.get(REVOKED).is_some(), created_ms, ..token })
    }
}

/// Decodes the first field.
fn decode(id: AccessTokenId, value: &[u8]) -> Result<AccessToken, DecodeError> {
    let mut reader = Reader::new(value);
    if reader.u8()? != LAYOUT {
        return Err(DecodeError("a token of an unknown layout"));
    }
    let hash = reader.digest()?;
    let expires_at = Some(reader.u64()?).filter(|at| *at > 0);
    let scopes = reader.text(MAX_SCOPES_BYTES)?.to_owned();
    let description = reader.text(MAX_DESCRIPTION_BYTES)?.to_owned();
    reader.end()?;
    let (is_revoked, created_ms) = (false, 0);
    Ok(AccessToken { id, hash, scopes, description, expires_at, is_revoked, created_ms })
}

/// All tokens, revoked and expired ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessTokens {
    /// The tokens; none for a row that this program does not understand.
    tokens: BTreeMap<AccessTokenId, Option<Arc<AccessToken>>>,
    /// A row may be that of a token, and can't be read, its key included.
    may_have_more: bool,
}

impl AccessTokens {
    /// Whether there never was a token. A row that is damaged, or that this program does not understand, is one: access
    /// must not become free because of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && !self.may_have_more
    }

    /// The number of tokens, those included that this program does not understand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns a token, if there is one with this id that this program understands.
    #[must_use]
    pub fn get(&self, id: AccessTokenId) -> Option<&Arc<AccessToken>> {
        self.tokens.get(&id)?.as_ref()
    }

    /// The tokens, by id, without those that this program does not understand.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<AccessToken>> {
        self.tokens.values().flatten()
    }

    /// Records that a row can't be read whose key may have been that of a token, until the store is opened again.
    pub(crate) fn may_have_more(&mut self) {
        self.may_have_more = true;
    }

    /// Adds or replaces a token, from a row that changed. None stands for a row that can't be read or understood: a token
    /// that was understood before is not accepted any more.
    pub(crate) fn insert(&mut self, id: AccessTokenId, token: Option<AccessToken>) {
        let token = token.map(Arc::new);
        match self.tokens.entry(id) {
            Entry::Occupied(mut before) => drop(before.insert(token)),
            Entry::Vacant(place) => drop(place.insert(token)),
        }
    }
}

impl FromIterator<AccessToken> for AccessTokens {
    fn from_iter<I: IntoIterator<Item = AccessToken>>(tokens: I) -> AccessTokens {
        let mut registry = AccessTokens::default();
        tokens.into_iter().for_each(|token| registry.insert(token.id, Some(token)));
        registry
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Hlc, OriginId, Version};

    const ID: AccessTokenId = AccessTokenId([7; 8]);

    fn token(scopes: &str, description: &str, expires_at: Option<u64>) -> AccessToken {
        AccessToken {
            id: ID,
            hash: [9; 32],
            scopes: scopes.into(),
            description: description.into(),
            expires_at,
            is_revoked: false,
            created_ms: 5,
        }
    }

    fn row(ms: u64, field: (FieldNumber, FieldValue)) -> JoinedRow {
        let version = Version { hlc: Hlc::at_millis(ms), origin: OriginId([1; 16]) };
        JoinedRow::written(version, ms, [field]).unwrap()
    }

    #[test]
    fn a_token_reads_back_and_its_revocation_is_final() {
        for expires_at in [None, Some(1), Some(u64::MAX)] {
            let token = token("admin", "of a test", expires_at);
            let created = row(5, token.creation().unwrap());
            assert_eq!(AccessToken::of(ID, &created), Some(token.clone()));
            // In any order, also if it is created again later.
            let mut joined = row(6, AccessToken::revocation());
            assert_eq!(AccessToken::of(ID, &joined), None);
            joined.join(&created);
            joined.join(&row(9, token.creation().unwrap()));
            assert!(AccessToken::of(ID, &joined).unwrap().is_revoked);
        }
    }

    #[test]
    fn the_longest_texts_fit_a_field_and_longer_ones_are_refused() {
        let (scopes, text) = ("s".repeat(MAX_SCOPES_BYTES), "d".repeat(MAX_DESCRIPTION_BYTES));
        let longest = token(&scopes, &text, None);
        assert_eq!(AccessToken::of(ID, &row(5, longest.creation().unwrap())), Some(longest));
        let long = format!("{scopes}s");
        assert_eq!(
            token(&long, "", None).creation(),
            Err(AccessTokenError::Scopes(MAX_SCOPES_BYTES + 1))
        );
        let long = format!("{text}d");
        assert_eq!(
            token("", &long, None).creation(),
            Err(AccessTokenError::Description(MAX_DESCRIPTION_BYTES + 1))
        );
    }

    #[test]
    fn a_key_names_a_token_only_in_its_own_form() {
        assert_eq!(AccessToken::id_of(&AccessToken::key(ID)), Some(ID));
        for key in [&b"t"[..], b"t1234567", b"t123456789", b"m12345678", &[b't'; 16]] {
            assert_eq!(AccessToken::id_of(key), None, "{key:?}");
        }
        assert_eq!(ID.to_string(), "0707070707070707");
    }

    #[test]
    fn a_row_that_is_not_understood_counts_as_a_token_and_grants_nothing() {
        let mut tokens = AccessTokens::default();
        assert!(tokens.is_empty());
        tokens.insert(ID, None);
        assert!(!tokens.is_empty() && tokens.get(ID).is_none());
        tokens.insert(ID, Some(token("admin", "", None)));
        assert_eq!(tokens.get(ID).unwrap().scopes, "admin");
        tokens.insert(ID, None);
        assert!(tokens.get(ID).is_none() && tokens.iter().next().is_none());
    }

    #[test]
    fn a_row_that_may_be_a_token_counts_as_one() {
        let mut tokens = AccessTokens::default();
        tokens.may_have_more();
        assert!(!tokens.is_empty() && tokens.iter().next().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes: Vec<u8>, has_layout: bool) {
            let mut bytes = bytes;
            if has_layout {
                bytes.insert(0, LAYOUT);
            }
            if let Ok(token) = decode(ID, &bytes) {
                let (_, value) = token.creation().unwrap();
                prop_assert_eq!(value.as_bytes(), bytes);
            }
        }
    }
}
