//! A store that a peer's writes are applied to, and those writes as a test describes them.

use std::{collections::BTreeMap, sync::Arc};

use super::peer;
use kv_core::{
    Account, Attributes, Dot, FieldNumber, FieldValue, Hlc, Key, MemberId, Namespace, NamespaceId,
    Operation, OriginId, Outcome, Title, Version,
    commit::{Applied, Committer, Creation, NewContent, Remote, RemoteWrite},
    engine::{disk, redb::RedbEngine},
};

pub(crate) const NAMESPACE: NamespaceId = NamespaceId([9; 16]);

pub(crate) type Replica = Committer<RedbEngine>;

pub(crate) fn replica(id: u8) -> Replica {
    let engine = RedbEngine::open(disk::memory(), 1 << 20).unwrap();
    let mut next = id;
    let random = move || {
        next += 1;
        Ok([next; 16])
    };
    let mut replica = Committer::open(Arc::new(engine), Creation::default(), random).unwrap();
    for origin in [100, 101, 102] {
        let pair = [origin, origin ^ 1].map(|id| OriginId([id; 16]));
        let write = peer::opening(&peer::origin(pair, PEER, Hlc(1)));
        assert_eq!(apply(&mut replica, Remote::Row(write)), WON);
    }
    replica
}

/// The location whose origins the sketches use.
const PEER: MemberId = MemberId([90; 16]);

/// A write as a test describes it. Its body is made by the replica that applies it.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) dot: Dot,
    pub(crate) hlc: Hlc,
    pub(crate) prev: Option<Version>,
    pub(crate) key: u8,
    pub(crate) kind: SketchKind,
}

#[derive(Clone, Debug)]
pub(crate) enum SketchKind {
    Put(usize),
    Delete,
    Expired,
}

impl Sketch {
    pub(crate) fn version(&self) -> Version {
        Version { hlc: self.hlc, origin: self.dot.origin }
    }

    pub(crate) fn write(&self, replica: &Replica) -> RemoteWrite {
        let change = match self.kind {
            SketchKind::Put(len) => {
                let mut upload = replica.upload();
                assert!(upload.push(&vec![self.key; len]).unwrap().is_empty());
                let (_, body) = upload.finish();
                NewContent::Put { body, attributes: Attributes::default() }
            }
            SketchKind::Delete => NewContent::Delete,
            SketchKind::Expired => NewContent::Expired { expires_at: 5 },
        };
        RemoteWrite {
            dot: self.dot,
            hlc: self.hlc,
            prev: self.prev,
            namespace: NAMESPACE,
            key: Key::new([self.key]).unwrap(),
            change,
        }
    }
}

/// A write behind the opening row of its origin: the first has the number 1.
pub(crate) fn sketch(number: u64, hlc: u64, kind: SketchKind) -> Sketch {
    Sketch {
        dot: Dot { origin: OriginId([100; 16]), seq: number + 1 },
        hlc: Hlc(hlc),
        prev: None,
        key: 1,
        kind,
    }
}

pub(crate) fn put_of(key: u8, seq: u64, hlc: u64) -> Sketch {
    Sketch { key, ..sketch(seq, hlc, SketchKind::Put(1)) }
}

pub(crate) fn apply(replica: &mut Replica, remote: Remote) -> Applied {
    let committed = replica.commit(1, vec![Operation::Remote(remote)]);
    match committed.results.into_iter().next().unwrap().unwrap() {
        Outcome::Applied(applied) => applied,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn rows(replica: &mut Replica) -> BTreeMap<u8, Dot> {
    let view = replica.view();
    (0..3).filter_map(|key| Some((key, view.row(NAMESPACE, &[key]).unwrap()?.dot))).collect()
}

/// A write of fields behind the opening row of its origin: the first has the number 1.
pub(crate) fn system_write(
    number: u64,
    hlc: u64,
    key: &[u8],
    fields: Vec<(FieldNumber, FieldValue)>,
) -> RemoteWrite {
    let dot = Dot { origin: OriginId([100; 16]), seq: number + 1 };
    peer::joined_write(dot, Hlc(hlc), key, fields)
}

pub(crate) fn creation(title: &str) -> Vec<(FieldNumber, FieldValue)> {
    let title = Title::new(title).unwrap();
    vec![Namespace::titled(&Account::default(), &title), Namespace::creation()]
}

pub(crate) fn namespace_write(
    seq: u64,
    hlc: u64,
    fields: Vec<(FieldNumber, FieldValue)>,
) -> RemoteWrite {
    system_write(seq, hlc, &NAMESPACE.0, fields)
}

pub(crate) const WON: Applied = Applied::Won { concurrent: false };
