//! The examination of a whole store, stopped or running, and its repair: `waypost doctor`.

use std::collections::BTreeMap;

use kv_core::{
    Namespaces, ReadError, Store, WriteError,
    env::{Environment as _, SystemEnvironment},
    view::{EntryName, Examination, Findings},
};
use kv_replicate::inspect::Place;
use serde::{Deserialize, Serialize};

use crate::alarms::KeyInfo;

/// The most keys of a kind that a report names.
const MAX_NAMED: usize = 100;

/// How far ahead of this machine's clock an entry may be dated, in milliseconds: clocks of locations differ a little.
const AHEAD_MS: u64 = 60_000;

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
    /// Entries that the index of writes does not name: a catch-up would leave them out.
    pub unindexed: KeysInfo,
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
    /// Whether nothing was to be changed.
    pub is_dry_run: bool,
    /// How many rows of the index were repaired and values freed; with a dry run, how many would be.
    pub repairs: u64,
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

/// Examines a store, and repairs what can be repaired unless it is a dry run. `progress` is told now and then how many
/// rows were read. Blocks.
///
/// # Errors
/// See [`DoctorError`].
pub fn examine(
    store: &Store,
    is_dry_run: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<DoctorInfo, DoctorError> {
    let latest_ms = SystemEnvironment::new().now_ms().saturating_add(AHEAD_MS);
    let found = store.examine(latest_ms, progress)?;
    let repairs = if is_dry_run { found.repairs().len() } else { store.repair(&found)? };
    Ok(info(&found, &store.namespaces(), (is_dry_run, repairs)))
}

/// The report of an examination.
fn info(
    found: &Examination,
    namespaces: &Namespaces,
    (is_dry_run, repairs): (bool, usize),
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
        misindexed: found.misindexed,
        orphans: found.orphans.count,
        orphaned_bytes: found.orphaned_bytes,
        future: KeysInfo {
            count: found.future.count,
            first: dated.map(|(name, _)| key(name, namespaces)).collect(),
        },
        is_sound: found.is_sound(),
        is_dry_run,
        repairs: repairs as u64,
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
        let repairable = self.unindexed.count + self.misindexed + self.orphans;
        let is_repaired =
            !self.is_dry_run && self.damaged.count == 0 && self.damaged_rows.is_empty();
        !(self.is_sound || is_repaired && self.repairs >= repairable)
    }

    /// Returns the report for people, with what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines =
            vec![format!("{} rows were read, {} of them entries", self.rows, self.entries)];
        let repaired = if self.is_dry_run { "would be repaired" } else { "repaired" };
        if self.damaged.count > 0 {
            let recorded = if self.is_dry_run { "would be recorded" } else { "recorded" };
            lines.push(format!(
                "{} damaged entries, {recorded}: a member of a cluster requests them from the others once it runs. \
                 Without others, put or delete the keys. Check the disk",
                self.damaged.count
            ));
            lines.extend(names(&self.damaged));
        }
        for (table, count) in &self.damaged_rows {
            lines.push(format!(
                "{count} damaged rows of the table {table}: check the disk; if it repeats, let this location join again \
                 with an empty data directory, or restore a copy"
            ));
        }
        if self.unindexed.count > 0 {
            let count = self.unindexed.count;
            lines.push(format!(
                "{count} entries that the index of writes does not name, {repaired}"
            ));
            lines.extend(names(&self.unindexed));
        }
        if self.misindexed > 0 {
            let count = self.misindexed;
            lines.push(format!(
                "{count} rows of the index of writes that name no entry, {repaired}"
            ));
        }
        if self.orphans > 0 {
            let freed = if self.is_dry_run { "would be freed" } else { "freed" };
            let (count, bytes) = (self.orphans, self.orphaned_bytes);
            lines.push(format!(
                "{count} large values that nothing refers to, {bytes} bytes, {freed}"
            ));
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
        let mut told = 0;
        let found = examine(&store, false, &mut |rows| told = rows).expect("it is examined");
        assert!(found.is_sound && !found.is_wrong(), "{found:?}");
        assert!(found.entries >= 4 && told == found.rows, "{found:?}");
        assert!(found.text().ends_with("nothing is wrong\n"), "{}", found.text());
    }

    #[test]
    fn a_report_says_what_was_found_and_what_was_or_would_be_done() {
        let key = KeyInfo { namespace: "pages".into(), key: "a\n".into() };
        let mut found = DoctorInfo {
            unindexed: KeysInfo { count: 1, first: vec![key] },
            misindexed: 2,
            orphans: 1,
            orphaned_bytes: 65_280,
            is_dry_run: true,
            repairs: 4,
            ..DoctorInfo::default()
        };
        let text = found.text();
        for says in [
            "1 entries that the index",
            r#""pages" "a\n""#,
            "2 rows",
            "65280 bytes, would be freed",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
        assert!(found.is_wrong(), "a dry run repairs nothing");
        found.is_dry_run = false;
        assert!(!found.is_wrong() && found.text().contains("name no entry, repaired"));
        found.damaged.count = 1;
        assert!(found.is_wrong() && found.text().contains("1 damaged entries, recorded"));
    }
}
