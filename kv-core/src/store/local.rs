//! What a location keeps for itself, as the users of its store see it.

use std::sync::Arc;

use super::{Store, read::look_again};
use crate::{
    body::BodyReader,
    entry::Body,
    error::{ReadError, WriteError},
    limits::MAX_VALUE_BYTES,
    local::{LocalReader, Part, check_parts},
    operation::Operation,
};

impl Store {
    /// Keeps bytes under a name for this location alone, in the place of what was kept under it:
    /// no entry, and no peer gets it. They are the pieces, one behind the other. Blocks until it is
    /// durable; whatever fails before, and a crash, leave what was kept before.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn save_local<P: AsRef<[u8]>>(
        &self,
        name: &str,
        pieces: impl IntoIterator<Item = P>,
    ) -> Result<(), WriteError> {
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
                    parts.push(self.staged(std::mem::replace(&mut upload, self.upload()))?);
                    check_parts(&parts)?;
                }
            }
        }
        if !upload.is_empty() {
            parts.push(self.staged(upload)?);
        }
        self.run(Operation::SaveLocal { name: name.to_owned(), parts }).map(drop)
    }

    /// What this location keeps under a name; none if nothing.
    ///
    /// # Errors
    /// See [`ReadError`]. A damaged row stays so until [`Store::save_local`] or
    /// [`Store::drop_local`].
    pub fn local(&self, name: &str) -> Result<Option<LocalReader>, ReadError> {
        let mut missed = None;
        'again: loop {
            let Some(parts) = self.seen(self.view().local(name))? else { return Ok(None) };
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

    /// Drops what this location keeps under a name, if it does. Blocks until that is durable.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn drop_local(&self, name: &str) -> Result<(), WriteError> {
        self.run(Operation::DropLocal { name: name.to_owned() }).map(drop)
    }
}
