//! The seam to the store: what the core asks of it, what it is told, and what it tells its owner.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kv_core::{Dot, Hlc, Key, Members, NamespaceId, VersionVector, commit::Applied};

use crate::{
    MemberId, Row,
    inspect::{Answer, Ask},
    verdict::{Difference, Verdict},
};

/// The time, as the owner of a core tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A clock that only goes forward, from any start.
    pub mono: Duration,
    /// The wall clock: milliseconds since the Unix epoch. May step.
    pub wall_ms: u64,
}

/// What the core asks of the store. Asked in order, to be done in order; each with an `id` is
/// answered by one [`Event`] with that `id`.
///
/// What was asked before the core heard that the store went back must not be done after it: a vector
/// would be adopted whose rows are lost. So what changes the store names the `epoch`, how often the core
/// had heard that; where the store knows of more, it answers as if the disk had failed.
#[derive(Debug)]
pub enum Work {
    /// Apply these rows in one commit, in their order. Need not be durable.
    Apply {
        /// Names the answer, [`Event::Applied`].
        id: u64,
        /// How often the core had heard of [`Event::RolledBack`].
        epoch: u64,
        /// The rows.
        rows: Vec<ToApply>,
    },
    /// Adopt the vectors of a catch-up session, in a commit after all that was asked before.
    Adopt {
        /// Names the answer, [`Event::Applied`] with no rows.
        id: u64,
        /// How often the core had heard of [`Event::RolledBack`].
        epoch: u64,
        /// What the source's last snapshot counts.
        vector: VersionVector,
        /// What the source has collected.
        collected: VersionVector,
    },
    /// Read rows that a vector lacks, from one snapshot that shows durable commits only.
    Read {
        /// Names the answer, [`Event::Read`].
        id: u64,
        /// The vector.
        since: VersionVector,
        /// Only rows after this dot.
        after: Option<Dot>,
        /// At most so many rows.
        limit: usize,
        /// The asker has nothing yet: what was collected does not matter to it.
        is_new: bool,
    },
    /// Read the chunk of a large body that begins at `offset`, if the key still holds this write.
    ReadBody {
        /// Names the answer, [`Event::Body`].
        id: u64,
        /// Where.
        namespace: NamespaceId,
        /// Which key.
        key: Key,
        /// Which write.
        dot: Dot,
        /// Where in the body: a whole number of chunks.
        offset: u64,
    },
    /// Answer what a verification asks, from one snapshot that shows durable commits only.
    Inspect {
        /// Names the answer, [`Event::Inspected`].
        id: u64,
        /// What is asked.
        ask: Ask,
    },
    /// Append to the body that is being fetched under this number. A failure makes the
    /// [`Work::Apply`] that uses the body fail.
    Stage {
        /// Which fetch.
        fetch: u64,
        /// The next bytes, at most one chunk.
        bytes: Bytes,
    },
    /// The body of this fetch is not needed: forget it.
    Discard {
        /// Which fetch.
        fetch: u64,
    },
}

impl Work {
    /// Whether it reads durable state and changes nothing: whoever has readers beside the writer may
    /// give it to one.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Work::Read { .. } | Work::ReadBody { .. } | Work::Inspect { .. })
    }
}

/// A row to be applied.
#[derive(Debug)]
pub struct ToApply {
    /// The row.
    pub row: Row,
    /// Whether it is the next of its origin, or a row of a session in any order.
    pub how: How,
    /// The fetch that brought its body, if it is large.
    pub fetch: Option<u64>,
}

/// How a row is to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As [`Remote::Next`](kv_core::commit::Remote::Next).
    Next,
    /// As [`Remote::Row`](kv_core::commit::Remote::Row).
    Row,
}

/// What became of a store's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    /// What is visible.
    pub visible: VersionVector,
    /// What survives a crash.
    pub durable: VersionVector,
    /// The clock as of the last durable commit: whatever this store writes later is later than that.
    pub closed_timestamp: Hlc,
    /// The members of the cluster, as of the last durable commit.
    pub members: Arc<Members>,
}

/// Rows that were read for a peer.
#[derive(Debug)]
pub struct Batch {
    /// The rows, in the order of their dots; bodies over a row's bound as [`Content::Large`].
    ///
    /// [`Content::Large`]: crate::Content::Large
    pub rows: Vec<Row>,
    /// Where to go on, if these were not all.
    pub next: Option<Dot>,
    /// What the snapshot counts.
    pub vector: VersionVector,
    /// What was collected.
    pub collected: VersionVector,
    /// The number of the last commit that the snapshot shows: two snapshots with one number are one.
    pub commit: u64,
}

