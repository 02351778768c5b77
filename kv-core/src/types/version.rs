//! Versions order writes; dots count them.

use std::fmt;

use super::{hlc::Hlc, id::OriginId};

/// The version of an entry. The larger version wins at every location: by time, then by origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The time of the write.
    pub hlc: Hlc,
    /// The origin that wrote it.
    pub origin: OriginId,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The form of an `ETag`: 16 digits of time, a hyphen, 32 digits of origin.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.hlc.0, self.origin)
    }
}

/// The name of one write: its origin and its sequence number there.
///
/// Sequence numbers are dense from 1 and follow the order of commits, so that one number describes
/// everything up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The origin that wrote it.
    pub origin: OriginId,
    /// Its sequence number among that origin's writes, from 1.
    pub seq: u64,
}
