//! The reply to a bulk get: one JSON object, written as the client reads it.

use std::vec::IntoIter;

use bytes::Bytes;
use kv_core::{Body as Value, BodyReader, Entry, Metadata, ReadError};

use super::super::{
    metadata,
    text::{self, Decoder},
};
use crate::http::{
    Body,
    stream::{self, PIECE_BYTES, Pieces},
};

/// The form of the reply to a bulk get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether values are written as the JSON that they contain, which was checked before, and not as
    /// strings.
    pub is_json: bool,
    /// Whether each value has its metadata beside it.
    pub with_metadata: bool,
}

/// Writes the reply: an object from key to value, or null. One chunk of one value is in memory.
pub struct Reply {
    /// The keys that are not written yet, with their entries.
    entries: IntoIter<(String, Option<Entry>)>,
    /// The form of the reply.
    shape: Shape,
    /// The bytes that are written and not taken yet.
    out: Vec<u8>,
    /// The large value that is being written, if there is one.
    open: Option<Open>,
    /// Whether the next key is the first, so that no comma precedes it.
    is_first: bool,
    /// Whether the closing brace is written.
    is_done: bool,
    /// What follows the object.
    after: &'static [u8],
    /// Whether the expiration of an entry is written beside its metadata.
    with_expirations: bool,
}

/// A large value that is being written.
struct Open {
    /// Reads the value chunk by chunk.
    reader: BodyReader,
    /// Turns the chunks into the JSON of the reply.
    decoder: Decoder,
    /// The metadata to write behind the value.
    metadata: Option<Metadata>,
    /// When the entry expires, in Unix seconds.
    expires_at: Option<u64>,
}

impl Reply {
    /// A reply of these keys and their entries.
    #[must_use]
    pub fn new(entries: Vec<(String, Option<Entry>)>, shape: Shape) -> Reply {
        let entries = entries.into_iter();
        Reply {
            entries,
            shape,
            out: Vec::new(),
            open: None,
            is_first: true,
            is_done: false,
            after: b"",
            with_expirations: false,
        }
    }

    /// The reply inside of a larger document, with the expirations of the entries beside their metadata.
    #[must_use]
    pub fn inside(mut self, before: &'static [u8], after: &'static [u8]) -> Reply {
        self.out.extend_from_slice(before);
        Reply { after, with_expirations: true, ..self }
    }

    /// The reply as a body: in memory if it is short, else in pieces.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn into_body(mut self) -> Result<Body, ReadError> {
        self.fill()?;
        if self.is_done {
            return Ok(Body::full(self.out));
        }
        Ok(stream::body(self, None))
    }

    /// Writes until the buffer has enough for a piece.
    fn fill(&mut self) -> Result<(), ReadError> {
        while !self.is_done && self.out.len() < PIECE_BYTES {
            match self.open.take() {
                Some(open) => self.open = self.continue_value(open)?,
                None => self.open = self.begin_next(),
            }
        }
        Ok(())
    }

    /// Writes the next key, and its value if that is in memory.
    fn begin_next(&mut self) -> Option<Open> {
        let Some((key, entry)) = self.entries.next() else {
            self.out.extend_from_slice(if self.is_first { b"{}" } else { b"}" });
            self.out.extend_from_slice(self.after);
            self.is_done = true;
            return None;
        };
        self.out.push(if self.is_first { b'{' } else { b',' });
        self.is_first = false;
        text::push_string(&mut self.out, &key);
        self.out.push(b':');
        let Some(Entry { body, metadata, expires_at, .. }) = entry else {
            self.out.extend_from_slice(b"null");
            return None;
        };
        self.out.extend_from_slice(self.around_value().0);
        let mut decoder = Decoder::default();
        match body {
            Value::Large(reader) => return Some(Open { reader, decoder, metadata, expires_at }),
            Value::Inline(value) => {
                self.write_value(&mut decoder, &value);
                self.end_value(decoder, metadata.as_deref(), expires_at);
            }
        }
        None
    }

    /// Writes the next chunk of a large value, or its end.
    fn continue_value(&mut self, mut open: Open) -> Result<Option<Open>, ReadError> {
        if let Some(chunk) = open.reader.next_chunk()? {
            self.write_value(&mut open.decoder, &chunk);
            return Ok(Some(open));
        }
        self.end_value(open.decoder, open.metadata.as_deref(), open.expires_at);
        Ok(None)
    }

    /// Writes the next bytes of a value as JSON.
    fn write_value(&mut self, decoder: &mut Decoder, bytes: &[u8]) {
        decoder.push(bytes, sink(&mut self.out, self.shape.is_json));
    }

    /// Ends a value, and writes its metadata behind it.
    fn end_value(&mut self, decoder: Decoder, metadata: Option<&str>, expires_at: Option<u64>) {
        decoder.finish(sink(&mut self.out, self.shape.is_json));
        self.out.extend_from_slice(self.around_value().1);
        if self.shape.with_metadata {
            match metadata {
                None => self.out.extend_from_slice(b"null"),
                Some(json) if metadata::is_json(json) => {
                    self.out.extend_from_slice(json.as_bytes())
                }
                // An embedded writer stored text that is not JSON. It must not break the whole reply.
                Some(other) => text::push_string(&mut self.out, other),
            }
            if let Some(seconds) = expires_at.filter(|_| self.with_expirations) {
                self.out.extend_from_slice(format!(",\"expiration\":{seconds}").as_bytes());
            }
            self.out.push(b'}');
        }
    }

    /// The text before and after a value.
    fn around_value(&self) -> (&'static [u8], &'static [u8]) {
        match (self.shape.with_metadata, self.shape.is_json) {
            (false, true) => (b"", b""),
            (false, false) => (b"\"", b"\""),
            (true, true) => (b"{\"value\":", b",\"metadata\":"),
            (true, false) => (b"{\"value\":\"", b"\",\"metadata\":"),
        }
    }
}

/// Appends the text of a value.
fn sink(out: &mut Vec<u8>, is_json: bool) -> impl FnMut(&str) {
    move |part| match is_json {
        true => out.extend_from_slice(part.as_bytes()),
        false => text::push_escaped(out, part),
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
