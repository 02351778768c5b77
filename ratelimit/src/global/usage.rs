//! What locations send each other of global limits, as bytes.
//!
//! A piece is a byte with the version of the format, 1, and then sections:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | the random number of the process that allowed the requests, not 0 |
//! | varint | the period in milliseconds |
//! | varint | the count of the limit |
//! | 1 | bit 0: a fixed window; bit 1: a client named the limit |
//! | varint | the index of the window: the time since the Unix epoch, divided by the period |
//! | varint | how many counters follow, at least 1 |
//! | 8 | of each counter: the name of its key |
//! | varint | what was allowed in the window before |
//! | varint | what was allowed in the window |
//!
//! Numbers of fixed length are little-endian. A varint has seven bits a byte, the lowest first, and the highest bit of a
//! byte is set if another follows (LEB128).

use std::collections::BTreeMap;

use super::kind::Kind;

/// The version of the format.
const VERSION: u8 = 1;
/// The most bytes of a piece that is made.
const PIECE_BYTES: usize = 8 << 10;
/// The most bytes of a piece that is read.
const MAX_BYTES: usize = 64 << 10;
/// The fewest bytes of a counter.
const COUNTER_BYTES: usize = 10;
/// The most bytes of the header of a section, and of a counter.
const MARGIN: usize = 64;

const FIXED: u8 = 1;
const GUEST: u8 = 2;

/// The reason why a piece of usage was rejected. Nothing of it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// The piece has a version that this version does not know.
    #[error("the usage of a global limit has format version {0}, which this version does not know")]
    Version(u8),
    /// The piece is longer than any that is made.
    #[error("a piece of usage is too long")]
    TooLong,
    /// The piece ends early.
    #[error("a piece of usage ends early")]
    CutShort,
    /// A number is out of bounds.
    #[error("a number in a piece of usage is out of bounds")]
    Number,
}

/// Counters of one process, one kind and one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) replica: u64,
    pub(crate) kind: Kind,
    pub(crate) window: u64,
    pub(crate) counters: Vec<Counter>,
}

/// What a process has allowed of a key, in the window before and in the window of the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) id: u64,
    pub(crate) counts: [u32; 2],
}

/// What the counters of a section share: the process that counted, the limit, and the number of the window.
type Shared = (u64, Kind, u64);

/// Collects counters, and encodes them.
#[derive(Debug, Default)]
pub(super) struct Pieces(BTreeMap<Shared, Vec<(u64, [u32; 2])>>);

impl Pieces {
    pub(super) fn add(&mut self, replica: u64, kind: Kind, window: u64, counter: (u64, [u32; 2])) {
        self.0.entry((replica, kind, window)).or_default().push(counter);
    }

    /// Returns the pieces, each of at most [`PIECE_BYTES`].
    pub(super) fn encode(self) -> Vec<Vec<u8>> {
        let (mut pieces, mut piece) = (Vec::new(), vec![VERSION]);
        for ((replica, kind, window), counters) in self.0 {
            let mut rest = &counters[..];
            while !rest.is_empty() {
                if piece.len() + 2 * MARGIN > PIECE_BYTES {
                    pieces.push(std::mem::replace(&mut piece, vec![VERSION]));
                }
                rest = put_section(&mut piece, (replica, kind, window), rest);
            }
        }
        if piece.len() > 1 {
            pieces.push(piece);
        }
        pieces
    }
}

/// Appends a section with as many counters as the piece has room for. Returns the others.
fn put_section<'a>(
    piece: &mut Vec<u8>,
    (replica, kind, window): (u64, Kind, u64),
    counters: &'a [(u64, [u32; 2])],
) -> &'a [(u64, [u32; 2])] {
    let mut bytes = Vec::new();
    let mut count = 0;
    for (id, counts) in counters {
        if piece.len() + MARGIN + bytes.len() + MARGIN > PIECE_BYTES {
            break;
        }
        bytes.extend_from_slice(&id.to_le_bytes());
        counts.iter().for_each(|count| put_varint(&mut bytes, u64::from(*count)));
        count += 1;
    }
    piece.extend_from_slice(&replica.to_le_bytes());
    put_varint(piece, kind.period);
    put_varint(piece, u64::from(kind.count));
    let (fixed, guest) = (u8::from(kind.is_fixed), u8::from(kind.is_guest));
    piece.push((fixed * FIXED) | (guest * GUEST));
    put_varint(piece, window);
    put_varint(piece, count as u64);
    piece.append(&mut bytes);
    &counters[count..]
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Reads a piece.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Section>, UsageError> {
    if bytes.len() > MAX_BYTES {
        return Err(UsageError::TooLong);
    }
    let (version, mut rest) = bytes.split_first().ok_or(UsageError::CutShort)?;
    if *version != VERSION {
        return Err(UsageError::Version(*version));
    }
    let mut sections = Vec::new();
    while !rest.is_empty() {
        sections.push(take_section(&mut rest)?);
    }
    Ok(sections)
}

