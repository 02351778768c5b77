//! JSON made from bytes that come in pieces.

use std::io::{self, Write as _};

use bytes::{Buf as _, Bytes};
use kv_core::{BodyReader, ReadError};
use serde::de::{Deserialize as _, DeserializeOwned, IgnoredAny};

/// Turns bytes into text, piece by piece: what is not UTF-8 becomes U+FFFD, and a byte order mark
/// at the start is dropped, as a `TextDecoder` does.
#[derive(Debug, Default)]
pub struct Decoder {
    is_begun: bool,
    /// The start of a letter whose rest is in the next piece, at most 3 bytes.
    carried: Vec<u8>,
}

impl Decoder {
    /// Gives the text of the next piece to `sink`, in one or several parts.
    pub fn push(&mut self, piece: &[u8], mut sink: impl FnMut(&str)) {
        let joined;
        let mut bytes = piece;
        if !self.carried.is_empty() {
            joined = [&self.carried[..], piece].concat();
            bytes = &joined;
        }
        if !self.is_begun
            && bytes.len() < BYTE_ORDER_MARK.len()
            && BYTE_ORDER_MARK.starts_with(bytes)
        {
            self.carried = bytes.to_vec();
            return;
        }
        if !self.is_begun {
            self.is_begun = true;
            bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        }
        let mut rest = 0;
        for chunk in bytes.utf8_chunks() {
            sink(chunk.valid());
            rest += chunk.valid().len() + chunk.invalid().len();
            let is_cut = rest == bytes.len() && is_start_of_letter(chunk.invalid());
            if is_cut {
                self.carried = chunk.invalid().to_vec();
                return;
            }
            if !chunk.invalid().is_empty() {
                sink(REPLACEMENT);
            }
        }
        self.carried = Vec::new();
    }

    /// Ends the text.
    pub fn finish(self, mut sink: impl FnMut(&str)) {
        for chunk in self.carried.utf8_chunks() {
            sink(chunk.valid());
            if !chunk.invalid().is_empty() {
                sink(REPLACEMENT);
            }
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const REPLACEMENT: &str = "\u{fffd}";

/// Whether these bytes, which are not UTF-8, would be with more behind them.
fn is_start_of_letter(invalid: &[u8]) -> bool {
    str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

/// Reads a document that must be an object: serde would take a list for one too, field by field.
///
/// # Errors
/// A sentence, if it is none, or not this one.
pub fn object<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    match text.trim_start().as_bytes().first() {
        None | Some(b'{') => serde_json::from_str(text).map_err(|error| sentence(&error)),
        Some(_) => Err("expected an object".into()),
    }
}

/// What is wrong with a document. Of half a surrogate pair serde_json says what it missed behind it.
fn sentence(error: &serde_json::Error) -> String {
    let text = error.to_string();
    ["unexpected end of hex escape", "lone leading surrogate in hex escape"]
        .iter()
        .find_map(|half| text.strip_prefix(half))
        .map(|place| format!("half a surrogate pair, which is no text,{place}"))
        .unwrap_or(text)
}

/// [`Decoder`] for bytes at hand.
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
            control => write!(out, "\\u{control:04x}").expect("a vector takes all that is written"),
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

/// Whether a large body is JSON text. Reads it to its end, and holds no more than a chunk of it.
///
/// Bytes that are not UTF-8 are let through inside strings, as [`Decoder`] makes letters of them.
pub(super) fn is_json(reader: BodyReader) -> Result<bool, ReadError> {
    let mut source = Source { reader, chunk: Bytes::new(), is_begun: false, failure: None };
    let mut json = serde_json::Deserializer::from_reader(&mut source);
    let is_json = IgnoredAny::deserialize(&mut json).and_then(|_| json.end()).is_ok();
    drop(json);
    source.failure.map_or(Ok(is_json), Err)
}

/// A large body as a [`Read`](io::Read), without its byte order mark.
struct Source {
    reader: BodyReader,
    chunk: Bytes,
    is_begun: bool,
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
    fn half_a_surrogate_pair_is_named() {
        for text in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud800\n"}"#,
            r#"{"a":"\ud800\ud800"}"#,
            r#"{"a":"\udc00"}"#,
        ] {
            let refused = object::<std::collections::BTreeMap<String, String>>(text).unwrap_err();
            assert!(
                refused.starts_with("half a surrogate pair, which is no text, at line 1"),
                "{refused}"
            );
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
