//! Numbers in fuzz inputs: the ends of their range are as frequent as all numbers in between.

use arbitrary::{Arbitrary, Result, Unstructured};

/// A number that is more often than not very small or very large.
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
    /// The number in 32 bits, with its upper end preserved.
    pub fn short(self) -> u32 {
        u32::try_from(self.0).unwrap_or_else(|_large| {
            u32::MAX - u32::try_from(u64::MAX - self.0).unwrap_or(u32::MAX / 2)
        })
    }
}
