//! What happened in a run: a run in which something never happened has not tested it.

use std::collections::BTreeMap;

macro_rules! events {
    ($(#[doc = $about:literal])+ $kind:ident: $($(#[doc = $doc:literal])+ $name:ident,)*) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind {
            $($(#[doc = $doc])+ $name,)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &[$kind] = &[$($kind::$name,)*];
        }
    };
}

events! {
    /// Something that a mixed run must have met at least once.
    Event:
    /// The power went between two calls of the store.
    PowerLoss,
    /// The power went inside a commit.
    PowerLossInCommit,
    /// The power went inside a sync.
    PowerLossInSync,
    /// The power went inside a sweep.
    PowerLossInGc,
    /// The power went while a store was opened.
    PowerLossInOpen,
    /// The power went while a store was closed.
    PowerLossInClose,
    /// The power went when the engine took itself up again after a failure.
    PowerLossInRecovery,
    /// The power went before the store was founded.
    PowerLossInFounding,
    /// The process was killed.
    Kill,
    /// A crash came while a large value was half uploaded.
    CrashInUpload,
    /// A crash came while a session was half received.
    CrashInSession,
    /// A crash left a part of a write.
    TornWrite,
    /// A crash took a write.
    LostWrite,
    /// What was not acknowledged survived a crash.
    UnacknowledgedSurvived,
    /// What was not acknowledged was lost in a crash.
    UnacknowledgedLost,
    /// A store was closed in order and opened again.
    CleanReopen,
    /// Reading failed.
    ReadFailed,
    /// Writing failed.
    WriteFailed,
    /// Changing the file's length failed.
    SetLenFailed,
    /// Opening the file failed.
    OpenFailed,
    /// A sync failed, and the store was read-only.
    SyncFailedReadOnly,
    /// A sync failed, and what it was to cover was dropped in silence.
    SyncDroppedWrites,
    /// A caller was told that the outcome is unknown.
    OutcomeUnknown,
    /// What had an unknown outcome was there.
    UnknownWasThere,
    /// What had an unknown outcome was not there.
    UnknownWasGone,
    /// The disk was full.
    DiskFull,
    /// The store took writes again when there was room.
    DiskFullRecovered,
    /// The store took writes again after a read or write had failed.
    FailureRecovered,
    /// A value was put inline.
    PutInline,
    /// A value of one chunk was put.
    PutSingle,
    /// A value was put that had been staged in pieces.
    PutStaged,
    /// A put was refused because a failure took what was staged.
    StagedRefused,
    /// An upload was abandoned with pieces staged.
    UploadAbandoned,
    /// A remote write after a gap was refused.
    GapRefused,
    /// A remote write came twice.
    Duplicate,
    /// A remote write won over nothing or a write that it knew.
    RemoteWon,
    /// A remote write won over a write that it did not know.
    Concurrent,
    /// A remote write lost.
    RemoteLost,
    /// A remote write came to a dropped namespace.
    RemoteDropped,
    /// A remote write named a number of ours.
    RemoteConflict,
    /// A remote write was none that a store could make.
    RemoteRefused,
    /// A stub came from a peer.
    RemoteExpiredTombstone,
    /// A session's vector was adopted.
    SessionAdopted,
    /// A session was given up before its end.
    SessionAbandoned,
    /// A peer took what it lacked.
    ChangesTaken,
    /// A peer lacked a tombstone that was gone.
    ChangesGone,
    /// An entry that has expired was hidden before the sweep came.
    ExpiredHidden,
    /// An expired entry became a stub.
    ExpiredTombstoneMade,
    /// A tombstone or stub was dropped.
    Collected,
    /// A tombstone that a peer may not know was left.
    TombstoneKept,
    /// A view that was held could not be read any more after a failure.
    HeldViewDied,
    /// A large body was freed.
    BodyFreed,
    /// A very large body was freed in several steps.
    BodyFreedInSteps,
    /// A body was read to its end after another value had replaced it.
    ReadAfterReplaced,
    /// A namespace was made.
    NamespaceMade,
    /// A namespace was renamed.
    NamespaceRenamed,
    /// A namespace was dropped.
    NamespaceDropped,
    /// A peer dropped a namespace.
    NamespaceDroppedByPeer,
    /// All rows of a dropped namespace were gone.
    NamespacePurged,
    /// A title or an id was refused because it is taken.
    NamespaceTaken,
    /// A write was refused because its namespace is unknown or dropped.
    NamespaceUnknown,
    /// A write over a bound was refused.
    Invalid,
    /// The location kept something for itself.
    LocalSaved,
    /// What it kept was dropped.
    LocalDropped,
    /// The wall clock stepped back.
    ClockBack,
    /// A page of a list was cut at its limit.
    PageCut,
}

events! {
    /// Something that a run with turned bits must have met at least once.
    Damage:
    /// A read answered that what it read is damaged.
    Detected,
    /// A key that was there was not found: the way to it is damaged.
    Lost,
    /// A body was damaged, and its reader told so.
    BodyDamaged,
    /// The store refused to open.
    Refused,
    /// The store opened, damaged as it was.
    Opened,
    /// All that was read was right all the same.
    Unnoticed,
    /// A write was refused.
    WriteRefused,
    /// A write was made.
    Written,
    /// After a crash the store was found as of an earlier sync: redb takes a damaged last commit for
    /// one that the crash cut short.
    RolledBack,
}

/// How often each happened.
#[derive(Clone, Debug)]
pub struct Counted<E>(BTreeMap<E, u64>);

/// How often each event of a mixed run happened.
pub type Events = Counted<Event>;

impl<E> Default for Counted<E> {
    fn default() -> Self {
        Counted(BTreeMap::new())
    }
}

impl<E: Copy + Ord> Counted<E> {
    /// It happened.
    pub fn count(&mut self, event: E) {
        self.add(event, 1);
    }

    /// It happened so many times.
    pub fn add(&mut self, event: E, times: u64) {
        if times > 0 {
            *self.0.entry(event).or_default() += times;
        }
    }

    /// How often it happened.
    #[must_use]
    pub fn get(&self, event: E) -> u64 {
        self.0.get(&event).copied().unwrap_or(0)
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Counted<E>) {
        for (event, times) in &other.0 {
            self.add(*event, *times);
        }
    }

    /// Which of these never happened.
    #[must_use]
    pub fn missing(&self, all: &[E]) -> Vec<E> {
        all.iter().copied().filter(|event| self.get(*event) == 0).collect()
    }
}
