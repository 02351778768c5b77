//! Numbers as a fuzz input says them: the ends of their range come as often as all between.

use arbitrary::{Arbitrary, Result, Unstructured};

/// A number, more often than not a small or a very large one.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub u64);

impl<'a> Arbitrary<'a> for Number {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Number> {
        Ok(Number(match u8::arbitrary(u)? {
            small @ 0..=127 => small.into(),
            large @ 128..=191 => u64::MAX - u64::from(large - 128),
            192..=223 => u32::arbitrary(u)?.into(),
            _ => u64::arbitrary(u)?,
        }))
    }

    fn size_hint(_depth: usize) -> (usize, Option<usize>) {
        (1, Some(9))
    }
}

impl Number {
    /// The number in 32 bits, its upper end kept.
    pub fn short(self) -> u32 {
        u32::try_from(self.0).unwrap_or_else(|_large| {
            u32::MAX - u32::try_from(u64::MAX - self.0).unwrap_or(u32::MAX / 2)
        })
    }
}
