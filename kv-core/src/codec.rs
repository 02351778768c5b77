//! Bounded reading and writing of bytes: big-endian integers, and lengths that are checked before
//! anything is read.
//!
//! `bytes::Buf` has checked reads of integers too (`try_get_*`), but it copies everything longer: keys and values are
//! borrowed from the row here.

mod optional;

pub use optional::{OptionalFields, put_optional_field};

/// Why bytes can't be decoded. The same bytes fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub &'static str);

/// Reads values from the front of a slice. Each call returns [`DecodeError`] if too few bytes are left.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Makes a reader that starts at the front.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// Reads the next `n` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(DecodeError("cut short"))?;
        self.0 = tail;
        Ok(head)
    }

    /// Reads the next `N` bytes.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecodeError("cut short"))?;
        self.0 = tail;
        Ok(*head)
    }

    /// Reads the next byte.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads the next two bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads the next four bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads the next eight bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads the next sixteen bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn id(&mut self) -> Result<[u8; 16], DecodeError> {
        self.array()
    }

    /// Reads the next 32 bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn digest(&mut self) -> Result<[u8; 32], DecodeError> {
        self.array()
    }

    /// Reads a text of at most `max` bytes, whose length is in the two bytes before it.
    ///
    /// # Errors
    /// If fewer bytes are left, the text is longer, or not UTF-8.
    pub fn text(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        let length = usize::from(self.u16()?);
        if length > max {
            return Err(DecodeError("a text over its bound"));
        }
        std::str::from_utf8(self.take(length)?).map_err(|_invalid| DecodeError("a text not UTF-8"))
    }

    /// Returns all bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Returns how many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Checks that no bytes are left.
    ///
    /// # Errors
    /// If bytes are left over.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError("bytes left over")) }
    }
}

/// Appends the length of a text in two bytes, then the text. The caller has checked its bound.
///
/// # Panics
/// If the text has 64 KiB or more.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("the types of texts bound them below 64 KiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_past_the_end_is_an_error_and_not_a_panic() {
        assert_eq!(Reader::new(&[0, 9, b'x']).text(100), Err(DecodeError("cut short")));
        assert_eq!(Reader::new(&[0, 9, b'x']).text(8), Err(DecodeError("a text over its bound")));
        assert_eq!(Reader::new(&[1, 2, 3]).u32(), Err(DecodeError("cut short")));
    }
}
