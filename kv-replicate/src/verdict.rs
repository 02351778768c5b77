//! The result of a verification.

use std::time::Duration;

use kv_core::OriginId;

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
    /// The keys that differed at each reading, and of which that is no error yet. They may become equal, or not.
    pub unsettled: Unsettled,
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
            && (self.differing, self.unsettled.keys(), self.damaged) == (0, 0, [0, 0])
    }
}

/// Why a key that differs can't be compared yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A write has not arrived here. It was made under this origin.
    NotHere(OriginId),
    /// A write has not arrived at the other location. It was made under this origin.
    NotThere(OriginId),
    /// It has expired by the clock of one location, and not by that of the other.
    Clocks,
    /// It was written during the readings.
    Written,
}

/// Keys that can't be compared yet, by the [`Reason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Keys of which a write has not arrived here.
    pub not_here: u64,
    /// Keys of which a write has not arrived at the other location.
    pub not_there: u64,
    /// Keys that have expired by the clock of one location only.
    pub clocks: u64,
    /// Keys that were written during the readings.
    pub written: u64,
    /// The origin of a write that has not arrived: here, and there. The last ones that were met.
    pub origins: [Option<OriginId>; 2],
}

impl Unsettled {
    /// Counts a key.
    pub fn add(&mut self, reason: Reason) {
        match reason {
            Reason::NotHere(origin) => {
                self.not_here += 1;
                self.origins[0] = Some(origin);
            }
            Reason::NotThere(origin) => {
                self.not_there += 1;
                self.origins[1] = Some(origin);
            }
            Reason::Clocks => self.clocks += 1,
            Reason::Written => self.written += 1,
        }
    }

    /// The number of keys.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.not_here + self.not_there + self.clocks + self.written
    }
}

/// How far a verification is that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// How many rows of this location were compared.
    pub rows: u64,
    /// How many of them differ although they must not.
    pub differing: u64,
    /// The keys that are read again, and those that were read often enough.
    pub unsettled: Unsettled,
    /// How long it has run.
    pub lasting: Duration,
    /// What it waits for.
    pub waits: Waits,
}

/// What a verification waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The store of this location reads.
    Store,
    /// The question waits for room on the link.
    Link,
    /// The other location has not answered for so long.
    Peer(Duration),
    /// The other location can't read its disk, and is asked again.
    PeerUnreadable,
    /// Everything was compared but the unsettled keys, which are read again.
    Unsettled,
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
