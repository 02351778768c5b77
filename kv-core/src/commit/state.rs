//! The state that a committer keeps in memory, and how it is read from the rows of a store.

use std::{
    collections::BTreeSet,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::overrides::load_overrides;
use crate::{
    codec::DecodeError,
    engine::{Batch, Order, Snapshot, Table, visit_prefix},
    error::{OpenError, ReadError},
    tables::{
        self, BodyIds, Chunks, ClosedTime, Collected, CollectedUpto, CommitTime, Format, Identity,
        InUse, IndexedDot, Layout, NewestEntry, OriginIds, Origins, OwedRows, Pending, Rebuilding,
        Vector, decode_head, split_entry,
    },
    types::{
        AccessToken, AccessTokens, BodyId, Clock, Dot, FeaturesInUse, Hlc, JoinedRow, Key,
        LimitOverrides, Member, MemberId, Members, Namespace, NamespaceId, Namespaces, OriginEntry,
        OriginId, OriginInfo, OriginRegistry, Owed, OwedKeys, OwedReason, SystemRow, UNPLACED,
        VersionVector,
    },
    view::{Damage, View},
};

/// The small tables of a store, in memory. A transaction works on a copy: a commit that fails
/// leaves the state as it was.
#[derive(Clone)]
pub(super) struct State {
    /// The clock: the last time of any write here that can be right.
    pub(super) clock: Clock,
    /// The closed timestamp: each later write of this store is later.
    pub(super) closed: Hlc,
    /// A time that no entry here is later than.
    pub(super) newest: Hlc,
    /// The last such time that a row has, beside the row of the clock.
    pub(super) newest_row: Hlc,
    /// The ids of all large bodies that were ever written are below this; none in a store of an older program.
    pub(super) bodies: Option<u64>,
    /// The location that the store belongs to.
    pub(super) member: MemberId,
    /// Whether the store rebuilds.
    pub(super) is_rebuilding: bool,
    /// The origins that this process writes under, by lane. It has none before its first write, and none after
    /// a disk failure, so that it never gives a number that may have been lost.
    pub(super) own: Option<[OriginId; 2]>,
    /// The local numbers of origins.
    pub(super) origins: Arc<Origins>,
    /// For each origin, the sequence number up to which nothing is missing.
    pub(super) vector: VersionVector,
    /// For each origin, the highest sequence number of a dropped tombstone.
    pub(super) collected: VersionVector,
    /// A time that no collected tombstone is later than, except one that was collected later than the closed timestamp:
    /// no other location had that one.
    pub(super) collected_upto: Hlc,
    /// All namespaces, dropped ones included.
    pub(super) namespaces: Arc<Namespaces>,
    /// All members, removed ones included.
    pub(super) members: Arc<Members>,
    /// All access tokens, revoked ones included.
    pub(super) tokens: Arc<AccessTokens>,
    /// The overrides of rate limits.
    pub(super) overrides: Arc<LimitOverrides>,
    /// The features in use.
    pub(super) features: Arc<FeaturesInUse>,
    /// The keys whose rows can't be read here, although the vector counts them.
    pub(super) owed: Arc<OwedKeys>,
    /// The origins whose opening rows are here, and which of them are closed.
    pub(super) registry: Arc<OriginRegistry>,
}

/// Whether an engine holds no store yet: no row at all, because a store that lost its format must not be
/// created again over the rest of its rows.
pub(super) fn is_new<S: Snapshot>(snapshot: &S) -> Result<bool, OpenError> {
    let format = snapshot.get(Table::Meta, &Format::key(&())).map_err(OpenError::Engine)?;
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
            return Err(OpenError::Corrupt("its format is lost, but other rows exist".into()));
        }
    }
    Ok(true)
}

/// The rows of a new store of a location, beside those of its format. One that joins a cluster rebuilds until it has what
/// the others have.
pub(super) fn founding_rows(member: MemberId, is_joining: bool) -> Batch {
    let mut batch = Batch::new();
    tables::put::<Identity>(&mut batch, &(), &member);
    tables::put::<CommitTime>(&mut batch, &(), &Hlc::ZERO);
    tables::put::<ClosedTime>(&mut batch, &(), &Hlc::ZERO);
    if is_joining {
        tables::put::<Rebuilding>(&mut batch, &(), &());
    }
    batch
}

