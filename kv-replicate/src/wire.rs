//! What locations say to each other, and its bytes: see "Between locations" in FORMAT.md.
//!
//! A message begins with its version and kind and with the *boots* of both ends: the random number
//! that each took when it was started. What was meant for an earlier start, or comes from one, is
//! passed over.

use bytes::Bytes;
use kv_core::{Dot, Hlc, Key, MemberId, NamespaceId, OriginId, VersionVector, codec::DecodeError};

use crate::{
    inspect::{Answer, Ask},
    row::Row,
};

mod decode;
mod encode;
mod inspect;
#[cfg(test)]
mod tests;

pub(crate) use decode::decode;
pub(crate) use encode::{Frame, encode, encode_row};

/// The version of the messages that this program sends, and the only one that it understands yet.
pub const WIRE_VERSION: u16 = 1;

/// The longest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 128 << 10;

/// About how many bytes of rows are put in one message.
pub(crate) const BATCH_BYTES: usize = 60 << 10;

/// The most origins in a vector.
pub(crate) const MAX_ORIGINS: usize = 1024;

/// The most rows in a message: what takes little on the wire takes more in memory.
pub(crate) const MAX_ROWS: usize = 1024;

/// The most bytes that one request for a body's bytes asks for.
pub(crate) const MAX_ASKED_BYTES: u32 = 16 * 65_280;

/// Decodes bytes from anywhere, and says what they are: what a fuzzer calls.
///
/// # Errors
/// If they are no message.
pub fn check_message(bytes: &[u8]) -> Result<(), DecodeError> {
    let (_, message) = decode(&Bytes::copy_from_slice(bytes))?;
    let _used = format!("{message:?}");
    Ok(())
}

/// Decodes a message and encodes it again: what a program of this version sent comes out as it was.
///
/// # Errors
/// If the bytes are no message.
pub fn reencode_message(bytes: &Bytes) -> Result<Bytes, DecodeError> {
    let (incarnations, message) = decode(bytes)?;
    Ok(encode(incarnations, &message))
}

/// Who sends, and to whom, by the random numbers of their starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnations {
    pub(crate) from: u64,
    /// 0 if the sender has not heard from the other yet.
    pub(crate) to: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Hello),
    Progress(Progress),
    /// Send live from behind these numbers, one for each of the receiver's origins.
    Want([u64; 2]),
    /// What was wanted is no longer in memory: catch up.
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
    /// The body that was asked for is not there any more.
    NoBody {
        fetch: u64,
    },
    /// The receiver of a session needs no more of it.
    Done {
        session: u64,
    },
    /// The receiver was taken out of the cluster.
    Removed,
    /// Asks for what a verification compares.
    Ask {
        verify: u64,
        /// The number of this question in its verification, from 1.
        step: u32,
        ask: Ask,
    },
    Answer {
        verify: u64,
        step: u32,
        /// None if it can't be read now.
        answer: Option<Answer>,
    },
}

/// Who one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The lowest and highest version of messages that is understood.
    pub(crate) versions: (u16, u16),
    /// Bits of what is understood beyond the version; none yet.
    pub(crate) features: u64,
    pub(crate) cluster: [u8; 16],
    pub(crate) member: MemberId,
    pub(crate) origins: [OriginId; 2],
    pub(crate) received: VersionVector,
}

/// What one has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Rises with each that is sent.
    pub(crate) number: u64,
    /// What survives a crash.
    pub(crate) durable: VersionVector,
    /// What is visible: at least `durable`.
    pub(crate) received: VersionVector,
    /// Of the sender's own origins `durable` counts all writes up to this time.
    pub(crate) closed_timestamp: Hlc,
    /// `durable` counts every member's writes up to this time.
    pub(crate) resolved: Hlc,
    /// Every member that it knows of has said to be complete up to this time.
    pub(crate) held: Hlc,
    /// Whom the sender durably knows as members, and who left: see [`kv_core::Members::digest`].
    pub(crate) members: u64,
}

/// The next writes of one of the sender's origins, without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) rows: Vec<Row>,
}

/// Asks for the next rows of a catch-up session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) session: u64,
    /// The number of this request in its session, from 1.
    pub(crate) batch: u32,
    /// The asker has not joined yet: it has nothing that a dropped tombstone would have to delete.
    pub(crate) is_new: bool,
    pub(crate) after: Option<Dot>,
    pub(crate) since: VersionVector,
}

/// Some rows of a burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) session: u64,
    pub(crate) batch: u32,
    /// Which burst it is of: pages of two are never mixed.
    pub(crate) stamp: u64,
    /// The number of the snapshot that it was read in.
    pub(crate) commit: u64,
    pub(crate) index: u16,
    /// In the first page.
    pub(crate) head: Option<PageHead>,
    pub(crate) end: End,
    pub(crate) rows: Vec<Row>,
}

/// What a burst's snapshot says.
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
    /// Another page of this burst.
    Page,
    /// Another burst, after this dot.
    Batch(Dot),
    /// Nothing.
    Round,
}

/// Why a source does not serve a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A tombstone that the receiver lacked when it asked is gone. What was collected: the receiver may
    /// have got it on another way since.
    Gone(VersionVector),
    /// Not now.
    Busy,
}

/// Asks for bytes of a large body.
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
