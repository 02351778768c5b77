//! The next message to a peer, channel by channel.

use kv_core::{Dot, Hlc};

use super::{
    Core, announced::Sent, compatibility, counts::Changes, handshake::own_hello, local::Local,
};
use crate::{
    MemberId,
    wire::{Envelope, Frame, Incarnations, MAX_VISIBLE, Message, Opened, ProgressDelta, encode},
    work::{Channel, Transmit},
};

impl Core {
    /// The next message to a peer on a channel. Before the hello of the peer was accepted, only control flows.
    pub(super) fn next_message(&mut self, peer: MemberId, channel: Channel) -> Option<Transmit> {
        let (from, state) = (self.local.config().incarnation, self.peers.get(peer)?);
        let incarnations = Incarnations { from, to: state.handshake.incarnation() };
        let version = compatibility::version(&self.local, state.hello());
        let envelope = Envelope { version, incarnations };
        if channel != Channel::Control {
            state.hello()?;
        }
        let (machines, mut cx) = self.split();
        let bytes = match channel {
            Channel::Control => encode(envelope, &self.next_control(peer)?),
            Channel::Live => {
                // There are few of these, and decisions wait for them.
                if let Some(piece) = machines.usage.next(cx.out, peer) {
                    return Some(Transmit { channel, bytes: encode(envelope, &piece) });
                }
                let (first, rows) = machines.sender.next(&mut cx, peer)?;
                Frame::live(envelope, first, &rows).finish()
            }
            Channel::CatchUp => {
                // The pages of a session go last: there are many, and the others are requested one at a time.
                let next = machines.row_source.next(peer);
                let next = next.or_else(|| machines.verifier.next(&cx, peer));
                let next = next.or_else(|| machines.rebuild.comparer().next(&cx, peer));
                encode(envelope, &next.or_else(|| machines.sessions.next(&cx, peer))?)
            }
            Channel::Body => {
                let piece = machines.bodies.next(&mut cx, peer)?;
                machines.sessions.sent_piece(&cx, peer);
                encode(envelope, &piece)
            }
        };
        Some(Transmit { channel, bytes })
    }

    /// A hello goes first, then the notice of a removal, then progress, then counts of the peer's own writes, then
    /// requests and responses.
    fn next_control(&mut self, peer: MemberId) -> Option<Message> {
        let now = self.local.mono();
        let state = self.peers.get_mut(peer)?;
        if state.handshake.take_greeting(now) {
            return Some(Message::Hello(own_hello(&self.local)));
        }
        if let Some(row) = state.handshake.take_farewell() {
            return Some(Message::Removed(row));
        }
        state.hello()?;
        if state.announcing.take(now) {
            return self.own_progress(peer).map(Message::Progress);
        }
        let origins = state.origins();
        let receipt = state.receipts.take(now, self.local.durable(), origins);
        let report = || self.machines.reports.next(now, peer).map(Message::Report);
        let message = receipt.map(Message::Durable).or_else(report);
        message.or_else(|| self.out.next_message(peer))
    }

    /// This location's progress, to be sent to a peer now: what has changed since what the peer has acknowledged.
    fn own_progress(&mut self, to: MemberId) -> Option<ProgressDelta> {
        let (local, machines) = (&self.local, &mut self.machines);
        let peer = self.peers.get_mut(to)?;
        let base = peer.announced.base();
        let Changes { since, counts } = machines.counts.since(base.state);
        // If what was acknowledged can't be used any more, the peer receives everything.
        let base = if since == 0 { Sent::default() } else { base };
        let number = self.out.next_id();
        let (state, pair) = (machines.counts.state(), machines.counts.pair());
        let visible = if base.number == 0 { visible(local) } else { Vec::new() };
        let rebuilding = local.is_rebuilding() || machines.rebuild.is_under_way();
        let shown = |at: Hlc| if rebuilding { Hlc::ZERO } else { at };
        machines.clocks.sending(local, to, number);
        peer.announced.sent(Sent { number, state, pair });
        peer.receipts.progress_sent(local.durable(), peer.origins());
        Some(ProgressDelta {
            number,
            base: base.number,
            wall_ms: local.wall_ms(),
            echo: peer.echo(local.mono()),
            closed_timestamp: local.closed_timestamp(),
            resolved: shown(machines.stability.resolved(local)),
            held: shown(machines.stability.held(local)),
            opened: match local.origins() {
                None => Opened::Nothing,
                Some(_) if base.number > 0 && base.pair == pair => Opened::AsBefore,
                Some(pair) => Opened::Pair(pair),
            },
            rebuilding,
            uncounted: machines.uncounted.digest(),
            counts,
            visible,
        })
    }
}

/// Writes that are visible and not durable. A peer does not send those of its own again.
fn visible(local: &Local) -> Vec<Dot> {
    let is_beyond = |dot: &Dot| !local.durable().covers(*dot);
    local.visible().iter().filter(is_beyond).take(MAX_VISIBLE).collect()
}
