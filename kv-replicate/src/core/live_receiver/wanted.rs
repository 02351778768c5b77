//! When live writes are requested from a peer again. Each request makes it send everything behind the last one that
//! arrived here, so a needless one fills the link with writes that are on their way.

use std::time::Duration;

use crate::core::patience::Patience;

/// The shortest time between two requests.
const APART: Duration = Duration::from_millis(200);

/// Why what follows in a stream can't be its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// It can: nothing is known to be missing.
    No,
    /// Writes that arrived in order were dropped here, or a gap followed them.
    Yes,
}

/// The last request to a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The wait for its answer.
    patience: Patience,
    /// Whether writes arrived in order since.
    is_answered: bool,
    /// Whether the stream has a gap since then.
    broken: Broken,
}

impl Wanted {
    /// A first request.
    pub(super) fn new(now: Duration) -> Wanted {
        Wanted { patience: Patience::new(now), is_answered: false, broken: Broken::No }
    }

    /// Whether another request is due: a gap followed the answer, or nothing has arrived for a long time.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let is_broken = self.broken == Broken::Yes && now >= self.patience.requested_at() + APART;
        is_broken || now >= self.patience.timeout()
    }

    /// Another request is sent.
    pub(super) fn again(&mut self, now: Duration) {
        if self.is_answered {
            self.patience.requested(now);
        } else {
            self.patience.timed_out();
            self.patience.requested_again(now);
        }
        (self.is_answered, self.broken) = (false, Broken::No);
    }

    /// Writes arrived in order, or ones that were here.
    pub(super) fn in_order(&mut self, now: Duration) {
        if self.is_answered {
            // How long it took shows nothing, because there may have been no writes.
            self.patience.moved(now);
        } else {
            self.patience.arrived(now);
            self.is_answered = true;
        }
    }

    /// Writes arrived behind a gap. Before the answer these are writes that were sent before the request was received.
    pub(super) fn gap(&mut self) {
        if self.is_answered {
            self.broken = Broken::Yes;
        }
    }

    /// Writes that arrived were dropped here.
    pub(super) fn dropped(&mut self) {
        self.broken = Broken::Yes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_was_sent_before_a_request_does_not_cause_another() {
        let mut wanted = Wanted::new(ms(0));
        wanted.gap();
        assert!(!wanted.is_due(ms(999)), "the answer is on its way");
        assert!(wanted.is_due(ms(1000)), "it should be here");
        wanted.again(ms(1000));
        assert!(!wanted.is_due(ms(2999)) && wanted.is_due(ms(3000)));
    }

    #[test]
    fn a_gap_behind_the_answer_and_writes_that_were_dropped_here_are_reasons() {
        let mut wanted = Wanted::new(ms(0));
        wanted.in_order(ms(300));
        assert!(!wanted.is_due(ms(1200)), "the rest is on its way");
        wanted.gap();
        assert!(wanted.is_due(ms(300)));
        wanted.again(ms(300));
        wanted.dropped();
        assert!(!wanted.is_due(ms(499)) && wanted.is_due(ms(500)));
    }
}
