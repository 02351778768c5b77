//! The result of a verification.

use crate::{
    MemberId,
    inspect::{Held, Place},
};

/// A key that two locations hold differently, although both have seen the writes of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The other location.
    pub peer: MemberId,
    /// The row, possibly of the system namespace.
    pub place: Place,
    /// The row here, if there is one.
    pub ours: Option<Held>,
    /// The row there, if there is one.
    pub theirs: Option<Held>,
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The other location.
    pub peer: MemberId,
    /// How many rows of this location were compared.
    pub rows: u64,
    /// How many keys differ although they must not.
    pub differing: u64,
    /// The first 100 of these keys.
    pub places: Vec<Place>,
    /// How many keys differed at each reading while the two locations had not received the same writes. They
    /// may become equal, or not.
    pub unsettled: u64,
    /// How many rows could not be read or are owed: here, and there. Those whose key is known also count as
    /// differing, unless the two locations show the same row.
    pub damaged: [u64; 2],
    /// How the verification ended.
    pub ending: Ending,
}

impl Verdict {
    /// Whether everything was compared and is equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.ending == Ending::Complete
            && (self.differing, self.unsettled, self.damaged) == (0, 0, [0, 0])
    }
}

/// How a verification ended. Unless it is complete, the verdict counts only what was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was compared.
    Complete,
    /// There is no link to the peer any more, or the peer was restarted.
    LinkLost,
    /// The peer does not answer.
    PeerSilent,
    /// The peer can't read its disk.
    PeerUnreadable,
    /// This location can't read its disk.
    Unreadable,
}
