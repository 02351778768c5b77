//! One commit in the making: operations in, rows and the next state out.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    stage_rows,
    state::{State, clock_row, origin_row, raised},
};
use crate::{
    Dot, NamespaceId, OriginId, Version,
    body::{NewBody, NewBodyKind, UploadTicket},
    changes::Change,
    crdt::VersionVector,
    engine::{Batch, Snapshot},
    entry::{Attributes, BodyId},
    error::{ReadError, WriteError},
    limits::{MAX_KEY_BYTES, MAX_METADATA_BYTES},
    operation::{Operation, Outcome, Remote, Written},
    origins::Origins,
    record::{self, Head, Kind, Large, LocalVersion},
    schema::{self, Table},
    view::{Found, FoundState, View},
};

pub(super) struct Transaction<'a, S> {
    before: &'a State,
    pub(super) view: &'a View<S>,
    pub(super) now_ms: u64,
    pub(super) state: State,
    pub(super) batch: Batch,
    /// The rows that this commit's operations touch, as the operations before left them.
    rows: HashMap<Vec<u8>, Option<Head>>,
    freed: Vec<BodyId>,
    used: Vec<Arc<UploadTicket>>,
    /// The local writes so far.
    writes: Vec<Change>,
}

/// What a transaction comes to.
pub(super) struct Changes {
    pub(super) batch: Batch,
    pub(super) state: State,
    /// Large bodies that no entry holds any more.
    pub(super) freed: Vec<BodyId>,
    /// Uploads whose body an entry holds now.
    pub(super) used: Vec<Arc<UploadTicket>>,
    pub(super) writes: Vec<Change>,
}

/// What is to stand in a row.
pub(super) enum NewRow<'a> {
    Value(&'a NewBody, &'a Attributes),
    Tombstone,
    ExpiredTombstone { expires_at: u64 },
}

/// The name of the write that a row comes from.
#[derive(Clone, Copy)]
pub(super) struct WriteName {
    pub(super) dot: Dot,
    pub(super) version: Version,
    pub(super) prev: Option<Version>,
}

