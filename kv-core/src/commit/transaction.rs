//! A transaction: operations in, rows and the next state out.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    operation::{NewContent, Operation, Outcome},
    state::State,
};
use crate::{
    body::UploadTicket,
    engine::{Batch, Snapshot},
    env::RandomIds,
    error::WriteError,
    tables::{
        self, ClosedTime, Collected, CollectedUpto, CommitTime, EntryKey, IndexedDot, Layout,
        NewestEntry, OriginIds, Origins, Rebuilding, Vector,
    },
    types::{BodyId, Change, Dot, Found, Hlc, OriginId, Present, VersionVector},
    view::View,
};

/// One commit while it is made: each operation sees what those before it did. Nothing is visible before the
/// batch was committed; dropping the transaction drops all of it.
pub(super) struct Transaction<'a, S> {
    /// The state before the transaction.
    pub(super) before: &'a State,
    /// The view before the transaction, which shows none of its rows.
    pub(super) view: &'a View<S>,
    /// The time of the batch.
    pub(super) time: CommitTimes,
    /// The disk has no room for values.
    pub(super) is_short_of_room: bool,
    /// Gives the ids of new origins; none in a transaction that makes no local writes.
    pub(super) random: Option<&'a mut RandomIds>,
    /// The state after the operations so far.
    pub(super) state: State,
    /// The rows to write.
    pub(super) batch: Batch,
    /// The rows that the operations of this commit touch, as the operations so far left them.
    pub(super) rows: HashMap<EntryKey, Option<Found<()>>>,
    /// Keys whose rows were damaged when they were read. Whether the other table has a row too is not known.
    pub(super) unread: HashSet<EntryKey>,
    /// Bodies that the operations so far have replaced, and that become garbage with the commit.
    pub(super) freed: Vec<BodyId>,
    /// Uploads whose bodies rows have taken.
    pub(super) used: Vec<Arc<UploadTicket>>,
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
    /// The time that more than half of the other members have resolved.
    pub(super) resolved_by_most: Hlc,
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

impl<'a, S: Snapshot> Transaction<'a, S> {
    /// Begins a commit on top of a state and its view.
    pub(super) fn new(before: &'a State, view: &'a View<S>, time: CommitTimes) -> Self {
        Transaction {
            before,
            view,
            time,
            is_short_of_room: false,
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

    /// Carries out one operation. An error is the outcome of this operation alone.
    pub(super) fn make(&mut self, operation: Operation) -> Result<Outcome, WriteError> {
        if self.is_short_of_room && operation.has_values() {
            return Err(WriteError::DiskFull);
        }
        match operation {
            Operation::Put { namespace, key, body, attributes } => {
                let content = NewContent::Put { body, attributes };
                self.write(namespace, key, content).map(Outcome::Written)
            }
            Operation::PutOver { namespace, key, body, attributes, over } => {
                self.put_over((namespace, key), NewContent::Put { body, attributes }, over)
            }
            Operation::Delete { namespace, key } => {
                self.write(namespace, key, NewContent::Delete).map(Outcome::Written)
            }
            Operation::Batch(writes) => self.write_batch(writes).map(Outcome::Batch),
            Operation::Stage(chunk) => self.stage(&chunk).map(|()| Outcome::Staged),
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

    /// Returns the number of an origin. Gives it one if it is new.
    pub(super) fn origin_number(&mut self, id: OriginId) -> u32 {
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
        self.put_moved::<Vector>(&before.vector, &self.state.vector.clone());
        self.put_moved::<Collected>(&before.collected, &self.state.collected.clone());
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
        for dot in after.changes(before) {
            let number = self.origin_number(dot.origin);
            if dot.seq == 0 {
                tables::delete::<T>(&mut self.batch, &number);
            } else {
                tables::put::<T>(&mut self.batch, &number, &dot.seq);
            }
        }
    }
}
