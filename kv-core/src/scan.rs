//! A walk over every row, in the order of namespaces and keys: for who compares two stores.
//!
//! Unlike a list it shows tombstones, stubs, the system namespace and what is left of dropped ones, and a
//! damaged row does not end it.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::{
    NamespaceId,
    codec::DecodeError,
    engine::{Order, Snapshot},
    error::ReadError,
    limits::MAX_KEY_BYTES,
    schema::{self, Table},
    view::{Found, View},
};

/// The name of a row: its namespace and its key.
pub type RowName<'a> = (NamespaceId, &'a [u8]);

/// A row on a walk.
#[derive(Debug)]
pub struct Scanned<'a> {
    /// Its name; none if the bytes there are no name that a row can have.
    pub name: Option<RowName<'a>>,
    /// What it holds; [`ReadError::Damaged`] if that can't be told.
    pub found: Result<Found, ReadError>,
}

impl<S: Snapshot> View<S> {
    /// Visits every row after one name and up to another (the whole store where there is none), until
    /// the visitor breaks. Neither name need exist.
    ///
    /// # Errors
    /// If the engine can't read; the rows before were visited. A damaged row is shown and is no error.
    pub fn scan(
        &self,
        after: Option<RowName<'_>>,
        upto: Option<RowName<'_>>,
        visit: &mut dyn FnMut(Scanned<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let place = |(namespace, key): RowName<'_>| schema::entry(namespace, key);
        let (after, upto) = (after.map(place), upto.map(place));
        if after.as_ref().zip(upto.as_ref()).is_some_and(|(after, upto)| after >= upto) {
            // An engine may refuse bounds that cross.
            return Ok(());
        }
        let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let upper = upto.as_deref().map_or(Bound::Unbounded, Bound::Included);
        self.snapshot.range(
            Table::Entries,
            (lower, upper),
            Order::Ascending,
            &mut |key, row| {
                let name = name(key);
                let found = match name {
                    Some(_) => self.decode_found(key, row),
                    None => Err(ReadError::Damaged {
                        table: Table::Entries,
                        reason: DecodeError("a name that no row has"),
                    }),
                };
                visit(Scanned { name, found })
            },
        )?;
        Ok(())
    }

    fn decode_found(&self, key: &[u8], row: &[u8]) -> Result<Found, ReadError> {
        let (head, body) =
            crate::record::decode_entry(key, row).map_err(ReadError::damaged(Table::Entries))?;
        self.found(head, Bytes::copy_from_slice(body))
    }
}

fn name(key: &[u8]) -> Option<RowName<'_>> {
    let (namespace, key) = schema::split_entry(key).ok()?;
    (1..=MAX_KEY_BYTES).contains(&key.len()).then_some((namespace, key))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Attributes, Operation,
        commit::Committer,
        engine::{Engine, disk, redb::RedbEngine},
        view::FoundState,
    };

    fn store() -> (Arc<RedbEngine>, Committer<RedbEngine>, NamespaceId) {
        let engine = Arc::new(RedbEngine::open(disk::memory(), 1 << 20).unwrap());
        let mut ids = [7, 8].into_iter();
        let mut random_id = || ids.next().map(|id| [id; 16]).ok_or_else(String::new);
        let mut store = Committer::open(Arc::clone(&engine), &mut random_id).unwrap();
        let (account, title) = (String::new(), "one".to_owned());
        let namespace = crate::derive_id("", "one", 0);
        store.commit(1, vec![Operation::CreateNamespace { account, title, id: None }]);
        for key in ["a", "b", "c"] {
            let (_, body) = store.upload().finish();
            let attributes = Attributes::default();
            let key = Bytes::from(key);
            store.commit(1, vec![Operation::Put { namespace, key, body, attributes }]);
        }
        store.commit(1, vec![Operation::Delete { namespace, key: "b".into() }]);
        (engine, store, namespace)
    }

    /// What a walk shows: of each row its key, and whether it can be read.
    fn walk<S: Snapshot>(
        view: &View<S>,
        after: Option<RowName<'_>>,
        upto: Option<RowName<'_>>,
    ) -> Vec<(Option<Vec<u8>>, bool)> {
        let mut seen = Vec::new();
        view.scan(after, upto, &mut |row| {
            seen.push((row.name.map(|(_, key)| key.to_vec()), row.found.is_ok()));
            ControlFlow::Continue(())
        })
        .unwrap();
        seen
    }

    fn key(key: &[u8]) -> (Option<Vec<u8>>, bool) {
        (Some(key.to_vec()), true)
    }

    #[test]
    fn a_walk_shows_the_namespaces_themselves_and_tombstones_in_order() {
        let (_, mut store, namespace) = store();
        let view = store.view();
        let all = [key(&namespace.0), key(b"a"), key(b"b"), key(b"c")];
        assert_eq!(walk(&view, None, None), all);
        let mut deleted = 0;
        view.scan(None, None, &mut |row| {
            deleted += usize::from(row.found.unwrap().state == FoundState::Tombstone);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(deleted, 1);
    }

    #[test]
    fn a_walk_begins_after_one_name_and_goes_up_to_another() {
        let (_, mut store, namespace) = store();
        let view = store.view();
        let name = |key: &'static [u8]| Some((namespace, key));
        assert_eq!(walk(&view, name(b"a"), name(b"bb")), [key(b"b")]);
        assert_eq!(walk(&view, name(b"b"), None), [key(b"c")]);
        assert_eq!(walk(&view, name(b"c"), name(b"a")), []);
        assert_eq!(walk(&view, name(b"a"), name(b"a")), []);
    }

    #[test]
    fn a_walk_goes_on_over_damaged_rows_and_over_names_that_are_none() {
        let (engine, mut store, namespace) = store();
        let damaged = (Table::Entries, schema::entry(namespace, b"b"), Some(vec![1, 2, 3]));
        let nameless = (Table::Entries, b"short".to_vec(), Some(vec![1, 2, 3]));
        engine.commit(engine.status().latest + 1, vec![damaged, nameless]).unwrap();
        drop(store);
        let mut unasked = || Err(String::new());
        store = Committer::open(engine, &mut unasked).unwrap();
        let mut seen = walk(&store.view(), None, None);
        seen.sort();
        let mut all =
            [(None, false), key(&namespace.0), key(b"a"), (Some(b"b".to_vec()), false), key(b"c")];
        all.sort();
        assert_eq!(seen, all);
    }
}