impl<'a, S: Snapshot> Transaction<'a, S> {
    pub(super) fn new(before: &'a State, view: &'a View<S>, now_ms: u64) -> Self {
        Transaction {
            before,
            view,
            now_ms,
            state: before.clone(),
            batch: Batch::new(),
            rows: HashMap::new(),
            freed: Vec::new(),
            used: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// Reads, in one call, every row that the operations touch.
    pub(super) fn prefetch(&mut self, operations: &[Operation]) -> Result<(), ReadError> {
        let keys: Vec<_> = operations.iter().filter_map(touched).collect();
        let asked: Vec<_> = keys.iter().map(|key| (Table::Entries, &key[..])).collect();
        let rows = self.view.snapshot.get_many(&asked)?;
        for (key, row) in keys.into_iter().zip(rows) {
            // A damaged row fails its own operation, not the others: see `row`.
            if let Ok(head) = row.map(|row| record::decode_head(&key, &row)).transpose() {
                self.rows.insert(key, head);
            }
        }
        Ok(())
    }

    pub(super) fn make(&mut self, operation: &Operation) -> Result<Outcome, WriteError> {
        match operation {
            Operation::Put { namespace, key, body, attributes } => {
                self.check_namespace(*namespace)?;
                check_attributes(attributes)?;
                check_upload(body)?;
                let row = NewRow::Value(body, attributes);
                self.write_local(*namespace, key, &row).map(Outcome::Written)
            }
            Operation::Delete { namespace, key } => {
                self.check_namespace(*namespace)?;
                self.write_local(*namespace, key, &NewRow::Tombstone).map(Outcome::Written)
            }
            Operation::Stage(chunk) => {
                check_ticket(&chunk.ticket)?;
                stage_rows(&mut self.batch, chunk);
                Ok(Outcome::Staged)
            }
            Operation::CreateNamespace { account, title, id } => {
                self.create_namespace(account, title, *id).map(Outcome::Namespace)
            }
            Operation::RenameNamespace { id, title } => {
                self.rename_namespace(*id, title).map(Outcome::Namespace)
            }
            Operation::DropNamespace { id } => self.drop_namespace(*id).map(Outcome::Namespace),
            Operation::PutMember { id, origins, name, addresses } => {
                self.put_member(*id, *origins, name, addresses).map(Outcome::Member)
            }
            Operation::RemoveMember { id } => self.remove_member(*id).map(Outcome::Member),
            Operation::SaveLocal { name, parts } => self.save_local(name, parts),
            Operation::DropLocal { name } => self.drop_local(name),
            Operation::Remote(remote) => self.apply_remote(remote).map(Outcome::Applied),
        }
    }

    fn check_namespace(&self, id: NamespaceId) -> Result<(), WriteError> {
        match self.state.namespaces.get(id) {
            Some(_) => Ok(()),
            None => Err(WriteError::UnknownNamespace(id)),
        }
    }

    /// Makes a local write: gives it its time and its number, and puts its row.
    pub(super) fn write_local(
        &mut self,
        namespace: NamespaceId,
        key: &[u8],
        row: &NewRow<'_>,
    ) -> Result<Written, WriteError> {
        check_key(key)?;
        let row_key = schema::entry(namespace, key);
        let current = match self.row(&row_key) {
            // Bytes that can't be read any more are replaced like any others. Their dot stays in
            // the index, as no one knows which it was: a catch-up passes over it.
            Err(ReadError::Damaged { .. }) => None,
            read => read.map_err(unread)?,
        };
        let origin = self.state.own[usize::from(is_large(row))];
        let prev = current.as_ref().map(|head| self.version(head.version)).transpose()?;
        let version = Version { hlc: self.state.clock.tick(self.now_ms), origin };
        let dot = Dot { origin, seq: self.state.vector.get(origin) + 1 };
        Arc::make_mut(&mut self.state.vector).raise(origin, dot.seq);
        let name = WriteName { dot, version, prev };
        self.replace(row_key, current, name, row);
        self.writes.push(Change {
            namespace,
            key: Bytes::copy_from_slice(key),
            found: found(name, row),
        });
        Ok(Written { dot, version })
    }

    /// The head of a row as the operations so far have left it.
    pub(super) fn row(&mut self, row_key: &[u8]) -> Result<Option<Head>, ReadError> {
        if let Some(head) = self.rows.get(row_key) {
            return Ok(head.clone());
        }
        let row = self.view.snapshot.get(Table::Entries, row_key)?;
        row.map(|row| record::decode_head(row_key, &row))
            .transpose()
            .map_err(ReadError::damaged(Table::Entries))
    }

    pub(super) fn version(&self, local: LocalVersion) -> Result<Version, WriteError> {
        let origin = self.state.origins.id(local.origin);
        let origin = origin.map_err(|error| WriteError::Failed(error.to_string()))?;
        Ok(Version { hlc: local.hlc, origin })
    }

    fn local(&mut self, version: Version) -> LocalVersion {
        LocalVersion { hlc: version.hlc, origin: self.origin_number(version.origin) }
    }

    /// The number of an origin; gives it one if it is new.
    fn origin_number(&mut self, id: OriginId) -> u32 {
        if let Some(number) = self.state.origins.number(id) {
            return number;
        }
        let number = Origins::add(Arc::make_mut(&mut self.state.origins), id);
        self.batch.push(origin_row(number, id));
        number
    }

    /// Puts a row in another's place, and moves every index with it.
    pub(super) fn replace(
        &mut self,
        row_key: Vec<u8>,
        current: Option<Head>,
        name: WriteName,
        row: &NewRow<'_>,
    ) {
        if let Some(old) = &current {
            self.remove_indexes(&row_key, old);
        }
        let (kind, inline, attributes) = self.place_body(row);
        let head = Head {
            version: self.local(name.version),
            seq: name.dot.seq,
            prev: name.prev.map(|prev| self.local(prev)),
            expires_at: attributes.expires_at,
            metadata: attributes.metadata,
            kind,
        };
        let dot_key = schema::dot(head.version.origin, head.seq);
        let dot_row = record::seal(Table::Dots, &dot_key, row_key.clone());
        self.batch.push((Table::Dots, dot_key, Some(dot_row)));
        self.put_row(row_key, head, &inline);
    }

    /// Writes an entry's row and its row in the index by expiry or by time of write.
    pub(super) fn put_row(&mut self, row_key: Vec<u8>, head: Head, inline: &[u8]) {
        let index = if head.is_tombstone() {
            Some((Table::Tombstones, schema::timed(head.version.hlc.0, &row_key)))
        } else {
            head.expires_at.map(|at| (Table::Expiry, schema::timed(at, &row_key)))
        };
        if let Some((table, key)) = index {
            let row = record::seal(table, &key, Vec::new());
            self.batch.push((table, key, Some(row)));
        }
        let row = record::encode_entry(&row_key, &head, inline);
        self.batch.push((Table::Entries, row_key.clone(), Some(row)));
        self.rows.insert(row_key, Some(head));
    }

    /// Takes a row out of the store, with its rows in every index.
    pub(super) fn remove(&mut self, row_key: Vec<u8>, head: &Head) {
        self.remove_indexes(&row_key, head);
        self.batch.push((Table::Entries, row_key.clone(), None));
        self.rows.insert(row_key, None);
    }

    fn remove_indexes(&mut self, row_key: &[u8], old: &Head) {
        self.batch.push((Table::Dots, schema::dot(old.version.origin, old.seq), None));
        self.remove_time_index(row_key, old);
        if let Some(large) = old.large() {
            self.free(large.body);
        }
    }

    pub(super) fn remove_time_index(&mut self, row_key: &[u8], old: &Head) {
        if old.is_tombstone() {
            let key = schema::timed(old.version.hlc.0, row_key);
            self.batch.push((Table::Tombstones, key, None));
        } else if let Some(at) = old.expires_at {
            self.batch.push((Table::Expiry, schema::timed(at, row_key), None));
        }
    }

    /// Leaves a body to the sweep: its pending row comes with the commit that no longer holds it.
    pub(super) fn free(&mut self, body: BodyId) {
        let key = schema::body(body);
        let row = record::seal(Table::Pending, &key, Vec::new());
        self.batch.push((Table::Pending, key, Some(row)));
        self.freed.push(body);
    }

    /// Writes what of a new body is not written yet; its kind, its inline bytes and its attributes.
    pub(super) fn place_body(&mut self, row: &NewRow<'_>) -> (Kind, Bytes, Attributes) {
        let (body, attributes) = match row {
            NewRow::Value(body, attributes) => (&body.0, (*attributes).clone()),
            NewRow::Tombstone => return (Kind::Tombstone, Bytes::new(), Attributes::default()),
            NewRow::ExpiredTombstone { expires_at } => {
                let attributes =
                    Attributes { expires_at: Some(*expires_at), ..Attributes::default() };
                return (Kind::ExpiredTombstone, Bytes::new(), attributes);
            }
        };
        match body {
            NewBodyKind::Inline(bytes) => {
                let len = u32::try_from(bytes.len()).expect("an inline body is short");
                (Kind::Inline(len), bytes.clone(), attributes)
            }
            NewBodyKind::Single { bytes, digest, ticket } => {
                let key = schema::chunk(ticket.body, 0);
                let chunk = record::seal(Table::Chunks, &key, bytes.to_vec());
                self.batch.push((Table::Chunks, key, Some(chunk)));
                self.used.push(Arc::clone(ticket));
                let large = Large { body: ticket.body, len: bytes.len() as u64, digest: *digest };
                (Kind::Chunked(large), Bytes::new(), attributes)
            }
            NewBodyKind::Staged { len, digest, ticket } => {
                self.batch.push((Table::Pending, schema::body(ticket.body), None));
                self.used.push(Arc::clone(ticket));
                let large = Large { body: ticket.body, len: *len, digest: *digest };
                (Kind::Chunked(large), Bytes::new(), attributes)
            }
        }
    }

    /// Adds the rows of the clock and the vectors, and ends the transaction.
    pub(super) fn finish(mut self) -> Changes {
        if self.state.clock != self.before.clock {
            self.batch.push(clock_row(self.state.clock.last()));
        }
        let vectors: [(Table, Arc<VersionVector>, &VersionVector); 2] = [
            (Table::Vector, Arc::clone(&self.state.vector), &self.before.vector),
            (Table::Collected, Arc::clone(&self.state.collected), &self.before.collected),
        ];
        for (table, after, before) in vectors {
            for dot in raised(before, &after) {
                let key = self.origin_number(dot.origin).to_be_bytes().to_vec();
                let row = record::encode_number(table, &key, dot.seq);
                self.batch.push((table, key, Some(row)));
            }
        }
        Changes {
            batch: self.batch,
            state: self.state,
            freed: self.freed,
            used: self.used,
            writes: self.writes,
        }
    }
}

/// What a reader finds where `row` was written.
fn found(name: WriteName, row: &NewRow<'_>) -> Found {
    let (state, attributes) = match row {
        NewRow::Value(body, attributes) => (body.found(), (*attributes).clone()),
        NewRow::Tombstone => (FoundState::Tombstone, Attributes::default()),
        NewRow::ExpiredTombstone { expires_at } => {
            let expires_at = Some(*expires_at);
            (FoundState::ExpiredTombstone, Attributes { expires_at, ..Attributes::default() })
        }
    };
    Found {
        version: name.version,
        dot: name.dot,
        prev: name.prev,
        metadata: attributes.metadata,
        expires_at: attributes.expires_at,
        state,
    }
}

/// Why nothing was written where a row can't be read.
pub(super) fn unread(error: ReadError) -> WriteError {
    WriteError::Failed(error.to_string())
}

/// The row that an operation touches.
fn touched(operation: &Operation) -> Option<Vec<u8>> {
    match operation {
        Operation::Put { namespace, key, .. } | Operation::Delete { namespace, key } => {
            Some(schema::entry(*namespace, key))
        }
        Operation::Remote(Remote::Next(write) | Remote::Row(write)) => {
            Some(schema::entry(write.namespace, &write.key))
        }
        _ => None,
    }
}

fn is_large(row: &NewRow<'_>) -> bool {
    matches!(row, NewRow::Value(body, _) if !matches!(body.0, NewBodyKind::Inline(_)))
}

pub(crate) fn check_key(key: &[u8]) -> Result<(), WriteError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(WriteError::Invalid(format!(
            "a key has 1 to {MAX_KEY_BYTES} bytes; this one has {}",
            key.len()
        )));
    }
    Ok(())
}

pub(crate) fn check_attributes(attributes: &Attributes) -> Result<(), WriteError> {
    match &attributes.metadata {
        Some(metadata) if metadata.len() > MAX_METADATA_BYTES => Err(WriteError::Invalid(format!(
            "metadata has at most {MAX_METADATA_BYTES} bytes; this has {}",
            metadata.len()
        ))),
        _ => Ok(()),
    }
}

/// What was staged before a failure of the disk may be gone.
fn check_ticket(ticket: &UploadTicket) -> Result<(), WriteError> {
    if ticket.is_current() {
        return Ok(());
    }
    Err(WriteError::Failed("the disk failed during this upload: put the value again".into()))
}

pub(super) fn check_upload(body: &NewBody) -> Result<(), WriteError> {
    match &body.0 {
        NewBodyKind::Staged { ticket, .. } => check_ticket(ticket),
        NewBodyKind::Inline(_) | NewBodyKind::Single { .. } => Ok(()),
    }
}
