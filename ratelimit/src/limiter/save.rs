//! Counters as bytes, for a clean stop.
//!
//! A save is a row of pieces of at most 64 KiB; numbers are little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 4 | `WPRL` |
//! | 4 | the version of the format, 1 |
//! | 4 | the number of this piece, from 0; in the last piece with the highest bit set |
//! | 4 | how many counters follow |
//! | 16 | the secret of the hash |
//! | 8 | the mark: the hash of a fixed text, by which a changed hash function is seen |
//! | 8 | the time of the save, in milliseconds since the Unix epoch |
//! | 8 | the sets of the table |
//! | 24 each | the counters: hash, class, payload, 8 bytes each |
//! | 4 | CRC-32C of all before it |
//!
//! The hash has the counter's fingerprint in its low 46 bits, and high bits that lead to its set. The class
//! is for windows the period in ms, shifted left by one, plus one if fixed; for GCRA the highest bit
//! and, below, the interval's float. The payload is as `algorithm` has it.
//!
//! The high bits of a hash are known only as well as the set tells them. In a table of another size they may
//! lead to one of several sets; the counter is then put into each. The copies that no key leads to fall
//! out with their windows; there are as many for one as the table has grown, so it is no fuller.

use super::{LAST_MS, Latest, Limiter};
use crate::clock::Clock;
use crate::identity::{FINGERPRINT_BITS, Identity};
use crate::stats::Counts;
use crate::table::Table;

const MAGIC: &[u8; 4] = b"WPRL";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 56;
const COUNTER_BYTES: usize = 24;
const CRC_BYTES: usize = 4;
const LAST_PIECE: u32 = 1 << 31;
/// The counters of a full piece: 64,500 bytes with header and checksum.
const COUNTERS: usize = 2685;
/// A table has fewer sets than this: 2^48 bytes are 2^41 sets.
const MAX_SETS: u64 = 1 << 41;

/// Why saved counters cannot be restored. No limiter was made; build one without them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes are of a version that this one does not know.
    #[error("the saved counters have format version {0}, which this version does not know")]
    Version(u32),
    /// The bytes are not what was saved.
    #[error("the saved counters are damaged: {0}")]
    Damaged(&'static str),
    /// The hash function is not the one of the save, so the counters would not be found.
    #[error("the saved counters were made with another hash function")]
    Hash,
}

/// What every piece of one save says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    secret: [u8; 16],
    mark: u64,
    saved_ms: u64,
    sets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counter {
    hash: u64,
    class: u64,
    payload: u64,
}

impl<C: Clock> Limiter<C> {
    /// The counters that still count, as bytes to keep until [`Builder::restore`](crate::Builder::restore):
    /// pieces of at most 64 KiB, in order, made one by one as the table is read. Holds up nobody; a hit
    /// that comes meanwhile may be in it or not. The secret is in the bytes: keep them as safe as data.
    pub fn save(&self) -> impl Iterator<Item = Vec<u8>> {
        let now = self.now_ms().max(self.latest.get());
        let header = Header {
            secret: self.identity.secret(),
            mark: self.identity.mark(),
            saved_ms: now,
            sets: self.table.sets() as u64,
        };
        let mut counters = (0..self.table.sets())
            .flat_map(move |set| self.table.live(set, now).map(move |live| (set, live)))
            .filter_map(|(set, live)| {
                let hash = Table::hashes(self.table.sets(), set, live.fingerprint).next()?;
                let class = self.table.classes().saved(live.class)?;
                Some(Counter { hash, class, payload: live.payload })
            })
            .peekable();
        let mut number = Some(0);
        std::iter::from_fn(move || {
            let this = number?;
            let piece: Vec<Counter> = counters.by_ref().take(COUNTERS).collect();
            let last = counters.peek().is_none();
            number = if last { None } else { Some(this + 1) };
            Some(encode(&header, if last { this | LAST_PIECE } else { this }, &piece))
        })
    }
}

fn encode(header: &Header, number: u32, counters: &[Counter]) -> Vec<u8> {
    let bytes = HEADER_BYTES + counters.len() * COUNTER_BYTES + CRC_BYTES;
    let mut piece = Vec::with_capacity(bytes);
    let count = u32::try_from(counters.len()).expect("a piece has at most COUNTERS");
    piece.extend_from_slice(MAGIC);
    for number in [VERSION, number, count] {
        piece.extend_from_slice(&number.to_le_bytes());
    }
    piece.extend_from_slice(&header.secret);
    for number in [header.mark, header.saved_ms, header.sets] {
        piece.extend_from_slice(&number.to_le_bytes());
    }
    for counter in counters {
        for number in [counter.hash, counter.class, counter.payload] {
            piece.extend_from_slice(&number.to_le_bytes());
        }
    }
    piece.extend_from_slice(&crc32c::crc32c(&piece).to_le_bytes());
    piece
}

