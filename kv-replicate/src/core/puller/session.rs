//! One session in which rows are received: it requests batch after batch, and reports when it is done.
//!
//! A *round* is one walk over everything that is missing; a *batch* is a part of it, read from one
//! snapshot of the source. The next batch of a round is requested as soon as the first page of the last one says
//! where it begins, so that the link is not idle for a round trip between two batches.
//!
//! A source may itself hold rows of its own sessions that its vector does not count yet. They are sent in
//! the first round, and again if some of their origin were added since, so that a round may have many batches
//! even at the end. They are of one snapshot all the same where the source has pinned it, or where nothing was
//! committed meanwhile. See `walk` for why a session ends.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kv_core::{DamagedKey, Dot, VersionVector, limits::MAX_OWED};

use super::{
    batch::{Batch, Bodies, Next, Stage},
    pace::Pace,
    untaken::Untaken,
    walk::Walk,
};
use crate::{
    core::status::SessionProgress,
    wire::{Page, PageHead, Pull},
};

#[cfg(test)]
mod tests;

/// How many writes with large bodies a session remembers.
const MAX_TAKEN: usize = 4096;

/// The next need of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: it waits.
    Wait,
    /// The next request must be sent.
    Request,
    /// All rows are here: these vectors must be adopted.
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
    current: Batch,
    /// The batch before, whose last pages or rows are on their way.
    former: Option<Batch>,
    /// Writes whose bodies arrived in this session: a later round names them again.
    taken: BTreeSet<Dot>,
    /// The keys of writes that the source could not read.
    damaged: BTreeSet<DamagedKey>,
    /// Rows that were late.
    untaken: Untaken,
    /// How fast the pages of the source arrive.
    pace: Pace,
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
            current: Batch::new(0, None),
            former: None,
            taken: BTreeSet::new(),
            damaged: BTreeSet::new(),
            untaken: Untaken::default(),
            pace: Pace::new(now),
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
        let former = self.former.take();
        self.walk.go_to(former.map_or(self.current.after, |former| former.after));
        self.current = Batch::new(self.current.number, self.current.after);
        self.pace.suspended();
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

    /// When it last moved.
    pub(super) fn moved_at(&self) -> Duration {
        self.pace.moved_at()
    }

    /// The request for the next batch, or the same one for a batch without an arrived page: its pages may be on
    /// their way.
    pub(super) fn request(&mut self, visible: &VersionVector, is_new: bool, now: Duration) -> Pull {
        self.walk.skip(visible);
        let (after, known) = (self.walk.after(), self.walk.known());
        if self.current.was_requested(after, is_new) {
            self.pace.patience().requested_again(now);
        } else {
            self.current = Batch::requested(self.current.number + 1, after, (now, is_new));
            self.pace.patience().requested(now);
        }
        let (session, batch) = (self.id, self.current.number);
        let bytes = u32::try_from(self.pace.bytes()).unwrap_or(u32::MAX);
        Pull { session, batch, is_new, after, known, bytes, since: self.walk.since().clone() }
    }

    /// Whether a page is of a batch that is being received.
    pub(super) fn expects(&self, page: &Page) -> bool {
        let is_former = self.former.as_ref().is_some_and(|former| former.number == page.batch);
        self.id == page.session && (is_former || self.current.number == page.batch)
    }

    /// Whether a page shows that what was walked may not be what the source counts now: the source counts less than at
    /// the beginning of the round, because it was rolled back or rebuilt, or rows of its index have been put back since.
    pub(super) fn is_of_another_store(&self, page: &Page) -> bool {
        page.head.as_ref().is_some_and(|head| !self.walk.is_from(&head.vector, head.index))
    }

    /// The writes that the snapshot of a batch counts; none if it is not under way.
    pub(super) fn basis(&self, batch: u32) -> Arc<VersionVector> {
        let batches = std::iter::once(&self.current).chain(&self.former);
        let basis = batches.filter(|found| found.number == batch).map(|found| &found.basis).next();
        basis.map(Arc::clone).unwrap_or_default()
    }

    /// Takes a page. Returns false if it is not the next of its batch.
    pub(super) fn accept(&mut self, page: &Page) -> bool {
        if let Some(former) = &mut self.former
            && former.number == page.batch
        {
            let is_next = former.accept(page);
            if is_next {
                self.take_damaged(page);
            }
            return is_next;
        }
        if let (Stage::Requested, Some(head)) = (&self.current.stage, &page.head) {
            self.walk.read_from(&head.vector, (page.commit, head.index));
        }
        let is_next = self.current.accept(page);
        if is_next {
            self.take_damaged(page);
        }
        is_next
    }

    /// Takes note of the keys of a page that the source could not read. With one more than a store may owe, the vector
    /// is not adopted.
    fn take_damaged(&mut self, page: &Page) {
        let room = (MAX_OWED + 1).saturating_sub(self.damaged.len());
        self.damaged.extend(page.damaged.iter().take(room).cloned());
    }

    /// The batch of this number, if it is under way.
    fn batch_mut(&mut self, number: u32) -> Option<&mut Batch> {
        if self.current.number == number {
            return Some(&mut self.current);
        }
        self.former.as_mut().filter(|former| former.number == number)
    }

    /// A page of a batch was taken.
    pub(super) fn took_page(&mut self, batch: u32, now: Duration) {
        self.pace.patience().arrived(now);
        if let Some(batch) = self.batch_mut(batch).filter(|batch| batch.is_received()) {
            let (bytes, took) = (batch.bytes, now.saturating_sub(batch.requested_at));
            self.pace.batch(bytes, took);
        }
    }

    /// A page arrived that is of no use any more.
    pub(super) fn passed_page(&mut self, now: Duration) {
        self.pace.patience().moved(now);
    }

    /// Commits and fetches of a batch were begun.
    pub(super) fn began(&mut self, batch: u32, commits: usize, fetches: usize) {
        let Some(batch) = self.batch_mut(batch) else { return };
        batch.open += commits + fetches;
        if fetches > 0 && batch.bodies == Bodies::None {
            batch.bodies = Bodies::Fetched;
        }
    }

    /// A commit of rows of a batch was made.
    pub(super) fn committed(&mut self, batch: u32, now: Duration) {
        self.passed(batch);
        if batch == self.current.number {
            self.pace.patience().moved(now);
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
    pub(super) fn body_damaged(&mut self, batch: u32, key: DamagedKey, now: Duration) {
        self.committed(batch, now);
        if self.damaged.len() <= MAX_OWED {
            self.damaged.insert(key);
        }
    }

    /// The keys of writes that the source could not read, and that are not here.
    pub(super) fn damaged(&self) -> Vec<DamagedKey> {
        self.damaged.iter().cloned().collect()
    }

    /// The rows that were not taken: late ones, and those that the disk had no room for.
    pub(super) fn untaken(&mut self) -> &mut Untaken {
        &mut self.untaken
    }

    /// About how many bytes it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        Session::MAX_BYTES + self.damaged.len() * 640
    }

    /// Nothing of a row is under way any more.
    pub(super) fn passed(&mut self, batch: u32) {
        if let Some(batch) = self.batch_mut(batch) {
            batch.open = batch.open.saturating_sub(1);
        }
    }

    /// A row is passed over, or the later write that replaced it: what the source has of its key is in a later snapshot
    /// than this round's first, and another round brings it.
    pub(super) fn passed_over(&mut self, batch: u32, successor: Option<Dot>, now: Duration) {
        if let Some(dot) = successor {
            self.taken.remove(&dot);
        }
        self.walk.needs_another();
        self.committed(batch, now);
    }

    /// Whether a batch is being received, or its rows are on their way.
    pub(super) fn has_batch(&self, number: u32) -> bool {
        let is_former = self.former.as_ref().is_some_and(|former| former.number == number);
        is_former || self.current.number == number
    }

    /// A body does not arrive.
    pub(super) fn body_gone(&mut self, batch: u32) {
        if let Some(batch) = self.batch_mut(batch) {
            batch.open = batch.open.saturating_sub(1);
            batch.bodies = Bodies::Gone;
        }
    }

    /// Moves on if nothing of a batch is missing, or if it is known where the next one begins.
    pub(super) fn advance(&mut self) -> Step {
        if let Some(former) = &self.former {
            if !former.is_received() || former.open > 0 {
                return Step::Wait;
            }
            if former.bodies == Bodies::Gone {
                let after = former.after;
                return self.repeat_batch(after);
            }
            self.former = None;
            self.pace.has_bodies();
        }
        let is_whole = self.current.is_received() && self.current.open == 0;
        let next = match &self.current.stage {
            Stage::Receiving { next, .. } | Stage::Received { next, .. } => *next,
            Stage::Wanted | Stage::Requested | Stage::Adopting => return Step::Wait,
        };
        if let Next::Batch(after) = next
            && self.current.bodies == Bodies::None
            && !is_whole
        {
            let ahead = Batch::new(self.current.number, Some(after));
            self.former = Some(std::mem::replace(&mut self.current, ahead));
            self.walk.go_to(Some(after));
            return Step::Request;
        }
        if !is_whole {
            return Step::Wait;
        }
        if self.current.bodies == Bodies::Gone {
            return self.repeat_batch(self.current.after);
        }
        self.end_batch(next)
    }

    /// Everything of the current batch is here.
    fn end_batch(&mut self, next: Next) -> Step {
        self.pace.has_bodies();
        if let Next::Batch(after) = next {
            self.walk.go_to(Some(after));
            return Step::Request;
        }
        if self.walk.end_round() {
            return Step::Request;
        }
        let Stage::Received { head, .. } = &self.current.stage else { return Step::Wait };
        let head = head.clone();
        self.current.stage = Stage::Adopting;
        Step::Adopt(head)
    }

    /// A body of the batch did not arrive: it is requested again with its row.
    fn repeat_batch(&mut self, after: Option<Dot>) -> Step {
        self.former = None;
        self.walk.go_to(after);
        if self.pace.repeat() { Step::Request } else { Step::Fail }
    }

    /// Repeats a request after a timeout, or gives up.
    pub(super) fn retry(&mut self) -> Step {
        if !self.pace.retry() {
            return Step::Fail;
        }
        let late = self.former.take_if(|former| !former.is_received());
        self.walk.go_to(late.as_ref().unwrap_or(&self.current).again_after());
        Step::Request
    }

    /// When [`Session::retry`] is due; none while the session waits for the store or for bodies.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let is_former_open = self.former.as_ref().is_some_and(|former| {
            former.open > 0 && (!former.is_received() || self.current.is_received())
        });
        let is_adopting = matches!(self.current.stage, Stage::Adopting);
        let is_waiting = self.current.open > 0 || is_former_open || is_adopting;
        (!is_waiting).then(|| self.pace.timeout())
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
