//! Routing: events and messages to the machines that they concern.

use bytes::Bytes;
use kv_core::Dot;

use super::{
    Core,
    actions::{Effect, Pending, PieceName},
    compatibility,
    peers::Peers,
    results::ReadResult,
};
use crate::{
    MemberId, Row,
    notice::Notice,
    wire::{Envelope, Hello, Incarnations, Message, Page, ProgressDelta, Received, decode},
    work::Event,
};

impl Core {
    /// Finds the peers that there may be messages for after an event, apart from those that the machines name.
    pub(super) fn wake(&mut self, event: &Event) {
        match event {
            Event::Connected(peer)
            | Event::Disconnected(peer)
            | Event::Received { from: peer, .. }
            | Event::Verify(peer) => self.out.wake(*peer),
            // Results of reads name their peer; a sync changes what progress says, which is not due at once.
            Event::Synced(_)
            | Event::Applied { .. }
            | Event::Read { .. }
            | Event::RowRead { .. }
            | Event::Body { .. } => {}
            Event::Wrote(_)
            | Event::RolledBack(_)
            | Event::Inspected { .. }
            | Event::Salvaged { .. }
            | Event::Kept { .. }
            | Event::Uncounted { .. }
            | Event::Rows { .. } => self.wake_all(),
        }
    }

    /// There may be messages for any peer.
    pub(super) fn wake_all(&mut self) {
        let Core { peers, out, .. } = self;
        peers.iter().for_each(|(peer, _)| out.wake(peer));
    }

    /// Hands an event to the machines that it concerns.
    pub(super) fn dispatch(&mut self, event: Event) {
        match event {
            Event::Connected(peer) => self.connect(peer),
            Event::Disconnected(peer) => self.disconnect(peer),
            Event::Received { from, bytes } => self.receive_bytes(from, &bytes),
            Event::Wrote(rows) => self.machines.sender.wrote(&rows),
            Event::Synced(state) => {
                self.set_store(state);
                self.synced();
            }
            Event::RolledBack(state) => self.rolled_back(state),
            Event::Applied { id, results, visible } => {
                self.local.set_visible(visible);
                self.applied(id, results);
            }
            Event::Read { id, result } => self.read(id, ReadResult::Rows(result)),
            Event::RowRead { id, row } => self.read(id, ReadResult::Row(row)),
            Event::Body { id, found } => self.read(id, ReadResult::Body(found)),
            Event::Verify(peer) => {
                let (machines, mut cx) = self.split();
                machines.verifier.begin(&mut cx, peer);
            }
            Event::Inspected { id, answer } => {
                let (machines, mut cx) = self.split();
                if machines.rebuild.comparer().awaits(id) {
                    machines.rebuild.comparer().inspected(&mut cx, id, answer);
                } else {
                    machines.verifier.inspected(&mut cx, id, answer);
                }
            }
            Event::Salvaged { id, rows, places, vector } => {
                let (machines, mut cx) = self.split();
                machines.rebuild.salvaged(&mut cx, id, rows, (places, vector));
            }
            Event::Kept { id, is_kept } => {
                if self.out.finished(id) == Some(Pending::Salvage) {
                    let (machines, mut cx) = self.split();
                    machines.rebuild.kept(&mut cx, id, is_kept);
                }
            }
            Event::Uncounted { id, digest } => {
                if self.machines.uncounted.found(self.local.mono(), id, digest) {
                    self.machines.stability.disturb();
                    self.announce();
                }
            }
            Event::Rows { id, rows } => {
                let (machines, mut cx) = self.split();
                machines.row_source.read(&mut cx, id, rows);
            }
        }
    }

    /// Does what machines want done to a link or to the core.
    pub(super) fn settle(&mut self) {
        while let Some(effect) = self.out.poll_effect() {
            match effect {
                Effect::Close { peer, reason } => self.close(peer, reason),
                Effect::Rebuild { peer, collected } => self.begin_rebuild(peer, collected),
            }
        }
    }

    /// Decodes a message of one of the versions that this location understands, and routes it.
    fn receive_bytes(&mut self, from: MemberId, bytes: &Bytes) {
        let config = self.local.config();
        if let Some(incarnations) = Envelope::to_another(bytes, config.incarnation) {
            return self.receive_late(from, incarnations);
        }
        match decode(bytes, config.software.wire()) {
            Ok(received) => self.receive(from, received),
            Err(error) => self.close(from, error.reason()),
        }
    }

