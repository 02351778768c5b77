//! The seam of a core: events in; work, messages and notices out.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use kv_core::{
    DamagedKey, Dot, Features, Hlc, Key, Members, NamespaceId, OriginId, OriginRegistry,
    VersionVector, commit::Applied,
};

use crate::{
    KeyState, MemberId, Row, SalvagedRow,
    inspect::{Answer, Ask, Place},
};

pub use self::found::{Batch, FoundBody, Settled, Unread};

mod found;

/// About the most bytes of rows in a batch of a catch-up session. A source holds two batches for each peer that catches
/// up, and sends one of them while the next is requested: at a round trip of 200 ms that is 40 MB/s.
pub const MAX_BATCH_BYTES: usize = 8 << 20;

/// The time. A core has no clock; its owner passes the time to each call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A monotonic clock, from any start.
    pub mono: Duration,
    /// The wall clock, in milliseconds since the Unix epoch. It may step.
    pub wall_ms: u64,
}

/// Work for the store, to be done in the order in which it was requested. Each that has an `id` is answered
/// by one [`Event`] with that `id`.
///
/// Work that was requested before the core learned of a rollback must not be done after it: a vector would
/// be adopted whose rows are lost. So work that changes the store names its `epoch`, the number of rollbacks
/// that the core knew of. If the store has had more, it answers as if the disk had failed.
#[derive(Debug)]
pub enum Work {
    /// Apply these rows in one commit, in their order. Need not be durable.
    Apply {
        /// Names the answer, [`Event::Applied`].
        id: u64,
        /// How many [`Event::RolledBack`] the core had received.
        epoch: u64,
        /// The rows.
        rows: Vec<ToApply>,
        /// The writes that the snapshot counts which rows of a session were read from. If it does not count every
        /// tombstone that was collected here, a row that is not later than these is not applied, because one of them may
        /// have deleted it: [`Applied::Late`]. Nor is a row that is not of a session.
        basis: Option<Arc<VersionVector>>,
    },
    /// Adopt the vectors of a catch-up session, in a commit behind all work that was requested before.
    Adopt {
        /// Names the answer, [`Event::Applied`] with no rows.
        id: u64,
        /// How many [`Event::RolledBack`] the core had received.
        epoch: u64,
        /// The writes that the source's last snapshot counts.
        vector: VersionVector,
        /// The source's collected vector.
        collected: VersionVector,
        /// The source has collected no later tombstone.
        floor: Hlc,
        /// The time that more than half of the other members have resolved: see [`Applied::FarAhead`](kv_core::commit::Applied::FarAhead).
        resolved_by_most: Hlc,
        /// The keys of writes that the vector counts and that the source could not read.
        damaged: Vec<DamagedKey>,
    },
    /// Begin to rebuild the store: from the commit on it serves no peer, until [`Work::Rebuilt`].
    Rebuild {
        /// Names the answer, [`Event::Applied`].
        id: u64,
        /// How many [`Event::RolledBack`] the core had received.
        epoch: u64,
    },
    /// Count nothing but the opening row of an origin, if more is counted than its process has made.
    Disown {
        /// Names the answer, [`Event::Applied`].
        id: u64,
        /// How many [`Event::RolledBack`] the core had received.
        epoch: u64,
        /// The origin.
        origin: OriginId,
        /// How many writes its process has made.
        made: u64,
    },
    /// Read these rows, whole, for the owner: they are dropped next, because the source of a rebuild neither counts nor has
    /// them.
    Salvage {
        /// Names the answer, [`Event::Salvaged`].
        id: u64,
        /// The rows, each with the write that it must still hold.
        rows: Vec<(Place, Dot)>,
        /// What the source counts.
        vector: Arc<VersionVector>,
    },
    /// Drop these rows: the source of a rebuild does not have them.
    Drop {
        /// Names the answer, [`Event::Applied`].
        id: u64,
        /// How many [`Event::RolledBack`] the core had received.
        epoch: u64,
        /// The rows, each with the write that it must still hold.
        rows: Vec<(Place, Dot)>,
        /// The source's collected vector, which is adopted with it: the source may have collected the tombstones of these
        /// rows since the session ended that brought them.
        collected: VersionVector,
        /// The source has collected no later tombstone.
        floor: Hlc,
        /// The time that more than half of the other members have resolved.
        resolved_by_most: Hlc,
        /// What the source counts, if it does not count these writes: see
        /// [`Remote::Uncount`](kv_core::commit::Remote::Uncount). The owner has the rows by then ([`Work::Salvage`]).
        uncount: Option<Arc<VersionVector>>,
    },
    /// End the rebuild of the store, behind all work that was requested before.
    Rebuilt {
        /// Names the answer, [`Event::Applied`].
        id: u64,
        /// How many [`Event::RolledBack`] the core had received.
        epoch: u64,
    },
    /// Find the writes that the store holds and its vector does not count, from a snapshot of durable commits.
    FindUncounted {
        /// Names the answer, [`Event::Uncounted`].
        id: u64,
        /// The origins whose writes are looked for.
        origins: Arc<BTreeSet<OriginId>>,
    },
    /// Read rows that a vector lacks, from one snapshot that shows durable commits only.
    Read {
        /// Names the answer, [`Event::Read`].
        id: u64,
        /// The vector.
        since: VersionVector,
        /// Read only rows behind this dot.
        after: Option<Dot>,
        /// The most rows to read.
        limit: usize,
        /// About the most bytes of rows to read, up to [`MAX_BATCH_BYTES`]. One row may have more.
        bytes: usize,
        /// The receiver rebuilds its store, or joins: what was collected is irrelevant to it.
        is_new: bool,
        /// The receiver has the rows of an earlier snapshot that the vector does not count, as of the commit
        /// with this number. They are left out where none was added since.
        known: Option<u64>,
        /// Read from the view that is pinned under this number. If there is none, pin the newest under it.
        pin: Option<u64>,
    },
    /// Drop the view that is pinned under this number.
    Unpin {
        /// The number.
        pin: u64,
    },
    /// Read the chunk of a large body that begins at `offset`, if the key still holds this write.
    ReadBody {
        /// Names the answer, [`Event::Body`].
        id: u64,
        /// Read from the view that is pinned under this number, if it has the write; else from the newest. If
        /// the body has more chunks, the view that served it stays pinned under this number.
        pin: u64,
        /// The namespace of the key.
        namespace: NamespaceId,
        /// The key that holds the body.
        key: Key,
        /// The write that the key must still hold.
        dot: Dot,
        /// The offset in the body, in bytes: a whole number of chunks.
        offset: u64,
    },
    /// Read the row of a key, whatever it is, from a snapshot that shows durable commits only.
    ReadRow {
        /// Names the answer, [`Event::RowRead`].
        id: u64,
        /// The namespace of the key.
        namespace: NamespaceId,
        /// The key.
        key: Key,
    },
    /// Answer the question of a verification, from one snapshot that shows durable commits only.
    Inspect {
        /// Names the answer, [`Event::Inspected`].
        id: u64,
        /// The question.
        ask: Ask,
    },
    /// Read the rows under these names, from one snapshot that shows durable commits only.
    ReadRows {
        /// Names the answer, [`Event::Rows`].
        id: u64,
        /// The names, at most [`MAX_ASKED_ROWS`](crate::inspect::MAX_ASKED_ROWS).
        names: Vec<Place>,
    },
    /// Every current member has answered for these keys of [`StoreState::wanted`], and their greatest rows were
    /// applied: the keys need not be fetched any more. Not answered.
    Settle {
        /// How many [`Event::RolledBack`] the core had received.
        epoch: u64,
        /// The keys.
        keys: Vec<Settled>,
    },
    /// Append to the body that is being fetched under this number. If that fails, the [`Work::Apply`] that
    /// uses the body must fail.
    Stage {
        /// The number of the fetch.
        fetch: u64,
        /// The next bytes, at most one chunk.
        bytes: Bytes,
    },
    /// Drop the body of this fetch: it is not needed.
    Discard {
        /// The number of the fetch.
        fetch: u64,
    },
}