/// Ids of bodies start at or below this; the rest is for the bodies until the next start.
const MAX_BODY: u64 = u64::MAX / 2;

/// Makes the error of a row that can't be read, with the name of its table or key.
fn corrupt(what: &'static str) -> impl Fn(DecodeError) -> OpenError {
    move |error| OpenError::Corrupt(format!("{what}: {error}"))
}

impl State {
    /// Reads the state from the rows of a snapshot.
    pub(super) fn load<S: Snapshot>(snapshot: &S) -> Result<State, OpenError> {
        let member = meta_row::<Identity>(snapshot)?;
        let is_rebuilding = optional_row::<Rebuilding>(snapshot)?.is_some();
        let last = meta_row::<CommitTime>(snapshot)?;
        // A time that a lying member or a wrong clock has brought here would make the store refuse every later write.
        let possible =
            |time: Hlc| if time <= Hlc::LAST_CLOSED { time } else { last.min(Hlc::LAST_CLOSED) };
        let closed = possible(meta_row::<ClosedTime>(snapshot)?);
        let newest_row = optional_row::<NewestEntry>(snapshot)?.unwrap_or(Hlc::ZERO);
        let collected_upto =
            possible(optional_row::<CollectedUpto>(snapshot)?.unwrap_or(Hlc::ZERO));
        let origins = load_origins(snapshot)?;
        let vector = load_vector::<Vector>(snapshot, &origins)?;
        let collected = load_vector::<Collected>(snapshot, &origins)?;
        let mut owed = load_owed(snapshot)?;
        let overrides = load_overrides(snapshot, &origins, &mut owed)?;
        let system = load_system(snapshot, (&origins, &vector), &mut owed)?;
        Ok(State {
            clock: Clock::starting_at(last),
            closed,
            newest: last.max(newest_row),
            newest_row,
            bodies: optional_row::<BodyIds>(snapshot)?,
            member,
            is_rebuilding,
            own: None,
            vector,
            collected,
            collected_upto,
            namespaces: Arc::new(system.namespaces),
            members: Arc::new(system.members),
            tokens: Arc::new(system.tokens),
            overrides: Arc::new(overrides),
            registry: Arc::new(system.registry),
            owed: Arc::new(owed),
            features: Arc::new(optional_row::<InUse>(snapshot)?.unwrap_or_default()),
            origins: Arc::new(origins),
        })
    }

    /// Whether a dot with the local number of its origin is this dot.
    pub(super) fn is_indexed(&self, indexed: IndexedDot, dot: Dot) -> bool {
        indexed.seq == dot.seq && self.origins.number(dot.origin) == Some(indexed.origin)
    }

    /// Whether the collected vector counts a dot.
    pub(super) fn has_collected(&self, indexed: IndexedDot) -> bool {
        let origin = self.origins.id(indexed.origin);
        origin.is_ok_and(|origin| self.collected.covers(Dot { origin, seq: indexed.seq }))
    }

    /// Whether nothing was ever written to the store, here or elsewhere.
    pub(super) fn is_unwritten(&self) -> bool {
        self.vector.iter().next().is_none() && self.collected.iter().next().is_none()
    }

    /// Returns a view of a snapshot that was taken after the commit with this state.
    pub(super) fn view<S>(&self, snapshot: S, damage: &Arc<Damage>) -> View<S> {
        View {
            // The commit that repaired the index came before this number, and the snapshot comes after it.
            index: damage.index.number(),
            snapshot,
            origins: Arc::clone(&self.origins),
            namespaces: Arc::clone(&self.namespaces),
            members: Arc::clone(&self.members),
            tokens: Arc::clone(&self.tokens),
            overrides: Arc::clone(&self.overrides),
            registry: Arc::clone(&self.registry),
            member: self.member,
            own: self.own,
            is_rebuilding: self.is_rebuilding,
            features: Arc::clone(&self.features),
            vector: self.vector.clone(),
            collected: self.collected.clone(),
            collected_upto: self.collected_upto,
            closed: self.closed,
            owed: Arc::clone(&self.owed),
            damage: Arc::clone(damage),
        }
    }
}

/// Reads a row of `meta` that every store has.
pub(super) fn meta_row<T: Layout<Key = ()>>(snapshot: &impl Snapshot) -> Result<T::Row, OpenError> {
    let missing = || OpenError::Corrupt("a row of the table meta is missing".into());
    optional_row::<T>(snapshot)?.ok_or_else(missing)
}