fn take_section(rest: &mut &[u8]) -> Result<Section, UsageError> {
    let replica = take_u64(rest)?;
    let (period, count) = (take_varint(rest)?, take_u32(rest)?);
    let (flags, after) = rest.split_first().ok_or(UsageError::CutShort)?;
    *rest = after;
    let kind = Kind { period, count, is_fixed: flags & FIXED != 0, is_guest: flags & GUEST != 0 };
    let (window, many) = (take_varint(rest)?, take_varint(rest)?);
    if replica == 0 || !kind.is_valid() || *flags > FIXED | GUEST || window >= 1 << 48 || many == 0
    {
        return Err(UsageError::Number);
    }
    let many = usize::try_from(many).map_err(|_too_large| UsageError::Number)?;
    if many > rest.len() / COUNTER_BYTES {
        return Err(UsageError::CutShort);
    }
    let mut counters = Vec::with_capacity(many);
    for _ in 0..many {
        let id = take_u64(rest)?;
        counters.push(Counter { id, counts: [take_u32(rest)?, take_u32(rest)?] });
    }
    Ok(Section { replica, kind, window, counters })
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, UsageError> {
    let (bytes, after) = rest.split_first_chunk().ok_or(UsageError::CutShort)?;
    *rest = after;
    Ok(u64::from_le_bytes(*bytes))
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, UsageError> {
    u32::try_from(take_varint(rest)?).map_err(|_too_large| UsageError::Number)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, UsageError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(UsageError::CutShort)?;
        *rest = after;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return Err(UsageError::Number);
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(UsageError::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> Kind {
        Kind { period: 60_000, count: 100, is_fixed: false, is_guest: true }
    }

    #[test]
    fn many_counters_are_read_as_they_were_written_from_short_pieces() {
        let mut pieces = Pieces::default();
        for id in 0..5000_u64 {
            let count = u32::try_from(id).unwrap();
            pieces.add(7 + id % 2, kind(), 3, (id << 40, [count, u32::MAX - count]));
        }
        let pieces = pieces.encode();
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
        let mut read: Vec<Counter> = Vec::new();
        for section in pieces.iter().flat_map(|piece| decode(piece).unwrap()) {
            assert_eq!((section.kind, section.window), (kind(), 3));
            assert!(section.counters.iter().all(|it| section.replica == 7 + (it.id >> 40) % 2));
            read.extend(section.counters);
        }
        read.sort_by_key(|counter| counter.id);
        assert_eq!(read.len(), 5000);
        assert!((0..).zip(&read).all(|(n, it)| it.id == n << 40 && u64::from(it.counts[0]) == n));
    }

    #[test]
    fn bytes_that_are_no_usage_are_rejected_and_never_panic() {
        let mut pieces = Pieces::default();
        pieces.add(7, kind(), 3, (1, [2, 300]));
        let piece = pieces.encode().remove(0);
        assert_eq!(decode(&[]), Err(UsageError::CutShort));
        assert_eq!(decode(&[9]), Err(UsageError::Version(9)));
        assert_eq!(decode(&vec![VERSION; MAX_BYTES + 1]), Err(UsageError::TooLong));
        for len in 2..piece.len() {
            assert_eq!(decode(&piece[..len]), Err(UsageError::CutShort), "{len}");
        }
        for at in 0..piece.len() {
            for bit in 0..8 {
                let mut changed = piece.clone();
                changed[at] ^= 1 << bit;
                let _read_or_rejected = decode(&changed);
            }
        }
        let mut zero = piece.clone();
        zero[1..9].fill(0);
        assert_eq!(decode(&zero), Err(UsageError::Number));
    }
}
