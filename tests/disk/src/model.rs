//! The contents that a store must have: the store's rules once more, over a `BTreeMap` and without
//! a disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use kv_core::{
    Account, Attributes, Dot, FieldNumber, FieldValue, Hlc, JoinedRow, MemberId, Metadata,
    MetadataError, Namespace, NamespaceId, OriginId, Outcome, Title, Version, VersionVector,
    Written,
    commit::Applied,
    derive_id,
    limits::{MAX_INLINE_BYTES, MAX_KEY_BYTES, MAX_METADATA_BYTES, MAX_TITLE_BYTES},
};

mod gc;
mod origins;
mod remote;

/// A namespace and a key in it. Sorts like the rows of a store.
pub type Name = (NamespaceId, Bytes);

/// A value.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Bytes,
    /// Their BLAKE3 digest.
    pub digest: [u8; 32],
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes {:02x?}", self.bytes.len(), &self.digest[..3])
    }
}

impl Content {
    /// A value with these bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Content {
        let digest = *blake3::hash(&bytes).as_bytes();
        Content { bytes, digest }
    }

    /// Whether it is stored in chunks.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.bytes.len() > MAX_INLINE_BYTES
    }
}

/// The kind of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A value.
    Value(Content),
    /// A deleted key.
    Tombstone,
    /// An expired entry.
    ExpiredTombstone,
    /// A row of the system namespace.
    Joined(Fields),
}

/// The fields of a row of the system namespace: of each the greatest write.
pub type Fields = BTreeMap<u8, FieldOf>;

/// The last write of a field. Its order decides which write is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldOf {
    /// The version of the write.
    pub version: Version,
    /// Its sequence number.
    pub seq: u64,
    /// What it wrote.
    pub bytes: Bytes,
}

impl FieldOf {
    /// The dot of the write.
    #[must_use]
    pub fn dot(&self) -> Dot {
        Dot { origin: self.version.origin, seq: self.seq }
    }
}

/// The fields of a namespace: account and title, creation, drop.
const TITLE: u8 = 1;
const CREATED: u8 = 2;
/// The field of a namespace's drop.
pub const DROPPED: u8 = 3;

/// The attributes that a put has beside the value. Unlike the store's own type it may be over its bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawAttributes {
    /// Its metadata.
    pub metadata: Option<Box<str>>,
    /// When it expires, in Unix seconds.
    pub expires_at: Option<u64>,
}

impl TryFrom<RawAttributes> for Attributes {
    type Error = MetadataError;

    fn try_from(said: RawAttributes) -> Result<Attributes, MetadataError> {
        let metadata = said.metadata.map(Metadata::new).transpose()?;
        Ok(Attributes { metadata, expires_at: said.expires_at })
    }
}

/// A row of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The write that made it.
    pub dot: Dot,
    /// Its version.
    pub version: Version,
    /// The version that it replaced where it was written.
    pub prev: Option<Version>,
    /// Its metadata.
    pub metadata: Option<Box<str>>,
    /// When it expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// Its kind.
    pub what: What,
}

impl Row {
    /// Whether it is a tombstone or an expired tombstone.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        matches!(self.what, What::Tombstone | What::ExpiredTombstone)
    }

    /// The dots that the index names it by.
    #[must_use]
    pub fn dots(&self) -> BTreeSet<Dot> {
        match &self.what {
            What::Joined(fields) => fields.values().map(FieldOf::dot).collect(),
            _ => BTreeSet::from([self.dot]),
        }
    }

    /// The row as it travels under one of its dots.
    #[must_use]
    pub fn listed_by(&self, dot: Dot) -> Row {
        let version = match &self.what {
            What::Joined(fields) => {
                let versions = fields.values().filter(|field| field.dot() == dot);
                versions.map(|field| field.version).max().unwrap_or(self.version)
            }
            _ => self.version,
        };
        Row { dot, version, ..self.clone() }
    }

    /// A row of the system namespace, by its latest field.
    #[must_use]
    pub fn joined(fields: Fields) -> Row {
        let latest = fields.values().max().expect("a row has a field");
        let (dot, version) = (latest.dot(), latest.version);
        let what = What::Joined(fields);
        Row { dot, version, prev: None, metadata: None, expires_at: None, what }
    }

    /// Whether readers find it.
    #[must_use]
    pub fn is_visible(&self, now_ms: u64) -> bool {
        !self.is_tombstone() && self.expires_at.is_none_or(|at| at.saturating_mul(1000) > now_ms)
    }

    /// Its value.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        match &self.what {
            What::Value(content) => Some(content),
            What::Tombstone | What::ExpiredTombstone | What::Joined(_) => None,
        }
    }
}

