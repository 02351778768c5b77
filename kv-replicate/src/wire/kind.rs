//! The numbers of the kinds of message.

/// See [`Message::Hello`](super::Message::Hello).
pub(super) const HELLO: u8 = 1;
/// What has changed of the writes that the sender has, and its timestamps.
pub(super) const PROGRESS: u8 = 2;
/// A request for live writes.
pub(super) const WANT: u8 = 3;
/// The requested writes are no longer in the backlog.
pub(super) const BEHIND: u8 = 4;
/// New writes of one origin.
pub(super) const LIVE: u8 = 5;
/// A request for a batch of a session.
pub(super) const PULL: u8 = 6;
/// A part of a batch.
pub(super) const PAGE: u8 = 7;
/// A session is not served.
pub(super) const REFUSAL: u8 = 8;
/// A request for a part of a large body.
pub(super) const GET_BODY: u8 = 9;
/// A piece of a large body.
pub(super) const PIECE: u8 = 10;
/// The body is gone.
pub(super) const NO_BODY: u8 = 11;
/// A session is over.
pub(super) const DONE: u8 = 12;
/// The receiver was removed from the cluster.
pub(super) const REMOVED: u8 = 13;
/// A question of a verification.
pub(super) const ASK: u8 = 14;
/// The answer to a question.
pub(super) const ANSWER: u8 = 15;
/// A request for rows by name.
pub(super) const GET_ROWS: u8 = 20;
/// Rows by name.
pub(super) const ROWS: u8 = 21;
/// The sender's state, for the receiver's status.
pub(super) const REPORT: u8 = 22;
/// The writes of the receiver that the sender holds durably.
pub(super) const DURABLE: u8 = 23;
/// A piece of usage of global limits.
pub(super) const USAGE: u8 = 24;
