//! Fetches the rows of keys by name: what this location lacks or can't read, although its vector counts it.
//!
//! The store names the keys ([`StoreState::wanted`](crate::StoreState::wanted)). They are fetched in *rounds*
//! of a few keys: the row of each is requested from every reachable member, the greatest row is applied, and the next
//! round follows after a pause. A key is *settled* once every current member has answered for it, over all
//! rounds, and one of them holds everything that was written when the key was first requested and can read
//! its row; or if all of them hold everything: then the greatest row that anyone can read is the row, and if there is
//! none, every copy was destroyed. Until then the key is requested again, at growing intervals.
//!
//! A write that no member holds any more does not count as needed: the one that had it was restored from a backup.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use kv_core::{Dot, VersionVector, commit::Applied};

use super::{
    actions::{Context, Pending},
    body_fetcher::{BodyFetcher, Purpose},
    local::Local,
    peers::Peer,
};
use crate::{
    Content, KeyState, MemberId, Row,
    inspect::{MAX_ASKED_ROWS, Place},
    wire::Message,
    work::{How, Settled, ToApply, Work},
};

mod round;
#[cfg(test)]
mod tests;

use round::{Key, Round, Stage};

/// The pause between two rounds: it bounds what a location with much damage costs its peers.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a peer may take for an answer before the request is repeated once, and then the round continues without it;
/// doubled with each round in vain, for peers that are slow.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often that is doubled: to 16 s.
const MAX_PATIENCE_DOUBLED: u32 = 3;

/// After this time a key that is not settled is requested again; doubled with each unsuccessful round.
const AGAIN: Duration = Duration::from_secs(2);

/// How often that is doubled: to about a minute.
const MAX_DOUBLED: u32 = 5;

/// What is known of a key that was requested and is not settled.
#[derive(Debug)]
struct Known {
    /// The writes that an answer must count to be complete: all that any member had when the key was first requested
    /// for.
    need: Arc<VersionVector>,
    /// The members that have answered, and whose rows were applied if they were greater.
    answered: BTreeSet<MemberId>,
    /// Those of them that held everything that was needed, whether they could read their row or not.
    have_all: BTreeSet<MemberId>,
    /// Whether one of those could read its row.
    is_complete: bool,
    /// Whether a member had a row.
    has_row: bool,
    /// The large values that a member could not read, although it has their rows.
    unread: BTreeSet<(MemberId, Dot)>,
    /// When the key is requested again.
    at: Duration,
    /// How many rounds did not settle it.
    tries: u32,
}

impl Known {
    /// A key of which nothing is known yet, except for the writes that an answer must count.
    fn new(need: Arc<VersionVector>, now: Duration) -> Known {
        let (answered, have_all) = (BTreeSet::new(), BTreeSet::new());
        let (is_complete, has_row, unread) = (false, false, BTreeSet::new());
        Known { need, answered, have_all, is_complete, has_row, unread, at: now, tries: 0 }
    }

    /// Takes in what a round has found.
    fn learn(&mut self, key: &Key) {
        self.answered.extend(&key.answered);
        self.have_all.extend(&key.have_all);
        self.is_complete |= key.is_complete;
        self.has_row |= key.best.is_some();
    }

    /// What an answer of a member counts as: a row whose value it can't read is none.
    fn readable(&self, from: MemberId, state: KeyState) -> KeyState {
        let is_unread = |row: &Row| {
            matches!(row.content, Content::Large { .. }) && self.unread.contains(&(from, row.dot))
        };
        if state.row.as_ref().is_some_and(is_unread) {
            return KeyState { row: None, is_owed: true };
        }
        state
    }

    /// Whether the key waits for this member.
    fn awaits(&self, member: MemberId) -> bool {
        let has_answered = self.is_complete || self.have_all.contains(&member);
        !has_answered || !self.answered.contains(&member)
    }

    /// Whether the key is settled, if these are all members but this one. If no member knows more, the greatest row that
    /// anyone can read is the row.
    fn is_settled(&self, others: &[MemberId]) -> bool {
        others.iter().all(|id| !self.awaits(*id))
    }

