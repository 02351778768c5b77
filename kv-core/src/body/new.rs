//! Values on their way into the store.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;

use super::ledger::Bodies;
use crate::types::{BodyId, FoundState};

/// A value that is ready to be put.
#[derive(Debug)]
pub struct NewBody(pub(crate) NewBodyKind);

impl NewBody {
    /// Returns BLAKE3 of the value if it is large. A receiver compares it with the sender's.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        match &self.0 {
            NewBodyKind::Inline(_) => None,
            NewBodyKind::Single { digest, .. } | NewBodyKind::Staged { digest, .. } => {
                Some(*digest)
            }
        }
    }

    /// Makes a body that goes into its row.
    pub(crate) fn inline(bytes: impl Into<Bytes>) -> NewBody {
        NewBody(NewBodyKind::Inline(bytes.into()))
    }

    /// Returns what a reader finds where this body was put.
    pub(crate) fn found(&self) -> FoundState {
        match &self.0 {
            NewBodyKind::Inline(bytes) => FoundState::Inline(bytes.clone()),
            NewBodyKind::Single { bytes, digest, ticket } => {
                FoundState::Large { body: ticket.body, len: bytes.len() as u64, digest: *digest }
            }
            NewBodyKind::Staged { len, digest, ticket } => {
                FoundState::Large { body: ticket.body, len: *len, digest: *digest }
            }
        }
    }

    /// Returns how many of its bytes were not staged yet.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        match &self.0 {
            NewBodyKind::Inline(bytes) | NewBodyKind::Single { bytes, .. } => bytes.len(),
            NewBodyKind::Staged { .. } => 0,
        }
    }
}

/// Where the bytes of a value are when its put is submitted.
#[derive(Debug)]
pub(crate) enum NewBodyKind {
    /// Goes into the row.
    Inline(Bytes),
    /// One chunk, written with the row.
    Single { bytes: Bytes, digest: [u8; 32], ticket: Arc<UploadTicket> },
    /// All chunks are staged.
    Staged { len: u64, digest: [u8; 32], ticket: Arc<UploadTicket> },
}

/// A chunk of a large body on its way to the disk.
#[derive(Debug)]
pub struct StagedChunk {
    /// The place of the chunk in its body, from 0.
    pub(crate) index: u32,
    /// The bytes of the chunk: `CHUNK_BYTES`, fewer only in the last.
    pub(crate) bytes: Bytes,
    /// The body that the chunk belongs to.
    pub(crate) ticket: Arc<UploadTicket>,
}

/// Keeps the chunks of an upload until its put. If no put comes, marks them as garbage. The upload and
/// each of its operations hold it, so that garbage collection follows the last of them.
pub(crate) struct UploadTicket {
    /// Where the body is marked as garbage if no row takes it.
    bodies: Arc<Bodies>,
    /// The body that the chunks belong to.
    pub(crate) body: BodyId,
    /// The epoch of the ledger in which the upload began. In a later one its chunks may be lost.
    epoch: u64,
    /// Whether a row has taken the body.
    used: AtomicBool,
}

impl fmt::Debug for UploadTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

impl UploadTicket {
    /// Gives a new body an id.
    pub(crate) fn new(bodies: &Arc<Bodies>) -> Arc<UploadTicket> {
        let (body, epoch) = bodies.allocate();
        let used = AtomicBool::new(false);
        Arc::new(UploadTicket { bodies: Arc::clone(bodies), body, epoch, used })
    }

    /// Whether the chunks that were staged under this ticket still exist.
    pub(crate) fn is_current(&self) -> bool {
        self.epoch == self.bodies.epoch()
    }

    /// Records that a committed entry has the body now.
    pub(crate) fn set_used(&self) {
        self.used.store(true, Ordering::Release);
    }
}

impl Drop for UploadTicket {
    fn drop(&mut self) {
        if !self.used.load(Ordering::Acquire) {
            self.bodies.mark_garbage(self.body);
        }
    }
}
