//! Operations in two forms: for the store and for the model.

use std::sync::Arc;

use bytes::Bytes;
use kv_core::{
    Account, Key, LocalName, Namespace, NamespaceId, NewBody, Operation, Outcome, Title,
    WriteError,
    commit::{Applied, NewContent, Remote, RemoteWrite},
    limits::{CHUNK_BYTES, MAX_INLINE_BYTES},
};

use super::World;
use crate::{
    events::Event,
    model::{Content, Name, Op, RawAttributes, State, What, Write, joined_row},
    rng::Rng,
};

/// An operation in both forms.
pub struct Request {
    /// For the store; or what it answers to an operation that its types don't allow.
    pub operation: Result<Operation, NotMade>,
    /// For the model.
    pub op: Op,
    /// Whether the store may reject it because of an earlier disk failure.
    pub doubtful: bool,
}

/// The error of a store for an operation that breaks a bound of its types.
pub(super) type NotMade = Result<Outcome, WriteError>;

impl Request {
    pub(super) fn new(operation: Operation, op: Op) -> Request {
        Request { operation: Ok(operation), op, doubtful: false }
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

fn attributes(rng: &mut Rng, now_ms: u64) -> RawAttributes {
    let metadata = rng.chance(30).then(|| {
        let len = rng.weighted(&[(9, 20), (1, 1024)]);
        format!("{{\"m\":\"{}\"}}", "x".repeat(len - 8)).into()
    });
    let expires_at = rng.chance(35).then(|| (now_ms / 1000 + rng.between(0, 40)).saturating_sub(5));
    RawAttributes { metadata, expires_at }
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
            let said = RawAttributes { metadata, expires_at: None };
            Op::Put((id, key(rng)), content(rng), said)
        }
    }
}

impl World {
    /// The store's operations for an operation of the model: first the pieces of its body.
    pub(super) fn requests(&mut self, op: Op) -> Vec<Request> {
        let mut requests = Vec::new();
        let operation = match &op {
            Op::Next(write) => {
                let write = self.remote_write(write, &mut requests);
                write.map(|write| Operation::Remote(Remote::Next(write)))
            }
            Op::Row(write) => {
                let write = self.remote_write(write, &mut requests);
                write.map(|write| Operation::Remote(Remote::Row(write)))
            }
            Op::Adopt(vector, collected) => Ok(Operation::Remote(Remote::Adopt {
                vector: vector.clone(),
                collected: collected.clone(),
                floor: kv_core::Hlc::ZERO,
                damaged: Vec::new(),
            })),
            Op::Rebuild => Ok(Operation::Remote(Remote::Rebuild)),
            Op::DropRow((namespace, key), dot) => {
                let key = Key::try_from(key.clone()).expect("the key of a row");
                Ok(Operation::Remote(Remote::DropRow { namespace: *namespace, key, dot: *dot }))
            }
            Op::Rebuilt(vector, collected) => Ok(Operation::Remote(Remote::Rebuilt {
                vector: vector.clone(),
                collected: collected.clone(),
                floor: kv_core::Hlc::ZERO,
                damaged: Vec::new(),
            })),
            local => self.local_operation(local, &mut requests).map_err(Err),
        };
        requests.push(Request { operation, op, doubtful: false });
        requests
    }

    fn local_operation(
        &mut self,
        op: &Op,
        requests: &mut Vec<Request>,
    ) -> Result<Operation, WriteError> {
        let local = || LocalName::new(LOCAL).expect("a local name");
        Ok(match op {
            Op::Put((namespace, key), content, said) => {
                let body = self.stage(content, requests);
                let (namespace, key) = (*namespace, Key::try_from(key.clone())?);
                let attributes = said.clone().try_into()?;
                Operation::Put { namespace, key, body, attributes }
            }
            Op::Delete((namespace, key)) => {
                Operation::Delete { namespace: *namespace, key: Key::try_from(key.clone())? }
            }
            Op::Create(account, title, id) => Operation::CreateNamespace {
                account: Account::new(&account[..])?,
                title: Title::new(&title[..])?,
                id: *id,
            },
            Op::Rename(id, title) => {
                Operation::RenameNamespace { id: *id, title: Title::new(&title[..])? }
            }
            Op::Drop(id) => Operation::DropNamespace { id: *id },
            Op::Save(content) => {
                let parts = vec![self.stage(content, requests)];
                Operation::SaveLocal { name: local(), parts }
            }
            Op::Unsave => Operation::DropLocal { name: local() },
            Op::Stage => unreachable!("a piece comes with its upload"),
            Op::Next(_) | Op::Row(_) | Op::Adopt(..) => unreachable!("it is a peer's"),
            Op::Rebuild | Op::DropRow(..) | Op::Rebuilt(..) => {
                unreachable!("it is the replicator's")
            }
        })
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

    fn remote_write(
        &mut self,
        write: &Write,
        requests: &mut Vec<Request>,
    ) -> Result<RemoteWrite, NotMade> {
        let refused = |reason| Ok(Outcome::Applied(Applied::Refused(reason)));
        let row = &write.row;
        let change = match &row.what {
            What::Value(content) => {
                let body = self.stage(content, requests);
                let said =
                    RawAttributes { metadata: row.metadata.clone(), expires_at: row.expires_at };
                let attributes = said.try_into().map_err(|_length| refused("metadata"))?;
                NewContent::Put { body, attributes }
            }
            What::Tombstone => NewContent::Delete,
            What::ExpiredTombstone => {
                NewContent::Expired { expires_at: row.expires_at.unwrap_or(0) }
            }
            What::Joined(fields) => NewContent::Joined(Arc::new(joined_row(fields))),
        };
        let (namespace, key) = write.name.clone();
        let key = Key::try_from(key).map_err(|_length| refused("a key"))?;
        let (dot, hlc, prev) = (row.dot, row.version.hlc, row.prev);
        Ok(RemoteWrite { dot, hlc, prev, namespace, key, change })
    }
}

/// The key of a namespace's entry in the system namespace.
pub(super) fn system_name(namespace: &Namespace) -> Name {
    (NamespaceId::SYSTEM, Bytes::copy_from_slice(&namespace.id.0))
}