    /// All members are reached, and hold these writes: others do not exist any more.
    fn need_only(&mut self, left: &VersionVector) {
        if !left.covers_all(&self.need) {
            let least = |dot: Dot| Dot { seq: dot.seq.min(left.get(dot.origin)), ..dot };
            let need = self.need.iter().map(least).filter(|dot| dot.seq > 0);
            self.need = Arc::new(need.collect());
        }
    }

    /// Plans the next request.
    fn again(&mut self, now: Duration) {
        self.at = now + AGAIN * (1 << self.tries.min(MAX_DOUBLED));
        self.tries += 1;
    }
}

/// The fetches of rows by name.
#[derive(Debug, Default)]
pub(super) struct RowFetcher {
    /// What is known of the keys that are not settled.
    known: BTreeMap<Place, Known>,
    /// The key behind which the next round looks for keys.
    cursor: Option<Place>,
    /// The round that is under way.
    round: Option<Round>,
    /// The number of the last round.
    rounds: u64,
    /// No round begins before.
    pause: Duration,
    /// When the next round can begin; none as long as nothing changes.
    due: Option<Duration>,
}

impl RowFetcher {
    /// The keys that the store wants may have changed.
    pub(super) fn follow(&mut self, cx: &Context<'_>) {
        let wanted = &cx.local.store().wanted;
        self.known.retain(|place, _| wanted.contains(place));
        self.due = (!wanted.is_empty()).then(|| self.pause.max(cx.local.mono()));
    }

    /// A peer can be queried: keys for which it has not answered are requested at once.
    pub(super) fn greeted(&mut self, cx: &Context<'_>, peer: MemberId) {
        let now = cx.local.mono();
        for known in self.known.values_mut().filter(|known| !known.answered.contains(&peer)) {
            known.at = now;
        }
        if !cx.local.store().wanted.is_empty() {
            self.due = Some(self.pause.max(now));
        }
    }

