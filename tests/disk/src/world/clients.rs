//! Clients that take their time: uploads in pieces, and readers of large values.

use std::sync::Arc;

use bytes::Bytes;
use kv_core::{Attributes, BodyReader, FoundState, Key, Operation, Upload, limits::CHUNK_BYTES};

use super::{
    Request, World,
    requests::{key, namespace},
    tell::Doing,
};
use crate::{
    events::Event,
    hold,
    model::{Content, Name, Op, RawAttributes},
    violation::{Checked, Violation},
};

/// A value on its way in.
pub(super) struct LiveUpload {
    upload: Upload,
    name: Name,
    content: Content,
    pushed: usize,
    /// Whether a piece is staged.
    pub(super) is_staged: bool,
    /// Whether the store may refuse it for a failure of the disk since it was begun.
    pub(super) doubtful: bool,
    /// A piece was refused.
    is_broken: bool,
}

/// A value on its way out.
pub(super) struct LiveReader {
    reader: BodyReader,
    name: Name,
    content: Content,
    read: usize,
    /// How many faults had come when it was begun.
    faults: usize,
}

impl World {
    /// An upload is begun, continued, finished or abandoned.
    pub(super) fn upload_step(&mut self) -> Checked {
        if self.uploads.is_empty() || (self.uploads.len() < 3 && self.rng.chance(30)) {
            self.begin_upload();
        }
        let at = self.rng.index(self.uploads.len());
        if self.rng.chance(6) || (self.uploads[at].is_broken && self.rng.chance(70)) {
            if self.uploads[at].is_staged {
                self.count(Event::UploadAbandoned);
            }
            self.uploads.swap_remove(at);
            return Ok(());
        }
        let len = self.uploads[at].content.bytes.len();
        if self.uploads[at].pushed == len { self.finish_upload(at) } else { self.push_upload(at) }
    }

    fn begin_upload(&mut self) {
        // Now and then one with more chunks than a sweep frees in one step.
        let (least, most) = if self.rng.chance(5) { (66, 80) } else { (0, 4) };
        let chunk = CHUNK_BYTES as u64;
        let len = self.rng.between(chunk * least + 1, chunk * most);
        let len = usize::try_from(len).expect("a short value");
        let byte = u8::try_from(self.rng.below(256)).expect("a byte");
        let mut bytes = vec![byte; len];
        for chunk in bytes.chunks_mut(CHUNK_BYTES) {
            let mark = self.rng.next_u64().to_be_bytes();
            let n = chunk.len().min(8);
            chunk[..n].copy_from_slice(&mark[..n]);
        }
        let state = self.state();
        let name = (namespace(&mut self.rng, &state), key(&mut self.rng));
        let upload = self.committer().upload();
        self.uploads.push(LiveUpload {
            upload,
            name,
            content: Content::new(Bytes::from(bytes)),
            pushed: 0,
            is_staged: false,
            doubtful: false,
            is_broken: false,
        });
    }

    fn push_upload(&mut self, at: usize) -> Checked {
        let upload = &self.uploads[at];
        let most = self.rng.index(upload.content.bytes.len().max(CHUNK_BYTES * 2)) + 1;
        let upload = &mut self.uploads[at];
        let end = upload.content.bytes.len().min(upload.pushed + most);
        let pieces = upload.upload.push(&upload.content.bytes[upload.pushed..end]);
        upload.pushed = end;
        let pieces = pieces.map_err(|error| Violation::Wrong(format!("pushing: {error}")))?;
        if pieces.is_empty() {
            return Ok(());
        }
        upload.is_staged = true;
        let doubtful = upload.doubtful;
        let stage = |operation| Request { operation: Ok(operation), op: Op::Stage, doubtful };
        let requests = pieces.into_iter().map(stage).collect();
        self.trace(|| format!("an upload goes on to {end}"));
        let outcomes = self.commit(requests)?;
        if outcomes.iter().any(Option::is_none)
            && let Some(upload) = self.uploads.get_mut(at)
        {
            upload.is_broken = true;
            upload.doubtful = true;
        }
        self.maybe_sync(20)
    }

