//! Bounded reading and writing of bytes: big-endian integers, and lengths that are checked before
//! anything is taken.

/// Why bytes are not what they should be. Nothing was changed; the same bytes fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub &'static str);

/// Takes values from the front of a slice; each call answers [`DecodeError`] where too little is left.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins at the front.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(DecodeError("cut short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecodeError("cut short"))?;
        self.0 = tail;
        Ok(*head)
    }

    /// The next byte.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next sixteen bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn id(&mut self) -> Result<[u8; 16], DecodeError> {
        self.array()
    }

    /// The next 32 bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn digest(&mut self) -> Result<[u8; 32], DecodeError> {
        self.array()
    }

    /// A text with its length in two bytes before it, of at most `max` bytes.
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

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// If bytes are left over.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError("bytes left over")) }
    }
}

/// Appends a text behind its length in two bytes. The caller has checked the text's bound.
///
/// # Panics
/// If the text has 64 KiB or more.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    let length =
        u16::try_from(text.len()).expect("texts are bounded below 64 KiB where they enter");
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
