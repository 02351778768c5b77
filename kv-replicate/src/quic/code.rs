//! The codes with which a connection is closed.

use quinn::VarInt;

/// This location does not need the link any more.
pub(super) const GOING: VarInt = VarInt::from_u32(0);
/// The peer violated the protocol.
pub(super) const WRONG: VarInt = VarInt::from_u32(1);
/// Another link between the same two replaces it.
pub(super) const DOUBLE: VarInt = VarInt::from_u32(2);
/// The peer has not proven that it is a member.
pub(super) const NOT_PROVEN: VarInt = VarInt::from_u32(3);
/// The core rejects the peer.
pub(super) const REJECTED: VarInt = VarInt::from_u32(4);
/// This location does not replicate any more; the reason says why.
pub(super) const HALTED: VarInt = VarInt::from_u32(5);
/// This location is shutting down.
pub(super) const STOPPING: VarInt = VarInt::from_u32(6);
