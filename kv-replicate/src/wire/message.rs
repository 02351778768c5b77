//! The messages, and their bounds.

use bytes::Bytes;
use kv_core::{
    DamagedKey, Dot, Features, Hlc, Key, MemberId, NamespaceId, OriginId, SoftwareVersion,
    VersionVector,
};

use super::progress::ProgressDelta;
use crate::{
    condition::Condition,
    inspect::{Answer, Ask, Place},
    row::{KeyState, Row},
};

/// The newest version of messages that this program understands. Two ends use the newest that both understand.
pub const WIRE_VERSION: u16 = 2;

/// The oldest version of messages that this program understands.
pub const OLDEST_WIRE_VERSION: u16 = 2;

/// The most bytes of a message: two vectors of the most origins, and a batch of rows. Where there are few origins, no
/// message has more than 128 KiB.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// No sequence number of a write is as high: a process would write for nine years, a million times a second.
pub(crate) const MAX_SEQ: u64 = 1 << 48;

/// About how many bytes of rows are put in one message.
pub(crate) const BATCH_BYTES: usize = 60 << 10;

/// The most rows in a message: rows that take little on the wire take more in memory.
pub(crate) const MAX_ROWS: usize = 1024;

/// The most bytes of a piece of usage of global limits.
pub const MAX_USAGE_BYTES: usize = 32 << 10;

/// The most bytes of a body in one request.
pub(crate) const MAX_ASKED_BYTES: u32 = 64 * 65_280;

/// Why a body is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoBody {
    /// The key holds nothing.
    Gone,
    /// The sender has the key, and can't read its row or its value.
    Damaged,
    /// The row that the key holds instead. The pieces of its body follow, if it is large.
    Replaced(Box<Row>),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The identity of the sender, until the receiver is known to have it.
    Hello(Hello),
    /// What has changed of the writes that the sender has, and its timestamps.
    Progress(ProgressDelta),
    /// Requests live writes.
    Want(Want),
    /// The requested writes are not in the backlog any more: the receiver must catch up.
    Behind,
    /// New writes.
    Live(Live),
    /// A request for a batch of a catch-up session.
    Pull(Pull),
    /// A part of a batch.
    Page(Page),
    /// A session is not served.
    Refusal {
        /// The session.
        session: u64,
        /// Why.
        reason: Reason,
    },
    /// A request for a part of a large body.
    GetBody(GetBody),
    /// A piece of a large body.
    Piece {
        /// The fetch that requested it.
        fetch: u64,
        /// The write that the body belongs to: the requested one, or one that replaced it.
        dot: Dot,
        /// Where it begins in the body, in bytes.
        offset: u64,
        /// At most one chunk.
        bytes: Bytes,
    },
    /// The requested body does not exist any more, or can't be read.
    NoBody {
        /// The fetch that requested the body.
        fetch: u64,
        /// Why there are no more pieces of it.
        why: NoBody,
    },
    /// The receiver of a session needs no more of it.
    Done {
        /// The session.
        session: u64,
    },
    /// The receiver of this message was removed from the cluster: its member row, which says so.
    Removed(Box<Row>),
    /// A question of a verification.
    Ask {
        /// The number of the verification.
        verify: u64,
        /// The number of this question in its verification, from 1.
        step: u32,
        /// The question.
        ask: Ask,
    },
    /// The answer to a question of a verification.
    Answer {
        /// The number of the verification.
        verify: u64,
        /// The number of the question.
        step: u32,
        /// None if the store can't be read now.
        answer: Option<Answer>,
    },
    /// A request for the rows under these names, whatever they are.
    GetRows {
        /// Names the answer.
        id: u64,
        /// The names, at most [`MAX_ASKED_ROWS`](crate::inspect::MAX_ASKED_ROWS).
        names: Vec<Place>,
    },
    /// The rows under the first of the names that a request has: as many as fit into a message, at least one.
    Rows {
        /// The request.
        id: u64,
        /// The rows, in the order of the names.
        rows: Vec<KeyState>,
    },
    /// The sender holds this write of the receiver, and all of the same origin before it, durably.
    Durable(Dot),
    /// The state of the sender, which only a status shows.
    Report(Report),
    /// What the sender's clients have used of global limits, at most [`MAX_USAGE_BYTES`]. Only the owner of the core reads it.
    Usage(Bytes),
    /// A message of a kind that this program does not know: a later version sent it.
    Unknown {
        /// Its kind.
        kind: u8,
        /// Everything behind its envelope.
        body: Bytes,
    },
}

