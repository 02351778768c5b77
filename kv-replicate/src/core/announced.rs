//! The progress of this location that was sent to a peer, and how much of it the peer has acknowledged.

use std::collections::VecDeque;

/// How many messages are remembered until they are acknowledged.
const MAX_SENT: usize = 64;

/// A progress message to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Its number; 0 for none.
    pub(super) number: u64,
    /// The state of this location's counts ([`Counts`](super::counts::Counts)) that it shows.
    pub(super) state: u64,
    /// The number of the change of this location's origins that it shows.
    pub(super) pair: u64,
}

/// The messages to a peer over the present link.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// The last one that the peer has acknowledged: the base of the next.
    base: Sent,
    /// Later ones, the oldest first. While there are too many, no more are remembered.
    sent: VecDeque<Sent>,
    /// The number of the last one.
    last: u64,
}

impl Announced {
    /// The message that the next one builds on. Its number is 0 if the peer must receive everything.
    pub(super) fn base(&self) -> Sent {
        self.base
    }

    /// A message is sent.
    pub(super) fn sent(&mut self, sent: Sent) {
        self.last = sent.number;
        if self.sent.len() < MAX_SENT {
            self.sent.push_back(sent);
        }
    }

    /// The peer reports which message it has taken in last: none, or this one. What it can't have taken in counts as none.
    /// Returns whether it has lost what it had acknowledged.
    pub(super) fn acknowledged(&mut self, number: Option<u64>) -> bool {
        let number = number.filter(|number| *number <= self.last).unwrap_or(0);
        let before = self.base;
        if number < before.number {
            self.base = Sent::default();
        }
        while let Some(sent) = self.sent.front().copied().filter(|sent| sent.number <= number) {
            self.base = sent;
            self.sent.pop_front();
        }
        self.base.number < before.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: u64) -> Sent {
        Sent { number, state: number * 10, pair: 1 }
    }

    fn announced(numbers: impl IntoIterator<Item = u64>) -> Announced {
        let mut announced = Announced::default();
        numbers.into_iter().for_each(|number| announced.sent(sent(number)));
        announced
    }

    #[test]
    fn a_message_builds_on_the_last_one_that_was_acknowledged_and_not_on_the_last_one() {
        let mut announced = announced([3, 5, 8]);
        assert_eq!(announced.base(), Sent::default(), "nothing is acknowledged");
        assert!(!announced.acknowledged(Some(5)));
        assert_eq!(announced.base(), sent(5));
        assert!(!announced.acknowledged(Some(5)), "it reports the same again");
        assert_eq!(announced.base(), sent(5));
    }

    #[test]
    fn a_peer_that_has_begun_again_receives_everything() {
        let mut announced = announced([3, 5]);
        assert!(!announced.acknowledged(None), "it had nothing yet");
        announced.acknowledged(Some(3));
        assert!(announced.acknowledged(None));
        assert_eq!(announced.base(), Sent::default());
        announced.acknowledged(Some(5));
        assert_eq!(announced.base(), sent(5), "it was on its way");
    }

    #[test]
    fn an_acknowledgement_of_a_message_that_was_never_sent_is_none() {
        for number in [9, u64::MAX] {
            let mut announced = announced([3, 5]);
            announced.acknowledged(Some(3));
            assert!(announced.acknowledged(Some(number)));
            assert_eq!(announced.base(), Sent::default());
        }
    }

    #[test]
    fn an_acknowledgement_of_a_message_before_the_base_is_none() {
        // A copy of a message may arrive after the peer has begun again.
        let mut announced = announced([3, 5]);
        announced.acknowledged(Some(5));
        assert!(announced.acknowledged(Some(3)));
        assert_eq!(announced.base(), Sent::default());
    }

    #[test]
    fn an_acknowledgement_of_a_message_that_is_not_remembered_is_one_of_those_before() {
        let most = MAX_SENT as u64;
        let mut announced = announced(1..=2 * most);
        assert!(!announced.acknowledged(Some(most + 9)));
        assert_eq!(announced.base(), sent(most));
    }
}
