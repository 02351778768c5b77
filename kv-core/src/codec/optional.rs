//! Optional fields, which may follow the fixed fields of a message or of a row's value. A program skips those that it
//! does not know, so that a later version can add some.
//!
//! Each has a tag (one byte, not 0), a length (two bytes) and that many bytes. Tags rise, so that each occurs once.

use bytes::BufMut;

use super::{DecodeError, Reader};

/// Reads optional fields: the tag and the bytes of each. After an error it returns none.
pub struct OptionalFields<'a> {
    /// The bytes that are left.
    reader: Reader<'a>,
    /// The tag of the last field; 0 before the first.
    last: u8,
}

impl<'a> OptionalFields<'a> {
    /// Makes a reader of the bytes behind the fixed fields.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        OptionalFields { reader: Reader::new(bytes), last: 0 }
    }

    /// Reads the next field.
    fn field(&mut self) -> Result<(u8, &'a [u8]), DecodeError> {
        let tag = self.reader.u8()?;
        if tag <= self.last {
            return Err(DecodeError("optional fields that are not in order"));
        }
        self.last = tag;
        let length = usize::from(self.reader.u16()?);
        Ok((tag, self.reader.take(length)?))
    }
}

impl<'a> Iterator for OptionalFields<'a> {
    type Item = Result<(u8, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.remaining() == 0 {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(field)
    }
}

/// Appends an optional field. Fields are appended by rising tags.
///
/// # Panics
/// If the field has 64 KiB or more: its type bounds it below that.
pub fn put_optional_field(out: &mut impl BufMut, tag: u8, bytes: &[u8]) {
    out.put_u8(tag);
    out.put_u16(u16::try_from(bytes.len()).expect("optional fields are short"));
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u8, &[u8])>, DecodeError> {
        OptionalFields::new(bytes).collect()
    }

    #[test]
    fn optional_fields_read_back_in_their_order() {
        let mut bytes = Vec::new();
        put_optional_field(&mut bytes, 1, b"one");
        put_optional_field(&mut bytes, 200, b"");
        assert_eq!(read(&bytes), Ok(vec![(1, &b"one"[..]), (200, b"")]));
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn malformed_optional_fields_are_an_error_once() {
        for bytes in
            [&[1][..], &[1, 0], &[1, 0, 1], &[0, 0, 0], &[2, 0, 0, 2, 0, 0], &[2, 0, 0, 1, 0, 0]]
        {
            assert!(read(bytes).is_err(), "{bytes:?}");
            assert!(OptionalFields::new(bytes).count() <= 2, "{bytes:?}");
        }
    }
}
