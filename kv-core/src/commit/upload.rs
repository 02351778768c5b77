//! Uploads: a value arrives in pieces and leaves as operations.

use std::sync::Arc;

use bytes::BytesMut;

use super::operation::Operation;
use crate::{
    body::{Bodies, NewBody, NewBodyKind, StagedChunk, UploadTicket},
    error::{InvalidWrite, WriteError},
    types::limits::{CHUNK_BYTES, MAX_INLINE_BYTES, MAX_VALUE_BYTES},
};

/// Takes a value in pieces of any size and cuts it into chunks, so that a large value need not be in
/// memory. If it is dropped before its put, the store frees its chunks.
#[derive(Debug)]
pub struct Upload {
    /// The ledger, for the id of a large body.
    bodies: Arc<Bodies>,
    /// The large body, once its first chunk was staged.
    ticket: Option<Arc<UploadTicket>>,
    /// The bytes that are not staged yet: at most one chunk.
    buffer: BytesMut,
    /// Computes the digest of the value.
    hasher: blake3::Hasher,
    /// The bytes that have arrived.
    len: u64,
    /// The chunks that were staged.
    staged: u32,
}

impl Upload {
    /// Starts an upload. It takes the id of a body only for a value that does not fit a row.
    pub(crate) fn new(bodies: Arc<Bodies>) -> Upload {
        Upload {
            bodies,
            ticket: None,
            buffer: BytesMut::new(),
            hasher: blake3::Hasher::new(),
            len: 0,
            staged: 0,
        }
    }

    /// Returns how many bytes were pushed.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no bytes were pushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next bytes of the value. Returns the operations that must be submitted before
    /// [`Upload::finish`]: none in most calls, else some [`Operation::Stage`]. Buffers less than one chunk
    /// beyond the given bytes.
    ///
    /// # Errors
    /// [`InvalidWrite::Value`] if the value is longer than 25 MiB.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Operation>, WriteError> {
        self.len += bytes.len() as u64;
        if self.len > MAX_VALUE_BYTES {
            return Err(InvalidWrite::Value.into());
        }
        let mut bytes = bytes;
        let mut operations = Vec::new();
        // A chunk is staged when more bytes follow: a body of exactly one chunk goes with its put.
        while self.buffer.len() + bytes.len() > CHUNK_BYTES {
            let (head, tail) = bytes.split_at(CHUNK_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(head);
            bytes = tail;
            operations.push(self.stage());
        }
        if self.buffer.is_empty() && self.staged > 0 {
            self.buffer.reserve(CHUNK_BYTES);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(operations)
    }

    /// Returns the operation that stages what is in the buffer as the next chunk.
    fn stage(&mut self) -> Operation {
        let bytes = self.buffer.split().freeze();
        self.hasher.update(&bytes);
        let index = self.staged;
        self.staged += 1;
        Operation::Stage(StagedChunk { index, bytes, ticket: self.ticket() })
    }

    /// Returns the ticket that keeps the chunks from garbage collection. The first call creates it.
    fn ticket(&mut self) -> Arc<UploadTicket> {
        let bodies = &self.bodies;
        Arc::clone(self.ticket.get_or_insert_with(|| UploadTicket::new(bodies)))
    }

    /// Ends the value. All operations that [`Upload::push`] returned must have been acknowledged. The
    /// operation that this call returns, if any, must come before the put.
    #[must_use]
    pub fn finish(mut self) -> (Option<Operation>, NewBody) {
        if self.staged == 0 {
            let bytes = self.buffer.split().freeze();
            if bytes.len() <= MAX_INLINE_BYTES {
                return (None, NewBody(NewBodyKind::Inline(bytes)));
            }
            let digest = *blake3::hash(&bytes).as_bytes();
            let ticket = self.ticket();
            return (None, NewBody(NewBodyKind::Single { bytes, digest, ticket }));
        }
        self.finish_staged()
    }

    /// [`Upload::finish`] for a batch, where no chunk goes with the put: a value that does not fit a row
    /// is staged whole.
    pub(crate) fn finish_ahead(mut self) -> (Option<Operation>, NewBody) {
        if self.staged == 0 && self.buffer.len() <= MAX_INLINE_BYTES {
            return (None, NewBody::inline(self.buffer.split().freeze()));
        }
        self.finish_staged()
    }

    /// Ends a value of more than one chunk: the operation for its last bytes, and the body.
    fn finish_staged(mut self) -> (Option<Operation>, NewBody) {
        let last = (!self.buffer.is_empty()).then(|| self.stage());
        let digest = *self.hasher.finalize().as_bytes();
        let ticket = self.ticket();
        (last, NewBody(NewBodyKind::Staged { len: self.len, digest, ticket }))
    }
}
