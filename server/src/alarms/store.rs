//! The alarms about the store, and what the replica has noticed of this location.

use kv_core::{Mode, Room};

use super::{alarm::Alarm, kind::AlarmKind, snapshot::Member};

/// An alarm if the store takes no writes, its own and those of others, or no values, with the reason.
pub(super) fn refuses_writes(mode: &Mode, room: Room) -> Option<Alarm> {
    let (why, what_to_do) = match mode {
        Mode::Writer if room.takes_values => return None,
        Mode::Writer => {
            let text = format!(
                "the disk of this location is full: it takes deletes and refuses values, also those of other locations. \
                 Delete entries or namespaces, or make room on the disk. {} KiB of the disk are left for deletes",
                room.reserve_bytes >> 10
            );
            return Some(Alarm::here(AlarmKind::StoreRefusesWrites, text));
        }
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
            "a rebuild removed writes that may be older than deletions which the others no longer keep: {folder} holds \
             them ({} files, one for each day); put those that are still needed again, and delete the files",
            incidents.salvaged
        );
        alarms.push(Alarm::here(AlarmKind::SalvagedWrites, text));
    }
    if incidents.unsaved > 0 {
        let text = format!(
            "{} writes that a rebuild would remove can't be saved in {folder}: they stay, and this store serves no other \
             location until they can be saved; make room on the disk, or see the log for what else is wrong",
            incidents.unsaved
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
        assert_eq!(refuses_writes(&Mode::Writer, Room::default()), None);
        for (mode, does) in [
            (Mode::Waiting("the disk is full".into()), "continues by itself"),
            (Mode::ReadOnly("the disk is full".into()), "restart"),
            (Mode::Closed("the disk is full".into()), "restart"),
        ] {
            let text = refuses_writes(&mode, Room::default()).expect("an alarm").text;
            assert!(text.contains("no writes") && text.contains("the disk is full"), "{text}");
            assert!(text.contains(does), "{text}");
        }
    }

    #[test]
    fn a_full_disk_that_takes_deletes_is_an_alarm_with_what_is_left() {
        let room = Room { takes_values: false, reserve_bytes: 5 << 20 };
        let text = refuses_writes(&Mode::Writer, room).expect("an alarm").text;
        assert!(text.contains("Delete entries") && text.contains("5120 KiB"), "{text}");
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
            |member: &mut Member| (member.incidents.salvaged, member.incidents.unsaved) = (1, 2);
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
