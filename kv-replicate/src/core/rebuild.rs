//! Rebuilds the store in place, from one peer.
//!
//! A store that was restored from an old image may lack deletions whose tombstones its peers have dropped since. A peer
//! that is queried for what is missing reports that, and the store *rebuilds*: it serves nobody and resolves nothing until
//! it has dropped what was deleted. It takes a session from one peer, whatever was collected there. Then it compares its
//! rows with that peer's, and drops each row that the peer counts and does not have. A row that the peer does not count
//! is a write that did not arrive there. It stays if it is later than the last tombstone that the peer has collected. An
//! earlier one may have been deleted, without a trace, by a member that had not received it: it is handed to the owner, and
//! then dropped too. If the peer has a later row of the key, which came after the session, another session follows: a
//! collected tombstone may be between the two. Once a comparison finds nothing more to drop, the rebuild is done.
//!
//! The source must have had the tombstones that this store lacks: two stores that were restored from old images would
//! otherwise take each other for whole, again and again.
//!
//! A location that joins is in the same state. If it begins with an empty store and has the rows of one source only,
//! there is nothing to compare.
//!
//! Two stores that each lack tombstones of the other rebuild by turns: see [`turns`].
//!
//! If all members rebuild, the one with the lowest id has what the others rebuild from, unless it has adopted vectors and
//! has not compared its rows since. A member that lacks tombstones
//! which this store has dropped is no source either, whether it rebuilds or not: several stores were restored, it from the
//! older image, and it rebuilds from this one.

use std::time::Duration;

use kv_core::VersionVector;

use super::{
    actions::{Context, Pending},
    local::Local,
    peers::Peers,
    puller::Puller,
    verifier::Verifier,
};
use crate::{Ending, MemberId, notice::Notice, work::Work};

mod handed;
mod turns;

use handed::Handed;
use turns::Turns;

#[cfg(test)]
mod tests;

/// How long after a comparison that found rows to drop the next one begins: the drops are durable then.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How long after the owner could not keep rows the next comparison begins: a disk may be full.
const NOT_KEPT_AFTER: Duration = Duration::from_secs(10);

/// How long a store that has adopted the vectors of a source looks for a peer to compare its rows with, before it takes
/// itself for whole. The source may be gone for good.
const UNCOMPARED: Duration = Duration::from_secs(60);

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The store is whole.
    Whole,
    /// The commit that begins a rebuild was requested.
    Beginning,
    /// No peer was found yet that has what is missing.
    Seeking,
    /// A session with this peer is under way.
    Session(MemberId),
    /// Rows are compared with this peer's.
    Comparing(MemberId),
    /// Rows were dropped. They are compared again at this time.
    Again(MemberId, Duration),
    /// The source has later rows than the session has brought: another one begins at this time.
    SessionAgain(Duration),
    /// The commit that ends the rebuild was requested.
    Ending,
}

/// Where the rows in the store are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    /// There are none.
    Nothing,
    /// All are from sessions with this incarnation of a peer.
    Of(MemberId, u64),
    /// They are from several places, or from before this process.
    Mixed,
}

/// The rebuild of this location's store: see the module.
#[derive(Debug)]
pub(super) struct Rebuild {
    /// How far it is.
    step: Step,
    /// Where the rows are from.
    contents: Contents,
    /// The peer for which the rebuild began, and the tombstones that it has dropped; none once it is out of reach.
    lacks: Option<(MemberId, VersionVector)>,
    /// When the vectors of a source were last adopted, or may have been; none if they were not since this rebuild began.
    adopted: Option<Duration>,
    /// Compares the rows.
    comparer: Verifier,
    /// Rows that the source neither counts nor has: the owner gets them, and once it keeps them they are dropped.
    handed: Vec<Handed>,
    /// The owner could not keep rows: they are not compared again before this time.
    not_before: Duration,
    /// The peers that must rebuild from this store before it rebuilds from them again.
    turns: Turns,
}

impl Rebuild {
    /// For a location that was just started.
    pub(super) fn new(local: &Local) -> Rebuild {
        let is_empty = local.visible().iter().next().is_none() && !local.has_received();
        Rebuild {
            step: if local.is_rebuilding() { Step::Seeking } else { Step::Whole },
            contents: if is_empty { Contents::Nothing } else { Contents::Mixed },
            lacks: None,
            adopted: (!is_empty).then(|| local.mono()),
            comparer: Verifier::for_rebuild(),
            handed: Vec::new(),
            not_before: Duration::ZERO,
            turns: Turns::default(),
        }
    }

