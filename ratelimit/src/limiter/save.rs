//! Counters as bytes, for a clean stop.
//!
//! A save is a sequence of pieces of at most 64 KiB. Numbers are little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | `WPRL` |
//! | 4 | the version of the format, 2 |
//! | 4 | the number of this piece, from 0; the last piece has the highest bit set |
//! | 4 | the number of counters that follow |
//! | 16 | the secret of the hash |
//! | 8 | the mark: the hash of a fixed text, which differs if the hash function has changed |
//! | 8 | the time of the save, in milliseconds since the Unix epoch |
//! | 8 | the number of sets of the table; the highest bit is set if guests have the upper half of them |
//! | 24 each | the counters: hash, class, payload, 8 bytes each |
//! | 4 | CRC-32C of all bytes before it |
//!
//! The hash has the counter's fingerprint in its low 46 bits, and high bits that lead to its set. The class
//! of a window is the period in milliseconds, or the code of a calendar, shifted left by eight, plus twice the float of
//! the count (7 bits), plus one if the window is fixed, plus 2^62 if the limit is global. The code of a calendar is 2^53, plus 2^51
//! times its unit (0 day, 1 week, 2 month, 3 year), plus the low 51 bits of the FNV-1a hash of the name of its zone. The class of GCRA has the highest bit set and, in the low bits,
//! the float of the time in which a full bucket drains. The payload is that of
//! `algorithm`.
//!
//! The high bits of a hash are known only as far as the set determines them. In a table of another size
//! they may lead to one of several sets, so the counter is put into each of them. The copies that no key
//! leads to expire with their windows. There are as many copies of a counter as the table has grown, so
//! the table is no fuller than before.

use super::{LAST_MS, Limiter};
use crate::algorithm::PAYLOAD_BITS;
use crate::class::Classes;
use crate::clock::Clock;
use crate::identity::{FINGERPRINT_BITS, Identity};
use crate::table::Table;

const MAGIC: &[u8; 4] = b"WPRL";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 56;
const COUNTER_BYTES: usize = 24;
const CRC_BYTES: usize = 4;
const LAST_PIECE: u32 = 1 << 31;
/// The counters of a full piece: 64,500 bytes with header and checksum.
const COUNTERS: usize = 2685;
/// The upper bound of a table's sets: 2^48 bytes are 2^41 sets.
const MAX_SETS: u64 = 1 << 41;
/// The bit beside the number of sets that is set if guests have a share.
const GUESTS: u64 = 1 << 63;

/// The reason why saved counters were not restored. No limiter was created; build one without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The save has a format version that this version does not know.
    #[error("the saved counters have format version {0}, which this version does not know")]
    Version(u32),
    /// The bytes differ from the bytes that were saved.
    #[error("the saved counters are damaged: {0}")]
    Damaged(#[from] Damage),
    /// The hash function has changed since the save, so no counter would be found.
    #[error("the saved counters were written with another hash function")]
    Hash,
    /// Guests have a share of the table in only one of the save and the new limiter.
    #[error("the saved counters are from a table with another division between guests and others")]
    Guests,
    /// The operating system returned no random bytes.
    #[error("the system returned no random bytes for the limiter")]
    Random,
    /// The save is of a table that is larger than the address space of this machine.
    #[error("the saved counters are from a table that is too large for this machine")]
    TooLarge,
}

/// How the bytes of a save are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// There is no piece at all.
    #[error("no piece was given")]
    Empty,
    /// A piece is shorter than its header and checksum.
    #[error("a piece is too short")]
    Short,
    /// A piece does not begin with the magic bytes of a save.
    #[error("a piece does not begin with the bytes of a save")]
    Magic,
    /// The checksum of a piece does not match its bytes.
    #[error("the checksum of a piece does not match")]
    Checksum,
    /// The length of a piece does not match its number of counters.
    #[error("the length of a piece does not match its number of counters")]
    Length,
    /// A piece is missing, or the pieces are not in their order.
    #[error("a piece is missing")]
    Missing,
    /// The pieces are of more than one save.
    #[error("a piece is from another save")]
    Mixed,
    /// Pieces follow the last one.
    #[error("a piece follows the last one")]
    Trailing,
    /// A number of the header is out of bounds.
    #[error("a number of the header is out of bounds")]
    Header,
    /// The class or the payload of a counter is not valid.
    #[error("a counter is not valid")]
    Counter,
}

/// The fields that all pieces of a save share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    secret: [u8; 16],
    mark: u64,
    saved_ms: u64,
    sets: u64,
    guests: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counter {
    hash: u64,
    class: u64,
    payload: u64,
}

impl<C: Clock> Limiter<C> {
    /// Returns the counters that still count, as bytes for [`Builder::restore`](crate::Builder::restore). Those of
    /// global limits are in [`global_state`](Limiter::global_state), if they are shared.
    ///
    /// The pieces have at most 64 KiB each and are created one by one, as the table is read. No thread
    /// waits; a request that arrives meanwhile may be included or not. The bytes contain the secret:
    /// protect them as you protect data.
    pub fn save(&self) -> impl Iterator<Item = Vec<u8>> {
        self.save_some(|_class| true)
    }

    /// Does the same as [`save`](Limiter::save), for the counters of calendars alone: save them while the limiter is used, so
    /// that a crash does not forget a quota.
    #[cfg(feature = "calendar")]
    pub fn save_calendars(&self) -> impl Iterator<Item = Vec<u8>> {
        self.save_some(|class| self.table.classes().is_calendar(class))
    }

    /// Returns whether a counter of a calendar may have changed since the last call.
    #[cfg(feature = "calendar")]
    pub fn take_changed_calendars(&self) -> bool {
        self.changed.0.swap(false, std::sync::atomic::Ordering::AcqRel)
    }

