//! What a committer keeps in memory, and how it is read from the rows of a store.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use crate::{
    Clock, Dot, Hlc, NamespaceId, OriginId,
    codec::{DecodeError, Reader},
    crdt::VersionVector,
    engine::{Batch, Order, Snapshot, visit_prefix},
    entry::BodyId,
    error::OpenError,
    member::Members,
    namespace::Namespaces,
    origins::Origins,
    record::{self, FORMAT_VERSION, seal, unseal},
    schema::{self, META_COMMIT, META_FORMAT, META_IDENTITY, Table},
    system::SystemEntry,
    view::View,
};

#[derive(Clone)]
pub(super) struct State {
    pub(super) clock: Clock,
    /// This store's origins: for small entries, and for those with a large body.
    pub(super) own: [OriginId; 2],
    pub(super) origins: Arc<Origins>,
    pub(super) vector: Arc<VersionVector>,
    pub(super) collected: Arc<VersionVector>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) members: Arc<Members>,
}

/// Whether an engine holds no store yet: no row at all, for a store that lost its format is not
/// to be begun anew over what is left of it.
pub(super) fn is_new<S: Snapshot>(snapshot: &S) -> Result<bool, OpenError> {
    let format = snapshot.get(Table::Meta, META_FORMAT).map_err(OpenError::Engine)?;
    if format.is_some() {
        return Ok(false);
    }
    let all = (Bound::Unbounded, Bound::Unbounded);
    for table in Table::ALL {
        let mut is_empty = true;
        snapshot
            .range(table, all, Order::Ascending, &mut |key, _| {
                is_empty = table == Table::Meta && key.first() == Some(&0);
                if is_empty { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .map_err(OpenError::Engine)?;
        if !is_empty {
            return Err(OpenError::Corrupt("its format is lost, and other rows are there".into()));
        }
    }
    Ok(true)
}

/// The rows of a new store.
pub(super) fn founding_rows(small: OriginId, large: OriginId) -> Batch {
    let format = FORMAT_VERSION.to_be_bytes().to_vec();
    vec![
        (Table::Meta, META_FORMAT.to_vec(), Some(seal(Table::Meta, META_FORMAT, format))),
        identity_row(small, large),
        clock_row(Hlc::ZERO),
        origin_row(0, small),
        origin_row(1, large),
    ]
}

fn identity_row(small: OriginId, large: OriginId) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    let ids = [small.0, large.0].concat();
    (Table::Meta, META_IDENTITY.to_vec(), Some(seal(Table::Meta, META_IDENTITY, ids)))
}

/// The row that keeps the highest committed time.
pub(super) fn clock_row(hlc: Hlc) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    let row = record::encode_number(Table::Meta, META_COMMIT, hlc.0);
    (Table::Meta, META_COMMIT.to_vec(), Some(row))
}

/// The row that gives an origin its number.
pub(super) fn origin_row(number: u32, id: OriginId) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    let key = number.to_be_bytes().to_vec();
    let row = seal(Table::Origins, &key, id.0.to_vec());
    (Table::Origins, key, Some(row))
}

/// Ids of bodies begin at or below this: the rest is for the bodies until the next start.
const MAX_BODY: u64 = u64::MAX / 2;

fn corrupt(what: &'static str) -> impl Fn(DecodeError) -> OpenError {
    move |error| OpenError::Corrupt(format!("{what}: {error}"))
}

impl State {
    pub(super) fn load<S: Snapshot>(snapshot: &S) -> Result<State, OpenError> {
        check_format(snapshot)?;
        let identity = meta_row(snapshot, META_IDENTITY)?;
        let mut reader = Reader::new(&identity);
        let own = read_own(&mut reader).map_err(corrupt("identity"))?;
        let clock = meta_row(snapshot, META_COMMIT)?;
        let last = Reader::new(&clock).u64().map_err(corrupt("clock"))?;
        let origins = load_origins(snapshot)?;
        let vector = load_vector(snapshot, Table::Vector, &origins)?;
        let collected = load_vector(snapshot, Table::Collected, &origins)?;
        let (namespaces, members) = load_system(snapshot)?;
        Ok(State {
            clock: Clock::starting_at(Hlc(last)),
            own,
            vector: Arc::new(vector),
            collected: Arc::new(collected),
            namespaces: Arc::new(namespaces),
            members: Arc::new(members),
            origins: Arc::new(origins),
        })
    }

    pub(super) fn view<S>(&self, snapshot: S) -> View<S> {
        View {
            snapshot,
            origins: Arc::clone(&self.origins),
            namespaces: Arc::clone(&self.namespaces),
            members: Arc::clone(&self.members),
            vector: Arc::clone(&self.vector),
            collected: Arc::clone(&self.collected),
        }
    }
}

fn read_own(reader: &mut Reader<'_>) -> Result<[OriginId; 2], DecodeError> {
    Ok([OriginId(reader.id()?), OriginId(reader.id()?)])
}

