//! The numbers of the kinds of message.

/// See [`Message::Hello`](super::Message::Hello).
pub(super) const HELLO: u8 = 1;
pub(super) const PROGRESS: u8 = 2;
pub(super) const WANT: u8 = 3;
pub(super) const BEHIND: u8 = 4;
pub(super) const LIVE: u8 = 5;
pub(super) const PULL: u8 = 6;
pub(super) const PAGE: u8 = 7;
pub(super) const REFUSAL: u8 = 8;
pub(super) const GET_BODY: u8 = 9;
pub(super) const PIECE: u8 = 10;
pub(super) const NO_BODY: u8 = 11;
pub(super) const DONE: u8 = 12;
pub(super) const REMOVED: u8 = 13;
pub(super) const ASK: u8 = 14;
pub(super) const ANSWER: u8 = 15;
