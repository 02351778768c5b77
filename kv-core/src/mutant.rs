//! Rules of the store that a test can switch off, to show that the suite would notice.
//!
//! Only with the feature `mutants`; without it every question is answered `false` at compile time.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// Writes are acknowledged before the sync that covers them.
    AckBeforeSync = 1,
    /// The dot of a replaced write stays in the dot index.
    KeepOldDot,
    /// The vector is not written in the commit that it counts.
    ForgetVector,
    /// A commit goes to the engine in two parts.
    SplitCommit,
    /// A staged body gets no row in the pending table.
    StageWithoutPending,
    /// The clock starts from nothing when the store is opened.
    ForgetClock,
    /// A remote write after a gap is applied.
    ApplyOverGaps,
    /// A row of a catch-up session raises the vector.
    AdoptPerRow,
    /// A remote write replaces whatever is there.
    LastArrivalWins,
    /// Dropping a tombstone does not raise the collected vector.
    CollectSilently,
    /// The expiry row of a replaced write stays.
    KeepOldExpiry,
    /// A body is freed although it is read.
    FreeWhileRead,
    /// Checksums are not checked.
    TrustChecksums,
    /// A replaced large body is not freed.
    LeakBodies,
    /// After a failed sync the engine writes on.
    WriteAfterFailedSync,
    /// A sync makes nothing durable and says that it did.
    SyncNothing,
    /// The grave row of a replaced tombstone stays.
    KeepOldGrave,
    /// The pending row of an uploaded body stays after its put.
    KeepPending,
    /// What was staged before a failure of the disk is taken for there.
    StaleUpload,
    /// After a failure the committer goes on from what it had in memory.
    ForgetLost,
    /// The number of a new origin is not written.
    ForgetOrigin,
    /// A write does not say what it replaced.
    ForgetPrev,
    /// A remote write does not move the clock.
    DeafClock,
    /// Tombstones are dropped that a peer may not know.
    CollectEarly,
    /// An expired body is freed while a slow clock may still show it.
    ExpireEarly,
    /// A session's collected vector is not adopted.
    ForgetCollected,
    /// A remote write to a dropped namespace is stored.
    FillDropped,
    /// A later write beats the drop of a namespace.
    ReviveDropped,
    /// The rows of a dropped namespace are not purged.
    ForgetPurge,
}

impl Mutant {
    /// Every rule that can be broken.
    pub const ALL: [Mutant; 29] = [
        Mutant::AckBeforeSync,
        Mutant::KeepOldDot,
        Mutant::ForgetVector,
        Mutant::SplitCommit,
        Mutant::StageWithoutPending,
        Mutant::ForgetClock,
        Mutant::ApplyOverGaps,
        Mutant::AdoptPerRow,
        Mutant::LastArrivalWins,
        Mutant::CollectSilently,
        Mutant::KeepOldExpiry,
        Mutant::FreeWhileRead,
        Mutant::TrustChecksums,
        Mutant::LeakBodies,
        Mutant::WriteAfterFailedSync,
        Mutant::SyncNothing,
        Mutant::KeepOldGrave,
        Mutant::KeepPending,
        Mutant::StaleUpload,
        Mutant::ForgetLost,
        Mutant::ForgetOrigin,
        Mutant::ForgetPrev,
        Mutant::DeafClock,
        Mutant::CollectEarly,
        Mutant::ExpireEarly,
        Mutant::ForgetCollected,
        Mutant::FillDropped,
        Mutant::ReviveDropped,
        Mutant::ForgetPurge,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local!(static BROKEN: Cell<Option<Mutant>> = const { Cell::new(None) });

    /// Breaks one rule, or none, for what this thread does from now on.
    pub fn break_rule(rule: Option<Mutant>) {
        BROKEN.set(rule);
    }

    /// The rule that is broken on this thread: a store's writer thread takes it over from the one
    /// that opened it.
    pub(crate) fn broken() -> Option<Mutant> {
        BROKEN.get()
    }

    pub(crate) fn is_broken(rule: Mutant) -> bool {
        BROKEN.get() == Some(rule)
    }
}

#[cfg(feature = "mutants")]
pub use switch::break_rule;
#[cfg(feature = "mutants")]
pub(crate) use switch::{broken, is_broken};

#[cfg(not(feature = "mutants"))]
pub(crate) const fn is_broken(_rule: Mutant) -> bool {
    false
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn broken() -> Option<Mutant> {
    None
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn break_rule(_rule: Option<Mutant>) {}
