//! A store whose rows are sealed but have any content, and peers that send anything: whatever is read,
//! swept, written or applied then, nothing panics, and what was put is there.
#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use kv_core::{
    Account, Attributes, Dot, FieldNumber, FieldValue, FoundState, Hlc, JoinedRow, ListQuery,
    Metadata, NamespaceId, Operation, OriginId, Table, Title, Version, VersionVector,
    commit::GcLimits,
    commit::{NewContent, Remote, RemoteWrite, SkippedWrite},
    engine::{Batch, Engine},
};
use libfuzzer_sys::fuzz_target;
use waypost_fuzz::{
    disk::{Disk, Image},
    number::Number,
    panics,
    row::{seal, seal_entry},
    store::{self, Store},
};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    rows: Vec<Row<'a>>,
    steps: Vec<Step<'a>>,
}

/// One of few ids, so that rows meet; 0 is the system namespace or the store's own origin.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Id(u8);

impl Id {
    fn namespace(self) -> NamespaceId {
        match self.0 % 4 {
            1 => kv_core::derive_id("", "t", 0),
            n => NamespaceId([n; 16]),
        }
    }

    fn origin(self) -> OriginId {
        OriginId([self.0 % 4 + 1; 16])
    }
}

#[derive(Arbitrary, Debug)]
struct Name<'a> {
    namespace: Id,
    key: Key<'a>,
}

#[derive(Arbitrary, Debug)]
enum Key<'a> {
    Few(u8),
    Id(Id),
    Any(&'a [u8]),
}

impl Key<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Key::Few(n) => vec![b'a' + n % 4],
            Key::Id(id) => id.namespace().0.to_vec(),
            Key::Any(bytes) => bytes.to_vec(),
        }
    }
}

impl Name<'_> {
    fn bytes(&self) -> Vec<u8> {
        [&self.namespace.namespace().0[..], &self.key.bytes()].concat()
    }
}

#[derive(Arbitrary, Debug)]
struct Written {
    hlc: Number,
    origin: Number,
}

impl Written {
    fn bytes(&self) -> Vec<u8> {
        [&self.hlc.0.to_be_bytes()[..], &self.origin.short().to_be_bytes()].concat()
    }
}

#[derive(Arbitrary, Debug)]
enum Kind<'a> {
    Inline(&'a [u8]),
    Chunked { body: Number, len: Number },
    Tombstone,
    ExpiredTombstone,
}