/// A write of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The key that it writes.
    pub name: Name,
    /// The row that it makes.
    pub row: Row,
}

/// An operation, in the model's terms.
#[derive(Clone, Debug)]
pub enum Op {
    /// Puts a value.
    Put(Name, Content, RawAttributes),
    /// Deletes a key.
    Delete(Name),
    /// Stages a piece of a value.
    Stage,
    /// Creates a namespace: account, title, id.
    Create(String, String, Option<NamespaceId>),
    /// Renames a namespace.
    Rename(NamespaceId, String),
    /// Drops a namespace.
    Drop(NamespaceId),
    /// Saves local state.
    Save(Content),
    /// Drops the local state.
    Unsave,
    /// Applies a peer's live write.
    Next(Write),
    /// Applies a row of a session.
    Row(Write),
    /// Completes a session.
    Adopt(VersionVector, VersionVector),
    /// Begins a rebuild.
    Rebuild,
    /// Drops a row of a store that rebuilds.
    DropRow(Name, Dot),
    /// Ends a rebuild.
    Rebuilt(VersionVector, VersionVector),
}

/// The reason for which an operation is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The namespace does not exist.
    Unknown,
    /// The operation exceeds a limit.
    Invalid,
    /// The title or id is taken.
    Taken,
}

/// The contents of a store.
#[derive(Clone, Debug)]
pub struct State {
    /// The location that it belongs to.
    pub member: MemberId,
    /// The origins of its process, once it has opened them.
    pub own: Option<[OriginId; 2]>,
    /// The ids that its process gives the origins that it opens next.
    pub fresh: Option<[OriginId; 2]>,
    /// Its own writes that no peer has taken, with the rows that open its origins.
    pub made: Vec<Write>,
    /// Whether it rebuilds.
    pub is_rebuilding: bool,
    /// The keys whose rows rebuilds have dropped.
    pub dropped: BTreeSet<Name>,
    /// The rows.
    pub rows: BTreeMap<Name, Arc<Row>>,
    /// Its version vector.
    pub vector: VersionVector,
    /// The vector of collected tombstones.
    pub collected: VersionVector,
    /// A time that no collected tombstone is later than.
    pub collected_upto: Hlc,
    /// The greatest time that it has issued or received, as far as that can be right.
    pub clock: Hlc,
    /// Its later writes are later than this.
    pub closed: Hlc,
    /// No row that it has or had since it was opened is later than this.
    newest: Hlc,
    /// What it has stored of that.
    pub newest_row: Hlc,
    /// The time of the operation that is applied, in milliseconds.
    now_ms: u64,
    /// The namespaces, including dropped ones.
    pub namespaces: BTreeMap<NamespaceId, Namespace>,
    /// The last drop of each namespace that was dropped.
    pub drops: BTreeMap<NamespaceId, Version>,
    /// The dropped namespaces that may still have dead rows, and the key up to which there are none.
    pub purge: BTreeMap<NamespaceId, Bytes>,
    /// The local state, and the number of its save.
    pub local: Option<(u64, Content)>,
    /// The number of saves of local state.
    saves: u64,
}

impl State {
    /// A new store.
    #[must_use]
    pub fn new(member: MemberId) -> State {
        State {
            member,
            own: None,
            fresh: None,
            made: Vec::new(),
            is_rebuilding: false,
            dropped: BTreeSet::new(),
            rows: BTreeMap::new(),
            vector: VersionVector::default(),
            collected: VersionVector::default(),
            collected_upto: Hlc::ZERO,
            clock: Hlc::ZERO,
            closed: Hlc::ZERO,
            newest: Hlc::ZERO,
            newest_row: Hlc::ZERO,
            now_ms: 0,
            namespaces: BTreeMap::new(),
            drops: BTreeMap::new(),
            purge: BTreeMap::new(),
            local: None,
            saves: 0,
        }
    }

