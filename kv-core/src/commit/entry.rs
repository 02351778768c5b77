//! The row of a key, and its rows in the indexes, which move with it.

use bytes::Bytes;

use super::{operation::NewContent, transaction::Transaction};
use crate::{
    engine::{Snapshot, Table},
    tables::{
        self, Dots, EntryKey, ExpiredTombstones, Expiry, IndexedDot, Timed, Tombstones,
        encode_entry, other_table, table_of,
    },
    types::{Attributes, Dot, Found, FoundState, Version},
};

/// The write that a row comes from.
#[derive(Clone, Copy)]
pub(super) struct WriteName {
    /// The name of the write.
    pub(super) dot: Dot,
    /// The version that it gives its key.
    pub(super) version: Version,
    /// The version that it replaces, if the key had one.
    pub(super) prev: Option<Version>,
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Replaces a row, and moves every index with it. Returns the new row.
    pub(super) fn replace(
        &mut self,
        key: EntryKey,
        current: Option<Found<()>>,
        name: WriteName,
        content: NewContent,
    ) -> Found {
        let before = current.as_ref().map(table_of);
        if let Some(old) = &current {
            self.remove_indexes(&key, old);
        }
        let WriteName { dot, version, prev } = name;
        let (state, attributes) = self.place(content);
        let Attributes { metadata, expires_at } = attributes;
        let found = Found { version, dot, prev, metadata, expires_at, state };
        let indexed = self.indexed(dot);
        tables::put::<Dots>(&mut self.batch, &indexed, &key);
        let inline = match &found.state {
            FoundState::Inline(bytes) => bytes.clone(),
            _ => Bytes::new(),
        };
        self.put_row((before, key), found.clone().with_value(()), &inline);
        found
    }

    /// Writes the row of a key and its row in an index by time. `before` is the table that had the key's row, if it had
    /// one that could be read.
    pub(super) fn put_row(
        &mut self,
        (before, key): (Option<Table>, EntryKey),
        head: Found<()>,
        inline: &[u8],
    ) {
        for version in [Some(head.version), head.prev].into_iter().flatten() {
            self.origin_number(version.origin);
        }
        for dot in head.dots() {
            self.origin_number(dot.origin);
        }
        if let Some((index, time)) = time_index(&head) {
            let (key, dot) = (Timed { time, entry: key.clone() }, self.indexed(head.dot));
            match index {
                Table::Tombstones => tables::put::<Tombstones>(&mut self.batch, &key, &dot),
                Table::ExpiredTombstones => {
                    self.unindex_swept(&key, dot);
                    tables::put::<ExpiredTombstones>(&mut self.batch, &key, &dot);
                }
                _ => tables::put::<Expiry>(&mut self.batch, &key, &()),
            }
        }
        self.note_override(&key, Some((&head, inline)));
        self.state.newest = self.state.newest.max(head.version.hlc);
        let number = |id| self.state.origins.number(id).expect("its origins have numbers");
        let row = encode_entry(key.as_bytes(), &head, inline, &number);
        let (table, other) = (table_of(&head), other_table(table_of(&head)));
        if before == Some(other) || self.unread.contains(&key) {
            self.batch.push((other, key.as_bytes().to_vec(), None));
        }
        self.batch.push((table, key.as_bytes().to_vec(), Some(row)));
        self.rows.insert(key, Some(head));
    }

    /// Removes the row in the dot index of an expired tombstone that a sweep has collected, if the index by time still
    /// names it under a place that another one takes: the key has expired a second time in the same second.
    fn unindex_swept(&mut self, place: &Timed, by: IndexedDot) {
        if let Ok(Some(swept)) = tables::get::<ExpiredTombstones>(&self.view.snapshot, place)
            && swept != by
            && self.state.has_collected(swept)
        {
            tables::delete::<Dots>(&mut self.batch, &swept);
        }
    }

    /// Removes a row from the store, with its rows in every index.
    pub(super) fn remove(&mut self, key: EntryKey, head: &Found<()>) {
        self.note_override(&key, None);
        self.remove_indexes(&key, head);
        self.batch.push((table_of(head), key.as_bytes().to_vec(), None));
        self.rows.insert(key, None);
    }

    /// Removes the rows of a replaced entry from the indexes, and frees its large body.
    fn remove_indexes(&mut self, key: &EntryKey, old: &Found<()>) {
        let dot = self.indexed(old.dot);
        tables::delete::<Dots>(&mut self.batch, &dot);
        self.remove_time_index(key, old);
        if let Some(large) = old.large() {
            self.free(large.body);
        }
    }

    /// Deletes the index row by which garbage collection would find a row: of tombstones by their time, of
    /// other rows by their expiry.
    pub(super) fn remove_time_index(&mut self, key: &EntryKey, old: &Found<()>) {
        let Some((index, time)) = time_index(old) else { return };
        let key = Timed { time, entry: key.clone() };
        match index {
            Table::Tombstones => tables::delete::<Tombstones>(&mut self.batch, &key),
            Table::ExpiredTombstones => tables::delete::<ExpiredTombstones>(&mut self.batch, &key),
            _ => tables::delete::<Expiry>(&mut self.batch, &key),
        }
    }

    /// Returns the state of a row with this content, and its attributes. Takes a large body out of the
    /// pending table.
    fn place(&mut self, content: NewContent) -> (FoundState, Attributes) {
        match content {
            NewContent::Put { body, attributes } => (self.place_body(&body), attributes),
            NewContent::Delete => (FoundState::Tombstone, Attributes::default()),
            NewContent::Expired { expires_at } => {
                let attributes = Attributes { metadata: None, expires_at: Some(expires_at) };
                (FoundState::ExpiredTombstone, attributes)
            }
            NewContent::Joined(row) => (FoundState::Joined(row), Attributes::default()),
        }
    }
}

/// Returns the index that holds a row by time, and its time there: the time of a deletion, or the expiry
/// of a value or an expired tombstone, in seconds. None for a value that never expires.
///
/// Expired tombstones have an index of their own, because their expiry and the grace may keep them for
/// long, and they must not delay the tombstones of deletions.
pub(super) fn time_index(head: &Found<()>) -> Option<(Table, u64)> {
    match head.state {
        FoundState::Tombstone => Some((Table::Tombstones, head.version.hlc.0)),
        FoundState::ExpiredTombstone => {
            Some((Table::ExpiredTombstones, head.expires_at.unwrap_or(0)))
        }
        FoundState::Inline(()) | FoundState::Large { .. } => {
            head.expires_at.map(|at| (Table::Expiry, at))
        }
        FoundState::Joined(_) => None,
    }
}
