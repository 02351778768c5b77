//! JSON that is written from bytes, piece by piece. serde_json can't do this: it writes a string only
//! from text that is in memory whole.

use std::io::{self, Write as _};

use bytes::{Buf as _, Bytes};
use encoding_rs::{CoderResult, UTF_8};
use kv_core::{BodyReader, ReadError};
use serde::de::{Deserialize as _, IgnoredAny};

/// Converts bytes to text, piece by piece, as a `TextDecoder` does: bytes that are not UTF-8 become
/// U+FFFD, and a byte order mark at the start is dropped.
pub struct Decoder {
    /// Decodes UTF-8 that is cut at any byte.
    utf8: encoding_rs::Decoder,
    /// The text of the last bytes, kept so that its memory is used again.
    text: String,
}

/// The size of the buffer for decoded text, in bytes.
const TEXT_BYTES: usize = 8 * 1024;

impl Default for Decoder {
    fn default() -> Self {
        Decoder { utf8: UTF_8.new_decoder_with_bom_removal(), text: String::new() }
    }
}

impl Decoder {
    /// Passes the text of the next piece to `sink`, in one or several parts.
    pub fn push(&mut self, piece: &[u8], sink: impl FnMut(&str)) {
        self.decode(piece, false, sink);
    }

    /// Ends the text: passes U+FFFD to `sink` if the last character is incomplete.
    pub fn finish(mut self, sink: impl FnMut(&str)) {
        self.decode(&[], true, sink);
    }

    /// Decodes bytes and hands their text to `sink`. Invalid bytes become U+FFFD. `is_last` ends a
    /// sequence that is incomplete.
    fn decode(&mut self, mut bytes: &[u8], is_last: bool, mut sink: impl FnMut(&str)) {
        // Without room for one replacement character the decoder makes no progress.
        let most = self.utf8.max_utf8_buffer_length(bytes.len()).unwrap_or(TEXT_BYTES);
        self.text.reserve(most.min(TEXT_BYTES));
        loop {
            let (result, read, _has_replaced) =
                self.utf8.decode_to_string(bytes, &mut self.text, is_last);
            bytes = &bytes[read..];
            if !self.text.is_empty() {
                sink(&self.text);
                self.text.clear();
            }
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }
}

/// The UTF-8 of U+FEFF, which a decoder of text drops at the beginning.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// [`Decoder`] for bytes that are in memory.
#[must_use]
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut decoder = Decoder::default();
    decoder.push(bytes, |part| text.push_str(part));
    decoder.finish(|part| text.push_str(part));
    text
}

/// Appends `text` as the inside of a JSON string.
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => write!(out, "\\u{control:04x}").expect("writing to a vector does not fail"),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends `text` as a JSON string.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Whether a large body is JSON text. Reads it to its end, with one chunk in memory at a time.
///
/// Bytes that are not UTF-8 are accepted inside strings, because [`Decoder`] replaces them.
pub(super) fn is_json(reader: BodyReader) -> Result<bool, ReadError> {
    let mut source = Source { reader, chunk: Bytes::new(), is_begun: false, failure: None };
    let mut json = serde_json::Deserializer::from_reader(&mut source);
    let is_json = IgnoredAny::deserialize(&mut json).and_then(|_| json.end()).is_ok();
    drop(json);
    source.failure.map_or(Ok(is_json), Err)
}

/// A large body as a [`Read`](io::Read), without its byte order mark.
struct Source {
    /// Reads the value chunk by chunk.
    reader: BodyReader,
    /// The rest of the current chunk.
    chunk: Bytes,
    /// Whether the first bytes were read, among which a byte order mark is dropped.
    is_begun: bool,
    /// The error of the store that ended the reading; serde_json keeps only its text.
    failure: Option<ReadError>,
}

impl io::Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.chunk = match self.reader.next_chunk() {
                Ok(chunk) => chunk.unwrap_or_default(),
                Err(error) => {
                    let message = error.to_string();
                    self.failure = Some(error);
                    return Err(io::Error::other(message));
                }
            };
            // A large body's first chunk is longer than the mark.
            if !self.is_begun && self.chunk.starts_with(BYTE_ORDER_MARK) {
                self.chunk.advance(BYTE_ORDER_MARK.len());
            }
            self.is_begun = true;
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_wherever_it_is_cut() {
        for bytes in [
            &b""[..],
            b"abc",
            b"\xef\xbb\xbfabc\xef\xbb\xbf",
            b"\xef\xbb",
            b"\xef",
            b"\xefx",
            "\u{e9}\u{20ac}\u{1f600}".as_bytes(),
            b"\xff\xfe\xc3",
            b"\xf0\x9f\x98",
            b"\xe2\x82x\xf0\x9f\x98\xed\xa0\x80",
        ] {
            let expected =
                String::from_utf8_lossy(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes));
            assert_eq!(decode(bytes), expected, "{bytes:?}");
            for size in 1..=bytes.len() {
                let mut text = String::new();
                let mut decoder = Decoder::default();
                for piece in bytes.chunks(size) {
                    decoder.push(piece, |part| text.push_str(part));
                }
                decoder.finish(|part| text.push_str(part));
                assert_eq!(text, expected, "{bytes:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn an_escaped_string_reads_back() {
        for text in ["", "a", "\"\\/\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}", "\u{e9}\u{2028}\u{1f600}\""] {
            let mut json = Vec::new();
            push_string(&mut json, text);
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }
}
