//! Commits what peers sent.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kv_core::{
    Attributes, Dot, Hlc, NamespaceId, Operation, OriginId, Outcome, Upload, VersionVector,
    WriteError,
    commit::Committer,
    commit::{Applied, NewContent, Remote, RemoteWrite, SkippedWrite},
    engine::Engine,
};

use super::late::{Late, has_value};
use crate::{Content, Event, How, Row, Settled, ToApply, Work, inspect::Place, read::Additions};

#[cfg(test)]
mod tests;

/// Does work that commits, and keeps the bodies that come in pieces until their rows do.
#[derive(Debug, Default)]
pub(super) struct Applier {
    /// Bodies that are being fetched; none for one that failed.
    uploads: BTreeMap<u64, Option<Upload>>,
    /// Number of rollbacks that were reported to the core.
    epoch: u64,
    /// How often the engine had been reopened at the last of them.
    reopened: u64,
    /// When rows were added that the vector does not count.
    additions: Arc<Additions>,
}

/// What a row may add to a store beyond what the vector counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adds {
    /// Nothing: it is counted.
    Nothing,
    /// Itself.
    RowOf(OriginId),
    /// An entry of the system namespace, which may be merged of writes of several origins.
    Anything,
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
        let status = committer.engine().status();
        self.reopened = status.reopened;
        Arc::make_mut(&mut self.additions).may_have_added(status.latest);
    }

    /// When rows were added that the vector does not count, up to now.
    pub(super) fn additions(&self) -> Arc<Additions> {
        Arc::clone(&self.additions)
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
        let status = committer.engine().status();
        self.reopened = status.reopened;
        Arc::make_mut(&mut self.additions).may_have_added(status.latest);
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
            | Work::Disown { id, epoch, .. }
            | Work::Drop { id, epoch, .. }
            | Work::Rebuilt { id, epoch }
                if self.is_late(committer, epoch) =>
            {
                (id, None)
            }
            Work::Apply { id, rows, basis, .. } => {
                (id, self.apply(committer, now_ms, rows, basis.as_deref()))
            }
            Work::Adopt { id, vector, collected, floor, resolved_by_most, damaged, .. } => {
                committer.set_resolved_by_most(resolved_by_most);
                let adopt = Remote::Adopt { vector, collected, floor, damaged };
                let adopt = Operation::Remote(adopt);
                (id, commit(committer, now_ms, vec![adopt]))
            }
            Work::Rebuild { id, .. } => {
                (id, commit(committer, now_ms, vec![Operation::Remote(Remote::Rebuild)]))
            }
            Work::Disown { id, origin, made, .. } => {
                let disown = Operation::Remote(Remote::Disown { origin, made });
                (id, commit(committer, now_ms, vec![disown]))
            }
            Work::Drop { id, rows, collected, floor, resolved_by_most, uncount, .. } => {
                committer.set_resolved_by_most(resolved_by_most);
                let adopt = Remote::Adopt {
                    vector: VersionVector::default(),
                    collected,
                    floor,
                    damaged: Vec::new(),
                };
                // Without the source's collected vector, the rows could not be told from ones that never were here.
                let adopted = commit(committer, now_ms, vec![Operation::Remote(adopt)]);
                let is_adopted = adopted == Some(vec![Applied::Adopted]);
                let dropped = || commit(committer, now_ms, dropping(rows, uncount));
                (id, if is_adopted { dropped() } else { adopted })
            }
            Work::Rebuilt { id, .. } => {
                (id, commit(committer, now_ms, vec![Operation::Remote(rebuilt())]))
            }
            Work::Stage { fetch, bytes } => {
                let committed = self.stage(committer, now_ms, fetch, &bytes);
                return Done { committed, answer: None };
            }
            Work::Discard { fetch } => {
                self.uploads.remove(&fetch);
                return Done::default();
            }
            Work::Settle { epoch, .. } if self.is_late(committer, epoch) => return Done::default(),
            Work::Settle { keys, .. } => {
                commit(committer, now_ms, keys.into_iter().flat_map(settle).collect());
                return Done { committed: true, answer: None };
            }
            Work::Read { .. }
            | Work::Unpin { .. }
            | Work::ReadBody { .. }
            | Work::ReadRow { .. }
            | Work::ReadRows { .. }
            | Work::Inspect { .. }
            | Work::FindUncounted { .. }
            | Work::Salvage { .. } => return Done::default(),
        };
        let visible = committer.view().vector().clone();
        let answer = Some(Event::Applied { id, results, visible });
        Done { answer, committed: true }
    }

    /// Applies rows in one commit, except for late ones, see [`Late`], and values that a full disk has no room for. Takes note of those that the vector does not
    /// count. Returns the outcome of each row, in their order; none if the commit failed.
    fn apply<E: Engine>(
        &mut self,
        committer: &mut Committer<E>,
        now_ms: u64,
        rows: Vec<ToApply>,
        basis: Option<&VersionVector>,
    ) -> Option<Vec<Applied>>
    where
        E::Snapshot: Clone,
    {
        let view = committer.view();
        let mut late = Late::new(&view, basis);
        let is_short_of_room = !committer.engine().room().takes_values;
        let refusal = |to_apply: &ToApply| match late.is_late(&view, to_apply) {
            true => Some(Applied::Late(to_apply.row.dot)),
            false => (is_short_of_room && has_value(&to_apply.row)).then_some(Applied::Full),
        };
        let refused: Vec<_> = rows.iter().map(refusal).collect();
        let adds: Vec<_> = rows.iter().map(adds).collect();
        let mut taken = Vec::with_capacity(rows.len());
        for (to_apply, refused) in rows.into_iter().zip(&refused) {
            match to_apply.fetch {
                Some(fetch) if refused.is_some() => drop(self.uploads.remove(&fetch)),
                None if refused.is_some() => {}
                _ => taken.push(to_apply),
            }
        }
        let fetches: Vec<_> = taken.iter().filter_map(|row| row.fetch).collect();
        let Some(operations) = self.operations(committer, taken) else {
            // The bodies of the other rows are not needed either.
            fetches.iter().for_each(|fetch| drop(self.uploads.remove(fetch)));
            return None;
        };
        let results = commit(committer, now_ms, operations);
        let number = committer.engine().status().latest;
        let Some(results) = results else {
            // Some of them may have been applied although another one failed.
            Arc::make_mut(&mut self.additions).may_have_added(number);
            return None;
        };
        let mut results = results.into_iter();
        let outcome = |refused: Option<Applied>| refused.or_else(|| results.next());
        let results: Vec<_> = refused.into_iter().map(outcome).collect::<Option<_>>()?;
        for (adds, applied) in adds.into_iter().zip(&results) {
            match adds {
                Adds::RowOf(origin) if matches!(applied, Applied::Won { .. }) => {
                    Arc::make_mut(&mut self.additions).added(origin, number);
                }
                Adds::Anything
                    if !matches!(applied, Applied::Known | Applied::Late(_) | Applied::Full) =>
                {
                    Arc::make_mut(&mut self.additions).may_have_added(number);
                }
                _ => {}
            }
        }
        Some(results)
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
            let remote = match how {
                How::Next => Remote::Next(self.write(committer, row, fetch, &mut operations)?),
                How::Row => Remote::Row(self.write(committer, row, fetch, &mut operations)?),
                How::Found => Remote::Found(self.write(committer, row, fetch, &mut operations)?),
                How::Skip => {
                    let Row { dot, hlc, namespace, key, .. } = row;
                    Remote::Skip(SkippedWrite { dot, hlc, namespace, key })
                }
            };
            operations.push(Operation::Remote(remote));
        }
        Some(operations)
    }

    /// The write that a row describes; none if its body is not the one that it announced.
    fn write<E: Engine>(
        &mut self,
        committer: &Committer<E>,
        row: Row,
        fetch: Option<u64>,
        operations: &mut Vec<Operation>,
    ) -> Option<RemoteWrite>
    where
        E::Snapshot: Clone,
    {
        let change = self.change(&|| committer.upload(), &row, fetch, operations)?;
        let Row { dot, hlc, prev, namespace, key, .. } = row;
        Some(RemoteWrite { dot, hlc, prev, namespace, key, change })
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

/// What a row may add to the store beyond what the vector counts.
fn adds(to_apply: &ToApply) -> Adds {
    match to_apply.how {
        _ if to_apply.row.namespace == NamespaceId::SYSTEM => Adds::Anything,
        How::Row | How::Found => Adds::RowOf(to_apply.row.dot.origin),
        How::Next | How::Skip => Adds::Nothing,
    }
}

/// Drops the rows of a rebuild that its source does not have. If the source does not count them either, the vector falls to
/// what it counts.
fn dropping(rows: Vec<(Place, Dot)>, uncount: Option<Arc<VersionVector>>) -> Vec<Operation> {
    let drop = |(Place { namespace, key }, dot)| Remote::DropRow { namespace, key, dot };
    let uncount = uncount.map(|vector| Remote::Uncount { vector: Arc::unwrap_or_clone(vector) });
    let drops = rows.into_iter().map(drop).chain(uncount);
    drops.map(Operation::Remote).collect()
}

/// What is done for a key for which every member has answered.
fn settle(settled: Settled) -> impl Iterator<Item = Operation> {
    let Settled { place: Place { namespace, key }, is_nothing, is_destroyed, ended } = settled;
    let ended = ended.map(|counted| Remote::Ended { namespace, key: key.clone(), counted });
    let settled = Remote::Settled { namespace, key, is_nothing, is_destroyed };
    ended.into_iter().chain([settled]).map(Operation::Remote)
}

/// The end of a rebuild. The session that brought the rows has adopted the vectors of its source.
fn rebuilt() -> Remote {
    let (vector, collected) = (VersionVector::default(), VersionVector::default());
    Remote::Rebuilt { vector, collected, floor: Hlc::ZERO, damaged: Vec::new() }
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
