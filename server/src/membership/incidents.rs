//! What the replica reports that an operator must act on: a copy of this location that runs, and writes that a
//! rebuild removed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use data_encoding::{BASE64, HEXLOWER};
use kv_replicate::{Content, Notice, Row};
use serde_json::json;

use crate::{
    cluster::state::dates::day,
    private_files::{self, PrivateFileError},
};

/// The folder in the data directory for writes that a rebuild removed.
const FOLDER: &str = "salvage";

/// For how long a copy that runs stays an alarm after it last dialed a location, in seconds. It redials more often.
const COPY_SECONDS: u64 = 60;

/// What the replica has reported since the start, and the salvaged writes of all starts.
#[derive(Debug)]
pub struct Incidents {
    /// When a copy of this location was last seen, in Unix seconds; 0 if never.
    copy_seen: AtomicU64,
    /// How many writes could not be saved when that was last tried.
    unsaved: AtomicUsize,
    /// The folder for writes that a rebuild removed.
    folder: PathBuf,
}

impl Incidents {
    /// Creates that of a replica that has reported nothing yet.
    #[must_use]
    pub fn new(data: &Path) -> Incidents {
        let (copy_seen, unsaved) = (AtomicU64::new(0), AtomicUsize::new(0));
        Incidents { copy_seen, unsaved, folder: data.join(FOLDER) }
    }

