//! Counts the frames of an HTTP/2 connection that carry nothing, and ends a flood of them.
//!
//! h2 0.4 bounds header blocks in parts (CONTINUATION), resets of streams that were not accepted yet, and small DATA frames. It has
//! no bound for WINDOW_UPDATE, PRIORITY, SETTINGS, PING, resets of accepted streams, and frames of unknown
//! types, each of which costs the server more than the client. So the frames are counted here, on their way in.
//!
//! A connection has credit for such frames. It begins with [`MOST_CREDIT`], and each second, each request, and the
//! bytes that move in either direction add to it: clients acknowledge what they read with WINDOW_UPDATE and measure
//! with PING. So the credit only ends where such frames are most of what the client sends.

use std::time::Duration;

use tokio::time::Instant;

/// The label of connections that a flood ended, in the metrics.
pub(super) const LIMIT: &str = "http2-frames";

/// The first bytes of an HTTP/2 connection.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame's header: length (3 bytes), type, flags, stream (4 bytes).
const HEADER_BYTES: usize = 9;

/// The credit of a new connection, and the most that a connection has.
const MOST_CREDIT: u64 = 4_000;

/// The credit that each second adds.
const CREDIT_PER_SECOND: u64 = 100;

/// The credit of a request. A reset costs one more: clients may cancel requests, but not all of them for ever.
const CREDIT_OF_REQUEST: u64 = 2;

/// How many bytes, sent or received, add one to the credit. Clients that acknowledge each frame of 16 KiB use a
/// sixteenth of that.
const BYTES_PER_CREDIT: u64 = 512;

/// The frame types that are told apart; RFC 9113, section 6.
mod kind {
    /// Part of a body.
    pub(super) const DATA: u8 = 0;
    /// The head of a request, or trailers.
    pub(super) const HEADERS: u8 = 1;
    /// The end of a stream by its client.
    pub(super) const RST_STREAM: u8 = 3;
}

/// The flag of DATA that ends a stream.
const END_STREAM: u8 = 1;

/// A client sent too many frames that carry nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many HTTP/2 frames that carry nothing")]
pub(super) struct Flood;

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// To the preface, after this many bytes of it.
    Preface(usize),
    /// To the header of a frame, after this many bytes of it.
    Header(usize),
    /// To the payload of a frame, of which this much is missing.
    Payload(usize),
    /// To another protocol.
    Other,
}

/// Counts the frames that arrive on one connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Where the next byte belongs.
    place: Place,
    /// The header of the current frame.
    header: [u8; HEADER_BYTES],
    /// What the frames that carry nothing may still cost.
    credit: u64,
    /// Bytes that moved and are not in the credit yet.
    bytes: u64,
    /// When time was last added to the credit; none if the credit has not ended yet.
    refilled: Option<Instant>,
    /// When the connection began.
    began: Instant,
}

impl Frames {
    /// Counts on a connection that begins now.
    pub(super) fn new(now: Instant) -> Frames {
        Frames {
            place: Place::Preface(0),
            header: [0; HEADER_BYTES],
            credit: MOST_CREDIT,
            bytes: 0,
            refilled: None,
            began: now,
        }
    }

    /// Counts bytes that the server sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// Counts the frames in bytes that arrived. `now` is called only if the credit ends.
    ///
    /// # Errors
    /// [`Flood`], after which the connection must end.
    pub(super) fn received(
        &mut self,
        mut bytes: &[u8],
        now: impl Fn() -> Instant,
    ) -> Result<(), Flood> {
        while let Some(first) = bytes.first() {
            match self.place {
                Place::Other => return Ok(()),
                Place::Preface(at) if PREFACE.get(at) != Some(first) => {
                    self.place = Place::Other;
                }
                Place::Preface(at) => {
                    let is_last = at + 1 == PREFACE.len();
                    self.place = if is_last { Place::Header(0) } else { Place::Preface(at + 1) };
                    bytes = &bytes[1..];
                }
                Place::Header(at) => {
                    self.header[at] = *first;
                    bytes = &bytes[1..];
                    self.place = Place::Header(at + 1);
                    if at + 1 == HEADER_BYTES {
                        self.place = self.frame(&now)?;
                    }
                }
                Place::Payload(left) => {
                    let taken = left.min(bytes.len());
                    bytes = &bytes[taken..];
                    let left = left - taken;
                    self.place = if left == 0 { Place::Header(0) } else { Place::Payload(left) };
                }
            }
        }
        Ok(())
    }

