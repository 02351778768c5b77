//! The kinds of alarm.

use std::fmt;

/// A kind of alarm. Each has a section in docs/alarms.md, and a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// This location, or the one that the alarm names, does not replicate any more.
    Halted,
    /// The store takes no writes: its disk is full or has failed.
    StoreRefusesWrites,
    /// Entries can't be read here.
    DamagedEntries,
    /// More entries are damaged than can be recorded.
    TooMuchDamage,
    /// Rows of the index of writes are damaged: no location can catch up from here until it is checked.
    DamagedIndex,
    /// The store lacks deletions that others no longer keep, and takes them from another location.
    Rebuilding,
    /// Another process runs as this location.
    AnotherProcess,
    /// A rebuild removed writes that may be older than deletions that others no longer keep.
    SalvagedWrites,
    /// A rebuild can't save such writes, so that it does not remove them.
    SalvageFailed,
    /// The cluster's locations have been started very often.
    ManyOrigins,
    /// Two namespaces have one title.
    TitleConflict,
    /// This location's clock is wrong.
    ClockOff,
    /// Two clocks differ, and there is no third one to compare with.
    ClocksDiffer,
    /// This location's clock shows a year that no write can have.
    ClockOutOfRange,
    /// This location's certificate expires soon, has expired, or is not valid yet.
    CertificateExpires,
    /// The certificate of the cluster's CA expires soon, or has expired.
    CaExpires,
    /// No message from a location has arrived for a minute.
    Unreachable,
    /// A link comes and goes.
    UnstableLink,
    /// No message from any other location has arrived for ten minutes.
    Alone,
    /// Catch-up from a location fails again and again.
    CatchUpFails,
    /// A location sends rows that another one refuses.
    RowsRefused,
    /// Two locations hold different writes of one version.
    Conflict,
    /// A location does not take writes that another one sends.
    WritesNotTaken,
    /// It has not been known for a long time whether every location has all writes of processes that have ended.
    Unsettled,
    /// A changed configuration is faulty, and was not taken.
    FaultyConfiguration,
    /// The data directory was removed or replaced while the server runs.
    DirectoryLost,
}

/// Where the condition of an alarm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Audience {
    /// It is an alarm at every location that has a link to the one that has it.
    Everywhere,
    /// It is an alarm at the location that has it and at the one that it is about.
    BothEnds,
    /// Only the status of the location itself shows it as an alarm.
    Here,
}

/// The number between locations of a condition that is not an alarm: the location receives a session from some other one, or
/// joins. What it lacks is counted only when the session ends.
pub const CATCHING_UP: u16 = 0;

impl AlarmKind {
    /// All kinds.
    pub const ALL: [AlarmKind; 26] = [
        AlarmKind::Halted,
        AlarmKind::StoreRefusesWrites,
        AlarmKind::DamagedEntries,
        AlarmKind::TooMuchDamage,
        AlarmKind::DamagedIndex,
        AlarmKind::Rebuilding,
        AlarmKind::AnotherProcess,
        AlarmKind::SalvagedWrites,
        AlarmKind::SalvageFailed,
        AlarmKind::ManyOrigins,
        AlarmKind::TitleConflict,
        AlarmKind::ClockOff,
        AlarmKind::ClocksDiffer,
        AlarmKind::ClockOutOfRange,
        AlarmKind::CertificateExpires,
        AlarmKind::CaExpires,
        AlarmKind::Unreachable,
        AlarmKind::UnstableLink,
        AlarmKind::Alone,
        AlarmKind::CatchUpFails,
        AlarmKind::RowsRefused,
        AlarmKind::Conflict,
        AlarmKind::WritesNotTaken,
        AlarmKind::Unsettled,
        AlarmKind::FaultyConfiguration,
        AlarmKind::DirectoryLost,
    ];