/// The identity of the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The oldest and the newest version of messages that it understands.
    pub(crate) versions: (u16, u16),
    /// What it understands beyond the version.
    pub(crate) features: Features,
    /// The sender's cluster. Hellos of others are rejected.
    pub(crate) cluster: [u8; 16],
    /// The sender's id, which must be the one that its certificate proves.
    pub(crate) member: MemberId,
    /// The version of the sender's program, an optional field.
    pub(crate) software: Option<SoftwareVersion>,
}

/// Requests live writes of the receiver's open origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// The receiver's origins, as it last announced them. A request for others is ignored.
    pub(crate) origins: [OriginId; 2],
    /// The last writes of each that the sender has.
    pub(crate) numbers: [u64; 2],
}

/// The next writes of one of the sender's origins, without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// The writes. Their sequence numbers rise by one.
    pub(crate) rows: Vec<Row>,
}

/// Requests the next rows of a catch-up session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    /// The session, named by the receiver of the rows.
    pub(crate) session: u64,
    /// The number of the batch in its session, from 1. A request that is repeated before anything of its batch arrived
    /// has the same number.
    pub(crate) batch: u32,
    /// The sender rebuilds its store, or joins: it is irrelevant to it which tombstones were dropped.
    pub(crate) is_new: bool,
    /// Only rows behind this dot are requested; none at the beginning of a round.
    pub(crate) after: Option<Dot>,
    /// The receiver has the rows that the vector does not count of the snapshot with this number, so that those
    /// of an origin may be left out if none was added since; none if it may lack some.
    pub(crate) known: Option<u64>,
    /// About the most bytes of rows that it may have, so that a slow link holds little of a session at a time. One row
    /// may have more, and the source has a bound of its own.
    pub(crate) bytes: u32,
    /// Rows that this vector counts are left out.
    pub(crate) since: VersionVector,
}

/// Some rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The session that requested it.
    pub(crate) session: u64,
    /// The batch that requested it.
    pub(crate) batch: u32,
    /// Names the reading of the batch: pages of two readings are never mixed.
    pub(crate) stamp: u64,
    /// The number of the snapshot that it was read from.
    pub(crate) commit: u64,
    /// The place of this page in its batch, from 0.
    pub(crate) index: u16,
    /// The vectors of the snapshot; only in the first page.
    pub(crate) head: Option<PageHead>,
    /// The continuation after this page.
    pub(crate) end: End,
    /// The keys of writes that the source can't read. Most are counted by the snapshot's vector; some may be of the
    /// source's own unfinished sessions.
    pub(crate) damaged: Vec<DamagedKey>,
    /// The rows, in the order of their dots.
    pub(crate) rows: Vec<Row>,
}

/// The vectors of a batch's snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageHead {
    /// The writes that the snapshot counts.
    pub(crate) vector: VersionVector,
    /// The source's collected vector.
    pub(crate) collected: VersionVector,
    /// The source's closed timestamp: it has dropped no later tombstone.
    pub(crate) floor: Hlc,
    /// The dot behind which the next batch begins, so that it can be requested early; none if the round ends.
    pub(crate) next: Option<Dot>,
    /// The state of the source's index. A session whose batches have several began in an index that lacked rows.
    pub(crate) index: u64,
}

/// The continuation after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Another page of this batch.
    Page,
    /// Another batch, behind this dot.
    Batch(Dot),
    /// Nothing: the round is over.
    Round,
}

/// Why a source does not serve a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A tombstone that the receiver lacked at its request was dropped. The vector counts what was
    /// collected: the receiver may have received it on another way since.
    Gone(VersionVector),
    /// Not now.
    Busy,
}

/// The state of the sender, which only a status shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The sender's conditions, at most [`MAX_CONDITIONS`](crate::MAX_CONDITIONS).
    pub(crate) conditions: Vec<Condition>,
    /// How many of how many writes the session has passed in which the sender receives rows from the receiver; none if
    /// there is no such session.
    pub(crate) receiving: Option<(u64, u64)>,
}

impl Report {
    /// Whether another report says the same, except for how long it lasts.
    pub(crate) fn is_same(&self, other: &Report) -> bool {
        let mut pairs = self.conditions.iter().zip(&other.conditions);
        self.receiving == other.receiving
            && self.conditions.len() == other.conditions.len()
            && pairs.all(|(one, other)| one.is_same(other))
    }
}

/// Requests bytes of a large body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GetBody {
    /// The fetch, named by the receiver of the body.
    pub(crate) fetch: u64,
    /// The namespace of the key.
    pub(crate) namespace: NamespaceId,
    /// The write that the key must still hold.
    pub(crate) dot: Dot,
    /// The offset in the body, in bytes: a whole number of chunks.
    pub(crate) offset: u64,
    /// The number of bytes that are requested.
    pub(crate) len: u32,
    /// The key that holds the body.
    pub(crate) key: Key,
}
