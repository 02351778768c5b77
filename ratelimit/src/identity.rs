//! Which counter a hit belongs to: a keyed hash.
//!
//! foldhash, the hash of hashbrown, with a secret of 128 bits: its collisions and the places of a table
//! can be aimed at only by who knows the secret, for no hash ever leaves the limiter. It costs 3 ns.
//!
//! Of the 64 bits the low 46 are the fingerprint that is compared, and the high ones choose the set.
//! Two live keys share a counter if both agree: one pair in 10^14 of those that meet in a set, so one of
//! 10^13 new keys. They would then be limited together.

use std::fmt;
use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::hit::Hit;

/// The bits of a hash that a place keeps.
pub(crate) const FINGERPRINT_BITS: u32 = 46;

/// Hashes hits with a secret.
pub(crate) struct Identity {
    secret: [u8; 16],
    seed: u64,
    shared: SharedSeed,
}

/// Says nothing of the secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    pub(crate) fn new(secret: [u8; 16]) -> Identity {
        let (first, second) = secret.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Identity { secret, seed: number(first), shared: SharedSeed::from_u64(number(second)) }
    }

    pub(crate) fn secret(&self) -> [u8; 16] {
        self.secret
    }

    /// The hash of (namespace, key, period, algorithm).
    #[inline(always)]
    pub(crate) fn of(&self, hit: &Hit<'_>) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        // The lengths keep ("ab", "c") and ("a", "bc") apart.
        hasher.write_u64(hit.limit.period_ms() << 2 | hit.limit.algorithm() as u64);
        hasher.write_usize(hit.namespace.len());
        hasher.write(hit.namespace);
        hasher.write(hit.key);
        hasher.finish()
    }

    /// The hash of a fixed text. Saved counters are found again only by the same hash function.
    pub(crate) fn mark(&self) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(b"The mark of a hash function that has not changed.");
        hasher.finish()
    }
}