    /// The link to a peer has ended: the round continues without it.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        if let Some(round) = &mut self.round {
            round.without(peer);
        }
    }

    /// The store was rolled back: what was applied may be lost.
    pub(super) fn rolled_back(&mut self, cx: &Context<'_>) {
        self.round = None;
        self.known.clear();
        self.follow(cx);
    }

    /// Repeats requests that are not answered, ends the round, and begins the next.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, bodies: &mut BodyFetcher) {
        let now = cx.local.mono();
        if let Some(round) = &mut self.round {
            round.watch(cx, now);
        } else if self.due.is_some_and(|at| now >= at) {
            self.begin(cx);
        }
        self.advance(cx, bodies);
    }

    /// Begins a round with the keys that are due, if a member can be queried.
    fn begin(&mut self, cx: &mut Context<'_>) {
        let now = cx.local.mono();
        self.due = None;
        let mut peers: Vec<_> = reachable(cx).collect();
        if peers.is_empty() || !cx.local.is_joined() {
            return;
        }
        peers.retain(|peer| counts_collected(cx, *peer));
        if peers.is_empty() {
            self.due = Some(now + AGAIN);
            return;
        }
        let places = self.due_keys(cx, now);
        if places.is_empty() {
            self.due = self.known.values().map(|known| known.at).min();
            return;
        }
        let mut need = None;
        for place in &places {
            self.known.entry(place.clone()).or_insert_with(|| {
                let need = need.get_or_insert_with(|| Arc::new(all_writes(cx)));
                Known::new(Arc::clone(need), now)
            });
        }
        self.cursor = places.last().cloned();
        self.rounds += 1;
        let tries = places.iter().filter_map(|place| Some(self.known.get(place)?.tries)).max();
        let patience = PATIENCE * (1 << tries.unwrap_or(0).min(MAX_PATIENCE_DOUBLED));
        self.round = Some(Round::begin(cx, (self.rounds, patience), places, &peers));
    }

    /// The keys of the next round: those that are due, from the cursor on and around.
    fn due_keys(&self, cx: &Context<'_>, now: Duration) -> Vec<Place> {
        let wanted = &cx.local.store().wanted;
        let is_due = |place: &&Place| self.known.get(*place).is_none_or(|known| known.at <= now);
        let cursor = self.cursor.as_ref();
        let behind = (cursor.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let before = cursor.map(|cursor| (Bound::Unbounded, Bound::Included(cursor)));
        let behind = wanted.range::<Place, _>(behind);
        let before = before.into_iter().flat_map(|before| wanted.range::<Place, _>(before));
        behind.chain(before).filter(is_due).take(MAX_ASKED_ROWS).cloned().collect()
    }

    /// A peer answered.
    pub(super) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        from: MemberId,
        (id, rows): (u64, Vec<KeyState>),
    ) {
        let Some(round) = &mut self.round else { return };
        let known = &self.known;
        let readable = |place: &Place, state| match known.get(place) {
            Some(known) => known.readable(from, state),
            None => state,
        };
        // What a member held when it was queried may be lost by now, if its store was rolled back.
        let now = cx.peers.get(from).map(|peer| &peer.progress().durable);
        let has_all = |place: &Place, before: &VersionVector| {
            let need = known.get(place).map(|known| &known.need);
            let holds = |durable: &VersionVector| need.is_some_and(|need| durable.covers_all(need));
            holds(before) && now.is_some_and(holds)
        };
        match round.receive(from, (id, rows), &has_all, &readable) {
            Err(reason) => return cx.out.close(from, reason),
            // The answer to a request that was repeated since. Another request would make that one's answer late too.
            Ok(false) => return,
            Ok(true) => round.request_rest(cx, from),
        }
        self.advance(cx, bodies);
    }

    /// A body that a round waits for is here, or a later write of its key that replaced it at its peer.
    pub(super) fn fetched(
        &mut self,
        cx: &mut Context<'_>,
        (number, index): (u64, usize),
        row: ToApply,
    ) {
        let round = self.round.as_ref().filter(|round| round.number == number);
        if let Some(round) = round {
            let purpose = Pending::Found { round: number, key: Some(index) };
            cx.out.apply_from(purpose, vec![row], Some(Arc::clone(&round.basis)));
        } else if let Some(fetch) = row.fetch {
            cx.out.work(Work::Discard { fetch });
        }
    }

    /// The peer can't send a body, for example because it is damaged there: the body is requested from another one that
    /// has the same row.
    pub(super) fn body_lost(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        (number, index): (u64, usize),
        is_damaged: bool,
    ) {
        let round = self.round.as_mut().filter(|round| round.number == number);
        let Some(round) = round else { return };
        round.open -= 1;
        if let Some(key) = round.keys.get_mut(index) {
            let lost = key.lose_holder();
            if let (Some(lost), Some(known)) = (lost, self.known.get_mut(&key.place))
                && is_damaged
            {
                known.unread.insert(lost);
            }
            round.open += usize::from(fetch_body(cx, bodies, number, (index, key)));
        }
        self.advance(cx, bodies);
    }

    /// Rows of a round were applied; none if the commit failed.
    pub(super) fn applied(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        (number, key): (u64, Option<usize>),
        results: Option<&[Applied]>,
    ) {
        let round = self.round.as_mut().filter(|round| round.number == number);
        let Some(round) = round else { return };
        round.open -= 1;
        round.applied(key, results);
        self.advance(cx, bodies);
    }

    /// Applies what a round has found once all have answered, and ends the round once that is done.
    fn advance(&mut self, cx: &mut Context<'_>, bodies: &mut BodyFetcher) {
        let Some(round) = &mut self.round else { return };
        if round.stage == Stage::Requesting && round.requests.is_empty() {
            round.stage = Stage::Applying;
            apply(cx, bodies, round);
        }
        if round.stage == Stage::Applying
            && round.open == 0
            && let Some(round) = self.round.take()
        {
            self.end(cx, round);
        }
    }

    /// Ends a round: settles the keys for which every member has answered.
    fn end(&mut self, cx: &mut Context<'_>, round: Round) {
        let now = cx.local.mono();
        let others = others(cx.local);
        let left = all_writes_left(cx, &others);
        let mut settled = Vec::new();
        for key in round.keys {
            let Some(known) = self.known.get_mut(&key.place) else { continue };
            known.again(now);
            if key.has_failed {
                continue;
            }
            known.learn(&key);
            if known.is_settled(&others) {
                let (is_nothing, is_destroyed) = (!known.has_row, !known.is_complete);
                let ended = is_nothing && !is_destroyed;
                let ended = ended.then(|| Arc::clone(&known.need));
                settled.push(Settled { place: key.place, is_nothing, is_destroyed, ended });
                // If the row is damaged once more before that is durable, it is not settled: all members are queried
                // again.
                let tries = known.tries;
                *known = Known { tries, at: known.at, ..Known::new(Arc::new(all_writes(cx)), now) };
            } else if let Some(left) = &left {
                known.need_only(left);
            }
        }
        if !settled.is_empty() {
            cx.out.settle(settled);
        }
        self.pause = now + PAUSE;
        self.due = Some(self.pause);
    }

    /// The members whose answers a key waits for: they have not answered, or did not have every write when they did.
    pub(super) fn awaited(&self, local: &Local, place: &Place) -> Vec<MemberId> {
        let known = self.known.get(place);
        let mut awaited = others(local);
        awaited.retain(|id| known.is_none_or(|known| known.awaits(*id)));
        awaited
    }

    /// When something is due.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match &self.round {
            Some(round) => round.timeout(),
            None => self.due,
        }
    }

    /// About how many bytes the keys and their rows take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.known.len() * 256 + self.round.as_ref().map_or(0, Round::memory_bytes)
    }
}

