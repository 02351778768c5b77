//! What the driver learns of a peer over time: when it was last heard, since when something is missing, and how fast a
//! session goes on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kv_core::VersionVector;

use super::status::{Arrears, Pace};
use crate::SessionProgress;

/// The time over which the rate of a session is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// The least time between two samples of a session, and the shortest over which a rate is measured.
const APART: Duration = Duration::from_millis(900);

/// A peer is heard once a second. One that was not heard for this long may have ended, although its link counts as up.
pub(super) const SILENT: Duration = Duration::from_secs(3);

/// A peer over time, whether a link to it is up or not.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// When the last packet from it is known to have arrived; none if none has arrived in this process.
    pub(super) heard: Option<Duration>,
    /// Whether the log says that nothing is heard on its link.
    pub(super) is_silent: bool,
    /// The reason that it gave for not replicating any more, until a link to it is up again.
    pub(super) halted: Option<String>,
    /// The packets that had arrived on the link when that was last looked at.
    packets: u64,
    /// Writes that are here and not there.
    pub(super) there: Missing,
    /// Writes that are there and not here.
    pub(super) here: Missing,
    /// The session in which rows come from it.
    pub(super) incoming: Rate,
    /// The session in which it receives rows.
    pub(super) outgoing: Rate,
}

impl Track {
    /// A link to it is up.
    pub(super) fn linked(&mut self, now: Duration) {
        self.heard = Some(now);
        (self.halted, self.is_silent) = (None, false);
        self.packets = 0;
    }

    /// This process did not run for a time, and received nothing meanwhile.
    pub(super) fn paused(&mut self, time: Duration) {
        self.heard = self.heard.map(|heard| heard + time);
    }

    /// Records how many packets have arrived on its link. Some may have arrived since `before`, when this was last called.
    pub(super) fn count_packets(&mut self, packets: u64, before: Duration) {
        if packets != self.packets {
            self.packets = packets;
            self.heard = self.heard.max(Some(before));
        }
    }
}

impl Track {
    /// Whether the peer has become silent or is heard again since this was last called, while its link is up.
    pub(super) fn turned(&mut self, now: Duration) -> Option<Turned> {
        let silent = now.saturating_sub(self.heard?);
        let was_silent = std::mem::replace(&mut self.is_silent, silent > SILENT);
        match (was_silent, self.is_silent) {
            (false, true) => Some(Turned::Silent),
            (true, false) => Some(Turned::Heard),
            _ => None,
        }
    }
}

/// A change of a peer with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// Nothing has been heard of it for [`SILENT`].
    Silent,
    /// It is heard again.
    Heard,
}

/// Since when one end lacks writes of the other.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// A time, and what the other end had then that this one does not have yet; none if nothing is missing.
    mark: Option<(Duration, Arc<VersionVector>)>,
}

impl Missing {
    /// Takes in how many writes are missing, what there is, and what the end has that lacks some. Under steady writes some
    /// are always missing: so the time is that of the oldest one that is missing, to about the time between two calls.
    pub(super) fn follow(
        &mut self,
        now: Duration,
        writes: u64,
        (all, has): (impl FnOnce() -> Arc<VersionVector>, &VersionVector),
    ) -> Arrears {
        if writes == 0 {
            self.mark = None;
            return Arrears::default();
        }
        // Once everything has arrived that was missing at that time, what is missing now came later.
        let mark = self.mark.take().filter(|(_, all)| !has.covers_all(all));
        let (since, all) = mark.unwrap_or_else(|| (now, all()));
        self.mark = Some((since, all));
        Arrears { writes, lasting: now.saturating_sub(since) }
    }
}

