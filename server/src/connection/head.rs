//! Inspects the heads of HTTP/1 requests before hyper parses them, for two things that hyper does not
//! offer.
//!
//! **DEL in metadata.** workerd sends metadata as JSON in a header and leaves U+007F in it unescaped.
//! hyper 1's parser (httparse) rejects that byte, and has no option to accept it. So it is masked on
//! its way in by a byte that no UTF-8 text contains, and the API restores it ([`crate::http::del`]).
//! Only the lines of that header are changed, and only in heads. For that the end of each head must be
//! found here too, because a body must arrive as it was sent.
//!
//! **Two lengths.** A head with both `Content-Length` and `Transfer-Encoding` is reported. A proxy in
//! front may have used the one where this server uses the other, and then the two disagree on where
//! the next request begins (request smuggling). hyper drops the first of these headers before its
//! service can see it.
//!
//! If a client sends its next head while a request is in progress, that head is not inspected from its
//! beginning, but from where the parser waits for more of it. That place is taken for the beginning of
//! a line. So the end of such a head may be found too early, and a DEL after it is a 400; but never
//! too late, which would change a body. And one of two lengths may be missed: then hyper uses the
//! chunks and closes the connection after its response, as RFC 9112, section 6.1, allows.
//!
//! (A `#` in a request's target is not looked for: the parser drops it and what follows, as if it were
//! a fragment. To refuse it, the request line would have to be known for certain, which it is not
//! after a head that was not inspected from its beginning.)

use memchr::memchr;

use crate::http::del::{DEL, MASK};

/// Another byte that no text contains, and that stands for nothing.
const NO_TEXT: u8 = 0xff;