    /// Returns the counters of some classes, as bytes.
    fn save_some(&self, is_saved: impl Fn(u16) -> bool) -> impl Iterator<Item = Vec<u8>> {
        let now = self.now_ms().max(self.latest.get());
        let header = Header {
            secret: self.identity.secret(),
            mark: self.identity.mark(),
            saved_ms: now,
            sets: self.table.sets() as u64,
            guests: self.identity.has_guests(),
        };
        let mut counters = (0..self.table.sets())
            .flat_map(move |set| self.table.live(set, now).map(move |live| (set, live)))
            .filter(move |(_, live)| is_saved(live.class))
            .filter_map(|(set, live)| {
                let hash = Table::hashes(self.table.sets(), set, live.fingerprint).next()?;
                let class = self.table.classes().saved(live.class)?;
                let is_shared = self.globals.is_some() && Classes::is_global(class);
                (!is_shared).then_some(Counter { hash, class, payload: live.payload })
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
    let sets = header.sets | if header.guests { GUESTS } else { 0 };
    for number in [header.mark, header.saved_ms, sets] {
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

/// Splits `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Damage> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or(Damage::Short)?;
    *bytes = rest;
    Ok(*taken)
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, Damage> {
    take(bytes).map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Result<u64, Damage> {
    take(bytes).map(u64::from_le_bytes)
}

/// Reads a piece: its number, the header, and its counters.
fn decode(piece: &[u8]) -> Result<(u32, Header, Vec<Counter>), RestoreError> {
    let mut rest = piece;
    if &take::<4>(&mut rest)? != MAGIC {
        return Err(Damage::Magic.into());
    }
    match take_u32(&mut rest)? {
        VERSION => {}
        other => return Err(RestoreError::Version(other)),
    }
    let (body, crc) = piece.split_last_chunk::<CRC_BYTES>().ok_or(Damage::Short)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(Damage::Checksum.into());
    }
    let number = take_u32(&mut rest)?;
    let count = take_u32(&mut rest)? as usize;
    let (secret, mark, saved_ms) = (take(&mut rest)?, take_u64(&mut rest)?, take_u64(&mut rest)?);
    let sets = take_u64(&mut rest)?;
    let (sets, guests) = (sets & !GUESTS, sets & GUESTS != 0);
    let header = Header { secret, mark, saved_ms, sets, guests };
    if rest.len() != count.saturating_mul(COUNTER_BYTES).saturating_add(CRC_BYTES) {
        return Err(Damage::Length.into());
    }
    let mut counters = Vec::with_capacity(count);
    for _ in 0..count {
        let (hash, class) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
        counters.push(Counter { hash, class, payload: take_u64(&mut rest)? });
    }
    Ok((number, header, counters))
}

/// What a save holds.
pub(super) struct Restored {
    pub(super) identity: Identity,
    pub(super) table: Table,
    pub(super) saved_ms: u64,
}

/// Reads the pieces of a save. A limiter that shares global limits leaves their counters out, because it would take them
/// for its own and those of others at once.
pub(super) fn restore<P: AsRef<[u8]>>(
    slots: usize,
    guests: bool,
    shares: bool,
    pieces: impl IntoIterator<Item = P>,
) -> Result<Restored, RestoreError> {
    let mut pieces = pieces.into_iter();
    let first = pieces.next().ok_or(Damage::Empty)?;
    let (mut number, header, mut counters) = decode(first.as_ref())?;
    let identity = Identity::new(header.secret, guests);
    if identity.mark() != header.mark {
        return Err(RestoreError::Hash);
    }
    if header.guests != guests {
        return Err(RestoreError::Guests);
    }
    if header.sets == 0 || header.sets > MAX_SETS || header.saved_ms > LAST_MS {
        return Err(Damage::Header.into());
    }
    let table = Table::new(slots, guests);
    let mut expected = 0;
    loop {
        if number & !LAST_PIECE != expected {
            return Err(Damage::Missing.into());
        }
        for counter in counters.iter().filter(|it| !(shares && Classes::is_global(it.class))) {
            place(&table, &identity, &header, counter)?;
        }
        if number & LAST_PIECE != 0 {
            break;
        }
        expected += 1;
        let next = pieces.next().ok_or(Damage::Missing)?;
        let (next_number, next_header, next_counters) = decode(next.as_ref())?;
        if next_header != header {
            return Err(Damage::Mixed.into());
        }
        (number, counters) = (next_number, next_counters);
    }
    if pieces.next().is_some() {
        return Err(Damage::Trailing.into());
    }
    Ok(Restored { identity, table, saved_ms: header.saved_ms })
}

/// Puts a counter into every set in which a request may look for its key.
fn place(
    table: &Table,
    identity: &Identity,
    header: &Header,
    counter: &Counter,
) -> Result<(), RestoreError> {
    let is_guest = identity.is_guest(counter.hash);
    let class = table.classes().restored(counter.class, is_guest).ok_or(Damage::Counter)?;
    if counter.payload == 0 || counter.payload >> PAYLOAD_BITS != 0 {
        return Err(Damage::Counter.into());
    }
    let sets = usize::try_from(header.sets).map_err(|_too_large| RestoreError::TooLarge)?;
    #[expect(clippy::cast_possible_truncation, reason = "below the number of sets")]
    let set = ((u128::from(counter.hash) * sets as u128) >> 64) as usize;
    let fingerprint = counter.hash & ((1 << FINGERPRINT_BITS) - 1);
    for hash in Table::hashes(sets, set, fingerprint) {
        // A full set evicts its counter of least weight. A copy that is already there stays.
        table.insert(hash, class, counter.payload, header.saved_ms);
    }
    Ok(())
}