    fn finish_upload(&mut self, at: usize) -> Checked {
        let done = self.uploads.swap_remove(at);
        let (last, body) = done.upload.finish();
        let doubtful = done.doubtful;
        let mut requests: Vec<Request> = Vec::new();
        if let Some(operation) = last {
            requests.push(Request { operation: Ok(operation), op: Op::Stage, doubtful });
        }
        let namespace = done.name.0;
        let key = Key::try_from(done.name.1.clone()).expect("a key within its bounds");
        let attributes = Attributes::default();
        let operation = Operation::Put { namespace, key, body, attributes };
        let op = Op::Put(done.name, done.content, RawAttributes::default());
        requests.push(Request { operation: Ok(operation), op, doubtful });
        self.trace(|| "an upload ends".into());
        self.commit(requests)?;
        self.maybe_sync(65)
    }

    /// A reader of a large value is begun, or reads another piece.
    pub(super) fn reader_step(&mut self) -> Checked {
        if self.readers.is_empty() || (self.readers.len() < 4 && self.rng.chance(40)) {
            self.begin_reader()?;
        }
        if self.readers.is_empty() {
            return Ok(());
        }
        let at = self.rng.index(self.readers.len());
        if self.rng.chance(20) {
            // The value that is read is deleted, and garbage collection frees it.
            let name = self.readers[at].name.clone();
            let requests = self.requests(Op::Delete(name));
            self.commit(requests)?;
            if !self.is_dead() && self.sync()? && !self.is_dead() {
                self.gc_step()?;
            }
            return Ok(());
        }
        let faults = self.disk.counts().fired.len();
        let result = self.readers[at].reader.next_chunk();
        self.note_faults(Doing::Read);
        let reader = &mut self.readers[at];
        match result {
            Ok(Some(chunk)) => {
                let end = reader.read + chunk.len();
                let is_right = reader.content.bytes.get(reader.read..end) == Some(&chunk[..]);
                hold!(is_right, "{:?}: a reader got other bytes", reader.name);
                reader.read = end;
                return Ok(());
            }
            Ok(None) => {
                hold!(
                    reader.read == reader.content.bytes.len(),
                    "{:?}: a reader got only {} bytes",
                    reader.name,
                    reader.read
                );
                let reader = self.readers.swap_remove(at);
                let state = self.state();
                let row = state.rows.get(&reader.name);
                if row.and_then(|row| row.content()) != Some(&reader.content) {
                    self.count(Event::ReadAfterReplaced);
                }
            }
            Err(error) => {
                let reader = self.readers.swap_remove(at);
                hold!(
                    self.readers_may_fail() || reader.faults != faults,
                    "{:?}: no fault, and yet a reader gets {error}",
                    reader.name
                );
            }
        }
        Ok(())
    }

    fn begin_reader(&mut self) -> Checked {
        let Some((published, state)) = self.published() else { return Ok(()) };
        let large: Vec<_> = state
            .rows
            .iter()
            .filter_map(|(name, row)| Some((name, row.content().filter(|it| it.is_large())?)))
            .collect();
        if large.is_empty() {
            return Ok(());
        }
        let (name, content) = *self.rng.pick(&large);
        let found = published.view().row(name.0, &name.1);
        let found = match found {
            Ok(found) => {
                found.ok_or_else(|| Violation::Wrong(format!("{name:?} is not published")))?
            }
            Err(error) => {
                self.note_faults(Doing::Read);
                hold!(self.readers_may_fail(), "no fault, and yet reading answers {error}");
                return Ok(());
            }
        };
        hold!(matches!(found.state, FoundState::Large { .. }), "{name:?} is not large");
        let source = Arc::clone(&published);
        let reader = self.committer().read_body(&found, source);
        self.note_faults(Doing::Read);
        match reader {
            Ok(Some(reader)) => {
                let faults = self.disk.counts().fired.len();
                let (name, content) = (name.clone(), content.clone());
                self.readers.push(LiveReader { reader, name, content, read: 0, faults });
            }
            // It was replaced, and freed since the view was published.
            Ok(None) => {
                let is_current = self.state().rows.get(name).and_then(|row| row.content().cloned());
                hold!(is_current.as_ref() != Some(content), "{name:?} has no body");
            }
            Err(error) => {
                hold!(self.readers_may_fail(), "no fault, and yet reading answers {error}")
            }
        }
        Ok(())
    }
}
