//! One session in which rows are received: it requests batch after batch, and reports when it is done.
//!
//! A *round* is one walk over everything that is missing; a *batch* is a part of it, read from one
//! snapshot of the source. The next batch of a round is requested while the last one's rows are on their
//! way to the store.
//!
//! A source may itself hold rows of its own sessions that its vector does not count yet. They are sent in
//! every round, so that a round may have many batches even at the end; where nothing was committed between
//! these, they are of one snapshot all the same. (If the last round had to be one batch, two locations
//! that catch up from each other would never finish.)

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kv_core::{DamagedKey, Dot, VersionVector, limits::MAX_OWED};

use super::walk::Walk;
use crate::{
    core::status::SessionProgress,
    wire::{End, Page, PageHead, Pull},
};

#[cfg(test)]
mod tests;

/// How long a batch may stand still before it is requested again; doubled with each repetition, so that a
/// page arrives over a path that takes long for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a batch is requested again before the session is given up.
const MAX_TRIES: u32 = 2;

/// The most pages of a batch: none has as many rows.
const MAX_PAGES: u16 = 1024;

/// How many writes with large bodies a session remembers.
const MAX_TAKEN: usize = 4096;

/// The step after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another batch, behind this row.
    Batch(Dot),
    /// The end of the round.
    RoundEnd,
}

/// How far the current batch is.
#[derive(Debug)]
enum Stage {
    /// It was requested.
    Requested,
    /// Some of its pages arrived.
    Receiving { stamp: u64, next_page: u16, head: PageHead },
    /// All of its pages arrived. Their rows and bodies may be under way.
    Received { head: PageHead, next: Next },
    /// It was the last one, and the source's vectors are being adopted.
    Adopting,
}

/// The large bodies of the current batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bodies {
    /// It has none, so that the next batch need not wait for any.
    None,
    /// Some were fetched, or are.
    Fetched,
    /// One was gone at the source: the batch is requested again.
    Gone,
}

/// The batch that is being received.
#[derive(Debug)]
struct Current {
    /// Counts the requests of the session.
    number: u32,
    /// The row that it begins behind.
    after: Option<Dot>,
    /// How far the batch is.
    stage: Stage,
    /// The writes that its snapshot counts; none before its first page.
    basis: Arc<VersionVector>,
    /// The large bodies that rows of this batch wait for.
    bodies: Bodies,
    /// Its commits and fetches that are under way.
    open: usize,
}

impl Current {
    /// A batch that is about to be requested.
    fn new(number: u32, after: Option<Dot>) -> Current {
        let basis = Arc::default();
        Current { number, after, stage: Stage::Requested, basis, bodies: Bodies::None, open: 0 }
    }
}

/// The batch before the current one, while some of its commits are under way.
#[derive(Clone, Copy, Debug)]
struct Draining {
    /// The row that the batch begins behind: an interrupted walk continues there.
    after: Option<Dot>,
    /// Its commits and fetches that are under way.
    open: usize,
}

/// How long the session has waited.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// The time of the last message of the source or of the last request.
    since: Duration,
    /// How often the batch was requested again because it stood still.
    tries: u32,
    /// How often it was requested again because a body was gone.
    repeats: u32,
}

/// The next need of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: it waits.
    Wait,
    /// The next request is to be sent.
    Request,
    /// All is here: these vectors are to be adopted.
    Adopt(PageHead),
    /// It can't continue now.
    Fail,
}

/// A session in which rows are received.
#[derive(Debug)]
pub(super) struct Session {
    /// The number of the session, which every message of it names.
    id: u64,
    /// The incarnation of the source.
    source: u64,
    /// The writes that the source held durably when the session began or continued.
    target: VersionVector,
    /// The place in the walk over everything that is missing.
    walk: Walk,
    /// The batch that is being received.
    current: Current,
    /// The batch before, whose rows are on their way to the store.
    draining: Option<Draining>,
    /// Writes whose bodies arrived in this session: a later round names them again.
    taken: BTreeSet<Dot>,
    /// The keys of writes that the source could not read.
    damaged: BTreeSet<DamagedKey>,
    /// How long the session has waited for its source.
    wait: Wait,
}

impl Session {
    /// About the most bytes that one takes without the keys that the source could not read: its vectors, and the writes that it remembers.
    const MAX_BYTES: usize = 256 << 10;