    /// Applies an operation and returns the result that the store must return.
    ///
    /// # Errors
    /// If the store must reject the operation.
    pub fn apply(&mut self, now_ms: u64, op: &Op) -> Result<Outcome, Refusal> {
        self.now_ms = now_ms;
        match op {
            Op::Put(name, content, attributes) => {
                let metadata = attributes.metadata.as_ref().map_or(0, |text| text.len());
                if metadata > MAX_METADATA_BYTES || !is_key(&name.1) {
                    return Err(Refusal::Invalid);
                }
                self.live(name.0)?;
                let what = What::Value(content.clone());
                Ok(Outcome::Written(self.write(name, what, attributes)))
            }
            Op::Delete(name) => {
                if !is_key(&name.1) {
                    return Err(Refusal::Invalid);
                }
                self.live(name.0)?;
                let none = RawAttributes::default();
                Ok(Outcome::Written(self.write(name, What::Tombstone, &none)))
            }
            Op::Stage => Ok(Outcome::Staged),
            Op::Create(account, title, id) => {
                self.create(account, title, *id).map(Outcome::Namespace)
            }
            Op::Rename(id, title) => self.rename(*id, title).map(Outcome::Namespace),
            Op::Drop(id) => {
                let created = self.live(*id)?.created;
                let after = self.newest_in(*id).max(created.hlc);
                let drop = [(DROPPED, Bytes::new())];
                Ok(Outcome::Namespace(self.write_namespace(*id, &drop, after)))
            }
            Op::Save(content) => {
                self.saves += 1;
                self.local = Some((self.saves, content.clone()));
                Ok(Outcome::Local)
            }
            Op::Unsave => {
                self.local = None;
                Ok(Outcome::Local)
            }
            Op::Next(write) => Ok(Outcome::Applied(self.apply_next(write))),
            Op::Row(write) => Ok(Outcome::Applied(self.apply_row(write))),
            Op::Adopt(vector, collected) => Ok(Outcome::Applied(self.adopt(vector, collected))),
            Op::Rebuild => {
                self.is_rebuilding = true;
                Ok(Outcome::Applied(Applied::Rebuilding))
            }
            Op::DropRow(name, dot) => Ok(Outcome::Applied(self.drop_row(name, *dot))),
            Op::Rebuilt(vector, collected) => {
                let applied = self.adopt(vector, collected);
                self.is_rebuilding &= applied != Applied::Adopted;
                Ok(Outcome::Applied(applied))
            }
        }
    }

    fn live(&self, id: NamespaceId) -> Result<&Namespace, Refusal> {
        self.namespaces.get(&id).filter(|found| found.exists()).ok_or(Refusal::Unknown)
    }

