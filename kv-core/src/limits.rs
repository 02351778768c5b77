//! Bounds that every store enforces, whichever door a write came through.

/// The longest key, in bytes (Workers KV's bound).
pub const MAX_KEY_BYTES: usize = 512;

/// The longest value, in bytes: 25 MiB (Workers KV's bound).
pub const MAX_VALUE_BYTES: u64 = 25 * 1024 * 1024;

/// The longest metadata, in bytes of its JSON text (Workers KV's bound).
pub const MAX_METADATA_BYTES: usize = 1024;

/// The longest namespace title, in bytes of UTF-8.
pub const MAX_TITLE_BYTES: usize = 512;

/// The most locations that a cluster has in its life, those that left among them: what each wrote
/// under stays in every vector.
pub const MAX_MEMBERS: usize = 500;

/// The longest name of a cluster's location, in bytes of UTF-8.
pub const MAX_MEMBER_NAME_BYTES: usize = 128;

/// The most addresses of a location.
pub const MAX_ADDRESSES: usize = 8;

/// The longest address of a location, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 270;

/// The longest body that sits in its entry's row.
///
/// A redb page holds 4096 bytes, and what passes a page is stored in a power of two of them. A row
/// with the longest inline body and a short key and metadata still fits one page beside redb's own
/// header, and a list that walks such rows reads one page an entry.
pub const MAX_INLINE_BYTES: usize = 3584;

/// The size of a chunk of a larger body.
///
/// A little under 64 KiB, because redb stores an exact power of two at twice its size.
pub const CHUNK_BYTES: usize = 65_280;

/// The longest name of what a location keeps for itself, in bytes of UTF-8.
pub const MAX_LOCAL_NAME_BYTES: usize = 64;

/// The most parts of what is kept under one such name, each as long as a value may be: 6 GiB.
pub const MAX_LOCAL_PARTS: usize = 256;

/// The most keys a page of a list holds.
pub const MAX_LIST_LIMIT: usize = 1000;
