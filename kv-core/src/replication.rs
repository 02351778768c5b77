//! The replicator, as the writer sees it.

use crate::{
    commit::Committer,
    engine::Engine,
    types::{Change, Hlc, Key, NamespaceId},
    view::View,
};

/// The result of a turn of [`Replication::work`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnOutcome {
    /// Something was committed, or a sync was requested: readers get a new view, and a sync follows within
    /// 30 ms.
    pub committed: bool,
    /// Number of remote writes that replaced a write that they did not know of.
    pub concurrent: usize,
    /// There is more to do.
    pub more: bool,
}

/// Takes part in the work of a store's writer: see [`Store::replicate`](crate::Store::replicate) and
/// [`WriterCore`](crate::writer::WriterCore).
///
/// All calls come from the thread that drives the writer, one after the other, and local writes wait meanwhile:
/// none may block. What it commits is synced with the next local commit, or by itself within 30 ms.
///
/// A local write comes first in [`Replication::published`]; the next [`Replication::synced`] means that it, and
/// everything committed before, survives a crash. After [`Replication::rolled_back`] everything that was
/// published and not synced is void.
pub trait Replication<E: Engine>: Send + 'static {
    /// Begins. Everything committed so far is durable.
    fn begin(&mut self, committer: &mut Committer<E>);

    /// Commits what peers sent: a few milliseconds of it. Called after
    /// [`Store::wake`](crate::Store::wake), and again while there is more, by turns with local commits.
    fn work(&mut self, committer: &mut Committer<E>, now_ms: u64) -> TurnOutcome;

    /// Readers have this view. `writes` are the local writes since the last call, in the order of their
    /// numbers; the view has their bodies.
    fn published(&mut self, view: &View<E::Snapshot>, writes: Vec<Change>);

    /// Everything committed is durable, and readers have it.
    fn synced(&mut self, committer: &mut Committer<E>);

    /// The disk failed: the store is as the committer shows it now, and staged bodies are gone.
    fn rolled_back(&mut self, committer: &mut Committer<E>);

    /// The values of these keys were freed although they have not expired: peers may still have them. Called on a
    /// confirmed clock, from time to time, until [`Remote::Row`](crate::commit::Remote::Row) has brought them back
    /// or they have expired.
    fn freed_early(&mut self, keys: Vec<(NamespaceId, Key)>) {
        drop(keys);
    }

    /// The time below which tombstones may be collected; [`Hlc::ZERO`] if none may. See
    /// [`GcLimits`](crate::commit::GcLimits).
    fn stable(&mut self) -> Hlc;
}

impl<E: Engine, R: Replication<E> + ?Sized> Replication<E> for Box<R> {
    fn begin(&mut self, committer: &mut Committer<E>) {
        (**self).begin(committer);
    }

    fn work(&mut self, committer: &mut Committer<E>, now_ms: u64) -> TurnOutcome {
        (**self).work(committer, now_ms)
    }

    fn published(&mut self, view: &View<E::Snapshot>, writes: Vec<Change>) {
        (**self).published(view, writes);
    }

    fn synced(&mut self, committer: &mut Committer<E>) {
        (**self).synced(committer);
    }

    fn rolled_back(&mut self, committer: &mut Committer<E>) {
        (**self).rolled_back(committer);
    }

    fn freed_early(&mut self, keys: Vec<(NamespaceId, Key)>) {
        (**self).freed_early(keys);
    }

    fn stable(&mut self) -> Hlc {
        (**self).stable()
    }
}
