//! Results: finished work of the store, and fetched bodies, to the machines that wait for them.

use bytes::Bytes;
use kv_core::{Dot, OriginId, commit::Applied};

use super::{
    Core,
    actions::{Pending, PieceName},
    body_fetcher::{Fetched, Purpose, Successor},
};
use crate::{
    MemberId, Row,
    notice::Notice,
    wire::NoBody,
    work::{Batch, FoundBody, How, ToApply, Unread},
};

/// Why the vectors of a source are not adopted whose last collected tombstone is dated ahead.
pub const FAR_AHEAD: &str = "it has collected a tombstone that is dated more than a day ahead: this location's clock is behind, or that one lies";

/// The result of a read for a peer.
pub(super) enum ReadResult {
    /// The rows of a session's batch, or the reason why they were not read.
    Rows(Result<Batch, Unread>),
    /// A piece of a large body, or the reason why there is none.
    Body(FoundBody),
    /// The row of a key; none if it has none, or can't be read now.
    Row(Option<Row>),
}

impl Core {
    /// Rows were applied or vectors adopted; no results if the commit failed.
    pub(super) fn applied(&mut self, id: u64, results: Option<Vec<Applied>>) {
        let Some(pending) = self.out.finished(id) else { return };
        let failed = results.is_none();
        let results = results.unwrap_or_default();
        match pending {
            Pending::Search => self.machines.uncounted.settled(failed),
            Pending::Rebuild => self.machines.rebuild.committed(failed || is_not_adopted(&results)),
            Pending::Disown { origin } => self.disowned(origin, &results),
            // The members follow once it is durable.
            Pending::Removal { peer } => {
                self.report_rows(peer, &results);
            }
            Pending::Live { peer, origin, .. } => {
                let is_late = late(&results).next().is_some();
                // A conflict counts as a gap: a session takes what is behind it.
                let is_broken = self.report_rows(peer, &results) || breaks_off(&results) || is_late;
                let (machines, mut cx) = self.split();
                let bodies = &mut machines.fetcher;
                machines.receiver.applied(&mut cx, bodies, origin, failed || is_broken);
                if is_late {
                    machines.receiver.was_late(origin);
                    self.behind(peer);
                }
            }
            Pending::Page { peer, session, batch, successor, .. } => {
                self.report_rows(peer, &results);
                let is_rebuilding = self.local.is_rebuilding();
                let (machines, mut cx) = self.split();
                let bodies = &mut machines.fetcher;
                // A store that is rebuilt continues without them.
                let is_late = late(&results).next().is_some() && !is_rebuilding;
                if is_rebuilding {
                    let untaken =
                        late(&results).chain(successor.filter(|_| late(&results).next().is_some()));
                    machines.puller.not_taken(peer, session, untaken);
                }
                // The row may have replaced another at the source, which the session must not count without it.
                let is_unopened = results.contains(&Applied::Unopened);
                if results.contains(&Applied::NoRoom) {
                    machines.puller.avoid(&mut cx, bodies, peer, session);
                } else if failed || is_late || (is_unopened && successor.is_none()) {
                    machines.puller.not_committed(&mut cx, bodies, peer, session);
                } else if is_unopened {
                    let batch = ((session, batch), successor);
                    machines.puller.pass_over(&mut cx, bodies, peer, batch);
                } else {
                    machines.puller.note_room(peer, session, &results);
                    machines.puller.applied(&mut cx, bodies, peer, (session, batch));
                }
            }
            Pending::Adopt { peer, session } if failed => {
                let (machines, mut cx) = self.split();
                let bodies = &mut machines.fetcher;
                machines.puller.not_committed(&mut cx, bodies, peer, session);
            }
            Pending::Adopt { peer, session } if is_not_adopted(&results) => {
                if results.contains(&Applied::FarAhead) {
                    self.out.notice(Notice::Refused { peer, reason: FAR_AHEAD });
                }
                let (machines, mut cx) = self.split();
                let bodies = &mut machines.fetcher;
                machines.puller.avoid(&mut cx, bodies, peer, session);
            }
            Pending::Adopt { peer, session } => self.adopted(peer, session),
            Pending::Found { round, key } => {
                let results = (!failed).then_some(&results[..]);
                let (machines, mut cx) = self.split();
                let bodies = &mut machines.fetcher;
                machines.rows.applied(&mut cx, bodies, (round, key), results);
            }
            Pending::Salvage
            | Pending::Serve { .. }
            | Pending::Body { .. }
            | Pending::Farewell { .. } => {}
        }
    }