/// Reads a row of `meta` that only some stores have.
pub(super) fn optional_row<T: Layout<Key = ()>>(
    snapshot: &impl Snapshot,
) -> Result<Option<T::Row>, OpenError> {
    tables::get::<T>(snapshot, &()).map_err(|error| match error {
        ReadError::Engine(error) => OpenError::Engine(error),
        error => OpenError::Corrupt(error.to_string()),
    })
}

/// Visits every row of a table with a reader that may fail.
fn load_rows<T: Layout>(
    snapshot: &impl Snapshot,
    name: &'static str,
    mut read: impl FnMut(T::Key, T::Row) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let mut result = Ok(());
    let all = (Bound::Unbounded, Bound::Unbounded);
    tables::visit::<T>(snapshot, all, &mut |(_, row)| {
        result = row.map_err(corrupt(name)).and_then(|(key, row)| read(key, row));
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .map_err(OpenError::Engine)?;
    result
}

/// Reads the local numbers of origins, which must be dense from 0.
fn load_origins(snapshot: &impl Snapshot) -> Result<Origins, OpenError> {
    let mut origins = Origins::default();
    load_rows::<OriginIds>(snapshot, "origins", |number, id| {
        if origins.add(id) != number {
            return Err(OpenError::Corrupt("origins: a number is missing".into()));
        }
        Ok(())
    })?;
    Ok(origins)
}

/// Reads a version vector from its table: one row an origin.
fn load_vector<T: Layout<Key = u32, Row = u64>>(
    snapshot: &impl Snapshot,
    origins: &Origins,
) -> Result<VersionVector, OpenError> {
    let mut vector = VersionVector::default();
    load_rows::<T>(snapshot, "vector", |number, seq| {
        vector.raise(origins.id(number).map_err(corrupt("vector"))?, seq);
        Ok(())
    })?;
    Ok(vector)
}

/// Reads the keys whose rows are owed. Of a damaged row the key is left: each catch-up names it, because the index may not.
fn load_owed(snapshot: &impl Snapshot) -> Result<OwedKeys, OpenError> {
    let mut owed = OwedKeys::default();
    let all = (Bound::Unbounded, Bound::Unbounded);
    tables::visit::<OwedRows>(snapshot, all, &mut |(key, row)| {
        let (reason, dot) = (OwedReason::Row, Some(UNPLACED));
        let unknown = Owed { since_ms: 0, reason, dot };
        let how = row.map_or(unknown, |(_, owed)| owed);
        if let Ok((namespace, name)) = split_entry(key)
            && let Ok(name) = Key::new(name)
        {
            owed.set(namespace, name, how);
        }
        ControlFlow::Continue(())
    })
    .map_err(OpenError::Engine)?;
    Ok(owed)
}

/// The registries that are built from the system namespace.
struct System {
    namespaces: Namespaces,
    members: Members,
    registry: OriginRegistry,
    tokens: AccessTokens,
}

/// Reads the rows of the system namespace: namespaces, members, origins and tokens. Rows that this program does not understand
/// stay as they are. A damaged one is owed: a store that did not open for it could not fetch it from its peers. What a
/// damaged opening row contained is known from that of its partner. The opening row of an origin that is counted is
/// owed too if it is not under its key: a bit of the key may have flipped.
fn load_system(
    snapshot: &impl Snapshot,
    (origins, vector): (&Origins, &VersionVector),
    owed: &mut OwedKeys,
) -> Result<System, OpenError> {
    let (mut namespaces, mut members, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    let (mut unopened, mut tokens) = (BTreeSet::new(), AccessTokens::default());
    visit_prefix(snapshot, Table::Entries, &NamespaceId::SYSTEM.0, &mut |key, row| {
        match read_system(key, row, origins) {
            Ok((SystemRow::Namespace(id), row)) => namespaces.push((id, row)),
            Ok((SystemRow::Member(member), _)) => members.push(member),
            Ok((SystemRow::Origin(entry), _)) => entries.push(entry),
            Ok((SystemRow::Token(id, token), _)) => tokens.insert(id, token),
            Ok((SystemRow::Unknown, _)) => {}
            Err(error) => {
                tracing::error!(
                    %error,
                    "a row of the system namespace is damaged: it is fetched from the other locations"
                );
                let name = split_entry(key).ok().and_then(|(_, name)| Key::new(name).ok());
                // The bit that flipped may be one of the key. No single one makes the key of a token one of these.
                let is_other = |name: &Key| {
                    Namespace::id_of(name).is_some()
                        || Member::id_of(name).is_some()
                        || OriginEntry::is_key(name)
                };
                if !name.as_ref().is_some_and(is_other) {
                    tokens.may_have_more();
                }
                if let Some(name) = name {
                    unopened.extend(OriginInfo::id_of(&name));
                    AccessToken::id_of(&name).into_iter().for_each(|id| tokens.insert(id, None));
                    owe_system(owed, name);
                }
            }
        }
        ControlFlow::Continue(())
    })
    .map_err(OpenError::Engine)?;
    let namespaces = namespaces.iter().map(|(id, row)| (*id, row.as_ref()));
    let mut registry: OriginRegistry = entries.into_iter().collect();
    for Dot { origin, .. } in vector.iter().filter(|dot| !registry.contains(dot.origin)) {
        let name = Key::new(OriginInfo::key(origin)).expect("the key of an opening row is valid");
        // A source may have named it, or it was damaged here.
        if unopened.insert(origin) && owed.get(NamespaceId::SYSTEM, &name).is_none() {
            owe_system(owed, name);
        }
    }
    let derived: Vec<_> = registry.iter().filter(|info| unopened.contains(&info.partner)).collect();
    let derived: Vec<_> = derived.into_iter().map(OriginInfo::of_partner).collect();
    derived.into_iter().for_each(|info| registry.insert(OriginEntry::Opened(info)));
    Ok(System {
        namespaces: namespaces.collect(),
        members: members.into_iter().collect(),
        registry,
        tokens,
    })
}

/// Adds the key of a row of the system namespace that can't be read.
fn owe_system(owed: &mut OwedKeys, name: Key) {
    let how = Owed { since_ms: 0, reason: OwedReason::Row, dot: None };
    let before = owed.get(NamespaceId::SYSTEM, &name);
    owed.set(NamespaceId::SYSTEM, name, before.map_or(how, |before| before.and(how)));
}

/// Decodes one row of the system namespace, and interprets it.
fn read_system(
    key: &[u8],
    row: &[u8],
    origins: &Origins,
) -> Result<(SystemRow, Arc<JoinedRow>), DecodeError> {
    let (_, name) = split_entry(key)?;
    let head = decode_head((Table::Entries, key), row, origins)?;
    let row = head.joined().ok_or(DecodeError("a row that is not a joined row"))?;
    Ok((SystemRow::of(name, row), Arc::clone(row)))
}

/// Returns the first id for new bodies, and the bodies with a row in the pending table.
///
/// Damage can remove the rows of the body with the last id and leave an entry that names it. A new body
/// under that id would become this entry's value. So ids stay above all that were reserved. A store of an older program
/// has reserved none: there they stay above its times, which usually run faster than bodies are created.
pub(super) fn bodies<S: Snapshot>(
    snapshot: &S,
    state: &State,
) -> Result<(BodyId, Vec<BodyId>), OpenError> {
    let times = state.newest.max(state.closed).0.min(MAX_BODY);
    let mut next = state.bodies.unwrap_or(times);
    // A damaged row shows nothing about ids.
    let chunks = tables::last::<Chunks>(snapshot).map_err(OpenError::Engine)?;
    let pending = tables::last::<Pending>(snapshot).map_err(OpenError::Engine)?;
    for body in chunks.map(|chunk| chunk.body).into_iter().chain(pending) {
        next = next.max(body.0.saturating_add(1));
    }
    if next > MAX_BODY {
        return Err(OpenError::Corrupt("the ids for large bodies are used up".into()));
    }
    let mut pending = Vec::new();
    let all = (Bound::Unbounded, Bound::Unbounded);
    tables::visit::<Pending>(snapshot, all, &mut |(_, row)| {
        // A damaged row names nothing: its body stays.
        pending.extend(row.ok().map(|(body, ())| body));
        ControlFlow::Continue(())
    })
    .map_err(OpenError::Engine)?;
    Ok((BodyId(next), pending))
}
