//! The counter that a request belongs to: a keyed hash of its name.
//!
//! The hash is foldhash, the default of hashbrown, with a secret of 128 bits. It costs 3 ns. Only a client
//! that knows the secret can aim at collisions or at a set of the table, because no hash leaves the
//! limiter.
//!
//! The low 46 of the 64 bits are the fingerprint that a slot keeps, and the high bits choose the set. Two
//! live keys share a counter if both agree. That is so for one in 10^14 pairs of keys in a set, and so
//! for about one in 10^13 new keys. Such keys are limited together.
//!
//! If guests have a share of the table, their hashes are the upper half of all, and the others the lower
//! half. A set is a range of hashes, so the two never meet in one.

use std::fmt;
use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::request::Request;

/// The bits of a hash that a slot keeps.
pub(crate) const FINGERPRINT_BITS: u32 = 46;

/// Hashes requests with a secret.
pub(crate) struct Identity {
    secret: [u8; 16],
    /// Whether guests have a share.
    guests: bool,
    seed: u64,
    shared: SharedSeed,
}

/// Leaves the secret out.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    pub(crate) fn new(secret: [u8; 16], guests: bool) -> Identity {
        let (first, second) = secret.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Identity {
            secret,
            guests,
            seed: number(first),
            shared: SharedSeed::from_u64(number(second)),
        }
    }

    pub(crate) fn secret(&self) -> [u8; 16] {
        self.secret
    }

    /// Returns whether guests have a share.
    pub(crate) fn has_guests(&self) -> bool {
        self.guests
    }

    /// Returns whether a hash is in the share of guests.
    pub(crate) fn is_guest(&self, hash: u64) -> bool {
        self.guests && hash >> 63 == 1
    }

    /// Returns the hash of (namespace, key, period, algorithm, scope).
    #[inline(always)]
    pub(crate) fn of(&self, request: &Request<'_>) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        // The length separates ("ab", "c") from ("a", "bc").
        let limit = &request.limit;
        hasher.write_u64(
            u64::from(limit.is_global()) << 63 | limit.window_id() << 2 | limit.algorithm() as u64,
        );
        hasher.write_usize(request.namespace.len());
        hasher.write(request.namespace);
        hasher.write(request.key);
        let hash = hasher.finish();
        if self.guests { hash >> 1 | u64::from(request.limit.is_guest()) << 63 } else { hash }
    }

    /// Returns the hash of a fixed text. A save carries it: with another hash function no saved counter
    /// would be found.
    pub(crate) fn mark(&self) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(b"The mark of a hash function that has not changed.");
        hasher.finish()
    }
}
