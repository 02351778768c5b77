//! The replicator: a core's side of a store's writer.
//!
//! A driver gives it a core's [`Work`] and the core its [`Event`]s; the writer
//! ([`kv_core::writer::WriterCore`] or a [`Store`](kv_core::Store)) gives it turns. It has no thread, no channel
//! and no clock: `quic` runs it on a store's thread, the simulator in virtual time.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use kv_core::{
    Change, Hlc, Key, Members, NamespaceId, Owed, OwedKeys, Replication, TurnOutcome,
    commit::Applied,
    commit::Committer,
    engine::{Engine, Snapshot},
    view::View,
};

use crate::{
    Event, Row, Settled, StoreState, Work,
    inspect::Place,
    read::{self, Durable, Reader},
};

mod apply;
mod late;

use apply::Applier;

/// Pieces of work in one turn: a few milliseconds, then local writes go first.
const WORKS_PER_TURN: usize = 16;

/// Most bytes of local writes that wait for the core. Beyond it they are left out, and peers catch up on them as
/// on anything that is no longer in memory.
const MAX_WRITES_BYTES: usize = 16 << 20;

/// Most keys that wait to be fetched by name.
const MAX_REQUESTED: usize = 4096;

/// Commits what peers sent and reports what a store did.
///
/// The core gets an answer once readers see the commit, and a local write once it survives a crash, together
/// with the state that peers are shown from then on ([`Replicator::durable`]).
pub struct Replicator<S> {
    /// Does the work that commits.
    applier: Applier,
    /// Work that commits and was not done yet, the oldest first.
    works: VecDeque<Work>,
    /// Events for the core that the driver has not taken.
    events: VecDeque<Event>,
    /// Answers whose commits readers do not see yet.
    answers: Vec<Event>,
    /// Local writes that are not durable yet, and their bytes.
    unsynced: Vec<Row>,
    /// The bytes of `unsynced`, which are counted in `room`.
    unsynced_bytes: usize,
    /// The room for local writes between here and the core.
    room: WriteRoom,
    /// The store as of the last sync.
    state: StoreState,
    /// The view that peers are shown; none before the replicator begins.
    durable: Option<Arc<Durable<S>>>,
    /// Reads for peers, unless the driver has a [`Reader`] of its own.
    reader: Reader<S>,
    /// The stable timestamp, as long as these are the members.
    stable: (Arc<Members>, Hlc),
    /// Keys whose rows must be fetched from the other members, beside the owed ones.
    requested: BTreeSet<Place>,
    /// The same, as of the last durable view.
    was_requested: BTreeSet<Place>,
    /// The owed keys of the last durable view, and all keys whose rows must be fetched.
    wanted: (OwedKeys, Arc<BTreeSet<Place>>),
}

impl<S> Default for Replicator<S> {
    fn default() -> Self {
        Replicator {
            applier: Applier::default(),
            works: VecDeque::new(),
            events: VecDeque::new(),
            answers: Vec::new(),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            room: WriteRoom::default(),
            state: StoreState::default(),
            durable: None,
            reader: Reader::default(),
            stable: (Arc::default(), Hlc::ZERO),
            requested: BTreeSet::new(),
            was_requested: BTreeSet::new(),
            wanted: <(OwedKeys, Arc<BTreeSet<Place>>)>::default(),
        }
    }
}

/// Counts the bytes of local writes that wait for the core, wherever they wait.
#[derive(Clone, Debug, Default)]
pub struct WriteRoom(Arc<AtomicUsize>);

impl WriteRoom {
    /// The core has taken these writes out of [`Event::Wrote`].
    pub fn release(&self, rows: &[Row]) {
        self.give_back(rows.iter().map(Row::weight).sum());
    }

    /// Returns room for this many bytes.
    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes room for this many bytes, if there is enough. Only the replicator takes room.
    fn take(&self, bytes: usize) -> bool {
        let has_room = self.0.load(Ordering::Relaxed) + bytes <= MAX_WRITES_BYTES;
        if has_room {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
        has_room
    }
}

impl<S> Replicator<S> {
    /// Adds work that commits; [`Replicator::read`] or a [`Reader`] does the other. The driver then wakes the writer.
    pub fn push(&mut self, work: Work) {
        self.works.push_back(work);
    }

    /// The next event for the core.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The store as of the last sync. The core starts with the state when the replicator began.
    #[must_use]
    pub fn state(&self) -> &StoreState {
        &self.state
    }

    /// Returns the view that peers may be shown; none before the replicator begins. A driver that reads on another
    /// thread must change it together with passing on the events.
    #[must_use]
    pub fn durable(&self) -> Option<&Arc<Durable<S>>> {
        self.durable.as_ref()
    }

    /// Does work that reads, from the durable view or from one that it has pinned; the answer.
    #[must_use]
    pub fn read(&mut self, work: Work) -> Option<Event>
    where
        S: Snapshot,
    {
        let newest = self.durable.as_ref()?;
        self.reader.read(newest, work)
    }

    /// How many views [`Replicator::read`] has pinned.
    #[must_use]
    pub fn pinned(&self) -> usize
    where
        S: Snapshot,
    {
        self.reader.pinned()
    }

    /// The room for local writes. The driver releases the rows of an [`Event::Wrote`] when it
    /// gives them to the core.
    #[must_use]
    pub fn room(&self) -> WriteRoom {
        self.room.clone()
    }

    /// Sets the core's stable timestamp, which counts as long as these are the members.
    pub fn set_stable(&mut self, members: &Arc<Members>, stable: Hlc) {
        if !Arc::ptr_eq(&self.stable.0, members) {
            self.stable.0 = Arc::clone(members);
        }
        self.stable.1 = stable;
    }

