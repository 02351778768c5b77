//! What orders writes and what counts them: versions and dots.

use std::fmt;

use crate::{Hlc, OriginId};

/// The version of an entry. The larger wins, everywhere: by time, then by origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// When it was written.
    pub hlc: Hlc,
    /// Which store wrote it.
    pub origin: OriginId,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// As in an `ETag`: 16 digits of time, a hyphen, 32 digits of origin.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.hlc.0, self.origin)
    }
}

/// The name of one write: the origin that made it and its number there.
///
/// Numbers are dense from 1 and given in commit order, so that "all up to n" is a complete
/// statement about an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Which store wrote it.
    pub origin: OriginId,
    /// Its number among that origin's writes, from 1.
    pub seq: u64,
}
