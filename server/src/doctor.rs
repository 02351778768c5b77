//! The examination of a whole store, stopped or running, and its repair: `waypost doctor`.

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use kv_core::{
    Namespaces, ReadError, Store, WriteError,
    env::{Environment as _, SystemEnvironment},
    view::{EntryName, Examination, Findings, IndexState, Repaired},
};
use kv_replicate::inspect::Place;
use serde::{Deserialize, Serialize};

use crate::alarms::KeyInfo;

/// The most keys of a kind that a report names.
const MAX_NAMED: usize = 100;

/// How far ahead of this machine's clock an entry may be dated, in milliseconds: clocks of locations differ a little.
const AHEAD_MS: u64 = 60_000;

/// How often it is looked whether the check of the index has ended.
const BETWEEN_CHECKS: Duration = Duration::from_millis(100);

/// How long it is waited for that at least. It reads what the examination has read, and writers go first.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the table of the index of writes in reports.
const INDEX: &str = "dots";

/// What became of the index of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexCheck {
    /// It lacks nothing.
    #[default]
    NotNeeded,
    /// It must be checked against the entries; nothing was done, because this was a dry run.
    Due,
    /// It was checked against the entries, and its rows were written again.
    Done,
    /// It was checked; more entries are damaged than can be recorded, any of which its damaged rows may name.
    Undecided,
    /// The check continues in the background, if the server runs.
    Unfinished,
}

/// What an examination has found, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorInfo {
    /// The rows that were read, of all tables.
    pub rows: u64,
    /// The entries and tombstones among them.
    pub entries: u64,
    /// Entries that can't be read: the row or a chunk of the value is damaged or missing.
    pub damaged: KeysInfo,
    /// Rows of other tables that are damaged, by table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged_rows: BTreeMap<String, u64>,
    /// Keys that are recorded as damaged, here or where this location caught up, and that it requests from the others.
    #[serde(default)]
    pub owed: u64,
    /// Entries that the index of writes does not name: a catch-up would leave them out.
    pub unindexed: KeysInfo,
    /// What was done about these, and about damaged rows of the index.
    #[serde(default)]
    pub index_check: IndexCheck,
    /// Rows of the index of writes that name no entry of theirs.
    pub misindexed: u64,
    /// Large values that nothing refers to.
    pub orphans: u64,
    /// How many bytes these have on the disk.
    pub orphaned_bytes: u64,
    /// Entries that are dated more than a minute ahead of this machine's clock.
    pub future: KeysInfo,
    /// Whether nothing is wrong.
    pub is_sound: bool,
    /// Whether it was a dry run.
    pub is_dry_run: bool,
    /// What was repaired.
    #[serde(default)]
    pub repaired: RepairedInfo,
    /// Rows of the index and values that one run could not take in: the next one repairs them.
    #[serde(default)]
    pub left: u64,
}

/// What was repaired; with a dry run, what would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairedInfo {
    /// Rows of the index of writes that were removed. One that an operation has put right meanwhile is none of them.
    pub rows: u64,
    /// Large values that are freed. One that was already being freed is none of them.
    pub values: u64,
    /// Damaged entries that are recorded now. There is room for 16,384 in all.
    pub recorded: u64,
}

/// Keys with something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysInfo {
    /// How many there are.
    pub count: u64,
    /// The first 100 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<KeyInfo>,
}

/// Why a store was not examined, or not repaired.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The disk can't be read.
    #[error("the store can't be read: {0}. Nothing was changed; check the disk")]
    Read(#[from] ReadError),
    /// The repairs were not made, or not all of them.
    #[error(
        "the store was examined, and not all repairs were made: {0}. Run it again once that is over"
    )]
    Write(#[from] WriteError),
}

