//! The store's side of the seam: does a core's [`Work`] over a [`Committer`], in the caller's thread.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kv_core::{
    Attributes, Dot, NamespaceId, Operation, Outcome, ReadError, Role, Upload, VersionVector,
    WriteError,
    commit::{Committed, Committer, SweepLimits, Swept},
    engine::{Engine, Snapshot},
    limits::CHUNK_BYTES,
    operation::{Applied, Remote, RemoteChange, RemoteWrite},
    view::{FoundState, View},
};

use crate::{
    Burst, Content, Event, How, Row, StoreState, ToApply, Unread, Work,
    mutant::{Rule, is_broken},
};

/// About the most bytes of rows in a burst of a catch-up session: what a source holds for each peer that
/// catches up. At 100 ms there and back it is 20 MB/s a peer.
pub const BURST_BYTES: usize = 2 << 20;

/// How many rows of it are read before their bytes are looked at.
const SLICE_ROWS: usize = 128;

mod inspect;

pub use self::inspect::inspect;

/// A store that replicates, without threads of its own.
pub struct Storage<E: Engine> {
    committer: Committer<E>,
    /// As of the last sync: peers are shown nothing else.
    durable: View<E::Snapshot>,
    durable_commit: u64,
    state: StoreState,
    /// Bodies that are being fetched; none for one that failed.
    uploads: BTreeMap<u64, Option<Upload>>,
    /// Local writes since the last sync.
    unsent: Vec<Row>,
    is_dirty: bool,
    reopened: u64,
    /// How often the core was told that the store went back.
    epoch: u64,
}

