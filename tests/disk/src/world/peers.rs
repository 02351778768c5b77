//! Other replicas: they write, send what they have, and take what they lack.
//!
//! A peer is a model of a store; what it is sent and what it sends goes through the store under
//! test.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kv_core::{
    Dot, FoundState, Hlc, MemberId, NamespaceId, OriginId, OriginInfo, ReadError, Version,
    VersionVector, commit::GcLimits, limits::END_OF_TIME,
};

use super::{
    World,
    requests::{content, key, local_op, namespace},
};
use crate::{
    events::Event,
    exact::check_row,
    hold,
    model::{FieldOf, Fields, Op, Row, State, What, Write},
    rng::Rng,
    violation::{Checked, Violation},
};

/// A replica without a disk.
pub(super) struct Peer {
    pub(super) state: State,
}

impl Peer {
    pub(super) fn new(rng: &mut Rng) -> Peer {
        let mut peer = Peer { state: State::new(MemberId(rng.id())) };
        peer.restart(rng);
        peer
    }

    /// Begins another process, which opens other origins.
    fn restart(&mut self, rng: &mut Rng) {
        self.state.own = None;
        self.state.fresh = Some([OriginId(rng.id()), OriginId(rng.id())]);
    }
}

/// A catch-up session that the store receives.
pub(super) struct Session {
    rows: Vec<Write>,
    next: usize,
    vector: VersionVector,
    collected: VersionVector,
}

/// Every write that left the store that made it, by its dot.
#[derive(Default)]
pub(super) struct Log {
    writes: BTreeMap<Dot, Write>,
}

impl Log {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Dot, &Write)> {
        self.writes.iter()
    }

    fn get(&self, dot: Dot) -> Option<&Write> {
        self.writes.get(&dot)
    }

    /// A write is out: its number must never name another.
    pub(super) fn note(&mut self, write: &Write) -> Checked {
        if write.row.what == What::ExpiredTombstone {
            return Ok(());
        }
        let dot = write.row.dot;
        match self.writes.get(&dot) {
            Some(known) => {
                // Other writes change the rest of a joined row that travels under the dot.
                let is_joined = matches!(write.row.what, What::Joined(_));
                let is_same = known.name == write.name
                    && known.row.version == write.row.version
                    && (is_joined || known.row == write.row);
                hold!(is_same, "{dot:?} names two writes: {known:?} and {write:?}");
            }
            None => {
                self.writes.insert(dot, write.clone());
            }
        }
        Ok(())
    }
}

impl World {
    /// Peers write, and send the store what comes next, or something else.
    pub(super) fn peers_step(&mut self) -> Checked {
        for _ in 0..self.rng.index(4) {
            self.peer_writes()?;
        }
        if self.rng.chance(30) {
            self.peers_talk();
        }
        let mut requests = Vec::new();
        let mut have = self.state().vector.clone();
        for _ in 0..self.rng.between(1, 6) {
            let write = if self.rng.chance(6) {
                Some(self.odd_write())
            } else {
                self.next_write(&mut have)
            };
            let Some(write) = write else { continue };
            requests.extend(self.requests(Op::Next(write)));
        }
        self.trace(|| "peers send".into());
        self.commit(requests)?;
        self.maybe_sync(40)
    }

    fn peer_writes(&mut self) -> Checked {
        let now_ms = self.clock_ms + self.rng.below(400);
        let at = self.rng.index(self.peers.len());
        let op = local_op(&mut self.rng, &self.peers[at].state, now_ms);
        if self.rng.chance(3) {
            self.peers[at].restart(&mut self.rng);
            self.count(Event::PeerRestarted);
        }
        let state = &mut self.peers[at].state;
        let _refused = state.apply(now_ms, &op);
        let made = std::mem::take(&mut state.made);
        if !made.is_empty() {
            state.close(now_ms);
        }
        made.iter().try_for_each(|write| self.log.note(write))
    }

