//! Writes of ended origins that this location holds and its vector does not count.
//!
//! They are rows of sessions that did not end. A digest of them in each progress message shows to the others that there
//! are some. A member whose digest differs gives them in one session. Once all members report the same digest and the
//! same counts, each counts those of removed members: no other write of these will come.
//!
//! The digest is read from durable rows, behind a commit: what was on its way to the store is then among them. While a
//! session is under way it is unknown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kv_core::{Dot, OriginId, VersionVector};

use super::{
    actions::{Context, Pending},
    local::Local,
    peers::Peers,
};
use crate::{
    MemberId,
    wire::{PageHead, UNKNOWN},
    work::{Uncounted as Found, Work},
};

/// How often uncounted writes are looked for again while there are some: a later write may have replaced one.
const AGAIN: Duration = Duration::from_millis(500);

/// How far the search is.
#[derive(Debug, Default)]
enum Search {
    /// Something has changed since the last search, and none has begun.
    #[default]
    Due,
    /// The commit behind which the search begins was requested.
    Committing,
    /// The commit was made: the search begins with the next sync.
    Committed,
    /// The store looks.
    Reading(u64),
    /// What was found at this time.
    Done(Found, Duration),
}

/// The uncounted writes of this location: see the module.
#[derive(Debug, Default)]
pub(super) struct Uncounted {
    /// How far the search is.
    search: Search,
    /// The digest of each member whose uncounted writes a session brings, as it was when that began.
    taking: BTreeMap<MemberId, u64>,
    /// The digest of each member whose uncounted writes a session has brought.
    taken: BTreeMap<MemberId, u64>,
    /// Whether the commit that counts them is under way.
    is_counting: bool,
}

impl Uncounted {
    /// The digest that this location reports.
    pub(super) fn digest(&self) -> u64 {
        match &self.search {
            Search::Done(found, _) => found.digest,
            _ => UNKNOWN,
        }
    }

    /// There may be other uncounted writes from now on.
    pub(super) fn disturb(&mut self) {
        self.search = Search::Due;
    }

    /// The store was rolled back.
    pub(super) fn rolled_back(&mut self) {
        self.disturb();
        self.is_counting = false;
        self.taken.clear();
    }

