//! Reading values: an entry, and the chunks of a large body without a snapshot.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::ledger::{Bodies, Pin};
use crate::{
    error::ReadError,
    types::{BodyId, Large, Metadata, Version, limits::CHUNK_BYTES},
};

/// An entry as a reader gets it.
#[derive(Debug)]
pub struct Entry {
    /// The version of the write that put it.
    pub version: Version,
    /// See [`Attributes`](crate::Attributes).
    pub metadata: Option<Metadata>,
    /// When it expires, in Unix seconds. From that second on the key reads as missing.
    pub expires_at: Option<u64>,
    /// The value.
    pub body: Body,
}

/// A value, in memory or still on disk.
#[derive(Debug)]
pub enum Body {
    /// A small value.
    Inline(Bytes),
    /// A large value, which is read chunk by chunk.
    Large(BodyReader),
}

impl Body {
    /// Returns the length of the value in bytes.
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

    /// Reads the whole value into memory, at most 25 MiB.
    ///
    /// # Errors
    /// As for [`BodyReader::next_chunk`].
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

/// The source of a reader's chunks: the newest view at each call.
pub trait ChunkSource: Send + Sync {
    /// Reads a chunk, or returns `None` if there is no such row.
    ///
    /// # Errors
    /// If it is damaged or can't be read.
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError>;
}

/// Reads a large body chunk by chunk.
///
/// It holds no snapshot, so a slow reader does no harm. It reads the value as it was when the reader was
/// made, even if the key is put meanwhile.
///
/// The checksum of a chunk shows that it was written for this body. It can't show that it is not one of an earlier body
/// with the same id, from a page that a flipped bit points to. So the digest of the body is compared before the last
/// chunk is handed out: of a value of one chunk, before anything is.
pub struct BodyReader {
    /// Where the chunks are read, each from the newest view.
    source: Arc<dyn ChunkSource>,
    /// Keeps the body's chunks from being freed.
    _pin: Pin,
    /// The body: its id, length and digest.
    large: Large,
    /// The first chunk, which was read to check that it exists.
    first: Option<Bytes>,
    /// The index of the next chunk.
    next: u32,
    /// The bytes that were not read yet.
    left: u64,
    /// BLAKE3 of what was read.
    hasher: Box<blake3::Hasher>,
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader").field("len", &self.large.len).finish_non_exhaustive()
    }
}

impl BodyReader {
    /// Makes a reader of `large`, or returns `None` if the body was freed since the caller read the
    /// entry's head. The caller then reads the head again.
    pub(crate) fn open(
        bodies: &Arc<Bodies>,
        source: Arc<dyn ChunkSource>,
        large: Large,
    ) -> Result<Option<BodyReader>, ReadError> {
        let Some(pin) = bodies.pin(large.body) else {
            return Ok(None);
        };
        // From here on the pin keeps it from being freed, but that may have happened before.
        let Some(first) = source.chunk(large.body, 0)? else {
            return Ok(None);
        };
        let mut reader = BodyReader {
            source,
            _pin: pin,
            large,
            first: None,
            next: 0,
            left: large.len,
            hasher: Box::default(),
        };
        reader.check(&first)?;
        reader.first = Some(first);
        Ok(Some(reader))
    }

    /// Returns the length of the whole body in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.large.len
    }

    /// Always false: a large body has bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns BLAKE3 of the whole body.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.large.digest
    }

    /// Reads the next chunk from the disk, at most [`CHUNK_BYTES`] bytes; `None` at the end.
    ///
    /// # Errors
    /// If the chunk is missing or damaged, or the engine can't read.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        let chunk = match self.first.take() {
            Some(first) => first,
            None => {
                let chunk = self.source.chunk(self.large.body, self.next)?;
                let chunk = chunk.ok_or(ReadError::DamagedBody("a chunk is missing"))?;
                self.check(&chunk)?;
                chunk
            }
        };
        self.next += 1;
        self.left -= chunk.len() as u64;
        Ok(Some(chunk))
    }

    /// Checks the next chunk: its length, and with the last one the digest of the body.
    fn check(&mut self, chunk: &Bytes) -> Result<(), ReadError> {
        let expected = self.left.min(CHUNK_BYTES as u64);
        if chunk.len() as u64 != expected {
            return Err(ReadError::DamagedBody("a chunk has another length"));
        }
        self.hasher.update(chunk);
        let is_last = self.left == expected;
        if is_last && *self.hasher.finalize().as_bytes() != self.large.digest {
            return Err(ReadError::DamagedBody("it has another digest"));
        }
        Ok(())
    }
}