/// Examines a store, and repairs what can be repaired unless it is a dry run. `progress` is called from time to time
/// with how many rows were read. Blocks.
///
/// # Errors
/// See [`DoctorError`].
pub fn examine(
    store: &Store,
    is_dry_run: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<DoctorInfo, DoctorError> {
    let environment = SystemEnvironment::new();
    let begun = environment.monotonic();
    let latest_ms = environment.now_ms().saturating_add(AHEAD_MS);
    let found = store.examine(latest_ms, progress)?;
    let took = environment.monotonic().saturating_sub(begun);
    let repaired = if is_dry_run { due(&found) } else { store.repair(&found)?.into() };
    let index_check = match found.needs_index_check() {
        false => IndexCheck::NotNeeded,
        true if is_dry_run => IndexCheck::Due,
        true => await_check(store, PATIENCE + 4 * took),
    };
    let owed = store.owed().len() as u64;
    let info = info(&found, &store.namespaces(), (is_dry_run, repaired));
    Ok(DoctorInfo { index_check, owed, ..info })
}

/// What a repair of these findings would do.
fn due(found: &Examination) -> RepairedInfo {
    let repairs = found.repairs().len() as u64;
    let rows = found.misindexed.min(repairs);
    let values = repairs - rows;
    RepairedInfo { rows, values, recorded: found.met().len() as u64 }
}

impl From<Repaired> for RepairedInfo {
    fn from(Repaired { rows, bodies, recorded }: Repaired) -> RepairedInfo {
        RepairedInfo { rows, values: bodies, recorded }
    }
}

/// Waits until the check of the index has ended, at most `patience`.
fn await_check(store: &Store, patience: Duration) -> IndexCheck {
    let environment = SystemEnvironment::new();
    let end = environment.monotonic() + patience;
    loop {
        match store.view().index_state() {
            IndexState::Sound => return IndexCheck::Done,
            IndexState::Undecided => return IndexCheck::Undecided,
            IndexState::Checking if environment.monotonic() > end => return IndexCheck::Unfinished,
            IndexState::Checking => sleep(BETWEEN_CHECKS),
        }
    }
}

/// The report of an examination.
fn info(
    found: &Examination,
    namespaces: &Namespaces,
    (is_dry_run, repaired): (bool, RepairedInfo),
) -> DoctorInfo {
    let keys = |found: &Findings<EntryName>| KeysInfo {
        count: found.count,
        first: found.first.iter().take(MAX_NAMED).map(|name| key(name, namespaces)).collect(),
    };
    let dated = found.future.first.iter().take(MAX_NAMED);
    let table = |(table, count): (&kv_core::engine::Table, &u64)| {
        (format!("{table:?}").to_lowercase(), *count)
    };
    DoctorInfo {
        rows: found.rows,
        entries: found.entries,
        damaged: keys(&found.damaged),
        damaged_rows: found.damaged_rows.iter().map(table).collect(),
        unindexed: keys(&found.unindexed),
        owed: 0,
        index_check: IndexCheck::NotNeeded,
        misindexed: found.misindexed,
        orphans: found.orphans.count,
        orphaned_bytes: found.orphaned_bytes,
        future: KeysInfo {
            count: found.future.count,
            first: dated.map(|(name, _)| key(name, namespaces)).collect(),
        },
        is_sound: found.is_sound(),
        is_dry_run,
        repaired,
        left: found.repairs_left(),
    }
}

/// An entry, with the title of its namespace.
fn key((namespace, key): &EntryName, namespaces: &Namespaces) -> KeyInfo {
    KeyInfo::new(&Place { namespace: *namespace, key: key.clone() }, namespaces)
}

impl DoctorInfo {
    /// Whether something is wrong that was not repaired.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        let is_indexed = matches!(self.index_check, IndexCheck::NotNeeded | IndexCheck::Done);
        let is_damaged =
            self.damaged.count > 0 || self.damaged_rows.keys().any(|table| table != INDEX);
        !self.is_sound && (self.is_dry_run || is_damaged || !is_indexed || self.left > 0)
    }

    /// Returns the report for people, with what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines =
            vec![format!("{} rows were read, {} of them entries", self.rows, self.entries)];
        let would = if self.is_dry_run { "would be " } else { "" };
        let RepairedInfo { rows, values, recorded } = self.repaired;
        if self.damaged.count > 0 {
            lines.push(format!(
                "{} damaged entries, {recorded} {would}recorded: a member of a cluster requests them from the others once it runs. \
                 Without others, put or delete the keys. Check the disk",
                self.damaged.count
            ));
            lines.extend(names(&self.damaged));
        }
        if self.owed > 0 {
            let keys = self.owed;
            lines.push(format!(
                "{keys} keys are recorded as damaged, here or where this location caught up"
            ));
        }
        for (table, count) in self.damaged_rows.iter().filter(|(table, _)| *table != INDEX) {
            lines.push(format!(
                "{count} damaged rows of the table {table}: check the disk; if it repeats, let this location join again \
                 with an empty data directory, or restore a copy"
            ));
        }
        lines.extend(self.index_lines());
        if self.misindexed > 0 {
            let count = self.misindexed;
            lines.push(format!(
                "{count} rows of the index of writes that name no entry, {rows} {would}removed"
            ));
        }
        if self.orphans > 0 {
            let (count, bytes) = (self.orphans, self.orphaned_bytes);
            lines.push(format!(
                "{count} large values that nothing refers to, {bytes} bytes, {values} {would}freed"
            ));
        }
        if self.left > 0 {
            let left = self.left;
            lines.push(format!("{left} of these are more than one run repairs: run this again"));
        }
        if self.future.count > 0 {
            lines.push(format!(
                "{} entries are dated more than a minute ahead of this machine's clock, which was wrong somewhere, or is \
                 now. They are whole; an overwrite is dated later than they are",
                self.future.count
            ));
            lines.extend(names(&self.future));
        }
        if self.is_sound {
            lines.push("nothing is wrong".into());
        }
        lines.join("\n") + "\n"
    }
}