    /// A message was sent to an earlier process of this location, which may have been another program: it is not decoded.
    fn receive_late(&mut self, from: MemberId, incarnations: Incarnations) {
        let own = self.local.config().incarnation;
        let Some(peer) = self.peers.get_mut(from) else { return };
        if self.local.has_left(from) {
            return self.answer_removed(from, incarnations.from);
        }
        peer.handshake.admit(incarnations, own);
    }

    /// Admits or rejects a message by its sender and the incarnations that it names.
    fn receive(&mut self, from: MemberId, received: Received) {
        let Received { envelope, kind, message, skipped } = received;
        let incarnations = envelope.incarnations;
        self.skipped.fields(&mut self.out, from, kind, &skipped);
        let own = self.local.config().incarnation;
        let has_left = self.local.has_left(from);
        let Some(peer) = self.peers.get_mut(from) else { return };
        if has_left {
            // Two locations that removed each other would otherwise report it to each other for ever.
            if !matches!(message, Message::Removed(_)) {
                self.answer_removed(from, incarnations.from);
            }
            return;
        }
        match message {
            Message::Hello(hello) => self.hello(from, incarnations, hello),
            Message::Removed(row) if incarnations.to == own => self.removed(from, *row),
            message if peer.handshake.admit(incarnations, own) => {
                if envelope.version != compatibility::version(&self.local, peer.hello()) {
                    return self.close(from, "a message has another version than the two ends use");
                }
                self.route(from, message);
            }
            _ => {}
        }
    }

    /// Routes a message of a peer that has introduced itself.
    fn route(&mut self, from: MemberId, message: Message) {
        let (machines, mut cx) = self.split();
        match message {
            Message::Hello(_) | Message::Removed(_) => {}
            Message::Unknown { kind, .. } => self.skipped.message(&mut self.out, from, kind),
            Message::Progress(delta) => self.progress(from, delta),
            Message::Durable(dot) => self.receipt(from, dot),
            Message::Want(want) => machines.sender.follow(&mut cx, from, want),
            Message::Behind => self.behind(from),
            Message::Live(live) => self.live(from, live.rows),
            Message::Pull(pull) => machines.sessions.pull(&mut cx, from, pull),
            Message::Page(page) => self.page(from, page),
            Message::Refusal { session, reason } => {
                machines.puller.refused(&mut cx, &mut machines.fetcher, from, (session, reason));
            }
            Message::GetBody(get) => machines.bodies.get(&mut cx, from, get),
            Message::Piece { fetch, dot, offset, bytes } => {
                self.piece(from, PieceName { fetch, dot, offset }, bytes);
            }
            Message::NoBody { fetch, why } => self.no_body(from, fetch, why),
            Message::Done { session } => machines.sessions.done(&mut cx, from, session),
            Message::Ask { verify, step, ask } => {
                machines.verifier.asked(&mut cx, from, (verify, step), ask);
            }
            Message::Answer { verify, step, answer } => {
                let comparer = machines.rebuild.comparer();
                comparer.answered(&mut cx, from, (verify, step), answer.clone());
                machines.verifier.answered(&mut cx, from, (verify, step), answer);
            }
            Message::GetRows { id, names } => machines.row_source.get(&mut cx, from, id, names),
            Message::Report(report) => {
                machines.reports.receive(cx.local.mono(), from, report);
            }
            Message::Usage(piece) => machines.usage.receive(cx.out, from, piece),
            Message::Rows { id, rows } => {
                machines.rows.receive(&mut cx, &mut machines.fetcher, from, (id, rows));
            }
        }
    }

    /// A peer introduces itself.
    fn hello(&mut self, from: MemberId, incarnations: Incarnations, hello: Hello) {
        let config = self.local.config();
        let own = config.incarnation;
        if hello.member == config.member && from == config.member {
            self.out.notice(Notice::CopyRuns);
            return self.close(from, "the peer has this location's own identity");
        }
        if let Err(reason) = compatibility::check(&self.local, &hello) {
            return self.close(from, reason);
        }
        if let Err(reason) = Peers::check_hello(&self.local, from, incarnations, &hello) {
            return self.close(from, reason);
        }
        if !self.machines.membership.is_answered(&self.local, from) {
            // It repeats its hello as long as ours does not name its incarnation, and may be a member by then.
            return;
        }
        self.meet(from, incarnations.from);
        let Some(peer) = self.peers.get_mut(from) else { return };
        if peer.handshake.accept(incarnations, hello, own) {
            peer.greeted();
            self.machines.usage.greeted(&mut self.out, from);
        }
    }