impl Work {
    /// Whether the work reads durable state and changes nothing, so that a reader beside the writer may do
    /// it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Work::Read { .. }
                | Work::Unpin { .. }
                | Work::ReadBody { .. }
                | Work::ReadRow { .. }
                | Work::ReadRows { .. }
                | Work::Inspect { .. }
                | Work::FindUncounted { .. }
                | Work::Salvage { .. }
        )
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

/// How a row is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As [`Remote::Next`](kv_core::commit::Remote::Next).
    Next,
    /// As [`Remote::Row`](kv_core::commit::Remote::Row).
    Row,
    /// As [`Remote::Skip`](kv_core::commit::Remote::Skip): the content of the row does not count.
    Skip,
    /// As [`Remote::Found`](kv_core::commit::Remote::Found).
    Found,
}

/// The state of a store, as far as replication needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    /// The writes that are visible.
    pub visible: VersionVector,
    /// The writes that survive a crash.
    pub durable: VersionVector,
    /// The writes whose tombstones this store may have collected.
    pub collected: VersionVector,
    /// The closed timestamp as of the last durable commit: this store's later writes have later versions.
    pub closed_timestamp: Hlc,
    /// Whether rows of other stores are here, whether a vector counts them or not.
    pub has_received: bool,
    /// The members of the cluster, as of the last durable commit.
    pub members: Arc<Members>,
    /// The features in use, as of the last durable commit.
    pub features: Features,
    /// The keys whose rows must be fetched from the other members, and applied if they are greater.
    pub wanted: Arc<BTreeSet<Place>>,
    /// The origins that this process writes under, by lane: none before its first write, and none after a failure
    /// of the disk until the next one. As of the last durable commit.
    pub origins: Option<[OriginId; 2]>,
    /// All origins that the store knows, as of the last durable commit.
    pub registry: Arc<OriginRegistry>,
    /// Whether the store lacks deletions, or everything, until a session has brought the rest.
    pub rebuilding: bool,
    /// Whether a process of this location that started later has closed `origins`.
    pub superseded: bool,
}