impl DoctorInfo {
    /// What the report says of the index of writes that lacks entries or has damaged rows.
    fn index_lines(&self) -> Vec<String> {
        let done = match self.index_check {
            IndexCheck::NotNeeded => return Vec::new(),
            IndexCheck::Due => "it would be checked against the entries, and written again",
            IndexCheck::Done => {
                "it was checked against the entries, and its rows were written again"
            }
            IndexCheck::Undecided => {
                "it was checked against the entries; more are damaged than can be recorded, and until these are repaired \
                 other locations can't catch up from here"
            }
            IndexCheck::Unfinished => {
                "it is being checked against the entries; other locations can't catch up from here until that is done. \
                 If the server is stopped, run this again"
            }
        };
        let damaged = self.damaged_rows.get(INDEX).copied().unwrap_or_default();
        let line = format!(
            "the index of writes has {damaged} damaged rows, and does not name {} entries: {done}",
            self.unindexed.count
        );
        let mut lines = vec![line];
        lines.extend(names(&self.unindexed));
        lines
    }
}

/// The keys of a report. They are quoted: a key may contain control sequences of a terminal.
fn names(keys: &KeysInfo) -> impl Iterator<Item = String> {
    keys.first.iter().map(|KeyInfo { namespace, key }| format!("  {namespace:?} {key:?}"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_store_without_damage_is_sound() {
        let directory = TempDir::new().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let namespace = store.create_namespace("pages").expect("a namespace").id;
        for (key, value) in [("a", vec![1; 10]), ("large", vec![2; 200_000]), ("gone", vec![3; 9])]
        {
            store.put(namespace, key, value).expect("a put");
        }
        store.put(namespace, "large", vec![4; 300_000]).expect("a put");
        store.delete(namespace, "gone").expect("a delete");
        let mut read = 0;
        let found = examine(&store, false, &mut |rows| read = rows).expect("it is examined");
        assert!(found.is_sound && !found.is_wrong(), "{found:?}");
        assert!(found.entries >= 4 && read == found.rows, "{found:?}");
        assert!(found.text().ends_with("nothing is wrong\n"), "{}", found.text());
    }

    #[test]
    fn a_report_lists_what_was_found_and_what_was_or_would_be_done() {
        let key = KeyInfo { namespace: "pages".into(), key: "a\n".into() };
        let mut found = DoctorInfo {
            unindexed: KeysInfo { count: 1, first: vec![key] },
            index_check: IndexCheck::Due,
            misindexed: 2,
            orphans: 1,
            orphaned_bytes: 65_280,
            is_dry_run: true,
            repaired: RepairedInfo { rows: 2, values: 1, recorded: 0 },
            ..DoctorInfo::default()
        };
        let text = found.text();
        for says in [
            "0 damaged rows, and does not name 1 entries: it would be checked",
            r#""pages" "a\n""#,
            "2 rows of the index of writes that name no entry, 2 would be removed",
            "65280 bytes, 1 would be freed",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
        assert!(found.is_wrong(), "a dry run repairs nothing");
        (found.is_dry_run, found.index_check) = (false, IndexCheck::Done);
        assert!(!found.is_wrong() && found.text().contains("name no entry, 2 removed"));
        found.repaired.rows = 1;
        let text = found.text();
        assert!(
            text.contains("2 rows of the index of writes that name no entry, 1 removed"),
            "{text}"
        );
        let more = DoctorInfo { left: 1, ..found.clone() };
        assert!(more.is_wrong() && more.text().contains("run this again"), "{}", more.text());
        for (index_check, is_wrong) in [
            (IndexCheck::Undecided, true),
            (IndexCheck::Unfinished, true),
            (IndexCheck::Done, false),
        ] {
            assert_eq!(DoctorInfo { index_check, ..found.clone() }.is_wrong(), is_wrong);
        }
        (found.damaged.count, found.repaired.recorded) = (3, 2);
        assert!(found.is_wrong() && found.text().contains("3 damaged entries, 2 recorded"));
    }
}
