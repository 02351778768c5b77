//! The heads of requests, before hyper's parser has them: what it does not let through, or not show.
//!
//! workerd sends metadata as JSON in a header and leaves U+007F in it as it is, and hyper's parser
//! refuses that byte. So it is masked on its way in, by one that no UTF-8 text has; the door turns
//! it back ([`DEL_MASK`]). Only the lines of that header are touched, and only in heads: the end of
//! each is looked for here too, for a body must arrive as it was sent.
//!
//! A head with both `Content-Length` and `Transfer-Encoding` is told: a proxy in front may have taken
//! the one for true and we the other, and what is the body to one of us is a request to the other.
//! hyper shows its service the second alone.
//!
//! A client that sends its next head behind a request that is still being answered is not followed:
//! that head is taken up where it is when the parser waits for the rest of it. Wherever that is, it
//! is taken for the beginning of a line. So the end of the head may be seen too early, and a DEL
//! behind it is a 400; but never too late, which would change a body. And of two lengths one may not
//! be seen: then hyper goes by the chunks and closes the connection behind its answer, as RFC 9112
//! (6.1) lets it.
//!
//! (A `#` in a request's target is not looked for: the parser drops it and what follows, as if it
//! were a fragment. To refuse it the request line would have to be known for certain, which it is
//! not behind a head that was not followed.)

use memchr::memchr;

use crate::api::binding::metadata::DEL_MASK;

const DEL: u8 = 0x7f;

/// No text has this one either, nor does it stand for anything.
const NO_TEXT: u8 = 0xff;

/// A header that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    /// One whose value may hold DEL.
    Metadata,
    Length,
    Coding,
}

/// What is looked for, as it begins its line. The metadata is workerd's, and the same as miniflare
/// wraps it.
const NAMES: [(&[u8], Header); 4] = [
    (b"cf-kv-metadata:", Header::Metadata),
    (b"mf-header-cf-kv-metadata:", Header::Metadata),
    (b"content-length:", Header::Length),
    (b"transfer-encoding:", Header::Coding),
];

/// Looks through the heads on one connection of HTTP/1.
#[derive(Debug, Default)]
pub(super) struct Heads {
    line: Line,
    has_length: bool,
    has_coding: bool,
    /// How many requests there had been when the head that was seen last ended.
    ended_at: Option<u64>,
}

/// What is seen of the current line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// The request line, or a header that is not looked for.
    #[default]
    Other,
    /// Nothing yet.
    Start,
    /// This much of a name of [`NAMES`].
    Name(&'static [u8]),
    /// The value of a header that is looked for.
    Value(Header),
    /// Nothing but a carriage return.
    Return,
}

impl Line {
    /// The line after one more byte; none if the head ends with it.
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

    /// The line whose name has begun like this and goes on with `byte`.
    fn named(begun: &[u8], byte: u8) -> Line {
        let at = begun.len();
        let goes_on = |name: &[u8]| name.get(at).is_some_and(|it| it.eq_ignore_ascii_case(&byte));
        match NAMES.iter().find(|(name, _)| name.starts_with(begun) && goes_on(name)) {
            Some((name, header)) if at + 1 == name.len() => Line::Value(*header),
            Some((name, _)) => Line::Name(&name[..=at]),
            None => Line::Other,
        }
    }
}

impl Heads {
    /// Masks what came, up to the end of the head. `requests` is how many heads the parser has
    /// taken: until it has the one that ended, what comes is that one's body.
    ///
    /// Returns whether a head has ended that gives the length of its body in both ways.
    pub(super) fn mask(&mut self, came: &mut [u8], requests: u64) -> bool {
        if self.ended_at == Some(requests) {
            return false;
        }
        let mut rest = came;
        while !rest.is_empty() {
            let whole = memchr(b'\n', rest).map(|at| at + 1);
            let (line, more) = rest.split_at_mut(whole.unwrap_or(rest.len()));
            rest = more;
            let is_end = match self.line {
                Line::Start if whole.is_some() => self.look_at_line(line),
                Line::Other if whole.is_some() => {
                    self.line = Line::Start;
                    false
                }
                _ => self.look_at_bytes(line),
            };
            if is_end {
                return self.end(requests);
            }
        }
        false
    }

    /// Looks through a whole line, as nearly all come; returns whether the head ends with it.
    fn look_at_line(&mut self, line: &mut [u8]) -> bool {
        if matches!(line, [b'\n'] | [b'\r', b'\n']) {
            return true;
        }
        let header = NAMES.iter().find(|(name, _)| {
            line.get(..name.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(name))
        });
        if let Some((name, header)) = header {
            line[name.len() - 1..].iter_mut().for_each(|byte| self.look_at_value(*header, byte));
        }
        false
    }

