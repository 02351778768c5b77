//! The handshake with one peer: each end sends a hello until it knows that the other has it.

use std::time::Duration;

use super::local::Local;
use crate::{
    Row,
    wire::{Hello, Incarnations},
};

/// How often a hello is repeated until the peer is known to have it.
const HELLO_EVERY: Duration = Duration::from_secs(1);

/// How far the handshake with a peer is.
#[derive(Debug, Default)]
enum State {
    /// No hello of the peer was accepted yet.
    #[default]
    Waiting,
    /// The peer's hello was accepted.
    Accepted {
        /// The random number of the peer's start, which messages to it must name.
        incarnation: u64,
        /// The peer's hello.
        hello: Hello,
        /// The peer has this location's hello.
        is_mutual: bool,
    },
    /// The peer was removed from the cluster.
    Removed(Farewell),
}

/// The notice that a removed peer gets: its member row, which says that it was removed.
#[derive(Debug)]
enum Farewell {
    /// The incarnation that a message must name is not known until the peer sends something.
    Unaddressed,
    /// The store reads the row.
    Reading { incarnation: u64 },
    /// It is the next message.
    Due {
        /// The random number of the peer's start, which the notice must name.
        incarnation: u64,
        row: Box<Row>,
    },
    /// It was sent. The peer gets it again only if it sends something.
    Sent {
        /// The random number of the peer's start.
        incarnation: u64,
    },
}

impl Farewell {
    /// The peer's incarnation; 0 if it is not known.
    fn incarnation(&self) -> u64 {
        match self {
            Farewell::Unaddressed => 0,
            Farewell::Reading { incarnation }
            | Farewell::Due { incarnation, .. }
            | Farewell::Sent { incarnation } => *incarnation,
        }
    }
}

/// When this location's hello is sent.
#[derive(Debug)]
enum Greeting {
    /// It is sent with the next message.
    Due,
    /// It was sent at this time.
    Sent(Duration),
}

/// The handshake with one peer.
#[derive(Debug)]
pub(super) struct Handshake {
    /// How far the handshake is.
    state: State,
    /// When this location's hello is sent, whatever the state: a restarted peer needs it again.
    greeting: Greeting,
}

impl Handshake {
    /// A handshake that this location begins at once.
    pub(super) fn begin() -> Handshake {
        Handshake { state: State::Waiting, greeting: Greeting::Due }
    }

    /// A handshake that waits for the peer's hello for a while.
    pub(super) fn wait() -> Handshake {
        Handshake { state: State::Waiting, greeting: Greeting::Sent(Duration::ZERO) }
    }

    /// For a removed peer, whose next message is answered with a notice of that.
    pub(super) fn removed() -> Handshake {
        Handshake { state: State::Removed(Farewell::Unaddressed), ..Handshake::wait() }
    }

    /// The incarnation of the peer that messages are addressed to; 0 if none is known.
    pub(super) fn incarnation(&self) -> u64 {
        match &self.state {
            State::Waiting => 0,
            State::Accepted { incarnation, .. } => *incarnation,
            State::Removed(farewell) => farewell.incarnation(),
        }
    }

    /// The peer's hello, once it was accepted.
    pub(super) fn hello(&self) -> Option<&Hello> {
        match &self.state {
            State::Accepted { hello, .. } => Some(hello),
            _ => None,
        }
    }

    /// Whether each end has the other's hello.
    pub(super) fn is_mutual(&self) -> bool {
        matches!(self.state, State::Accepted { is_mutual: true, .. })
    }

    /// Accepts a peer's hello. `own` is this location's incarnation. Returns whether it is the first.
    pub(super) fn accept(&mut self, incarnations: Incarnations, hello: Hello, own: u64) -> bool {
        let knows_us = incarnations.to == own;
        let was_mutual = self.is_mutual();
        let is_first = self.hello().is_none();
        let incarnation = incarnations.from;
        self.state = State::Accepted { incarnation, hello, is_mutual: was_mutual || knows_us };
        if !knows_us {
            // The peer expects a hello as long as it does not know this incarnation.
            self.greeting = Greeting::Due;
        }
        is_first
    }

    /// Takes note of a message from a peer. Returns whether it may be handled: both ends must know each
    /// other's incarnation.
    pub(super) fn admit(&mut self, incarnations: Incarnations, own: u64) -> bool {
        if self.incarnation() != incarnations.from || incarnations.to != own {
            // One of the two was restarted since.
            self.greeting = Greeting::Due;
            return false;
        }
        match &mut self.state {
            State::Accepted { is_mutual, .. } => {
                *is_mutual = true;
                true
            }
            State::Waiting | State::Removed(_) => false,
        }
    }

    /// A removed peer of this incarnation gets the notice of its removal. Returns whether its member row must be
    /// read for that.
    pub(super) fn answer_removed(&mut self, incarnation: u64) -> bool {
        let current = match &mut self.state {
            State::Removed(
                Farewell::Reading { incarnation } | Farewell::Due { incarnation, .. },
            ) => incarnation,
            _ => {
                self.state = State::Removed(Farewell::Reading { incarnation });
                return true;
            }
        };
        *current = incarnation;
        false
    }

