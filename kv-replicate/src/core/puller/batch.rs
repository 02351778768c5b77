//! One batch of a session: its pages arrive in order, then its rows and bodies are on their way to the store.

use std::{sync::Arc, time::Duration};

use kv_core::{Dot, VersionVector};

use crate::{
    Row,
    wire::{End, Page, PageHead},
};

/// The most pages of a batch: none has as many rows.
const MAX_PAGES: u16 = 1024;

/// The step after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another batch, behind this row.
    Batch(Dot),
    /// The end of the round.
    RoundEnd,
}

/// How far the current batch is.
#[derive(Debug)]
pub(super) enum Stage {
    /// It must be requested.
    Wanted,
    /// It was requested, and nothing of it has arrived.
    Requested,
    /// Some of its pages arrived.
    Receiving { stamp: u64, next_page: u16, next: Next, head: PageHead },
    /// All of its pages arrived. Their rows and bodies may be under way.
    Received { head: PageHead, next: Next },
    /// It was the last one, and the source's vectors are being adopted.
    Adopting,
}

/// The large bodies of the current batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bodies {
    /// It has none, so that the next batch need not wait for any.
    None,
    /// Some were fetched, or are.
    Fetched,
    /// One did not arrive: the batch is requested again.
    Gone,
}

/// A batch that is being received, or whose rows are on their way to the store.
#[derive(Debug)]
pub(super) struct Batch {
    /// Counts the requests of the session.
    pub(super) number: u32,
    /// The row that it begins behind.
    pub(super) after: Option<Dot>,
    /// The last row that arrived, or the one that the batch begins behind.
    pub(super) last: Option<Dot>,
    /// How far the batch is.
    pub(super) stage: Stage,
    /// The writes that its snapshot counts; none before its first page.
    pub(super) basis: Arc<VersionVector>,
    /// The large bodies that rows of this batch wait for.
    pub(super) bodies: Bodies,
    /// Its commits and fetches that are under way.
    pub(super) open: usize,
    /// The bytes of its rows that have arrived.
    pub(super) bytes: usize,
    /// When it was first requested.
    pub(super) requested_at: Duration,
    /// Whether it was requested for a store that rebuilds or joins.
    is_new: bool,
}

impl Batch {
    /// A batch that is about to be requested.
    pub(super) fn new(number: u32, after: Option<Dot>) -> Batch {
        Batch {
            number,
            after,
            last: after,
            stage: Stage::Wanted,
            basis: Arc::default(),
            bodies: Bodies::None,
            open: 0,
            bytes: 0,
            requested_at: Duration::ZERO,
            is_new: false,
        }
    }

    /// A batch that is being requested.
    pub(super) fn requested(
        number: u32,
        after: Option<Dot>,
        (requested_at, is_new): (Duration, bool),
    ) -> Batch {
        let stage = Stage::Requested;
        Batch { stage, requested_at, is_new, ..Batch::new(number, after) }
    }

    /// Whether this batch was requested, and nothing of it has arrived.
    pub(super) fn was_requested(&self, after: Option<Dot>, is_new: bool) -> bool {
        matches!(self.stage, Stage::Requested) && (self.after, self.is_new) == (after, is_new)
    }

    /// Whether all of its pages arrived.
    pub(super) fn is_received(&self) -> bool {
        matches!(self.stage, Stage::Received { .. } | Stage::Adopting)
    }

    /// Takes a page. Returns false if it is not the next one.
    pub(super) fn accept(&mut self, page: &Page) -> bool {
        if let (Stage::Requested, Some(head)) = (&self.stage, &page.head) {
            let head = head.clone();
            let next = head.next.map_or(Next::RoundEnd, Next::Batch);
            self.basis = Arc::new(head.vector.clone());
            self.stage = Stage::Receiving { stamp: page.stamp, next_page: 0, next, head };
        }
        let Stage::Receiving { stamp, next_page, head, .. } = &mut self.stage else {
            return false;
        };
        let is_next = *stamp == page.stamp && *next_page == page.index;
        if !is_next || *next_page >= MAX_PAGES {
            return false;
        }
        *next_page += 1;
        self.bytes += page.rows.iter().map(Row::weight).sum::<usize>();
        if let Some(row) = page.rows.last() {
            self.last = Some(row.dot);
        }
        let next = match page.end {
            End::Page => return true,
            End::Batch(after) => Next::Batch(after),
            End::Round => Next::RoundEnd,
        };
        self.stage = Stage::Received { head: head.clone(), next };
        true
    }

    /// Where the walk continues if pages of the batch are lost. If a body of it did not arrive, a row before these pages
    /// is not here: it comes again with them.
    pub(super) fn again_after(&self) -> Option<Dot> {
        if self.bodies == Bodies::Gone { self.after } else { self.last }
    }
}
