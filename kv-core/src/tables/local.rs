//! The rows of the bytes that a location keeps for itself, under a name, beside the entries.
//!
//! They are not entries: they have no version and no dot, no peer gets them, and nothing merges. They are
//! there whole or not at all, because large parts are staged ahead, invisible, and one commit writes the
//! row that names them.

use bytes::Bytes;

use super::layout::Layout;
use crate::{
    codec::{DecodeError, Reader},
    engine::Table,
    types::{
        BodyId, Large, LocalName,
        limits::{MAX_INLINE_BYTES, MAX_LOCAL_PARTS, MAX_VALUE_BYTES},
    },
};

/// The version of the layout.
const LAYOUT: u8 = 1;

/// The first byte of a part in the row; its length in two bytes and its bytes follow.
const INLINE: u8 = 0;
/// The first byte of a part in chunks; its body, length and digest follow.
const CHUNKED: u8 = 1;

/// A part of the bytes under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// In the row.
    Inline(Bytes),
    /// In chunks.
    Large(Large),
}

/// Name → the parts of the bytes under it.
pub(crate) struct LocalParts;

impl Layout for LocalParts {
    const TABLE: Table = Table::Local;
    type Key = LocalName;
    type Row = Vec<Part>;

    fn key(name: &LocalName) -> Vec<u8> {
        name.as_bytes().to_vec()
    }

    fn read_key(bytes: &[u8]) -> Result<LocalName, DecodeError> {
        let name = str::from_utf8(bytes).ok().and_then(|name| LocalName::new(name).ok());
        name.ok_or(DecodeError("an invalid local name"))
    }

    fn payload(parts: &Vec<Part>) -> Vec<u8> {
        let count = u16::try_from(parts.len()).expect("the number of parts is bounded");
        let mut out = vec![LAYOUT];
        out.extend_from_slice(&count.to_be_bytes());
        for part in parts {
            match part {
                Part::Inline(bytes) => {
                    let len = u16::try_from(bytes.len()).expect("an inline part is short");
                    out.push(INLINE);
                    out.extend_from_slice(&len.to_be_bytes());
                    out.extend_from_slice(bytes);
                }
                Part::Large(large) => {
                    out.push(CHUNKED);
                    out.extend_from_slice(&large.body.0.to_be_bytes());
                    out.extend_from_slice(&large.len.to_be_bytes());
                    out.extend_from_slice(&large.digest);
                }
            }
        }
        out
    }

    fn read_payload(bytes: &[u8]) -> Result<Vec<Part>, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != LAYOUT {
            return Err(DecodeError("an unknown layout"));
        }
        let count = usize::from(reader.u16()?);
        if count > MAX_LOCAL_PARTS {
            return Err(DecodeError("more parts than there can be"));
        }
        let parts = (0..count).map(|_| read_part(&mut reader)).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(parts)
    }
}

/// Reads the next part of a row.
fn read_part(reader: &mut Reader<'_>) -> Result<Part, DecodeError> {
    match reader.u8()? {
        INLINE => {
            let len = usize::from(reader.u16()?);
            if len > MAX_INLINE_BYTES {
                return Err(DecodeError("an inline part over its bound"));
            }
            reader.take(len).map(|bytes| Part::Inline(Bytes::copy_from_slice(bytes)))
        }
        CHUNKED => {
            let large =
                Large { body: BodyId(reader.u64()?), len: reader.u64()?, digest: reader.digest()? };
            if !(1..=MAX_VALUE_BYTES).contains(&large.len) {
                return Err(DecodeError("a part over its bound"));
            }
            Ok(Part::Large(large))
        }
        _ => Err(DecodeError("an unknown kind of part")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200)
                .prop_map(|bytes| Part::Inline(bytes.into())),
            (any::<u64>(), 1..=MAX_VALUE_BYTES, any::<[u8; 32]>()).prop_map(
                |(body, len, digest)| Part::Large(Large { body: BodyId(body), len, digest })
            ),
        ]
    }

    proptest! {
        #[test]
        fn a_row_reads_back_as_it_was_written(parts in proptest::collection::vec(part(), 0..9)) {
            let read = LocalParts::read_payload(&LocalParts::payload(&parts));
            prop_assert_eq!(read, Ok(parts));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(payload: Vec<u8>) {
            let _ignored = LocalParts::read_payload(&payload);
        }
    }
}