    /// Looks through a part of a line byte by byte; returns whether the head ends with it.
    fn look_at_bytes(&mut self, part: &mut [u8]) -> bool {
        for byte in part {
            match self.line.after(*byte) {
                Some(line) => self.line = line,
                None => return true,
            }
            if let Line::Value(header) = self.line {
                self.look_at_value(header, byte);
            }
        }
        false
    }

    /// Looks at one byte of the value of a header that is looked for, the colon before it included.
    fn look_at_value(&mut self, header: Header, byte: &mut u8) {
        match (header, *byte) {
            (Header::Metadata, DEL) => *byte = DEL_MASK,
            // The client's own: it is refused as any other that is no text.
            (Header::Metadata, DEL_MASK) => *byte = NO_TEXT,
            (Header::Metadata, _) => {}
            (Header::Length, _) => self.has_length = true,
            (Header::Coding, _) => self.has_coding = true,
        }
    }

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
                DEL_MASK => *byte = b'!',
                _ => {}
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn del_is_masked_in_metadata_alone_however_the_head_is_cut() {
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

    /// What comes of bytes that come in two parts: they and whether a head was framed twice.
    fn in_two(bytes: &[u8], cut: usize) -> (Vec<u8>, bool) {
        let (mut heads, mut bytes) = (Heads::default(), bytes.to_vec());
        let (first, second) = bytes.split_at_mut(cut);
        let is_told = heads.mask(first, 0) | heads.mask(second, 0);
        (bytes, is_told)
    }

    /// The same, byte by byte.
    fn one_by_one(bytes: &[u8]) -> (Vec<u8>, bool) {
        let (mut heads, mut bytes) = (Heads::default(), bytes.to_vec());
        let mut is_told = false;
        bytes.chunks_mut(1).for_each(|byte| is_told |= heads.mask(byte, 0));
        (bytes, is_told)
    }

    #[test]
    fn whole_lines_and_single_bytes_are_looked_through_alike() {
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
        let (mut masked, mut told) = (0, 0);
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
            told += usize::from(expected.1);
        }
        assert!(masked > 0 && told > 0, "some are to be masked, and some are framed twice");
    }

    #[test]
    fn a_new_head_begins_when_the_parser_has_taken_the_one_before() {
        let mut heads = Heads::default();
        assert_eq!(masked(&mut heads, "GET /\r\n\r\n", 0), "GET /\r\n\r\n");
        let (body, line) = ("\ncf-kv-metadata:_", "PUT /\ncf-kv-metadata:");
        assert_eq!(masked(&mut heads, body, 0), body);
        assert_eq!(masked(&mut heads, &format!("{line}_\n\n_"), 1), format!("{line}!\n\n_"));
        assert_eq!(masked(&mut heads, body, 1), body);
        assert_eq!(masked(&mut heads, &format!("{line}_"), 2), format!("{line}!"));
    }

    #[test]
    fn a_clients_own_mask_byte_is_no_text() {
        let mut bytes = b"PUT /\xf8\ncf-kv-metadata:\xf8\xe9\r\n\r\n\xf8".to_vec();
        Heads::default().mask(&mut bytes, 0);
        assert_eq!(bytes, b"PUT /\xf8\ncf-kv-metadata:\xff\xe9\r\n\r\n\xf8");
    }

    #[test]
    fn a_head_with_a_length_and_a_coding_is_told_however_it_is_cut() {
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
            // The second request is like the first, and what is behind each is none of it.
            let body = "5\r\nvalue\r\n0\r\n\r\n";
            let head = format!("PUT / HTTP/1.1\r\nHost: x\r\n{}\r\n", lines.concat());
            let sent = format!("{head}{body}{length}{coding}\r\n");
            for size in 1..=sent.len() {
                let mut heads = Heads::default();
                for requests in 0..2 {
                    let mut told = 0;
                    for piece in sent.as_bytes().chunks(size) {
                        told += u32::from(heads.mask(&mut piece.to_vec(), requests));
                    }
                    assert_eq!(told, u32::from(expected), "{lines:?} in pieces of {size}");
                }
            }
        }
    }

    /// What lies where in requests one behind another: (first byte, end of the head, end).
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

    /// As a connection does it: what comes while a request is active is not looked at, and the
    /// parser takes each head as soon as it is whole. A request is answered when its body is there,
    /// or (`late`) only when something more has come.
    fn received(all: &[u8], ends: &[(usize, usize)], cuts: &[usize], late: bool) -> Vec<u8> {
        let mut heads = Heads::default();
        let mut out = Vec::new();
        let (mut taken, mut answered) = (0, 0);
        let mut start = 0;
        for &cut in cuts {
            let mut came = all[start..cut].to_vec();
            if taken == answered {
                heads.mask(&mut came, taken);
            }
            out.extend_from_slice(&came);
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
    fn no_body_is_touched_wherever_pipelined_requests_are_cut() {
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
        assert_ne!(masked, 0, "there was something to mask");
    }
}
