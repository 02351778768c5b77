//! Ended origins: when they stop holding back resolved timestamps.
//!
//! A process writes under a pair of origins of its own. An origin has *ended* if it is not the pair that its member
//! announces: its process is gone, or its member was removed. Nobody announces closed timestamps for it any more, and
//! some members may hold writes of it that others lack. So it holds the resolved timestamp at what was closed of it
//! while it was announced, until it is *finished*: until every member, those included that can't be reached now, has
//! last reported the same count of it, and no member holds a write of it that its vector does not count. A write that
//! one member holds and another lacks is then impossible: the holder would have reported it. If a member reports
//! another count later, the origin is not finished any more. An origin that a member reports and that this store does not
//! know is not finished either: whether its process still runs can't be told before its opening row is here.
//!
//! A process that runs on a copy of a directory may be out of reach while a later process of the same member takes its
//! place. So an origin is not finished before a grace has passed in this process ([`Config::ended_grace`]): what the
//! cut-off process writes in that time is never older than a dropped tombstone.
//!
//! [`Config::ended_grace`]: crate::Config::ended_grace
//!
//! Rows of a session that did not end are not counted by any vector. All members must hold the same ones. They stay
//! uncounted, because the disk of a process may come back with the writes between them. Only those of a removed member,
//! which nothing is taken of any more, are counted then ([`Assessment::agreed`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kv_core::{Hlc, OriginId, VersionVector};

use super::{live_receiver::LiveReceiver, local::Local};
use crate::wire::{Progress, UNKNOWN};

/// What a member has last reported in this process.
#[derive(Debug)]
pub(super) struct Report {
    /// The writes that it holds durably.
    durable: VersionVector,
    /// The digest of those that it holds and does not count.
    uncounted: u64,
    /// Whether it rebuilds its store.
    is_rebuilding: bool,
}

impl Report {
    /// The report in a progress message.
    pub(super) fn of(progress: &Progress) -> Report {
        Report {
            durable: progress.durable.clone(),
            uncounted: progress.uncounted,
            is_rebuilding: progress.rebuilding,
        }
    }

    /// The writes that the member holds durably.
    pub(super) fn durable(&self) -> &VersionVector {
        &self.durable
    }

    /// Whether another report says the same about ended origins, and names the same origins.
    pub(super) fn is_same(&self, other: &Report, ended: &BTreeSet<OriginId>) -> bool {
        (self.uncounted, self.is_rebuilding) == (other.uncounted, other.is_rebuilding)
            && self.origins().eq(other.origins())
            && ended.iter().all(|origin| self.durable.get(*origin) == other.durable.get(*origin))
    }

    /// The origins of which the member holds writes.
    fn origins(&self) -> impl Iterator<Item = OriginId> {
        self.durable.iter().map(|dot| dot.origin)
    }
}

/// How far the ended origins are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Assessment {
    /// The time up to which everything of the ended origins is here; none if all are finished.
    pub(super) cap: Option<Hlc>,
    /// All members count the same, and hold the same uncounted writes, of which there are some.
    pub(super) agreed: bool,
}

/// What a location knows about ended origins.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The origins that have ended.
    origins: BTreeSet<OriginId>,
    /// The time up to which everything of an origin is here, as far as its process announced it while it was the
    /// announced one.
    closed: BTreeMap<OriginId, Hlc>,
    /// When an origin of a current member was first seen to have ended, on the monotonic clock of this process.
    since: BTreeMap<OriginId, Duration>,
}

impl Ended {
    /// The origins that have ended.
    pub(super) fn origins(&self) -> &BTreeSet<OriginId> {
        &self.origins
    }

    /// Everything of these origins is here up to a time, and their member announces others now.
    pub(super) fn end(&mut self, pair: [OriginId; 2], closed: Hlc) {
        for origin in pair {
            let known = self.closed.entry(origin).or_default();
            *known = closed.max(*known);
        }
    }

