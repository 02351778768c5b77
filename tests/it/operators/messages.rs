//! What an operator sees, as fragments that the real messages contain. The comment before each has the message that
//! the documentation shows; wording beyond the fragments may change without a test.

/// `waypost cluster status`, at a location whose clock is 8 hours ahead; exit code 1:
///
/// ```text
/// ALARM clock-off, for 4 s: the clock of this location (location-1) is 8 h ahead of the cluster's time: set this machine's
/// clock (check that NTP runs). Entries keep replicating meanwhile
/// ```
pub(super) const CLOCK_AHEAD: [&str; 2] = ["clock", "ahead"];

/// The same at a location whose clock is 10 minutes slow:
///
/// ```text
/// ALARM clock-off, for 4 s: the clock of this location (location-1) is 10 min behind the cluster's time: set this machine's clock …
/// ```
pub(super) const CLOCK_BEHIND: [&str; 2] = ["clock", "behind"];

/// How the alarm may write 8 hours, as measured over the network.
pub(super) const EIGHT_HOURS: [&str; 8] =
    ["8h", "8 h", "7h59", "7h 59", "7 h 59", "28800", "28799", "28,800"];

/// How the alarm may write 10 minutes, as measured over the network.
pub(super) const TEN_MINUTES: [&str; 8] =
    ["10m", "10 m", "9m59", "9m 59", "9 min 59", "600", "599", "00:10:00"];

/// The body of the 503 to a write, and the alarm in `waypost cluster status` (exit code 1), at the older one of two
/// processes that run on copies of one data directory:
///
/// ```text
/// The server takes no writes now: another process of this location (location-1) started later, on a copy of
/// this data directory, and continues: stop this one or that one, and let only one run. Nothing was written.
/// ```
pub(super) const TWO_PROCESSES: [&str; 2] = ["another process", "stop"];

/// `waypost cluster status`, while writes that a rebuild would remove can't be saved; exit code 1:
///
/// ```text
/// ALARM salvage-failed, for 4 s: 2 writes that a rebuild would remove can't be saved in /var/lib/waypost/salvage: they stay, and this store serves
/// no other location until they can be saved; make room on the disk, or see the log for what else is wrong
/// ```
pub(super) const NOT_SALVAGED: [&str; 2] = ["can't be saved", "salvage"];

/// The same once they are saved, and gone from the store:
///
/// ```text
/// ALARM salvaged-writes, for 4 s: a rebuild removed writes that may be older than deletions which the others no longer keep:
/// /var/lib/waypost/salvage holds them (1 files, one for each day); put those that are still needed again, and delete the files
/// ```
pub(super) const SALVAGED: [&str; 2] = ["salvage holds them", "delete the files"];

/// `waypost cluster status`, while a row could not be read and no peer has sent it again yet; exit code 1:
///
/// ```text
/// ALARM damaged-entries, for 4 s: 1 entry is damaged on this location's disk and is requested from the others: "shared" "damaged". A put
/// of the key repairs it too. Check the disk
/// ```
pub(super) const DAMAGED: [&str; 1] = ["damaged"];

/// The same while the opening row of an origin could not be read:
///
/// ```text
/// ALARM damaged-entries, for 4 s: 2 entries are damaged on this location's disk …: "(system)" "opening row of origin 1d7f…" …
/// ```
pub(super) const DAMAGED_OPENING: [&str; 2] = ["damaged", "opening row of origin"];

/// The body of the 503 to a write at a removed location, also when it starts and reaches no other location; and its
/// alarm:
///
/// ```text
/// The server takes no writes now: this location (location-2) was removed from the cluster: to join again, start
/// it in an empty data directory with `waypost serve --join TOKEN`. Nothing was written.
/// ```
pub(super) const REMOVED: [&str; 2] = ["removed", "join"];

/// `waypost cluster status`, at a location whose certificate has expired, until it has a new one; exit code 1:
///
/// ```text
/// ALARM certificate-expires, for 4 s: the certificate of this location expired on 2026-11-01, and it does not replicate: it renews itself
/// once it reaches location-0, which has the CA's key. Reads and local writes continue
/// ```
pub(super) const CERTIFICATE_EXPIRED: [&str; 2] = ["certificate", "expired"];

/// `waypost cluster status`, where two namespaces have one title:
///
/// ```text
/// ALARM title-conflict, for 4 s: two namespaces have the title "t": a0… (which the title means) and b0…: `waypost namespace merge b0… a0…`
/// moves the entries
/// ```
pub(super) const TITLE_TWICE: [&str; 1] = ["namespace merge"];
