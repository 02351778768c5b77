//! The messages to the task that owns the core.

use bytes::Bytes;
use kv_core::MemberId;
use tokio::sync::oneshot;

use super::{
    config::Identity,
    error::{QueryError, StartError},
    link_error::LinkError,
    proven::Proven,
    status::Status,
};
use crate::{Condition, Verdict};

/// A report of a link or of an attempt to make one.
#[derive(Debug)]
pub(super) enum Input {
    /// A link can come up: its peer has proven its identity.
    Up(Proven),
    /// An attempt to dial a peer has failed.
    NotReached { peer: MemberId, error: LinkError },
    /// A message arrived on the link of this number.
    Received { from: MemberId, number: u64, bytes: Bytes },
    /// The link of this number has ended.
    Down { peer: MemberId, number: u64, error: LinkError },
    /// The owner has kept the writes of the notice of this number, or could not.
    Kept { id: u64, is_kept: bool },
}

/// A request of the replica's owner.
#[derive(Debug)]
pub(super) enum Query {
    /// The state of the replica and its links.
    Status(oneshot::Sender<Status>),
    /// A verification with this member; the verdict comes once it has ended.
    Verify(MemberId, oneshot::Sender<Result<Verdict, QueryError>>),
    /// The state of this location as it is reported to peers.
    SetConditions(Vec<Condition>),
    /// Pieces of usage of global limits, each for one peer or for all.
    Usage(Vec<(Option<MemberId>, Bytes)>),
    /// All links are closed, for this reason.
    Unlink(&'static str),
    /// Another proof of this location's identity.
    SetIdentity(Box<Identity>, oneshot::Sender<Result<(), StartError>>),
}
