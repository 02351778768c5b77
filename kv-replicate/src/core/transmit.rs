//! The next message to a peer, channel by channel.

use kv_core::Hlc;

use super::{Core, compatibility, handshake::own_hello};
use crate::{
    MemberId,
    wire::{Envelope, Frame, Incarnations, Message, Progress, encode},
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
                let (first, rows) = machines.sender.next(&mut cx, peer)?;
                Frame::live(envelope, first, &rows).finish()
            }
            Channel::CatchUp => {
                // The pages of a session go last: there are many, and the others are asked for one at a time.
                let next = machines.row_source.next(peer);
                let next = next.or_else(|| machines.verifier.next(&cx, peer));
                let next = next.or_else(|| machines.rebuild.comparer().next(&cx, peer));
                encode(envelope, &next.or_else(|| machines.sessions.next(peer))?)
            }
            Channel::Body => encode(envelope, &machines.bodies.next(&mut cx, peer)?),
        };
        Some(Transmit { channel, bytes })
    }

    /// A hello goes first, then the notice of a removal, then progress, then requests and responses.
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
            return Some(Message::Progress(self.own_progress(peer)));
        }
        let report = self.machines.reports.next(now, peer).map(Message::Report);
        report.or_else(|| self.out.next_message(peer))
    }

    /// This location's progress, to be sent to a peer now.
    fn own_progress(&mut self, to: MemberId) -> Progress {
        let local = &self.local;
        let durable = local.durable().clone();
        let mut received = local.visible().clone();
        // After a failure of the disk, more may be durable than visible.
        received.merge(&durable);
        let number = self.out.next_id();
        let rebuilding = local.is_rebuilding() || self.machines.rebuild.is_under_way();
        let shown = |at: Hlc| if rebuilding { Hlc::ZERO } else { at };
        Progress {
            number,
            wall_ms: local.wall_ms(),
            echo: self.machines.clocks.sending(local, to, number),
            durable,
            received,
            closed_timestamp: local.closed_timestamp(),
            resolved: shown(self.machines.stability.resolved(local)),
            held: shown(self.machines.stability.held(local)),
            origins: local.origins(),
            rebuilding,
            uncounted: self.machines.uncounted.digest(),
        }
    }
}
