//! Operations in two forms: for the store and for the model.

use bytes::Bytes;
use kv_core::{
    Attributes, Namespace, NamespaceId, Operation,
    body::NewBody,
    limits::{CHUNK_BYTES, MAX_INLINE_BYTES},
    operation::{Remote, RemoteChange, RemoteWrite},
};

use super::World;
use crate::{
    events::Event,
    model::{Content, Name, Op, State, What, Write},
    rng::Rng,
};

/// An operation in both forms.
pub struct Request {
    /// For the store.
    pub operation: Operation,
    /// For the model.
    pub op: Op,
    /// Whether the store may reject it because of an earlier disk failure.
    pub doubtful: bool,
}

impl Request {
    pub(super) fn new(operation: Operation, op: Op) -> Request {
        Request { operation, op, doubtful: false }
    }
}

/// The name of the local state.
pub const LOCAL: &str = "kept";

/// Bytes that differ between values and between chunks.
pub(super) fn content(rng: &mut Rng) -> Content {
    let inline = MAX_INLINE_BYTES as u64;
    let chunk = CHUNK_BYTES as u64;
    let len = match rng.weighted(&[(30, 0), (40, 1), (5, 2), (20, 3), (3, 4), (10, 5)]) {
        0 => rng.below(20),
        1 => rng.between(20, 800),
        2 => rng.between(inline - 1, inline + 1),
        3 => rng.between(inline + 1, 12_000),
        4 => rng.between(chunk - 1, chunk + 1),
        _ => rng.between(chunk + 1, chunk * 3),
    };
    let mut bytes = vec![0; usize::try_from(len).expect("the length of a value fits")];
    for piece in bytes.chunks_mut(8) {
        piece.copy_from_slice(&rng.next_u64().to_le_bytes()[..piece.len()]);
    }
    Content::new(Bytes::from(bytes))
}

pub(super) fn key(rng: &mut Rng) -> Bytes {
    match rng.below(14) {
        0 => Bytes::from(vec![0xff; 3]),
        1 => Bytes::from(vec![b'x'; 512]),
        2 => Bytes::from_static(b"\0"),
        n => Bytes::from(format!("key{}", n % 9)),
    }
}

fn attributes(rng: &mut Rng, now_ms: u64) -> Attributes {
    let metadata = rng.chance(30).then(|| {
        let len = rng.weighted(&[(9, 20), (1, 1024)]);
        format!("{{\"m\":\"{}\"}}", "x".repeat(len - 8)).into()
    });
    let expires_at = rng.chance(35).then(|| (now_ms / 1000 + rng.between(0, 40)).saturating_sub(5));
    Attributes { metadata, expires_at }
}

/// A random live namespace; rarely a dropped or unknown one.
pub(super) fn namespace(rng: &mut Rng, state: &State) -> NamespaceId {
    let live: Vec<_> = state.namespaces().map(|found| found.id).collect();
    let all: Vec<_> = state.namespaces.keys().copied().collect();
    if !all.is_empty() && rng.chance(4) {
        return *rng.pick(&all);
    }
    if live.is_empty() || rng.chance(2) {
        return kv_core::derive_id("", title(rng), 0);
    }
    *rng.pick(&live)
}

const TITLES: [&str; 4] = ["one", "two", "three", "four"];

pub(super) fn title(rng: &mut Rng) -> &'static str {
    TITLES[rng.index(TITLES.len())]
}

/// A random operation of a client.
pub(super) fn local_op(rng: &mut Rng, state: &State, now_ms: u64) -> Op {
    let is_empty = state.namespaces().next().is_none();
    let choices = [
        (if is_empty { 5 } else { 60 }, 0),
        (if is_empty { 5 } else { 25 }, 1),
        (if is_empty { 60 } else { 3 }, 2),
        (3, 3),
        (2, 4),
        (2, 5),
        (3, 6),
        (1, 7),
    ];
    let at = |rng: &mut Rng| (namespace(rng, state), key(rng));
    match rng.weighted(&choices) {
        0 => Op::Put(at(rng), content(rng), attributes(rng, now_ms)),
        1 => Op::Delete(at(rng)),
        2 => {
            let account = *rng.pick(&["", "", "", "other"]);
            let id = rng.chance(15).then(|| {
                let some: Vec<_> = state.namespaces.keys().copied().collect();
                if some.is_empty() || rng.chance(60) {
                    NamespaceId([u8::try_from(rng.between(1, 3)).expect("a small number fits"); 16])
                } else {
                    *rng.pick(&some)
                }
            });
            Op::Create(account.into(), title(rng).into(), id)
        }
        3 => Op::Rename(namespace(rng, state), title(rng).into()),
        4 => Op::Drop(namespace(rng, state)),
        5 => invalid(rng, state),
        6 => Op::Save(content(rng)),
        _ => Op::Unsave,
    }
}

