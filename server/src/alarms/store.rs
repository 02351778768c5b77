//! The alarms about the store, its namespaces, and what the replica has noticed of this location.

use std::sync::{Arc, Mutex, PoisonError};

use kv_core::{Mode, NamespaceId, Namespaces};

use super::{derive::Alarm, kind::AlarmKind, snapshot::Member};

/// An alarm if the store takes no writes, its own and those of others, with the reason.
pub(super) fn refuses_writes(mode: &Mode) -> Option<Alarm> {
    let (why, what_to_do) = match mode {
        Mode::Writer => return None,
        Mode::Waiting(why) => (why, "It continues by itself once that is over"),
        Mode::ReadOnly(why) | Mode::Closed(why) => {
            (why, "Check the disk, and restart this location")
        }
    };
    let text = format!(
        "the store of this location takes no writes, and receives none of the others: {why}. {what_to_do}"
    );
    Some(Alarm::here(AlarmKind::StoreRefusesWrites, text))
}

/// Two namespaces with one title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TitleTwice {
    /// The title.
    pub title: String,
    /// The namespace that the title names.
    pub older: NamespaceId,
    /// The other one.
    pub newer: NamespaceId,
}

/// The titles that two namespaces have, found again only after a namespace has changed: there may be very many.
#[derive(Debug, Default)]
pub struct TitleCache(Mutex<Option<(Arc<Namespaces>, Vec<TitleTwice>)>>);

impl TitleCache {
    /// Returns the titles that two of these namespaces have.
    pub(super) fn of(&self, namespaces: &Arc<Namespaces>) -> Vec<TitleTwice> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, found)) = &*cache
            && Arc::ptr_eq(known, namespaces)
        {
            return found.clone();
        }
        let conflicts = namespaces.conflicts();
        let found: Vec<_> = (conflicts.iter())
            .map(|conflict| TitleTwice {
                title: conflict.older.title.to_string(),
                older: conflict.older.id,
                newer: conflict.newer.id,
            })
            .collect();
        *cache = Some((Arc::clone(namespaces), found.clone()));
        found
    }
}

/// An alarm for each namespace whose title another one has, with the command that repairs it.
pub(super) fn titles(titles: &[TitleTwice]) -> Vec<Alarm> {
    let alarm = |TitleTwice { title, older, newer }: &TitleTwice| {
        let text = format!(
            "two namespaces have the title {title:?}: {older} (which the title names) and {newer}. Rename one, or \
             move the entries of the second into the first: waypost namespace merge {newer} {older}"
        );
        Alarm::here(AlarmKind::TitleConflict, text)
    };
    titles.iter().map(alarm).collect()
}

/// The alarms about what the replica has noticed of this location.
pub(super) fn incidents(member: &Member) -> Vec<Alarm> {
    let (incidents, folder) = (&member.incidents, member.salvage.display());
    let mut alarms = Vec::new();
    if incidents.copy_runs && !member.origins.is_superseded {
        alarms.push(Alarm::here(
            AlarmKind::AnotherProcess,
            "another process runs as this location, on a copy of its data directory: stop one of the two; the one that \
             started later takes writes",
        ));
    }
    if incidents.salvaged > 0 {
        let text = format!(
            "writes arrived after deletions that had to count as final, and were not applied: {folder} holds them ({} \
             files, one for each day); put those that are still needed again, and delete the files",
            incidents.salvaged
        );
        alarms.push(Alarm::here(AlarmKind::SalvagedWrites, text));
    }
    if incidents.lost > 0 {
        let text = format!(
            "{} writes that arrived too late could not be saved in {folder}: see the log, and check the disk",
            incidents.lost
        );
        alarms.push(Alarm::here(AlarmKind::SalvageFailed, text));
    }
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alarms::{alarms, testing},
        membership::OriginState,
    };

    #[test]
    fn a_store_that_takes_no_writes_is_an_alarm_with_the_reason() {
        assert_eq!(refuses_writes(&Mode::Writer), None);
        for (mode, does) in [
            (Mode::Waiting("the disk is full".into()), "continues by itself"),
            (Mode::ReadOnly("the disk is full".into()), "restart"),
            (Mode::Closed("the disk is full".into()), "restart"),
        ] {
            let text = refuses_writes(&mode).expect("an alarm").text;
            assert!(text.contains("no writes") && text.contains("the disk is full"), "{text}");
            assert!(text.contains(does), "{text}");
        }
    }

    #[test]
    fn two_namespaces_with_one_title_are_an_alarm_that_names_both_and_the_repair() {
        let directory = tempfile::tempdir().unwrap();
        let store = kv_core::Store::open(directory.path()).unwrap();
        let older = store.create_namespace("a").unwrap().id;
        let newer = store.create_namespace("b").unwrap().id;
        let cache = TitleCache::default();
        assert_eq!(cache.of(&store.namespaces()), []);
        let title = kv_core::Title::new("a").unwrap();
        let titled = kv_core::Namespace::titled(&kv_core::Account::default(), &title);
        // As a write of another location would do it.
        let (key, fields) = (kv_core::Namespace::key(newer), vec![titled]);
        let write = kv_core::Operation::WriteFields { key, fields };
        store.submit(write).unwrap().wait().unwrap();
        let found = cache.of(&store.namespaces());
        assert_eq!(cache.of(&store.namespaces()), found, "it is cached");
        let [alarm] = &titles(&found)[..] else { panic!("one alarm") };
        let repair = format!("waypost namespace merge {newer} {older}");
        let begin = "two namespaces have the title \"a\": ";
        assert!(alarm.text.starts_with(begin) && alarm.text.ends_with(&repair), "{alarm:?}");
    }

    #[test]
    fn each_condition_of_a_location_is_an_alarm_of_its_kind() {
        let kinds = |change: &dyn Fn(&mut Member)| {
            let mut member = testing::member([]);
            change(&mut member);
            let found = alarms(&testing::snapshot(Some(member)));
            found.iter().map(|alarm| alarm.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&|_| {}), []);
        let copy = |member: &mut Member| member.incidents.copy_runs = true;
        assert_eq!(kinds(&copy), [AlarmKind::AnotherProcess]);
        let lost =
            |member: &mut Member| (member.incidents.salvaged, member.incidents.lost) = (1, 2);
        assert_eq!(kinds(&lost), [AlarmKind::SalvagedWrites, AlarmKind::SalvageFailed]);
        let origins = |member: &mut Member| {
            member.origins = OriginState { known: 4096, is_superseded: true, is_rebuilding: true };
        };
        let all = [AlarmKind::AnotherProcess, AlarmKind::Rebuilding, AlarmKind::ManyOrigins];
        assert_eq!(kinds(&origins), all);
    }

    #[test]
    fn a_certificate_that_expires_soon_is_an_alarm() {
        let mut member = testing::member([]);
        member.expiry.location = testing::NOW + 1;
        let found = alarms(&testing::snapshot(Some(member.clone())));
        assert_eq!(found[0].kind, AlarmKind::CertificateExpires);
        member.expiry.ca = testing::NOW + 1;
        let found = alarms(&testing::snapshot(Some(member)));
        assert_eq!((found.len(), found[0].kind), (1, AlarmKind::CaExpires));
    }
}
