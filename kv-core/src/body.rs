//! Large bodies: written in chunks before the put that makes them visible, read chunk by chunk
//! without a snapshot, freed after their last reader.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};

use crate::{
    entry::BodyId,
    error::{ReadError, WriteError},
    limits::{CHUNK_BYTES, MAX_INLINE_BYTES, MAX_VALUE_BYTES},
    operation::Operation,
    record::Large,
    view::FoundState,
};

/// Which bodies are read, and which wait to be freed. Shared by readers, uploads and the committer.
#[derive(Debug, Default)]
pub(crate) struct Bodies(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    next: u64,
    /// Rises when the store was taken up again after a failure: what was staged before is dead.
    epoch: u64,
    pins: HashMap<BodyId, u32>,
    dead: BTreeSet<BodyId>,
    claimed: BTreeSet<BodyId>,
}

impl Bodies {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts over after the store was opened, or taken up again after a failure: `next` is above
    /// every id on disk, and `dead` are those with a row in the pending table.
    pub(crate) fn restart(&self, next: BodyId, dead: impl IntoIterator<Item = BodyId>) {
        let mut ledger = self.ledger();
        ledger.next = ledger.next.max(next.0);
        ledger.epoch += 1;
        ledger.claimed.clear();
        // What was buried since may be alive again: the commit that replaced it may be lost.
        ledger.dead = dead.into_iter().collect();
    }

    fn allocate(&self) -> (BodyId, u64) {
        let mut ledger = self.ledger();
        ledger.next += 1;
        (BodyId(ledger.next - 1), ledger.epoch)
    }

    /// Nothing refers to this body any more.
    pub(crate) fn mark_garbage(&self, body: BodyId) {
        self.ledger().dead.insert(body);
    }

    /// Up to `limit` dead bodies that nobody reads; until [`Bodies::freed`], nobody can begin to.
    pub(crate) fn claim(&self, limit: usize) -> Vec<BodyId> {
        let mut ledger = self.ledger();
        let is_free = |body: &&BodyId| !ledger.pins.contains_key(body);
        let free: Vec<_> = ledger.dead.iter().filter(is_free).take(limit).copied().collect();
        for body in &free {
            ledger.dead.remove(body);
            ledger.claimed.insert(*body);
        }
        free
    }

    /// The condemned bodies are gone from the newest view.
    pub(crate) fn freed(&self, bodies: &[BodyId]) {
        let mut ledger = self.ledger();
        for body in bodies {
            ledger.claimed.remove(body);
        }
    }

    /// The condemned bodies were not freed after all.
    pub(crate) fn unclaim(&self, bodies: &[BodyId]) {
        let mut ledger = self.ledger();
        for body in bodies {
            // Not condemned any more: the store was taken up again meanwhile, and the commit that
            // freed the body may be lost.
            if ledger.claimed.remove(body) {
                ledger.dead.insert(*body);
            }
        }
    }

    /// How many bodies wait to be freed.
    pub(crate) fn waiting(&self) -> usize {
        let ledger = self.ledger();
        // One that is being freed, a part at a time, is both.
        ledger.dead.union(&ledger.claimed).count()
    }

    /// Keeps a body from being freed; none if it is being freed already.
    fn pin(self: &Arc<Self>, body: BodyId) -> Option<Pin> {
        let mut ledger = self.ledger();
        if ledger.claimed.contains(&body) {
            return None;
        }
        *ledger.pins.entry(body).or_default() += 1;
        Some(Pin { bodies: Arc::clone(self), body })
    }
}

#[derive(Debug)]
struct Pin {
    bodies: Arc<Bodies>,
    body: BodyId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut ledger = self.bodies.ledger();
        if let Some(count) = ledger.pins.get_mut(&self.body) {
            *count -= 1;
            if *count == 0 {
                ledger.pins.remove(&self.body);
            }
        }
    }
}

/// Where a reader gets chunks from: the newest view at each call.
pub trait ChunkSource: Send + Sync {
    /// The chunk, or none if there is no such row.
    ///
    /// # Errors
    /// If it is damaged or can't be read.
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError>;
}

/// Reads a large body, chunk by chunk. Holds no snapshot, so it may be as slow as it likes; what is
/// read is the value as it was when the reader was made, whatever is put meanwhile.
pub struct BodyReader {
    source: Arc<dyn ChunkSource>,
    _pin: Pin,
    large: Large,
    /// The first chunk, which was read to see that it is there.
    first: Option<Bytes>,
    next: u32,
    left: u64,
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader").field("len", &self.large.len).finish_non_exhaustive()
    }
}

impl BodyReader {
    /// A reader of `large`, or none if it has been freed since the caller read the entry's head:
    /// the caller then looks again.
    pub(crate) fn open(
        bodies: &Arc<Bodies>,
        source: Arc<dyn ChunkSource>,
        large: Large,
    ) -> Result<Option<BodyReader>, ReadError> {
        let Some(pin) = bodies.pin(large.body) else {
            return Ok(None);
        };
        // Pinned, it can't be freed from here on; but it may have been before.
        let Some(first) = source.chunk(large.body, 0)? else {
            return Ok(None);
        };
        Ok(Some(BodyReader {
            source,
            _pin: pin,
            large,
            first: Some(first),
            next: 0,
            left: large.len,
        }))
    }

