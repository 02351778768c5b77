//! The key of an entry's row.

use crate::{
    codec::{DecodeError, Reader},
    types::{Key, NamespaceId, limits::MAX_KEY_BYTES},
};

/// The key of a row of the entries: a namespace and a key in it, as bytes. Other tables name an entry by
/// the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryKey(Vec<u8>);

/// How many bytes the namespace takes.
const NAMESPACE_BYTES: usize = 16;

impl EntryKey {
    /// Returns the key of the row of an entry.
    pub(crate) fn new(namespace: NamespaceId, key: &Key) -> EntryKey {
        EntryKey([&namespace.0, key.as_bytes()].concat())
    }

    /// Returns the key of the row of `key`, or `None` if no entry can have that key.
    pub(crate) fn of(namespace: NamespaceId, key: &[u8]) -> Option<EntryKey> {
        let is_key = (1..=MAX_KEY_BYTES).contains(&key.len());
        is_key.then(|| EntryKey([&namespace.0, key].concat()))
    }

    /// Reads and checks the key of a row.
    pub(crate) fn read(bytes: &[u8]) -> Result<EntryKey, DecodeError> {
        split(bytes)?;
        Ok(EntryKey(bytes.to_vec()))
    }

    /// Returns the bytes: the id of the namespace, then the key.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Splits the bytes into namespace and key.
    pub(crate) fn split(&self) -> (NamespaceId, &[u8]) {
        split(&self.0).expect("an entry's key was checked when it was made")
    }

    /// Returns the bytes that the rows of all keys of a namespace that start with `prefix` start with.
    pub(crate) fn prefix(namespace: NamespaceId, prefix: &[u8]) -> Vec<u8> {
        [&namespace.0, prefix].concat()
    }

    /// Removes the namespace from the key of a row, valid or not.
    pub(crate) fn strip_namespace(bytes: &[u8]) -> &[u8] {
        bytes.get(NAMESPACE_BYTES..).unwrap_or_default()
    }
}

/// Splits the key of a row of the entries.
pub(crate) fn split(bytes: &[u8]) -> Result<(NamespaceId, &[u8]), DecodeError> {
    let mut reader = Reader::new(bytes);
    let namespace = NamespaceId(reader.id()?);
    match reader.remaining() {
        1..=MAX_KEY_BYTES => Ok((namespace, reader.rest())),
        _ => Err(DecodeError("a key of an invalid length")),
    }
}
