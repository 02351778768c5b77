//! Ended origins: when they stop holding back resolved timestamps.
//!
//! A process writes under a pair of origins of its own. An origin has *ended* if it is not the pair that its member
//! announces: its process is gone, or its member was removed. Nobody announces closed timestamps for it any more, and
//! some members may hold writes of it that others lack. So it holds the resolved timestamp at what was closed of it
//! while it was announced, until it is *finished*: until every member, those included that can't be reached now, has
//! last reported the same count of it, and no member holds a write of it that its vector does not count. A write that
//! one member holds and another lacks is then impossible: the holder would have reported it. If a member reports
//! another count later, the origin is not finished any more. An origin that a member reports and that this store does not
//! know is not finished either: whether its process still runs is not known before its opening row is here.
//!
//! A process that runs on a copy of a directory may be out of reach while a later process of the same member takes its
//! place, and then bring writes that are older than the stable timestamp. They are applied if no collected tombstone can
//! have deleted them ([`View::is_late`](kv_core::view::View::is_late)). The stable timestamp does not fall, but while an
//! origin is not finished no tombstone is collected: a late one is not at all members yet.
//!
//! Rows of a session that did not end are not counted by any vector. All members must hold the same ones. They stay
//! uncounted, because the disk of a process may come back with the writes between them, or another process of its member
//! may hold these.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Dot, Hlc, OriginId, VersionVector};

use super::{live_receiver::LiveReceiver, local::Local, reported::Progress};
use crate::wire::UNKNOWN;

/// What a member has last reported in this process.
#[derive(Debug)]
pub(super) struct Report {
    /// The writes that it holds durably.
    durable: VersionVector,
    /// The digest of those that it holds and does not count.
    uncounted: u64,
    /// Whether it rebuilds its store.
    is_rebuilding: bool,
    /// Whether all origins that it counts were found to be known here.
    is_known: bool,
}

impl Report {
    /// The report in a progress message.
    pub(super) fn of(progress: &Progress) -> Report {
        Report {
            durable: progress.durable.clone(),
            uncounted: progress.uncounted,
            is_rebuilding: progress.rebuilding,
            is_known: false,
        }
    }

    /// Whether the member counts a write.
    pub(super) fn counts(&self, dot: Dot) -> bool {
        self.durable.covers(dot)
    }

    /// A report of a member that counts these writes.
    #[cfg(test)]
    pub(super) fn counting(durable: VersionVector) -> Report {
        Report { durable, uncounted: 0, is_rebuilding: false, is_known: false }
    }

    /// The writes that the member holds durably.
    pub(super) fn durable(&self) -> &VersionVector {
        &self.durable
    }

    /// Whether another report says the same about ended origins, and names the same origins.
    fn is_same(&self, other: &Report, ended: &BTreeSet<OriginId>) -> bool {
        (self.uncounted, self.is_rebuilding) == (other.uncounted, other.is_rebuilding)
            && self.durable.iter().count() == other.durable.iter().count()
            && self.durable.iter().zip(other.durable.iter()).all(|(one, other)| {
                one.origin == other.origin && (one.seq == other.seq || !ended.contains(&one.origin))
            })
    }

    /// Takes in the next progress of the member, in which these counts have changed. Returns whether it says the same about
    /// ended origins, and names the same origins. With many locations there are many origins, and few change at a time.
    pub(super) fn follow(
        &mut self,
        progress: &Progress,
        changes: &[Dot],
        ended: &BTreeSet<OriginId>,
    ) -> bool {
        let is_same_count = |dot: &Dot| {
            let is_named = dot.seq > 0 && self.durable.get(dot.origin) > 0;
            is_named && !ended.contains(&dot.origin)
        };
        let is_same = (self.uncounted, self.is_rebuilding)
            == (progress.uncounted, progress.rebuilding)
            && changes.iter().all(is_same_count);
        if changes.iter().any(|dot| dot.seq < self.durable.get(dot.origin)) {
            self.durable = progress.durable.clone();
        } else {
            changes.iter().for_each(|dot| self.durable.raise(dot.origin, dot.seq));
        }
        (self.uncounted, self.is_rebuilding) = (progress.uncounted, progress.rebuilding);
        self.is_known &= is_same;
        is_same
    }

