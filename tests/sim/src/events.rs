//! Counts the events of runs: an event that never occurs has not been tested.

use std::collections::BTreeMap;

/// An event that mixed runs must produce at least once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A catch-up session completed.
    SessionDone,
    /// A session repeated a request.
    SessionResumed,
    /// A session was aborted.
    SessionLost,
    /// A session was suspended.
    SessionSuspended,
    /// A suspended session resumed where it had stopped.
    SessionTakenUp,
    /// A location crashed while it received a session.
    CrashInSession,
    /// A location crashed while it sent a session.
    CrashInServing,
    /// A live stream had a gap.
    Gap,
    /// A peer fell behind the backlog.
    BacklogLost,
    /// A location reported that its clock is off.
    ClockOff,
    /// A location reported that its clock is right again.
    ClockRight,
    /// Garbage was collected while the clock was wrong.
    CollectedWrong,
    /// An acknowledged write has a time far in the future.
    WrittenAhead,
    /// An entry expired, and its body was freed.
    Expired,
    /// A body was missing or unavailable while it was fetched.
    BodyLost,
    /// A body was overwritten at its source while it was fetched, and the later write was taken instead.
    BodyReplaced,
    /// A live write was counted without its row, because a later write of its key was taken.
    LiveSkipped,
    /// A session was served from a pinned view that the store had left behind.
    ReadFromPin,
    /// A location wrote while it served a session.
    WroteWhileServing,
    /// A location served a whole batch of rows that its vector does not count.
    ServedUncounted,
    /// A location received a complete large body.
    LargeTaken,
    /// A tombstone or expired tombstone was dropped.
    Collected,
    /// A write won over a concurrent one.
    Concurrent,
    /// A received write lost against a newer one.
    Lost,
    /// A location lost its power.
    PowerLoss,
    /// A sync or write of a disk failed.
    DiskFailed,
    /// A disk was full.
    DiskFull,
    /// A write with an unknown outcome survived a crash.
    UnknownSurvived,
    /// A write with an unknown outcome was lost in a crash.
    UnknownLost,
    /// A link was cut in one direction.
    OneWayCut,
    /// The locations were partitioned in two groups.
    Partition,
    /// A clock stepped.
    ClockStep,
    /// A message was lost.
    MessageLost,
    /// A message was duplicated.
    MessageRepeated,
    /// A location received an origin's rows through another location.
    Relayed,
    /// A namespace was dropped.
    NamespaceDropped,
    /// A dropped namespace was created again by a client.
    NamespaceRecreated,
    /// A dropped namespace was created again because it had entries later than its drop.
    NamespaceKept,
    /// Locations that could not reach each other dropped, created and wrote to one namespace.
    NamespaceRace,
    /// An entry arrived that was not later than the drop of its namespace.
    DeadArrived,
    /// A location wrote a row of the system namespace of an unknown kind.
    UnknownRow,
    /// Two locations wrote different fields of an unknown row without knowing of each other.
    UnknownRowJoined,
    /// A location started to join.
    Joining,
    /// A location became an active member.
    Joined,
    /// A location left for good.
    Left,
    /// A removed location learned of its removal while it ran.
    RemovalNoticed,
    /// A removed location restarted, reached no other one, and did not take part.
    RemovalRemembered,
    /// A member reported a removal that did not happen.
    LieTold,
    /// A member claimed to have writes of another one that were never made.
    WritesClaimed,
    /// A location learned that a member claims writes of its own that it has not made.
    ClaimNoticed,
    /// A location closed its link to such a member.
    ClaimRefused,
    /// A location found that it had believed such a claim, and counted the origin from its beginning again.
    ClaimDisowned,
    /// A member claimed to have collected a tombstone of a time that has not come.
    TimeClaimed,
    /// A location did not adopt such a time.
    TimeRefused,
    /// A member invented origins of members that never existed.
    OriginsInvented,
    /// A location restarted from an old image.
    Restored,
    /// A restored location wrote before its links came up.
    RestoredAlone,
    /// A location restarted from the disk that an old image had replaced.
    Swapped,
    /// A restored location got back writes of its own that its image lacked.
    GotBack,
    /// A data directory was copied, and both copies ran.
    Copied,
    /// A process learned that a later one of its location runs.
    Superseded,
    /// A store that lacked deletions began to be rebuilt in place.
    Rebuilding,
    /// A store was rebuilt in place.
    Rebuilt,
    /// A rebuild handed writes that no other location had received to the owner, and dropped them.
    Salvaged,
    /// The owner could not keep such writes.
    SalvageRefused,
    /// A row was damaged on a disk.
    RowDamaged,
    /// A chunk of a large value was damaged on a disk.
    ChunkDamaged,
    /// A row of the dot index was damaged on a disk.
    IndexDamaged,
    /// A row of the dot index was written again.
    IndexRepaired,
    /// The opening row of an origin was damaged on a disk.
    OpeningDamaged,
    /// A location recorded that it can't read a row or a chunk.
    DamageRecorded,
    /// A location recorded a key that its source could not read.
    DamageNamed,
    /// A damaged row came back.
    DamageRepaired,
    /// A location skipped a message of a later version.
    MessageSkipped,
    /// A location skipped an optional field of a later version.
    FieldSkipped,
}