    /// The namespaces that exist.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values().filter(|found| found.exists())
    }

    /// Whether a namespace is dropped.
    #[must_use]
    pub fn is_dropped(&self, id: NamespaceId) -> bool {
        self.drops.contains_key(&id) && self.live(id).is_err()
    }

    /// Whether an entry of a namespace is not later than its drop.
    #[must_use]
    pub fn is_dead(&self, id: NamespaceId, version: Version) -> bool {
        self.drops.get(&id).is_some_and(|dropped| version <= *dropped)
    }

    /// The time of the next write, which replaces a row of this time.
    fn tick(&self, replaced: Hlc) -> Hlc {
        let clock = if self.is_right(Hlc(self.clock.0 + 1)) { self.clock } else { Hlc::ZERO };
        Hlc::at_millis(self.now_ms).max(Hlc(clock.max(replaced).max(self.closed).0 + 1))
    }

    /// Whether a time is not too far ahead to be right.
    fn is_right(&self, time: Hlc) -> bool {
        time.millis() <= self.now_ms + 500
    }

    /// Takes a time into account, unless it is too far ahead.
    pub(super) fn receive(&mut self, time: Hlc) {
        if self.is_right(time) {
            self.clock = self.clock.max(time);
        }
    }

    /// Gives the time of a write that is later than `after`.
    fn next_time(&mut self, after: Hlc) -> Hlc {
        let hlc = self.tick(after);
        if !self.is_right(Hlc(self.clock.0 + 1)) {
            self.clock = Hlc::ZERO;
        }
        self.receive(hlc);
        hlc
    }

    /// Promises that later writes are later than this time, in milliseconds.
    pub fn close(&mut self, now_ms: u64) {
        self.closed = self.closed.max(Hlc::at_millis(now_ms));
    }

    /// Ends a commit at this time.
    pub fn commit(&mut self, now_ms: u64) {
        self.close(now_ms);
        if self.newest > self.clock {
            self.newest_row = self.newest_row.max(self.newest);
        }
    }

    /// Begins another process, or the same one reads its state again.
    pub fn reload(&mut self) {
        self.own = None;
        self.newest = self.clock.max(self.newest_row);
    }

    /// Puts a row.
    fn put(&mut self, name: &Name, row: Row) {
        self.newest = self.newest.max(row.version.hlc);
        self.rows.insert(name.clone(), Arc::new(row));
    }

    /// The time of the last drop of a namespace, or zero.
    fn dropped_at(&self, id: NamespaceId) -> Hlc {
        self.drops.get(&id).map_or(Hlc::ZERO, |dropped| dropped.hlc)
    }

    /// A time that no entry of a namespace is later than.
    fn newest_in(&self, id: NamespaceId) -> Hlc {
        if self.newest <= self.clock.max(Hlc::at_millis(self.now_ms)) {
            return self.newest;
        }
        let rows = self.rows.iter().filter(|(name, _)| name.0 == id);
        rows.map(|(_, row)| row.version.hlc).max().unwrap_or(Hlc::ZERO)
    }

    fn write(&mut self, name: &Name, what: What, said: &RawAttributes) -> Written {
        let is_large = matches!(&what, What::Value(content) if content.is_large());
        let origin = self.own_pair()[usize::from(is_large)];
        let prev = self.rows.get(name).map(|row| row.version);
        let replaced = prev.map_or(Hlc::ZERO, |prev| prev.hlc);
        let hlc = self.next_time(replaced.max(self.dropped_at(name.0)));
        let version = Version { hlc, origin };
        let dot = Dot { origin, seq: self.vector.get(origin) + 1 };
        self.vector.raise(origin, dot.seq);
        let RawAttributes { metadata, expires_at } = said.clone();
        let row = Row { dot, version, prev, metadata, expires_at, what };
        self.made.push(Write { name: name.clone(), row: row.clone() });
        self.put(name, row);
        Written { dot, version }
    }

    fn create(
        &mut self,
        account: &str,
        title: &str,
        id: Option<NamespaceId>,
    ) -> Result<Namespace, Refusal> {
        if title.is_empty() || title.len() > MAX_TITLE_BYTES {
            return Err(Refusal::Invalid);
        }
        if self.namespaces().any(|other| other.account == *account && other.title == *title) {
            return Err(Refusal::Taken);
        }
        let is_taken = |id: &NamespaceId| *id == NamespaceId::SYSTEM || self.live(*id).is_ok();
        let id = match id {
            Some(id) if is_taken(&id) => return Err(Refusal::Taken),
            Some(id) => id,
            None => (0..)
                .map(|n| derive_id(account, title, n))
                .find(|id| !is_taken(id))
                .ok_or(Refusal::Taken)?,
        };
        let title = Title::new(title).map_err(|_invalid| Refusal::Invalid)?;
        let fields = [(TITLE, title_field(account, &title)), (CREATED, Bytes::new())];
        Ok(self.write_namespace(id, &fields, Hlc::ZERO))
    }

    fn rename(&mut self, id: NamespaceId, title: &str) -> Result<Namespace, Refusal> {
        if title.is_empty() || title.len() > MAX_TITLE_BYTES {
            return Err(Refusal::Invalid);
        }
        let namespace = self.live(id)?.clone();
        let has_title =
            |other: &&Namespace| other.account == namespace.account && other.title == *title;
        let oldest =
            self.namespaces().filter(has_title).min_by_key(|other| (other.created, other.id));
        if oldest.is_some_and(|other| other.id != id) {
            return Err(Refusal::Taken);
        }
        let title = Title::new(title).map_err(|_invalid| Refusal::Invalid)?;
        let field = (TITLE, title_field(&namespace.account, &title));
        Ok(self.write_namespace(id, &[field], Hlc::ZERO))
    }

    /// Writes fields of the row of a namespace, later than `after`, than its drop, and than what they replace.
    fn write_namespace(
        &mut self,
        id: NamespaceId,
        values: &[(u8, Bytes)],
        after: Hlc,
    ) -> Namespace {
        let name = (NamespaceId::SYSTEM, Bytes::copy_from_slice(&id.0));
        let origin = self.own_pair()[0];
        let before = self.fields(&name);
        let replaced = values.iter().filter_map(|(number, _)| before.get(number));
        let replaced = replaced.map(|field| field.version.hlc).max().unwrap_or(Hlc::ZERO);
        let hlc = self.next_time(after.max(replaced).max(self.dropped_at(id)));
        self.write_fields(Version { hlc, origin }, &name, values);
        self.namespaces[&id].clone()
    }

    /// Writes fields of a row of the system namespace in one write.
    fn write_fields(&mut self, version: Version, name: &Name, values: &[(u8, Bytes)]) {
        let dot = Dot { origin: version.origin, seq: self.vector.get(version.origin) + 1 };
        self.vector.raise(dot.origin, dot.seq);
        let field = |(number, bytes): &(u8, Bytes)| {
            (*number, FieldOf { version, seq: dot.seq, bytes: bytes.clone() })
        };
        self.join(name, values.iter().map(field).collect());
        let row = self.rows[name].listed_by(dot);
        self.made.push(Write { name: name.clone(), row });
    }

    /// Creates a namespace again that has entries later than its drop.
    fn create_again(&mut self, id: NamespaceId) {
        self.write_namespace(id, &[(CREATED, Bytes::new())], Hlc::ZERO);
    }

    /// The fields of a row of the system namespace.
    fn fields(&self, name: &Name) -> Fields {
        match self.rows.get(name).map(|row| &row.what) {
            Some(What::Joined(fields)) => fields.clone(),
            _ => Fields::new(),
        }
    }

    /// Joins fields into a row. Returns whether it changed.
    fn join(&mut self, name: &Name, fields: Fields) -> bool {
        let mut joined = self.fields(name);
        let mut has_changed = false;
        for (number, field) in fields {
            if joined.get(&number).is_none_or(|ours| *ours < field) {
                joined.insert(number, field);
                has_changed = true;
            }
        }
        if has_changed {
            self.register(name, &joined);
            self.put(name, Row::joined(joined));
        }
        has_changed
    }

    fn register(&mut self, name: &Name, fields: &Fields) {
        let Some(id) = namespace_of(name) else { return };
        let dropped_at = fields.get(&DROPPED).map(|field| field.version);
        if let Some(dropped) = dropped_at
            && self.drops.insert(id, dropped) < dropped_at
        {
            self.purge.insert(id, Bytes::new());
        }
        self.namespaces.remove(&id);
        if let (Some(title), Some(created)) = (fields.get(&TITLE), fields.get(&CREATED))
            && let Some((account, title)) = read_title(&title.bytes)
        {
            let created = created.version;
            self.namespaces.insert(id, Namespace { id, account, title, created, dropped_at });
        }
    }

    /// The rows that a version vector lacks, in the order of their dots.
    #[must_use]
    pub fn missing_in(&self, vector: &VersionVector) -> Vec<Write> {
        let mut writes: Vec<_> = self
            .rows
            .iter()
            .flat_map(|(name, row)| row.dots().into_iter().map(move |dot| (name, row, dot)))
            .filter(|(.., dot)| !vector.covers(*dot))
            .map(|(name, row, dot)| Write { name: name.clone(), row: row.listed_by(dot) })
            .collect();
        writes.sort_by_key(|write| write.row.dot);
        writes
    }

    /// Whether two states have the same contents.
    #[must_use]
    pub fn is_same(&self, other: &State) -> bool {
        self.rows == other.rows
            && self.vector == other.vector
            && self.collected == other.collected
            && self.collected_upto == other.collected_upto
            && self.clock == other.clock
            && self.closed == other.closed
            && self.newest_row == other.newest_row
            && self.purge == other.purge
            && self.is_rebuilding == other.is_rebuilding
            // A save and a drop of it in one commit write rows, and leave nothing.
            && (self.saves, &self.local) == (other.saves, &other.local)
    }
}

