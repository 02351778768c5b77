//! A round: some keys, and the answers for them so far.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kv_core::{Dot, VersionVector, commit::Applied};

use super::{Context, KeyState, MemberId, Message, Place, Row};
use crate::Content;

/// How often a request is repeated before the round continues without the peer.
const MAX_TRIES: u32 = 1;

/// How far a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Members are queried.
    Requesting,
    /// The greatest rows are applied, and their bodies fetched.
    Applying,
}

/// A key of a round.
#[derive(Debug)]
pub(super) struct Key {
    /// The name of the key.
    pub(super) place: Place,
    /// The greatest row so far.
    pub(super) best: Option<Row>,
    /// The members that have this row.
    holders: Vec<MemberId>,
    /// The members that have answered.
    pub(super) answered: Vec<MemberId>,
    /// Those of them that hold everything that must be counted.
    pub(super) have_all: Vec<MemberId>,
    /// Whether one of them can read its row and holds everything that must be counted.
    pub(super) is_complete: bool,
    /// Whether the greatest row could not be applied.
    pub(super) has_failed: bool,
}

impl Key {
    /// The next member to fetch the body from.
    pub(super) fn holder(&mut self, cx: &Context<'_>) -> Option<MemberId> {
        self.holders.retain(|peer| cx.peers.contains(*peer));
        self.holders.first().copied()
    }

    /// The member from which the body was requested does not have it. Returns the member, and the write.
    pub(super) fn lose_holder(&mut self) -> Option<(MemberId, Dot)> {
        let dot = self.best.as_ref()?.dot;
        (!self.holders.is_empty()).then(|| (self.holders.remove(0), dot))
    }

    /// Takes in an answer. The greatest version wins; of one version, a value wins over its expired tombstone. A
    /// joined row comes from several writes, and each member may have others of them: it is joined.
    fn answer(&mut self, from: MemberId, state: KeyState, has_all: bool) {
        self.answered.push(from);
        self.have_all.extend(has_all.then_some(from));
        self.is_complete |= has_all && !state.is_owed;
        let Some(row) = state.row else { return };
        if let (Some(best), Content::Joined(theirs)) = (&mut self.best, &row.content)
            && let Content::Joined(ours) = &mut best.content
        {
            Arc::make_mut(ours).join(theirs);
            let latest = ours.latest();
            (best.dot, best.hlc) = (latest.dot(), latest.version.hlc);
            return;
        }
        let rank = |row: &Row| (row.version(), row.content != Content::Expired);
        match self.best.as_ref().map(|best| rank(&row).cmp(&rank(best))) {
            Some(std::cmp::Ordering::Less) => {}
            Some(std::cmp::Ordering::Equal) => self.holders.push(from),
            Some(std::cmp::Ordering::Greater) | None => {
                self.holders = vec![from];
                self.best = Some(row);
            }
        }
    }
}

/// The request to a member.
#[derive(Debug)]
pub(super) struct Request {
    /// The number of the request.
    id: u64,
    /// The index of the first key without an answer.
    next: usize,
    /// What the member had reported to hold when the request was first sent. Its answer is read later than that; what it
    /// has reported by the time when the answer arrives may be later than the answer, which may have waited on its way.
    durable: Arc<VersionVector>,
    /// When it was sent.
    since: Duration,
    /// How often it was repeated.
    tries: u32,
}

/// A round.
#[derive(Debug)]
pub(super) struct Round {
    /// Its number.
    pub(super) number: u64,
    /// How long a peer may take for an answer.
    patience: Duration,
    /// What was collected here when it began: all members that are queried count it.
    pub(super) basis: Arc<VersionVector>,
    /// Its keys.
    pub(super) keys: Vec<Key>,
    /// The members that have not answered for all keys.
    pub(super) requests: BTreeMap<MemberId, Request>,
    /// How far it is.
    pub(super) stage: Stage,
    /// How many commits and fetches are under way.
    pub(super) open: usize,
}

impl Round {
    /// Asks these members for these keys.
    pub(super) fn begin(
        cx: &mut Context<'_>,
        (number, patience): (u64, Duration),
        places: Vec<Place>,
        peers: &[MemberId],
    ) -> Round {
        let key = |place| Key {
            place,
            best: None,
            holders: Vec::new(),
            answered: Vec::new(),
            have_all: Vec::new(),
            is_complete: false,
            has_failed: false,
        };
        let mut round = Round {
            number,
            patience,
            basis: Arc::new(cx.local.collected().clone()),
            keys: places.into_iter().map(key).collect(),
            requests: BTreeMap::new(),
            stage: Stage::Requesting,
            open: 0,
        };
        for peer in peers {
            round.request(cx, *peer, 0);
        }
        round
    }

