//! Sends this store's new writes to the peers that follow them, from a backlog in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv_core::{Dot, OriginId};

use super::{actions::Context, backlog::Backlog, local::Local};
use crate::{
    MemberId, Row,
    notice::Notice,
    wire::{Message, Want, encode_row},
};

/// The most rows in a message.
const MAX_ROWS: usize = 512;

/// The place of a peer in the backlog of an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cursor {
    /// The peer catches up in a session.
    #[default]
    Behind,
    /// The next sequence number to be sent.
    At(u64),
}

/// The backlogs of the two origins, and the place of each peer in them.
#[derive(Debug)]
pub(super) struct LiveSender {
    /// The backlogs of the two origins of this process, each with its origin; none before they are opened.
    backlogs: Option<[(OriginId, Backlog); 2]>,
    /// The places of each peer in the two backlogs. A peer without an entry does not follow.
    cursors: BTreeMap<MemberId, [Cursor; 2]>,
}

impl LiveSender {
    /// Creates empty backlogs that begin behind the durable writes.
    pub(super) fn new(local: &Local) -> LiveSender {
        let backlog = |origin| {
            let last = local.durable().get(origin);
            (origin, Backlog::new(last, local.config().backlog_bytes))
        };
        let backlogs = local.origins().map(|pair| pair.map(backlog));
        LiveSender { backlogs, cursors: BTreeMap::new() }
    }

    /// Takes in the origins of this process, if it writes under others than before. Their first writes follow.
    /// Each peer that is served gets them without a request. Returns whether there are others.
    pub(super) fn follow_origins(&mut self, cx: &mut Context<'_>) -> bool {
        let pair = cx.local.origins();
        if self.origins() == pair {
            return false;
        }
        let capacity = cx.local.config().backlog_bytes;
        let backlog = |origin| (origin, Backlog::new(0, capacity));
        self.backlogs = pair.map(|pair| pair.map(backlog));
        let greeted = cx.peers.iter().filter(|(peer, state)| {
            pair.is_some() && state.hello().is_some() && cx.local.is_served(*peer)
        });
        self.cursors = greeted.map(|(peer, _)| (peer, [Cursor::At(1); 2])).collect();
        true
    }

    /// The origins of the backlogs.
    fn origins(&self) -> Option<[OriginId; 2]> {
        self.backlogs.as_ref().map(|[(small, _), (large, _)]| [*small, *large])
    }

    /// The store has made these writes durable.
    pub(super) fn wrote(&mut self, rows: &[Row]) {
        for row in rows {
            let mut backlogs = self.backlogs.iter_mut().flatten();
            if let Some((_, backlog)) = backlogs.find(|(origin, _)| *origin == row.dot.origin) {
                backlog.push(row.dot.seq, encode_row(row));
            }
        }
    }

    /// A peer wants the writes behind these sequence numbers. It is ignored if it does not know the origins of this
    /// process yet: it repeats the request.
    pub(super) fn follow(&mut self, cx: &mut Context<'_>, from: MemberId, want: Want) {
        let Want { origins, numbers } = want;
        if !cx.local.is_served(from) || !cx.peers.contains(from) {
            return;
        }
        let Some(backlogs) = self.backlogs.as_ref().filter(|_| self.origins() == Some(origins))
        else {
            return;
        };
        let mut cursors = [Cursor::Behind; 2];
        for ((cursor, (_, backlog)), number) in cursors.iter_mut().zip(backlogs).zip(numbers) {
            if let Some(next) = number.checked_add(1).filter(|next| backlog.reaches(*next)) {
                *cursor = Cursor::At(next);
            }
        }
        self.cursors.insert(from, cursors);
        if cursors.contains(&Cursor::Behind) {
            report_behind(cx, from);
        }
    }

