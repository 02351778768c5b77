//! Bounds that every store enforces, whichever API a write came through.

/// The longest key, in bytes (Workers KV's bound).
pub const MAX_KEY_BYTES: usize = 512;

/// The longest value, in bytes: 25 MiB (Workers KV's bound).
pub const MAX_VALUE_BYTES: u64 = 25 * 1024 * 1024;

/// The longest metadata, in bytes of its JSON text (Workers KV's bound).
pub const MAX_METADATA_BYTES: usize = 1024;

/// The longest namespace title, in bytes of UTF-8.
pub const MAX_TITLE_BYTES: usize = 512;

/// The most locations that a cluster has at a time. Those that left do not count, although their rows stay.
pub const MAX_MEMBERS: usize = 500;

/// The most origins that a store knows. A location opens two with its first write after each start, and
/// they stay in every version vector: 32,768 starts of all locations of a cluster together.
pub const MAX_ORIGINS: usize = 65_536;

/// The most origins of one location that a store knows, so that no location alone uses up [`MAX_ORIGINS`].
pub const MAX_MEMBER_ORIGINS: usize = 32_768;

/// The most origins that a store counts although their opening rows are damaged at every location that was reached, and
/// that it knows of no member ([`LOST_MEMBER`](super::LOST_MEMBER)). Beyond it, a location whose opening rows are damaged
/// is no source of the writes of more such origins.
pub const MAX_LOST_ORIGINS: usize = 1024;

/// The most other origins that one origin closes with its opening row, which must fit a row of its entry
/// ([`MAX_INLINE_BYTES`]). The rest is closed by rows of their own.
pub const MAX_CLOSES: usize = 200;

/// The longest name of a cluster's location, in bytes of UTF-8.
pub const MAX_MEMBER_NAME_BYTES: usize = 128;

/// The most addresses of a location.
pub const MAX_ADDRESSES: usize = 8;

/// The longest address of a location, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 270;

/// The longest text of what an access token permits, in bytes.
pub const MAX_SCOPES_BYTES: usize = 3072;

/// The longest description of an access token, in bytes of UTF-8.
pub const MAX_DESCRIPTION_BYTES: usize = 256;

/// The longest name of a limit and key of an override, in bytes together: an override fits the row of its entry
/// ([`MAX_INLINE_BYTES`]).
pub const MAX_OVERRIDE_BYTES: usize = 3072;

/// The most overrides of rate limits that clients can create at a location.
pub const MAX_OVERRIDES: usize = 100_000;

/// The most bytes of their names and keys.
pub const MAX_OVERRIDE_TEXT: usize = 16 << 20;

/// The longest version of a location's program, in bytes.
pub const MAX_SOFTWARE_BYTES: usize = 64;

/// The most fields of a row of the system namespace.
pub const MAX_FIELDS: usize = 15;

/// The longest value of a field of a row of the system namespace, in bytes. With [`MAX_FIELDS`] a row has at most
/// 64 KiB.
pub const MAX_FIELD_BYTES: usize = 4096;

/// The longest body that is stored in the row of its entry, in bytes.
///
/// A redb page holds 4096 bytes, and redb stores a longer row in a power of two of pages. A row with
/// the longest inline body and a short key and metadata still fits one page beside redb's own header,
/// so that a list reads one page per entry.
pub const MAX_INLINE_BYTES: usize = 3584;

/// The size of a chunk of a larger body, in bytes: a little under 64 KiB, because redb stores an
/// exact power of two at twice its size.
pub const CHUNK_BYTES: usize = 65_280;

/// The longest name under which a location keeps bytes for itself, in bytes of UTF-8.
pub const MAX_LOCAL_NAME_BYTES: usize = 64;

/// The most parts that are kept under one such name, each as long as a value may be: 6 GiB.
pub const MAX_LOCAL_PARTS: usize = 256;

/// The most keys of a page of a list.
pub const MAX_LIST_LIMIT: usize = 1000;

/// The most writes of a [`WriteBatch`](crate::WriteBatch).
pub const MAX_BATCH_WRITES: usize = 1000;

/// The most bytes of a [`WriteBatch`](crate::WriteBatch) that one commit takes: the keys, the metadata,
/// and the values of at most [`MAX_INLINE_BYTES`]. Longer values are written ahead of the batch and do
/// not count.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// The first Unix second that no write and no expiry may have: the year 2200. A clock that shows it is wrong.
pub const END_OF_TIME: u64 = 7_258_118_400;

/// How far a peer's last collected tombstone may be ahead of cluster time, in milliseconds: a day. An own clock that was
/// set back for a while may show less than a tombstone that was collected before.
pub const MAX_AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// The most keys of rows that a store records as damaged. Beyond it the disk must be replaced: the location joins again
/// with an empty data directory.
pub const MAX_OWED: usize = 16_384;

/// The most of them that other locations have named: the rest is for damage on this location's disk.
pub const MAX_NAMED: usize = MAX_OWED / 2;