    /// Finds the origins that have ended: all that the store knows, except those that members announce. Returns
    /// whether there are others than before.
    pub(super) fn follow(&mut self, local: &Local, announced: &BTreeSet<OriginId>) -> bool {
        let ids = local.registry().iter().map(|info| info.id);
        let is_ended = |origin: &OriginId| !local.is_own(*origin) && !announced.contains(origin);
        let origins: BTreeSet<_> = ids.filter(is_ended).collect();
        let has_changed = origins != self.origins;
        self.origins = origins;
        self.follow_time(local);
        has_changed
    }

    /// Notes since when the origins have ended.
    fn follow_time(&mut self, local: &Local) {
        self.since.retain(|origin, _| self.origins.contains(origin));
        let is_current = |origin: &&OriginId| {
            let info = local.registry().get(**origin);
            info.is_some_and(|info| local.is_member(info.member))
        };
        for origin in self.origins.iter().filter(is_current) {
            self.since.entry(*origin).or_insert(local.mono());
        }
    }

    /// Whether an earlier process of its member may still run and write under an origin, out of everybody's reach.
    fn may_run(&self, local: &Local, origin: OriginId) -> bool {
        let grace = local.config().ended_grace;
        self.since.get(&origin).is_some_and(|since| local.mono() < *since + grace)
    }

    /// When an origin is finished that nothing but the grace holds back; none if there is none.
    pub(super) fn due(&self, local: &Local) -> Option<Duration> {
        let grace = local.config().ended_grace;
        self.since.values().map(|since| *since + grace).filter(|at| *at > local.mono()).min()
    }

