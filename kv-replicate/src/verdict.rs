//! What a verification comes to.

use crate::{
    MemberId,
    inspect::{Held, Place},
};

/// A key that two locations hold differently, although both have seen the writes of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// With whom.
    pub peer: MemberId,
    /// Which row; of the system namespace perhaps.
    pub place: Place,
    /// What is here; none if nothing.
    pub ours: Option<Held>,
    /// What is there; none if nothing.
    pub theirs: Option<Held>,
}

/// What a verification came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// With whom.
    pub peer: MemberId,
    /// How many rows of this location were compared.
    pub rows: u64,
    /// How many keys are held differently, and by right should not be.
    pub differing: u64,
    /// Which: the first 100 of them.
    pub places: Vec<Place>,
    /// How many keys were held differently by two that had not yet seen the same, each time that it was
    /// looked. They may be equal soon; or not.
    pub unsettled: u64,
    /// How many rows could not be read: here, and there. Those that have a name are also among the
    /// differing ones.
    pub damaged: [u64; 2],
    /// Whether all was compared.
    pub ending: Ending,
}

impl Verdict {
    /// Whether all was compared and is equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.ending == Ending::Complete
            && (self.differing, self.unsettled, self.damaged) == (0, 0, [0, 0])
    }
}

/// How a verification ended. Where not all was compared, the verdict's numbers are of what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All was compared.
    Complete,
    /// There is no link to the peer (any more), or it was started anew.
    LinkLost,
    /// The peer does not answer.
    PeerSilent,
    /// The peer can't read its disk.
    PeerUnreadable,
    /// This location can't read its disk.
    Unreadable,
}