    /// Records a notice of the replica at a Unix time, in seconds.
    pub fn observe(&self, notice: &Notice, now: u64) {
        match notice {
            Notice::CopyRuns => self.copy_seen.store(now, Ordering::Relaxed),
            // What could not be saved stays in the store, for good.
            Notice::Rebuilt => self.unsaved.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Appends writes that a rebuild is about to remove to the file of the day, durably.
    ///
    /// # Errors
    /// If the disk refuses. Some of the writes may be in the file then.
    pub fn salvage(&self, rows: &[Row], now: u64) -> Result<(), PrivateFileError> {
        let saved = self.save(rows, now);
        let unsaved = if saved.is_ok() { 0 } else { rows.len() };
        self.unsaved.store(unsaved, Ordering::Relaxed);
        saved
    }

    fn save(&self, rows: &[Row], now: u64) -> Result<(), PrivateFileError> {
        private_files::create_directory(&self.folder)?;
        let path = self.folder.join(format!("{}.ndjson", day(now)));
        let lines: String = rows.iter().map(|row| format!("{}\n", line(row))).collect();
        private_files::append_lines(&path, &lines)
    }

    /// Returns the files of salvaged writes.
    fn files(&self) -> usize {
        fs::read_dir(&self.folder).map_or(0, Iterator::count)
    }

    /// Returns the alarms at a Unix time in seconds, each a sentence with the action to take.
    #[must_use]
    pub fn alarms(&self, now: u64) -> Vec<String> {
        let mut alarms = Vec::new();
        let seen = self.copy_seen.load(Ordering::Relaxed);
        if seen > 0 && now.saturating_sub(seen) < COPY_SECONDS {
            alarms.push(
                "another process runs as this location, on a copy of its data directory: stop one of the two; the one \
                 that started later takes writes"
                    .into(),
            );
        }
        let (files, folder) = (self.files(), self.folder.display());
        if files > 0 {
            alarms.push(format!(
                "a rebuild removed writes that may be older than deletions which the others no longer keep: {folder} holds them \
                 ({files} files, one for each day); put those that are still needed again, and delete the files"
            ));
        }
        let unsaved = self.unsaved.load(Ordering::Relaxed);
        if unsaved > 0 {
            alarms.push(format!(
                "{unsaved} writes that a rebuild would remove can't be saved in {folder}: they stay, and this store serves no other \
                 location until they can be saved; make room on the disk, or see the log for what else is wrong"
            ));
        }
        alarms
    }
}

/// A write as a line of JSON.
fn line(row: &Row) -> serde_json::Value {
    let key = match str::from_utf8(&row.key) {
        Ok(text) => json!({ "text": text }),
        Err(_not_text) => json!({ "base64": BASE64.encode(&row.key) }),
    };
    let change = match &row.content {
        Content::Value(value) => json!({ "value": BASE64.encode(value) }),
        Content::Large { len, digest } => {
            json!({ "length": len, "blake3": HEXLOWER.encode(digest) })
        }
        Content::Deleted => json!({ "deleted": true }),
        Content::Expired => json!({ "expired": true }),
        // Rows of the system namespace are joined, whatever their time.
        Content::Joined(_) => json!({ "joined": true }),
    };
    json!({
        "namespace": row.namespace.to_string(),
        "key": key,
        "change": change,
        "metadata": row.metadata.as_deref(),
        "expires_at": row.expires_at,
        "version": row.version().to_string(),
        "written_ms": row.hlc.millis(),
    })
}

#[cfg(test)]
mod tests {
    use kv_core::{Dot, Hlc, Key, NamespaceId, OriginId};
    use tempfile::TempDir;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn row() -> Row {
        Row {
            dot: Dot { origin: OriginId([1; 16]), seq: 2 },
            hlc: Hlc::at_millis(1_700_000_000_000),
            prev: None,
            namespace: NamespaceId([3; 16]),
            key: Key::new("page").expect("a key"),
            metadata: None,
            expires_at: Some(9),
            content: Content::Value("text".into()),
        }
    }

    #[test]
    fn a_write_that_arrived_too_late_is_a_line_of_the_days_file_and_an_alarm_until_that_is_deleted()
    {
        let data = TempDir::new().expect("a directory");
        let incidents = Incidents::new(data.path());
        assert_eq!(incidents.alarms(NOW), Vec::<String>::new());
        for _ in 0..2 {
            incidents.salvage(&[row()], NOW).expect("the file takes a write");
        }
        let path = data.path().join("salvage/2027-01-15.ndjson");
        let text = fs::read_to_string(&path).expect("the file");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["key"]["text"], "page");
        assert_eq!(lines[0]["change"]["value"], "dGV4dA==");
        assert_eq!(lines[0]["namespace"], "03".repeat(16));
        let reopened = Incidents::new(data.path()).alarms(NOW);
        assert!(reopened[0].contains("salvage holds them (1 files"), "{reopened:?}");
        fs::remove_file(path).expect("it is removed");
        assert_eq!(incidents.alarms(NOW), Vec::<String>::new());
    }

    #[test]
    fn a_copy_of_this_location_is_an_alarm_until_it_is_not_seen_any_more() {
        let data = TempDir::new().expect("a directory");
        let incidents = Incidents::new(data.path());
        incidents.observe(&Notice::CopyRuns, NOW);
        let alarms = incidents.alarms(NOW + COPY_SECONDS - 1);
        assert!(alarms[0].contains("another process") && alarms[0].contains("stop"), "{alarms:?}");
        assert_eq!(incidents.alarms(NOW + COPY_SECONDS), Vec::<String>::new());
    }

    #[test]
    fn a_write_that_cannot_be_saved_is_an_error_and_an_alarm_until_it_can() {
        let data = TempDir::new().expect("a directory");
        fs::write(data.path().join(FOLDER), "a file in the place of the folder").expect("a file");
        let incidents = Incidents::new(data.path());
        incidents.salvage(&[row()], NOW).expect_err("there is no folder");
        assert!(incidents.alarms(NOW)[0].starts_with("1 writes"), "{:?}", incidents.alarms(NOW));
        incidents.observe(&Notice::Rebuilt, NOW);
        assert_eq!(incidents.alarms(NOW), Vec::<String>::new(), "it stays in the store");
        incidents.salvage(&[row()], NOW).expect_err("there is no folder");
        fs::remove_file(data.path().join(FOLDER)).expect("it is removed");
        incidents.salvage(&[row()], NOW).expect("the file takes a write");
        let alarms = incidents.alarms(NOW);
        assert!(alarms.len() == 1 && alarms[0].contains("salvage holds them"), "{alarms:?}");
    }
}