    /// Requests the rows of these keys from the other members. What is greater is applied; of one version, a
    /// value replaces its expired tombstone. The core learns of the keys with the next sync. Returns how many keys
    /// there was no room for: request them again later.
    pub fn request_rows(&mut self, places: impl IntoIterator<Item = Place>) -> usize {
        let mut refused = 0;
        for place in places {
            if self.requested.len() < MAX_REQUESTED || self.requested.contains(&place) {
                self.requested.insert(place);
            } else {
                refused += 1;
            }
        }
        refused
    }

    /// Forgets keys for which every member has answered.
    fn settle(&mut self, keys: &[Settled]) {
        keys.iter().for_each(|key| {
            self.requested.remove(&key.place);
        });
    }

    /// All keys whose rows must be fetched, given those that are owed.
    fn all_wanted(&mut self, owed: &OwedKeys) -> Arc<BTreeSet<Place>> {
        let is_same = self.wanted.0 == *owed && self.requested == self.was_requested;
        if !is_same {
            let place = |(namespace, key, _): (NamespaceId, &Key, Owed)| Place {
                namespace,
                key: key.clone(),
            };
            let all = owed.iter().map(place).chain(self.requested.iter().cloned()).collect();
            self.wanted = (owed.clone(), Arc::new(all));
            self.was_requested.clone_from(&self.requested);
        }
        Arc::clone(&self.wanted.1)
    }

    /// Takes the state and the view of the committer, all of it durable.
    fn take_state<E: Engine<Snapshot = S>>(&mut self, committer: &mut Committer<E>)
    where
        S: Snapshot + Clone,
    {
        let view = committer.view();
        let vector = view.vector().clone();
        let wanted = self.all_wanted(view.owed());
        self.state = StoreState {
            visible: vector.clone(),
            durable: vector,
            collected: view.collected().clone(),
            closed_timestamp: view.closed_timestamp(),
            has_received: view.has_received(),
            members: Arc::clone(view.members()),
            features: view.features().set(),
            wanted,
            origins: view.own_origins(),
            registry: Arc::clone(view.registry()),
            rebuilding: view.is_rebuilding(),
            superseded: view.is_superseded(),
        };
        let commit = committer.engine().status().latest;
        let additions = self.applier.additions();
        self.durable = Some(Arc::new(Durable::new(view, commit, additions)));
    }
}

impl<E: Engine> Replication<E> for Replicator<E::Snapshot>
where
    E::Snapshot: Clone,
{
    fn begin(&mut self, committer: &mut Committer<E>) {
        self.applier.begin(committer);
        self.take_state(committer);
    }

    fn work(&mut self, committer: &mut Committer<E>, now_ms: u64) -> TurnOutcome {
        let mut outcome = TurnOutcome::default();
        for _ in 0..WORKS_PER_TURN {
            let Some(work) = self.works.pop_front() else { break };
            if let Work::Settle { keys, .. } = &work {
                self.settle(keys);
            }
            let done = self.applier.perform(committer, now_ms, work);
            outcome.committed |= done.committed;
            outcome.concurrent += done.answer.as_ref().map_or(0, concurrent);
            self.answers.extend(done.answer);
            if self.applier.has_rolled_back(committer) {
                // The core must know before anything else is applied.
                break;
            }
        }
        outcome.more = !self.works.is_empty();
        outcome
    }

    fn published(&mut self, view: &View<E::Snapshot>, writes: Vec<Change>) {
        self.events.extend(self.answers.drain(..));
        for write in writes {
            let row = local_row(view, write);
            let bytes = row.weight();
            if self.room.take(bytes) {
                self.unsynced_bytes += bytes;
                self.unsynced.push(row);
            }
        }
    }

    fn synced(&mut self, committer: &mut Committer<E>) {
        self.take_state(committer);
        self.events.push_back(Event::Synced(self.state.clone()));
        let rows = mem::take(&mut self.unsynced);
        self.unsynced_bytes = 0;
        if !rows.is_empty() {
            self.events.push_back(Event::Wrote(rows));
        }
    }

    fn rolled_back(&mut self, committer: &mut Committer<E>) {
        self.unsynced.clear();
        self.room.give_back(mem::take(&mut self.unsynced_bytes));
        self.applier.start_over(committer);
        if committer.engine().status().is_durable() {
            self.take_state(committer);
        }
        self.events.push_back(Event::RolledBack(self.state.clone()));
        // The answers follow, and must not report what was rolled back.
        let visible = committer.view().vector().clone();
        for answer in &mut self.answers {
            if let Event::Applied { results, visible: seen, .. } = answer {
                *results = None;
                seen.clone_from(&visible);
            }
        }
    }

    fn freed_early(&mut self, keys: Vec<(NamespaceId, Key)>) {
        // Those that there is no room for are reported again.
        self.request_rows(keys.into_iter().map(|(namespace, key)| Place { namespace, key }));
    }

    fn stable(&mut self) -> Hlc {
        let (members, stable) = &self.stable;
        // If the members changed, the core has not counted the new ones yet.
        let is_known = Arc::ptr_eq(members, &self.state.members) || *members == self.state.members;
        if is_known { *stable } else { Hlc::ZERO }
    }
}

/// A local write as peers get it: with its value, if that fits a row.
pub fn local_row<S: Snapshot>(view: &View<S>, write: Change) -> Row {
    read::local_row(view, write)
}

/// Counts the rows of an answer that replaced a write that they had not seen.
fn concurrent(answer: &Event) -> usize {
    let Event::Applied { results: Some(results), .. } = answer else { return 0 };
    let is_concurrent = |applied: &&Applied| matches!(applied, Applied::Won { concurrent: true });
    results.iter().filter(is_concurrent).count()
}
