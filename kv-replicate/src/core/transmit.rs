//! The next message to a peer, channel by channel.

use kv_core::Hlc;

use super::{Core, handshake::own_hello};
use crate::{
    MemberId,
    wire::{Frame, Incarnations, Message, Progress, encode},
    work::{Channel, Transmit},
};

impl Core {
    /// The next message to a peer on a channel. Before the hello of the peer was accepted, only control flows.
    pub(super) fn next_message(&mut self, peer: MemberId, channel: Channel) -> Option<Transmit> {
        let (from, state) = (self.local.config().incarnation, self.peers.get(peer)?);
        let incarnations = Incarnations { from, to: state.handshake.incarnation() };
        if channel != Channel::Control {
            state.hello()?;
        }
        let (machines, mut cx) = self.split();
        let bytes = match channel {
            Channel::Control => encode(incarnations, &self.next_control(peer)?),
            Channel::Live => {
                let (first, rows) = machines.sender.next(&mut cx, peer)?;
                Frame::live(incarnations, first, &rows).finish()
            }
            Channel::CatchUp => {
                let page = machines.sessions.next(peer);
                let question = page.or_else(|| machines.verifier.next(&cx, peer));
                let question = question.or_else(|| machines.rebuild.comparer().next(&cx, peer));
                encode(incarnations, &question?)
            }
            Channel::Body => encode(incarnations, &machines.bodies.next(&mut cx, peer)?),
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
        if state.handshake.take_farewell() {
            return Some(Message::Removed);
        }
        state.hello()?;
        if state.announcing.take(now) {
            return Some(Message::Progress(self.own_progress()));
        }
        self.out.next_message(peer)
    }

    /// This location's progress.
    fn own_progress(&mut self) -> Progress {
        let local = &self.local;
        let durable = local.durable().clone();
        let mut received = local.visible().clone();
        // After a failure of the disk, more may be durable than visible.
        received.merge(&durable);
        let rebuilding = local.is_rebuilding() || self.machines.rebuild.is_under_way();
        let shown = |at: Hlc| if rebuilding { Hlc::ZERO } else { at };
        Progress {
            number: self.out.next_id(),
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
