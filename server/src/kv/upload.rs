//! Uploads: a value is stored while it arrives, a chunk at a time.

use std::pin::Pin;

use bytes::Bytes;
use kv_core::{
    NewBody, Operation, Outcome, Upload, WriteError,
    limits::{CHUNK_BYTES, MAX_VALUE_BYTES},
};

use super::{error::KvError, invalid::Invalid};
use crate::{app::App, http::incoming::Incoming, writes::Writes};

/// Receives the whole body as a value.
///
/// If it is too long, at most `max_discarded` bytes of the request are read in all.
///
/// # Errors
/// If the value is too long, its body is cut off, or a chunk can't be written.
pub async fn receive(
    app: &App,
    body: &mut Incoming,
    max_discarded: u64,
) -> Result<NewBody, KvError> {
    if let Some(declared) = body.declared().filter(|length| *length > MAX_VALUE_BYTES) {
        return Err(Invalid::value_too_long(declared).into());
    }
    let mut receiver = Receiver::new(app);
    while let Some(bytes) = receiver.stage.while_next(body).await? {
        if body.read() > MAX_VALUE_BYTES {
            // The staged chunks can be freed while the rest arrives, which is read to be counted.
            drop(receiver);
            body.discard(max_discarded).await;
            return Err(Invalid::value_too_long(body.read()).into());
        }
        receiver.push(&bytes).await?;
    }
    receiver.finish().await
}

/// Receives a value piece by piece. About two chunks are in memory.
pub struct Receiver<'a> {
    /// Makes chunks of the pieces.
    upload: Upload,
    /// Writes the chunks.
    stage: Stage<'a>,
    /// How many bytes there are so far.
    length: u64,
}

impl<'a> Receiver<'a> {
    /// A value without bytes.
    #[must_use]
    pub fn new(app: &'a App) -> Receiver<'a> {
        let stage = Stage { writes: &app.writes, in_progress: None };
        Receiver { upload: app.store.upload(), stage, length: 0 }
    }

    /// Takes the next bytes of the value.
    ///
    /// # Errors
    /// If the value is too long, or a chunk can't be written.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), KvError> {
        self.length += bytes.len() as u64;
        if self.length > MAX_VALUE_BYTES {
            return Err(Invalid::value_too_long(self.length).into());
        }
        for piece in bytes.chunks(CHUNK_BYTES) {
            for operation in self.upload.push(piece)? {
                self.stage.submit(operation).await?;
            }
        }
        Ok(())
    }

    /// Writes the rest, and returns the value ready to be put.
    ///
    /// # Errors
    /// If a chunk can't be written.
    pub async fn finish(mut self) -> Result<NewBody, KvError> {
        let (last, value) = self.upload.finish();
        if let Some(operation) = last {
            self.stage.submit(operation).await?;
        }
        self.stage.settle().await?;
        Ok(value)
    }
}

/// The write of a chunk that is under way.
type Staging<'a> = Pin<Box<dyn Future<Output = Result<Outcome, WriteError>> + Send + 'a>>;

/// Writes chunks, one at a time, while the next is read.
struct Stage<'a> {
    /// The way to the store.
    writes: &'a Writes,
    /// The write of the last chunk, until it has its answer: at most one is under way.
    in_progress: Option<Staging<'a>>,
}

impl Stage<'_> {
    /// Reads the next bytes of the body while the chunk is written.
    async fn while_next(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, KvError> {
        if let Some(staging) = &mut self.in_progress {
            tokio::select! {
                biased;
                staged = staging => {
                    self.in_progress = None;
                    staged?;
                }
                bytes = body.next() => return Ok(bytes?),
            }
        }
        Ok(body.next().await?)
    }

    /// Starts to write a chunk, once the one before is written.
    async fn submit(&mut self, chunk: Operation) -> Result<(), WriteError> {
        self.settle().await?;
        self.in_progress = Some(Box::pin(self.writes.submit(chunk)));
        Ok(())
    }

    /// Waits until all chunks are written.
    async fn settle(&mut self) -> Result<(), WriteError> {
        match self.in_progress.take() {
            Some(staging) => staging.await.map(drop),
            None => Ok(()),
        }
    }
}
