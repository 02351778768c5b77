//! The writes of this process that every other member has reported to count.
//!
//! A member that resolves a time has every write up to it, of each member's announced process. But two processes of one
//! member may run, on copies of a directory, and a member that heard the other one does not have the writes of this one.
//! So this process does not go by resolved timestamps alone: no tombstone of its own is collected before every member
//! has reported to count it.

use std::time::Duration;

use kv_core::{Dot, Hlc, OriginId};

use super::{Local, Report};

/// How often the reports are compared with the own writes at most.
pub(super) const APART: Duration = Duration::from_millis(200);

/// A closed timestamp, and the own writes that were made until then, by lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    closed: Hlc,
    writes: [Dot; 2],
}

/// The own writes that every other member counts.
#[derive(Debug, Default)]
pub(super) struct OwnWrites {
    /// The origins of this process; none before its first write.
    pair: Option<[OriginId; 2]>,
    /// All own writes up to this time are counted everywhere.
    counted: Hlc,
    /// The closed timestamp when it was last looked at.
    closed: Hlc,
    /// The oldest mark that is not counted everywhere, and the latest one.
    waiting: Option<[Mark; 2]>,
    /// When the reports are looked at next.
    next: Duration,
}

impl OwnWrites {
    /// Takes in the state of the store, and the reports of all other members; a member that has not reported has none.
    pub(super) fn follow<'a>(
        &mut self,
        local: &Local,
        reports: impl Fn() -> Box<dyn Iterator<Item = Option<&'a Report>> + 'a>,
    ) {
        let pair = local.origins();
        if pair != self.pair {
            // What remains of the former pair is a matter of ended origins. The new one's writes are later.
            (self.pair, self.waiting) = (pair, None);
            self.counted = self.closed;
        }
        self.closed = local.closed_timestamp();
        let Some(pair) = pair else {
            self.counted = self.closed;
            return;
        };
        let write = |origin| Dot { origin, seq: local.durable().get(origin) };
        let latest = Mark { closed: self.closed, writes: pair.map(write) };
        let oldest = self.waiting.map_or(latest, |[oldest, _]| oldest);
        self.waiting = Some([oldest, latest]);
        if local.mono() < self.next {
            return;
        }
        self.next = local.mono() + APART;
        while let Some([oldest, latest]) = self.waiting {
            let mut all = reports();
            let counts = |report: Option<&Report>, dot| report.is_some_and(|it| it.counts(dot));
            if !all.all(|report| oldest.writes.iter().all(|dot| counts(report, *dot))) {
                break;
            }
            self.counted = self.counted.max(oldest.closed);
            self.waiting = (oldest != latest).then_some([latest, latest]);
        }
    }

    /// All own writes up to this time are counted by every other member.
    pub(super) fn counted(&self) -> Hlc {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, US, origins};

    fn report(seq: u64) -> Report {
        let durable = origins(US).map(|origin| Dot { origin, seq }).into_iter().collect();
        Report::counting(durable)
    }

    fn follow(own: &mut OwnWrites, fixture: &mut Fixture, reports: &[Option<Report>]) -> Hlc {
        fixture.wait(APART);
        own.follow(fixture.local(), || Box::new(reports.iter().map(Option::as_ref)));
        own.counted()
    }

    #[test]
    fn own_writes_are_counted_once_every_member_reports_them() {
        let mut fixture = Fixture::new();
        fixture.store(|store| {
            origins(US).into_iter().for_each(|origin| store.durable.raise(origin, 3));
            store.closed_timestamp = Hlc(40);
        });
        let mut own = OwnWrites::default();
        for (reports, counted) in [
            ([Some(report(3)), None], Hlc::ZERO),
            ([Some(report(3)), Some(report(2))], Hlc::ZERO),
            ([Some(report(3)), Some(report(4))], Hlc(40)),
        ] {
            assert_eq!(follow(&mut own, &mut fixture, &reports), counted);
        }
        fixture.store(|store| {
            store.durable.raise(origins(US)[0], 4);
            store.closed_timestamp = Hlc(50);
        });
        assert_eq!(follow(&mut own, &mut fixture, &[Some(report(3))]), Hlc(40));
        assert_eq!(follow(&mut own, &mut fixture, &[]), Hlc(50), "nobody else is a member");
    }

    #[test]
    fn a_process_without_origins_has_no_writes_to_be_counted() {
        let mut fixture = Fixture::new();
        fixture.store(|store| (store.origins, store.closed_timestamp) = (None, Hlc(40)));
        let mut own = OwnWrites::default();
        assert_eq!(follow(&mut own, &mut fixture, &[None]), Hlc(40));
        fixture
            .store(|store| (store.origins, store.closed_timestamp) = (Some(origins(US)), Hlc(50)));
        assert_eq!(follow(&mut own, &mut fixture, &[None]), Hlc(40), "its writes are later");
    }
}
