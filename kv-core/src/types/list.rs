//! Lists of keys.

use super::{attributes::Metadata, key::Key, limits::MAX_LIST_LIMIT, version::Version};

/// An entry without its value, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Key,
    /// The version of the write that put the entry.
    pub version: Version,
    /// See [`Attributes`](super::Attributes).
    pub metadata: Option<Metadata>,
    /// See [`Attributes`](super::Attributes).
    pub expires_at: Option<u64>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, by key in byte order.
    pub entries: Vec<Listed>,
    /// Keys of the page's range whose entries are damaged here, in byte order, at most [`MAX_LIST_LIMIT`]: they
    /// are not among `entries`, and whether they have an entry is not known. They are fetched from the other
    /// locations, and a put or a delete repairs them.
    pub damaged: Vec<Key>,
    /// Whether nothing follows. If false, the next page begins after the last key of this one.
    pub complete: bool,
}

/// Which keys a list shows. The default shows the first [`MAX_LIST_LIMIT`] keys of a namespace.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// Only keys that start with these bytes.
    pub prefix: &'a [u8],
    /// Only keys after this one, which need not exist: the last key of a page is where the next page
    /// starts, whatever was put or deleted in between.
    pub after: Option<&'a [u8]>,
    /// The most keys of a page, 1 to [`MAX_LIST_LIMIT`]. Other numbers are moved into that range.
    pub limit: usize,
}

impl Default for ListQuery<'_> {
    fn default() -> Self {
        ListQuery { prefix: b"", after: None, limit: MAX_LIST_LIMIT }
    }
}
