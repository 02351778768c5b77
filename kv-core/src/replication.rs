//! Who makes a store converge with others, as the store's writer thread sees it.

use crate::{
    commit::Committer,
    engine::Engine,
    types::{Change, Hlc},
    view::View,
};

/// What a turn of [`Replication::work`] came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnOutcome {
    /// Something was committed, or a sync was asked for: readers get a new view, and a sync follows soon.
    pub committed: bool,
    /// So many remote writes won over one that they did not know of.
    pub concurrent: usize,
    /// There is more to do.
    pub more: bool,
}

/// Takes part in what a store's writer thread does: see [`Store::replicate`](crate::Store::replicate).
///
/// All calls come from that thread, one after the other, and local writes wait meanwhile: none may
/// block. What it commits is synced with the next local commit, or by itself within some 30 ms.
///
/// What it hears of is durable in this sense: a local write first comes in [`Replication::published`], and
/// the next [`Replication::synced`] says that it, and all that was committed before, survives a crash. After
/// [`Replication::rolled_back`] what was told and not synced is void.
pub trait Replication<E: Engine>: Send + 'static {
    /// It takes part from here on. All that was committed so far is durable.
    fn begin(&mut self, committer: &mut Committer<E>);

    /// Commits what peers sent: a few milliseconds of it. Called after each local commit, after
    /// [`Store::wake`](crate::Store::wake), and again while there is more.
    fn work(&mut self, committer: &mut Committer<E>, now_ms: u64) -> TurnOutcome;

    /// Readers have this view. `writes` are the local writes since the last call, in the order of their
    /// numbers; the view has their bodies.
    fn published(&mut self, view: &View<E::Snapshot>, writes: Vec<Change>);

    /// All that was committed is durable, and readers have it.
    fn synced(&mut self, committer: &mut Committer<E>);

    /// The disk failed: the store is as the committer shows it now, and what was staged is gone.
    fn rolled_back(&mut self, committer: &mut Committer<E>);

    /// The time below which tombstones may go; [`Hlc::ZERO`] if none may. See
    /// [`GcLimits`](crate::commit::GcLimits).
    fn stable(&mut self) -> Hlc;
}
