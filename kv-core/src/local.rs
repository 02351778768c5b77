//! What a location keeps for itself: bytes under a name, beside the entries.
//!
//! It is no entry: it has no version and no dot, no peer gets it, and nothing merges. It is there
//! whole or not at all, for its row and its bodies are those of any value: large parts are staged
//! ahead, invisible, and one commit makes the row that names them.

use std::{fmt, vec};

use bytes::Bytes;

use crate::{
    body::{BodyReader, NewBody},
    codec::{DecodeError, Reader},
    entry::{Body, BodyId},
    error::{ReadError, WriteError},
    limits::{MAX_INLINE_BYTES, MAX_LOCAL_NAME_BYTES, MAX_LOCAL_PARTS, MAX_VALUE_BYTES},
    record::{Large, seal, unseal},
    schema::Table,
};

/// The layout of the rows.
const LAYOUT: u8 = 1;

const INLINE: u8 = 0;
const CHUNKED: u8 = 1;

/// A part of what is kept, as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// In the row.
    Inline(Bytes),
    /// In chunks.
    Large(Large),
}

pub(crate) fn check_name(name: &str) -> Result<(), WriteError> {
    if (1..=MAX_LOCAL_NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(WriteError::Invalid(format!("a local name has 1 to {MAX_LOCAL_NAME_BYTES} bytes")))
}

pub(crate) fn check_parts(parts: &[NewBody]) -> Result<(), WriteError> {
    if parts.len() <= MAX_LOCAL_PARTS {
        return Ok(());
    }
    let bytes = MAX_LOCAL_PARTS as u64 * MAX_VALUE_BYTES;
    Err(WriteError::Invalid(format!("a location keeps at most {bytes} bytes under one name")))
}

/// Writes the row of what is kept under `name`.
pub(crate) fn encode(name: &[u8], parts: &[Part]) -> Vec<u8> {
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
    seal(Table::Local, name, out)
}

/// Reads the row of what is kept under `name`.
pub(crate) fn decode(name: &[u8], row: &[u8]) -> Result<Vec<Part>, DecodeError> {
    let mut reader = Reader::new(unseal(Table::Local, name, row)?);
    if reader.u8()? != LAYOUT {
        return Err(DecodeError("an unknown layout"));
    }
    let count = usize::from(reader.u16()?);
    if count > MAX_LOCAL_PARTS {
        return Err(DecodeError("more parts than there can be"));
    }
    let parts = (0..count).map(|_| decode_part(&mut reader)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(parts)
}

fn decode_part(reader: &mut Reader<'_>) -> Result<Part, DecodeError> {
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

/// Reads what a location keeps under a name, piece by piece. Holds no snapshot; what is read is
/// what was there when the reader was made.
pub struct LocalReader {
    parts: vec::IntoIter<Body>,
    current: Option<BodyReader>,
    hasher: blake3::Hasher,
    len: u64,
}

impl fmt::Debug for LocalReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalReader").field("len", &self.len).finish_non_exhaustive()
    }
}

impl LocalReader {
    pub(crate) fn new(parts: Vec<Body>) -> LocalReader {
        let len = parts.iter().map(Body::len).sum();
        let hasher = blake3::Hasher::new();
        LocalReader { parts: parts.into_iter(), current: None, hasher, len }
    }

    /// How many bytes are kept.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether what is kept has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next piece, at most [`CHUNK_BYTES`](crate::limits::CHUNK_BYTES) long, cut where the
    /// store cuts and not as it was saved; none at the end. Reads the disk.
    ///
    /// # Errors
    /// If what follows is missing, damaged or not what was saved, or the engine can't read.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(reader) = &mut self.current {
                if let Some(chunk) = reader.next_chunk()? {
                    self.hasher.update(&chunk);
                    return Ok(Some(chunk));
                }
                if *self.hasher.finalize().as_bytes() != reader.digest() {
                    return Err(ReadError::DamagedBody("it has another digest"));
                }
                self.current = None;
            }
            match self.parts.next() {
                None => return Ok(None),
                Some(Body::Inline(bytes)) => return Ok(Some(bytes)),
                Some(Body::Large(reader)) => {
                    self.hasher.reset();
                    self.current = Some(reader);
                }
            }
        }
    }

    /// All of it, in memory.
    ///
    /// # Errors
    /// Those of [`LocalReader::next_chunk`].
    pub fn read(mut self) -> Result<Vec<u8>, ReadError> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
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
            prop_assert_eq!(decode(b"name", &encode(b"name", &parts)), Ok(parts));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(payload: Vec<u8>) {
            let _ignored = decode(b"name", &seal(Table::Local, b"name", payload));
        }
    }
}
