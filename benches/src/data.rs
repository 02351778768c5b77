//! The same keys and values in every run.

use std::ops::Range;

/// Length of [`key`].
pub const KEY_BYTES: usize = 20;

/// Key number `n`: numbers in a row lie far apart in byte order, as users' keys do.
#[must_use]
pub fn key(n: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"key-0000000000000000";
    let mut hash = Random::new(n).next_u64();
    for digit in &mut key[4..] {
        *digit = b"0123456789abcdef"[usize::from(hash.to_be_bytes()[0] >> 4)];
        hash <<= 4;
    }
    key
}

/// `len` bytes that don't compress, other ones for each `n`. They begin with `n`.
#[must_use]
pub fn value(n: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(n);
    let mut value = n.to_be_bytes().to_vec();
    while value.len() < len {
        value.extend_from_slice(&random.next_u64().to_be_bytes());
    }
    value.truncate(len);
    value
}

/// Random numbers from a seed: SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of a range, each about as likely.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next_u64() % (range.end - range.start)
    }
}
