//! Routing: events and messages to the machines that they concern.

use super::{Core, actions::Effect, body_source::NoPiece, results::ReadResult};
use crate::{
    HaltReason, MemberId, Row,
    wire::{Hello, Incarnations, Message, Page, Progress, decode},
    work::Event,
};

impl Core {
    /// Hands an event to the machines that it concerns.
    pub(super) fn dispatch(&mut self, event: Event) {
        match event {
            Event::Connected(peer) => self.connect(peer),
            Event::Disconnected(peer) => self.disconnect(peer),
            Event::Received { from, bytes } => match decode(&bytes) {
                Ok((incarnations, message)) => self.receive(from, incarnations, message),
                Err(error) => self.close(from, error.reason()),
            },
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
            Event::Body { id, bytes, is_damaged } => {
                let why = if is_damaged { NoPiece::Damaged } else { NoPiece::Gone };
                self.read(id, ReadResult::Body(bytes.ok_or(why)));
            }
            Event::Verify(peer) => {
                let (machines, mut cx) = self.split();
                machines.verifier.begin(&mut cx, peer);
            }
            Event::Inspected { id, answer } => {
                let (machines, mut cx) = self.split();
                machines.verifier.inspected(&mut cx, id, answer);
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
                Effect::Halt(reason) => self.halt(reason),
            }
        }
    }

    /// Admits or rejects a message by its sender and the incarnations that it names.
    fn receive(&mut self, from: MemberId, incarnations: Incarnations, message: Message) {
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
            message if peer.handshake.admit(incarnations, own) => self.route(from, message),
            _ => {}
        }
    }

    /// Routes a message of a peer that has introduced itself.
    fn route(&mut self, from: MemberId, message: Message) {
        let (machines, mut cx) = self.split();
        match message {
            Message::Hello(_) | Message::Removed(_) => {}
            Message::Progress(progress) => self.progress(from, progress),
            Message::Want(numbers) => machines.sender.follow(&mut cx, from, numbers),
            Message::Behind => self.behind(from),
            Message::Live(live) => self.live(from, live.rows),
            Message::Pull(pull) => machines.sessions.pull(&mut cx, from, pull),
            Message::Page(page) => self.page(from, page),
            Message::Refusal { session, reason } => {
                machines.puller.refused(&mut cx, &mut machines.fetcher, from, (session, reason));
            }
            Message::GetBody(get) => machines.bodies.get(&mut cx, from, get),
            Message::Piece { fetch, offset, bytes } => self.piece(from, fetch, (offset, bytes)),
            Message::NoBody { fetch, is_damaged } => self.no_body(from, fetch, is_damaged),
            Message::Done { session } => machines.sessions.done(from, session),
            Message::Ask { verify, step, ask } => {
                machines.verifier.asked(&mut cx, from, (verify, step), ask);
            }
            Message::Answer { verify, step, answer } => {
                machines.verifier.answered(&mut cx, from, (verify, step), answer);
            }
            Message::GetRows { id, names } => machines.row_source.get(&mut cx, from, id, names),
            Message::Rows { id, rows } => {
                machines.rows.receive(&mut cx, &mut machines.fetcher, from, (id, rows));
            }
        }
    }

    /// A peer introduces itself.
    fn hello(&mut self, from: MemberId, incarnations: Incarnations, hello: Hello) {
        if let Err(reason) = self.peers.check_hello(&self.local, from, incarnations, &hello) {
            return self.close(from, reason);
        }
        if !self.machines.membership.is_answered(&self.local, from) {
            // It repeats its hello as long as ours does not name its incarnation, and may be a member by then.
            return;
        }
        let config = self.local.config();
        let (own, own_origins) = (config.incarnation, config.origins);
        let is_double = hello.origins.iter().any(|origin| own_origins.contains(origin));
        if is_double || hello.member == config.member {
            return self.halt(HaltReason::DuplicateIdentity);
        }
        if self.local.is_behind_itself_in(&hello.received) {
            return self.halt(HaltReason::RolledBack);
        }
        self.meet(from, incarnations.from);
        let Some(peer) = self.peers.get_mut(from) else { return };
        let received = own_origins.map(|origin| hello.received.get(origin));
        peer.greeted(&hello);
        if peer.handshake.accept(incarnations, hello, own) {
            let (machines, mut cx) = self.split();
            machines.sender.follow(&mut cx, from, received);
            machines.rows.greeted(&cx, from);
        }
    }

    /// A peer reports what it has.
    fn progress(&mut self, from: MemberId, progress: Progress) {
        if self.local.is_behind_itself_in(&progress.received) {
            return self.halt(HaltReason::RolledBack);
        }
        let Some(peer) = self.peers.get_mut(from) else { return };
        self.machines.clocks.progressed(&self.local, from, &progress);
        if let Some(origins) = peer.origins()
            && peer.progressed(progress)
        {
            let progress = peer.progress();
            self.machines.stability.progressed(&self.local, from, origins, progress);
        }
    }

    /// A peer sends new writes.
    fn live(&mut self, from: MemberId, rows: Vec<Row>) {
        let (machines, mut cx) = self.split();
        let new = machines.receiver.receive(&mut cx, from, rows);
        if new.is_empty() {
            return;
        }
        let (machines, mut cx) = self.split();
        machines.receiver.queue(&mut cx, &mut machines.fetcher, from, new);
    }

    /// A peer sends rows of a session.
    fn page(&mut self, from: MemberId, page: Page) {
        let (machines, cx) = self.split();
        if !machines.puller.expects(&cx, from, &page) {
            return;
        }
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
            most > 0 && puller.brings(*origin, most - 1)
        };
        // A session that failed a moment ago would fail again; what is missing is checked later.
        let can_begin = puller.can_begin(cx.local, cx.peers, from) && puller.has_room();
        if can_begin && !origins.iter().any(is_coming) {
            machines.begin_session(&mut cx, from);
        }
    }

    /// Checks for missing writes and for removed members; not at every event.
    pub(super) fn check_lag(&mut self) {
        let (machines, mut cx) = self.split();
        if !machines.lag.begin(cx.local.mono()) {
            return;
        }
        for missing in machines.lag.check(cx.local, cx.peers, &machines.receiver) {
            let origin = missing.origin;
            let have = machines.receiver.arrived(cx.local, origin);
            if machines.puller.brings(origin, have) {
                continue;
            }
            if missing.is_late
                && let Some(writer) = cx.peers.writer_of(origin)
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
        for peer in machines.membership.watch(&mut cx) {
            let can_begin = machines.puller.can_begin(cx.local, cx.peers, peer);
            if can_begin && machines.puller.has_room() {
                machines.begin_session(&mut cx, peer);
            }
        }
        machines.stability.note_reached(cx.local);
    }
}