    /// Reports rows that the store refused or that conflict with its own, and closes the link to a peer
    /// that sent refused ones. Returns whether there are any.
    fn report_rows(&mut self, peer: MemberId, results: &[Applied]) -> bool {
        let refusal = results.iter().find_map(|applied| match applied {
            Applied::Refused(reason) => Some(*reason),
            _ => None,
        });
        if let Some(reason) = refusal {
            self.out.notice(Notice::Refused { peer, reason });
            self.close(peer, reason);
        }
        let is_conflict = results.contains(&Applied::Conflict);
        if is_conflict {
            self.out.notice(Notice::Conflict(peer));
        }
        is_conflict || refusal.is_some()
    }

    /// An origin is counted from its opening row on again, as if the store had been rolled back: what was on its way builds on
    /// more.
    fn disowned(&mut self, origin: OriginId, results: &[Applied]) {
        if !results.contains(&Applied::Uncounted) {
            self.machines.claims.not_committed(origin);
            return;
        }
        self.peers.doubt(origin);
        for peer in self.peers.ids() {
            let (machines, mut cx) = self.split();
            machines.puller.end(&mut cx, &mut machines.fetcher, peer);
        }
        self.machines.puller.rolled_back();
        self.machines.receiver.rolled_back();
        self.machines.lag.note_less(origin);
        self.machines.stability.disturb();
    }

    /// Ends a session whose vectors the store has adopted.
    fn adopted(&mut self, peer: MemberId, session: u64) {
        let (machines, mut cx) = self.split();
        machines.rebuild.adopted(&cx);
        if !machines.puller.adopted(&mut cx, peer, session) {
            return;
        }
        machines.uncounted.taken(peer);
        // Ended origins may count more here than elsewhere now: garbage collection waits for the others.
        machines.stability.disturb();
        machines.rebuild.session_done(&mut cx, peer);
        machines.receiver.want_soon(peer);
        machines.receiver.session_done();
        // The live streams continue from here.
        for peer in cx.peers.ids() {
            machines.want(&mut cx, peer);
        }
    }

    /// Rows, a row, or a piece of a body were read for a peer.
    pub(super) fn read(&mut self, id: u64, result: ReadResult) {
        let pending = self.out.finished(id);
        if let Some(
            Pending::Farewell { peer } | Pending::Serve { peer, .. } | Pending::Body { peer, .. },
        ) = pending
        {
            self.out.wake(peer);
        }
        let (machines, mut cx) = self.split();
        match (pending, result) {
            (Some(Pending::Farewell { peer }), ReadResult::Row(row)) => {
                self.farewell_read(peer, row);
            }
            (Some(Pending::Serve { peer, session, batch }), ReadResult::Rows(result)) => {
                machines.sessions.read(&mut cx, peer, (session, batch), result);
            }
            (Some(Pending::Body { peer, piece }), ReadResult::Body(found)) => {
                machines.bodies.read(&mut cx, peer, piece, found);
            }
            _ => {}
        }
    }

    /// A piece of a body arrived.
    pub(super) fn piece(&mut self, from: MemberId, piece: PieceName, bytes: Bytes) {
        let (machines, mut cx) = self.split();
        if let Some(fetched) = machines.fetcher.piece(&mut cx, from, piece, bytes) {
            self.fetched(piece.fetch, fetched);
        }
        let (machines, mut cx) = self.split();
        machines.fetcher.request_queued(&mut cx, from);
    }

    /// The row that a fetch was for, or a later one of its key, is here whole.
    fn fetched(&mut self, id: u64, fetched: Fetched) {
        let (machines, mut cx) = self.split();
        let bodies = &mut machines.fetcher;
        match fetched.purpose {
            Purpose::Live(origin) => {
                if machines.stability.ended().contains(&fetched.row.dot.origin) {
                    // A later write may be one of an ended origin, which is here uncounted then.
                    machines.uncounted.disturb();
                }
                machines.receiver.fetched(&mut cx, bodies, origin, (id, fetched));
            }
            Purpose::Session(session, batch) => {
                machines.puller.fetched(&mut cx, bodies, (session, batch), fetched);
            }
            Purpose::Found { round, key } => {
                let Fetched { row, fetch, .. } = fetched;
                let row = ToApply { row, how: How::Found, fetch };
                machines.rows.fetched(&mut cx, (round, key), row);
            }
        }
    }