    /// Counts a frame whose header is complete. Returns where the byte after it belongs.
    fn frame(&mut self, now: &impl Fn() -> Instant) -> Result<Place, Flood> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let (gain, cost) = match kind {
            kind::HEADERS => (CREDIT_OF_REQUEST, 0),
            kind::DATA if length > 0 || flags & END_STREAM != 0 => {
                self.bytes = self.bytes.saturating_add(length as u64);
                (0, 0)
            }
            kind::RST_STREAM => (0, CREDIT_OF_REQUEST + 1),
            _ => (0, 1),
        };
        self.credit = (self.credit + gain).min(MOST_CREDIT);
        if self.credit < cost {
            self.refill(now());
        }
        self.credit = self.credit.checked_sub(cost).ok_or(Flood)?;
        Ok(if length == 0 { Place::Header(0) } else { Place::Payload(length) })
    }

    /// Adds the bytes and the time since the last call to the credit.
    fn refill(&mut self, now: Instant) {
        let since = self.refilled.unwrap_or(self.began);
        let elapsed = now.saturating_duration_since(since).min(Duration::from_secs(3600));
        let by_time = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX) * CREDIT_PER_SECOND;
        self.credit += by_time / 1000 + self.bytes / BYTES_PER_CREDIT;
        self.credit = self.credit.min(MOST_CREDIT);
        self.bytes = 0;
        // Less than one credit of time is not lost: floods call this for every frame.
        if by_time >= 1000 {
            self.refilled = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_BYTES + length, 0x55);
        bytes
    }

    /// Counts these bytes `times` times, all at one moment, in pieces of `size` bytes.
    fn count(frames: &mut Frames, bytes: &[u8], times: u64, size: usize) -> Result<(), Flood> {
        let began = frames.began;
        (0..times).try_for_each(|_| {
            bytes.chunks(size).try_for_each(|piece| frames.received(piece, || began))
        })
    }

    fn connection() -> Frames {
        let mut frames = Frames::new(Instant::now());
        count(&mut frames, PREFACE, 1, 5).unwrap();
        frames
    }

    #[test]
    fn each_kind_of_frame_that_carries_nothing_is_a_flood_in_pieces_of_any_size() {
        for (kind, length) in [(0, 0), (2, 5), (4, 0), (6, 8), (8, 4), (9, 3), (0x20, 1000)] {
            for size in [1, 7, 9, 4096] {
                let frames = &mut connection();
                assert_eq!(count(frames, &frame(kind, 0, length), MOST_CREDIT, size), Ok(()));
                assert_eq!(count(frames, &frame(kind, 0, length), 1, size), Err(Flood), "{kind}");
            }
        }
    }

    #[test]
    fn requests_that_are_all_reset_are_a_flood_and_half_of_them_are_not() {
        let (head, reset) = (frame(1, 4, 30), frame(3, 0, 4));
        let all = [&head[..], &reset].concat();
        assert_eq!(count(&mut connection(), &all, 2 * MOST_CREDIT, 64), Err(Flood));
        let half = [&head[..], &head, &reset].concat();
        assert_eq!(count(&mut connection(), &half, 10 * MOST_CREDIT, 64), Ok(()));
    }

    #[test]
    fn a_client_that_acknowledges_each_frame_that_it_reads_is_never_cut() {
        let frames = &mut connection();
        let window = frame(8, 0, 4);
        for _ in 0..20 * MOST_CREDIT {
            frames.sent(1024);
            count(frames, &[&window[..], &window].concat(), 1, 64).unwrap();
        }
    }

    #[test]
    fn bodies_and_their_ends_cost_nothing() {
        let body = [frame(0, 0, 16_384), frame(0, 1, 0)].concat();
        assert_eq!(count(&mut connection(), &body, 2 * MOST_CREDIT, 10_000), Ok(()));
    }

    #[test]
    fn time_adds_credit() {
        let frames = &mut connection();
        let ping = frame(6, 0, 8);
        count(frames, &ping, MOST_CREDIT, 64).unwrap();
        let later = frames.began + Duration::from_secs(1);
        for _ in 0..CREDIT_PER_SECOND {
            assert_eq!(frames.received(&ping, || later), Ok(()));
        }
        assert_eq!(frames.received(&ping, || later), Err(Flood));
    }

    #[test]
    fn other_protocols_are_not_counted() {
        let frames = &mut Frames::new(Instant::now());
        assert_eq!(count(frames, b"PRI * HTTP/1.1\r\n\r\n", 1, 3), Ok(()));
        assert_eq!(count(frames, &frame(6, 0, 8), 2 * MOST_CREDIT, 64), Ok(()));
    }
}