    /// One peer takes all that another has.
    fn peers_talk(&mut self) {
        let from = self.rng.index(self.peers.len());
        let to = (from + 1) % self.peers.len();
        let source = self.peers[from].state.clone();
        for at in [from, to] {
            self.peers[at].state.close(self.clock_ms);
        }
        let missing = source.missing_in(&self.peers[to].state.vector);
        take_all(&mut self.peers[to].state, &source, missing);
        if self.rng.chance(50) {
            let expired_ms = self.clock_ms.checked_sub(500);
            let limits = GcLimits {
                rows: 100,
                bodies: 0,
                stable: self.stable(),
                expired_ms,
                collects_expired: true,
            };
            self.peers[from].state.collect_garbage(self.clock_ms, &limits);
        }
    }

    /// A write of some peer: the next that the store lacks, or one before or after it.
    fn next_write(&mut self, have: &mut VersionVector) -> Option<Write> {
        let peer = self.rng.index(self.peers.len());
        let origin = *self.rng.pick(&self.peers[peer].state.own?);
        let next = have.get(origin) + 1;
        let seq = match self.rng.weighted(&[(80, 0), (10, 1), (10, 2)]) {
            0 => next,
            1 => self.rng.between(1, next),
            _ => next + self.rng.between(1, 3),
        };
        let write = self.log.get(Dot { origin, seq }).cloned();
        if write.is_some() && seq == next {
            have.raise(origin, seq);
        }
        write
    }

    /// A write that no peer should send.
    fn odd_write(&mut self) -> Write {
        let state = self.state();
        let peer = &self.peers[self.rng.index(self.peers.len())].state;
        let mut hlc = Hlc(peer.clock.0 + 1);
        let mut origin = peer.own.map_or(OriginId([5; 16]), |own| own[0]);
        let mut seq = state.vector.get(origin) + 1;
        let mut name = (namespace(&mut self.rng, &state), key(&mut self.rng));
        let mut what = What::Value(content(&mut self.rng));
        match self.rng.below(14) {
            5 => hlc = Hlc::at_millis(END_OF_TIME * 1000),
            6 => name = (NamespaceId::SYSTEM, Bytes::from(vec![0; 16])),
            0 => {
                // Before its first write it has none: then this is a number that no write has.
                seq = 0;
                if let Some([own, _]) = state.own {
                    origin = own;
                    seq = state.vector.get(origin) + self.rng.below(3);
                }
            }
            7 => origin = OriginId([0; 16]),
            8 => {
                // Its opening row is missing, unless this write is it.
                origin = OriginId([6; 16]);
                seq = self.rng.between(1, 2);
            }
            1 => name.1 = Bytes::from(vec![b'k'; 513]),
            2 => name = (NamespaceId::SYSTEM, key(&mut self.rng)),
            3 => {
                name = (NamespaceId::SYSTEM, Bytes::from(vec![7; 16]));
                what = What::Tombstone;
            }
            9 => {
                // An opening row that no location can read.
                origin = OriginId([6; 16]);
                seq = 1;
                name = (NamespaceId::SYSTEM, Bytes::copy_from_slice(&OriginInfo::key(origin)));
                let (version, bytes) = (Version { hlc, origin }, Bytes::from_static(b"?"));
                what = What::Joined(Fields::from([(1, FieldOf { version, seq, bytes })]));
            }
            n @ 10..=12 => {
                // Joined rows: outside of the system namespace, at a time that no clock shows, of this store.
                let mut version = Version { hlc, origin };
                let mut fields = Fields::from([(4, FieldOf { version, seq, bytes: Bytes::new() })]);
                match n {
                    10 => {}
                    12 if state.own.is_some() => {
                        version.origin = state.own.map_or(version.origin, |own| own[0]);
                    }
                    _ => version.hlc = Hlc::at_millis(END_OF_TIME * 1000),
                }
                let ahead = state.vector.get(version.origin) + 2;
                fields.insert(5, FieldOf { version, seq: ahead, bytes: Bytes::new() });
                if n > 10 {
                    name = (NamespaceId::SYSTEM, Bytes::from_static(b"row"));
                }
                what = What::Joined(fields);
            }
            _ => seq = 0,
        }
        let version = Version { hlc, origin };
        let dot = Dot { origin, seq };
        Write {
            name,
            row: Row { dot, version, prev: None, metadata: None, expires_at: None, what },
        }
    }

