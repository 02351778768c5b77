//! A transaction: operations in, rows and the next state out.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    operation::{BatchWrite, NewContent, Operation, Outcome, Remote, Written},
    state::{State, moved},
};
use crate::{
    body::{NewBody, NewBodyKind, StagedChunk, UploadTicket},
    engine::{Batch, Snapshot, Table},
    env::RandomIds,
    error::{InvalidWrite, ReadError, WriteError},
    tables::{
        self, BodyIds, ChunkKey, Chunks, ClosedTime, Collected, CollectedUpto, CommitTime, Dots,
        EntryKey, ExpiredTombstones, Expiry, IndexedDot, Layout, NewestEntry, OriginIds, Origins,
        Pending, Rebuilding, Timed, Tombstones, Vector, decode_head, encode_entry, other_table,
        table_of,
    },
    types::{
        Attributes, BodyId, Change, Dot, Found, FoundState, Hlc, Key, NamespaceId, OriginId,
        Present, Version, VersionVector, limits::END_OF_TIME,
    },
    view::View,
};

/// So many ids of bodies are reserved at once, each time in a commit that writes a body.
const RESERVED_BODIES: u64 = 1024;

/// One commit while it is made: each operation sees what those before it did. Nothing is visible before the
/// batch was committed; dropping the transaction drops all of it.
pub(super) struct Transaction<'a, S> {
    /// The state before the transaction.
    pub(super) before: &'a State,
    /// The view before the transaction, which shows none of its rows.
    pub(super) view: &'a View<S>,
    /// The time of the batch.
    pub(super) time: CommitTimes,
    /// Gives the ids of new origins; none in a transaction that makes no local writes.
    pub(super) random: Option<&'a mut RandomIds>,
    /// The state after the operations so far.
    pub(super) state: State,
    /// The rows to write.
    pub(super) batch: Batch,
    /// The rows that the operations of this commit touch, as the operations so far left them.
    pub(super) rows: HashMap<EntryKey, Option<Found<()>>>,
    /// Keys whose rows were met damaged: nobody has looked for another one in the other table.
    unread: HashSet<EntryKey>,
    /// Bodies that the operations so far have replaced, and that become garbage with the commit.
    freed: Vec<BodyId>,
    /// Uploads whose bodies rows have taken.
    used: Vec<Arc<UploadTicket>>,
    /// The local writes so far.
    pub(super) writes: Vec<Change>,
}

/// The time of a commit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CommitTimes {
    /// Cluster time.
    pub(super) present: Present,
    /// The time up to which the closed timestamp may rise, in milliseconds since the Unix epoch.
    pub(super) closing_ms: Option<u64>,
}

/// The result of a transaction.
pub(super) struct Changes {
    /// The rows to write.
    pub(super) batch: Batch,
    /// The state after the commit.
    pub(super) state: State,
    /// Large bodies that no entry has any more.
    pub(super) freed: Vec<BodyId>,
    /// Uploads whose body an entry has now.
    pub(super) used: Vec<Arc<UploadTicket>>,
    /// The local writes, for the replicator.
    pub(super) writes: Vec<Change>,
}

/// The write that a row comes from.
#[derive(Clone, Copy)]
pub(super) struct WriteName {
    /// The name of the write.
    pub(super) dot: Dot,
    /// The version that it gives its key.
    pub(super) version: Version,
    /// The version that it replaces, if the key had one.
    pub(super) prev: Option<Version>,
}

