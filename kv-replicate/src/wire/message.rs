//! The messages, and their bounds.

use bytes::Bytes;
use kv_core::{Dot, Hlc, Key, MemberId, NamespaceId, OriginId, VersionVector};

use crate::{
    inspect::{Answer, Ask},
    row::Row,
};

/// The version of the messages that this program sends, and the only one that it understands yet.
pub const WIRE_VERSION: u16 = 1;

/// The most bytes of a message.
pub const MAX_MESSAGE_BYTES: usize = 128 << 10;

/// The sequence number up to which a vector counts an origin whose writer was removed: everything that
/// remains of it. No store writes as often.
pub const CLOSED: u64 = u64::MAX / 2;

/// About how many bytes of rows are put in one message.
pub(crate) const BATCH_BYTES: usize = 60 << 10;

/// The most origins in a vector.
pub(crate) const MAX_ORIGINS: usize = 1024;

/// The most rows in a message: rows that take little on the wire take more in memory.
pub(crate) const MAX_ROWS: usize = 1024;

/// The most bytes of a body that one request asks for.
pub(crate) const MAX_ASKED_BYTES: u32 = 16 * 65_280;

/// The random numbers of the starts of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnations {
    pub(crate) from: u64,
    /// 0 if the sender has not received a message of the receiver yet.
    pub(crate) to: u64,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Hello),
    Progress(Progress),
    /// Requests live writes behind these sequence numbers, one for each of the receiver's origins.
    Want([u64; 2]),
    /// The requested writes are not in the backlog any more: the receiver must catch up.
    Behind,
    Live(Live),
    Pull(Pull),
    Page(Page),
    Refusal {
        session: u64,
        reason: Reason,
    },
    GetBody(GetBody),
    Piece {
        fetch: u64,
        offset: u64,
        bytes: Bytes,
    },
    /// The requested body does not exist any more.
    NoBody {
        fetch: u64,
    },
    /// The receiver of a session needs no more of it.
    Done {
        session: u64,
    },
    /// The receiver of this message was removed from the cluster: its member row, which says so.
    Removed(Box<Row>),
    /// A question of a verification.
    Ask {
        verify: u64,
        /// The number of this question in its verification, from 1.
        step: u32,
        ask: Ask,
    },
    Answer {
        verify: u64,
        step: u32,
        /// None if the store can't be read now.
        answer: Option<Answer>,
    },
}

/// The identity of the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The lowest and the highest version of messages that it understands.
    pub(crate) versions: (u16, u16),
    /// Bits of what it understands beyond the version; none yet.
    pub(crate) features: u64,
    pub(crate) cluster: [u8; 16],
    pub(crate) member: MemberId,
    pub(crate) origins: [OriginId; 2],
    pub(crate) received: VersionVector,
}

/// What the sender has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Rises with each progress message.
    pub(crate) number: u64,
    /// What survives a crash.
    pub(crate) durable: VersionVector,
    /// What is visible: at least `durable`.
    pub(crate) received: VersionVector,
    /// `durable` counts all writes of the sender's own origins up to this time.
    pub(crate) closed_timestamp: Hlc,
    /// `durable` counts every member's writes up to this time.
    pub(crate) resolved: Hlc,
    /// Every member that the sender knows of has announced to have resolved this time.
    pub(crate) held: Hlc,
    /// The removed members that the sender durably knows of: see [`kv_core::Members::digest`].
    pub(crate) members: u64,
}

/// The next writes of one of the sender's origins, without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) rows: Vec<Row>,
}

/// Requests the next rows of a catch-up session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) session: u64,
    /// The number of this request in its session, from 1.
    pub(crate) batch: u32,
    /// The sender has not joined yet: it has nothing that a dropped tombstone would have to delete.
    pub(crate) is_new: bool,
    pub(crate) after: Option<Dot>,
    pub(crate) since: VersionVector,
}

/// Some rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) session: u64,
    pub(crate) batch: u32,
    /// Names the reading of the batch: pages of two readings are never mixed.
    pub(crate) stamp: u64,
    /// The number of the snapshot that it was read from.
    pub(crate) commit: u64,
    pub(crate) index: u16,
    /// Only in the first page.
    pub(crate) head: Option<PageHead>,
    pub(crate) end: End,
    pub(crate) rows: Vec<Row>,
}

/// The vectors of a batch's snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageHead {
    /// What it counts.
    pub(crate) vector: VersionVector,
    /// What was collected.
    pub(crate) collected: VersionVector,
}

/// What follows a page.
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
    /// A tombstone that the receiver lacked when it asked was dropped. The vector counts what was
    /// collected: the receiver may have received it on another way since.
    Gone(VersionVector),
    /// Not now.
    Busy,
}

/// Requests bytes of a large body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GetBody {
    pub(crate) fetch: u64,
    pub(crate) namespace: NamespaceId,
    pub(crate) dot: Dot,
    /// A whole number of chunks.
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) key: Key,
}