/// Takes so many bytes from the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], RestoreError> {
    let (taken, rest) =
        bytes.split_first_chunk::<N>().ok_or(RestoreError::Damaged("a piece is too short"))?;
    *bytes = rest;
    Ok(*taken)
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, RestoreError> {
    take(bytes).map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Result<u64, RestoreError> {
    take(bytes).map(u64::from_le_bytes)
}

/// Reads a piece: its number, what it says of the save, and its counters.
fn decode(piece: &[u8]) -> Result<(u32, Header, Vec<Counter>), RestoreError> {
    let mut rest = piece;
    if &take::<4>(&mut rest)? != MAGIC {
        return Err(RestoreError::Damaged("a piece does not begin as it should"));
    }
    match take_u32(&mut rest)? {
        VERSION => {}
        other => return Err(RestoreError::Version(other)),
    }
    let (body, crc) = piece
        .split_last_chunk::<CRC_BYTES>()
        .ok_or(RestoreError::Damaged("a piece is too short"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(RestoreError::Damaged("the checksum of a piece does not match"));
    }
    let number = take_u32(&mut rest)?;
    let count = take_u32(&mut rest)? as usize;
    let header = Header {
        secret: take(&mut rest)?,
        mark: take_u64(&mut rest)?,
        saved_ms: take_u64(&mut rest)?,
        sets: take_u64(&mut rest)?,
    };
    if rest.len() != count.saturating_mul(COUNTER_BYTES).saturating_add(CRC_BYTES) {
        return Err(RestoreError::Damaged("a piece has not the length that it says"));
    }
    let mut counters = Vec::with_capacity(count);
    for _ in 0..count {
        let (hash, class) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
        counters.push(Counter { hash, class, payload: take_u64(&mut rest)? });
    }
    Ok((number, header, counters))
}

/// Makes a limiter of the pieces of a save.
pub(super) fn restore<C: Clock, P: AsRef<[u8]>>(
    slots: usize,
    clock: C,
    pieces: impl IntoIterator<Item = P>,
) -> Result<Limiter<C>, RestoreError> {
    let mut pieces = pieces.into_iter();
    let first = pieces.next().ok_or(RestoreError::Damaged("there is no piece"))?;
    let (mut number, header, mut counters) = decode(first.as_ref())?;
    let identity = Identity::new(header.secret);
    if identity.mark() != header.mark {
        return Err(RestoreError::Hash);
    }
    if header.sets == 0 || header.sets > MAX_SETS || header.saved_ms > LAST_MS {
        return Err(RestoreError::Damaged("a number is out of bounds"));
    }
    let table = Table::new(slots);
    let mut expected = 0;
    loop {
        if number & !LAST_PIECE != expected {
            return Err(RestoreError::Damaged("a piece is missing"));
        }
        for counter in &counters {
            place(&table, &header, counter)?;
        }
        if number & LAST_PIECE != 0 {
            break;
        }
        expected += 1;
        let next = pieces.next().ok_or(RestoreError::Damaged("the last piece is missing"))?;
        let (next_number, next_header, next_counters) = decode(next.as_ref())?;
        if next_header != header {
            return Err(RestoreError::Damaged("a piece is of another save"));
        }
        (number, counters) = (next_number, next_counters);
    }
    if pieces.next().is_some() {
        return Err(RestoreError::Damaged("a piece follows the last"));
    }
    let ahead_ms = header.saved_ms.saturating_sub(clock.now_ms());
    let latest = Latest(header.saved_ms.into());
    Ok(Limiter { clock, ahead_ms, identity, table, counts: Counts::new(), latest })
}

/// Puts a counter into every set where its key may be looked for.
fn place(table: &Table, header: &Header, counter: &Counter) -> Result<(), RestoreError> {
    let damaged = RestoreError::Damaged("a counter makes no sense");
    let class = table.classes().restored(counter.class).ok_or(damaged.clone())?;
    if counter.payload == 0 || counter.payload >> 58 != 0 {
        return Err(damaged);
    }
    let sets = usize::try_from(header.sets)
        .map_err(|_too_large| RestoreError::Damaged("the table was too large for this machine"))?;
    #[expect(clippy::cast_possible_truncation, reason = "below the number of sets")]
    let set = ((u128::from(counter.hash) * sets as u128) >> 64) as usize;
    let fingerprint = counter.hash & ((1 << FINGERPRINT_BITS) - 1);
    for hash in Table::hashes(sets, set, fingerprint) {
        // A set that is full gives up its least counts; a copy that is there already stays.
        table.insert(hash, class, counter.payload, header.saved_ms);
    }
    Ok(())
}