    /// Compares the rows, for the messages and results of the comparison.
    pub(super) fn comparer(&mut self) -> &mut Verifier {
        &mut self.comparer
    }

    /// A peer has dropped tombstones, some of which this location lacks: the store must be rebuilt. Returns whether that
    /// begins: not if the peer must rebuild first.
    pub(super) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        peer: MemberId,
        collected: VersionVector,
    ) -> bool {
        let is_under_way = self.step != Step::Whole || cx.local.is_rebuilding();
        if is_under_way || self.turns.has(cx.local, cx.peers, peer) {
            return false;
        }
        self.step = Step::Beginning;
        self.handed.clear();
        self.contents = Contents::Mixed;
        self.adopted = None;
        self.lacks = Some((peer, collected));
        cx.out.notice(Notice::Rebuilding(peer));
        let (id, epoch) = cx.out.next_commit();
        cx.out.request(id, Pending::Rebuild, Work::Rebuild { id, epoch });
        true
    }

    /// Whether the rebuild of the store has begun, durably or not.
    pub(super) fn is_under_way(&self) -> bool {
        self.step != Step::Whole
    }

    /// Takes in the state of the store.
    pub(super) fn follow(&mut self, cx: &mut Context<'_>) {
        match (self.step, cx.local.is_rebuilding()) {
            (Step::Whole | Step::Beginning, true) => self.step = Step::Seeking,
            (Step::Whole | Step::Beginning, false) | (_, true) => {}
            (_, false) => {
                self.step = Step::Whole;
                cx.out.notice(Notice::Rebuilt);
            }
        }
    }

    /// The commit that begins or ends a rebuild was made, or has failed.
    pub(super) fn committed(&mut self, failed: bool) {
        if failed {
            self.step = match self.step {
                Step::Beginning => Step::Whole,
                Step::Ending => Step::Seeking,
                other => other,
            };
        }
    }

    /// The peer that the rows are compared with, now or again soon.
    fn compared_with(&self) -> Option<MemberId> {
        match self.step {
            Step::Comparing(peer) | Step::Again(peer, _) => Some(peer),
            _ => None,
        }
    }

    /// Looks for a source again. The time for that begins if what was adopted is not compared yet.
    fn seek(&mut self, cx: &Context<'_>) {
        self.step = Step::Seeking;
        self.adopted = self.adopted.map(|_| cx.local.mono());
    }

    /// Whether what is planned for a time is due.
    fn is_due(&self, cx: &Context<'_>, at: Duration) -> bool {
        cx.local.mono() >= at.max(self.not_before)
    }

    /// Whether rows are about to be dropped.
    fn is_dropping(&self, cx: &Context<'_>) -> bool {
        let is_pending = |purpose| cx.out.is_pending(purpose);
        is_pending(Pending::Salvage) || is_pending(Pending::Rebuild)
    }

    /// The store was rolled back: what was under way begins again.
    pub(super) fn rolled_back(&mut self, local: &Local) {
        self.handed.clear();
        self.turns.rolled_back();
        self.step = if local.is_rebuilding() { Step::Seeking } else { Step::Whole };
    }

    /// The peer to take a session from now, if one is needed.
    pub(super) fn source(&self, cx: &Context<'_>, puller: &Puller) -> Option<MemberId> {
        if self.step != Step::Seeking || !cx.local.is_rebuilding() {
            return None;
        }
        // A peer that lacks what was adopted does not know which rows of this store were deleted before.
        let is_compared = self.is_compared(cx.local);
        let has_had = |durable: &VersionVector| {
            self.lacks.as_ref().is_none_or(|(_, collected)| durable.covers_all(collected))
                && (is_compared || durable.covers_all(cx.local.collected()))
        };
        puller.source_with(cx.local, cx.peers, |peer| {
            let progress = peer.progress();
            peer.has_reported() && !progress.rebuilding && has_had(&progress.durable)
        })
    }

    /// A session with a peer begins.
    pub(super) fn session_began(&mut self, cx: &Context<'_>, peer: MemberId) {
        if self.step == Step::Seeking {
            self.step = Step::Session(peer);
            self.handed.clear();
        }
        let incarnation = cx.peers.get(peer).map_or(0, |state| state.handshake.incarnation());
        let source = Contents::Of(peer, incarnation);
        self.contents = match self.contents {
            Contents::Nothing => source,
            of if of == source => source,
            _ => Contents::Mixed,
        };
    }

    /// The store has adopted the vectors of a session, whatever has become of the session meanwhile.
    pub(super) fn adopted(&mut self, cx: &Context<'_>) {
        self.adopted = Some(cx.local.mono());
    }

    /// A session with a peer is done, and its vectors were adopted.
    pub(super) fn session_done(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        if self.step != Step::Session(peer) {
            return;
        }
        if matches!(self.contents, Contents::Of(..)) {
            return self.end(cx);
        }
        self.step = Step::Comparing(peer);
        self.comparer.begin(cx, peer);
    }

    /// The link to a peer has ended.
    pub(super) fn disconnect(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        self.comparer.disconnect(cx, peer);
        self.lacks.take_if(|(by, _)| *by == peer);
        self.handed.retain(|handed| handed.from != peer);
        if self.compared_with() == Some(peer) {
            self.seek(cx);
        } else if self.step == Step::Session(peer) {
            self.step = Step::Seeking;
        }
    }

    /// Moves the rebuild on.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, puller: &Puller) {
        self.comparer.watch(cx);
        let compared = self.comparer.take_compared();
        match (self.step, compared) {
            (Step::Session(peer), _) if puller.progress(peer).is_none() => {
                self.step = Step::Seeking;
            }
            (Step::Comparing(peer), Some(verdict)) => {
                let at = cx.local.mono() + AGAIN_AFTER;
                if verdict.ending != Ending::Complete {
                    self.seek(cx);
                } else if verdict.unsettled.keys() > 0 {
                    self.step = Step::SessionAgain(at);
                } else if verdict.differing > 0 {
                    self.step = Step::Again(peer, at);
                } else {
                    self.compared(cx, peer);
                }
            }
            (Step::Again(peer, at), _) if self.is_due(cx, at) => {
                if self.is_dropping(cx) {
                    self.step = Step::Again(peer, cx.local.mono() + AGAIN_AFTER);
                } else {
                    self.step = Step::Comparing(peer);
                    self.comparer.begin(cx, peer);
                }
            }
            (Step::SessionAgain(at), _) if self.is_due(cx, at) => {
                if self.is_dropping(cx) {
                    self.step = Step::SessionAgain(cx.local.mono() + AGAIN_AFTER);
                } else {
                    self.seek(cx);
                }
            }
            (Step::Seeking, _)
                if self.has_no_source(cx.local, cx.peers) && !self.is_dropping(cx) =>
            {
                self.end(cx);
            }
            _ => {}
        }
    }

    /// When [`Rebuild::watch`] is due.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let again = match self.step {
            Step::Again(_, at) | Step::SessionAgain(at) => Some(at.max(self.not_before)),
            _ => None,
        };
        again.into_iter().chain(self.comparer.timeout()).min()
    }

    /// A comparison with a peer has found nothing more to drop.
    fn compared(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        self.turns.rebuilt_from(cx.local, cx.peers, peer);
        self.end(cx);
    }

    /// Requests the commit that ends the rebuild.
    fn end(&mut self, cx: &mut Context<'_>) {
        self.step = Step::Ending;
        self.handed.clear();
        let (id, epoch) = cx.out.next_commit();
        cx.out.request(id, Pending::Rebuild, Work::Rebuilt { id, epoch });
    }

    /// Whether no vectors were adopted since the rows were last compared, or nobody to compare with was found for a while.
    /// Before, rows may be here that the vector takes for deleted.
    fn is_compared(&self, local: &Local) -> bool {
        self.adopted.is_none_or(|at| local.mono() >= at + UNCOMPARED)
    }

    /// Whether all members are linked, and none can be the source: each rebuilds too and has a higher id, or lacks tombstones
    /// that this store has dropped and has dropped none that this store lacks. A location whose first session has not ended
    /// counts nothing but opened origins, and may not know all members.
    fn has_no_source(&self, local: &Local, peers: &Peers) -> bool {
        let own = local.config().member;
        let lacks = self.lacks.as_ref().filter(|(_, it)| !local.durable().covers_all(it));
        let is_needed = |member| lacks.is_some_and(|(peer, _)| *peer == member);
        let is_after = |member: MemberId| {
            let peer = peers.get(member).filter(|peer| peer.has_reported());
            peer.map(|peer| peer.progress()).is_some_and(|progress| {
                let lacks_ours = !progress.durable.covers_all(local.collected());
                (progress.rebuilding && own < member) || (lacks_ours && !is_needed(member))
            })
        };
        let mut members = local.members().current().map(|member| member.id);
        let was_whole = local.durable().iter().any(|dot| dot.seq > 1);
        was_whole
            && self.is_compared(local)
            && local.is_member(own)
            && local.is_rebuilding()
            && members.all(|member| member == own || is_after(member))
    }
}
