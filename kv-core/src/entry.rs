//! What a key holds, as a reader gets it.

use bytes::Bytes;

use crate::{Version, body::BodyReader, error::ReadError};

/// The local name of a large body's chunks. Never leaves the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyId(pub u64);

/// What a key holds.
#[derive(Debug)]
pub struct Entry {
    /// Which write this is.
    pub version: Version,
    /// JSON text of at most [`MAX_METADATA_BYTES`](crate::limits::MAX_METADATA_BYTES), as it was
    /// put; the store does not look into it.
    pub metadata: Option<Box<str>>,
    /// When it expires, in Unix seconds: from that second on the key reads as missing.
    pub expires_at: Option<u64>,
    /// The value.
    pub body: Body,
}

/// A value: in memory, or still on disk.
#[derive(Debug)]
pub enum Body {
    /// A small value.
    Inline(Bytes),
    /// A large one, to be read piece by piece.
    Large(BodyReader),
}

impl Body {
    /// The value's length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Body::Inline(bytes) => bytes.len() as u64,
            Body::Large(reader) => reader.len(),
        }
    }

    /// Whether the value is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole value, at most 25 MiB.
    ///
    /// # Errors
    /// Those of [`BodyReader::next_chunk`].
    pub fn read(self) -> Result<Bytes, ReadError> {
        match self {
            Body::Inline(bytes) => Ok(bytes),
            Body::Large(mut reader) => {
                let mut whole = Vec::with_capacity(usize::try_from(reader.len()).unwrap_or(0));
                while let Some(chunk) = reader.next_chunk()? {
                    whole.extend_from_slice(&chunk);
                }
                Ok(whole.into())
            }
        }
    }
}

/// An entry as a list shows it: without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Bytes,
    /// Which write this is.
    pub version: Version,
    /// As in [`Entry`].
    pub metadata: Option<Box<str>>,
    /// As in [`Entry`].
    pub expires_at: Option<u64>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, by key in byte order.
    pub entries: Vec<Listed>,
    /// Whether nothing follows. If false, the next page begins after the last key here.
    pub complete: bool,
}

/// Which keys a list shows.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// Only keys that start with this.
    pub prefix: &'a [u8],
    /// Only keys after this one, which need not exist: a page's last key is the next page's start,
    /// whatever was deleted or put in between.
    pub after: Option<&'a [u8]>,
    /// At most so many, 1 to [`MAX_LIST_LIMIT`](crate::limits::MAX_LIST_LIMIT); others are moved
    /// into that range.
    pub limit: usize,
}

impl Default for ListQuery<'_> {
    fn default() -> Self {
        ListQuery { prefix: b"", after: None, limit: crate::limits::MAX_LIST_LIMIT }
    }
}

/// What a put says beside the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// JSON text, at most [`MAX_METADATA_BYTES`](crate::limits::MAX_METADATA_BYTES).
    pub metadata: Option<Box<str>>,
    /// When the entry expires, in Unix seconds.
    pub expires_at: Option<u64>,
}
