//! What happened in a run: a run in which something never happened has not tested it.

use std::collections::BTreeMap;

/// Something that a mixed run must have met at least once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A catch-up session came to its end.
    SessionDone,
    /// A request of one was made again.
    SessionResumed,
    /// One was given up.
    SessionLost,
    /// One could not go on.
    SessionSuspended,
    /// One went on from where it was.
    SessionTakenUp,
    /// A location crashed while it received a session.
    CrashInSession,
    /// A location crashed while it sent one.
    CrashInServing,
    /// A live stream had a gap.
    Gap,
    /// A peer fell behind the ring.
    BacklogLost,
    /// A link was parked.
    Parked,
    /// A parked link went on.
    Unparked,
    /// A body was gone or could not be had while it was fetched.
    BodyLost,
    /// A large body came to a location whole.
    LargeTaken,
    /// A tombstone or stub was dropped.
    Collected,
    /// A write won over one that it did not know of.
    Concurrent,
    /// A write came that lost.
    Lost,
    /// A location lost its power.
    PowerLoss,
    /// A sync or write of a disk failed.
    DiskFailed,
    /// A disk was full.
    DiskFull,
    /// A write whose outcome was not known survived a crash.
    UnknownSurvived,
    /// One did not.
    UnknownLost,
    /// A link was cut in one direction.
    OneWayCut,
    /// The locations were split in two.
    Partition,
    /// A clock stepped.
    ClockStep,
    /// A message was lost.
    MessageLost,
    /// A message came twice.
    MessageRepeated,
    /// A location came by an origin's rows through another.
    Relayed,
    /// A namespace was dropped.
    NamespaceDropped,
    /// A location came to join.
    Joining,
    /// A location took part from then on.
    Joined,
    /// A location left for good.
    Left,
    /// One that was removed while it ran heard of it.
    RemovedTold,
    /// A location came back from an old image.
    Restored,
    /// One that did found out.
    RestoredFound,
    /// A data directory was copied, and both ran.
    Copied,
    /// One of two with one identity found out.
    CopyFound,
}

impl Event {
    /// All of them.
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
        Event::Parked,
        Event::Unparked,
        Event::BodyLost,
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
        Event::Joining,
        Event::Joined,
        Event::Left,
        Event::RemovedTold,
        Event::Restored,
        Event::RestoredFound,
        Event::Copied,
        Event::CopyFound,
    ];
}

/// How often each event happened.
#[derive(Clone, Debug, Default)]
pub struct Events(BTreeMap<Event, u64>);

impl Events {
    /// One more.
    pub fn count(&mut self, event: Event) {
        *self.0.entry(event).or_default() += 1;
    }

    /// How often.
    #[must_use]
    pub fn get(&self, event: Event) -> u64 {
        self.0.get(&event).copied().unwrap_or(0)
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Events) {
        for (event, count) in &other.0 {
            *self.0.entry(*event).or_default() += count;
        }
    }

    /// Which never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<Event> {
        Event::ALL.iter().copied().filter(|event| self.get(*event) == 0).collect()
    }
}