/// Why rows were not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The vector lacks a tombstone that was collected: what was collected.
    Gone(VersionVector),
    /// The disk failed, or a row is damaged.
    Failed,
}

/// What a core is told.
#[derive(Debug)]
pub enum Event {
    /// A link to a peer is up. Who it is has been proven (by its certificate).
    Connected(MemberId),
    /// It is down.
    Disconnected(MemberId),
    /// A peer sent a message.
    Received {
        /// Who.
        from: MemberId,
        /// The message.
        bytes: Bytes,
    },
    /// The store made these writes and they are durable: all of them, in the order of their
    /// numbers.
    Wrote(Vec<Row>),
    /// A sync came to its end, or something else changed the store's state.
    Synced(StoreState),
    /// The store went back to this state after a failure of the disk.
    RolledBack(StoreState),
    /// [`Work::Apply`] or [`Work::Adopt`] was done.
    Applied {
        /// Which.
        id: u64,
        /// What became of each row; none if nothing was done, for the disk failed.
        results: Option<Vec<Applied>>,
        /// What is visible now.
        visible: VersionVector,
    },
    /// [`Work::Read`] was done.
    Read {
        /// Which.
        id: u64,
        /// What was read.
        result: Result<Batch, Unread>,
    },
    /// [`Work::ReadBody`] was done.
    Body {
        /// Which.
        id: u64,
        /// The chunk; none if the key no longer holds that write.
        bytes: Option<Bytes>,
    },
    /// The owner wants to know whether a peer holds the same. The answer is [`Notice::Verified`]; while
    /// one with this peer is under way, its verdict answers this too.
    Verify(MemberId),
    /// [`Work::Inspect`] was done.
    Inspected {
        /// Which.
        id: u64,
        /// The answer; none if the disk can't be read now.
        answer: Option<Answer>,
    },
}

/// The streams that a link has, the more urgent first. Within one, messages should stay in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Who one is, what one has, and requests.
    Control,
    /// New writes.
    Live,
    /// Rows of catch-up sessions, and what verifications ask and answer.
    CatchUp,
    /// Bytes of large bodies.
    Body,
}

impl Channel {
    /// All of them, the most urgent first.
    pub const ALL: [Channel; 4] =
        [Channel::Control, Channel::Live, Channel::CatchUp, Channel::Body];
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// On which stream.
    pub channel: Channel,
    /// The message, at most [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES).
    pub bytes: Bytes,
}

/// What the owner of a core should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The link must be closed: what came over it is not what a location says.
    Close {
        /// Whose.
        peer: MemberId,
        /// Why.
        reason: &'static str,
    },
    /// This location has all that its first source had, and takes part from here on.
    Joined,
    /// A session was begun.
    SessionBegan(MemberId),
    /// A session came to its end and its vector was adopted.
    SessionDone(MemberId),
    /// A session was given up; another will be begun.
    SessionLost(MemberId),
    /// A session can't go on, for its link is down, say: it does later, from where it was.
    SessionSuspended(MemberId),
    /// A request for a session's next rows was made again, after some were lost.
    SessionResumed(MemberId),
    /// A suspended session goes on.
    SessionTakenUp(MemberId),
    /// A peer's live stream had a gap, and it was asked to send again.
    Gap(MemberId),
    /// A peer fell behind what is in memory.
    BacklogLost(MemberId),
    /// A peer's clock is so many milliseconds ahead: its writes wait.
    Parked {
        /// Whose.
        peer: MemberId,
        /// How far, in milliseconds.
        ahead_ms: u64,
    },
    /// A parked link goes on.
    Unparked(MemberId),
    /// A body was gone or could not be had before it was fetched whole.
    BodyLost(MemberId),
    /// What this store lacks was deleted so long ago that the peer no longer knows: this store must
    /// be emptied and take all from its peers anew.
    MustRebuild(MemberId),
    /// This store, or its double, wrote what it does not have: it is a copy, or was restored from
    /// an old image. It replicates no more.
    Halted(&'static str),
    /// A peer has another write of the same version as one that is here: two stores write under one
    /// identity, and neither is this one. Each keeps what it has, until the key is written anew.
    Conflict(MemberId),
    /// A peer sent a row that no store makes.
    Refused {
        /// Who.
        peer: MemberId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A verification is so far: told every few thousand rows.
    Verifying {
        /// With whom.
        peer: MemberId,
        /// Rows that were compared.
        rows: u64,
        /// Keys that differ, of those.
        differing: u64,
    },
    /// A verification found a key that differs. The first 100 are told; the verdict counts all.
    Differs(Box<Difference>),
    /// A verification is over.
    Verified(Verdict),
}