    /// Takes over what was found out about the report before, which says the same about ended origins and names the same
    /// origins.
    fn follows(&mut self, before: &Report) {
        self.is_known = before.is_known;
    }

    /// Replaces the report of a member by another one. Returns whether that says the same about ended origins, and names
    /// the same origins.
    pub(super) fn replace(
        place: &mut Option<Report>,
        report: Option<Report>,
        ended: &BTreeSet<OriginId>,
    ) -> bool {
        let before = std::mem::replace(place, report);
        match (&before, place) {
            (None, None) => true,
            (Some(before), Some(report)) if before.is_same(report, ended) => {
                report.follows(before);
                true
            }
            _ => false,
        }
    }

    /// Looks for the origins of which the member holds writes in the store, which does not forget any.
    pub(super) fn look_up(&mut self, local: &Local) {
        self.is_known = self.is_known(local);
    }

    /// Whether the store knows all of these origins.
    fn is_known(&self, local: &Local) -> bool {
        self.is_known || self.origins().all(|origin| local.registry().contains(origin))
    }

    /// The origins of which the member holds writes.
    fn origins(&self) -> impl Iterator<Item = OriginId> {
        self.durable.iter().map(|dot| dot.origin)
    }
}

/// What a location knows about ended origins.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The origins that have ended.
    origins: BTreeSet<OriginId>,
    /// The time up to which everything of an origin is here, as far as its process announced it while it was the
    /// announced one.
    closed: BTreeMap<OriginId, Hlc>,
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
        has_changed
    }

    /// The time up to which everything of the ended origins is here, by the reports of all other members; none if all
    /// are finished. A member that has not reported has none. `uncounted` is this location's digest.
    pub(super) fn assess<'a>(
        &self,
        local: &Local,
        live: &LiveReceiver,
        uncounted: u64,
        reports: impl Iterator<Item = Option<&'a Report>>,
    ) -> Option<Hlc> {
        let reports: Vec<_> = reports.collect();
        if !reports.iter().copied().flatten().all(|report| report.is_known(local)) {
            return Some(Hlc::ZERO);
        }
        if self.origins.is_empty() {
            return None;
        }
        let reports: Option<Vec<_>> = reports.into_iter().collect();
        let reports = reports.filter(|all| !all.iter().any(|report| report.is_rebuilding));
        let Some(reports) = reports.filter(|_| !local.is_rebuilding()) else {
            return Some(self.cap(self.origins.iter()));
        };
        let is_counted_alike = |origin: &&OriginId| {
            let count = local.durable().get(**origin);
            // A write that is on its way to the store, or not durable yet, is counted soon.
            live.arrived(local, **origin) == count
                && reports.iter().all(|report| report.durable.get(**origin) == count)
        };
        let unfinished: Vec<_> =
            self.origins.iter().filter(|origin| !is_counted_alike(origin)).collect();
        let are_alike = reports.iter().all(|report| report.uncounted == uncounted);
        if !are_alike || uncounted == UNKNOWN {
            return Some(self.cap(self.origins.iter()));
        }
        (!unfinished.is_empty()).then(|| self.cap(unfinished.into_iter()))
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
        Report::counting(vector(seq))
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
    ) -> Option<Hlc> {
        let reports = reports.iter().map(Option::as_ref);
        ended.assess(fixture.local(), &LiveReceiver::default(), own, reports)
    }

    const HELD: Option<Hlc> = Some(Hlc(40));

    #[test]
    fn an_origin_is_finished_once_all_members_report_the_same_count() {
        let (fixture, ended) = ended();
        let assess = |reports: &[Option<Report>]| assess(&fixture, &ended, 0, reports);
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
        for (ours, theirs, cap) in [
            (0, 0, None),
            (0, 7, HELD),
            (7, 0, HELD),
            (7, 8, HELD),
            (UNKNOWN, UNKNOWN, HELD),
            (7, 7, None),
        ] {
            assert_eq!(assess(&fixture, &ended, ours, &other(theirs)), cap, "{ours} {theirs}");
        }
    }

    #[test]
    fn an_origin_is_not_finished_while_its_last_write_is_not_durable_here() {
        let (mut fixture, ended) = ended();
        fixture.store(|store| store.visible.raise(dot(4).origin, 4));
        assert_eq!(assess(&fixture, &ended, 0, &[Some(report(3))]), HELD);
    }

    #[test]
    fn an_origin_that_a_member_reports_and_this_store_does_not_know_is_not_finished() {
        let (mut fixture, mut ended) = (Fixture::new(), Ended::default());
        assert_eq!(assess(&fixture, &ended, 0, &[Some(report(3))]), Some(Hlc::ZERO));
        fixture.open(PEER);
        ended.follow(fixture.local(), &origins(PEER).into_iter().collect());
        assert_eq!(assess(&fixture, &ended, 0, &[Some(report(3))]), None);
    }

    #[test]
    fn a_report_that_follows_changes_is_that_of_the_whole_progress() {
        let ids = [[1; 16], [2; 16], [3; 16]].map(OriginId);
        let ended: BTreeSet<_> = [ids[2]].into();
        let counting = |counts: [u64; 3], uncounted| Progress {
            durable: ids
                .into_iter()
                .zip(counts)
                .filter(|(_, seq)| *seq > 0)
                .map(|(origin, seq)| Dot { origin, seq })
                .collect(),
            uncounted,
            ..Progress::default()
        };
        for (before, after, uncounted, is_same) in [
            ([1, 5, 3], [1, 5, 3], 0, true),
            ([1, 5, 3], [2, 9, 3], 0, true),
            ([1, 5, 3], [2, 9, 3], 7, false),
            ([1, 5, 3], [1, 5, 4], 0, false),
            ([1, 5, 3], [1, 4, 3], 0, true),
            ([1, 5, 3], [1, 4, 2], 0, false),
            ([0, 5, 3], [1, 5, 3], 0, false),
            ([1, 5, 3], [0, 5, 3], 0, false),
        ] {
            let (old, new) = (counting(before, 0), counting(after, uncounted));
            let changed = ids.into_iter().zip(before).zip(after);
            let changes: Vec<_> = changed
                .filter(|((_, before), after)| before != after)
                .map(|((origin, _), seq)| Dot { origin, seq })
                .collect();
            let known = || Report { is_known: true, ..Report::of(&old) };
            let (mut delta, mut whole) = (known(), Some(known()));
            assert_eq!(delta.follow(&new, &changes, &ended), is_same, "{before:?} {after:?}");
            assert_eq!(Report::replace(&mut whole, Some(Report::of(&new)), &ended), is_same);
            let whole = whole.expect("a report");
            assert_eq!((&delta.durable, delta.is_known), (&whole.durable, whole.is_known));
            assert_eq!(delta.uncounted, whole.uncounted);
        }
    }

    #[test]
    fn an_origin_that_a_member_announces_has_not_ended() {
        let (fixture, mut ended) = ended();
        let announced = origins(PEER).into_iter().collect();
        assert!(ended.follow(fixture.local(), &announced));
        assert!(ended.origins().is_empty());
        assert_eq!(assess(&fixture, &ended, 0, &[None]), None);
    }

    #[test]
    fn nothing_is_closed_of_an_origin_that_was_never_announced_here() {
        let (fixture, _) = ended();
        let mut ended = Ended::default();
        ended.follow(fixture.local(), &BTreeSet::new());
        assert_eq!(assess(&fixture, &ended, 0, &[None]), Some(Hlc::ZERO));
    }
}
