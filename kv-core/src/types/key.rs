//! Keys: 1 to 512 bytes, checked once.

use std::{borrow::Borrow, fmt, ops::Deref};

use bytes::Bytes;

use super::limits::MAX_KEY_BYTES;

/// The key of an entry: 1 to [`MAX_KEY_BYTES`] bytes, any bytes.
///
/// Keys order by their bytes. A clone is cheap: it shares the bytes.
///
/// ```
/// use kv_core::Key;
///
/// let key = Key::new("user:1")?;
/// assert_eq!(key, "user:1");
/// assert!(Key::new("").is_err());
/// # Ok::<(), kv_core::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// A key is empty or too long. The value is its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 1 to {MAX_KEY_BYTES} bytes; this one has {0}")]
pub struct KeyError(pub usize);

impl Key {
    /// Copies the bytes of a key.
    ///
    /// # Errors
    /// [`KeyError`] if there are no bytes, or more than [`MAX_KEY_BYTES`].
    pub fn new(key: impl AsRef<[u8]>) -> Result<Key, KeyError> {
        let key = key.as_ref();
        check(key)?;
        Ok(Key(Bytes::copy_from_slice(key)))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Checks the length of a key.
fn check(key: &[u8]) -> Result<(), KeyError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) { Ok(()) } else { Err(KeyError(key.len())) }
}

impl TryFrom<Bytes> for Key {
    type Error = KeyError;

    /// Takes the bytes without a copy.
    fn try_from(key: Bytes) -> Result<Key, KeyError> {
        check(&key)?;
        Ok(Key(key))
    }
}

/// Conversions from owned and borrowed bytes, checked by the conversion from [`Bytes`].
macro_rules! try_from {
    ($($from:ty: $into_bytes:expr),* $(,)?) => {$(
        impl TryFrom<$from> for Key {
            type Error = KeyError;

            fn try_from(key: $from) -> Result<Key, KeyError> {
                let into_bytes: fn($from) -> Bytes = $into_bytes;
                Key::try_from(into_bytes(key))
            }
        }
    )*};
}

try_from! {
    &[u8]: Bytes::copy_from_slice,
    &str: |key| Bytes::copy_from_slice(key.as_bytes()),
    Vec<u8>: Bytes::from,
    String: Bytes::from,
}

impl From<Key> for Bytes {
    fn from(key: Key) -> Bytes {
        key.0
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Comparisons with what keys are written as in tests and callers.
macro_rules! equal_to {
    ($($other:ty),*) => {$(
        impl PartialEq<$other> for Key {
            fn eq(&self, other: &$other) -> bool {
                let other: &[u8] = other.as_ref();
                self.0 == *other
            }
        }
    )*};
}

equal_to!([u8], &[u8], str, &str, String, Vec<u8>, Bytes);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_512_bytes() {
        for (len, is_key) in [(0, false), (1, true), (512, true), (513, false)] {
            let bytes = vec![0xff; len];
            assert_eq!(Key::new(&bytes).is_ok(), is_key, "{len}");
            assert_eq!(Key::try_from(bytes).is_ok(), is_key, "{len}");
        }
        assert_eq!(Key::new(""), Err(KeyError(0)));
    }
}
