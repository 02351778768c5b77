//! Uploads: a value is stored while it arrives, a chunk at a time.

use std::pin::Pin;

use bytes::Bytes;
use kv_core::{
    NewBody, Operation, Outcome, WriteError,
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
    let mut upload = app.store.upload();
    let mut stage = Stage { writes: &app.writes, in_progress: None };
    while let Some(bytes) = stage.while_next(body).await? {
        if body.read() > MAX_VALUE_BYTES {
            // The staged chunks can be freed while the rest arrives, which is read to be counted.
            drop((upload, stage));
            body.discard(max_discarded).await;
            return Err(Invalid::value_too_long(body.read()).into());
        }
        for piece in bytes.chunks(CHUNK_BYTES) {
            for operation in upload.push(piece)? {
                stage.submit(operation).await?;
            }
        }
    }
    let (last, value) = upload.finish();
    if let Some(operation) = last {
        stage.submit(operation).await?;
    }
    stage.settle().await?;
    Ok(value)
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
