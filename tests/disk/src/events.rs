//! Counts the events of runs: an event that never occurs has not been tested.

use std::collections::BTreeMap;

macro_rules! events {
    ($(#[doc = $about:literal])+ $kind:ident: $($(#[doc = $doc:literal])+ $name:ident,)*) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind {
            $($(#[doc = $doc])+ $name,)*
        }

        impl $kind {
            /// All of them, in order.
            pub const ALL: &[$kind] = &[$($kind::$name,)*];
        }
    };
}

events! {
    /// An event that mixed runs must produce at least once.
    Event:
    /// The power failed between two calls of the store.
    PowerLoss,
    /// The power failed during a commit.
    PowerLossInCommit,
    /// The power failed during a sync.
    PowerLossInSync,
    /// The power failed during GC.
    PowerLossInGc,
    /// The power failed while a store was being opened.
    PowerLossInOpen,
    /// The power failed while a store was being closed.
    PowerLossInClose,
    /// The power failed while the engine recovered from a failure.
    PowerLossInRecovery,
    /// The power failed before the store was created.
    PowerLossInFounding,
    /// The process was killed.
    Kill,
    /// A crash interrupted the upload of a large value.
    CrashInUpload,
    /// A crash interrupted a session that was being received.
    CrashInSession,
    /// A crash left part of a write.
    TornWrite,
    /// A crash lost a write.
    LostWrite,
    /// A crash lost the name of a file that was created.
    LostName,
    /// An unacknowledged write survived a crash.
    UnacknowledgedSurvived,
    /// An unacknowledged write was lost in a crash.
    UnacknowledgedLost,
    /// A store was closed cleanly and reopened.
    CleanReopen,
    /// A read failed.
    ReadFailed,
    /// A write failed.
    WriteFailed,
    /// A change of the file's length failed.
    SetLenFailed,
    /// Opening a file failed.
    OpenFailed,
    /// Creating a file failed.
    CreateFailed,
    /// A sync of the directory failed.
    DirectorySyncFailed,
    /// A sync failed, and the store became read-only.
    SyncFailedReadOnly,
    /// A sync failed and silently dropped the writes that it should have covered.
    SyncDroppedWrites,
    /// A caller got an error that the outcome is unknown.
    OutcomeUnknown,
    /// A write with an unknown outcome had been done.
    UnknownWasThere,
    /// A write with an unknown outcome had not been done.
    UnknownWasGone,
    /// The disk was full.
    DiskFull,
    /// The store accepted writes again after space was freed.
    DiskFullRecovered,
    /// The store accepted writes again after a failed read or write.
    FailureRecovered,
    /// A value was put inline.
    PutInline,
    /// A value of one chunk was put.
    PutSingle,
    /// A value was put that had been staged in pieces.
    PutStaged,
    /// A put was rejected because a failure lost its staged pieces.
    StagedRefused,
    /// An upload with staged pieces was abandoned.
    UploadAbandoned,
    /// A remote write after a gap was rejected.
    GapRefused,
    /// A remote write arrived twice.
    Duplicate,
    /// A remote write won over no write or over one that it knew.
    RemoteWon,
    /// A remote write won over a concurrent one.
    Concurrent,
    /// A remote write lost against a newer one.
    RemoteLost,
    /// A remote write was for a dropped namespace.
    RemoteDropped,
    /// A process opened its origins.
    OriginsOpened,
    /// The opening row of a remote write's origin was missing.
    RemoteUnopened,
    /// A rebuild began.
    RebuildBegan,
    /// A rebuild dropped a row.
    RowDropped,
    /// A rebuild ended.
    RebuildEnded,
    /// A peer started again under other origins.
    PeerRestarted,
    /// A remote write was one that no store can make.
    RemoteRefused,
    /// A peer sent an expired tombstone.
    RemoteExpiredTombstone,
    /// A session's version vector was adopted.
    SessionAdopted,
    /// A session was aborted.
    SessionAbandoned,
    /// A peer received the rows that it lacked.
    ChangesTaken,
    /// A peer lacked a tombstone that was already dropped.
    ChangesGone,
    /// An expired entry was hidden before GC reached it.
    ExpiredHidden,
    /// An expired entry became an expired tombstone.
    ExpiredTombstoneMade,
    /// A tombstone or expired tombstone was dropped.
    Collected,
    /// A tombstone that a peer may not know was kept.
    TombstoneKept,
    /// A view became unreadable after a failure.
    HeldViewDied,
    /// A large body was freed.
    BodyFreed,
    /// A very large body was freed in several steps.
    BodyFreedInSteps,
    /// A body was read to its end after its value was replaced.
    ReadAfterReplaced,
    /// A namespace was created.
    NamespaceMade,
    /// A namespace was renamed.
    NamespaceRenamed,
    /// A dropped namespace with later entries was created again.
    NamespaceKept,
    /// A namespace was dropped.
    NamespaceDropped,
    /// A peer dropped a namespace.
    NamespaceDroppedByPeer,
    /// All rows of a dropped namespace were removed.
    NamespacePurged,
    /// A title or id was rejected because it is taken.
    NamespaceTaken,
    /// A write was rejected because its namespace is unknown or dropped.
    NamespaceUnknown,
    /// A write that exceeds a limit was rejected.
    Invalid,
    /// The location saved local state.
    LocalSaved,
    /// The local state was dropped.
    LocalDropped,
    /// The wall clock stepped back.
    ClockBack,
    /// A page of a list ended at its limit.
    PageCut,
}

events! {
    /// An event that runs with flipped bits must produce at least once.
    Damage:
    /// A read reported damaged data.
    Detected,
    /// An existing key was not found, because the path to it is damaged.
    Lost,
    /// A body was damaged, and the read reported it.
    BodyDamaged,
    /// The store recorded a damaged key.
    Owed,
    /// A list left out a damaged key, and showed the rest.
    LeftOut,
    /// The store failed to open.
    Refused,
    /// The store opened in spite of the damage.
    Opened,
    /// All reads were correct in spite of the damage.
    Unnoticed,
    /// A write was rejected.
    WriteRefused,
    /// A write succeeded.
    Written,
    /// After a crash the store had the state of an earlier sync: redb takes a damaged last commit
    /// for one that the crash interrupted.
    RolledBack,
}

/// The number of times that each event occurred.
#[derive(Clone, Debug)]
pub struct Counted<E>(BTreeMap<E, u64>);

/// The number of times that each event of a mixed run occurred.
pub type Events = Counted<Event>;

impl<E> Default for Counted<E> {
    fn default() -> Self {
        Counted(BTreeMap::new())
    }
}

impl<E: Copy + Ord> Counted<E> {
    /// Counts an event.
    pub fn count(&mut self, event: E) {
        self.add(event, 1);
    }

    /// Counts an event several times.
    pub fn add(&mut self, event: E, times: u64) {
        if times > 0 {
            *self.0.entry(event).or_default() += times;
        }
    }

    /// The number of times that an event occurred.
    #[must_use]
    pub fn get(&self, event: E) -> u64 {
        self.0.get(&event).copied().unwrap_or(0)
    }

    /// Adds the events of another run.
    pub fn merge(&mut self, other: &Counted<E>) {
        for (event, times) in &other.0 {
            self.add(*event, *times);
        }
    }

    /// Those of `all` that never occurred.
    #[must_use]
    pub fn missing(&self, all: &[E]) -> Vec<E> {
        all.iter().copied().filter(|event| self.get(*event) == 0).collect()
    }
}
