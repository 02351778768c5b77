//! What a location reports of its own state to its peers.

use crate::MemberId;

/// The most conditions that a location reports to a peer. Further ones are not sent.
pub const MAX_CONDITIONS: usize = 64;

/// A condition that a location reports of itself, so that the status of its peers can show it. The owner of a core
/// decides which there are: replication only carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which condition it is, as the owners of cores number them.
    pub code: u16,
    /// The location that it is about, if it is about one other.
    pub about: Option<MemberId>,
    /// For how long it has lasted, in milliseconds, at the time at which it is given or was received.
    pub for_ms: u64,
}

impl Condition {
    /// Whether another one is the same, however long it lasts.
    pub(crate) fn is_same(&self, other: &Condition) -> bool {
        (self.code, self.about) == (other.code, other.about)
    }
}