    /// Assesses the ended origins by the reports of all other members; a member that has not reported has none.
    /// `uncounted` is this location's digest.
    pub(super) fn assess<'a>(
        &self,
        local: &Local,
        live: &LiveReceiver,
        uncounted: u64,
        reports: impl Iterator<Item = Option<&'a Report>>,
    ) -> Assessment {
        let reports: Vec<_> = reports.collect();
        let mut named = reports.iter().copied().flatten().flat_map(Report::origins);
        if named.any(|origin| !local.registry().contains(origin)) {
            return Assessment { cap: Some(Hlc::ZERO), agreed: false };
        }
        if self.origins.is_empty() {
            return Assessment::default();
        }
        let reports: Option<Vec<_>> = reports.into_iter().collect();
        let reports = reports.filter(|all| !all.iter().any(|report| report.is_rebuilding));
        let Some(reports) = reports.filter(|_| !local.is_rebuilding()) else {
            return Assessment { cap: Some(self.cap(self.origins.iter())), agreed: false };
        };
        let is_counted_alike = |origin: &&OriginId| {
            let count = local.durable().get(**origin);
            // A write that is on its way to the store, or not durable yet, is counted soon.
            !self.may_run(local, **origin)
                && live.arrived(local, **origin) == count
                && reports.iter().all(|report| report.durable.get(**origin) == count)
        };
        let unfinished: Vec<_> =
            self.origins.iter().filter(|origin| !is_counted_alike(origin)).collect();
        let are_alike = reports.iter().all(|report| report.uncounted == uncounted);
        if !are_alike || uncounted == UNKNOWN {
            return Assessment { cap: Some(self.cap(self.origins.iter())), agreed: false };
        }
        let is_finished = unfinished.is_empty();
        let cap = (!is_finished).then(|| self.cap(unfinished.into_iter()));
        Assessment { cap, agreed: is_finished && uncounted != 0 }
    }

    /// The time up to which everything of some origins is here.
    fn cap<'a>(&self, origins: impl Iterator<Item = &'a OriginId>) -> Hlc {
        let closed = origins.map(|origin| self.closed.get(origin).copied().unwrap_or(Hlc::ZERO));
        closed.min().unwrap_or(Hlc::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, dot, origins, vector};

    fn report(seq: u64) -> Report {
        Report { durable: vector(seq), uncounted: 0, is_rebuilding: false }
    }

    /// A location that holds three writes of an origin that has ended, of which it had everything up to 40.
    fn ended() -> (Fixture, Ended) {
        let mut fixture = Fixture::new();
        fixture.open(PEER);
        fixture.store(|store| {
            store.visible.merge(&vector(3));
            store.durable.merge(&vector(3));
        });
        let mut ended = Ended::default();
        ended.end(origins(PEER), Hlc(40));
        assert!(ended.follow(fixture.local(), &BTreeSet::new()));
        (fixture, ended)
    }

    fn assess(
        fixture: &Fixture,
        ended: &Ended,
        own: u64,
        reports: &[Option<Report>],
    ) -> Assessment {
        let reports = reports.iter().map(Option::as_ref);
        ended.assess(fixture.local(), &LiveReceiver::default(), own, reports)
    }

    const HELD: Option<Hlc> = Some(Hlc(40));

    #[test]
    fn an_origin_is_finished_once_all_members_report_the_same_count() {
        let (fixture, ended) = ended();
        let assess = |reports: &[Option<Report>]| assess(&fixture, &ended, 0, reports).cap;
        assert_eq!(assess(&[Some(report(3)), None]), HELD, "one member has not reported");
        assert_eq!(assess(&[Some(report(3)), Some(report(2))]), HELD);
        assert_eq!(assess(&[Some(report(3)), Some(report(4))]), HELD);
        assert_eq!(assess(&[Some(report(3)), Some(report(3))]), None);
        let rebuilds = Report { is_rebuilding: true, ..report(3) };
        assert_eq!(assess(&[Some(report(3)), Some(rebuilds)]), HELD);
    }

    #[test]
    fn an_origin_is_not_finished_while_members_may_hold_different_uncounted_writes() {
        let (fixture, ended) = ended();
        let other = |uncounted| [Some(Report { uncounted, ..report(3) })];
        for (ours, theirs, cap, agreed) in [
            (0, 0, None, false),
            (0, 7, HELD, false),
            (7, 0, HELD, false),
            (7, 8, HELD, false),
            (UNKNOWN, UNKNOWN, HELD, false),
            (7, 7, None, true),
        ] {
            let found = assess(&fixture, &ended, ours, &other(theirs));
            assert_eq!(found, Assessment { cap, agreed }, "{ours} {theirs}");
        }
    }

    #[test]
    fn an_origin_is_not_finished_while_its_last_write_is_not_durable_here() {
        let (mut fixture, ended) = ended();
        fixture.store(|store| store.visible.raise(dot(4).origin, 4));
        assert_eq!(assess(&fixture, &ended, 0, &[Some(report(3))]).cap, HELD);
    }

    #[test]
    fn an_origin_that_a_member_reports_and_this_store_does_not_know_is_not_finished() {
        let (mut fixture, mut ended) = (Fixture::new(), Ended::default());
        assert_eq!(assess(&fixture, &ended, 0, &[Some(report(3))]).cap, Some(Hlc::ZERO));
        fixture.open(PEER);
        ended.follow(fixture.local(), &origins(PEER).into_iter().collect());
        assert_eq!(assess(&fixture, &ended, 0, &[Some(report(3))]).cap, None);
    }

    #[test]
    fn an_origin_that_a_member_announces_has_not_ended() {
        let (fixture, mut ended) = ended();
        let announced = origins(PEER).into_iter().collect();
        assert!(ended.follow(fixture.local(), &announced));
        assert!(ended.origins().is_empty());
        assert_eq!(assess(&fixture, &ended, 0, &[None]).cap, None);
    }

    #[test]
    fn nothing_is_closed_of_an_origin_that_was_never_announced_here() {
        let (fixture, _) = ended();
        let mut ended = Ended::default();
        ended.follow(fixture.local(), &BTreeSet::new());
        assert_eq!(assess(&fixture, &ended, 0, &[None]).cap, Some(Hlc::ZERO));
    }
}