    /// The next live message to a peer, if it follows: the first write, and the rows.
    pub(super) fn next(
        &mut self,
        cx: &mut Context<'_>,
        peer: MemberId,
    ) -> Option<(Dot, Vec<Bytes>)> {
        let cursors = self.cursors.get_mut(&peer)?;
        for (cursor, (origin, backlog)) in cursors.iter_mut().zip(self.backlogs.iter().flatten()) {
            let Cursor::At(seq) = *cursor else { continue };
            if !backlog.reaches(seq) {
                *cursor = Cursor::Behind;
                if cx.out.can_send(peer) {
                    report_behind(cx, peer);
                }
                continue;
            }
            let rows = backlog.batch(seq, MAX_ROWS);
            if !rows.is_empty() {
                *cursor = Cursor::At(seq + rows.len() as u64);
                return Some((Dot { origin: *origin, seq }, rows));
            }
        }
        None
    }

    /// A link is down: on the next one, the peer requests again where to begin.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        self.cursors.remove(&peer);
    }

    /// How many bytes the backlogs take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.backlogs.iter().flatten().map(|(_, backlog)| backlog.bytes()).sum()
    }
}

/// A peer wants what the backlog no longer has. What it still has is sent all the same.
fn report_behind(cx: &mut Context<'_>, peer: MemberId) {
    cx.out.send(peer, Message::Behind);
    cx.out.notice(Notice::BacklogLost(peer));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, US, origins, row_of};

    fn want(numbers: [u64; 2]) -> Want {
        Want { origins: origins(US), numbers }
    }

    fn sender(fixture: &Fixture) -> LiveSender {
        let mut sender = LiveSender::new(fixture.local());
        sender.wrote(&[1, 2, 3].map(|seq| row_of(US, seq)));
        sender
    }

    #[test]
    fn a_peer_gets_each_write_once_from_where_it_wants_them() {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        let mut sender = sender(&fixture);
        assert!(sender.next(&mut fixture.context(), PEER).is_none(), "it does not follow");
        sender.follow(&mut fixture.context(), PEER, want([1, 0]));
        let (first, rows) = sender.next(&mut fixture.context(), PEER).unwrap();
        assert_eq!((first, rows.len()), (Dot { origin: origins(US)[0], seq: 2 }, 2));
        assert!(sender.next(&mut fixture.context(), PEER).is_none());
        sender.wrote(&[row_of(US, 4)]);
        assert_eq!(sender.next(&mut fixture.context(), PEER).unwrap().0.seq, 4);
    }

    #[test]
    fn a_peer_behind_the_backlog_learns_that_it_must_catch_up() {
        let mut fixture = Fixture::new();
        fixture.store(|store| store.durable.raise(origins(US)[0], 10));
        fixture.connect(PEER);
        let mut sender = LiveSender::new(fixture.local());
        sender.follow(&mut fixture.context(), PEER, want([4, 0]));
        assert_eq!(fixture.sent(PEER), [Message::Behind]);
        assert!(sender.next(&mut fixture.context(), PEER).is_none());
    }

    #[test]
    fn the_first_writes_of_a_new_pair_go_to_all_members_without_a_request() {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        let mut sender = sender(&fixture);
        let pair = [OriginId([41; 16]), OriginId([42; 16])];
        fixture.store(|store| store.origins = Some(pair));
        sender.follow_origins(&mut fixture.context());
        let [first, second] =
            [1, 2].map(|seq| Row { dot: Dot { origin: pair[0], seq }, ..row_of(US, seq) });
        sender.wrote(&[first, second]);
        let (first, rows) = sender.next(&mut fixture.context(), PEER).unwrap();
        assert_eq!((first, rows.len()), (Dot { origin: pair[0], seq: 1 }, 2));
        sender.follow(&mut fixture.context(), PEER, want([0, 0]));
        assert!(sender.next(&mut fixture.context(), PEER).is_none(), "it wants a former pair");
    }

    #[test]
    fn a_peer_that_is_not_a_member_gets_nothing() {
        let mut fixture = Fixture::new();
        let outsider = MemberId([77; 16]);
        fixture.connect(outsider);
        let mut sender = sender(&fixture);
        sender.follow(&mut fixture.context(), outsider, want([0, 0]));
        assert!(sender.next(&mut fixture.context(), outsider).is_none());
    }
}
