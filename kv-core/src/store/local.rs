//! The bytes that a location keeps for itself.

use std::{mem, sync::Arc};

use super::{handle::Store, read::look_again};
use crate::{
    body::{Body, BodyReader, LocalReader, NewBody},
    commit::{Operation, Upload},
    error::{InvalidWrite, ReadError, WriteError},
    tables::Part,
    types::{
        LocalName,
        limits::{MAX_LOCAL_PARTS, MAX_VALUE_BYTES},
    },
};

impl Store {
    /// Stores bytes under a name for this location alone, in place of the bytes that were there. No peer
    /// gets them. The bytes are the pieces, one after the other. Blocks until they are durable. A failure
    /// or a crash before that leaves the former bytes.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn save_local<P: AsRef<[u8]>>(
        &self,
        name: &str,
        pieces: impl IntoIterator<Item = P>,
    ) -> Result<(), WriteError> {
        let name = LocalName::new(name)?;
        let mut parts = Parts { store: self, complete: Vec::new(), current: self.upload() };
        for piece in pieces {
            parts.push(piece.as_ref())?;
        }
        self.run(Operation::SaveLocal { name, parts: parts.finish()? }).map(drop)
    }

    /// Reads the bytes that this location keeps under a name; `None` if there are none.
    ///
    /// # Errors
    /// See [`ReadError`]. A damaged row stays damaged until [`Store::save_local`] or
    /// [`Store::drop_local`].
    pub fn local(&self, name: &str) -> Result<Option<LocalReader>, ReadError> {
        let Ok(name) = LocalName::new(name) else { return Ok(None) };
        let mut missed = None;
        'again: loop {
            let Some(parts) = self.seen(self.view().local(&name))? else { return Ok(None) };
            let mut bodies = Vec::with_capacity(parts.len());
            for part in &parts {
                let large = match part {
                    Part::Inline(bytes) => {
                        bodies.push(Body::Inline(bytes.clone()));
                        continue;
                    }
                    Part::Large(large) => *large,
                };
                let source = Arc::clone(&self.shared.published);
                let reader = self.seen(BodyReader::open(&self.shared.bodies, source, large))?;
                let Some(reader) = reader else {
                    look_again(&mut missed, large.body)?;
                    continue 'again;
                };
                bodies.push(Body::Large(reader));
            }
            return Ok(Some(LocalReader::new(bodies)));
        }
    }

    /// Drops the bytes that this location keeps under a name, if there are any. Blocks until that is
    /// durable.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn drop_local(&self, name: &str) -> Result<(), WriteError> {
        self.run(Operation::DropLocal { name: LocalName::new(name)? }).map(drop)
    }
}

/// Bytes that are cut into bodies, none longer than a value may be.
struct Parts<'s> {
    store: &'s Store,
    complete: Vec<NewBody>,
    current: Upload,
}

impl Parts<'_> {
    /// Appends bytes. Ends the current body each time it is full.
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let left = usize::try_from(MAX_VALUE_BYTES - self.current.len()).unwrap_or(usize::MAX);
            let (head, tail) = bytes.split_at(left.min(bytes.len()));
            for chunk in self.current.push(head)? {
                self.store.run(chunk)?;
            }
            bytes = tail;
            if self.current.len() == MAX_VALUE_BYTES {
                self.end_body()?;
            }
            if self.complete.len() > MAX_LOCAL_PARTS {
                return Err(InvalidWrite::LocalParts.into());
            }
        }
        Ok(())
    }

    /// Ends the current body and begins the next one.
    fn end_body(&mut self) -> Result<(), WriteError> {
        let ended = mem::replace(&mut self.current, self.store.upload());
        self.complete.push(self.store.staged(ended.finish())?);
        Ok(())
    }

    /// Returns the bodies, the last one included.
    fn finish(mut self) -> Result<Vec<NewBody>, WriteError> {
        if !self.current.is_empty() {
            self.end_body()?;
        }
        Ok(self.complete)
    }
}
