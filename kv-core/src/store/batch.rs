//! Batches: several writes in one commit, all or none.

use bytes::Bytes;

use super::handle::Store;
use crate::{
    commit::{BatchWrite, NewContent, Operation, Outcome, Upload, Written},
    error::{InvalidWrite, WriteError},
    types::{
        Attributes, Key, NamespaceId,
        limits::{MAX_BATCH_BYTES, MAX_BATCH_WRITES, MAX_INLINE_BYTES, MAX_VALUE_BYTES},
    },
};

/// Puts and deletes of several keys that become visible and durable together, or not at all.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let store = kv_core::Store::open(directory.path())?;
/// let orders = store.namespace("orders")?.id;
/// let mut batch = store.batch();
/// batch.put(orders, "order:1", "2 apples")?;
/// batch.delete(orders, "cart:1")?;
/// store.write(batch)?;
/// # Ok(())
/// # }
/// ```
///
/// A batch has at most [`MAX_BATCH_WRITES`] writes, in any namespaces, and [`MAX_BATCH_BYTES`] of keys,
/// metadata and values of up to [`MAX_INLINE_BYTES`]. The store writes longer values ahead of the batch,
/// invisible; they do not count, and are in memory until then. If a key occurs several times, its last
/// write counts. At a peer, the writes of a batch arrive one by one.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    writes: Vec<Write>,
    bytes: usize,
}

/// One write of a batch.
#[derive(Clone, Debug)]
struct Write {
    namespace: NamespaceId,
    key: Key,
    /// The value and its attributes; `None` deletes the key.
    value: Option<(Bytes, Attributes)>,
}

impl WriteBatch {
    /// Makes an empty batch.
    #[must_use]
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// Returns how many writes the batch has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether the batch has no writes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds a put without metadata or expiry.
    ///
    /// # Errors
    /// [`WriteError::Invalid`] if the key, the value or the batch would break a bound. The batch is then
    /// as it was.
    pub fn put(
        &mut self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<&mut WriteBatch, WriteError> {
        self.put_with(namespace, key, value, Attributes::default())
    }

    /// Adds a put with metadata or an expiry.
    ///
    /// # Errors
    /// As for [`WriteBatch::put`].
    pub fn put_with(
        &mut self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        attributes: Attributes,
    ) -> Result<&mut WriteBatch, WriteError> {
        let value = value.into();
        if value.len() as u64 > MAX_VALUE_BYTES {
            return Err(InvalidWrite::Value.into());
        }
        self.push(Write { namespace, key: Key::new(key)?, value: Some((value, attributes)) })
    }

    /// Adds the deletion of a key, whether it exists or not.
    ///
    /// # Errors
    /// As for [`WriteBatch::put`].
    pub fn delete(
        &mut self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
    ) -> Result<&mut WriteBatch, WriteError> {
        self.push(Write { namespace, key: Key::new(key)?, value: None })
    }

    /// Adds a write if the batch has room for it.
    fn push(&mut self, write: Write) -> Result<&mut WriteBatch, WriteError> {
        if self.writes.len() == MAX_BATCH_WRITES {
            return Err(InvalidWrite::BatchWrites.into());
        }
        let bytes = self.bytes + write.bytes();
        if bytes > MAX_BATCH_BYTES {
            return Err(InvalidWrite::BatchBytes.into());
        }
        self.bytes = bytes;
        self.writes.push(write);
        Ok(self)
    }
}

impl Write {
    /// Returns how many bytes the commit of the write holds.
    fn bytes(&self) -> usize {
        let Some((value, Attributes { metadata, .. })) = &self.value else { return self.key.len() };
        let inline = if value.len() <= MAX_INLINE_BYTES { value.len() } else { 0 };
        self.key.len() + metadata.as_ref().map_or(0, |metadata| metadata.len()) + inline
    }

    /// Starts the upload of the value, if there is one: what must be staged first, and the rest.
    fn begin(self, upload: Upload) -> Result<(Vec<Operation>, Begun), WriteError> {
        let Write { namespace, key, value } = self;
        let mut begun = Begun { namespace, key, upload: None };
        let Some((value, attributes)) = value else { return Ok((Vec::new(), begun)) };
        let mut upload = upload;
        let chunks = upload.push(&value)?;
        begun.upload = Some((upload, attributes));
        Ok((chunks, begun))
    }
}

/// A write whose value is being staged.
struct Begun {
    namespace: NamespaceId,
    key: Key,
    upload: Option<(Upload, Attributes)>,
}

impl Begun {
    /// Ends the upload: what is left to be staged, and the write.
    fn finish(self) -> (Option<Operation>, BatchWrite) {
        let Begun { namespace, key, upload } = self;
        let Some((upload, attributes)) = upload else {
            return (None, BatchWrite { namespace, key, content: NewContent::Delete });
        };
        let (last, body) = upload.finish_ahead();
        (last, BatchWrite { namespace, key, content: NewContent::Put { body, attributes } })
    }
}

impl Store {
    /// Makes an empty batch, for [`Store::write`].
    #[must_use]
    pub fn batch(&self) -> WriteBatch {
        WriteBatch::new()
    }

    /// Commits a batch: all its writes or none. Blocks until they are durable. Returns the name and version
    /// of each write, in the order of the batch. An empty batch does nothing.
    ///
    /// # Errors
    /// See [`WriteError`]. No write of the batch was made, or, after [`WriteError::OutcomeUnknown`], all or
    /// none.
    pub fn write(&self, batch: WriteBatch) -> Result<Vec<Written>, WriteError> {
        let mut writes = Vec::with_capacity(batch.len());
        for write in batch.writes {
            let (chunks, begun) = write.begin(self.upload())?;
            for chunk in chunks {
                self.run(chunk)?;
            }
            let (last, write) = begun.finish();
            if let Some(chunk) = last {
                self.run(chunk)?;
            }
            writes.push(write);
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        batch_written(self.run(Operation::Batch(writes))?)
    }

    /// [`Store::write`] for async code, see [`Store::put_async`].
    ///
    /// # Errors
    /// See [`WriteError`]. No write of the batch was made, or, after [`WriteError::OutcomeUnknown`], all or
    /// none.
    pub async fn write_async(&self, batch: WriteBatch) -> Result<Vec<Written>, WriteError> {
        let mut writes = Vec::with_capacity(batch.len());
        for write in batch.writes {
            let (chunks, begun) = write.begin(self.upload())?;
            for chunk in chunks {
                self.run_async(chunk).await?;
            }
            let (last, write) = begun.finish();
            if let Some(chunk) = last {
                self.run_async(chunk).await?;
            }
            writes.push(write);
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        batch_written(self.run_async(Operation::Batch(writes)).await?)
    }
}

/// Returns what a batch wrote.
fn batch_written(outcome: Outcome) -> Result<Vec<Written>, WriteError> {
    match outcome {
        Outcome::Batch(written) => Ok(written),
        other => unreachable!("the outcome of a batch is what it wrote, not {other:?}"),
    }
}