    /// A session with this number for what `since` does not count, from a source of this incarnation that has `target`.
    pub(super) fn new(
        (id, source): (u64, u64),
        since: VersionVector,
        target: VersionVector,
        now: Duration,
    ) -> Session {
        Session {
            id,
            source,
            target,
            walk: Walk::new(since),
            current: Current::new(0, None),
            draining: None,
            taken: BTreeSet::new(),
            damaged: BTreeSet::new(),
            wait: Wait { since: now, tries: 0, repeats: 0 },
        }
    }

    /// Continues a suspended session under another number, so that what the store still does for the
    /// former one does not count.
    pub(super) fn resume(&mut self, id: u64, target: VersionVector) {
        (self.id, self.target) = (id, target);
        if self.current.number > 0 {
            self.walk.interrupted();
        }
    }

    /// Goes back to the last batch before which everything is in the store. The source needs to remember
    /// nothing for that: what it could drop meanwhile, every member has.
    pub(super) fn suspend(&mut self) {
        let draining = self.draining.take();
        self.walk.go_to(draining.map_or(self.current.after, |draining| draining.after));
        self.current = Current::new(self.current.number, self.current.after);
        (self.wait.tries, self.wait.repeats) = (0, 0);
        // Some of these bodies may belong to rows of this batch that are not in the store.
        self.taken.clear();
    }

    /// The number that messages name it by.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The incarnation of the source.
    pub(super) fn source(&self) -> u64 {
        self.source
    }

    /// The writes that the source had when the session began or continued.
    pub(super) fn target(&self) -> &VersionVector {
        &self.target
    }

    /// The number of the batch that is being received.
    pub(super) fn batch(&self) -> u32 {
        self.current.number
    }

    /// When it last moved.
    pub(super) fn moved_at(&self) -> Duration {
        self.wait.since
    }

    /// The request for the next batch.
    pub(super) fn request(&mut self, visible: &VersionVector, is_new: bool, now: Duration) -> Pull {
        self.walk.skip(visible);
        let after = self.walk.after();
        self.current = Current::new(self.current.number + 1, after);
        self.wait.since = now;
        let (session, batch) = (self.id, self.current.number);
        Pull { session, batch, is_new, after, since: self.walk.since().clone() }
    }

    /// Whether a page is of the current batch.
    pub(super) fn expects(&self, page: &Page) -> bool {
        (self.id, self.current.number) == (page.session, page.batch)
    }

    /// Whether a page shows that the source counts less than at the beginning of the round: it was rolled back, or
    /// rebuilt.
    pub(super) fn has_gone_back(&self, page: &Page) -> bool {
        let vector = page.head.as_ref().map(|head| &head.vector);
        vector.is_some_and(|vector| !self.walk.is_from(vector))
    }

    /// The writes that the snapshot of the current batch counts.
    pub(super) fn basis(&self) -> Arc<VersionVector> {
        Arc::clone(&self.current.basis)
    }

    /// Takes a page. Returns false if it is not the next of the current batch.
    pub(super) fn accept(&mut self, page: &Page) -> bool {
        if let (Stage::Requested, Some(head)) = (&self.current.stage, &page.head) {
            self.walk.read_from(&head.vector, page.commit);
            let head = head.clone();
            self.current.basis = Arc::new(head.vector.clone());
            self.current.stage = Stage::Receiving { stamp: page.stamp, next_page: 0, head };
        }
        let Stage::Receiving { stamp, next_page, head } = &mut self.current.stage else {
            return false;
        };
        let is_next = *stamp == page.stamp && *next_page == page.index;
        if !is_next || *next_page >= MAX_PAGES {
            return false;
        }
        *next_page += 1;
        // With one more than a store may owe, the vector is not adopted.
        let room = (MAX_OWED + 1).saturating_sub(self.damaged.len());
        self.damaged.extend(page.damaged.iter().take(room).cloned());
        if let Some(last) = page.rows.last() {
            self.walk.go_to(Some(last.dot));
        }
        let next = match page.end {
            End::Page => return true,
            End::Batch(after) => Next::Batch(after),
            End::Round => Next::RoundEnd,
        };
        self.current.stage = Stage::Received { head: head.clone(), next };
        true
    }

    /// The batch has moved.
    pub(super) fn moved(&mut self, now: Duration) {
        self.wait.since = now;
        self.wait.tries = self.wait.tries.saturating_sub(1);
    }

    /// Commits and fetches of the current batch were begun.
    pub(super) fn began(&mut self, commits: usize, fetches: usize) {
        self.current.open += commits + fetches;
        if fetches > 0 && self.current.bodies == Bodies::None {
            self.current.bodies = Bodies::Fetched;
        }
    }

