//! Compares the tables of a store with the model, row by row and in both directions.
//!
//! Rows are decoded as specified in FORMAT.md, independently of the code that wrote them; only
//! entries are decoded by the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    ops::{Bound, ControlFlow},
};

use bytes::Bytes;
use kv_core::{
    Dot, Hlc, NamespaceId, OriginId, Table, VersionVector,
    engine::{Order, Snapshot},
    limits::CHUNK_BYTES,
    view::{Found, FoundState, View},
};

use crate::{
    hold,
    model::{Content, Row, State, What},
    violation::{Checked, During, Violation},
    world::LOCAL,
};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a store was found to hold beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Rows of the pending table.
    pub pending: usize,
    /// Bodies that have chunks and that no entry holds.
    pub unused: usize,
}

/// Checks that a snapshot holds exactly what the model says, and that its tables fit each other.
///
/// # Errors
/// The first thing that does not hold.
pub fn check<S: Snapshot>(snapshot: &S, view: &View<S>, state: &State) -> Checked<Remains> {
    let tables = Tables::read(snapshot)?;
    let origins = tables.origins()?;
    let numbers: BTreeMap<OriginId, u32> = origins.iter().map(|(n, id)| (*id, *n)).collect();
    hold!(numbers.len() == origins.len(), "an origin has two numbers");
    let number = |id: OriginId| {
        let known = numbers.get(&id).copied();
        known.ok_or_else(|| Violation::Wrong(format!("{id} has no number")))
    };
    let mut bodies = check_entries(&tables, view, state)?;
    bodies.extend(tables.check_local(state)?);
    tables.check_indexes(state, &number)?;
    for (table, expected) in [(Table::Vector, &state.vector), (Table::Collected, &state.collected)]
    {
        let found = tables.vector(table, &origins)?;
        same(&format!("{table:?}"), &found, expected)?;
    }
    same("the view's vector", view.vector(), &state.vector)?;
    same("the view's collected vector", view.collected(), &state.collected)?;
    tables.check_meta(state)?;
    same("the location", &view.member(), &state.member)?;
    same("the process's origins", &view.own_origins(), &state.own)?;
    same("the origins", &**view.registry(), &state.registry())?;
    let purge: Rows =
        tables.payloads(Table::Purge)?.into_iter().map(|(id, upto)| (id, upto.to_vec())).collect();
    let expected = state.purge.iter().map(|(id, upto)| (id.0.to_vec(), upto.to_vec()));
    same("purge", &purge, &expected.collect())?;
    let registry: Vec<_> = view.namespaces().iter().cloned().collect();
    same("the namespaces", &registry, &state.namespaces().cloned().collect())?;
    for (id, dropped_at) in &state.drops {
        same("the drop", &view.namespaces().dropped_at(*id), &Some(*dropped_at))?;
    }
    for id in state.namespaces.keys() {
        same("dropped", &view.namespaces().is_dropped(*id), &state.is_dropped(*id))?;
    }
    tables.check_bodies(&bodies)
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Checked {
    hold!(found == expected, "{what}: found {found:?}, expected {expected:?}");
    Ok(())
}

/// Checks that a row of the store, including a body in chunks, equals the model's.
///
/// # Errors
/// The difference.
pub fn check_row(
    name: &(NamespaceId, Bytes),
    found: &Found,
    row: &Row,
) -> Checked<Option<(u64, u64)>> {
    let expected = (row.dot, row.version, row.prev, row.metadata.as_deref(), row.expires_at);
    let metadata = found.metadata.as_deref();
    let there = (found.dot, found.version, found.prev, metadata, found.expires_at);
    same(&format!("the row of {name:?}"), &there, &expected)?;
    match (&found.state, &row.what) {
        (FoundState::Tombstone, What::Tombstone)
        | (FoundState::ExpiredTombstone, What::ExpiredTombstone) => Ok(None),
        (FoundState::Inline(bytes), What::Value(content)) if !content.is_large() => {
            hold!(bytes == &content.bytes, "{name:?} has a wrong value");
            Ok(None)
        }
        (FoundState::Large { body, len, digest }, What::Value(content)) if content.is_large() => {
            same("the length", len, &(content.bytes.len() as u64))?;
            hold!(digest == &content.digest, "{name:?} has a wrong digest");
            Ok(Some((body.0, *len)))
        }
        (FoundState::Joined(found), What::Joined(fields)) => {
            let found: Vec<_> = found
                .iter()
                .map(|(number, field)| {
                    (number.get(), field.version, field.seq, field.value.as_bytes().to_vec())
                })
                .collect();
            let fields = fields
                .iter()
                .map(|(number, field)| (*number, field.version, field.seq, field.bytes.to_vec()));
            same(&format!("the fields of {name:?}"), &found, &fields.collect())?;
            Ok(None)
        }
        (found, what) => {
            Err(Violation::Wrong(format!("{name:?}: found {found:?}, expected {what:?}")))
        }
    }
}

/// Checks that the entries equal the model's. Returns the bodies that entries hold, with their
/// lengths.
fn check_entries<S: Snapshot>(
    tables: &Tables,
    view: &View<S>,
    state: &State,
) -> Checked<BTreeMap<u64, u64>> {
    let names = |table| {
        let names = tables.all[&table].keys().map(|key| {
            let (namespace, key) = key.split_at_checked(16).unwrap_or((&[], key));
            let id =
                namespace.try_into().map_err(|_length| Violation::Wrong("a short key".into()))?;
            Ok((NamespaceId(id), Bytes::copy_from_slice(key)))
        });
        names.collect::<Checked<BTreeSet<_>>>()
    };
    let (entries, tombstones) = (names(Table::Entries)?, names(Table::Deleted)?);
    for (names, is_tombstone) in [(&entries, false), (&tombstones, true)] {
        let is_extra = |name: &&(NamespaceId, Bytes)| {
            state.rows.get(*name).is_none_or(|row| row.is_tombstone() != is_tombstone)
        };
        let extra = names.iter().find(is_extra);
        hold!(extra.is_none(), "unexpected row {extra:?}, among the tombstones: {is_tombstone}");
    }
    let mut bodies = BTreeMap::new();
    for (name, row) in &state.rows {
        let names = if row.is_tombstone() { &tombstones } else { &entries };
        hold!(names.contains(name), "{name:?} is missing: {row:?}");
        let found = view.row(name.0, &name.1).reading("reading a row")?;
        let found = found.ok_or_else(|| Violation::Wrong(format!("{name:?} is not found")))?;
        let Some((body, len)) = check_row(name, &found, row)? else { continue };
        hold!(bodies.insert(body, len).is_none(), "two entries hold body {body}");
        let content = row.content().expect("only a value has a body");
        tables.check_chunks(body, content, &format!("{name:?}"))?;
    }
    Ok(bodies)
}

fn chunk_key(body: u64, index: usize) -> Checked<Vec<u8>> {
    let index = u32::try_from(index).during("the index of a chunk")?;
    Ok([&body.to_be_bytes()[..], &index.to_be_bytes()].concat())
}

/// All rows of all tables.
struct Tables {
    all: BTreeMap<Table, Rows>,
}

impl Tables {
    fn read<S: Snapshot>(snapshot: &S) -> Checked<Tables> {
        let mut all = BTreeMap::new();
        for table in Table::ALL {
            let mut rows = Rows::new();
            let bounds = (Bound::Unbounded, Bound::Unbounded);
            snapshot
                .range(table, bounds, Order::Ascending, &mut |key, row| {
                    rows.insert(key.to_vec(), row.to_vec());
                    ControlFlow::Continue(())
                })
                .reading("reading a table")?;
            all.insert(table, rows);
        }
        Ok(Tables { all })
    }

    /// A row without its checksum.
    fn payload(&self, table: Table, key: &[u8]) -> Checked<&[u8]> {
        let row = self.all[&table].get(key);
        let row = row.ok_or_else(|| Violation::Wrong(format!("{table:?} lacks {key:02x?}")))?;
        let (payload, crc) = row.split_last_chunk().unwrap_or((row, &[0; 4]));
        let expected = [&[table.number()], key, payload].concat();
        hold!(
            u32::from_be_bytes(*crc) == crc32c::crc32c(&expected),
            "{table:?}: the row {key:02x?} has a wrong checksum"
        );
        Ok(payload)
    }

    fn payloads(&self, table: Table) -> Checked<BTreeMap<Vec<u8>, &[u8]>> {
        let keys = self.all[&table].keys();
        keys.map(|key| Ok((key.clone(), self.payload(table, key)?))).collect()
    }

    fn origins(&self) -> Checked<BTreeMap<u32, OriginId>> {
        let mut origins = BTreeMap::new();
        for (at, (key, id)) in (0..).zip(self.payloads(Table::Origins)?) {
            same("the key of an origin", &key, &u32::to_be_bytes(at).to_vec())?;
            origins.insert(at, OriginId(id.try_into().during("the id of an origin")?));
        }
        Ok(origins)
    }

    fn vector(&self, table: Table, origins: &BTreeMap<u32, OriginId>) -> Checked<VersionVector> {
        let mut vector = VersionVector::default();
        for (key, seq) in self.payloads(table)? {
            let number = u32::from_be_bytes(key[..].try_into().during("the key of a vector")?);
            let id =
                origins.get(&number).ok_or_else(|| Violation::Wrong("an unknown origin".into()))?;
            vector.raise(*id, u64::from_be_bytes(seq.try_into().during("a number")?));
        }
        Ok(vector)
    }

    /// Checks that the dot index, and the indexes by expiry and by time of write, match the model's
    /// rows.
    fn check_indexes(&self, state: &State, number: &dyn Fn(OriginId) -> Checked<u32>) -> Checked {
        let (mut dots, mut expiry) = (BTreeMap::new(), Rows::new());
        let (mut tombstones, mut expired) = (Rows::new(), Rows::new());
        for ((namespace, key), row) in &state.rows {
            let name = [&namespace.0[..], key].concat();
            let indexed = |dot: Dot| -> Checked<Vec<u8>> {
                let origin = number(dot.origin)?.to_be_bytes();
                Ok([&origin[..], &dot.seq.to_be_bytes()].concat())
            };
            for dot in row.dots() {
                dots.insert(indexed(dot)?, name.clone());
            }
            let timed = |time: u64| [&time.to_be_bytes()[..], &name].concat();
            match (&row.what, row.expires_at) {
                (What::Tombstone, _) => {
                    tombstones.insert(timed(row.version.hlc.0), indexed(row.dot)?);
                }
                (What::ExpiredTombstone, at) => {
                    expired.insert(timed(at.unwrap_or(0)), indexed(row.dot)?);
                }
                (What::Value(_), Some(at)) => {
                    expiry.insert(timed(at), Vec::new());
                }
                (What::Value(_), None) | (What::Joined(_), _) => {}
            }
        }
        for (table, expected) in [
            (Table::Dots, dots),
            (Table::Expiry, expiry),
            (Table::Tombstones, tombstones),
            (Table::ExpiredTombstones, expired),
        ] {
            let found = self.payloads(table)?;
            let found = found.into_iter().map(|(key, row)| (key, row.to_vec())).collect::<Rows>();
            for (key, row) in &expected {
                hold!(found.get(key) == Some(row), "{table:?} lacks {key:02x?}");
            }
            let extra = found.keys().find(|key| !expected.contains_key(*key));
            hold!(extra.is_none(), "{table:?} has {extra:02x?}, which belongs to no entry");
        }
        Ok(())
    }

    /// Checks that the local state equals the model's. Returns its body, if that is in chunks.
    fn check_local(&self, state: &State) -> Checked<Option<(u64, u64)>> {
        let found = self.payloads(Table::Local)?;
        let Some((_, content)) = &state.local else {
            same("the rows of local", &found.len(), &0)?;
            return Ok(None);
        };
        same("the rows of local", &found.len(), &1)?;
        let row = self.payload(Table::Local, LOCAL.as_bytes())?;
        let len = content.bytes.len();
        if !content.is_large() {
            let short = u16::try_from(len).during("a short length")?.to_be_bytes();
            let expected = [&[1, 0, 1, 0], &short[..], &content.bytes].concat();
            same("the local state", &row, &&expected[..])?;
            return Ok(None);
        }
        let (head, rest) = row.split_at_checked(4).unwrap_or((row, &[]));
        let (body, rest) = rest.split_first_chunk().unwrap_or((&[0; 8], rest));
        let expected = [&(len as u64).to_be_bytes()[..], &content.digest].concat();
        same("the local state", &(head, rest), &(&[1, 0, 1, 1][..], &expected[..]))?;
        let body = u64::from_be_bytes(*body);
        self.check_chunks(body, content, "the local state")?;
        Ok(Some((body, len as u64)))
    }

    fn check_chunks(&self, body: u64, content: &Content, of: &str) -> Checked {
        for (index, piece) in content.bytes.chunks(CHUNK_BYTES).enumerate() {
            let key = chunk_key(body, index)?;
            let chunk = self.payload(Table::Chunks, &key).during(of)?;
            hold!(chunk == piece, "{of}: chunk {index} has wrong bytes");
        }
        Ok(())
    }

    /// Checks that the ids of all bodies with chunks are reserved. Returns whether any are.
    fn check_body_ids(&self) -> Checked<bool> {
        let last = self.all[&Table::Chunks].keys().next_back();
        if !self.all[&Table::Meta].contains_key(&b"bodies"[..]) {
            same("the bodies whose ids are not reserved", &last, &None)?;
            return Ok(false);
        }
        let next = self.payload(Table::Meta, b"bodies")?;
        let is_reserved = last.is_none_or(|key| key[..8] < *next);
        same("whether the ids of bodies are reserved", &is_reserved, &true)?;
        Ok(true)
    }

    fn check_meta(&self, state: &State) -> Checked {
        let clock = self.payload(Table::Meta, b"commit")?;
        same("the clock", &clock, &&state.clock.0.to_be_bytes()[..])?;
        let closed = self.payload(Table::Meta, b"closed")?;
        same("the closed timestamp", &closed, &&state.closed.0.to_be_bytes()[..])?;
        let identity = self.payload(Table::Meta, b"identity")?;
        same("the identity", &identity, &&state.member.0[..])?;
        same("the format", &self.payload(Table::Meta, b"format")?, &&[0, 0, 0, 3][..])?;
        same("the owed rows", &self.all[&Table::Owed].len(), &0)?;
        if state.is_rebuilding {
            same("the rebuild", &self.payload(Table::Meta, b"rebuilding")?, &&[1][..])?;
        }
        let has_newest = state.newest_row > Hlc::ZERO;
        if has_newest {
            let newest = self.payload(Table::Meta, b"newest")?;
            same("the newest row", &newest, &&state.newest_row.0.to_be_bytes()[..])?;
        }
        let has_collected = state.collected_upto > Hlc::ZERO;
        if has_collected {
            let upto = self.payload(Table::Meta, b"collected_upto")?;
            same("the last collected time", &upto, &&state.collected_upto.0.to_be_bytes()[..])?;
        }
        let has_bodies = self.check_body_ids()?;
        let optional = [state.is_rebuilding, has_newest, has_collected, has_bodies];
        let rows = 6 + optional.into_iter().filter(|is_there| *is_there).count();
        same("the rows of meta", &self.all[&Table::Meta].len(), &rows)
    }

    /// Checks that chunks exist exactly for the bodies of entries and of the pending table.
    fn check_bodies(&self, held: &BTreeMap<u64, u64>) -> Checked<Remains> {
        let mut pending = BTreeSet::new();
        for key in self.payloads(Table::Pending)?.into_keys() {
            let body = u64::from_be_bytes(key[..].try_into().during("the key of pending")?);
            hold!(!held.contains_key(&body), "body {body} is in use and in the pending table");
            pending.insert(body);
        }
        let mut unused = BTreeSet::new();
        for key in self.all[&Table::Chunks].keys() {
            let (body, index) = key.split_first_chunk().unwrap_or((&[0; 8], key));
            let body = u64::from_be_bytes(*body);
            let index = u32::from_be_bytes(index.try_into().during("the index of a chunk")?);
            match held.get(&body) {
                Some(len) => {
                    let chunks = len.div_ceil(CHUNK_BYTES as u64);
                    hold!(u64::from(index) < chunks, "body {body} has a chunk past its end");
                }
                None => {
                    hold!(
                        pending.contains(&body),
                        "body {body} has chunks and belongs to no entry"
                    );
                    unused.insert(body);
                }
            }
        }
        Ok(Remains { pending: pending.len(), unused: unused.len() })
    }
}