/// A header that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    /// A header whose value may contain DEL.
    Metadata,
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding`.
    Coding,
}

/// The headers that are looked for, as they begin their lines. The metadata is that of workerd, and
/// the same in the form in which miniflare wraps it.
const NAMES: [(&[u8], Header); 4] = [
    (b"cf-kv-metadata:", Header::Metadata),
    (b"mf-header-cf-kv-metadata:", Header::Metadata),
    (b"content-length:", Header::Length),
    (b"transfer-encoding:", Header::Coding),
];

/// Inspects the heads on one HTTP/1 connection.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// The state of the current line.
    line: Line,
    /// The current head has a `Content-Length`.
    has_length: bool,
    /// The current head has a `Transfer-Encoding`.
    has_coding: bool,
    /// How many requests the parser had taken when the last inspected head ended.
    ended_at: Option<u64>,
}

/// The state of the current line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// The request line, or a header that is not looked for.
    #[default]
    Other,
    /// The line begins.
    Start,
    /// This much of a name of [`NAMES`].
    Name(&'static [u8]),
    /// The value of a header that is looked for.
    Value(Header),
    /// Nothing but a carriage return.
    Return,
}

impl Line {
    /// The line after one more byte; none if the head ends with that byte.
    fn after(self, byte: u8) -> Option<Line> {
        Some(match (self, byte) {
            (Line::Start | Line::Return, b'\n') => return None,
            (_, b'\n') => Line::Start,
            (Line::Start, b'\r') => Line::Return,
            (Line::Start, _) => Line::named(b"", byte),
            (Line::Name(begun), _) => Line::named(begun, byte),
            (Line::Value(header), _) => Line::Value(header),
            (Line::Other | Line::Return, _) => Line::Other,
        })
    }

    /// The line whose name begins with `begun` and continues with `byte`.
    fn named(begun: &[u8], byte: u8) -> Line {
        let at = begun.len();
        let continues = |name: &[u8]| name.get(at).is_some_and(|it| it.eq_ignore_ascii_case(&byte));
        match NAMES.iter().find(|(name, _)| name.starts_with(begun) && continues(name)) {
            Some((name, header)) if at + 1 == name.len() => Line::Value(*header),
            Some((name, _)) => Line::Name(&name[..=at]),
            None => Line::Other,
        }
    }
}

impl Heads {
    /// Masks DEL in received bytes, up to the end of the head. `requests` is how many heads the parser
    /// has taken: until it has taken the one that ended, the bytes are the body of that request.
    ///
    /// Returns whether a head ended that gives the length of its body in both ways.
    pub(super) fn mask(&mut self, received: &mut [u8], requests: u64) -> bool {
        if self.ended_at == Some(requests) {
            return false;
        }
        let mut rest = received;
        while !rest.is_empty() {
            let whole = memchr(b'\n', rest).map(|at| at + 1);
            let (line, more) = rest.split_at_mut(whole.unwrap_or(rest.len()));
            rest = more;
            let is_end = match self.line {
                Line::Start if whole.is_some() => self.inspect_line(line),
                Line::Other if whole.is_some() => {
                    self.line = Line::Start;
                    false
                }
                _ => self.inspect_bytes(line),
            };
            if is_end {
                return self.end(requests);
            }
        }
        false
    }

    /// Inspects a whole line, as nearly all arrive; returns whether the head ends with it.
    fn inspect_line(&mut self, line: &mut [u8]) -> bool {
        if matches!(line, [b'\n'] | [b'\r', b'\n']) {
            return true;
        }
        let header = NAMES.iter().find(|(name, _)| {
            line.get(..name.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(name))
        });
        if let Some((name, header)) = header {
            line[name.len() - 1..].iter_mut().for_each(|byte| self.inspect_value(*header, byte));
        }
        false
    }

    /// Inspects a part of a line byte by byte; returns whether the head ends with it.
    fn inspect_bytes(&mut self, part: &mut [u8]) -> bool {
        for byte in part {
            match self.line.after(*byte) {
                Some(line) => self.line = line,
                None => return true,
            }
            if let Line::Value(header) = self.line {
                self.inspect_value(header, byte);
            }
        }
        false
    }

    /// Inspects one byte of the value of a header that is looked for, the colon before it included.
    fn inspect_value(&mut self, header: Header, byte: &mut u8) {
        match (header, *byte) {
            (Header::Metadata, DEL) => *byte = MASK,
            // The client sent this byte itself: it is refused like any other that is not text.
            (Header::Metadata, MASK) => *byte = NO_TEXT,
            (Header::Metadata, _) => {}
            (Header::Length, _) => self.has_length = true,
            (Header::Coding, _) => self.has_coding = true,
        }
    }

    /// Ends a head, and returns whether it gives two lengths.
    fn end(&mut self, requests: u64) -> bool {
        let is_framed_twice = self.has_length && self.has_coding;
        *self = Heads { line: Line::Start, ended_at: Some(requests), ..Heads::default() };
        is_framed_twice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Masks `text`, where `_` stands for DEL, and shows the mask as `!`.
    fn masked(heads: &mut Heads, text: &str, requests: u64) -> String {
        let mut bytes = text.replace('_', "\x7f").into_bytes();
        heads.mask(&mut bytes, requests);
        for byte in &mut bytes {
            match *byte {
                DEL => *byte = b'_',
                MASK => *byte = b'!',
                _ => {}
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn del_is_masked_only_in_metadata_however_the_head_is_cut() {
        for (sent, expected) in [
            (
                "PUT /_ HTTP/1.1\r\nm: _\r\nCF-KV-Metadata: a_b\r\n\r\nbo_dy",
                "PUT /_ HTTP/1.1\r\nm: _\r\nCF-KV-Metadata: a!b\r\n\r\nbo_dy",
            ),
            (
                "PUT /\ncf-kv-metadata:_\nn: _\n\ncf-kv-metadata:_\r\n\r\n_",
                "PUT /\ncf-kv-metadata:!\nn: _\n\ncf-kv-metadata:_\r\n\r\n_",
            ),
            ("PUT /\ncf-kv-metadata:_\n\r\nbo_dy", "PUT /\ncf-kv-metadata:!\n\r\nbo_dy"),
            ("PUT /\nx-cf-kv-metadata:_\n\n", "PUT /\nx-cf-kv-metadata:_\n\n"),
            ("PUT /\nMF-Header-cf-kv-metadata:_\n\n", "PUT /\nMF-Header-cf-kv-metadata:!\n\n"),
        ] {
            for size in 1..=sent.len() {
                let mut heads = Heads::default();
                let pieces = sent.as_bytes().chunks(size);
                let pieces = pieces.map(|piece| str::from_utf8(piece).unwrap());
                let came: String = pieces.map(|piece| masked(&mut heads, piece, 0)).collect();
                assert_eq!(came, expected, "in pieces of {size}");
            }
        }
    }

    /// Bytes that arrive in two parts, after masking, and whether a head was framed twice.
    fn in_two(bytes: &[u8], cut: usize) -> (Vec<u8>, bool) {
        let (mut heads, mut bytes) = (Heads::default(), bytes.to_vec());
        let (first, second) = bytes.split_at_mut(cut);
        let is_reported = heads.mask(first, 0) | heads.mask(second, 0);
        (bytes, is_reported)
    }

    /// The same, byte by byte.
    fn one_by_one(bytes: &[u8]) -> (Vec<u8>, bool) {
        let (mut heads, mut bytes) = (Heads::default(), bytes.to_vec());
        let mut is_reported = false;
        bytes.chunks_mut(1).for_each(|byte| is_reported |= heads.mask(byte, 0));
        (bytes, is_reported)
    }

    #[test]
    fn whole_lines_and_single_bytes_are_inspected_alike() {
        const PARTS: [&[u8]; 11] = [
            b"Cf-Kv-Metadata:",
            b"cf-kv-meta",
            b"content-length: 5",
            b"Content-Length:",
            b"transfer-encoding:x",
            b"\x7f",
            b"\xf8",
            b"\r",
            b"\n",
            b"\r\n",
            b":a",
        ];
        let (mut masked, mut reported) = (0, 0);
        for number in 0..PARTS.len().pow(4) {
            let parts = (0..4).map(|place| PARTS[number / PARTS.len().pow(place) % PARTS.len()]);
            let parts = parts.collect::<Vec<_>>().concat();
            let bytes = [b"GET /\r\n", parts.as_slice(), b"\r\n\r\n"].concat();
            let expected = one_by_one(&bytes);
            for cut in 0..=bytes.len() {
                assert_eq!(
                    in_two(&bytes, cut),
                    expected,
                    "{:?} cut at {cut}",
                    bytes.escape_ascii()
                );
            }
            masked += usize::from(expected.0 != bytes);
            reported += usize::from(expected.1);
        }
        assert!(
            masked > 0 && reported > 0,
            "some bytes are masked, and some heads are framed twice"
        );
    }

    #[test]
    fn a_new_head_begins_once_the_parser_took_the_one_before() {
        let mut heads = Heads::default();
        assert_eq!(masked(&mut heads, "GET /\r\n\r\n", 0), "GET /\r\n\r\n");
        let (body, line) = ("\ncf-kv-metadata:_", "PUT /\ncf-kv-metadata:");
        assert_eq!(masked(&mut heads, body, 0), body);
        assert_eq!(masked(&mut heads, &format!("{line}_\n\n_"), 1), format!("{line}!\n\n_"));
        assert_eq!(masked(&mut heads, body, 1), body);
        assert_eq!(masked(&mut heads, &format!("{line}_"), 2), format!("{line}!"));
    }

    #[test]
    fn a_mask_byte_from_the_client_is_not_text() {
        let mut bytes = b"PUT /\xf8\ncf-kv-metadata:\xf8\xe9\r\n\r\n\xf8".to_vec();
        Heads::default().mask(&mut bytes, 0);
        assert_eq!(bytes, b"PUT /\xf8\ncf-kv-metadata:\xff\xe9\r\n\r\n\xf8");
    }

    #[test]
    fn a_head_with_a_length_and_a_coding_is_reported_however_it_is_cut() {
        let (length, coding) = ("content-LENGTH: 5\r\n", "Transfer-encoding: chunked\r\n");
        let other = "TE: content-length:\r\nX-Content-Length: 5\r\n";
        for (lines, expected) in [
            (["", length], false),
            (["", coding], false),
            ([other, coding], false),
            ([other, length], false),
            ([length, coding], true),
            ([coding, length], true),
        ] {
            // The second request is like the first, and the bytes after each are not part of it.
            let body = "5\r\nvalue\r\n0\r\n\r\n";
            let head = format!("PUT / HTTP/1.1\r\nHost: x\r\n{}\r\n", lines.concat());
            let sent = format!("{head}{body}{length}{coding}\r\n");
            for size in 1..=sent.len() {
                let mut heads = Heads::default();
                for requests in 0..2 {
                    let mut reported = 0;
                    for piece in sent.as_bytes().chunks(size) {
                        reported += u32::from(heads.mask(&mut piece.to_vec(), requests));
                    }
                    assert_eq!(reported, u32::from(expected), "{lines:?} in pieces of {size}");
                }
            }
        }
    }

    /// Requests one after the other, and where the head and the body of each end.
    fn requests(bodies: &[&[u8]]) -> (Vec<u8>, Vec<(usize, usize)>) {
        let mut all = Vec::new();
        let mut ends = Vec::new();
        for body in bodies {
            let length = body.len();
            let head = format!(
                "PUT /\r\nA: b\r\nCF-KV-Metadata: \x7f\r\nContent-Length: {length}\r\n\r\n"
            );
            all.extend_from_slice(head.as_bytes());
            let head_end = all.len();
            all.extend_from_slice(body);
            ends.push((head_end, all.len()));
        }
        (all, ends)
    }

    /// As on a connection: bytes that arrive while a request is in progress are not inspected, and the
    /// parser takes each head as soon as it is whole. A request ends once its body is there, or
    /// (`late`) only once more bytes arrived.
    fn received(all: &[u8], ends: &[(usize, usize)], cuts: &[usize], late: bool) -> Vec<u8> {
        let mut heads = Heads::default();
        let mut out = Vec::new();
        let (mut taken, mut answered) = (0, 0);
        let mut start = 0;
        for &cut in cuts {
            let mut received = all[start..cut].to_vec();
            if taken == answered {
                heads.mask(&mut received, taken);
            }
            out.extend_from_slice(&received);
            let whole = if late { start } else { cut };
            start = cut;
            loop {
                let index = usize::try_from(taken).unwrap();
                if taken > answered && ends[index - 1].1 <= whole {
                    answered += 1;
                } else if taken == answered && ends.get(index).is_some_and(|end| end.0 <= cut) {
                    taken += 1;
                } else {
                    break;
                }
            }
        }
        out
    }

    #[test]
    fn no_body_is_changed_wherever_pipelined_requests_are_cut() {
        let bodies: [&[u8]; 3] = [b"1", b"cf-kv-metadata:\x7f\xf8", b"\ncf-kv-metadata:\x7f\n"];
        let (all, ends) = requests(&bodies);
        let mut masked = 0;
        for first in 0..=all.len() {
            for second in first..=all.len() {
                for late in [false, true] {
                    let cuts = [first, second, all.len()];
                    let out = received(&all, &ends, &cuts, late);
                    for (body, (start, end)) in bodies.iter().zip(&ends) {
                        assert_eq!(&out[*start..*end], *body, "cut at {cuts:?}, late: {late}");
                    }
                    masked += usize::from(out != all);
                }
            }
        }
        assert_ne!(masked, 0, "there is something to mask");
    }
}
