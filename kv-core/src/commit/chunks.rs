//! The large bodies of a transaction: their chunks, from the upload to garbage collection.

use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;

use super::{operation::NewContent, transaction::Transaction};
use crate::{
    body::{NewBody, NewBodyKind, StagedChunk, UploadTicket},
    engine::{Snapshot, Table, visit_prefix},
    error::{ReadError, WriteError},
    tables::{self, BodyIds, ChunkKey, Chunks, Pending, body_prefix},
    types::{BodyId, FoundState},
};

/// How many ids of bodies are reserved at once, in a commit that writes a body.
const RESERVED_BODIES: u64 = 1024;

impl<S: Snapshot> Transaction<'_, S> {
    /// Leaves a body to garbage collection: the commit that drops it writes its pending row.
    pub(super) fn free(&mut self, body: BodyId) {
        tables::put::<Pending>(&mut self.batch, &body, &());
        self.freed.push(body);
    }

    /// Writes the chunk of a body that was not staged, and takes the body out of the pending table.
    pub(super) fn place_body(&mut self, body: &NewBody) -> FoundState {
        match &body.0 {
            NewBodyKind::Inline(bytes) => return FoundState::Inline(bytes.clone()),
            NewBodyKind::Single { bytes, ticket, .. } => {
                let key = ChunkKey { body: ticket.body, index: 0 };
                self.put_chunk(&key, bytes);
                self.used.push(Arc::clone(ticket));
            }
            NewBodyKind::Staged { ticket, .. } => {
                tables::delete::<Pending>(&mut self.batch, &ticket.body);
                self.used.push(Arc::clone(ticket));
            }
        }
        body.found()
    }

    /// Writes a staged chunk, and with the first one of a body its pending row.
    pub(super) fn stage(&mut self, chunk: &StagedChunk) -> Result<(), WriteError> {
        check_ticket(&chunk.ticket)?;
        let body = chunk.ticket.body;
        if chunk.index == 0 {
            tables::put::<Pending>(&mut self.batch, &body, &());
        }
        self.put_chunk(&ChunkKey { body, index: chunk.index }, &chunk.bytes);
        Ok(())
    }

    /// Writes a chunk, and reserves the id of its body before any other start can give it.
    fn put_chunk(&mut self, key: &ChunkKey, bytes: &Bytes) {
        if self.state.bodies.is_none_or(|next| key.body.0 >= next) {
            let next = key.body.0.saturating_add(RESERVED_BODIES);
            self.state.bodies = Some(next);
            tables::put::<BodyIds>(&mut self.batch, &(), &next);
        }
        tables::put::<Chunks>(&mut self.batch, key, bytes);
    }

    /// Frees up to `limit` chunks of a body, the first ones first. Returns how many, or `None` if the body
    /// has more.
    pub(super) fn free_chunks(
        &mut self,
        body: BodyId,
        limit: usize,
    ) -> Result<Option<usize>, ReadError> {
        let mut keys = Vec::new();
        visit_prefix(&self.view.snapshot, Table::Chunks, &body_prefix(body), &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() <= limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let is_whole = keys.len() <= limit;
        keys.truncate(limit);
        let freed = keys.len();
        self.batch.extend(keys.into_iter().map(|key| (Table::Chunks, key, None)));
        if is_whole {
            tables::delete::<Pending>(&mut self.batch, &body);
        }
        Ok(is_whole.then_some(freed))
    }
}

/// Chunks that were staged before a disk failure may be lost.
fn check_ticket(ticket: &UploadTicket) -> Result<(), WriteError> {
    if ticket.is_current() {
        return Ok(());
    }
    Err(WriteError::Failed("the disk failed during this upload: put the value again".into()))
}

/// Checks that no disk failure has lost the chunks of a staged body.
pub(super) fn check_body(body: &NewBody) -> Result<(), WriteError> {
    match &body.0 {
        NewBodyKind::Staged { ticket, .. } => check_ticket(ticket),
        NewBodyKind::Inline(_) | NewBodyKind::Single { .. } => Ok(()),
    }
}

/// Checks the body of a put, as `check_body` does. Other changes have none.
pub(super) fn check_upload(content: &NewContent) -> Result<(), WriteError> {
    match content {
        NewContent::Put { body, .. } => check_body(body),
        NewContent::Delete | NewContent::Expired { .. } | NewContent::Joined(_) => Ok(()),
    }
}
