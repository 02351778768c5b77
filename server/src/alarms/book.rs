//! Since when alarms last: the log says when one rises and when it ends.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kv_core::MemberId;

use super::{
    alarm::Alarm, configuration::ConfigurationFault, directory::DataDirectory, kind::AlarmKind,
    times::duration, titles::TitleCache,
};

/// An alarm that lasts this long is logged again, in seconds.
const REMIND_SECONDS: u64 = 24 * 60 * 60;

/// What distinguishes an alarm from others: its kind, the location that it is about, and whether that has reported it. Two
/// namespaces with one title are one alarm, whichever they are.
type Name = (AlarmKind, Option<MemberId>, bool);

/// The alarms that last, shared by all that derive some.
#[derive(Debug, Default)]
pub struct AlarmBook {
    /// The alarms by name.
    lasting: Mutex<BTreeMap<Name, Entry>>,
    /// The titles that two namespaces have.
    titles: TitleCache,
    /// Why the changed configuration was not taken.
    configuration: ConfigurationFault,
    /// What became of the data directory.
    directory: DataDirectory,
}

/// An alarm that lasts.
#[derive(Clone, Debug)]
struct Entry {
    /// Since when, in Unix seconds.
    since: u64,
    /// When it was logged last.
    logged: u64,
    /// The location that it is about, for people.
    about: Option<String>,
}

/// An alarm, with the time since which it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The alarm.
    pub alarm: Alarm,
    /// Since when it lasts, in Unix seconds.
    pub since: u64,
}

impl AlarmBook {
    /// A book without alarms, for a store in this directory.
    #[must_use]
    pub fn of(directory: DataDirectory) -> AlarmBook {
        AlarmBook { directory, ..AlarmBook::default() }
    }

    /// Takes in the alarms of a moment, in Unix seconds, and logs those that have risen and those that have ended.
    /// `called` names locations. Returns them with the times since which they last.
    pub fn observe(
        &self,
        now: u64,
        alarms: Vec<Alarm>,
        called: impl Fn(MemberId) -> String,
    ) -> Vec<Raised> {
        let mut book = self.lock();
        let mut before = std::mem::take(&mut *book);
        let mut raised = Vec::with_capacity(alarms.len());
        for alarm in alarms {
            let name = (alarm.kind, alarm.about, alarm.is_reported);
            let known = before.remove(&name).or_else(|| book.get(&name).cloned());
            let about = alarm.about.map(&called);
            let entry = match known {
                Some(entry) if now < entry.logged + REMIND_SECONDS => entry,
                Some(entry) => {
                    log_lasting(&alarm, now.saturating_sub(entry.since));
                    Entry { logged: now, ..entry }
                }
                None => {
                    tracing::warn!("alarm {}: {}", alarm.kind, alarm.text);
                    Entry { since: alarm.since.unwrap_or(now), logged: now, about }
                }
            };
            let since = alarm.since.unwrap_or(entry.since);
            book.insert(name, Entry { since, ..entry });
            raised.push(Raised { alarm, since });
        }
        for ((kind, _, is_reported), entry) in before {
            log_end(kind, &entry, (is_reported, now));
        }
        raised
    }

    /// The cache of titles that two namespaces have, for snapshots.
    #[must_use]
    pub fn titles(&self) -> &TitleCache {
        &self.titles
    }

    /// Why the changed configuration was not taken, for snapshots and for reloads.
    #[must_use]
    pub fn configuration(&self) -> &ConfigurationFault {
        &self.configuration
    }

    /// What became of the data directory, for snapshots and to look again.
    #[must_use]
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// Locks the alarms.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Entry>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs an alarm again that lasts for a day.
fn log_lasting(alarm: &Alarm, seconds: u64) {
    let lasts = duration(seconds.saturating_mul(1000));
    tracing::warn!("alarm {}, for {lasts} now: {}", alarm.kind, alarm.text);
}

/// Logs the end of an alarm.
fn log_end(kind: AlarmKind, entry: &Entry, (is_reported, now): (bool, u64)) {
    let lasted = duration(now.saturating_sub(entry.since).saturating_mul(1000));
    let about = match (&entry.about, is_reported) {
        (None, _) => String::new(),
        (Some(name), false) => format!(" about {name}"),
        // The report is gone with the link, too.
        (Some(name), true) => {
            tracing::info!("alarm {kind}: {name} does not report it any more, after {lasted}");
            return;
        }
    };
    tracing::info!("alarm {kind}{about} has ended after {lasted}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::testing::{AMS, NOW, PAR};

    fn full() -> Alarm {
        Alarm::here(AlarmKind::StoreRefusesWrites, "the disk is full")
    }

    fn times(book: &AlarmBook, now: u64, alarms: Vec<Alarm>) -> Vec<u64> {
        let raised = book.observe(now, alarms, |id| id.to_string());
        raised.iter().map(|raised| raised.since).collect()
    }

    #[test]
    fn an_alarm_lasts_from_when_it_was_first_derived_until_it_is_not_derived_any_more() {
        let book = AlarmBook::default();
        assert_eq!(times(&book, NOW, vec![full()]), [NOW]);
        assert_eq!(times(&book, NOW + 5, vec![full()]), [NOW]);
        assert_eq!(times(&book, NOW + 6, vec![]), [0; 0]);
        assert_eq!(times(&book, NOW + 7, vec![full()]), [NOW + 7], "it rises again");
    }

    #[test]
    fn a_known_beginning_counts_and_alarms_about_several_locations_are_several() {
        let book = AlarmBook::default();
        let about = |id, since| Alarm::about(AlarmKind::Unreachable, id, "no answer").since(since);
        let alarms = || vec![about(AMS, NOW - 60), about(PAR, NOW - 90)];
        assert_eq!(times(&book, NOW, alarms()), [NOW - 60, NOW - 90]);
        assert_eq!(book.lock().len(), 2);
        assert_eq!(times(&book, NOW, vec![full(), full()]), [NOW, NOW]);
        assert_eq!(book.lock().len(), 1);
    }
}