    /// The whole body's length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.large.len
    }

    /// Never: a large body has bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// BLAKE3 of the whole body.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.large.digest
    }

    /// The next piece, at most [`CHUNK_BYTES`] long; none at the end. Reads the disk.
    ///
    /// # Errors
    /// If the chunk is missing or damaged, or the engine can't read.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        let chunk = match self.first.take() {
            Some(first) => Some(first),
            None => self.source.chunk(self.large.body, self.next)?,
        };
        let chunk = chunk.ok_or(ReadError::DamagedBody("a chunk is missing"))?;
        if chunk.len() as u64 != self.left.min(CHUNK_BYTES as u64) {
            return Err(ReadError::DamagedBody("a chunk has another length"));
        }
        self.next += 1;
        self.left -= chunk.len() as u64;
        Ok(Some(chunk))
    }
}

/// A body ready to be put: the argument of [`Operation::Put`].
#[derive(Debug)]
pub struct NewBody(pub(crate) NewBodyKind);

impl NewBody {
    /// BLAKE3 of the value, if it is a large one: a receiver holds it against what it was told.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        match &self.0 {
            NewBodyKind::Inline(_) => None,
            NewBodyKind::Single { digest, .. } | NewBodyKind::Staged { digest, .. } => {
                Some(*digest)
            }
        }
    }

    /// What a reader finds where this body was put.
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

    /// How many of its bytes are not on their way to the disk yet.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        match &self.0 {
            NewBodyKind::Inline(bytes) | NewBodyKind::Single { bytes, .. } => bytes.len(),
            NewBodyKind::Staged { .. } => 0,
        }
    }
}

#[derive(Debug)]
pub(crate) enum NewBodyKind {
    /// Goes into the row.
    Inline(Bytes),
    /// One chunk, written with the row.
    Single { bytes: Bytes, digest: [u8; 32], ticket: Arc<UploadTicket> },
    /// Written already.
    Staged { len: u64, digest: [u8; 32], ticket: Arc<UploadTicket> },
}

/// A piece of a large body on its way to the disk.
#[derive(Debug)]
pub struct StagedChunk {
    pub(crate) index: u32,
    pub(crate) bytes: Bytes,
    pub(crate) ticket: Arc<UploadTicket>,
}

/// Keeps an upload's chunks until its put; if none comes, hands them to the sweep. Held by the
/// upload and by each of its operations, so that the sweep comes after the last of them.
pub(crate) struct UploadTicket {
    bodies: Arc<Bodies>,
    pub(crate) body: BodyId,
    epoch: u64,
    used: AtomicBool,
}

impl fmt::Debug for UploadTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

impl UploadTicket {
    /// Whether what was staged under this ticket is still there.
    pub(crate) fn is_current(&self) -> bool {
        self.epoch == self.bodies.ledger().epoch
    }

    /// A committed entry holds the body now.
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

/// Takes a value piece by piece and cuts it into what the store writes. Dropping it before its
/// put leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    bodies: Arc<Bodies>,
    ticket: Option<Arc<UploadTicket>>,
    buffer: BytesMut,
    hasher: blake3::Hasher,
    len: u64,
    staged: u32,
}

impl Upload {
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

    /// How many bytes were pushed.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was pushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next bytes of the value, and answers what must be submitted before
    /// [`Upload::finish`]: in most calls nothing, else some [`Operation::Stage`]. Buffers less than
    /// one chunk beside the bytes given.
    ///
    /// # Errors
    /// [`WriteError::Invalid`] if the value is over 25 MiB.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Operation>, WriteError> {
        self.len += bytes.len() as u64;
        if self.len > MAX_VALUE_BYTES {
            return Err(WriteError::Invalid(format!(
                "a value has at most {MAX_VALUE_BYTES} bytes"
            )));
        }
        let mut bytes = bytes;
        let mut operations = Vec::new();
        // A chunk is staged when more bytes follow: a body of exactly one goes with its put.
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

    fn stage(&mut self) -> Operation {
        let bytes = self.buffer.split().freeze();
        self.hasher.update(&bytes);
        let index = self.staged;
        self.staged += 1;
        Operation::Stage(StagedChunk { index, bytes, ticket: self.ticket() })
    }

    fn ticket(&mut self) -> Arc<UploadTicket> {
        let bodies = &self.bodies;
        let ticket = self.ticket.get_or_insert_with(|| {
            let (body, epoch) = bodies.allocate();
            let used = AtomicBool::new(false);
            Arc::new(UploadTicket { bodies: Arc::clone(bodies), body, epoch, used })
        });
        Arc::clone(ticket)
    }

    /// Ends the value. All operations answered by [`Upload::push`] must have been acknowledged; the
    /// last one, if there is one here, must be before the put.
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
        let last = (!self.buffer.is_empty()).then(|| self.stage());
        let digest = *self.hasher.finalize().as_bytes();
        let ticket = self.ticket();
        (last, NewBody(NewBodyKind::Staged { len: self.len, digest, ticket }))
    }
}
