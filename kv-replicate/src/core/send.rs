//! What goes to a peer next.

use super::Core;
use crate::{
    MemberId,
    wire::{Boots, Frame, Message, encode},
    work::{Channel, Transmit},
};

impl Core {
    pub(super) fn next_message(&mut self, peer: MemberId) -> Option<Transmit> {
        if self.halted.is_some() {
            return None;
        }
        let now = self.now.mono;
        let link = self.links.get_mut(&peer)?;
        let boots = Boots { from: self.config.boot, to: link.boot };
        let control = |message: &Message| {
            Some(Transmit { channel: Channel::Control, bytes: encode(boots, message) })
        };
        if link.say_hello {
            link.say_hello = false;
            link.hello_at = now;
            return control(&Message::Hello(self.our_hello()));
        }
        if link.say_removed && link.boot != 0 {
            link.say_removed = false;
            return control(&Message::Removed);
        }
        link.hello.as_ref()?;
        if link.say_heads {
            return control(&Message::Heads(self.our_heads(peer)));
        }
        if let Some(message) = link.control.pop_front() {
            return control(&message);
        }
        if let Some((first, rows)) = self.next_live(peer) {
            let bytes = Frame::live(boots, first, &rows).finish();
            return Some(Transmit { channel: Channel::Live, bytes });
        }
        let link = self.links.get_mut(&peer)?;
        if let Some(page) = link.pages.pop_front() {
            return Some(Transmit { channel: Channel::CatchUp, bytes: encode(boots, &page) });
        }
        if let Some(message) = self.next_of_verify(peer) {
            return Some(Transmit { channel: Channel::CatchUp, bytes: encode(boots, &message) });
        }
        let link = self.links.get_mut(&peer)?;
        let piece = link.pieces.pop_front()?;
        self.read_body(peer);
        Some(Transmit { channel: Channel::Body, bytes: encode(boots, &piece) })
    }
}
