//! What the replica has reported that an operator must act on: a copy of this location that runs, writes that a rebuild
//! removed, and peers with which something fails.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use data_encoding::{BASE64, HEXLOWER};
use kv_core::MemberId;
use kv_replicate::{Content, Notice, SalvagedRow, ValuePart, quic::Status};
use serde_json::json;

use crate::{
    cluster::state::dates::day,
    private_files::{Directory, PrivateFileError},
};

/// The folder in the data directory for writes that a rebuild removed.
const FOLDER: &str = "salvage";

/// For how long a copy that runs stays an alarm after it last dialed a location, in seconds. It redials more often.
const COPY_SECONDS: u64 = 60;

/// Catch-up from a peer that has failed so often in a row fails again and again.
const FAILING: u64 = 3;

/// For how long it must have failed at least, and for how long a failure counts, in seconds.
const FAILING_SECONDS: u64 = 60;

/// For how long refused rows stay an alarm after the last one, in seconds: a peer sends them again sooner.
const REFUSED_SECONDS: u64 = 600;

/// The number of a condition that is no alarm, between locations: a comparison at the location that reports it has found it
/// and the one that it is about equal, for as long as it lasts. No kind of alarm has this number.
pub const FOUND_EQUAL: u16 = 25;

/// By how much the times of a conflict and of a comparison may be wrong, in seconds: both are rounded.
const ROUNDED_SECONDS: u64 = 2;

/// What the replica has reported since the start, and the salvaged writes of all starts.
#[derive(Debug)]
pub struct Incidents {
    /// When a copy of this location was last seen, in Unix seconds; 0 if never.
    copy_seen: AtomicU64,
    /// How many writes could not be saved when that was last tried.
    unsaved: AtomicUsize,
    /// Held while writes are saved.
    saving: Mutex<()>,
    /// How many files of salvaged writes there were when they were last counted.
    files: AtomicUsize,
    /// Held while they are counted.
    counting: Mutex<()>,
    /// What was reported of peers.
    peers: Mutex<BTreeMap<MemberId, Reported>>,
    /// The folder for writes that a rebuild removed.
    folder: PathBuf,
}

/// What was reported of a peer. Times are in Unix seconds.
#[derive(Clone, Debug, Default)]
struct Reported {
    /// The first and the last failure of catch-up since a session was done, and how many there were.
    failures: Option<(u64, u64, u64)>,
    /// The first and the last row that was refused, and the rule that the last one broke.
    refused: Option<(u64, u64, &'static str)>,
    /// The first conflict.
    conflict: Option<u64>,
    /// When a comparison here has last found it and this location equal.
    equal: Option<u64>,
}

/// What the replica has reported, as it matters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentState {
    /// Whether a copy of this location was seen of late.
    pub copy_runs: bool,
    /// The files of salvaged writes.
    pub salvaged: usize,
    /// How many writes could not be saved when that was last tried. They stay in the store.
    pub unsaved: usize,
    /// What was reported of peers.
    pub peers: BTreeMap<MemberId, PeerIncidents>,
}

/// What was reported of a peer, as it matters at one moment. Times are in Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerIncidents {
    /// Since when catch-up from it has failed again and again, and how often.
    pub failing: Option<(u64, u64)>,
    /// Since when it sends rows that are refused, and the rule that the last one broke.
    pub refused: Option<(u64, &'static str)>,
    /// When the last of them was refused.
    pub refused_last: u64,
    /// Since when it is known to hold another write of a version that is here.
    pub conflict: Option<u64>,
    /// When a comparison here has last found the two equal.
    pub equal: Option<u64>,
}

impl Reported {
    /// Catch-up has failed.
    fn failed(&mut self, now: u64) {
        let before = self.failures.filter(|(_, last, _)| now <= last + 2 * FAILING_SECONDS);
        let (first, _, times) = before.unwrap_or((now, now, 0));
        self.failures = Some((first, now, times + 1));
    }

    /// What of it matters at a time.
    fn at(&self, now: u64) -> PeerIncidents {
        let failing = self.failures.filter(|(first, last, times)| {
            *times >= FAILING
                && now.saturating_sub(*first) >= FAILING_SECONDS
                && now.saturating_sub(*last) <= 2 * FAILING_SECONDS
        });
        let refused =
            self.refused.filter(|(_, last, _)| now.saturating_sub(*last) < REFUSED_SECONDS);
        PeerIncidents {
            failing: failing.map(|(first, _, times)| (first, times)),
            refused: refused.map(|(first, _, reason)| (first, reason)),
            refused_last: refused.map_or(0, |(_, last, _)| last),
            conflict: self.conflict,
            equal: self.equal,
        }
    }
}