    /// Begins to look for uncounted writes if that is due; not while a session is under way.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, is_quiet: bool) {
        let now = cx.local.mono();
        let is_due = match &self.search {
            Search::Due => true,
            Search::Done(found, at) => found.digest != 0 && now >= *at + AGAIN,
            Search::Committing | Search::Committed | Search::Reading(_) => false,
        };
        if is_due && is_quiet && !cx.local.is_rebuilding() {
            self.search = Search::Committing;
            cx.out.adopt(Pending::Search, PageHead::default(), Vec::new());
        }
    }

    /// When [`Uncounted::watch`] is due; none if something must happen before.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match &self.search {
            Search::Done(found, at) if found.digest != 0 => Some(*at + AGAIN),
            _ => None,
        }
    }

    /// The commit behind which the search begins was made, or has failed.
    pub(super) fn settled(&mut self, failed: bool) {
        if matches!(self.search, Search::Committing) {
            self.search = if failed { Search::Due } else { Search::Committed };
        }
    }

    /// A sync is done.
    pub(super) fn synced(&mut self, cx: &mut Context<'_>, ended: &BTreeSet<OriginId>) {
        if matches!(self.search, Search::Committed) {
            let id = cx.out.next_id();
            self.search = Search::Reading(id);
            cx.out.work(Work::FindUncounted { id, origins: Arc::new(ended.clone()) });
        }
    }

    /// The store has looked; none if it can't read. Returns whether the digest is known now.
    pub(super) fn found(&mut self, now: Duration, id: u64, found: Option<Found>) -> bool {
        if !matches!(self.search, Search::Reading(reading) if reading == id) {
            return false;
        }
        self.search = found.map_or(Search::Due, |found| Search::Done(found, now));
        matches!(self.search, Search::Done(..))
    }

    /// The member whose uncounted writes a session must bring, if there is one: it reports others than this
    /// location holds, and no session has brought these.
    pub(super) fn source(&self, local: &Local, peers: &Peers) -> Option<MemberId> {
        let own = self.digest();
        let has_others = |peer: &MemberId, digest: u64| {
            ![0, UNKNOWN, own].contains(&digest) && self.taken.get(peer) != Some(&digest)
        };
        let peers = peers.iter().filter(|(peer, _)| local.is_member(*peer));
        let mut peers = peers.map(|(peer, state)| (peer, state.progress().uncounted));
        peers.find(|(peer, digest)| has_others(peer, *digest)).map(|(peer, _)| peer)
    }

    /// A session with a member begins, which brings what it reports.
    pub(super) fn taking(&mut self, peers: &Peers, peer: MemberId) {
        let digest = peers.get(peer).map_or(0, |state| state.progress().uncounted);
        self.taking.insert(peer, digest);
        self.disturb();
    }

    /// A session with a member has brought what it held.
    pub(super) fn taken(&mut self, peer: MemberId) {
        self.taken.extend(self.taking.remove_entry(&peer));
        self.disturb();
    }

    /// Counts the uncounted writes of removed members, because all members hold the same.
    pub(super) fn count(&mut self, cx: &mut Context<'_>) {
        let Search::Done(found, _) = &self.search else { return };
        let has_left = |dot: &Dot| {
            let info = cx.local.registry().get(dot.origin);
            info.is_some_and(|info| cx.local.has_left(info.member))
        };
        let last: VersionVector = found.last.iter().filter(has_left).collect();
        let is_any = last.iter().next().is_some();
        if is_any && !self.is_counting {
            self.is_counting = true;
            let head = PageHead { vector: last, ..PageHead::default() };
            cx.out.adopt(Pending::Count, head, Vec::new());
        }
    }

    /// The uncounted writes were counted, or the commit has failed.
    pub(super) fn counted(&mut self) {
        self.is_counting = false;
        self.disturb();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, vector};

    fn search(fixture: &mut Fixture, uncounted: &mut Uncounted, digest: u64) {
        uncounted.watch(&mut fixture.context(), true);
        assert!(matches!(fixture.poll_work(), Some(Work::Adopt { .. })));
        uncounted.synced(&mut fixture.context(), &BTreeSet::new());
        assert!(fixture.poll_work().is_none(), "the commit is not made");
        uncounted.settled(false);
        uncounted.synced(&mut fixture.context(), &BTreeSet::new());
        let Some(Work::FindUncounted { id, .. }) = fixture.poll_work() else { panic!("no search") };
        assert_eq!(uncounted.digest(), UNKNOWN);
        let found = Found { last: vector(digest), digest };
        assert!(uncounted.found(fixture.local().mono(), id, Some(found)));
        assert_eq!(uncounted.digest(), digest);
    }

    #[test]
    fn the_digest_is_read_behind_a_commit_and_a_sync() {
        let (mut fixture, mut uncounted) = (Fixture::new(), Uncounted::default());
        uncounted.watch(&mut fixture.context(), false);
        assert!(fixture.poll_work().is_none(), "a session is under way");
        search(&mut fixture, &mut uncounted, 0);
        uncounted.disturb();
        assert_eq!(uncounted.digest(), UNKNOWN);
        search(&mut fixture, &mut uncounted, 5);
    }

    #[test]
    fn a_search_that_was_overtaken_does_not_count() {
        let (mut fixture, mut uncounted) = (Fixture::new(), Uncounted::default());
        uncounted.watch(&mut fixture.context(), true);
        uncounted.settled(false);
        uncounted.synced(&mut fixture.context(), &BTreeSet::new());
        fixture.poll_work();
        let Some(Work::FindUncounted { id, .. }) = fixture.poll_work() else { panic!("no search") };
        uncounted.disturb();
        assert!(!uncounted.found(Duration::ZERO, id, Some(Found::default())));
        assert_eq!(uncounted.digest(), UNKNOWN);
    }

    #[test]
    fn a_member_that_holds_others_gives_them_in_one_session() {
        let (mut fixture, mut uncounted) = (Fixture::new(), Uncounted::default());
        fixture.connect(PEER);
        search(&mut fixture, &mut uncounted, 0);
        for (digest, source) in [(0, None), (UNKNOWN, None), (7, Some(PEER))] {
            fixture.progress(PEER, |progress| progress.uncounted = digest);
            assert_eq!(uncounted.source(fixture.local(), fixture.peers()), source, "{digest}");
        }
        uncounted.taking(fixture.peers(), PEER);
        let source = |it: &Uncounted| it.source(fixture.local(), fixture.peers());
        assert_eq!(source(&uncounted), Some(PEER), "the session has not ended");
        uncounted.taken(PEER);
        assert_eq!(source(&uncounted), None);
    }

    #[test]
    fn only_uncounted_writes_of_a_removed_member_are_counted() {
        let (mut fixture, mut uncounted) = (Fixture::new(), Uncounted::default());
        fixture.open(PEER);
        search(&mut fixture, &mut uncounted, 7);
        uncounted.count(&mut fixture.context());
        assert!(fixture.poll_work().is_none(), "its disk may come back");
        fixture.remove(PEER);
        for adopts in [1, 0] {
            uncounted.count(&mut fixture.context());
            assert_eq!(usize::from(fixture.poll_work().is_some()), adopts);
        }
    }
}
