//! Lists of a namespace's keys, in bounded stretches.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::point::View;
use crate::{
    engine::{Order, Snapshot, Table, after_prefix},
    error::ReadError,
    tables::{EntryKey, decode_head, split_entry},
    types::{Found, Key, ListQuery, Listed, NamespaceId, Page, limits::MAX_LIST_LIMIT},
};

/// The bounds of a walk over a namespace in one view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// The direction.
    pub(crate) order: Order,
    /// The most rows that it reads, including those of entries that have expired or are dead.
    pub(crate) max_rows: usize,
    /// The time of the reader, in Unix milliseconds.
    pub(crate) now_ms: u64,
}

/// Where a walk stopped.
#[derive(Debug)]
pub(crate) enum StretchEnd {
    /// It visited all rows between the bounds.
    Complete,
    /// The visitor broke.
    Broken,
    /// It read `max_rows` rows, the last one under this key.
    At(Vec<u8>),
    /// The row under this key is damaged.
    Damaged(Vec<u8>, ReadError),
}

/// Visits a row: the key, the key of the row, the row.
type RowVisitor<'v> = &'v mut dyn FnMut(Key, &[u8], &[u8]) -> Result<ControlFlow<()>, ReadError>;

/// Keys of a namespace between two bounds.
pub(crate) type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl<S: Snapshot> View<S> {
    /// Lists a page of the keys that a reader at `now_ms` (Unix milliseconds) finds, without their values.
    ///
    /// # Errors
    /// [`ReadError::UnknownNamespace`], or if the store can't be read. A damaged row is left out, and the page
    /// names its key.
    pub fn list(
        &self,
        namespace: NamespaceId,
        query: &ListQuery<'_>,
        now_ms: u64,
    ) -> Result<Page, ReadError> {
        let query = ListQuery { limit: query.limit.clamp(1, MAX_LIST_LIMIT), ..*query };
        self.list_some(namespace, &query, now_ms, usize::MAX).map(|(page, _)| page)
    }

    /// [`View::list`] that reads at most `max_rows` rows, including those of entries that have expired. If it stopped for that
    /// reason, it also returns the key to continue after. A limit of 0 only finds out whether there is a
    /// next key.
    ///
    /// # Errors
    /// As for [`View::list`].
    pub fn list_some(
        &self,
        namespace: NamespaceId,
        query: &ListQuery<'_>,
        now_ms: u64,
        max_rows: usize,
    ) -> Result<(Page, Option<Vec<u8>>), ReadError> {
        let end = after_prefix(query.prefix);
        let lower = match query.after {
            Some(after) if after >= query.prefix => Bound::Excluded(after),
            _ => Bound::Included(query.prefix),
        };
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page { entries: Vec::new(), damaged: Vec::new(), complete: false };
        let mut from = lower.map(<[u8]>::to_vec);
        let stopped_at = loop {
            let stretch = Stretch { order: Order::Ascending, max_rows, now_ms };
            let bounds = (from.as_ref().map(Vec::as_slice), upper);
            let end = self.walk_heads(namespace, bounds, stretch, &mut |key, head| {
                if page.entries.len() == query.limit {
                    return ControlFlow::Break(());
                }
                let Found { version, metadata, expires_at, .. } = head;
                page.entries.push(Listed { key, version, metadata, expires_at });
                ControlFlow::Continue(())
            })?;
            match end {
                StretchEnd::Complete => page.complete = true,
                StretchEnd::Broken => {}
                StretchEnd::At(key) => break Some(key),
                StretchEnd::Damaged(key, _) => {
                    page.damaged.extend(Key::new(&key).ok());
                    if page.damaged.len() < MAX_LIST_LIMIT {
                        from = Bound::Excluded(key);
                        continue;
                    }
                    break Some(key);
                }
            }
            break None;
        };
        let last = stopped_at.as_deref().or(page.entries.last().map(|entry| entry.key.as_bytes()));
        let upto = if page.complete { None } else { Some(last.unwrap_or_default()) };
        let owed = self.owed_without_row(namespace, query.prefix, (lower, upto))?;
        if !owed.is_empty() {
            page.damaged.extend(owed);
            page.damaged.sort_unstable();
            page.damaged.truncate(MAX_LIST_LIMIT);
        }
        Ok((page, stopped_at))
    }

    /// The owed keys with a prefix that have no entry here and no tombstone that can be read, from a bound up to a key.
    fn owed_without_row(
        &self,
        namespace: NamespaceId,
        prefix: &[u8],
        (lower, upto): (Bound<&[u8]>, Option<&[u8]>),
    ) -> Result<Vec<Key>, ReadError> {
        let mut owed = Vec::new();
        let is_in = |key: &&Key| {
            key.starts_with(prefix)
                && match lower {
                    Bound::Excluded(after) => key.as_bytes() > after,
                    Bound::Included(_) | Bound::Unbounded => true,
                }
                && upto.is_none_or(|upto| key.as_bytes() <= upto)
        };
        for key in self.owed.from(namespace, prefix).filter(is_in) {
            // A damaged entry was met by the walk.
            match self.row(namespace, key) {
                Ok(None) | Err(ReadError::Damaged { table: Table::Deleted, .. }) => {
                    owed.push(key.clone());
                }
                Ok(Some(_)) | Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(owed)
    }

    /// Visits the entries that a reader finds between two keys, without their inline values.
    ///
    /// # Errors
    /// [`ReadError::UnknownNamespace`], or if the engine can't read. A damaged row ends the walk and is
    /// part of the result.
    pub(crate) fn walk_heads(
        &self,
        namespace: NamespaceId,
        bounds: KeyBounds<'_>,
        stretch: Stretch,
        visit: &mut dyn FnMut(Key, Found<()>) -> ControlFlow<()>,
    ) -> Result<StretchEnd, ReadError> {
        self.walk(namespace, bounds, stretch, &mut |name, key, row| {
            let head = decode_head((Table::Entries, key), row, &self.origins).map_err(|error| {
                self.note_damaged_row(namespace, &name);
                ReadError::damaged(Table::Entries)(error)
            })?;
            if !self.shows(namespace, &head, stretch.now_ms) {
                return Ok(ControlFlow::Continue(()));
            }
            Ok(visit(name, head))
        })
    }

    /// Visits the entries that a reader finds between two keys, with their inline values.
    ///
    /// # Errors
    /// As for [`View::walk_heads`].
    pub(crate) fn walk_entries(
        &self,
        namespace: NamespaceId,
        bounds: KeyBounds<'_>,
        stretch: Stretch,
        visit: &mut dyn FnMut(Key, Found) -> ControlFlow<()>,
    ) -> Result<StretchEnd, ReadError> {
        self.walk(namespace, bounds, stretch, &mut |name, key, row| {
            let found = self.decode((Table::Entries, key), row, Bytes::copy_from_slice)?;
            if !self.shows(namespace, &found, stretch.now_ms) {
                return Ok(ControlFlow::Continue(()));
            }
            Ok(visit(name, found))
        })
    }

    /// Visits the rows between two keys.
    fn walk(
        &self,
        namespace: NamespaceId,
        bounds: KeyBounds<'_>,
        stretch: Stretch,
        visit: RowVisitor<'_>,
    ) -> Result<StretchEnd, ReadError> {
        self.check_namespace(namespace)?;
        let (lower, upper) = row_bounds(namespace, bounds);
        let bounds = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
        let mut end = StretchEnd::Complete;
        let mut rows_left = stretch.max_rows;
        self.snapshot.range(Table::Entries, bounds, stretch.order, &mut |key, row| {
            let visited = split_entry(key).map_err(ReadError::damaged(Table::Entries)).and_then(
                |(_, name)| {
                    let name = Key::new(name).expect("the key of a row was checked");
                    visit(name, key, row)
                },
            );
            rows_left -= 1;
            end = match visited {
                Ok(ControlFlow::Continue(())) if rows_left > 0 => return ControlFlow::Continue(()),
                Ok(ControlFlow::Continue(())) => {
                    StretchEnd::At(EntryKey::strip_namespace(key).to_vec())
                }
                Ok(ControlFlow::Break(())) => StretchEnd::Broken,
                Err(error) => StretchEnd::Damaged(EntryKey::strip_namespace(key).to_vec(), error),
            };
            ControlFlow::Break(())
        })?;
        Ok(end)
    }
}

/// The bounds of the rows of a namespace's keys.
fn row_bounds(
    namespace: NamespaceId,
    (lower, upper): KeyBounds<'_>,
) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let row = |key: &[u8]| EntryKey::prefix(namespace, key);
    let lower = match lower {
        Bound::Unbounded => Bound::Included(row(b"")),
        bound => bound.map(row),
    };
    let upper = match upper {
        Bound::Unbounded => after_prefix(&row(b"")).map_or(Bound::Unbounded, Bound::Excluded),
        bound => bound.map(row),
    };
    (lower, upper)
}