fn invalid(rng: &mut Rng, state: &State) -> Op {
    let id = namespace(rng, state);
    match rng.below(4) {
        0 => Op::Delete((id, Bytes::new())),
        1 => Op::Delete((id, Bytes::from(vec![b'k'; 513]))),
        2 => Op::Create(String::new(), String::new(), None),
        _ => {
            let metadata = Some("m".repeat(1025).into());
            let attributes = Attributes { metadata, expires_at: None };
            Op::Put((id, key(rng)), content(rng), attributes)
        }
    }
}

impl World {
    /// The store's operations for an operation of the model: first the pieces of its body.
    pub(super) fn requests(&mut self, op: Op) -> Vec<Request> {
        let mut requests = Vec::new();
        let operation = match &op {
            Op::Put((namespace, key), content, attributes) => {
                let body = self.stage(content, &mut requests);
                let (key, attributes) = (key.clone(), attributes.clone());
                Operation::Put { namespace: *namespace, key, body, attributes }
            }
            Op::Delete((namespace, key)) => {
                Operation::Delete { namespace: *namespace, key: key.clone() }
            }
            Op::Stage => unreachable!("a piece is staged by its upload only"),
            Op::Create(account, title, id) => Operation::CreateNamespace {
                account: account.clone(),
                title: title.clone(),
                id: *id,
            },
            Op::Rename(id, title) => Operation::RenameNamespace { id: *id, title: title.clone() },
            Op::Drop(id) => Operation::DropNamespace { id: *id },
            Op::Save(content) => {
                let parts = vec![self.stage(content, &mut requests)];
                Operation::SaveLocal { name: LOCAL.into(), parts }
            }
            Op::Unsave => Operation::DropLocal { name: LOCAL.into() },
            Op::Next(write) => {
                let write = self.remote_write(write, &mut requests);
                Operation::Remote(Remote::Next(write))
            }
            Op::Row(write) => {
                let write = self.remote_write(write, &mut requests);
                Operation::Remote(Remote::Row(write))
            }
            Op::Adopt(vector, collected) => Operation::Remote(Remote::Adopt {
                vector: vector.clone(),
                collected: collected.clone(),
            }),
        };
        requests.push(Request::new(operation, op));
        requests
    }

    fn stage(&mut self, content: &Content, requests: &mut Vec<Request>) -> NewBody {
        let mut upload = self.committer().upload();
        let pieces = upload.push(&content.bytes).expect("the value is within its limit");
        let (last, body) = upload.finish();
        let is_staged = !pieces.is_empty();
        for piece in pieces.into_iter().chain(last) {
            requests.push(Request::new(piece, Op::Stage));
        }
        self.count(match (content.is_large(), is_staged) {
            (false, _) => Event::PutInline,
            (true, false) => Event::PutSingle,
            (true, true) => Event::PutStaged,
        });
        body
    }

    fn remote_write(&mut self, write: &Write, requests: &mut Vec<Request>) -> RemoteWrite {
        let row = &write.row;
        let change = match &row.what {
            What::Value(content) => {
                let body = self.stage(content, requests);
                let attributes =
                    Attributes { metadata: row.metadata.clone(), expires_at: row.expires_at };
                RemoteChange::Put { body, attributes }
            }
            What::Tombstone => RemoteChange::Delete,
            What::ExpiredTombstone => {
                RemoteChange::Expired { expires_at: row.expires_at.unwrap_or(0) }
            }
        };
        let (namespace, key) = write.name.clone();
        RemoteWrite { dot: row.dot, hlc: row.version.hlc, prev: row.prev, namespace, key, change }
    }
}

/// The key of a namespace's entry in the system namespace.
pub(super) fn system_name(namespace: &Namespace) -> Name {
    (NamespaceId::SYSTEM, Bytes::copy_from_slice(&namespace.id.0))
}