/// The rate of a session.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// How many writes it had passed, at the times of the last seconds.
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Records the progress of the session; none without one.
    pub(super) fn follow(
        &mut self,
        now: Duration,
        session: Option<SessionProgress>,
    ) -> Option<Pace> {
        let Some(SessionProgress { walked, of }) = session else {
            self.samples.clear();
            return None;
        };
        if self.samples.back().is_some_and(|(_, before)| walked < *before) {
            // Another round, or another session.
            self.samples.clear();
        }
        if self.samples.back().is_none_or(|(at, _)| now >= *at + APART) {
            self.samples.push_back((now, walked));
        }
        while self.samples.len() > 2
            && self.samples.front().is_some_and(|(at, _)| *at + WINDOW < now)
        {
            self.samples.pop_front();
        }
        let (since, first) = *self.samples.front()?;
        let took = now.saturating_sub(since);
        let per_second = (walked - first) as f64 / took.as_secs_f64();
        let per_second = (took >= APART).then_some(per_second);
        let left = of.saturating_sub(walked) as f64;
        let rest = per_second.filter(|rate| *rate > 0.0).map(|rate| left / rate);
        // A rate of nearly nothing would take longer than a duration holds.
        let rest = rest.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Some(Pace { per_second, rest })
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Dot, OriginId};

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn vector(seq: u64) -> Arc<VersionVector> {
        let dot = Dot { origin: OriginId([1; 16]), seq };
        Arc::new([dot].into_iter().collect())
    }

    #[test]
    fn a_peer_turns_silent_and_is_heard_again_once_each() {
        let mut track = Track::default();
        assert_eq!(track.turned(at(100)), None, "it was never heard");
        track.linked(at(100));
        let turns: Vec<_> = (101..106).map(|second| track.turned(at(second))).collect();
        assert_eq!(turns, [None, None, None, Some(Turned::Silent), None]);
        track.count_packets(1, at(106));
        assert_eq!(track.turned(at(107)), Some(Turned::Heard));
        assert_eq!(track.turned(at(108)), None);
    }

    #[test]
    fn what_is_missing_is_as_old_as_the_oldest_write_that_is_missing() {
        let mut missing = Missing::default();
        let mut lasting = |now, all, has| {
            let found = missing.follow(at(now), all - has, (|| vector(all), &vector(has)));
            assert_eq!(found.writes, all - has);
            found.lasting
        };
        assert_eq!(lasting(1, 5, 5), at(0));
        assert_eq!(lasting(2, 7, 5), at(0));
        assert_eq!(lasting(4, 9, 6), at(2), "number 7 is missing since the second 2");
        assert_eq!(lasting(5, 12, 7), at(0), "numbers up to 7 have arrived");
        assert_eq!(lasting(6, 12, 11), at(1), "number 12 is missing since the second 5");
        assert_eq!(lasting(9, 12, 12), at(0));
        assert_eq!(lasting(10, 13, 12), at(0));
    }

    #[test]
    fn a_peer_is_heard_when_packets_of_it_arrive() {
        let mut track = Track::default();
        track.count_packets(0, at(1));
        assert_eq!(track.heard, None);
        track.linked(at(2));
        track.count_packets(4, at(3));
        assert_eq!(track.heard, Some(at(3)), "some time after the second 3");
        track.count_packets(4, at(4));
        assert_eq!(track.heard, Some(at(3)), "none since");
        track.paused(at(60));
        assert_eq!(track.heard, Some(at(63)), "this process could hear nothing meanwhile");
    }

    #[test]
    fn the_rate_of_a_session_is_that_of_the_last_seconds() {
        let mut rate = Rate::default();
        let mut follow = |now, walked| {
            rate.follow(at(now), Some(SessionProgress { walked, of: 1000 })).expect("a session")
        };
        assert_eq!(follow(1, 0), Pace { per_second: None, rest: None }, "not known yet");
        assert_eq!(follow(2, 100), Pace { per_second: Some(100.0), rest: Some(at(9)) });
        assert_eq!(follow(3, 100).per_second, Some(50.0));
        assert_eq!(follow(4, 10), Pace { per_second: None, rest: None }, "another round");
        assert_eq!(follow(9, 10), Pace { per_second: Some(0.0), rest: None }, "it stands still");
        assert_eq!(rate.follow(at(10), None), None);
    }
}