/// An event for a core.
#[derive(Debug)]
pub enum Event {
    /// A link to a peer is up. The peer has proven its identity (by its certificate).
    Connected(MemberId),
    /// The link to a peer is down.
    Disconnected(MemberId),
    /// A peer sent a message.
    Received {
        /// The peer.
        from: MemberId,
        /// The message.
        bytes: Bytes,
    },
    /// The store made these writes and they are durable: all of its own writes, in the order of their
    /// sequence numbers.
    Wrote(Vec<Row>),
    /// A sync is done, or the store's state has changed otherwise.
    Synced(StoreState),
    /// The store was rolled back to this state after a failure of the disk.
    RolledBack(StoreState),
    /// [`Work::Apply`] or [`Work::Adopt`] was done.
    Applied {
        /// The number of the work.
        id: u64,
        /// The outcome of each row; none if nothing was done because the disk failed.
        results: Option<Vec<Applied>>,
        /// The writes that are visible now.
        visible: VersionVector,
    },
    /// [`Work::Read`] was done.
    Read {
        /// The number of the work.
        id: u64,
        /// The rows, or the reason why they were not read.
        result: Result<Batch, Unread>,
    },
    /// [`Work::ReadBody`] was done.
    Body {
        /// The number of the work.
        id: u64,
        /// What was found.
        found: FoundBody,
    },
    /// [`Work::ReadRows`] was done.
    Rows {
        /// The number of the work.
        id: u64,
        /// The rows under the first of the names, as many as one message holds and at least one; none if the disk
        /// can't be read now.
        rows: Option<Vec<KeyState>>,
    },
    /// [`Work::ReadRow`] was done.
    RowRead {
        /// The number of the work.
        id: u64,
        /// The row; none if the key has none, or if it can't be read now.
        row: Option<Row>,
    },
    /// The owner requests to verify that a peer holds the same. The answer is
    /// [`Notice::Verified`](crate::Notice::Verified). While a verification with this peer is under way, its verdict
    /// answers this request too.
    Verify(MemberId),
    /// [`Work::Inspect`] was done.
    Inspected {
        /// The number of the work.
        id: u64,
        /// The answer; none if the disk can't be read now.
        answer: Option<Answer>,
    },
    /// [`Work::Salvage`] was done.
    Salvaged {
        /// The number of the work.
        id: u64,
        /// The first of the rows, with their bodies however large they are.
        rows: Vec<SalvagedRow>,
        /// Their places, and the writes that they hold.
        places: Vec<(Place, Dot)>,
        /// What the source counts.
        vector: Arc<VersionVector>,
    },
    /// The owner's answer to [`Notice::Salvage`](crate::Notice::Salvage).
    Kept {
        /// The number in the notice.
        id: u64,
        /// Whether the writes are kept, durably. If not, they stay in the store, and the owner gets another notice later.
        is_kept: bool,
    },
    /// [`Work::FindUncounted`] was done.
    Uncounted {
        /// The number of the work.
        id: u64,
        /// A digest of the writes of these origins that the store holds and its vector does not count; 0 if there are
        /// none. None if the disk can't be read now.
        digest: Option<u64>,
    },
}

/// The channels of a link, the more urgent first. Within one, messages should stay in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Hellos, progress, requests and short answers.
    Control,
    /// New writes.
    Live,
    /// Rows of catch-up sessions, and the questions and answers of verifications.
    CatchUp,
    /// Pieces of large bodies.
    Body,
}

impl Channel {
    /// All channels, the most urgent first.
    pub const ALL: [Channel; 4] =
        [Channel::Control, Channel::Live, Channel::CatchUp, Channel::Body];
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// The channel.
    pub channel: Channel,
    /// The message, at most [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES).
    pub bytes: Bytes,
}
