//! Catch-up, sent. A request says all, so that a source keeps next to nothing for a receiver.

use std::time::Duration;

use super::{Core, Pending};
use crate::{
    MemberId, Row,
    link::Serving,
    wire::{BATCH_BYTES, End, Message, Page, PageHead, Pull, Reason},
    work::{Batch, Unread, Work},
};

/// How long a session that asks for nothing keeps tombstones from being dropped.
const IDLE: Duration = Duration::from_secs(60);

pub(super) fn timeout(serving: &Serving) -> Duration {
    serving.heard_at + IDLE
}

impl Core {
    pub(super) fn pull(&mut self, from: MemberId, pull: Pull) {
        let (now, started) = (self.now.mono, self.store.closed_timestamp);
        let is_served = self.is_served(from);
        let Some(link) = self.links.get_mut(&from) else { return };
        if !is_served {
            link.say(Message::Refusal { session: pull.session, reason: Reason::Busy });
            return;
        }
        let is_known = link.serving.as_ref().is_some_and(|serving| serving.id == pull.session);
        if !is_known {
            let id = pull.session;
            let serving = Serving { id, started, heard_at: now, batch: 0 };
            link.serving = Some(serving);
        }
        let Some(serving) = &mut link.serving else { return };
        serving.heard_at = now;
        if pull.batch <= serving.batch {
            // It came twice, or late.
            return;
        }
        serving.batch = pull.batch;
        link.pages.clear();
        if link.is_reading {
            // One at a time, however often it asks.
            link.next_pull = Some(pull);
            return;
        }
        link.is_reading = true;
        self.read_rows(from, pull);
    }

    fn read_rows(&mut self, from: MemberId, pull: Pull) {
        let id = self.next_id();
        let limit = self.config.batch_rows;
        let (session, batch) = (pull.session, pull.batch);
        self.pending.insert(id, Pending::Serve { peer: from, session, batch });
        let Pull { since, after, is_new, .. } = pull;
        self.work.push_back(Work::Read { id, since, after, limit, is_new });
    }

    pub(super) fn read(&mut self, id: u64, result: Result<Batch, Unread>) {
        let Some(Pending::Serve { peer, session, batch }) = self.pending.remove(&id) else {
            return;
        };
        let stamp = self.unique_id();
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.is_reading = false;
        if let Some(next) = link.next_pull.take() {
            link.is_reading = true;
            return self.read_rows(peer, next);
        }
        if link.serving.as_ref().is_none_or(|serving| serving.id != session) {
            return;
        }
        match result {
            Ok(read) => {
                link.pages = pages(session, batch, stamp, read).map(Message::Page).collect()
            }
            Err(Unread::Gone(collected)) => {
                link.say(Message::Refusal { session, reason: Reason::Gone(collected) });
            }
            Err(Unread::Failed) => link.say(Message::Refusal { session, reason: Reason::Busy }),
        }
    }

    /// A receiver needs no more of its session.
    pub(super) fn done(&mut self, from: MemberId, session: u64) {
        let Some(link) = self.links.get_mut(&from) else { return };
        if link.serving.as_ref().is_some_and(|serving| serving.id == session) {
            link.serving = None;
            link.pages.clear();
        }
    }

    /// Ends sessions that were left.
    pub(super) fn watch_serving(&mut self) {
        let now = self.now.mono;
        for link in self.links.values_mut() {
            if link.serving.as_ref().is_some_and(|serving| now >= timeout(serving)) {
                link.serving = None;
                link.pages.clear();
            }
        }
    }
}

/// A burst, cut into messages.
fn pages(session: u64, batch: u32, stamp: u64, read: Batch) -> impl Iterator<Item = Page> {
    let mut batches: Vec<Vec<Row>> = vec![Vec::new()];
    let mut bytes = 0;
    for row in read.rows {
        bytes += row.weight();
        let current = batches.last_mut().expect("there is always one");
        if bytes > BATCH_BYTES && !current.is_empty() {
            bytes = row.weight();
            batches.push(vec![row]);
        } else {
            current.push(row);
        }
    }
    let last = batches.len() - 1;
    let end = read.next.map_or(End::Round, End::Batch);
    let commit = read.commit;
    let mut head = Some(PageHead { vector: read.vector, collected: read.collected });
    batches.into_iter().enumerate().map(move |(index, rows)| Page {
        session,
        batch,
        stamp,
        commit,
        index: u16::try_from(index).expect("a burst has a few pages"),
        head: head.take(),
        end: if index == last { end } else { End::Page },
        rows,
    })
}