#[derive(Arbitrary, Debug)]
enum Row<'a> {
    Clock(Number),
    Identity(Id),
    Rebuilding(u8),
    Origin(Number, Id),
    Entry {
        name: Name<'a>,
        version: Written,
        seq: Number,
        prev: Option<Written>,
        expiry: Option<Number>,
        metadata: Option<&'a str>,
        kind: Kind<'a>,
    },
    /// A row of the system namespace.
    Joined {
        key: Key<'a>,
        fields: Vec<(u8, Written, Number, Value<'a>)>,
    },
    Dot(Number, Number, Name<'a>),
    Vector(Number, Number),
    Collected(Number, Number),
    Expiry(Number, Name<'a>),
    Tombstone(Number, Name<'a>, Number, Number),
    Chunk(Number, Number, &'a [u8]),
    Pending(Number),
    Purge(Id, &'a [u8]),
    Any {
        table: u8,
        key: &'a [u8],
        payload: &'a [u8],
        is_sealed: bool,
    },
}

/// The value of a field: a title as a store writes it, or anything.
#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Title { account: &'a str, title: &'a str },
    Any(&'a [u8]),
}

impl Value<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Value::Title { account, title } => [&[1][..], &text(account), &text(title)].concat(),
            Value::Any(bytes) => bytes.to_vec(),
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// The bits of the flags, and what stands behind the fields that all entries have.
fn kind(kind: &Kind<'_>) -> (u8, Vec<u8>, Option<Vec<u8>>) {
    match kind {
        Kind::Inline(body) => (0, length(body), Some(body.to_vec())),
        Kind::Chunked { body, len } => {
            let large = [&body.0.to_be_bytes()[..], &len.0.to_be_bytes(), &[7; 32]].concat();
            (1, large, None)
        }
        Kind::Tombstone => (2, Vec::new(), None),
        Kind::ExpiredTombstone => (3, Vec::new(), None),
    }
}

fn length(body: &[u8]) -> Vec<u8> {
    u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec()
}

impl Row<'_> {
    fn write(&self) -> (Table, Vec<u8>, Option<Vec<u8>>) {
        let one = |table, key: Vec<u8>, payload: &[u8]| {
            let row = seal(table, &key, payload);
            (table, key, Some(row))
        };
        let short = |number: &Number| number.short().to_be_bytes().to_vec();
        let long = |number: &Number| number.0.to_be_bytes().to_vec();
        match self {
            Row::Clock(hlc) => one(Table::Meta, b"commit".to_vec(), &long(hlc)),
            Row::Identity(id) => one(Table::Meta, b"identity".to_vec(), &id.origin().0),
            Row::Rebuilding(mark) => one(Table::Meta, b"rebuilding".to_vec(), &[*mark]),
            Row::Origin(number, id) => one(Table::Origins, short(number), &id.origin().0),
            Row::Entry { .. } => self.write_entry(),
            Row::Joined { key, fields } => {
                let mut payload = vec![32, u8::try_from(fields.len()).unwrap_or(u8::MAX)];
                for (number, version, seq, value) in fields {
                    let value = value.bytes();
                    payload.push(number % 17);
                    payload.extend(version.bytes());
                    payload.extend(seq.0.to_be_bytes());
                    payload.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
                    payload.extend(value);
                }
                one(Table::Entries, [&[0; 16][..], &key.bytes()].concat(), &payload)
            }
            Row::Dot(origin, seq, name) => {
                one(Table::Dots, [short(origin), long(seq)].concat(), &name.bytes())
            }
            Row::Vector(origin, seq) => one(Table::Vector, short(origin), &long(seq)),
            Row::Collected(origin, seq) => one(Table::Collected, short(origin), &long(seq)),
            Row::Expiry(at, name) => one(Table::Expiry, [long(at), name.bytes()].concat(), &[]),
            Row::Tombstone(at, name, origin, seq) => {
                let dot = [short(origin), long(seq)].concat();
                one(Table::Tombstones, [long(at), name.bytes()].concat(), &dot)
            }
            Row::Chunk(body, index, bytes) => {
                one(Table::Chunks, [long(body), short(index)].concat(), bytes)
            }
            Row::Pending(body) => one(Table::Pending, long(body), &[]),
            Row::Purge(id, upto) => one(Table::Purge, id.namespace().0.to_vec(), upto),
            Row::Any { table, key, payload, is_sealed } => {
                let table = Table::ALL[usize::from(*table) % Table::ALL.len()];
                let row = if *is_sealed { seal(table, key, payload) } else { payload.to_vec() };
                (table, key.to_vec(), Some(row))
            }
        }
    }

    fn write_entry(&self) -> (Table, Vec<u8>, Option<Vec<u8>>) {
        let Row::Entry { name, version, seq, prev, expiry, metadata, kind: said } = self else {
            unreachable!("only called for an entry");
        };
        let (bits, behind, body) = kind(said);
        let flag = |is_set: bool, bit: u8| u8::from(is_set) << bit;
        let flags = bits
            | flag(prev.is_some(), 2)
            | flag(expiry.is_some(), 3)
            | flag(metadata.is_some(), 4);
        let head = [
            vec![flags],
            version.bytes(),
            seq.0.to_be_bytes().to_vec(),
            prev.as_ref().map(Written::bytes).unwrap_or_default(),
            expiry.map(|at| at.0.to_be_bytes().to_vec()).unwrap_or_default(),
            metadata.map(text).unwrap_or_default(),
            behind,
        ]
        .concat();
        let key = name.bytes();
        let is_tombstone = matches!(said, Kind::Tombstone | Kind::ExpiredTombstone);
        if is_tombstone {
            let row = seal(Table::Deleted, &key, &head);
            return (Table::Deleted, key, Some(row));
        }
        let row = seal_entry(&key, &head, body.as_deref());
        (Table::Entries, key, Some(row))
    }
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Get(Name<'a>),
    List { namespace: Id, prefix: &'a [u8], after: Option<&'a [u8]>, limit: Number },
    Changes { since: Vec<(Id, Number)>, resume: Option<(Id, Number)>, limit: Number },
    Chunk(Number, Number),
    Put { name: Name<'a>, len: u16, expiry: Option<Number>, metadata: Option<&'a str> },
    Delete(Name<'a>),
    Create { title: &'a str, id: Option<Id> },
    Rename { id: Id, title: &'a str },
    Drop(Id),
    Next(Peers<'a>),
    Row(Peers<'a>),
    Skip(Peers<'a>),
    Adopt { vector: Vec<(Id, Number)>, collected: Vec<(Id, Number)> },
    Gc { stable: Number, skew: Number, rows: u8 },
    Sync,
    Reopen,
}

/// A write that a peer sends.
#[derive(Arbitrary, Debug)]
struct Peers<'a> {
    origin: Id,
    seq: Number,
    hlc: Number,
    prev: Option<(Number, Id)>,
    name: Name<'a>,
    change: PeersChange<'a>,
}

#[derive(Arbitrary, Debug)]
enum PeersChange<'a> {
    Put {
        len: u16,
        expiry: Option<Number>,
        metadata: Option<&'a str>,
    },
    Said(Kind<'a>),
    Delete,
    Expired(Number),
    /// Fields of a row of the system namespace: number, time, origin, sequence number, value.
    Joined(Vec<(u8, Number, Id, Number, Value<'a>)>),
}

/// None if the metadata are over their bound.
fn attributes(expiry: Option<Number>, metadata: Option<&str>) -> Option<Attributes> {
    let metadata = metadata.map(Metadata::new).transpose().ok()?;
    Some(Attributes { metadata, expires_at: expiry.map(|at| at.0) })
}

fn dot((origin, seq): (Id, Number)) -> Dot {
    Dot { origin: origin.origin(), seq: seq.0 }
}

fn vector(dots: &[(Id, Number)]) -> VersionVector {
    dots.iter().copied().map(dot).collect()
}

fn limit(limit: Number) -> usize {
    usize::try_from(limit.0).unwrap_or(usize::MAX)
}

impl Peers<'_> {
    fn write(&self, store: &mut Store) -> Option<RemoteWrite> {
        let mut put = |value: &[u8], attributes| {
            let mut upload = store.upload();
            let is_small = upload.push(value).is_ok_and(|pieces| pieces.is_empty());
            is_small.then(|| NewContent::Put { body: upload.finish().1, attributes })
        };
        let change = match &self.change {
            PeersChange::Put { len, expiry, metadata } => {
                put(&vec![b'v'; usize::from(*len)], attributes(*expiry, *metadata)?)?
            }
            PeersChange::Said(said) => {
                put(&kind(said).2.unwrap_or_default(), Attributes::default())?
            }
            PeersChange::Delete => NewContent::Delete,
            PeersChange::Expired(at) => NewContent::Expired { expires_at: at.0 },
            PeersChange::Joined(fields) => NewContent::Joined(Arc::new(self.joined(fields)?)),
        };
        Some(RemoteWrite {
            dot: dot((self.origin, self.seq)),
            hlc: Hlc(self.hlc.0),
            prev: self.prev.map(|(hlc, id)| Version { hlc: Hlc(hlc.0), origin: id.origin() }),
            namespace: self.name.namespace.namespace(),
            key: kv_core::Key::try_from(self.name.key.bytes()).ok()?,
            change,
        })
    }
}

impl Peers<'_> {
    /// A row with a field of this write, so that it may be applied, and with the others.
    fn joined(&self, fields: &[(u8, Number, Id, Number, Value<'_>)]) -> Option<JoinedRow> {
        let mut row: Option<JoinedRow> = None;
        let own = (1, self.hlc, self.origin, self.seq, &[][..]);
        let others = fields.iter().map(|(n, hlc, id, seq, value)| (*n, *hlc, *id, *seq, value));
        let values: Vec<_> =
            others.map(|(n, hlc, id, seq, it)| (n, hlc, id, seq, it.bytes())).collect();
        let all = values.iter().map(|(n, hlc, id, seq, it)| (*n, *hlc, *id, *seq, &it[..]));
        for (number, hlc, id, seq, value) in all.chain([own]) {
            let number = FieldNumber::new(number % 17)?;
            let value = FieldValue::new(value.to_vec()).ok()?;
            let version = Version { hlc: Hlc(hlc.0), origin: id.origin() };
            let written = JoinedRow::written(version, seq.0, [(number, value)])?;
            match &mut row {
                Some(row) => {
                    row.join(&written);
                }
                None => row = Some(written),
            }
        }
        row
    }
}

/// Takes one step. An error is an answer; only a panic is a finding, and a put that is not there.
fn step(store: &mut Store, now_ms: u64, step: &Step<'_>) {
    let mut write = |operation| drop(store::make(store, now_ms, operation));
    match step {
        Step::Get(_) | Step::List { .. } | Step::Changes { .. } | Step::Chunk(..) => {
            read(store, now_ms, step);
        }
        Step::Put { name, len, expiry, metadata } => {
            let Some(attributes) = attributes(*expiry, *metadata) else { return };
            put(store, now_ms, name, &vec![b'w'; usize::from(*len)], attributes);
        }
        Step::Delete(Name { namespace, key }) => {
            let Ok(key) = kv_core::Key::try_from(key.bytes()) else { return };
            write(Operation::Delete { namespace: namespace.namespace(), key });
        }
        Step::Create { title, id } => {
            let Ok(title) = Title::new(*title) else { return };
            let (account, id) = (Account::default(), id.map(Id::namespace));
            write(Operation::CreateNamespace { account, title, id });
        }
        Step::Rename { id, title } => {
            let Ok(title) = Title::new(*title) else { return };
            write(Operation::RenameNamespace { id: id.namespace(), title });
        }
        Step::Drop(id) => write(Operation::DropNamespace { id: id.namespace() }),
        Step::Next(said) | Step::Row(said) => {
            let Some(remote) = said.write(store) else { return };
            let is_next = matches!(step, Step::Next(_));
            let remote = if is_next { Remote::Next(remote) } else { Remote::Row(remote) };
            drop(store::make(store, now_ms, Operation::Remote(remote)));
        }
        Step::Skip(said) => {
            let Some(RemoteWrite { dot, hlc, namespace, key, .. }) = said.write(store) else {
                return;
            };
            let skipped = SkippedWrite { dot, hlc, namespace, key };
            drop(store::make(store, now_ms, Operation::Remote(Remote::Skip(skipped))));
        }
        Step::Adopt { vector: said, collected } => write(Operation::Remote(Remote::Adopt {
            vector: vector(said),
            collected: vector(collected),
            floor: Hlc::ZERO,
            damaged: Vec::new(),
        })),
        Step::Gc { stable, skew, rows } => {
            let stable = Hlc(stable.0);
            let rows = usize::from(*rows);
            let limits =
                GcLimits { rows, bodies: rows, stable, expired_ms: None, collects_expired: true };
            drop(store.collect_garbage(now_ms.saturating_sub(skew.0), &limits));
        }
        Step::Sync => drop(store.sync()),
        Step::Reopen => {}
    }
}

fn read(store: &mut Store, now_ms: u64, step: &Step<'_>) {
    let view = store.view();
    match step {
        Step::Get(Name { namespace, key }) => {
            drop(view.get(namespace.namespace(), &key.bytes(), now_ms));
        }
        Step::List { namespace, prefix, after, limit: said } => {
            let query = ListQuery { prefix, after: *after, limit: limit(*said) };
            drop(view.list(namespace.namespace(), &query, now_ms));
        }
        Step::Changes { since, resume, limit: said } => {
            drop(view.changes(&vector(since), resume.map(dot), limit(*said)));
        }
        Step::Chunk(body, index) => {
            drop(view.chunk(kv_core::BodyId(body.0), index.short()));
        }
        _ => unreachable!("only called for reads"),
    }
}

fn put(store: &mut Store, now_ms: u64, name: &Name<'_>, value: &[u8], attributes: Attributes) {
    let (namespace, key) = (name.namespace.namespace(), name.key.bytes());
    if store::put(store, now_ms, namespace, &key, value, attributes.clone()).is_err() {
        return;
    }
    let is_over = attributes.expires_at.is_some_and(|at| at.saturating_mul(1000) <= now_ms);
    let found = store.view().get(namespace, &key, now_ms).expect("what was just put is sound");
    assert_eq!(found.is_none(), is_over, "a put is there until it expires");
    let Some(found) = found else { return };
    assert_eq!((found.metadata, found.expires_at), (attributes.metadata, attributes.expires_at));
    match found.state {
        FoundState::Inline(bytes) => assert_eq!(bytes, value),
        FoundState::Large { len, .. } => assert_eq!(len, value.len() as u64),
        other => panic!("{other:?} is there instead of what was put"),
    }
}

/// A store with the namespace `t`, made once.
static FOUNDED: LazyLock<Image> = LazyLock::new(|| {
    let disk = Disk::default();
    let mut store = store::open(&disk).expect("a new store opens");
    store::create(&mut store, 1, "t").expect("a new store takes a namespace");
    store.sync().expect("the disk does not fail");
    store.close().expect("the disk does not fail");
    disk.image()
});

fn run(input: &Input<'_>) {
    let disk = Disk::holding(FOUNDED.clone());
    let engine = store::engine(&disk).expect("a sound store opens");
    let next = engine.status().latest + 1;
    let rows: Batch = input.rows.iter().map(Row::write).collect();
    engine.commit(next, rows).expect("the engine takes any rows");
    let mut now_ms = 1_000;
    let Ok(mut store) = store::take_up(engine) else { return };
    for said in &input.steps {
        if let Step::Reopen = said {
            drop(store);
            store = match store::open(&disk) {
                Ok(store) => store,
                Err(_) => return,
            };
        }
        step(&mut store, now_ms, said);
        now_ms += 999;
    }
}

fuzz_target!(
    init: panics::tolerate_others(),
    |input: Input<'_>| panics::report_escaped(|| run(&input))
);
