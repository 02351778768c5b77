//! What goes to a peer next.

use super::Core;
use crate::{
    MemberId,
    wire::{Frame, Incarnations, Message, encode},
    work::{Channel, Transmit},
};

impl Core {
    pub(super) fn next_message(&mut self, peer: MemberId) -> Option<Transmit> {
        Channel::ALL.into_iter().find_map(|channel| self.next_message_on(peer, channel))
    }

    pub(super) fn next_message_on(&mut self, peer: MemberId, channel: Channel) -> Option<Transmit> {
        if self.halted.is_some() {
            return None;
        }
        let link = self.links.get(&peer)?;
        let incarnations = Incarnations { from: self.config.incarnation, to: link.incarnation };
        if channel != Channel::Control {
            link.hello.as_ref()?;
        }
        let bytes = match channel {
            Channel::Control => encode(incarnations, &self.next_control(peer)?),
            Channel::Live => {
                let (first, rows) = self.next_live(peer)?;
                Frame::live(incarnations, first, &rows).finish()
            }
            Channel::CatchUp => {
                let page = self.links.get_mut(&peer)?.pages.pop_front();
                encode(incarnations, &page.or_else(|| self.next_of_verify(peer))?)
            }
            Channel::Body => {
                let piece = self.links.get_mut(&peer)?.pieces.pop_front()?;
                self.read_body(peer);
                encode(incarnations, &piece)
            }
        };
        Some(Transmit { channel, bytes })
    }

    fn next_control(&mut self, peer: MemberId) -> Option<Message> {
        let now = self.now.mono;
        let link = self.links.get_mut(&peer)?;
        if link.send_hello {
            link.send_hello = false;
            link.hello_at = now;
            return Some(Message::Hello(self.our_hello()));
        }
        if link.send_removed && link.incarnation != 0 {
            link.send_removed = false;
            return Some(Message::Removed);
        }
        link.hello.as_ref()?;
        if link.send_progress {
            return Some(Message::Progress(self.our_progress(peer)));
        }
        link.control.pop_front()
    }
}