    /// A body is not sent: it is gone at its source, or damaged there, or a later write of its key is taken instead.
    pub(super) fn no_body(&mut self, from: MemberId, id: u64, why: NoBody) {
        if !self.machines.fetcher.is_from(id, from) {
            return;
        }
        match why {
            NoBody::Gone => self.body_gone(from, id),
            NoBody::Damaged => self.body_damaged(from, id),
            NoBody::Replaced(row) => self.replaced(from, id, *row),
        }
        let (machines, mut cx) = self.split();
        machines.fetcher.request_queued(&mut cx, from);
    }

    /// The key of a body holds nothing any more at its source, for example because its namespace was dropped. A session
    /// continues, and another round brings the reason.
    fn body_gone(&mut self, from: MemberId, id: u64) {
        let Some((batch, _)) = self.machines.fetcher.session_row(id) else {
            return self.lose_fetch(id);
        };
        let (machines, mut cx) = self.split();
        machines.fetcher.lose(cx.out, id);
        let bodies = &mut machines.fetcher;
        machines.puller.pass_over(&mut cx, bodies, from, (batch, None));
    }

    /// A body is damaged at its source. A session leaves its row out, and the key is owed.
    fn body_damaged(&mut self, from: MemberId, id: u64) {
        let Some((batch, key)) = self.machines.fetcher.session_row(id) else {
            return self.lose_body(id, true);
        };
        let (machines, mut cx) = self.split();
        machines.fetcher.lose(cx.out, id);
        let bodies = &mut machines.fetcher;
        machines.puller.body_damaged(&mut cx, bodies, from, (batch, key));
    }

    /// The write that a fetch was for was replaced at its source.
    fn replaced(&mut self, from: MemberId, id: u64, row: Row) {
        let (machines, mut cx) = self.split();
        match machines.fetcher.replace(&mut cx, id, row) {
            Successor::Fetched => {}
            Successor::Whole(fetched) => self.fetched(id, *fetched),
            Successor::Endless => self.lose_fetch(id),
            Successor::Invalid => {
                self.close(
                    from,
                    "the peer named a row of another key instead of the requested one",
                );
            }
        }
    }

    /// A body can't be had: it was overwritten at its source, or the link is down.
    pub(super) fn lose_fetch(&mut self, id: u64) {
        self.lose_body(id, false);
    }

    /// [`Core::lose_fetch`], where the body may be damaged at its source.
    fn lose_body(&mut self, id: u64, is_damaged: bool) {
        let (machines, mut cx) = self.split();
        let Some((peer, purpose)) = machines.fetcher.lose(cx.out, id) else { return };
        let bodies = &mut machines.fetcher;
        match purpose {
            // Newer writes exist, among them this row or its successor: a session brings them.
            Purpose::Live(origin) => {
                machines.receiver.forget(&mut cx, bodies, origin);
                self.behind(peer);
            }
            Purpose::Session(session, batch) => {
                machines.puller.body_gone(&mut cx, bodies, peer, (session, batch));
            }
            Purpose::Found { round, key } => {
                machines.rows.body_lost(&mut cx, bodies, (round, key), is_damaged);
            }
        }
    }

    /// Requests pieces again that do not arrive, or gives their bodies up.
    pub(super) fn watch_fetches(&mut self) {
        let late = self.machines.fetcher.late(self.local.mono());
        for id in &late {
            let (machines, mut cx) = self.split();
            if machines.fetcher.retry(&mut cx, *id) {
                self.lose_fetch(*id);
            }
        }
        if !late.is_empty() {
            for peer in self.peers.ids() {
                let (machines, mut cx) = self.split();
                machines.fetcher.request_queued(&mut cx, peer);
            }
        }
    }
}

/// Whether the vectors of a session were not adopted, and would not be in a moment either.
fn is_not_adopted(results: &[Applied]) -> bool {
    [Applied::NoRoom, Applied::FarAhead].iter().any(|applied| results.contains(applied))
}

/// Whether a live write was not applied, because earlier ones are missing or the disk has no room for it.
fn breaks_off(results: &[Applied]) -> bool {
    results.iter().any(|applied| matches!(applied, Applied::Gap { .. } | Applied::Full))
}

/// The writes of late rows: see [`Applied::Late`].
fn late(results: &[Applied]) -> impl Iterator<Item = Dot> {
    results.iter().filter_map(|applied| match applied {
        Applied::Late(dot) => Some(*dot),
        _ => None,
    })
}