impl Incidents {
    /// Creates that of a replica that has reported nothing yet. Counts the files of salvaged writes.
    #[must_use]
    pub fn new(data: &Path) -> Incidents {
        let (copy_seen, unsaved) = (AtomicU64::new(0), AtomicUsize::new(0));
        let incidents = Incidents {
            copy_seen,
            unsaved,
            saving: Mutex::default(),
            files: AtomicUsize::new(0),
            counting: Mutex::default(),
            peers: Mutex::default(),
            folder: data.join(FOLDER),
        };
        incidents.count_files();
        incidents
    }

    /// Returns the folder for writes that a rebuild removes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records a notice of the replica at a Unix time, in seconds.
    pub fn observe(&self, notice: &Notice, now: u64) {
        match notice {
            Notice::CopyRuns => self.copy_seen.store(now, Ordering::Relaxed),
            // What could not be saved stays in the store, for good.
            Notice::Rebuilt => self.unsaved.store(0, Ordering::Relaxed),
            Notice::SessionSuspended(peer) | Notice::SessionLost(peer) => {
                self.peers().entry(*peer).or_default().failed(now);
            }
            Notice::SessionDone(peer) => self.peers().entry(*peer).or_default().failures = None,
            Notice::Refused { peer, reason } => {
                let mut peers = self.peers();
                let reported = peers.entry(*peer).or_default();
                let first = reported.refused.map_or(now, |(first, last, _)| {
                    if now.saturating_sub(last) < REFUSED_SECONDS { first } else { now }
                });
                reported.refused = Some((first, now, reason));
            }
            Notice::Conflict(peer) => {
                self.peers().entry(*peer).or_default().conflict.get_or_insert(now);
            }
            Notice::Verified(verdict) if verdict.is_equal() => {
                let mut peers = self.peers();
                let reported = peers.entry(verdict.peer).or_default();
                (reported.conflict, reported.equal) = (None, Some(now));
            }
            _ => {}
        }
    }

    /// Takes in what peers report of themselves, at a Unix time in seconds: if a comparison at a peer has found it and `own`
    /// equal since a conflict was noticed here, the conflict is over here too.
    pub fn compared(&self, own: MemberId, status: &Status, now: u64) {
        for (id, peer) in &status.peers {
            let equal = peer
                .conditions
                .iter()
                .find(|condition| condition.code == FOUND_EQUAL && condition.about == Some(own));
            let Some(equal) = equal else { continue };
            let at = now.saturating_sub(equal.for_ms / 1000) + ROUNDED_SECONDS;
            if let Some(reported) = self.peers().get_mut(id) {
                reported.conflict = reported.conflict.filter(|since| *since > at);
            }
        }
    }

    /// Locks what was reported of peers.
    fn peers(&self) -> MutexGuard<'_, BTreeMap<MemberId, Reported>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends writes that a rebuild is about to remove to the file of the day, durably.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn salvage(&self, rows: &[SalvagedRow], now: u64) -> Result<(), PrivateFileError> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = self.save(rows, now);
        let unsaved = if saved.is_ok() { 0 } else { rows.len() };
        self.unsaved.store(unsaved, Ordering::Relaxed);
        self.count_files();
        saved
    }

    fn save(&self, rows: &[SalvagedRow], now: u64) -> Result<(), PrivateFileError> {
        let folder = Directory::create_in_data(&self.folder)?;
        let name = format!("{}.ndjson", day(now));
        folder.append_lines(&name, rows.iter().map(|row| line(row).to_string()))
    }

    /// Counts the files of salvaged writes again, unless that is under way. Blocks, for as long as the disk takes.
    pub fn count_files(&self) {
        let counting = match self.counting.try_lock() {
            Ok(counting) => counting,
            Err(TryLockError::Poisoned(counting)) => counting.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let files = fs::read_dir(&self.folder).map_or(0, Iterator::count);
        self.files.store(files, Ordering::Relaxed);
        drop(counting);
    }

    /// Returns what matters at a Unix time, in seconds.
    #[must_use]
    pub fn at(&self, now: u64) -> IncidentState {
        let seen = self.copy_seen.load(Ordering::Relaxed);
        let peers = self.peers().iter().map(|(peer, reported)| (*peer, reported.at(now))).collect();
        IncidentState {
            copy_runs: seen > 0 && now.saturating_sub(seen) < COPY_SECONDS,
            salvaged: self.files.load(Ordering::Relaxed),
            unsaved: self.unsaved.load(Ordering::Relaxed),
            peers,
        }
    }
}