impl Event {
    /// The events that runs with lying stores must produce.
    pub const OF_LIARS: &[Event] = &[
        Event::WritesClaimed,
        Event::ClaimNoticed,
        Event::ClaimDisowned,
        Event::TimeClaimed,
        Event::TimeRefused,
        Event::OriginsInvented,
    ];

    /// All events that mixed runs must produce.
    pub const ALL: &[Event] = &[
        Event::SessionDone,
        Event::SessionResumed,
        Event::SessionLost,
        Event::SessionSuspended,
        Event::SessionTakenUp,
        Event::CrashInSession,
        Event::CrashInServing,
        Event::Gap,
        Event::BacklogLost,
        Event::ClockOff,
        Event::ClockRight,
        Event::CollectedWrong,
        Event::WrittenAhead,
        Event::Expired,
        Event::BodyLost,
        Event::BodyReplaced,
        Event::LiveSkipped,
        Event::ReadFromPin,
        Event::WroteWhileServing,
        Event::ServedUncounted,
        Event::LargeTaken,
        Event::Collected,
        Event::Concurrent,
        Event::Lost,
        Event::PowerLoss,
        Event::DiskFailed,
        Event::DiskFull,
        Event::UnknownSurvived,
        Event::UnknownLost,
        Event::OneWayCut,
        Event::Partition,
        Event::ClockStep,
        Event::MessageLost,
        Event::MessageRepeated,
        Event::Relayed,
        Event::NamespaceDropped,
        Event::NamespaceRecreated,
        Event::NamespaceKept,
        Event::NamespaceRace,
        Event::DeadArrived,
        Event::UnknownRow,
        Event::UnknownRowJoined,
        Event::Joining,
        Event::Joined,
        Event::Left,
        Event::RemovalNoticed,
        Event::RemovalRemembered,
        Event::LieTold,
        Event::Restored,
        Event::RestoredAlone,
        Event::Swapped,
        Event::GotBack,
        Event::Copied,
        Event::Superseded,
        Event::Rebuilding,
        Event::Rebuilt,
        Event::Salvaged,
        Event::SalvageRefused,
        Event::RowDamaged,
        Event::ChunkDamaged,
        Event::IndexDamaged,
        Event::IndexRepaired,
        Event::OpeningDamaged,
        Event::DamageRecorded,
        Event::DamageNamed,
        Event::DamageRepaired,
        Event::MessageSkipped,
        Event::FieldSkipped,
    ];
}

/// The number of times that each event occurred.
#[derive(Clone, Debug, Default)]
pub struct Events(BTreeMap<Event, u64>);

impl Events {
    /// Counts an event.
    pub fn count(&mut self, event: Event) {
        *self.0.entry(event).or_default() += 1;
    }

    /// The number of times that an event occurred.
    #[must_use]
    pub fn get(&self, event: Event) -> u64 {
        self.0.get(&event).copied().unwrap_or(0)
    }

    /// Adds the events of another run.
    pub fn merge(&mut self, other: &Events) {
        for (event, count) in &other.0 {
            *self.0.entry(*event).or_default() += count;
        }
    }

    /// The events that never occurred.
    #[must_use]
    pub fn missing(&self) -> Vec<Event> {
        Event::ALL.iter().copied().filter(|event| self.get(*event) == 0).collect()
    }
}
