//! Fills a store through the library's public API, faster than with sequential puts.

use std::collections::VecDeque;

use kv_core::{Attributes, Key, NamespaceId, Operation, Store, Ticket};

use crate::{Failure, data};

/// Puts keys `0..keys`, each with its [`data::value`] of `len` bytes.
///
/// # Errors
/// If a put fails.
pub fn put_all(
    store: &Store,
    namespace: NamespaceId,
    keys: u64,
    len: usize,
) -> Result<(), Failure> {
    let mut window = Window::new(store);
    for n in 0..keys {
        let mut upload = store.upload();
        for chunk in upload.push(&data::value(n, len))? {
            window.submit(chunk)?;
        }
        let (last, body) = upload.finish();
        if let Some(last) = last {
            window.submit(last)?;
        }
        let key = Key::new(data::key(n))?;
        let attributes = Attributes::default();
        window.submit(Operation::Put { namespace, key, body, attributes })?;
    }
    window.finish()
}

/// Deletes keys `0..keys`, whether they exist or not: each becomes a tombstone.
///
/// # Errors
/// If a delete fails.
pub fn delete_all(store: &Store, namespace: NamespaceId, keys: u64) -> Result<(), Failure> {
    let mut window = Window::new(store);
    for n in 0..keys {
        let key = Key::new(data::key(n))?;
        window.submit(Operation::Delete { namespace, key })?;
    }
    window.finish()
}

/// As many operations in flight as the store's queue holds.
struct Window<'a> {
    store: &'a Store,
    waiting: VecDeque<Ticket>,
}

impl<'a> Window<'a> {
    fn new(store: &'a Store) -> Window<'a> {
        Window { store, waiting: VecDeque::new() }
    }

    fn submit(&mut self, operation: Operation) -> Result<(), Failure> {
        if self.waiting.len() == self.store.queue_capacity()
            && let Some(first) = self.waiting.pop_front()
        {
            first.wait()?;
        }
        self.waiting.push_back(self.store.submit(operation)?);
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        for ticket in self.waiting {
            ticket.wait()?;
        }
        Ok(())
    }
}
