//! The contents that a store must have: the store's rules once more, over a `BTreeMap` and without
//! a disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use kv_core::{
    Account, Attributes, Dot, Hlc, MemberId, Metadata, MetadataError, Namespace, NamespaceId,
    OriginId, Outcome, Title, Version, VersionVector, Written,
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
}

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
        !matches!(self.what, What::Value(_))
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
            What::Tombstone | What::ExpiredTombstone => None,
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
    /// The writes that it has made itself and that nobody has taken, with the rows that open its origins.
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
    /// The greatest time that it has issued or received.
    pub clock: Hlc,
    /// The namespaces, including dropped ones.
    pub namespaces: BTreeMap<NamespaceId, Namespace>,
    /// The dropped namespaces that may still have rows.
    pub purge: BTreeSet<NamespaceId>,
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
            clock: Hlc::ZERO,
            namespaces: BTreeMap::new(),
            purge: BTreeSet::new(),
            local: None,
            saves: 0,
        }
    }

    /// Applies an operation and returns the result that the store must return.
    ///
    /// # Errors
    /// If the store must reject the operation.
    pub fn apply(&mut self, now_ms: u64, op: &Op) -> Result<Outcome, Refusal> {
        match op {
            Op::Put(name, content, attributes) => {
                let metadata = attributes.metadata.as_ref().map_or(0, |text| text.len());
                if metadata > MAX_METADATA_BYTES || !is_key(&name.1) {
                    return Err(Refusal::Invalid);
                }
                self.live(name.0)?;
                let what = What::Value(content.clone());
                Ok(Outcome::Written(self.write(now_ms, name, what, attributes)))
            }
            Op::Delete(name) => {
                if !is_key(&name.1) {
                    return Err(Refusal::Invalid);
                }
                self.live(name.0)?;
                let none = RawAttributes::default();
                Ok(Outcome::Written(self.write(now_ms, name, What::Tombstone, &none)))
            }
            Op::Stage => Ok(Outcome::Staged),
            Op::Create(account, title, id) => {
                self.create(now_ms, account, title, *id).map(Outcome::Namespace)
            }
            Op::Rename(id, title) => self.rename(now_ms, *id, title).map(Outcome::Namespace),
            Op::Drop(id) => {
                let dropped = Namespace { dropped: true, ..self.live(*id)?.clone() };
                Ok(Outcome::Namespace(self.put_namespace(now_ms, dropped)))
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
        self.namespaces.get(&id).filter(|found| !found.dropped).ok_or(Refusal::Unknown)
    }

    /// The namespaces that are not dropped.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values().filter(|found| !found.dropped)
    }

    /// Whether a namespace is dropped.
    #[must_use]
    pub fn is_dropped(&self, id: NamespaceId) -> bool {
        self.namespaces.get(&id).is_some_and(|found| found.dropped)
    }

    fn tick(&self, now_ms: u64) -> Hlc {
        Hlc::at_millis(now_ms).max(Hlc(self.clock.0 + 1))
    }

    fn write(&mut self, now_ms: u64, name: &Name, what: What, said: &RawAttributes) -> Written {
        let is_large = matches!(&what, What::Value(content) if content.is_large());
        let origin = self.own_pair(now_ms)[usize::from(is_large)];
        self.clock = self.tick(now_ms);
        self.write_as(Version { hlc: self.clock, origin }, name, what, said)
    }

    fn write_as(
        &mut self,
        version: Version,
        name: &Name,
        what: What,
        said: &RawAttributes,
    ) -> Written {
        let origin = version.origin;
        let dot = Dot { origin, seq: self.vector.get(origin) + 1 };
        self.vector.raise(origin, dot.seq);
        let prev = self.rows.get(name).map(|row| row.version);
        let RawAttributes { metadata, expires_at } = said.clone();
        let row = Row { dot, version, prev, metadata, expires_at, what };
        self.made.push(Write { name: name.clone(), row: row.clone() });
        self.rows.insert(name.clone(), Arc::new(row));
        Written { dot, version }
    }

    fn create(
        &mut self,
        now_ms: u64,
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
        let is_taken =
            |id: &NamespaceId| *id == NamespaceId::SYSTEM || self.namespaces.contains_key(id);
        let id = match id {
            Some(id) if is_taken(&id) => return Err(Refusal::Taken),
            Some(id) => id,
            None => (0..)
                .map(|n| derive_id(account, title, n))
                .find(|id| !is_taken(id))
                .ok_or(Refusal::Taken)?,
        };
        let account = Account::new(account).expect("a short account");
        let title = Title::new(title).map_err(|_invalid| Refusal::Invalid)?;
        let [origin, _] = self.own_pair(now_ms);
        let created = Version { hlc: self.tick(now_ms), origin };
        let made = Namespace { id, account, title, created, dropped: false };
        Ok(self.put_namespace(now_ms, made))
    }

    fn rename(&mut self, now_ms: u64, id: NamespaceId, title: &str) -> Result<Namespace, Refusal> {
        if title.is_empty() || title.len() > MAX_TITLE_BYTES {
            return Err(Refusal::Invalid);
        }
        let namespace = self.live(id)?.clone();
        let has_title =
            |other: &&Namespace| other.account == namespace.account && other.title == *title;
        let oldest = self.namespaces().filter(has_title).min_by_key(|other| other.created);
        if oldest.is_some_and(|other| other.id != id) {
            return Err(Refusal::Taken);
        }
        Ok(self.put_namespace(
            now_ms,
            Namespace {
                title: Title::new(title).map_err(|_invalid| Refusal::Invalid)?,
                ..namespace
            },
        ))
    }

    fn put_namespace(&mut self, now_ms: u64, namespace: Namespace) -> Namespace {
        let name = (NamespaceId::SYSTEM, Bytes::copy_from_slice(&namespace.id.0));
        let content = Content::new(Bytes::from(namespace.encode()));
        self.write(now_ms, &name, What::Value(content), &RawAttributes::default());
        self.register(namespace.clone());
        namespace
    }

    fn register(&mut self, namespace: Namespace) {
        if namespace.dropped {
            self.purge.insert(namespace.id);
        }
        self.namespaces.insert(namespace.id, namespace);
    }

    /// The rows that a version vector lacks, in the order of their dots.
    #[must_use]
    pub fn missing_in(&self, vector: &VersionVector) -> Vec<Write> {
        let mut writes: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, row)| !vector.covers(row.dot))
            .map(|(name, row)| Write { name: name.clone(), row: Row::clone(row) })
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
            && self.clock == other.clock
            && self.purge == other.purge
            && self.is_rebuilding == other.is_rebuilding
            && (self.saves, &self.local) == (other.saves, &other.local)
    }
}

fn is_key(key: &[u8]) -> bool {
    (1..=MAX_KEY_BYTES).contains(&key.len())
}
