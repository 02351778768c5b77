//! Notices writes that are missing and do not arrive.
//!
//! The progress of an origin's writer, or of any other peer, shows which writes exist. Writes that do not
//! arrive by themselves are requested: first from its writer's backlog, then from any peer that has it, in a catch-up
//! session.
//!
//! With many locations there are many origins at many peers. So it checks only those of which a peer has reported more
//! than was here at that time, and those of which less is here than before.

use std::{collections::BTreeMap, time::Duration};

use kv_core::{Dot, OriginId, limits::MAX_ORIGINS};

use super::{
    live_receiver::LiveReceiver,
    local::Local,
    peers::{Peer, Peers},
};

/// How often the lag is checked while something is missing, and when it has been missing for longer.
const CHECK_SOON: Duration = Duration::from_millis(50);
/// The interval of checks once something has been missing for longer than `CATCH_UP_AFTER`.
const CHECK_LATER: Duration = Duration::from_millis(500);

/// How often the lag is checked at most.
const CHECK_APART: Duration = Duration::from_millis(10);

/// How long the live stream has to bring what a peer has.
const WANT_AFTER: Duration = Duration::from_millis(250);

/// How long the writer's backlog has.
const CATCH_UP_AFTER: Duration = Duration::from_millis(750);

/// An origin with writes that a peer has and this location lacks.
#[derive(Clone, Copy, Debug)]
struct Lag {
    /// The last sequence number that had arrived when it last moved.
    have: u64,
    /// The time at which it last moved, or at which the lag was first seen.
    since: Duration,
    /// The greatest sequence number that a peer has reported.
    most: u64,
}

/// The lag of an origin that was not checked yet.
const NEW: Lag = Lag { have: u64::MAX, since: Duration::ZERO, most: 0 };

/// An origin with missing writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The origin of the missing writes.
    pub(super) origin: OriginId,
    /// Its writer must be requested to resend.
    pub(super) is_late: bool,
    /// A session must bring it.
    pub(super) is_very_late: bool,
}

/// The origins that this location lacks writes of.
#[derive(Debug, Default)]
pub(super) struct LagWatch {
    /// The origins that lag, with their last movement.
    origins: BTreeMap<OriginId, Lag>,
    /// The origins that may lag since the last check, and the greatest sequence number that a peer has reported; none if
    /// that must be looked up.
    noted: BTreeMap<OriginId, Option<u64>>,
    /// All origins may lag since the last check.
    is_any: bool,
    /// The next check is not before this time.
    next: Duration,
    /// Something happened since the last check.
    is_due: bool,
}

impl LagWatch {
    /// A peer has reported that it has this write, which has not arrived here. A peer may name origins without end while
    /// nothing is checked: beyond as many as there can be, all are looked at.
    pub(super) fn note(&mut self, dot: Dot) {
        if self.is_any {
            return;
        }
        if self.noted.len() >= MAX_ORIGINS {
            self.noted.clear();
            return self.note_all();
        }
        let most = self.noted.entry(dot.origin).or_insert(Some(0));
        *most = most.map(|most| most.max(dot.seq));
    }

    /// Less of an origin is here than before.
    pub(super) fn note_less(&mut self, origin: OriginId) {
        self.noted.insert(origin, None);
    }

    /// Less may be here of any origin than before.
    pub(super) fn note_all(&mut self) {
        self.is_any = true;
    }

    /// Whether the lag is checked now. If not, it is checked in a moment.
    pub(super) fn begin(&mut self, now: Duration) -> bool {
        self.is_due = now < self.next;
        if !self.is_due {
            self.next = now + CHECK_APART;
        }
        !self.is_due
    }

    /// Checks what is missing. Returns the origins with missing writes, in their order.
    pub(super) fn check(
        &mut self,
        local: &Local,
        peers: &Peers,
        live: &LiveReceiver,
    ) -> Vec<Missing> {
        let now = local.mono();
        self.follow_noted(peers);
        let doubted = peers.doubted_counts(local);
        let is_at = |origin: OriginId, have: u64| match doubted.get(&origin) {
            Some((_, made)) => *made > have,
            None => is_at(peers, origin, have),
        };
        self.origins.retain(|origin, lag| {
            let have = live.arrived(local, *origin);
            let is_missing = lag.most > have && !local.is_own(*origin) && is_at(*origin, have);
            if is_missing && lag.have != have {
                *lag = Lag { have, since: now, ..*lag };
            }
            is_missing
        });
        let missing = |(origin, lag): (&OriginId, &Lag)| Missing {
            origin: *origin,
            is_late: now - lag.since >= WANT_AFTER,
            is_very_late: now - lag.since >= CATCH_UP_AFTER || !local.is_joined(),
        };
        self.origins.iter().map(missing).collect()
    }