    /// A peer reports what it has.
    fn progress(&mut self, from: MemberId, delta: ProgressDelta) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        self.machines.clocks.progressed(&self.local, from, &delta);
        let (is_first, before) = (!peer.has_reported(), peer.origins());
        let is_delta = delta.base > 0;
        let changes = match peer.progressed(self.local.mono(), delta) {
            Ok(Some(changes)) => changes,
            Ok(None) => return,
            Err(reason) => return self.close(from, reason),
        };
        let (progress, has_moved) = (peer.progress(), peer.origins() != before);
        for dot in changes.iter().copied() {
            if dot.seq > self.machines.receiver.arrived(&self.local, dot.origin) {
                self.machines.lag.note(dot);
            }
        }
        let changes = is_delta.then_some(&changes[..]);
        if self.machines.stability.progressed(&self.local, from, (progress, changes)) {
            self.machines.uncounted.disturb();
        }
        let (machines, mut cx) = self.split();
        machines.claims.progressed(&mut cx, &machines.counts, from);
        if is_first {
            machines.follow_received(&mut cx, from);
            machines.rows.greeted(&cx, from);
        }
        if has_moved {
            machines.receiver.want_soon(from);
            machines.want(&mut cx, from);
        }
    }

    /// A peer holds a write of this location durably, and all before it.
    fn receipt(&mut self, from: MemberId, dot: Dot) {
        let own = self.local.origins();
        if let Some(peer) = self.peers.get_mut(from) {
            peer.receipts.received(own, dot);
        }
    }

    /// A peer sends new writes.
    fn live(&mut self, from: MemberId, rows: Vec<Row>) {
        let (machines, mut cx) = self.split();
        let new = machines.receiver.receive(&mut cx, from, rows);
        if let Some(first) = new.first() {
            machines.stability.arrived(first.dot.origin);
        }
        if new.is_empty() {
            return;
        }
        let (machines, mut cx) = self.split();
        machines.receiver.queue(&mut cx, &mut machines.fetcher, from, new);
    }

    /// A peer sends rows of a session.
    fn page(&mut self, from: MemberId, page: Page) {
        let (machines, mut cx) = self.split();
        machines.puller.receive(&mut cx, &mut machines.fetcher, from, page);
    }

    /// A peer's backlog does not reach back to what is missing of its writes. Any peer that has them may
    /// bring them: after a long cut many peers report this at once, and each has what the others wrote.
    pub(super) fn behind(&mut self, from: MemberId) {
        let (machines, mut cx) = self.split();
        let puller = &machines.puller;
        let Some(peer) = cx.peers.get(from) else { return };
        let Some(origins) = peer.origins() else { return };
        let is_coming = |origin: &kv_core::OriginId| {
            let most = peer.progress().durable.get(*origin);
            most > 0 && puller.brings(*origin, most - 1, None)
        };
        // A session that failed a moment ago would fail again; what is missing is checked later.
        let can_begin =
            cx.local.is_joined() && puller.can_begin(cx.local, cx.peers, from) && puller.has_room();
        if can_begin && !origins.iter().any(is_coming) {
            machines.begin_session(&mut cx, from);
        }
    }

    /// Checks for missing writes, counted or not; not at every event.
    pub(super) fn check_lag(&mut self) {
        let (machines, mut cx) = self.split();
        if !machines.lag.begin(cx.local.mono()) {
            return;
        }
        if machines.rebuild.is_under_way() || cx.local.is_rebuilding() {
            if machines.puller.has_room()
                && let Some(peer) = machines.rebuild.source(&cx, &machines.puller)
            {
                machines.begin_session(&mut cx, peer);
            }
            return;
        }
        for origin in machines.receiver.take_forgotten() {
            machines.lag.note_less(origin);
        }
        for missing in machines.lag.check(cx.local, cx.peers, &machines.receiver) {
            let origin = missing.origin;
            let have = machines.receiver.arrived(cx.local, origin);
            let only = cx.peers.doubted_by(cx.local, origin);
            if machines.puller.brings(origin, have, only) {
                continue;
            }
            if missing.is_late
                && let Some(writer) = cx.peers.writer_of(cx.local.registry(), origin)
            {
                machines.want(&mut cx, writer);
            }
            if missing.is_very_late
                && machines.puller.has_room()
                && let Some(peer) = machines.puller.source_of(cx.local, cx.peers, origin, have)
            {
                machines.begin_session(&mut cx, peer);
            }
        }
        if let Some(peer) = machines.uncounted.source(cx.local, cx.peers)
            && machines.puller.can_begin(cx.local, cx.peers, peer)
            && machines.puller.has_room()
        {
            machines.begin_session(&mut cx, peer);
        }
    }
}