    /// A removed peer's member row was read; none if it can't be read now, and then the peer's next message is
    /// answered.
    pub(super) fn farewell_read(&mut self, row: Option<Row>) {
        let State::Removed(Farewell::Reading { incarnation }) = self.state else { return };
        self.state = State::Removed(match row.map(Box::new) {
            Some(row) => Farewell::Due { incarnation, row },
            None => Farewell::Unaddressed,
        });
    }

    /// Whether a hello is due.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.greeting, Greeting::Due)
    }

    /// Whether a hello is due with the next message; then it counts as sent.
    pub(super) fn take_greeting(&mut self, now: Duration) -> bool {
        let is_due = matches!(self.greeting, Greeting::Due);
        if is_due {
            self.greeting = Greeting::Sent(now);
        }
        is_due
    }

    /// The member row for the notice of the peer's removal, if it is due with the next message; then it counts as
    /// sent.
    pub(super) fn take_farewell(&mut self) -> Option<Box<Row>> {
        let sent = State::Removed(Farewell::Sent { incarnation: self.incarnation() });
        match std::mem::replace(&mut self.state, sent) {
            State::Removed(Farewell::Due { row, .. }) => Some(row),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Repeats a hello that is not known to have arrived.
    pub(super) fn watch(&mut self, now: Duration) {
        if self.timeout().is_some_and(|at| now >= at) {
            self.greeting = Greeting::Due;
        }
    }

    /// When the hello is due again; none if it has arrived or is due already.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self.greeting {
            Greeting::Sent(at) if !self.is_mutual() => Some(at + HELLO_EVERY),
            _ => None,
        }
    }
}

/// This location's hello.
pub(super) fn own_hello(local: &Local) -> Hello {
    let config = local.config();
    Hello {
        versions: config.software.wire(),
        features: config.software.features,
        cluster: config.cluster,
        member: config.member,
        software: Some(config.software.version.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{PEER, THIRD, hello, row_of};

    const OWN: u64 = 11;
    const THEIRS: u64 = 22;

    fn addressed(to: u64) -> Incarnations {
        Incarnations { from: THEIRS, to }
    }

    #[test]
    fn a_handshake_is_mutual_once_the_peer_names_this_incarnation() {
        let mut handshake = Handshake::begin();
        assert!(handshake.take_greeting(Duration::ZERO));
        assert!(handshake.accept(addressed(0), hello(PEER), OWN));
        assert!(!handshake.is_mutual() && handshake.take_greeting(Duration::ZERO));
        assert!(!handshake.accept(addressed(OWN), hello(PEER), OWN));
        assert!(handshake.is_mutual() && !handshake.take_greeting(Duration::ZERO));
        assert_eq!(handshake.timeout(), None);
    }

    #[test]
    fn a_hello_is_repeated_every_second_until_it_is_known_to_have_arrived() {
        let mut handshake = Handshake::begin();
        assert!(handshake.take_greeting(Duration::from_secs(5)));
        handshake.watch(Duration::from_millis(5_999));
        assert!(!handshake.take_greeting(Duration::from_millis(5_999)));
        handshake.watch(Duration::from_secs(6));
        assert!(handshake.take_greeting(Duration::from_secs(6)));
    }

    #[test]
    fn messages_are_admitted_only_between_the_incarnations_that_know_each_other() {
        let mut handshake = Handshake::wait();
        assert!(!handshake.admit(addressed(OWN), OWN), "no hello was accepted");
        handshake.accept(addressed(0), hello(PEER), OWN);
        handshake.take_greeting(Duration::ZERO);
        assert!(handshake.admit(addressed(OWN), OWN) && handshake.is_mutual());
        let restarted = Incarnations { from: THEIRS + 1, to: OWN };
        assert!(!handshake.admit(restarted, OWN));
        assert!(handshake.take_greeting(Duration::ZERO), "the restarted peer needs a hello");
    }

    #[test]
    fn a_removed_peer_gets_one_notice_for_each_message_that_it_sends() {
        let mut handshake = Handshake::removed();
        let row = || Some(row_of(THIRD, 1));
        handshake.farewell_read(row());
        assert_eq!(handshake.take_farewell(), None, "its incarnation is not known");
        for _each_message in 0..2 {
            assert!(handshake.answer_removed(THEIRS), "its row must be read");
            assert!(!handshake.answer_removed(THEIRS), "one read is enough");
            assert_eq!(handshake.take_farewell(), None, "its row is not here");
            handshake.farewell_read(row());
            assert_eq!(handshake.incarnation(), THEIRS);
            assert_eq!(handshake.take_farewell().as_deref(), row().as_ref());
            assert_eq!(handshake.take_farewell(), None);
        }
        assert!(handshake.hello().is_none());
    }

    #[test]
    fn a_removed_peer_whose_row_can_not_be_read_gets_its_notice_with_its_next_message() {
        let mut handshake = Handshake::removed();
        assert!(handshake.answer_removed(THEIRS));
        handshake.farewell_read(None);
        assert_eq!(handshake.take_farewell(), None);
        assert!(handshake.answer_removed(THEIRS), "its row is read again");
    }
}