/// The members that can be queried now.
fn reachable(cx: &Context<'_>) -> impl Iterator<Item = MemberId> {
    let is_member = |peer: &MemberId| cx.local.is_member(*peer);
    cx.peers
        .iter()
        .filter(|(_, peer)| peer.hello().is_some())
        .map(|(peer, _)| peer)
        .filter(is_member)
}

/// Whether a member counts all tombstones that were collected here. One that does not, as after it was restored, may have
/// rows that they deleted. It is queried once it has caught up.
fn counts_collected(cx: &Context<'_>, peer: MemberId) -> bool {
    let durable = cx.peers.get(peer).map(|state| &state.progress().durable);
    durable.is_some_and(|durable| durable.covers_all(cx.local.collected()))
}

/// The current members without this one.
fn others(local: &Local) -> Vec<MemberId> {
    let own = local.config().member;
    local.members().current().map(|member| member.id).filter(|id| *id != own).collect()
}

/// All writes that are durable at any member, if all of them have reported theirs over the present links.
fn all_writes_left(cx: &Context<'_>, others: &[MemberId]) -> Option<VersionVector> {
    let has_reported = |id: &MemberId| cx.peers.get(*id).is_some_and(Peer::has_reported);
    others.iter().all(has_reported).then(|| all_writes(cx))
}

/// All writes that are known to be durable anywhere.
fn all_writes(cx: &Context<'_>) -> VersionVector {
    let mut all = cx.local.durable().clone();
    cx.peers.iter().for_each(|(_, peer)| all.merge(&peer.progress().durable));
    all
}

/// Applies the greatest row of each key. Large bodies are fetched first.
fn apply(cx: &mut Context<'_>, bodies: &mut BodyFetcher, round: &mut Round) {
    let mut rows = Vec::new();
    let number = round.number;
    for (index, key) in round.keys.iter_mut().enumerate() {
        match &key.best {
            None => {}
            Some(Row { content: Content::Large { .. }, .. }) => {
                round.open += usize::from(fetch_body(cx, bodies, number, (index, key)));
            }
            Some(row) => rows.push(ToApply { row: row.clone(), how: How::Found, fetch: None }),
        }
    }
    if !rows.is_empty() {
        round.open += 1;
        let basis = Some(Arc::clone(&round.basis));
        cx.out.apply_from(Pending::Found { round: number, key: None }, rows, basis);
    }
}

/// Fetches the body of a key from the next peer that has it. Returns whether there is one.
fn fetch_body(
    cx: &mut Context<'_>,
    bodies: &mut BodyFetcher,
    round: u64,
    (index, key): (usize, &mut Key),
) -> bool {
    let (Some(peer), Some(row)) = (key.holder(cx), key.best.clone()) else {
        key.has_failed = true;
        return false;
    };
    bodies.begin(cx, peer, row, Purpose::Found { round, key: index });
    bodies.request_queued(cx, peer);
    true
}