impl<E: Engine> Storage<E>
where
    E::Snapshot: Clone,
{
    /// Takes over a committer that was just opened.
    pub fn new(mut committer: Committer<E>) -> Storage<E> {
        let durable = committer.view();
        let vector = durable.vector().clone();
        let promise = committer.clock();
        let reopened = committer.engine().status().reopened;
        Storage {
            state: StoreState {
                visible: vector.clone(),
                durable: vector,
                promise,
                members: Arc::clone(durable.members()),
            },
            durable_commit: committer.engine().status().latest,
            committer,
            durable,
            uploads: BTreeMap::new(),
            unsent: Vec::new(),
            is_dirty: false,
            reopened,
            epoch: 0,
        }
    }

    /// What is visible and what is durable.
    #[must_use]
    pub fn state(&self) -> &StoreState {
        &self.state
    }

    /// The committer, to read from.
    pub fn committer(&mut self) -> &mut Committer<E> {
        &mut self.committer
    }

    /// Whether something was committed since the last sync.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Makes local operations. Their callers are to be answered after [`Storage::sync`].
    pub fn write(
        &mut self,
        now_ms: u64,
        operations: Vec<Operation>,
    ) -> (Vec<Result<Outcome, WriteError>>, Vec<Row>) {
        let Committed { results, writes, .. } = self.commit(now_ms, operations);
        let view = self.committer.view();
        let rows: Vec<Row> = writes.into_iter().map(|write| whole(&view, write)).collect();
        self.unsent.extend(rows.iter().cloned());
        (results, rows)
    }

    fn commit(&mut self, now_ms: u64, operations: Vec<Operation>) -> Committed {
        let committed = self.committer.commit(now_ms, operations);
        self.is_dirty = true;
        self.state.visible = self.committer.view().vector().clone();
        committed
    }

    /// Makes all durable; what the core is to be told then.
    ///
    /// # Errors
    /// Those of [`Committer::sync`]. [`Storage::failure`] then tells what the core is to be told.
    pub fn sync(&mut self) -> Result<Vec<Event>, WriteError> {
        self.committer.sync()?;
        self.is_dirty = false;
        self.take_state();
        let mut events = vec![Event::Synced(self.state.clone())];
        if !self.unsent.is_empty() {
            events.push(Event::Wrote(std::mem::take(&mut self.unsent)));
        }
        Ok(events)
    }

    fn take_state(&mut self) {
        self.durable = self.committer.view();
        self.durable_commit = self.committer.engine().status().latest;
        let vector = self.durable.vector().clone();
        let promise = self.committer.clock();
        let members = Arc::clone(self.durable.members());
        self.state = StoreState { visible: vector.clone(), durable: vector, promise, members };
    }

    /// What the core is to be told if the disk has failed since this was last asked.
    pub fn failure(&mut self) -> Option<Event> {
        let status = self.committer.engine().status();
        if status.reopened == self.reopened {
            return None;
        }
        self.reopened = status.reopened;
        self.epoch += 1;
        self.unsent.clear();
        self.uploads.clear();
        if matches!(status.role, Role::Writer | Role::Waiting(_)) {
            self.take_state();
        }
        Some(Event::WentBack(self.state.clone()))
    }

    /// One step of the sweep, with the core's watermark.
    ///
    /// # Errors
    /// Those of [`Committer::sweep`].
    pub fn sweep(&mut self, now_ms: u64, limits: &SweepLimits) -> Result<Swept, WriteError> {
        let swept = self.committer.sweep(now_ms, limits)?;
        self.is_dirty |= !swept.is_idle();
        self.committer.published();
        Ok(swept)
    }

    /// Does what a core asks; its answer, if there is one.
    pub fn perform(&mut self, now_ms: u64, work: Work) -> Option<Event> {
        match work {
            Work::Apply { id, epoch, rows } => {
                let results = if self.is_late(epoch) { None } else { self.apply(now_ms, rows) };
                Some(Event::Applied { id, results, visible: self.state.visible.clone() })
            }
            Work::Adopt { id, epoch, vector, collected } => {
                let adopt = Operation::Remote(Remote::Adopt { vector, collected });
                let results = if self.is_late(epoch) {
                    None
                } else {
                    applied(self.commit(now_ms, vec![adopt]).results)
                };
                Some(Event::Applied { id, results, visible: self.state.visible.clone() })
            }
            Work::Read { id, since, after, limit, is_new } => {
                let result = self.read_burst(&since, after, limit, is_new);
                Some(Event::Read { id, result })
            }
            Work::ReadBody { id, namespace, key, dot, offset } => {
                let bytes = self.read_body(namespace, &key, dot, offset);
                Some(Event::Body { id, bytes })
            }
            Work::Inspect { id, ask } => {
                let answer = inspect(&self.durable, &ask);
                Some(Event::Inspected { id, answer })
            }
            Work::Stage { fetch, bytes } => {
                self.stage(now_ms, fetch, &bytes);
                None
            }
            Work::Discard { fetch } => {
                self.uploads.remove(&fetch);
                None
            }
        }
    }

    /// Rows that a vector lacks, from the durable view: so many, or as many as [`BURST_BYTES`] takes.
    fn read_burst(
        &self,
        since: &VersionVector,
        after: Option<Dot>,
        limit: usize,
        is_new: bool,
    ) -> Result<Burst, Unread> {
        let (mut rows, mut next, mut bytes) = (Vec::new(), after, 0);
        loop {
            let some = (limit - rows.len()).min(SLICE_ROWS);
            let read = if is_new {
                self.durable.rows_missing_in(since, next, some)
            } else {
                self.durable.changes(since, next, some)
            };
            let read = read.map_err(|error| match error {
                ReadError::Gone => Unread::Gone(self.durable.collected().clone()),
                _ => Unread::Failed,
            })?;
            next = read.next;
            for row in read.changes.into_iter().map(Row::from) {
                bytes += row.weight();
                rows.push(row);
            }
            if next.is_none() || rows.len() >= limit || bytes >= BURST_BYTES {
                break;
            }
        }
        let (vector, collected) = (self.durable.vector().clone(), self.durable.collected().clone());
        Ok(Burst { rows, next, vector, collected, commit: self.durable_commit })
    }

    /// Whether this was asked before the core heard that the store went back.
    fn is_late(&mut self, epoch: u64) -> bool {
        let reopened = self.committer.engine().status().reopened;
        (epoch != self.epoch || reopened != self.reopened) && !is_broken(Rule::NothingLateIsDone)
    }

    fn apply(&mut self, now_ms: u64, rows: Vec<ToApply>) -> Option<Vec<Applied>> {
        let mut operations = Vec::with_capacity(rows.len());
        for ToApply { row, how, fetch } in rows {
            let change = self.change(&row, fetch, &mut operations)?;
            let Row { dot, hlc, prev, namespace, key, .. } = row;
            let write = RemoteWrite { dot, hlc, prev, namespace, key, change };
            operations.push(Operation::Remote(match how {
                How::Next => Remote::Next(write),
                How::Row => Remote::Row(write),
            }));
        }
        applied(self.commit(now_ms, operations).results)
    }

    /// What a row does, with its body ready to be put; none if it is not what was told.
    fn change(
        &mut self,
        row: &Row,
        fetch: Option<u64>,
        operations: &mut Vec<Operation>,
    ) -> Option<RemoteChange> {
        let body = match &row.content {
            Content::Deleted => return Some(RemoteChange::Delete),
            Content::Expired => {
                return row.expires_at.map(|expires_at| RemoteChange::Expired { expires_at });
            }
            Content::Value(value) => {
                let mut upload = self.committer.upload();
                operations.extend(upload.push(value).ok()?);
                let (last, body) = upload.finish();
                operations.extend(last);
                body
            }
            Content::Large { digest, .. } => {
                let upload = self.uploads.remove(&fetch?)??;
                let (last, body) = upload.finish();
                operations.extend(last);
                if body.digest() != Some(*digest) {
                    return None;
                }
                body
            }
        };
        let (metadata, expires_at) = (row.metadata.clone(), row.expires_at);
        Some(RemoteChange::Put { body, attributes: Attributes { metadata, expires_at } })
    }

    fn stage(&mut self, now_ms: u64, fetch: u64, bytes: &Bytes) {
        let committer = &self.committer;
        let upload = self.uploads.entry(fetch).or_insert_with(|| Some(committer.upload()));
        let Some(pushed) = upload.as_mut().map(|upload| upload.push(bytes)) else { return };
        let is_staged = pushed.is_ok_and(|operations| {
            operations.is_empty()
                || self.commit(now_ms, operations).results.iter().all(Result::is_ok)
        });
        if !is_staged {
            self.uploads.insert(fetch, None);
        }
    }

    fn read_body(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        dot: Dot,
        offset: u64,
    ) -> Option<Bytes> {
        let found = self.durable.row(namespace, key).ok()?.filter(|found| found.dot == dot)?;
        let FoundState::Large { body, .. } = found.state else { return None };
        let index = u32::try_from(offset / CHUNK_BYTES as u64).ok()?;
        self.durable.chunk(body, index).ok()?
    }
}

/// A local write with its value, if that fits a row.
fn whole<S: Snapshot>(view: &View<S>, write: kv_core::changes::Change) -> Row {
    let body = match write.found.state {
        FoundState::Large { body, len, .. } if len <= CHUNK_BYTES as u64 => Some(body),
        _ => None,
    };
    let mut row = Row::from(write);
    if let Some(value) = body.and_then(|body| view.chunk(body, 0).ok()?) {
        row.content = Content::Value(value);
    }
    row
}

/// What became of the remote operations; none if one of them could not be made.
fn applied(results: Vec<Result<Outcome, WriteError>>) -> Option<Vec<Applied>> {
    let mut all = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(Outcome::Applied(applied)) => all.push(applied),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
    Some(all)
}
