//! The attributes that a put stores beside the value.

use std::{fmt, ops::Deref};

use super::limits::MAX_METADATA_BYTES;

/// The attributes that a put stores beside the value.
///
/// ```
/// use kv_core::{Attributes, Metadata};
///
/// let attributes = Attributes {
///     metadata: Some(Metadata::new(r#"{"owner":"ana"}"#)?),
///     expires_at: Some(2_000_000_000),
/// };
/// # Ok::<(), kv_core::MetadataError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// JSON text for the application's own use.
    pub metadata: Option<Metadata>,
    /// When the entry expires, in Unix seconds. From that second on the key reads as missing.
    pub expires_at: Option<u64>,
}

/// Metadata of an entry: text of at most [`MAX_METADATA_BYTES`] bytes, by convention JSON. The
/// store does not parse it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metadata(Box<str>);

/// Metadata is too long. The value is its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata has at most {MAX_METADATA_BYTES} bytes; this has {0}")]
pub struct MetadataError(pub usize);

impl Metadata {
    /// Takes the text of metadata.
    ///
    /// # Errors
    /// [`MetadataError`] if it has more than [`MAX_METADATA_BYTES`] bytes.
    pub fn new(text: impl Into<Box<str>>) -> Result<Metadata, MetadataError> {
        let text = text.into();
        if text.len() > MAX_METADATA_BYTES {
            return Err(MetadataError(text.len()));
        }
        Ok(Metadata(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Metadata {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Metadata {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Conversions from texts, checked by [`Metadata::new`].
macro_rules! try_from {
    ($($from:ty),*) => {$(
        impl TryFrom<$from> for Metadata {
            type Error = MetadataError;

            fn try_from(text: $from) -> Result<Metadata, MetadataError> {
                Metadata::new(text)
            }
        }
    )*};
}

try_from!(&str, String, Box<str>);

impl From<Metadata> for Box<str> {
    fn from(metadata: Metadata) -> Box<str> {
        metadata.0
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_at_most_1024_bytes() {
        assert!(Metadata::new("m".repeat(1024)).is_ok());
        assert_eq!(Metadata::new("m".repeat(1025)), Err(MetadataError(1025)));
    }
}