    /// A commit of rows of a batch was made.
    pub(super) fn committed(&mut self, batch: u32, now: Duration) {
        if batch == self.current.number {
            self.current.open = self.current.open.saturating_sub(1);
            self.wait.since = now;
        } else if let Some(draining) = &mut self.draining {
            draining.open = draining.open.saturating_sub(1);
            if draining.open == 0 {
                self.draining = None;
            }
        }
    }

    /// Whether the body of a write has arrived in this session.
    pub(super) fn has_taken(&self, dot: Dot) -> bool {
        self.taken.contains(&dot)
    }

    /// The body of a write arrived. What was open for its fetch is open for the commit of its row now.
    pub(super) fn fetched(&mut self, dot: Dot) {
        if self.taken.len() < MAX_TAKEN {
            self.taken.insert(dot);
        }
    }

    /// A body is damaged at the source: its row is left out, and owed.
    pub(super) fn body_damaged(&mut self, key: DamagedKey, now: Duration) {
        self.current.open = self.current.open.saturating_sub(1);
        self.wait.since = now;
        if self.damaged.len() <= MAX_OWED {
            self.damaged.insert(key);
        }
    }

    /// The keys of writes that the source could not read, and that are not here.
    pub(super) fn damaged(&self) -> Vec<DamagedKey> {
        self.damaged.iter().cloned().collect()
    }

    /// About how many bytes it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        Session::MAX_BYTES + self.damaged.len() * 640
    }

    /// A body was gone at the source.
    pub(super) fn body_gone(&mut self) {
        self.current.open = self.current.open.saturating_sub(1);
        self.current.bodies = Bodies::Gone;
    }

    /// Moves on if nothing of the current batch is missing.
    pub(super) fn advance(&mut self) -> Step {
        let Stage::Received { head, next } = &self.current.stage else { return Step::Wait };
        if self.draining.is_some() {
            return Step::Wait;
        }
        if self.current.open > 0 {
            let Next::Batch(after) = *next else { return Step::Wait };
            if self.current.bodies != Bodies::None {
                return Step::Wait;
            }
            self.draining = Some(Draining { after: self.current.after, open: self.current.open });
            self.walk.go_to(Some(after));
            return Step::Request;
        }
        if self.current.bodies == Bodies::Gone {
            return self.repeat_batch();
        }
        self.wait.repeats = 0;
        if let Next::Batch(after) = *next {
            self.walk.go_to(Some(after));
            return Step::Request;
        }
        if self.walk.end_round() {
            return Step::Request;
        }
        let head = head.clone();
        self.current.stage = Stage::Adopting;
        Step::Adopt(head)
    }

    /// A body of the batch was gone at its source. If it has expired, its row has its former place in the
    /// index; if it was overwritten, another round brings its successor. If it never comes, it is damaged.
    fn repeat_batch(&mut self) -> Step {
        self.current.bodies = Bodies::Fetched;
        self.wait.repeats += 1;
        self.walk.go_to(self.current.after);
        if self.wait.repeats > MAX_TRIES { Step::Fail } else { Step::Request }
    }

    /// Repeats a request after a timeout, or gives up.
    pub(super) fn retry(&mut self) -> Step {
        self.wait.tries += 1;
        if self.wait.tries > MAX_TRIES {
            return Step::Fail;
        }
        if self.current.bodies == Bodies::Gone {
            // A row before the page that is missing is not here: it comes again with it.
            self.walk.go_to(self.current.after);
        }
        Step::Request
    }

    /// When [`Session::retry`] is due; none while the session waits for the store or for bodies.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let is_waiting = self.current.open > 0
            || match self.current.stage {
                Stage::Requested | Stage::Receiving { .. } => false,
                Stage::Received { .. } => self.draining.is_some(),
                Stage::Adopting => true,
            };
        (!is_waiting).then_some(self.wait.since + PATIENCE * (1 << self.wait.tries))
    }

    /// How far it is, in numbers of writes.
    pub(super) fn progress(&self) -> SessionProgress {
        let mut progress = SessionProgress::default();
        for Dot { origin, seq } in self.target.iter() {
            let since = self.walk.since().get(origin);
            let walked = match self.walk.after() {
                Some(after) if after.origin > origin => seq,
                Some(after) if after.origin == origin => after.seq.min(seq),
                _ => since,
            };
            progress.of = progress.of.saturating_add(seq.saturating_sub(since));
            progress.walked = progress.walked.saturating_add(walked.saturating_sub(since));
        }
        progress
    }
}
