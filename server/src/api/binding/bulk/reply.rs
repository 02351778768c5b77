//! The reply to a bulk get: one JSON object, written as the client takes it.

use std::vec::IntoIter;

use bytes::Bytes;
use kv_core::{Body as Value, BodyReader, Entry, Metadata, ReadError};

use super::super::{
    json::{self, Decoder},
    metadata,
    pieces::{self, Pieces},
};
use crate::body::Body;

/// A piece of a reply has at least so many bytes, its end aside.
const PIECE_BYTES: usize = 64 * 1024;

/// What the reply to a bulk get looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Values are the JSON that they hold, not strings. They must have been checked.
    pub is_json: bool,
    /// Each value has its metadata beside it.
    pub with_metadata: bool,
}

/// Writes the reply: an object from key to value, or null. Holds one chunk of one value.
pub struct Reply {
    entries: IntoIter<(String, Option<Entry>)>,
    shape: Shape,
    out: Vec<u8>,
    open: Option<Open>,
    is_first: bool,
    is_done: bool,
}

/// A large value that is being written.
struct Open {
    reader: BodyReader,
    decoder: Decoder,
    metadata: Option<Metadata>,
}

impl Reply {
    /// A reply of these keys, each with what it holds.
    #[must_use]
    pub fn new(entries: Vec<(String, Option<Entry>)>, shape: Shape) -> Reply {
        let entries = entries.into_iter();
        Reply { entries, shape, out: Vec::new(), open: None, is_first: true, is_done: false }
    }

    /// The reply as a body: at hand if it is short, else in pieces.
    pub(super) fn into_body(mut self) -> Result<Body, ReadError> {
        self.fill()?;
        if self.is_done {
            return Ok(Body::full(self.out));
        }
        Ok(pieces::body(self, None))
    }

    /// Writes until there is enough for a piece.
    fn fill(&mut self) -> Result<(), ReadError> {
        while !self.is_done && self.out.len() < PIECE_BYTES {
            match self.open.take() {
                Some(open) => self.open = self.go_on(open)?,
                None => self.open = self.begin_next(),
            }
        }
        Ok(())
    }

    /// Writes the next key, and its value if that is at hand.
    fn begin_next(&mut self) -> Option<Open> {
        let Some((key, entry)) = self.entries.next() else {
            self.out.extend_from_slice(if self.is_first { b"{}" } else { b"}" });
            self.is_done = true;
            return None;
        };
        self.out.push(if self.is_first { b'{' } else { b',' });
        self.is_first = false;
        json::push_string(&mut self.out, &key);
        self.out.push(b':');
        let Some(Entry { body, metadata, .. }) = entry else {
            self.out.extend_from_slice(b"null");
            return None;
        };
        self.out.extend_from_slice(self.around_value().0);
        let mut decoder = Decoder::default();
        match body {
            Value::Large(reader) => return Some(Open { reader, decoder, metadata }),
            Value::Inline(value) => {
                self.write_value(&mut decoder, &value);
                self.end_value(decoder, metadata.as_deref());
            }
        }
        None
    }

    /// Writes the next chunk of a large value, or its end.
    fn go_on(&mut self, mut open: Open) -> Result<Option<Open>, ReadError> {
        if let Some(chunk) = open.reader.next_chunk()? {
            self.write_value(&mut open.decoder, &chunk);
            return Ok(Some(open));
        }
        self.end_value(open.decoder, open.metadata.as_deref());
        Ok(None)
    }

    fn write_value(&mut self, decoder: &mut Decoder, bytes: &[u8]) {
        decoder.push(bytes, sink(&mut self.out, self.shape.is_json));
    }

    fn end_value(&mut self, decoder: Decoder, metadata: Option<&str>) {
        decoder.finish(sink(&mut self.out, self.shape.is_json));
        self.out.extend_from_slice(self.around_value().1);
        if self.shape.with_metadata {
            match metadata {
                None => self.out.extend_from_slice(b"null"),
                Some(text) if metadata::is_json(text) => {
                    self.out.extend_from_slice(text.as_bytes())
                }
                // An embedded writer put what is not JSON; one such text must not break them all.
                Some(text) => json::push_string(&mut self.out, text),
            }
            self.out.push(b'}');
        }
    }

    /// What stands before and behind a value.
    fn around_value(&self) -> (&'static [u8], &'static [u8]) {
        match (self.shape.with_metadata, self.shape.is_json) {
            (false, true) => (b"", b""),
            (false, false) => (b"\"", b"\""),
            (true, true) => (b"{\"value\":", b",\"metadata\":"),
            (true, false) => (b"{\"value\":\"", b"\",\"metadata\":"),
        }
    }
}

/// Where the text of a value goes.
fn sink(out: &mut Vec<u8>, is_json: bool) -> impl FnMut(&str) {
    move |text| match is_json {
        true => out.extend_from_slice(text.as_bytes()),
        false => json::push_escaped(out, text),
    }
}

impl Pieces for Reply {
    fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.fill()?;
        let piece = std::mem::take(&mut self.out);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

#[cfg(test)]
mod tests;