    /// Returns its name: in metrics, in JSON, and as the heading of its section in docs/alarms.md.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AlarmKind::Halted => "halted",
            AlarmKind::StoreRefusesWrites => "store-refuses-writes",
            AlarmKind::DamagedEntries => "damaged-entries",
            AlarmKind::TooMuchDamage => "too-much-damage",
            AlarmKind::DamagedIndex => "damaged-index",
            AlarmKind::Rebuilding => "rebuilding",
            AlarmKind::AnotherProcess => "another-process",
            AlarmKind::SalvagedWrites => "salvaged-writes",
            AlarmKind::SalvageFailed => "salvage-failed",
            AlarmKind::ManyOrigins => "many-origins",
            AlarmKind::TitleConflict => "title-conflict",
            AlarmKind::ClockOff => "clock-off",
            AlarmKind::ClocksDiffer => "clocks-differ",
            AlarmKind::ClockOutOfRange => "clock-out-of-range",
            AlarmKind::CertificateExpires => "certificate-expires",
            AlarmKind::CaExpires => "ca-expires",
            AlarmKind::Unreachable => "unreachable",
            AlarmKind::UnstableLink => "unstable-link",
            AlarmKind::Alone => "alone",
            AlarmKind::CatchUpFails => "catch-up-fails",
            AlarmKind::RowsRefused => "rows-refused",
            AlarmKind::Conflict => "conflict",
            AlarmKind::WritesNotTaken => "writes-not-taken",
            AlarmKind::Unsettled => "unsettled",
            AlarmKind::FaultyConfiguration => "faulty-configuration",
            AlarmKind::DirectoryLost => "directory-lost",
        }
    }

    /// Returns its number between locations. Numbers are never given to another kind.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            AlarmKind::Halted => 1,
            AlarmKind::StoreRefusesWrites => 2,
            AlarmKind::DamagedEntries => 3,
            AlarmKind::Rebuilding => 4,
            AlarmKind::AnotherProcess => 5,
            AlarmKind::SalvagedWrites => 6,
            AlarmKind::SalvageFailed => 7,
            AlarmKind::ManyOrigins => 8,
            AlarmKind::TitleConflict => 9,
            AlarmKind::ClockOff => 10,
            AlarmKind::ClocksDiffer => 11,
            AlarmKind::ClockOutOfRange => 12,
            AlarmKind::CertificateExpires => 13,
            AlarmKind::CaExpires => 14,
            AlarmKind::Unreachable => 15,
            AlarmKind::UnstableLink => 16,
            AlarmKind::Alone => 17,
            AlarmKind::CatchUpFails => 18,
            AlarmKind::RowsRefused => 19,
            AlarmKind::Conflict => 20,
            AlarmKind::WritesNotTaken => 21,
            AlarmKind::DamagedIndex => 22,
            AlarmKind::TooMuchDamage => 23,
            AlarmKind::Unsettled => 24,
            AlarmKind::FaultyConfiguration => 26,
            AlarmKind::DirectoryLost => 27,
        }
    }

    /// Returns the kind that has this number; none if a later version defines it.
    #[must_use]
    pub fn of_code(code: u16) -> Option<AlarmKind> {
        AlarmKind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Returns where it is an alarm.
    pub(super) fn audience(self) -> Audience {
        match self {
            AlarmKind::StoreRefusesWrites
            | AlarmKind::DamagedIndex
            | AlarmKind::Rebuilding
            | AlarmKind::AnotherProcess => Audience::Everywhere,
            AlarmKind::CatchUpFails
            | AlarmKind::RowsRefused
            | AlarmKind::Conflict
            | AlarmKind::WritesNotTaken => Audience::BothEnds,
            _ => Audience::Here,
        }
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::membership::FOUND_EQUAL;

    #[test]
    fn each_kind_has_its_own_number_and_name() {
        let codes: BTreeSet<_> = AlarmKind::ALL.iter().map(|kind| kind.code()).collect();
        let names: BTreeSet<_> = AlarmKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!((codes.len(), names.len()), (AlarmKind::ALL.len(), AlarmKind::ALL.len()));
        for kind in AlarmKind::ALL {
            assert_eq!(AlarmKind::of_code(kind.code()), Some(kind));
        }
        for code in [CATCHING_UP, FOUND_EQUAL, u16::MAX] {
            assert_eq!(AlarmKind::of_code(code), None);
        }
    }

    /// The three parts of each section of docs/alarms.md.
    const PARTS: [&str; 3] = ["**What it means.**", "**What Waypost does.**", "**What to do.**"];

    #[test]
    fn each_kind_has_its_section_in_the_documentation_and_no_other_has_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alarms.md");
        let text = fs::read_to_string(path).expect("docs/alarms.md can be read");
        let sections: Vec<(&str, &str)> =
            text.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect();
        let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            AlarmKind::ALL.map(AlarmKind::name),
            "one section for each kind, in order"
        );
        for (name, section) in sections {
            for part in PARTS {
                assert!(section.contains(part), "the section {name} has no part {part}");
            }
        }
    }
}
