//! Reading the bytes that a location keeps for itself.

use std::{fmt, vec};

use bytes::Bytes;

use super::reader::{Body, BodyReader};
use crate::error::ReadError;

/// Reads the bytes that a location keeps under a name, piece by piece. It holds no snapshot, and reads
/// the bytes as they were when the reader was made.
pub struct LocalReader {
    /// The parts that follow the current one.
    parts: vec::IntoIter<Body>,
    /// Reads the current part; none between two parts.
    current: Option<BodyReader>,
    /// The length of all parts, in bytes.
    len: u64,
}

impl fmt::Debug for LocalReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalReader").field("len", &self.len).finish_non_exhaustive()
    }
}

impl LocalReader {
    /// Creates a reader over the parts, in their order.
    pub(crate) fn new(parts: Vec<Body>) -> LocalReader {
        let len = parts.iter().map(Body::len).sum();
        LocalReader { parts: parts.into_iter(), current: None, len }
    }

    /// Returns how many bytes there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads the next piece from the disk, at most [`CHUNK_BYTES`](crate::limits::CHUNK_BYTES) bytes;
    /// `None` at the end. Pieces end where the store's chunks end, not where they were saved.
    ///
    /// # Errors
    /// If the next piece is missing, damaged or not the one that was saved, or the engine can't read.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(reader) = &mut self.current {
                if let Some(chunk) = reader.next_chunk()? {
                    return Ok(Some(chunk));
                }
                self.current = None;
            }
            match self.parts.next() {
                None => return Ok(None),
                Some(Body::Inline(bytes)) => return Ok(Some(bytes)),
                Some(Body::Large(reader)) => self.current = Some(reader),
            }
        }
    }

    /// Reads all bytes into memory.
    ///
    /// # Errors
    /// As for [`LocalReader::next_chunk`].
    pub fn read(mut self) -> Result<Vec<u8>, ReadError> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}
