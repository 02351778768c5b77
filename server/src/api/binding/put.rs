//! Put: stores a value while it arrives, a chunk at a time.

use std::pin::Pin;

use bytes::Bytes;
use http::{Response, header};
use kv_core::{
    Attributes, Key, Metadata, NamespaceId, NewBody, Operation, Outcome, WriteError,
    limits::{CHUNK_BYTES, MAX_VALUE_BYTES},
};

use super::{call::Call, get::etag, metadata, options, refusal::Refusal};
use crate::{
    app::App,
    http::{Body, incoming::Incoming},
    writes::Writes,
};

/// Responds to a put. If the value is too long, at most `max_discarded` bytes are read.
///
/// The chunks of the value are written as they arrive, and the entry once all are there: a body that is
/// cut off stores nothing. In memory are the bytes that the connection has read and about two chunks
/// more.
pub(super) async fn respond(
    app: &App,
    namespace: NamespaceId,
    call: &Call<'_>,
    body: &mut Incoming,
    max_discarded: u64,
) -> Result<Response<Body>, Refusal> {
    let key = call.target.key()?;
    let expires_at = options::expires_at(call.target.query(), app.store.now_ms() / 1000)?;
    let metadata = call.metadata()?.map(|text| metadata::parse(text.as_bytes())).transpose()?;
    let metadata = metadata.map(Metadata::new).transpose().map_err(WriteError::from)?;
    let value = receive(app, body, max_discarded).await?;
    let put = Operation::Put {
        namespace,
        key: Key::new(key.as_bytes()).map_err(WriteError::from)?,
        body: value,
        attributes: Attributes { metadata, expires_at },
    };
    let mut response = Response::new(Body::empty());
    if let Outcome::Written(written) = app.writes.submit(put).await? {
        response.headers_mut().insert(header::ETAG, etag(written.version));
    }
    Ok(response)
}

/// Receives the whole value.
async fn receive(app: &App, body: &mut Incoming, max_discarded: u64) -> Result<NewBody, Refusal> {
    if let Some(declared) = body.declared().filter(|length| *length > MAX_VALUE_BYTES) {
        return Err(Refusal::value_too_long(declared));
    }
    let mut upload = app.store.upload();
    let mut stage = Stage { writes: &app.writes, in_progress: None };
    while let Some(bytes) = stage.while_next(body).await? {
        if body.read() > MAX_VALUE_BYTES {
            // The staged chunks can be freed while the rest arrives, which is read to be counted.
            drop((upload, stage));
            body.discard(max_discarded).await;
            return Err(Refusal::value_too_long(body.read()));
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
    async fn while_next(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
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
