//! Writes: puts and deletes, blocking and async, and uploads.

use std::sync::Arc;

use super::handle::Store;
use crate::{
    body::NewBody,
    commit::{Operation, Outcome, Upload, Written},
    error::WriteError,
    places::Place,
    ticket::Ticket,
    types::{Attributes, Key, NamespaceId},
    writer::{Message, Request},
};

/// How much memory one place of the queue stands for, in bytes.
const PLACE_BYTES: usize = 64 << 10;

impl Store {
    /// Puts a value without metadata or expiry. Blocks until the write is durable.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Written, WriteError> {
        self.put_with(namespace, key, value, Attributes::default())
    }

    /// Puts a value with metadata or an expiry. Blocks until the write is durable.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put_with(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        attributes: Attributes,
    ) -> Result<Written, WriteError> {
        let key = Key::new(key)?;
        let mut upload = self.upload();
        for chunk in upload.push(value.as_ref())? {
            self.run(chunk)?;
        }
        let body = self.staged(upload.finish())?;
        written(self.run(Operation::Put { namespace, key, body, attributes })?)
    }

    /// Deletes a key, whether it exists or not. Blocks until the write is durable.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn delete(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
    ) -> Result<Written, WriteError> {
        let key = Key::new(key)?;
        written(self.run(Operation::Delete { namespace, key })?)
    }

    /// [`Store::put`] for async code. It needs no particular runtime and never blocks the executor.
    ///
    /// Where [`Store::put`] gives up with [`WriteError::QueueFull`], this waits for a place in the queue as
    /// long as it takes; waiters get places in their order. To bound the wait, use your runtime's timeout:
    /// if the future is dropped before it has a place, nothing was written; after that, the write is made
    /// although no caller learns of it.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn put_async(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Written, WriteError> {
        self.put_with_async(namespace, key, value, Attributes::default()).await
    }

    /// [`Store::put_with`] for async code, see [`Store::put_async`].
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn put_with_async(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        attributes: Attributes,
    ) -> Result<Written, WriteError> {
        let key = Key::new(key)?;
        let mut upload = self.upload();
        for chunk in upload.push(value.as_ref())? {
            self.run_async(chunk).await?;
        }
        let body = self.staged_async(upload.finish()).await?;
        written(self.run_async(Operation::Put { namespace, key, body, attributes }).await?)
    }

    /// [`Store::delete`] for async code, see [`Store::put_async`].
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn delete_async(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
    ) -> Result<Written, WriteError> {
        let key = Key::new(key)?;
        written(self.run_async(Operation::Delete { namespace, key }).await?)
    }

    /// Starts the upload of a value that need not be in memory whole. Submit the operations that it
    /// returns, then an [`Operation::Put`] with its body.
    #[must_use]
    pub fn upload(&self) -> Upload {
        Upload::new(Arc::clone(&self.shared.bodies))
    }

    /// Runs what is left of an upload, and returns its body.
    pub(super) fn staged(
        &self,
        (last, body): (Option<Operation>, NewBody),
    ) -> Result<NewBody, WriteError> {
        if let Some(chunk) = last {
            self.run(chunk)?;
        }
        Ok(body)
    }

    /// [`Store::staged`] for async code.
    pub(super) async fn staged_async(
        &self,
        (last, body): (Option<Operation>, NewBody),
    ) -> Result<NewBody, WriteError> {
        if let Some(chunk) = last {
            self.run_async(chunk).await?;
        }
        Ok(body)
    }

    /// Puts an operation into the queue of the writer without waiting for a place or for the outcome.
    ///
    /// # Errors
    /// [`WriteError::QueueFull`] if no place is free, [`WriteError::Closed`] after the store was closed.
    pub fn submit(&self, operation: Operation) -> Result<Ticket, WriteError> {
        let place = self.shared.places.try_take(places(&operation));
        self.send(operation, place.ok_or(WriteError::QueueFull)?)
    }

    /// Runs an operation. Waits for a place in the queue for at most `Options::queue_wait`.
    pub(super) fn run(&self, operation: Operation) -> Result<Outcome, WriteError> {
        let options = &self.shared.options;
        let clock = &*options.environment;
        let place = self.shared.places.take_within(places(&operation), options.queue_wait, clock);
        self.send(operation, place.ok_or(WriteError::QueueFull)?)?.wait()
    }

    /// Runs an operation. Waits for a place in the queue.
    pub(super) async fn run_async(&self, operation: Operation) -> Result<Outcome, WriteError> {
        let place = self.shared.places.take(places(&operation)).await;
        self.send(operation, place)?.await
    }

    /// Sends an operation to the writer thread, with the place that it takes in the queue.
    fn send(&self, operation: Operation, place: Place) -> Result<Ticket, WriteError> {
        let (answer, ticket) = oneshot::channel();
        let request = Box::new(Request { operation, answer, place });
        match self.shared.messages.send(Message::Request(request)) {
            Ok(()) => Ok(Ticket(ticket)),
            Err(_closed) => Err(WriteError::Closed),
        }
    }
}

/// Returns how many places of the queue an operation takes.
fn places(operation: &Operation) -> usize {
    operation.bytes_in_memory().div_ceil(PLACE_BYTES).max(1)
}

/// Returns the outcome of a put or a delete.
fn written(outcome: Outcome) -> Result<Written, WriteError> {
    match outcome {
        Outcome::Written(written) => Ok(written),
        other => unreachable!("the outcome of a put or delete is what it wrote, not {other:?}"),
    }
}