    /// Takes in the origins that may lag.
    fn follow_noted(&mut self, peers: &Peers) {
        if std::mem::take(&mut self.is_any) {
            let all = ready(peers).flat_map(|peer| peer.progress().durable.iter());
            self.noted.extend(all.map(|dot| (dot.origin, None)));
        }
        for (origin, most) in std::mem::take(&mut self.noted) {
            let of_peer = |peer: &Peer| peer.progress().durable.get(origin);
            let most = most.or_else(|| ready(peers).map(of_peer).max()).unwrap_or(0);
            let lag = self.origins.entry(origin).or_insert(NEW);
            lag.most = lag.most.max(most);
        }
    }

    /// For how long nothing of an origin has arrived although a peer has more of it; none if nothing is
    /// missing.
    pub(super) fn late(&self, now: Duration, origin: OriginId) -> Option<Duration> {
        self.origins.get(&origin).map(|lag| now.saturating_sub(lag.since))
    }

    /// When the next check is due; none if nothing is missing and nothing has happened.
    pub(super) fn timeout(&self, now: Duration) -> Option<Duration> {
        if self.is_due {
            return Some(self.next);
        }
        let youngest = self.origins.values().map(|lag| lag.since).max()?;
        let is_young = now <= youngest + 2 * CATCH_UP_AFTER;
        Some(now + if is_young { CHECK_SOON } else { CHECK_LATER })
    }
}

/// The peers that rows can come from.
fn ready(peers: &Peers) -> impl Iterator<Item = &Peer> {
    peers.iter().map(|(_, peer)| peer).filter(|peer| peer.is_ready())
}

/// Whether a peer has more of an origin than this.
fn is_at(peers: &Peers, origin: OriginId, have: u64) -> bool {
    ready(peers).any(|peer| peer.progress().durable.get(origin) > have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, dot, origins, vector};

    #[test]
    fn what_does_not_arrive_is_late_and_then_very_late_until_it_moves() {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        fixture.progress(PEER, |progress| progress.durable = vector(3));
        let (mut lag, live) = (LagWatch::default(), LiveReceiver::default());
        // Milliseconds, the visible count, and the origins that are late and very late by then.
        let steps = [
            (0, 0, Some((false, false))),
            (250, 0, Some((true, false))),
            (500, 0, Some((true, true))),
            (0, 2, Some((false, false))),
            (250, 2, Some((true, false))),
            (0, 3, None),
        ];
        for (wait, visible, expected) in steps {
            fixture.wait(Duration::from_millis(wait));
            fixture.store(|store| store.visible.merge(&vector(visible)));
            lag.note(dot(3));
            let missing = lag.check(fixture.local(), fixture.peers(), &live);
            let found = missing.first().map(|missing| (missing.is_late, missing.is_very_late));
            assert_eq!(found, expected, "{wait} {visible}");
        }
        assert_eq!(lag.late(fixture.local().mono(), origins(PEER)[0]), None);
    }

    #[test]
    fn a_peer_that_names_origins_without_end_is_remembered_in_bounds() {
        let mut lag = LagWatch::default();
        for number in 0..=MAX_ORIGINS as u128 {
            lag.note(Dot { origin: OriginId(number.to_be_bytes()), seq: 1 });
        }
        assert!(lag.is_any && lag.noted.is_empty());
    }

    #[test]
    fn all_origins_are_looked_at_again_if_less_may_be_here_than_before() {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        fixture.progress(PEER, |progress| progress.durable = vector(3));
        let (mut lag, live) = (LagWatch::default(), LiveReceiver::default());
        assert_eq!(lag.check(fixture.local(), fixture.peers(), &live), [], "it is not noted");
        for note in
            [|lag: &mut LagWatch| lag.note_all(), |lag: &mut LagWatch| lag.note_less(dot(1).origin)]
        {
            let mut lag = LagWatch::default();
            note(&mut lag);
            for _each_check in 0..2 {
                assert_eq!(lag.check(fixture.local(), fixture.peers(), &live).len(), 1);
            }
        }
    }

    #[test]
    fn the_lag_is_checked_at_most_every_ten_milliseconds() {
        let mut lag = LagWatch::default();
        assert!(lag.begin(Duration::ZERO) && !lag.begin(Duration::from_millis(9)));
        assert_eq!(lag.timeout(Duration::from_millis(9)), Some(CHECK_APART));
        assert!(lag.begin(Duration::from_millis(10)));
    }
}