fn meta_row<S: Snapshot>(snapshot: &S, key: &'static [u8]) -> Result<Vec<u8>, OpenError> {
    let row = snapshot.get(Table::Meta, key).map_err(OpenError::Engine)?;
    let row = row.ok_or_else(|| OpenError::Corrupt("a row of the table meta is missing".into()))?;
    Ok(unseal(Table::Meta, key, &row).map_err(corrupt("meta"))?.to_vec())
}

fn check_format<S: Snapshot>(snapshot: &S) -> Result<(), OpenError> {
    let format = meta_row(snapshot, META_FORMAT)?;
    let found = Reader::new(&format).u32().map_err(corrupt("format"))?;
    if found != FORMAT_VERSION {
        return Err(OpenError::Format { found, known: FORMAT_VERSION });
    }
    Ok(())
}

/// Visits every row of a table with a reader that may fail.
fn load_rows<S: Snapshot>(
    snapshot: &S,
    table: Table,
    mut read: impl FnMut(&[u8], &[u8]) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let mut result = Ok(());
    let all = (Bound::Unbounded, Bound::Unbounded);
    snapshot
        .range(table, all, Order::Ascending, &mut |key, row| {
            result = read(key, row);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .map_err(OpenError::Engine)?;
    result
}

fn load_origins<S: Snapshot>(snapshot: &S) -> Result<Origins, OpenError> {
    let mut origins = Origins::default();
    load_rows(snapshot, Table::Origins, |key, row| {
        let payload = unseal(Table::Origins, key, row).map_err(corrupt("origins"))?;
        let id = OriginId(Reader::new(payload).id().map_err(corrupt("origins"))?);
        if origins.add(id).to_be_bytes() != *key {
            return Err(OpenError::Corrupt("origins: a number is missing".into()));
        }
        Ok(())
    })?;
    Ok(origins)
}

fn load_vector<S: Snapshot>(
    snapshot: &S,
    table: Table,
    origins: &Origins,
) -> Result<VersionVector, OpenError> {
    let mut vector = VersionVector::default();
    load_rows(snapshot, table, |key, row| {
        let seq = record::decode_number(table, key, row).map_err(corrupt("vector"))?;
        let number = Reader::new(key).u32().map_err(corrupt("vector"))?;
        vector.raise(origins.id(number).map_err(corrupt("vector"))?, seq);
        Ok(())
    })?;
    Ok(vector)
}

fn load_system<S: Snapshot>(snapshot: &S) -> Result<(Namespaces, Members), OpenError> {
    let (mut namespaces, mut members) = (Vec::new(), Vec::new());
    let mut result = Ok(());
    visit_prefix(snapshot, Table::Entries, &NamespaceId::SYSTEM.0, &mut |key, row| {
        match read_system(key, row) {
            Ok(Some(SystemEntry::Namespace(namespace))) => namespaces.push(namespace),
            Ok(Some(SystemEntry::Member(member))) => members.push(member),
            Ok(None) => {}
            Err(error) => result = Err(corrupt("the system namespace")(error)),
        }
        ControlFlow::Continue(())
    })
    .map_err(OpenError::Engine)?;
    result.map(|()| (namespaces.into_iter().collect(), members.into_iter().collect()))
}

fn read_system(key: &[u8], row: &[u8]) -> Result<Option<SystemEntry>, DecodeError> {
    let (_, name) = schema::split_entry(key)?;
    let (head, value) = record::decode_entry(key, row)?;
    if head.is_tombstone() {
        return Ok(None);
    }
    SystemEntry::decode(name, value).map(Some)
}

/// The first id for new bodies, and the bodies with a row in the pending table.
///
/// Damage can take the rows of the body that had the last id, and leave an entry that names it: a
/// new body under that id would then become this entry's value. So ids also stay above the clock,
/// which goes faster than bodies are made.
pub(super) fn bodies<S: Snapshot>(
    snapshot: &S,
    clock: Clock,
) -> Result<(BodyId, Vec<BodyId>), OpenError> {
    let mut next = clock.last().0.min(MAX_BODY);
    let all = (Bound::Unbounded, Bound::Unbounded);
    for table in [Table::Chunks, Table::Pending] {
        snapshot
            .range(table, all, Order::Descending, &mut |key, row| {
                let body = unseal(table, key, row).and_then(|_| schema::split_body(key));
                next = next.max(body.map_or(0, |body| body.0.saturating_add(1)));
                // A damaged key says nothing about ids.
                if body.is_ok() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .map_err(OpenError::Engine)?;
    }
    if next > MAX_BODY {
        return Err(OpenError::Corrupt("the ids for large bodies are used up".into()));
    }
    let mut pending = Vec::new();
    load_rows(snapshot, Table::Pending, |key, row| {
        unseal(Table::Pending, key, row).map_err(corrupt("pending"))?;
        pending.push(schema::split_body(key).map_err(corrupt("pending"))?);
        Ok(())
    })?;
    Ok((BodyId(next), pending))
}

/// The dots from a state that are not in an older one: what a commit must write of its vector.
pub(super) fn raised(before: &VersionVector, after: &VersionVector) -> Vec<Dot> {
    after.iter().filter(|dot| dot.seq > before.get(dot.origin)).collect()
}
