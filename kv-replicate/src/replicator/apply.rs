//! Commits what peers sent.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kv_core::{
    Attributes, Dot, Operation, Outcome, Upload, VersionVector, WriteError,
    commit::Committer,
    commit::{Applied, NewContent, Remote, RemoteWrite},
    engine::Engine,
};

use crate::{Content, Event, How, Row, ToApply, Work, inspect::Place};

/// Does work that commits, and keeps the bodies that come in pieces until their rows do.
#[derive(Debug, Default)]
pub(super) struct Applier {
    /// Bodies that are being fetched; none for one that failed.
    uploads: BTreeMap<u64, Option<Upload>>,
    /// Number of rollbacks that were reported to the core.
    epoch: u64,
    /// How often the engine had been reopened at the last of them.
    reopened: u64,
}

/// The result of work that commits.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The answer for the core.
    pub(super) answer: Option<Event>,
    /// A commit was made or tried.
    pub(super) committed: bool,
}

impl Applier {
    /// Begins with a store whose state the core starts with.
    pub(super) fn begin<E: Engine>(&mut self, committer: &Committer<E>)
    where
        E::Snapshot: Clone,
    {
        self.reopened = committer.engine().status().reopened;
    }

    /// Whether the store was rolled back since the last rollback that was reported to the core.
    pub(super) fn has_rolled_back<E: Engine>(&self, committer: &Committer<E>) -> bool
    where
        E::Snapshot: Clone,
    {
        committer.engine().status().reopened != self.reopened
    }

    /// Starts over after a rollback was reported to the core: staged bodies are gone, and work from before
    /// it is no longer done.
    pub(super) fn start_over<E: Engine>(&mut self, committer: &Committer<E>)
    where
        E::Snapshot: Clone,
    {
        self.uploads.clear();
        self.epoch += 1;
        self.reopened = committer.engine().status().reopened;
    }

    /// Whether this work is from before the core knew of a rollback.
    fn is_late<E: Engine>(&self, committer: &Committer<E>, epoch: u64) -> bool
    where
        E::Snapshot: Clone,
    {
        epoch != self.epoch || self.has_rolled_back(committer)
    }

    /// Does work that commits; nothing for other work.
    pub(super) fn perform<E: Engine>(
        &mut self,
        committer: &mut Committer<E>,
        now_ms: u64,
        work: Work,
    ) -> Done
    where
        E::Snapshot: Clone,
    {
        let (id, results) = match work {
            Work::Apply { id, epoch, .. }
            | Work::Adopt { id, epoch, .. }
            | Work::Rebuild { id, epoch }
            | Work::Drop { id, epoch, .. }
            | Work::Rebuilt { id, epoch }
                if self.is_late(committer, epoch) =>
            {
                (id, None)
            }
            Work::Apply { id, rows, .. } => match self.operations(committer, rows) {
                Some(operations) => (id, commit(committer, now_ms, operations)),
                None => (id, None),
            },
            Work::Adopt { id, vector, collected, .. } => {
                let adopt = Operation::Remote(Remote::Adopt { vector, collected });
                (id, commit(committer, now_ms, vec![adopt]))
            }
            Work::Rebuild { id, .. } => {
                (id, commit(committer, now_ms, vec![Operation::Remote(Remote::Rebuild)]))
            }
            Work::Drop { id, rows, .. } => {
                let drop = |(place, dot): (Place, Dot)| {
                    let Place { namespace, key } = place;
                    Operation::Remote(Remote::DropRow { namespace, key, dot })
                };
                (id, commit(committer, now_ms, rows.into_iter().map(drop).collect()))
            }
            Work::Rebuilt { id, .. } => {
                let (vector, collected) = (VersionVector::default(), VersionVector::default());
                let rebuilt = Operation::Remote(Remote::Rebuilt { vector, collected });
                (id, commit(committer, now_ms, vec![rebuilt]))
            }
            Work::Stage { fetch, bytes } => {
                return Done {
                    answer: None,
                    committed: self.stage(committer, now_ms, fetch, &bytes),
                };
            }
            Work::Discard { fetch } => {
                self.uploads.remove(&fetch);
                return Done::default();
            }
            Work::Read { .. }
            | Work::ReadBody { .. }
            | Work::Inspect { .. }
            | Work::FindUncounted { .. } => return Done::default(),
        };
        let visible = committer.view().vector().clone();
        Done { answer: Some(Event::Applied { id, results, visible }), committed: true }
    }

    /// The operations that apply these rows; none if a body is not the one that its row announced.
    fn operations<E: Engine>(
        &mut self,
        committer: &Committer<E>,
        rows: Vec<ToApply>,
    ) -> Option<Vec<Operation>>
    where
        E::Snapshot: Clone,
    {
        let mut operations = Vec::with_capacity(rows.len());
        for ToApply { row, how, fetch } in rows {
            let upload = || committer.upload();
            let change = self.change(&upload, &row, fetch, &mut operations)?;
            let Row { dot, hlc, prev, namespace, key, .. } = row;
            let write = RemoteWrite { dot, hlc, prev, namespace, key, change };
            operations.push(Operation::Remote(match how {
                How::Next => Remote::Next(write),
                How::Row => Remote::Row(write),
            }));
        }
        Some(operations)
    }

    /// The change that a row makes, with its body ready to be put; none if that is not the announced one.
    fn change(
        &mut self,
        upload: &dyn Fn() -> Upload,
        row: &Row,
        fetch: Option<u64>,
        operations: &mut Vec<Operation>,
    ) -> Option<NewContent> {
        let body = match &row.content {
            Content::Joined(row) => return Some(NewContent::Joined(Arc::clone(row))),
            Content::Deleted => return Some(NewContent::Delete),
            Content::Expired => {
                return row.expires_at.map(|expires_at| NewContent::Expired { expires_at });
            }
            Content::Value(value) => {
                let mut upload = upload();
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
        Some(NewContent::Put { body, attributes: Attributes { metadata, expires_at } })
    }

    /// Stages the next bytes of a body. Returns whether something was committed.
    fn stage<E: Engine>(
        &mut self,
        committer: &mut Committer<E>,
        now_ms: u64,
        fetch: u64,
        bytes: &Bytes,
    ) -> bool
    where
        E::Snapshot: Clone,
    {
        let upload = self.uploads.entry(fetch).or_insert_with(|| Some(committer.upload()));
        let Some(pushed) = upload.as_mut().map(|upload| upload.push(bytes)) else { return false };
        let Ok(operations) = pushed else {
            self.uploads.insert(fetch, None);
            return false;
        };
        if operations.is_empty() {
            return false;
        }
        if !committer.commit(now_ms, operations).results.iter().all(Result::is_ok) {
            self.uploads.insert(fetch, None);
        }
        true
    }
}

/// Commits remote operations; none if one of them failed.
fn commit<E: Engine>(
    committer: &mut Committer<E>,
    now_ms: u64,
    operations: Vec<Operation>,
) -> Option<Vec<Applied>>
where
    E::Snapshot: Clone,
{
    applied(committer.commit(now_ms, operations).results)
}

/// Returns the outcome of each remote operation, or none if one of them failed.
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