/// The parts of a value that can be read, and the offsets and lengths of those that are missing.
fn parts(parts: &[ValuePart], len: u64) -> (serde_json::Value, serde_json::Value) {
    let encoded =
        |part: &ValuePart| json!({ "offset": part.offset, "value": BASE64.encode(&part.bytes) });
    let (mut missing, mut end) = (Vec::new(), 0);
    let mut miss = |from: u64, to: u64| {
        if from < to {
            missing.push(json!({ "offset": from, "length": to - from }));
        }
    };
    for part in parts {
        miss(end, part.offset);
        end = part.offset + part.bytes.len() as u64;
    }
    miss(end, len);
    (parts.iter().map(encoded).collect(), missing.into())
}

/// A write as a line of JSON.
fn line(SalvagedRow { row, parts: readable }: &SalvagedRow) -> serde_json::Value {
    let key = match str::from_utf8(&row.key) {
        Ok(text) => json!({ "text": text }),
        Err(_not_text) => json!({ "base64": BASE64.encode(&row.key) }),
    };
    let change = match &row.content {
        Content::Value(value) => json!({ "value": BASE64.encode(value) }),
        Content::Large { len, digest } => {
            let (parts, missing) = parts(readable, *len);
            let blake3 = HEXLOWER.encode(digest);
            json!({ "length": len, "blake3": blake3, "parts": parts, "missing": missing })
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
    use kv_replicate::Row;
    use tempfile::TempDir;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn row() -> SalvagedRow {
        let row = Row {
            dot: Dot { origin: OriginId([1; 16]), seq: 2 },
            hlc: Hlc::at_millis(1_700_000_000_000),
            prev: None,
            namespace: NamespaceId([3; 16]),
            key: Key::new("page").expect("a key"),
            metadata: None,
            expires_at: Some(9),
            content: Content::Value("text".into()),
        };
        SalvagedRow { row, parts: Vec::new() }
    }

    #[test]
    fn of_a_value_of_which_some_is_damaged_the_file_has_the_rest_and_says_what_is_missing() {
        let data = TempDir::new().expect("a directory");
        let incidents = Incidents::new(data.path());
        let SalvagedRow { row, .. } = row();
        let row = Row { content: Content::Large { len: 11, digest: [7; 32] }, ..row };
        let part = |offset, text: &'static str| ValuePart { offset, bytes: text.into() };
        let parts = vec![part(3, "abc"), part(6, "d")];
        incidents.salvage(&[SalvagedRow { row, parts }], NOW).expect("the file takes a write");
        let path = data.path().join("salvage/2027-01-15.ndjson");
        let text = fs::read_to_string(path).expect("the file");
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "length": 11,
            "blake3": "07".repeat(32),
            "parts": [{ "offset": 3, "value": "YWJj" }, { "offset": 6, "value": "ZA==" }],
            "missing": [{ "offset": 0, "length": 3 }, { "offset": 7, "length": 4 }],
        });
        assert_eq!(line["change"], expected);
    }

    #[test]
    fn a_write_that_arrived_too_late_is_a_line_of_the_days_file_and_an_alarm_until_that_is_deleted()
    {
        let data = TempDir::new().expect("a directory");
        let incidents = Incidents::new(data.path());
        assert_eq!(incidents.at(NOW), IncidentState::default());
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
        assert_eq!(Incidents::new(data.path()).at(NOW).salvaged, 1);
        fs::remove_file(path).expect("it is removed");
        incidents.count_files();
        assert_eq!(incidents.at(NOW), IncidentState::default());
    }

    #[test]
    fn a_copy_of_this_location_is_an_alarm_until_it_is_not_seen_any_more() {
        let data = TempDir::new().expect("a directory");
        let incidents = Incidents::new(data.path());
        incidents.observe(&Notice::CopyRuns, NOW);
        assert!(incidents.at(NOW + COPY_SECONDS - 1).copy_runs);
        assert!(!incidents.at(NOW + COPY_SECONDS).copy_runs);
    }

    #[test]
    fn a_write_that_cannot_be_saved_is_an_error_and_an_alarm_until_it_can() {
        let data = TempDir::new().expect("a directory");
        fs::write(data.path().join(FOLDER), "a file in the place of the folder").expect("a file");
        let incidents = Incidents::new(data.path());
        incidents.salvage(&[row()], NOW).expect_err("there is no folder");
        assert_eq!(incidents.at(NOW).unsaved, 1);
        incidents.observe(&Notice::Rebuilt, NOW);
        assert_eq!(incidents.at(NOW), IncidentState::default(), "it stays in the store");
        incidents.salvage(&[row()], NOW).expect_err("there is no folder");
        fs::remove_file(data.path().join(FOLDER)).expect("it is removed");
        incidents.salvage(&[row()], NOW).expect("the file takes a write");
        assert_eq!((incidents.at(NOW).unsaved, incidents.at(NOW).salvaged), (0, 1));
    }

    const PEER: MemberId = MemberId([2; 16]);

    #[test]
    fn catch_up_that_fails_three_times_over_a_minute_fails_again_and_again_until_a_session_is_done()
    {
        let data = TempDir::new().expect("a directory");
        let incidents = Incidents::new(data.path());
        let failing = |now| incidents.at(now).peers.get(&PEER).and_then(|peer| peer.failing);
        for (seconds, expected) in [(0, None), (30, None), (60, Some((NOW, 3)))] {
            incidents.observe(&Notice::SessionSuspended(PEER), NOW + seconds);
            assert_eq!(failing(NOW + seconds), expected);
        }
        assert_eq!(failing(NOW + 181), None, "nothing has failed for a while");
        incidents.observe(&Notice::SessionLost(PEER), NOW + 125);
        assert_eq!(failing(NOW + 125), Some((NOW, 4)));
        incidents.observe(&Notice::SessionDone(PEER), NOW + 126);
        assert_eq!(failing(NOW + 126), None);
    }

    #[test]
    fn refused_rows_count_for_ten_minutes_and_a_conflict_until_both_are_found_equal() {
        let data = TempDir::new().expect("a directory");
        let incidents = Incidents::new(data.path());
        let of = |now| incidents.at(now).peers.get(&PEER).copied().unwrap_or_default();
        for seconds in [0, 30] {
            let refused = Notice::Refused { peer: PEER, reason: "a rule" };
            incidents.observe(&refused, NOW + seconds);
        }
        assert_eq!(
            (of(NOW + 30).refused, of(NOW + 30).refused_last),
            (Some((NOW, "a rule")), NOW + 30)
        );
        assert_eq!(of(NOW + 630).refused, None);
        incidents.observe(&Notice::Conflict(PEER), NOW);
        incidents.observe(&Notice::Conflict(PEER), NOW + 9);
        assert_eq!(of(NOW + 9_999).conflict, Some(NOW));
        let verdict = kv_replicate::Verdict {
            peer: PEER,
            rows: 1,
            differing: 0,
            places: Vec::new(),
            unsettled: kv_replicate::Unsettled::default(),
            damaged: [0, 0],
            ending: kv_replicate::Ending::Complete,
        };
        incidents.observe(&Notice::Verified(verdict), NOW + 10);
        assert_eq!((of(NOW + 10).conflict, of(NOW + 10).equal), (None, Some(NOW + 10)));
    }

    #[test]
    fn a_conflict_is_over_once_a_comparison_at_the_other_end_has_found_both_equal() {
        const OWN: MemberId = MemberId([1; 16]);
        let data = TempDir::new().expect("a directory");
        let incidents = Incidents::new(data.path());
        let conflict = || incidents.at(NOW).peers.get(&PEER).and_then(|peer| peer.conflict);
        let found_equal = |about, for_ms| {
            let mut peer = kv_replicate::quic::Peer::default();
            peer.conditions =
                vec![kv_replicate::Condition { code: FOUND_EQUAL, about: Some(about), for_ms }];
            let mut status = Status::default();
            status.peers.insert(PEER, peer);
            incidents.compared(OWN, &status, NOW + 60);
        };
        incidents.observe(&Notice::Conflict(PEER), NOW);
        found_equal(MemberId([9; 16]), 0);
        assert_eq!(conflict(), Some(NOW), "they were compared with another one");
        found_equal(OWN, 90_000);
        assert_eq!(conflict(), Some(NOW), "they were compared before");
        found_equal(OWN, 30_000);
        assert_eq!(conflict(), None);
    }
}