    /// The store receives some rows of a session, in any order; at the end it adopts the vector.
    pub(super) fn session_step(&mut self) -> Checked {
        if self.session.is_none() {
            let peer = &self.peers[self.rng.index(self.peers.len())].state;
            let mut rows = peer.missing_in(&self.state().vector);
            for i in (1..rows.len()).rev() {
                rows.swap(i, self.rng.index(i + 1));
            }
            // The opening row of an origin is its first.
            rows.sort_by_key(|write| write.row.dot.seq != 1);
            let (vector, collected) = (peer.vector.clone(), peer.collected.clone());
            self.session = Some(Session { rows, next: 0, vector, collected });
        }
        if self.rng.chance(5) {
            self.session = None;
            self.count(Event::SessionAbandoned);
            return Ok(());
        }
        let (own, seen) = (self.state().own, self.state().vector.clone());
        let session = self.session.as_mut().expect("it was just begun");
        let some = session.rows[session.next..].iter();
        let some: Vec<_> = some.take(self.rng.index(9)).cloned().collect();
        session.next += some.len();
        let is_last = session.next == session.rows.len();
        let mut end = is_last.then(|| Op::Adopt(session.vector.clone(), session.collected.clone()));
        if self.rng.chance(3) {
            // A peer that counts a write that this store did not make.
            let own = *self.rng.pick(&own.unwrap_or([OriginId([4; 16]); 2]));
            let ahead = Dot { origin: own, seq: seen.get(own) + 1 };
            end = Some(Op::Adopt([ahead].into_iter().collect(), VersionVector::default()));
        }
        let rebuild = self.rebuild_op();
        // A row of an origin whose opening row is missing.
        let orphan = self.rng.chance(5).then(|| {
            let mut write = self.odd_write();
            let dot = Dot { origin: OriginId([6; 16]), seq: 2 };
            write.row.dot = dot;
            write.row.version.origin = dot.origin;
            Op::Row(write)
        });
        let ops = some.into_iter().map(Op::Row).chain(end).chain(rebuild).chain(orphan);
        let requests =
            ops.collect::<Vec<_>>().into_iter().flat_map(|op| self.requests(op)).collect();
        self.trace(|| "a session".into());
        let outcomes = self.commit(requests)?;
        if is_last || outcomes.iter().any(Option::is_none) {
            self.session = None;
        }
        self.maybe_sync(40)
    }

    /// A step of a rebuild, from time to time. It may drop any row: the source decides.
    fn rebuild_op(&mut self) -> Option<Op> {
        let state = self.state();
        if !state.is_rebuilding && self.rng.chance(90) {
            return None;
        }
        match self.rng.below(4) {
            0 => Some(Op::Rebuild),
            1 => Some(Op::Rebuilt(VersionVector::default(), VersionVector::default())),
            _ => {
                let at = self.rng.index(state.rows.len().max(1));
                let (name, row) = state.rows.iter().nth(at)?;
                let dot = if self.rng.chance(90) { row.dot } else { Dot { seq: 0, ..row.dot } };
                Some(Op::DropRow(name.clone(), dot))
            }
        }
    }

