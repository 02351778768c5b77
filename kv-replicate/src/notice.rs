//! What a core reports to its owner: notices.

use std::borrow::Cow;

use bytes::Bytes;
use kv_core::OriginId;

use crate::{
    ClockState, HaltReason, MemberId, SalvagedRow,
    verdict::{Difference, Verdict},
};

/// A notice for the owner of a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The link to a peer must be closed: the peer violated the protocol.
    Close {
        /// The peer.
        peer: MemberId,
        /// The rule that it violated.
        reason: Cow<'static, str>,
    },
    /// This location has everything that its first source had, and takes part from now on.
    Joined,
    /// A peer sent a message of a kind that this program does not know. Only the first of each kind is reported; see
    /// [`Core::skipped`](crate::Core::skipped).
    SkippedMessage {
        /// The peer.
        peer: MemberId,
        /// The kind.
        kind: u8,
    },
    /// A peer sent a message with an optional field that this program does not know. Only the first field of each kind
    /// of message is reported.
    SkippedField {
        /// The peer.
        peer: MemberId,
        /// The kind of the message.
        kind: u8,
        /// The tag of the field.
        tag: u8,
    },
    /// A session with a peer has begun.
    SessionBegan(MemberId),
    /// A session is done and its vector was adopted.
    SessionDone(MemberId),
    /// A session was given up; another will begin.
    SessionLost(MemberId),
    /// A session can't continue now, for example because its link is down. It continues later, from where it
    /// was.
    SessionSuspended(MemberId),
    /// A session's request was repeated, because rows were lost or late.
    SessionResumed(MemberId),
    /// A suspended session continues.
    SessionTakenUp(MemberId),
    /// A peer's live stream had a gap; the missing writes were requested.
    Gap(MemberId),
    /// A peer needs writes that the backlog does not have any more.
    BacklogLost(MemberId),
    /// This location's clock is off, or it differs from the only other one that is heard.
    ClockOff(ClockState),
    /// This location's clock is no longer off.
    ClockRight,
    /// A body from a peer was gone, or did not arrive, before it was whole.
    BodyLost(MemberId),
    /// A body was overwritten at its source before it was whole: the later write is taken instead.
    BodyReplaced(MemberId),
    /// This store lacks deletions that are so old that the peer has dropped their tombstones, as after it was
    /// restored from an old image. It is rebuilt in place: until [`Notice::Rebuilt`] it serves no peer.
    Rebuilding(MemberId),
    /// This store is rebuilt, and takes part again.
    Rebuilt,
    /// A peer presents this location's own identity: another process runs as this location, on a copy of its
    /// directory. Of two such processes only the one that started later takes writes.
    CopyRuns,
    /// A rebuild is about to drop writes of this store that its source has not received, and that are older than what all
    /// members have resolved: they may have been deleted since by one that did not see them. The owner keeps them, durably,
    /// and answers with [`Event::Kept`](crate::Event::Kept): they are dropped then, or stay if they can't be kept. The
    /// values are whole, however large they are, except for parts that can't be read. A write may be reported more than once.
    Salvage {
        /// Names the answer.
        id: u64,
        /// The writes: about 32 MiB of them, or one.
        rows: Vec<SalvagedRow>,
    },
    /// A peer has sent a piece of usage of global limits.
    Usage {
        /// The peer.
        from: MemberId,
        /// The piece.
        piece: Bytes,
    },
    /// A link to a peer has come up, or pieces of usage to it were dropped: the owner should send it everything that it
    /// knows of global limits, with [`Core::send_usage`](crate::Core::send_usage).
    UsageWanted(MemberId),
    /// Pieces of usage reach this peer no more, until they are wanted again.
    UsageEnded(MemberId),
    /// This store does not replicate any more.
    Halted(HaltReason),
    /// A peer has another write of the same version as one that is here: two stores write under one
    /// identity, and neither is this one. Each keeps what it has until the key is written again.
    Conflict(MemberId),
    /// A peer sent a row that no correct store makes.
    Refused {
        /// The peer.
        peer: MemberId,
        /// The rule that the row violates.
        reason: &'static str,
    },
    /// A peer has not made as many writes of an origin of its own as were counted here: another member has lied. The origin
    /// is counted from its beginning again.
    Disowned {
        /// The peer.
        peer: MemberId,
        /// The origin.
        origin: OriginId,
    },
    /// The progress of a verification, reported every few thousand rows.
    Verifying {
        /// The peer.
        peer: MemberId,
        /// How many rows were compared.
        rows: u64,
        /// How many keys of those differ.
        differing: u64,
    },
    /// A verification found a key that differs. The first 100 are reported; the verdict counts all.
    Differs(Box<Difference>),
    /// A verification is over.
    Verified(Verdict),
}
