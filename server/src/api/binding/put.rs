//! Put: a value on its way from the client to the disk, a chunk at a time.

use std::pin::Pin;

use bytes::Bytes;
use http::{Response, header};
use kv_core::{
    Attributes, Key, Metadata, NamespaceId, NewBody, Operation, Outcome, WriteError,
    limits::{CHUNK_BYTES, MAX_VALUE_BYTES},
};

use super::{Call, get::etag, incoming::Incoming, metadata, options, refusal::Refusal};
use crate::{admission::WriteAdmission, app::App, body::Body};

/// Answers a put.
///
/// The value's chunks are written as they come, and the entry when all are there: a body that breaks
/// off leaves nothing behind. Holds what the connection has read and about two chunks more.
pub(super) async fn answer(
    app: &App,
    namespace: NamespaceId,
    call: &Call<'_>,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let key = call.target.key()?;
    let expires_at = options::expires_at(call.target.query(), app.store.now_ms() / 1000)?;
    let metadata = call.metadata()?.map(|text| metadata::parse(text.as_bytes())).transpose()?;
    let metadata = metadata.map(Metadata::new).transpose().map_err(WriteError::from)?;
    let value = receive(app, body).await?;
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

/// Takes the whole value in.
async fn receive(app: &App, body: &mut Incoming) -> Result<NewBody, Refusal> {
    if let Some(declared) = body.declared().filter(|length| *length > MAX_VALUE_BYTES) {
        return Err(Refusal::value_too_long(declared));
    }
    let mut upload = app.store.upload();
    let mut stage = Stage { admission: &app.writes, under_way: None };
    while let Some(bytes) = stage.while_next(body).await? {
        if body.read() > MAX_VALUE_BYTES {
            // What is staged can be freed while the rest comes, which must be counted.
            drop((upload, stage));
            body.drain().await;
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

type Staging<'a> = Pin<Box<dyn Future<Output = Result<Outcome, WriteError>> + Send + 'a>>;

/// Chunks on their way to the disk: one at a time, while the next is read.
struct Stage<'a> {
    admission: &'a WriteAdmission,
    under_way: Option<Staging<'a>>,
}

impl Stage<'_> {
    /// The body's next bytes. Meanwhile the chunk goes on its way.
    async fn while_next(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
        if let Some(staging) = &mut self.under_way {
            tokio::select! {
                biased;
                staged = staging => {
                    self.under_way = None;
                    staged?;
                }
                bytes = body.next() => return bytes,
            }
        }
        body.next().await
    }

    /// Sends a chunk on its way, after the one before has arrived.
    async fn submit(&mut self, chunk: Operation) -> Result<(), WriteError> {
        self.settle().await?;
        self.under_way = Some(Box::pin(self.admission.submit(chunk)));
        Ok(())
    }

    /// Waits until all have arrived.
    async fn settle(&mut self) -> Result<(), WriteError> {
        match self.under_way.take() {
            Some(staging) => staging.await.map(drop),
            None => Ok(()),
        }
    }
}
