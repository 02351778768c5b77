//! The bytes that a location keeps for itself.

use std::sync::Arc;

use super::{handle::Store, read::look_again};
use crate::{
    body::{Body, BodyReader, LocalReader},
    commit::Operation,
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
        let mut parts = Vec::new();
        let mut upload = self.upload();
        for piece in pieces {
            let mut piece = piece.as_ref();
            while !piece.is_empty() {
                let left = usize::try_from(MAX_VALUE_BYTES - upload.len()).unwrap_or(usize::MAX);
                let (head, tail) = piece.split_at(left.min(piece.len()));
                for chunk in upload.push(head)? {
                    self.run(chunk)?;
                }
                piece = tail;
                if upload.len() == MAX_VALUE_BYTES {
                    parts
                        .push(self.staged(std::mem::replace(&mut upload, self.upload()).finish())?);
                    if parts.len() > MAX_LOCAL_PARTS {
                        return Err(InvalidWrite::LocalParts.into());
                    }
                }
            }
        }
        if !upload.is_empty() {
            parts.push(self.staged(upload.finish())?);
        }
        self.run(Operation::SaveLocal { name, parts }).map(drop)
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
                let body = match part {
                    Part::Inline(bytes) => Body::Inline(bytes.clone()),
                    Part::Large(large) => {
                        let source = Arc::clone(&self.shared.published);
                        match self.seen(BodyReader::open(&self.shared.bodies, source, *large))? {
                            Some(reader) => Body::Large(reader),
                            None => {
                                look_again(&mut missed, large.body)?;
                                continue 'again;
                            }
                        }
                    }
                };
                bodies.push(body);
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
