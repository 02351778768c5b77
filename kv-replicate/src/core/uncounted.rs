//! Writes of ended origins that this location holds and its vector does not count.
//!
//! They are rows of sessions that did not end. A digest of them in each progress message shows to the others that there
//! are some. A member whose digest differs gives them in one session.
//!
//! The digest is read from durable rows, behind a commit: what was on its way to the store is then among them. While a
//! session is under way it is unknown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kv_core::OriginId;

use super::{
    actions::{Context, Pending},
    local::Local,
    peers::Peers,
};
use crate::{MemberId, wire::UNKNOWN, work::Work};

/// When uncounted writes are looked for again while there are some: a later write may have replaced one. The pause
/// doubles while nothing changes.
const AGAIN: Duration = Duration::from_millis(500);

/// The longest pause until uncounted writes are looked for again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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
    /// The digest of what was found, and the time of the next search if something was.
    Done(u64, Duration),
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
    /// The last digest that was found, and the pause after that search.
    last: (u64, Duration),
}

impl Uncounted {
    /// The digest that this location reports.
    pub(super) fn digest(&self) -> u64 {
        match &self.search {
            Search::Done(digest, _) => *digest,
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
        self.taken.clear();
    }

    /// Begins to look for uncounted writes if that is due; not while a session is under way.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, is_quiet: bool) {
        let now = cx.local.mono();
        let is_due = match &self.search {
            Search::Due => true,
            Search::Done(digest, again_at) => *digest != 0 && now >= *again_at,
            Search::Committing | Search::Committed | Search::Reading(_) => false,
        };
        if is_due && is_quiet && !cx.local.is_rebuilding() {
            self.search = Search::Committing;
            cx.out.adopt(Pending::Search, Default::default(), Vec::new());
        }
    }

    /// When [`Uncounted::watch`] is due; none if something must happen before.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match &self.search {
            Search::Done(digest, again_at) if *digest != 0 => Some(*again_at),
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

    /// The store has computed the digest; none if it can't read. Returns whether the digest is known now.
    pub(super) fn found(&mut self, now: Duration, id: u64, digest: Option<u64>) -> bool {
        if !matches!(self.search, Search::Reading(reading) if reading == id) {
            return false;
        }
        let Some(digest) = digest else {
            self.search = Search::Due;
            return false;
        };
        let (last, pause) = self.last;
        let pause = if digest == last { (pause * 2).clamp(AGAIN, LONGEST_PAUSE) } else { AGAIN };
        self.last = (digest, pause);
        self.search = Search::Done(digest, now + pause);
        true
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER};

    fn search(fixture: &mut Fixture, uncounted: &mut Uncounted, digest: u64) {
        uncounted.watch(&mut fixture.context(), true);
        assert!(matches!(fixture.poll_work(), Some(Work::Adopt { .. })));
        uncounted.synced(&mut fixture.context(), &BTreeSet::new());
        assert!(fixture.poll_work().is_none(), "the commit is not made");
        uncounted.settled(false);
        uncounted.synced(&mut fixture.context(), &BTreeSet::new());
        let Some(Work::FindUncounted { id, .. }) = fixture.poll_work() else { panic!("no search") };
        assert_eq!(uncounted.digest(), UNKNOWN);
        assert!(uncounted.found(fixture.local().mono(), id, Some(digest)));
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
    fn searches_become_rarer_while_nothing_changes() {
        let (mut fixture, mut uncounted) = (Fixture::new(), Uncounted::default());
        for (digest, pause) in [(7, 500), (7, 1_000), (7, 2_000), (8, 500), (0, 0)] {
            uncounted.disturb();
            search(&mut fixture, &mut uncounted, digest);
            let at = fixture.local().mono() + Duration::from_millis(pause);
            assert_eq!(uncounted.timeout(), (digest != 0).then_some(at), "{digest}");
        }
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
        assert!(!uncounted.found(Duration::ZERO, id, Some(0)));
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
}
