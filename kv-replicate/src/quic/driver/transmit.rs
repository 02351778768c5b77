//! Messages to peers, as far as their links have room.

use std::collections::BTreeSet;

use kv_core::MemberId;

use super::Driver;
use crate::{Channel, Core, quic::link::Link};

/// How many messages of a channel are sent to one peer before the others have their turn.
const MESSAGES_AT_ONCE: usize = 16;

impl Driver {
    /// Sends messages where there is room for them.
    pub(super) fn transmit(&mut self) {
        let ready = std::iter::from_fn(|| self.core.poll_ready());
        let mut ready: BTreeSet<_> = ready.collect();
        ready.append(&mut self.links.full);
        let mut is_more = false;
        for peer in ready {
            let Some(link) = self.links.up.get(&peer) else { continue };
            let of_channels =
                Channel::ALL.map(|channel| transmit_on(&mut self.core, peer, link, channel));
            if of_channels.iter().any(|sending| *sending != Sending::Done) {
                self.links.full.insert(peer);
            }
            is_more |= of_channels.contains(&Sending::Interrupted);
        }
        if is_more {
            self.network.room.notify_one();
        }
    }
}

/// How the sending of messages to a peer on a channel has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// All are sent.
    Done,
    /// There is no room for more; the driver is notified once there is.
    Full,
    /// Others must have their turn before the rest is sent.
    Interrupted,
}

/// Sends messages to a peer on a channel while there is room.
fn transmit_on(core: &mut Core, peer: MemberId, link: &Link, channel: Channel) -> Sending {
    for _ in 0..MESSAGES_AT_ONCE {
        if !link.has_room(channel) {
            return Sending::Full;
        }
        let Some(message) = core.poll_transmit_on(peer, channel) else { return Sending::Done };
        link.send(channel, message.bytes);
    }
    Sending::Interrupted
}