    /// Asks a member for the keys from `next` on.
    fn request(&mut self, cx: &mut Context<'_>, peer: MemberId, next: usize) {
        let (id, since) = (cx.out.unique_id(), cx.local.mono());
        let durable = cx.peers.get(peer).map(|state| state.progress().durable.clone());
        let durable = Arc::new(durable.unwrap_or_default());
        self.send(cx, peer, Request { id, next, durable, since, tries: 0 });
    }

    /// Sends a request, or repeats it.
    fn send(&mut self, cx: &mut Context<'_>, peer: MemberId, request: Request) {
        let (id, names) = (request.id, self.keys[request.next..].iter());
        let names = names.map(|key| key.place.clone()).collect();
        cx.out.send(peer, Message::GetRows { id, names });
        self.requests.insert(peer, request);
    }

    /// Takes in an answer. Returns whether it answers the last request to the peer. `has_all` tells whether a member that
    /// holds these writes knows everything that must be known of a key.
    ///
    /// # Errors
    /// The reason to close the link.
    pub(super) fn receive(
        &mut self,
        from: MemberId,
        (id, rows): (u64, Vec<KeyState>),
        has_all: &dyn Fn(&Place, &VersionVector) -> bool,
        readable: &dyn Fn(&Place, KeyState) -> KeyState,
    ) -> Result<bool, &'static str> {
        let Some(request) = self.requests.get_mut(&from).filter(|request| request.id == id) else {
            return Ok(false);
        };
        let keys = &mut self.keys[request.next..];
        if rows.is_empty() || rows.len() > keys.len() {
            return Err("the peer sent other rows than those requested");
        }
        request.next += rows.len();
        for (key, state) in keys.iter_mut().zip(rows) {
            let has_name =
                |row: &Row| (row.namespace, &row.key) == (key.place.namespace, &key.place.key);
            if !state.row.as_ref().is_none_or(has_name) {
                return Err("the peer sent other rows than those requested");
            }
            let has_all = has_all(&key.place, &request.durable);
            let state = readable(&key.place, state);
            key.answer(from, state, has_all);
        }
        Ok(true)
    }

    /// Requests from a member the keys that did not fit into its last answer.
    pub(super) fn request_rest(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let Some(next) = self.requests.get(&peer).map(|request| request.next) else { return };
        if next == self.keys.len() {
            self.requests.remove(&peer);
        } else {
            self.request(cx, peer, next);
        }
    }

    /// Repeats late requests, or continues without their peers. A repeated request has the same number, so that the
    /// answer to either counts.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, now: Duration) {
        let is_late = |(_, request): &(&MemberId, &Request)| now >= request.since + self.patience;
        let late: Vec<_> = self.requests.iter().filter(is_late).map(|(peer, _)| *peer).collect();
        for peer in late {
            let Some(request) = self.requests.remove(&peer) else { continue };
            if request.tries < MAX_TRIES {
                let tries = request.tries + 1;
                self.send(cx, peer, Request { since: now, tries, ..request });
            }
        }
    }

    /// Continues without a peer.
    pub(super) fn without(&mut self, peer: MemberId) {
        self.requests.remove(&peer);
    }

    /// Notes the rows that could not be applied: of one key, or of all whose rows came without a fetch.
    pub(super) fn applied(&mut self, key: Option<usize>, results: Option<&[Applied]>) {
        let is_large = |row: &Row| matches!(row.content, Content::Large { .. });
        let is_concerned = |(index, found): &(usize, &mut Key)| match key {
            Some(key) => *index == key,
            None => found.best.as_ref().is_some_and(|row| !is_large(row)),
        };
        let keys = self.keys.iter_mut().enumerate().filter(is_concerned);
        for (at, (_, key)) in keys.enumerate() {
            let applied = results.and_then(|results| results.get(at));
            key.has_failed |= !matches!(
                applied,
                Some(Applied::Won { .. } | Applied::Lost | Applied::Known | Applied::Dropped)
            );
        }
    }

    /// When the first request is late.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.requests.values().map(|request| request.since + self.patience).min()
    }

    /// About how many bytes the rows take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.keys.iter().map(|key| 256 + key.best.as_ref().map_or(0, Row::weight)).sum()
    }
}