impl<'a, S: Snapshot> Transaction<'a, S> {
    /// Begins a commit on top of a state and its view.
    pub(super) fn new(before: &'a State, view: &'a View<S>, time: CommitTimes) -> Self {
        Transaction {
            before,
            view,
            time,
            random: None,
            state: before.clone(),
            batch: Batch::new(),
            rows: HashMap::new(),
            unread: HashSet::new(),
            freed: Vec::new(),
            used: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// Reads all rows that the operations touch in one call.
    pub(super) fn prefetch(&mut self, operations: &[Operation]) -> Result<(), ReadError> {
        let mut keys = Vec::new();
        operations.iter().for_each(|operation| touched(operation, &mut keys));
        let without = self.prefetch_from(Table::Entries, keys)?;
        for key in self.prefetch_from(Table::Deleted, without)? {
            self.rows.insert(key, None);
        }
        Ok(())
    }

    /// Reads the rows of one table, and returns the keys that have none there.
    fn prefetch_from(
        &mut self,
        table: Table,
        keys: Vec<EntryKey>,
    ) -> Result<Vec<EntryKey>, ReadError> {
        let asked: Vec<_> = keys.iter().map(|key| (table, key.as_bytes())).collect();
        let rows = self.view.snapshot.get_many(&asked)?;
        let mut without = Vec::new();
        for (key, row) in keys.into_iter().zip(rows) {
            let Some(row) = row else {
                without.push(key);
                continue;
            };
            // A damaged row fails its own operation, not the others: see `row`.
            if let Ok(head) = decode_head((table, key.as_bytes()), &row, &self.state.origins) {
                self.rows.insert(key, Some(head));
            }
        }
        Ok(without)
    }

    /// Carries out one operation. An error is the outcome of this operation alone.
    pub(super) fn make(&mut self, operation: Operation) -> Result<Outcome, WriteError> {
        match operation {
            Operation::Put { namespace, key, body, attributes } => {
                self.check_namespace(namespace)?;
                let content = NewContent::Put { body, attributes };
                check_upload(&content)?;
                check_expiry(&content)?;
                self.write_local(namespace, key, content).map(Outcome::Written)
            }
            Operation::PutOver { namespace, key, body, attributes, over } => {
                self.check_namespace(namespace)?;
                let content = NewContent::Put { body, attributes };
                check_upload(&content)?;
                let current = self.replaceable(&EntryKey::new(namespace, &key))?;
                let is_newer =
                    |version| version >= over && !self.state.namespaces.is_dead(namespace, version);
                if current.is_some_and(|head| is_newer(head.version)) {
                    return Ok(Outcome::Kept);
                }
                self.write_local(namespace, key, content).map(Outcome::Written)
            }
            Operation::Delete { namespace, key } => {
                self.check_namespace(namespace)?;
                self.write_local(namespace, key, NewContent::Delete).map(Outcome::Written)
            }
            Operation::Batch(writes) => self.write_batch(writes).map(Outcome::Batch),
            Operation::Stage(chunk) => {
                check_ticket(&chunk.ticket)?;
                self.stage(&chunk);
                Ok(Outcome::Staged)
            }
            Operation::CreateNamespace { account, title, id } => {
                self.create_namespace(account, title, id).map(Outcome::Namespace)
            }
            Operation::RenameNamespace { id, title } => {
                self.rename_namespace(id, title).map(Outcome::Namespace)
            }
            Operation::DropNamespace { id } => self.drop_namespace(id).map(Outcome::Namespace),
            Operation::PutMember { id, name, addresses } => {
                self.put_member(id, name, addresses).map(Outcome::Member)
            }
            Operation::PutSoftware { id, software } => {
                self.put_software(id, software).map(Outcome::Member)
            }
            Operation::RemoveMember { id } => self.remove_member(id).map(Outcome::Member),
            Operation::SaveLocal { name, parts } => self.save_local(&name, parts),
            Operation::DropLocal { name } => self.drop_local(&name),
            Operation::Owe(met) => self.owe_met(met),
            Operation::Repair(repairs) => self.repair(repairs),
            Operation::WriteFields { key, fields } => {
                self.write_system(key, fields).map(Outcome::Written)
            }
            Operation::Remote(remote) => self.apply_remote(remote).map(Outcome::Applied),
        }
    }

    /// Rejects writes to a namespace that does not exist or was dropped.
    fn check_namespace(&self, id: NamespaceId) -> Result<(), WriteError> {
        match self.state.namespaces.get(id) {
            Some(_) => Ok(()),
            None if self.state.owed.get(NamespaceId::SYSTEM, &id.0).is_some() => {
                let reason = "the row of the namespace is damaged on this location's disk: it is fetched from the \
                              other locations, if there are any; creating the namespace again repairs it too";
                Err(WriteError::Failed(reason.into()))
            }
            None => Err(WriteError::UnknownNamespace(id)),
        }
    }

    /// Makes all writes of a batch, or none: whatever can fail comes before the first of them.
    fn write_batch(&mut self, writes: Vec<BatchWrite>) -> Result<Vec<Written>, WriteError> {
        for write in &writes {
            self.check_namespace(write.namespace)?;
            check_upload(&write.content)?;
            check_expiry(&write.content)?;
            let key = EntryKey::new(write.namespace, &write.key);
            let current = self.replaceable(&key)?;
            self.check_time(self.beaten_by_write(&key, current.as_ref()))?;
            self.rows.insert(key, current);
        }
        self.own_pair()?;
        let write = |write: BatchWrite| self.write_local(write.namespace, write.key, write.content);
        writes.into_iter().map(write).collect()
    }

    /// Makes a local write: gives it its time and its number, and puts its row.
    pub(super) fn write_local(
        &mut self,
        namespace: NamespaceId,
        key: Key,
        content: NewContent,
    ) -> Result<Written, WriteError> {
        let entry = EntryKey::new(namespace, &key);
        let current = self.replaceable(&entry)?;
        let origin = self.own_pair()?[usize::from(is_large(&content))];
        let prev = current.as_ref().map(|head| head.version);
        let beaten = self.beaten_by_write(&entry, current.as_ref());
        let version = Version { hlc: self.next_time(beaten)?, origin };
        self.repay_overwritten(&entry);
        let dot = Dot { origin, seq: self.state.vector.get(origin) + 1 };
        Arc::make_mut(&mut self.state.vector).raise(origin, dot.seq);
        let found = self.replace(entry, current, WriteName { dot, version, prev }, content);
        self.writes.push(Change { namespace, key, found });
        Ok(Written { dot, version })
    }

    /// The version that a local write of a key must be later than: that of the row that it replaces, of the last drop of
    /// the namespace, and of a row that was here and can't be read.
    fn beaten_by_write(&self, key: &EntryKey, current: Option<&Found<()>>) -> Option<Version> {
        let dropped = self.state.namespaces.dropped_at(key.split().0);
        let current = current.map(|head| head.version);
        current.max(dropped).max(self.unread_version(key))
    }

    /// Returns the time of the next local write, which replaces this version. It is later than what it
    /// replaces and than the closed timestamp, whatever the clock shows.
    pub(super) fn next_time(&mut self, replaced: Option<Version>) -> Result<Hlc, WriteError> {
        self.check_time(replaced)?;
        let after = replaced.map_or(Hlc::ZERO, |version| version.hlc).max(self.state.closed);
        Ok(self.state.clock.tick(self.time.present, after))
    }

    /// Checks that a local write gets a time that peers accept. (A batch may write a key 1000 times.)
    fn check_time(&self, replaced: Option<Version>) -> Result<(), WriteError> {
        let after = replaced.map_or(Hlc::ZERO, |version| version.hlc).max(self.state.closed);
        let is_late = |ms: u64| ms + 1000 >= Hlc::END.millis();
        if is_late(after.millis()) || self.time.present.admits(Hlc::END) {
            return Err(WriteError::EndOfTime);
        }
        Ok(())
    }

    /// Reads the row that a local write replaces. A damaged row counts as none, and is owed until the write repairs it. Its
    /// dot stays in the index, because nobody knows which it was; a catch-up skips it.
    ///
    /// # Errors
    /// If the row can't be read now, or is damaged and there is no room to record that.
    pub(super) fn replaceable(&mut self, key: &EntryKey) -> Result<Option<Found<()>>, WriteError> {
        match self.row(key) {
            Err(error @ ReadError::Damaged { .. }) if !self.owe_row(key) => Err(unread(error)),
            Err(ReadError::Damaged { .. }) => Ok(None),
            read => read.map_err(unread),
        }
    }

    /// Reads the head of a row as the operations so far left it.
    pub(super) fn row(&mut self, key: &EntryKey) -> Result<Option<Found<()>>, ReadError> {
        if let Some(head) = self.rows.get(key) {
            return Ok(head.clone());
        }
        let Some((table, row)) = tables::row(&self.view.snapshot, key)? else { return Ok(None) };
        self.decode_row((table, key), &row).map(Some)
    }

    /// Decodes the row of a key that the view has in a table.
    pub(super) fn decode_row(
        &mut self,
        (table, key): (Table, &EntryKey),
        row: &[u8],
    ) -> Result<Found<()>, ReadError> {
        decode_head((table, key.as_bytes()), row, &self.state.origins).map_err(|error| {
            self.unread.insert(key.clone());
            ReadError::damaged(table)(error)
        })
    }

    /// Whether an operation of this transaction has written the row of a key.
    pub(super) fn has_written(&self, key: &EntryKey) -> bool {
        let is_it = |(table, at, _): &(Table, Vec<u8>, Option<Vec<u8>>)| {
            matches!(table, Table::Entries | Table::Deleted) && at == key.as_bytes()
        };
        self.batch.iter().any(is_it)
    }

    /// Deletes the row of a key that can't be read, in whichever table it is. Its row in the dot index stays, because nobody
    /// knows which it is.
    pub(super) fn delete_unread(&mut self, key: &EntryKey) {
        for table in [Table::Entries, Table::Deleted] {
            self.batch.push((table, key.as_bytes().to_vec(), None));
        }
        self.rows.insert(key.clone(), None);
    }

    /// Returns the number of an origin. Gives it one if it is new.
    fn origin_number(&mut self, id: OriginId) -> u32 {
        if let Some(number) = self.state.origins.number(id) {
            return number;
        }
        let number = Origins::add(Arc::make_mut(&mut self.state.origins), id);
        tables::put::<OriginIds>(&mut self.batch, &number, &id);
        number
    }

    /// Returns a dot as the index of dots stores it: with the local number of its origin.
    pub(super) fn indexed(&mut self, dot: Dot) -> IndexedDot {
        IndexedDot { origin: self.origin_number(dot.origin), seq: dot.seq }
    }

    /// Replaces a row, and moves every index with it. Returns the new row.
    pub(super) fn replace(
        &mut self,
        key: EntryKey,
        current: Option<Found<()>>,
        name: WriteName,
        content: NewContent,
    ) -> Found {
        let before = current.as_ref().map(table_of);
        if let Some(old) = &current {
            self.remove_indexes(&key, old);
        }
        let WriteName { dot, version, prev } = name;
        let (state, attributes) = self.place(content);
        let Attributes { metadata, expires_at } = attributes;
        let found = Found { version, dot, prev, metadata, expires_at, state };
        let indexed = self.indexed(dot);
        tables::put::<Dots>(&mut self.batch, &indexed, &key);
        let inline = match &found.state {
            FoundState::Inline(bytes) => bytes.clone(),
            _ => Bytes::new(),
        };
        self.put_row((before, key), found.clone().with_value(()), &inline);
        found
    }

    /// Writes the row of a key and its row in an index by time. `before` is the table that had the key's row, if it had
    /// one that could be read.
    pub(super) fn put_row(
        &mut self,
        (before, key): (Option<Table>, EntryKey),
        head: Found<()>,
        inline: &[u8],
    ) {
        for version in [Some(head.version), head.prev].into_iter().flatten() {
            self.origin_number(version.origin);
        }
        for dot in head.dots() {
            self.origin_number(dot.origin);
        }
        if let Some((index, time)) = time_index(&head) {
            let (key, dot) = (Timed { time, entry: key.clone() }, self.indexed(head.dot));
            match index {
                Table::Tombstones => tables::put::<Tombstones>(&mut self.batch, &key, &dot),
                Table::ExpiredTombstones => {
                    self.unindex_swept(&key, dot);
                    tables::put::<ExpiredTombstones>(&mut self.batch, &key, &dot);
                }
                _ => tables::put::<Expiry>(&mut self.batch, &key, &()),
            }
        }
        self.state.newest = self.state.newest.max(head.version.hlc);
        let number = |id| self.state.origins.number(id).expect("its origins have numbers");
        let row = encode_entry(key.as_bytes(), &head, inline, &number);
        let (table, other) = (table_of(&head), other_table(table_of(&head)));
        if before == Some(other) || self.unread.contains(&key) {
            self.batch.push((other, key.as_bytes().to_vec(), None));
        }
        self.batch.push((table, key.as_bytes().to_vec(), Some(row)));
        self.rows.insert(key, Some(head));
    }

    /// Removes the row in the dot index of an expired tombstone that a sweep has collected, if the index by time still
    /// names it under a place that another one takes: the key has expired a second time in the same second.
    fn unindex_swept(&mut self, place: &Timed, by: IndexedDot) {
        if let Ok(Some(swept)) = tables::get::<ExpiredTombstones>(&self.view.snapshot, place)
            && swept != by
            && self.state.has_collected(swept)
        {
            tables::delete::<Dots>(&mut self.batch, &swept);
        }
    }

    /// Removes a row from the store, with its rows in every index.
    pub(super) fn remove(&mut self, key: EntryKey, head: &Found<()>) {
        self.remove_indexes(&key, head);
        self.batch.push((table_of(head), key.as_bytes().to_vec(), None));
        self.rows.insert(key, None);
    }

    /// Removes the rows of a replaced entry from the indexes, and frees its large body.
    fn remove_indexes(&mut self, key: &EntryKey, old: &Found<()>) {
        let dot = self.indexed(old.dot);
        tables::delete::<Dots>(&mut self.batch, &dot);
        self.remove_time_index(key, old);
        if let Some(large) = old.large() {
            self.free(large.body);
        }
    }

    /// Deletes the index row by which garbage collection would find a row: of tombstones by their time, of
    /// other rows by their expiry.
    pub(super) fn remove_time_index(&mut self, key: &EntryKey, old: &Found<()>) {
        let Some((index, time)) = time_index(old) else { return };
        let key = Timed { time, entry: key.clone() };
        match index {
            Table::Tombstones => tables::delete::<Tombstones>(&mut self.batch, &key),
            Table::ExpiredTombstones => tables::delete::<ExpiredTombstones>(&mut self.batch, &key),
            _ => tables::delete::<Expiry>(&mut self.batch, &key),
        }
    }

    /// Leaves a body to garbage collection: the commit that drops it writes its pending row.
    pub(super) fn free(&mut self, body: BodyId) {
        tables::put::<Pending>(&mut self.batch, &body, &());
        self.freed.push(body);
    }

    /// Returns the state of a row with this content, and its attributes. Takes a large body out of the
    /// pending table.
    fn place(&mut self, content: NewContent) -> (FoundState, Attributes) {
        match content {
            NewContent::Put { body, attributes } => (self.place_body(&body), attributes),
            NewContent::Delete => (FoundState::Tombstone, Attributes::default()),
            NewContent::Expired { expires_at } => {
                let attributes = Attributes { metadata: None, expires_at: Some(expires_at) };
                (FoundState::ExpiredTombstone, attributes)
            }
            NewContent::Joined(row) => (FoundState::Joined(row), Attributes::default()),
        }
    }

    /// Writes the chunk of a body that was not staged, and takes the body out of the pending table.
    pub(super) fn place_body(&mut self, body: &NewBody) -> FoundState {
        match &body.0 {
            NewBodyKind::Inline(bytes) => return FoundState::Inline(bytes.clone()),
            NewBodyKind::Single { bytes, ticket, .. } => {
                let key = ChunkKey { body: ticket.body, index: 0 };
                self.put_chunk(&key, bytes);
                self.used.push(Arc::clone(ticket));
            }
            NewBodyKind::Staged { ticket, .. } => {
                tables::delete::<Pending>(&mut self.batch, &ticket.body);
                self.used.push(Arc::clone(ticket));
            }
        }
        body.found()
    }

    /// Writes a staged chunk, and with the first one of a body its pending row.
    fn stage(&mut self, chunk: &StagedChunk) {
        let body = chunk.ticket.body;
        if chunk.index == 0 {
            tables::put::<Pending>(&mut self.batch, &body, &());
        }
        self.put_chunk(&ChunkKey { body, index: chunk.index }, &chunk.bytes);
    }

    /// Writes a chunk, and reserves the id of its body before any other start can give it.
    fn put_chunk(&mut self, key: &ChunkKey, bytes: &Bytes) {
        if self.state.bodies.is_none_or(|next| key.body.0 >= next) {
            let next = key.body.0.saturating_add(RESERVED_BODIES);
            self.state.bodies = Some(next);
            tables::put::<BodyIds>(&mut self.batch, &(), &next);
        }
        tables::put::<Chunks>(&mut self.batch, key, bytes);
    }

    /// Adds the rows of the clock and the vectors, and ends the transaction.
    pub(super) fn finish(mut self) -> Changes {
        if self.state.clock != self.before.clock {
            tables::put::<CommitTime>(&mut self.batch, &(), &self.state.clock.last());
        }
        let state = &mut self.state;
        if state.newest > state.clock.last().max(state.newest_row) {
            state.newest_row = state.newest;
            tables::put::<NewestEntry>(&mut self.batch, &(), &state.newest);
        }
        match (self.before.is_rebuilding, self.state.is_rebuilding) {
            (false, true) => tables::put::<Rebuilding>(&mut self.batch, &(), &()),
            (true, false) => tables::delete::<Rebuilding>(&mut self.batch, &()),
            _ => {}
        }
        let before = self.before;
        self.put_moved::<Vector>(&before.vector, &Arc::clone(&self.state.vector));
        self.put_moved::<Collected>(&before.collected, &Arc::clone(&self.state.collected));
        if self.state.collected_upto != before.collected_upto {
            tables::put::<CollectedUpto>(&mut self.batch, &(), &self.state.collected_upto);
        }
        if !self.batch.is_empty() {
            self.raise_closed(self.time.closing_ms.map_or(Hlc::ZERO, Hlc::at_millis));
        }
        if self.state.closed != before.closed {
            tables::put::<ClosedTime>(&mut self.batch, &(), &self.state.closed);
        }
        let Transaction { batch, state, freed, used, writes, .. } = self;
        Changes { batch, state, freed, used, writes }
    }

    /// Promises that later writes of this store are later than this. A time that leaves no room for later writes comes
    /// from a wrong clock, and changes nothing.
    pub(super) fn raise_closed(&mut self, to: Hlc) {
        if to <= Hlc::LAST_CLOSED {
            self.state.closed = self.state.closed.max(to);
        }
    }

    /// Writes the rows of a vector that moved since the state before.
    fn put_moved<T: Layout<Key = u32, Row = u64>>(
        &mut self,
        before: &VersionVector,
        after: &VersionVector,
    ) {
        for dot in moved(before, after) {
            let number = self.origin_number(dot.origin);
            if dot.seq == 0 {
                tables::delete::<T>(&mut self.batch, &number);
            } else {
                tables::put::<T>(&mut self.batch, &number, &dot.seq);
            }
        }
    }
}

/// Returns the index that holds a row by time, and its time there: the time of a deletion, or the expiry
/// of a value or an expired tombstone, in seconds. None for a value that never expires.
///
/// Expired tombstones have an index of their own, because their expiry and the grace may keep them for
/// long, and they must not delay the tombstones of deletions.
pub(super) fn time_index(head: &Found<()>) -> Option<(Table, u64)> {
    match head.state {
        FoundState::Tombstone => Some((Table::Tombstones, head.version.hlc.0)),
        FoundState::ExpiredTombstone => {
            Some((Table::ExpiredTombstones, head.expires_at.unwrap_or(0)))
        }
        FoundState::Inline(()) | FoundState::Large { .. } => {
            head.expires_at.map(|at| (Table::Expiry, at))
        }
        FoundState::Joined(_) => None,
    }
}

/// Explains why nothing was written where a row can't be read.
pub(super) fn unread(error: ReadError) -> WriteError {
    WriteError::Failed(error.to_string())
}

/// Adds the rows that an operation touches.
fn touched(operation: &Operation, keys: &mut Vec<EntryKey>) {
    match operation {
        Operation::Put { namespace, key, .. }
        | Operation::PutOver { namespace, key, .. }
        | Operation::Delete { namespace, key } => {
            keys.push(EntryKey::new(*namespace, key));
        }
        Operation::Batch(writes) => {
            keys.extend(writes.iter().map(|write| EntryKey::new(write.namespace, &write.key)));
        }
        Operation::Remote(Remote::Next(write) | Remote::Row(write) | Remote::Found(write)) => {
            keys.push(EntryKey::new(write.namespace, &write.key));
        }
        Operation::Remote(Remote::DropRow { namespace, key, .. }) => {
            keys.push(EntryKey::new(*namespace, key));
        }
        Operation::Remote(Remote::Skip(skipped)) => {
            keys.push(EntryKey::new(skipped.namespace, &skipped.key));
        }
        _ => {}
    }
}

/// Whether the content has a body that is stored in chunks. Writes with large bodies have an origin of their
/// own.
fn is_large(content: &NewContent) -> bool {
    match content {
        NewContent::Put { body, .. } => !matches!(body.0, NewBodyKind::Inline(_)),
        NewContent::Delete | NewContent::Expired { .. } | NewContent::Joined(_) => false,
    }
}

/// Checks that the expiry of a local put is one that peers accept.
fn check_expiry(content: &NewContent) -> Result<(), WriteError> {
    match content {
        NewContent::Put { attributes, .. }
            if attributes.expires_at.is_some_and(|at| at >= END_OF_TIME) =>
        {
            Err(InvalidWrite::Expiry.into())
        }
        _ => Ok(()),
    }
}

/// Chunks that were staged before a disk failure may be lost.
fn check_ticket(ticket: &UploadTicket) -> Result<(), WriteError> {
    if ticket.is_current() {
        return Ok(());
    }
    Err(WriteError::Failed("the disk failed during this upload: put the value again".into()))
}

/// Checks that no disk failure has lost the chunks of a staged body.
pub(super) fn check_body(body: &NewBody) -> Result<(), WriteError> {
    match &body.0 {
        NewBodyKind::Staged { ticket, .. } => check_ticket(ticket),
        NewBodyKind::Inline(_) | NewBodyKind::Single { .. } => Ok(()),
    }
}

/// Checks the body of a put, as `check_body` does. Other changes have none.
pub(super) fn check_upload(content: &NewContent) -> Result<(), WriteError> {
    match content {
        NewContent::Put { body, .. } => check_body(body),
        NewContent::Delete | NewContent::Expired { .. } | NewContent::Joined(_) => Ok(()),
    }
}
