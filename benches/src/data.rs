//! Keys and values that are the same in every run.

pub use waypost_tests::random::Random;

/// Length of [`key`].
pub const KEY_BYTES: usize = 20;

/// Key number `n`. Keys with consecutive numbers are far apart in byte order, like those of users.
#[must_use]
pub fn key(n: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"key-0000000000000000";
    let mut hash = Random::new(n).next();
    for digit in &mut key[4..] {
        *digit = b"0123456789abcdef"[usize::from(hash.to_be_bytes()[0] >> 4)];
        hash <<= 4;
    }
    key
}

/// `len` incompressible bytes that depend on `n` and begin with it.
#[must_use]
pub fn value(n: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(n);
    let mut value = n.to_be_bytes().to_vec();
    while value.len() < len {
        value.extend_from_slice(&random.next().to_be_bytes());
    }
    value.truncate(len);
    value
}