    /// A peer takes what it lacks from the published view of the store.
    pub(super) fn pull_step(&mut self) -> Checked {
        let Some((published, state)) = self.published() else { return Ok(()) };
        let durable = self.status().durable;
        if self.open().published_commit > Some(durable) {
            // After a failed sync readers may see what a crash then takes. Peers may not.
            return Ok(());
        }
        let at = self.rng.index(self.peers.len());
        let mut since = self.peers[at].state.vector.clone();
        if self.rng.chance(20) {
            // Somebody who has next to nothing, and only looks.
            since = since.iter().filter(|_| self.rng.chance(50)).collect();
        }
        let limit = 1 + self.rng.index(10);
        let (mut resume, mut writes) = (None, Vec::new());
        loop {
            let page = match published.view().changes(&since, resume, limit) {
                Err(ReadError::Gone) => {
                    hold!(!since.covers_all(&state.collected), "nothing is gone that is lacking");
                    self.count(Event::ChangesGone);
                    return Ok(());
                }
                other => other,
            };
            self.note_faults(super::tell::Doing::Read);
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    hold!(self.readers_may_fail(), "no fault, and yet changes answers {error}");
                    return Ok(());
                }
            };
            hold!(since.covers_all(&state.collected), "something is gone that is lacking");
            hold!(page.changes.len() <= limit, "a page over its limit");
            for change in page.changes {
                let name = (change.namespace, Bytes::from(change.key));
                let row = state.rows.get(&name);
                let row =
                    row.ok_or_else(|| Violation::Wrong(format!("{name:?} is not in the model")))?;
                let row = row.listed_by(change.found.dot);
                check_row(&name, &change.found, &row)?;
                hold!(
                    !matches!(change.found.state, FoundState::Large { len: 0, .. }),
                    "a large body without bytes"
                );
                writes.push(Write { name, row });
            }
            match page.next {
                Some(dot) => resume = Some(dot),
                None => break,
            }
        }
        let expected = state.missing_in(&since);
        hold!(
            writes == expected,
            "changes since {since:?}: {} rows, expected {}",
            writes.len(),
            expected.len()
        );
        if since == self.peers[at].state.vector {
            for write in &writes {
                if state.is_ours(write.row.dot.origin) {
                    self.log.note(write)?;
                }
            }
            take_all(&mut self.peers[at].state, &state, writes);
            self.count(Event::ChangesTaken);
        }
        Ok(())
    }

    /// All that the vector counts is here, or was dropped in a way that the collected vector shows.
    pub(super) fn check_log(&self, state: &Arc<State>) -> Checked {
        let mut newest: BTreeMap<_, &Write> = BTreeMap::new();
        for (dot, write) in self.log.iter() {
            if state.vector.covers(*dot) && !state.is_dead(write.name.0, write.row.version) {
                let entry = newest.entry(&write.name).or_insert(write);
                if entry.row.version < write.row.version {
                    *entry = write;
                }
            }
        }
        for (name, row) in &state.rows {
            let is_ours = |dot: &Dot| state.is_ours(dot.origin);
            let is_counted =
                row.dots().into_iter().filter(is_ours).all(|dot| state.vector.covers(dot));
            hold!(is_counted, "{name:?} is ours, and not counted");
        }
        for (name, write) in newest {
            let wanted = &write.row;
            match state.rows.get(name) {
                Some(row) if row.version >= wanted.version => {}
                _ if state.dropped.contains(name) => {}
                None if state.collected.covers(wanted.dot)
                    && (wanted.is_tombstone() || wanted.expires_at.is_some()) => {}
                row => {
                    let row = row.map(|row| row.version).during_none();
                    return Err(Violation::Wrong(format!(
                        "the vector counts {wanted:?} of {name:?}, and {row} is there"
                    )));
                }
            }
        }
        Ok(())
    }
}

trait OrNothing {
    fn during_none(self) -> String;
}

impl OrNothing for Option<Version> {
    fn during_none(self) -> String {
        self.map_or_else(|| "nothing".into(), |version| version.to_string())
    }
}

/// What a session from its start to its end does.
fn take_all(to: &mut State, source: &State, writes: Vec<Write>) {
    for write in writes {
        let _applied = to.apply(0, &Op::Row(write));
    }
    let _adopted = to.apply(0, &Op::Adopt(source.vector.clone(), source.collected.clone()));
}
