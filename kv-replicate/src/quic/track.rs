//! What the driver learns of a peer over time: when its last message arrived, since when something is missing, and how fast a
//! session goes on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kv_core::VersionVector;

use super::{
    pauses::Moment,
    status::{Arrears, Pace},
};
use crate::SessionProgress;

/// The time over which the rate of a session is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// The least time between two samples of a session, and the shortest over which a rate is measured.
const APART: Duration = Duration::from_millis(900);

/// A link on which nothing has arrived for longer than this is silent: each end sends something about once a second.
const SILENT: Duration = Duration::from_secs(3);

/// A peer over time, whether a link to it is up or not.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// When the last packet from it is known to have arrived; none if none has arrived in this process.
    pub(super) last: Option<Moment>,
    /// The reason that it gave for not replicating any more, until a link to it is up again.
    pub(super) halted: Option<String>,
    /// Whether an attempt to reach it has failed since, without such an answer.
    pub(super) is_halt_old: bool,
    /// Whether it has reported that it shuts down, and no link to it has been up since.
    pub(super) has_stopped: bool,
    /// Whether it was logged that nothing arrives on its link.
    is_silent: bool,
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
    pub(super) fn linked(&mut self, now: Moment) {
        (self.last, self.packets) = (Some(now), 0);
        (self.halted, self.has_stopped, self.is_silent) = (None, false, false);
    }

    /// Looks whether something arrives on its link. If that has changed, returns whether it is silent now.
    pub(super) fn changes_silence(&mut self, now: Moment) -> Option<bool> {
        let is_silent = self.last?.listened(now) > SILENT;
        let was_silent = std::mem::replace(&mut self.is_silent, is_silent);
        (is_silent != was_silent).then_some(is_silent)
    }

    /// It has answered that it does not replicate any more. Returns whether that is new.
    pub(super) fn halted(&mut self, now: Moment, reason: String) -> bool {
        (self.last, self.is_halt_old, self.has_stopped) = (Some(now), false, false);
        let is_new = self.halted.as_ref() != Some(&reason);
        self.halted = Some(reason);
        is_new
    }

    /// An attempt to reach it has failed: it may have ended since it reported that it had halted.
    pub(super) fn not_reached(&mut self) {
        self.is_halt_old = true;
    }

    /// So many packets have arrived on its link. Some may have arrived since `before`, when this was last called.
    pub(super) fn count_packets(&mut self, packets: u64, before: Moment) {
        if packets != self.packets {
            self.packets = packets;
            self.last = self.last.max(Some(before));
        }
    }
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

    fn moment(at: u64, ran: u64) -> Moment {
        Moment { at: Duration::from_secs(at), ran: Duration::from_secs(ran) }
    }

    #[test]
    fn the_last_message_of_a_peer_is_as_old_as_its_last_packet() {
        let mut track = Track::default();
        track.count_packets(0, moment(1, 1));
        assert_eq!(track.last, None);
        track.linked(moment(2, 2));
        track.count_packets(4, moment(3, 3));
        assert_eq!(track.last, Some(moment(3, 3)), "some time after the second 3");
        track.count_packets(4, moment(4, 4));
        assert_eq!(track.last, Some(moment(3, 3)), "none since");
    }

    #[test]
    fn a_pause_of_this_process_is_no_silence_of_a_peer_and_makes_no_message_younger() {
        let mut track = Track::default();
        track.linked(moment(2, 2));
        // The process did not run for a minute. What waits then may have been sent before.
        track.count_packets(9, moment(10, 10));
        let (last, now) = (track.last.expect("a message"), moment(71, 11));
        assert_eq!((last.ago(now), last.listened(now)), (at(61), at(1)));
    }

    #[test]
    fn a_link_becomes_silent_once_and_live_once() {
        let mut track = Track::default();
        track.linked(moment(10, 10));
        assert_eq!(track.changes_silence(moment(13, 13)), None);
        assert_eq!(track.changes_silence(moment(60, 13)), None, "this process did not run");
        assert_eq!(track.changes_silence(moment(61, 14)), Some(true));
        assert_eq!(track.changes_silence(moment(62, 15)), None);
        track.count_packets(1, moment(63, 16));
        assert_eq!(track.changes_silence(moment(64, 17)), Some(false));
    }

    #[test]
    fn a_peer_that_has_halted_is_there_until_it_does_not_answer() {
        let mut track = Track::default();
        assert!(track.halted(moment(5, 5), "removed".into()), "it is new");
        assert!(!track.halted(moment(9, 9), "removed".into()));
        assert_eq!((track.last, track.is_halt_old), (Some(moment(9, 9)), false));
        track.not_reached();
        assert_eq!((track.halted.as_deref(), track.is_halt_old), (Some("removed"), true));
        track.linked(moment(20, 20));
        assert_eq!(track.halted, None);
    }

    #[test]
    fn a_peer_that_was_shut_down_is_so_until_it_answers_that_it_has_halted() {
        let mut track = Track { has_stopped: true, ..Track::default() };
        track.not_reached();
        assert!(track.has_stopped);
        track.halted(moment(5, 5), "removed".into());
        assert!(!track.has_stopped);
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