fn is_key(key: &[u8]) -> bool {
    (1..=MAX_KEY_BYTES).contains(&key.len())
}

/// The namespace that a row of the system namespace describes.
fn namespace_of(name: &Name) -> Option<NamespaceId> {
    let id = NamespaceId(<[u8; 16]>::try_from(&name.1[..]).ok()?);
    (name.0 == NamespaceId::SYSTEM && id != NamespaceId::SYSTEM).then_some(id)
}

/// The row of these fields, as a store holds it.
#[must_use]
pub fn joined_row(fields: &Fields) -> JoinedRow {
    let rows = fields.iter().map(|(number, field)| {
        let number = FieldNumber::new(*number).expect("a field number");
        let value = FieldValue::new(field.bytes.clone()).expect("a short field");
        JoinedRow::written(field.version, field.seq, [(number, value)]).expect("one field")
    });
    let mut rows = rows.collect::<Vec<_>>().into_iter();
    let mut row = rows.next().expect("a row has a field");
    for other in rows {
        row.join(&other);
    }
    row
}

/// The field of account and title, as FORMAT.md describes it.
fn title_field(account: &str, title: &str) -> Bytes {
    let mut out = vec![1];
    for text in [account, title] {
        let len = u16::try_from(text.len()).expect("a short text");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.into()
}

/// Reads [`title_field`]; none if no store of this version writes it.
fn read_title(bytes: &[u8]) -> Option<(Account, Title)> {
    let mut rest = bytes.strip_prefix(&[1])?;
    let mut text = || {
        let (len, tail) = rest.split_first_chunk()?;
        let (text, tail) = tail.split_at_checked(u16::from_be_bytes(*len).into())?;
        rest = tail;
        std::str::from_utf8(text).ok()
    };
    let (account, title) = (Account::new(text()?).ok()?, Title::new(text()?).ok()?);
    rest.is_empty().then_some((account, title))
}
