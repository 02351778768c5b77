//! The notice of a removal: a removed peer gets its member row, and this location acts on its own row only.
//!
//! A notice does nothing by itself, because one lying member could stop any other with it. It carries the row of its
//! receiver, which says that the receiver was removed. The receiver merges this row as any other one, and stops
//! replicating once the row is durable: then it also knows of its removal after a restart, even if it reaches no member.

use kv_core::{Key, Member, NamespaceId};

use super::{Core, actions::Pending};
use crate::{
    Content, MemberId, Row,
    work::{How, ToApply, Work},
};

impl Core {
    /// A removed peer of this incarnation gets the notice of its removal.
    pub(super) fn answer_removed(&mut self, peer: MemberId, incarnation: u64) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        if !state.handshake.answer_removed(incarnation) {
            return;
        }
        let (id, key) = (self.out.next_id(), key_of(peer));
        let work = Work::ReadRow { id, namespace: NamespaceId::SYSTEM, key };
        self.out.request(id, Pending::Farewell { peer }, work);
    }

    /// The member row of a removed peer was read; none if it can't be read now.
    pub(super) fn farewell_read(&mut self, peer: MemberId, row: Option<Row>) {
        if let Some(state) = self.peers.get_mut(peer) {
            state.handshake.farewell_read(row);
        }
    }

    /// A peer reports that this location was removed. Only a member's report counts, and only for its row.
    pub(super) fn removed(&mut self, from: MemberId, row: Row) {
        if !self.local.is_member(from) {
            return;
        }
        // A removal under this process's own origins, closed or not, is none: a store does not remove its own location.
        let is_own =
            |row: &Row| self.local.origins().is_some_and(|own| own.contains(&row.dot.origin));
        let removal = removal_in(self.local.config().member, row);
        let Some(row) = removal.filter(|row| !is_own(row)) else {
            return self.close(from, "a notice of removal without the row of a removed member");
        };
        let merging = Pending::Removal { peer: from };
        if self.out.is_pending(merging) {
            return;
        }
        self.out.apply(merging, vec![ToApply { row, how: How::Row, fetch: None }]);
    }
}

/// The key of a member's row.
fn key_of(member: MemberId) -> Key {
    Key::new(Member::key(member)).expect("the key of a member has 17 bytes")
}

/// Returns the row of this member under the dot of its removal, if it was removed. The row may have come under the dot
/// of a later field, which is here already.
fn removal_in(member: MemberId, row: Row) -> Option<Row> {
    let is_its = row.namespace == NamespaceId::SYSTEM && row.key == key_of(member);
    let Content::Joined(joined) = &row.content else { return None };
    let removal = joined.get(Member::removal().0).filter(|_| is_its)?;
    let (dot, hlc) = (removal.dot(), removal.version.hlc);
    Some(Row { dot, hlc, ..row })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kv_core::{Hlc, JoinedRow, Version, commit::Applied};

    use super::*;
    use crate::{
        Event, HaltReason, Notice,
        core::testing::{PEER, THIRD, US, config, hello, joining_store, origins, row_of},
        wire::{Incarnations, Message, decode, encode},
        work::{Channel, Now, StoreState},
    };

    const THEIRS: u64 = 22;

    fn store(removed: &[MemberId]) -> StoreState {
        let mut store = StoreState { rebuilding: false, ..joining_store() };
        store.origins = Some(origins(US));
        for origin in origins(US) {
            store.visible.raise(origin, 1);
            store.durable.raise(origin, 1);
        }
        let member = |one: &Member| Member { removed: removed.contains(&one.id), ..one.clone() };
        store.members = Arc::new(store.members.iter().map(member).collect());
        store
    }

    fn happens(core: &mut Core, event: Event) {
        core.handle_event(Now::default(), event);
    }

    fn receives(core: &mut Core, from: MemberId, message: &Message) {
        let own = core.local.config().incarnation;
        let bytes = encode(Incarnations { from: THEIRS, to: own }, message);
        happens(core, Event::Received { from, bytes });
    }

    /// A location that is linked with [`PEER`].
    fn linked(removed: &[MemberId]) -> Core {
        let mut core = Core::new(config(), Now::default(), store(removed));
        happens(&mut core, Event::Connected(PEER));
        receives(&mut core, PEER, &Message::Hello(hello(PEER)));
        while core.poll_work().is_some() {}
        while core.poll_transmit(PEER).is_some() {}
        core
    }

    /// A member row of one write of `writer`.
    fn row_by(writer: MemberId, id: MemberId, removed: bool) -> Row {
        let before = store(&[]).members.get(id).expect("a member").clone();
        let dot = row_of(writer, 7).dot;
        let version = Version { hlc: Hlc(70), origin: dot.origin };
        let fields = [before.info()].into_iter().chain(removed.then(Member::removal));
        let joined = JoinedRow::written(version, dot.seq, fields).expect("a field");
        Row {
            dot,
            hlc: version.hlc,
            prev: None,
            namespace: NamespaceId::SYSTEM,
            key: key_of(id),
            metadata: None,
            expires_at: None,
            content: Content::Joined(Arc::new(joined)),
        }
    }

    /// A member row that [`PEER`] wrote.
    fn member_row(id: MemberId, removed: bool) -> Row {
        row_by(PEER, id, removed)
    }

    fn notice(row: Row) -> Message {
        Message::Removed(Box::new(row))
    }

    fn is_closed(core: &mut Core) -> bool {
        std::iter::from_fn(|| core.poll_event())
            .any(|notice| matches!(notice, Notice::Close { peer: PEER, .. }))
    }

    /// The number of the work that merges a row.
    fn merged(core: &mut Core) -> Option<(u64, Row)> {
        std::iter::from_fn(|| core.poll_work()).find_map(|work| match work {
            Work::Apply { id, mut rows, .. } => rows.pop().map(|one| (id, one.row)),
            _ => None,
        })
    }

    #[test]
    fn a_notice_of_removal_is_merged_and_acts_once_the_row_is_durable() {
        let mut core = linked(&[]);
        let row = member_row(US, true);
        receives(&mut core, PEER, &notice(row.clone()));
        receives(&mut core, PEER, &notice(row.clone()));
        let (id, merged_row) = merged(&mut core).expect("the row is merged");
        assert_eq!((merged_row, merged(&mut core)), (row, None), "it is merged once");
        let results = Some(vec![Applied::Won { concurrent: false }]);
        happens(&mut core, Event::Applied { id, results, visible: store(&[]).visible });
        assert_eq!(core.halted(), None, "a crash would undo what is not durable");
        happens(&mut core, Event::Synced(store(&[US])));
        assert_eq!(core.halted(), Some(HaltReason::Removed));
    }

    #[test]
    fn a_notice_of_removal_whose_row_loses_changes_nothing() {
        let mut core = linked(&[]);
        receives(&mut core, PEER, &notice(member_row(US, true)));
        let (id, _) = merged(&mut core).expect("the row is merged");
        let results = Some(vec![Applied::Lost]);
        happens(&mut core, Event::Applied { id, results, visible: store(&[]).visible });
        happens(&mut core, Event::Synced(store(&[])));
        assert_eq!(core.halted(), None);
        receives(&mut core, PEER, &notice(member_row(US, true)));
        assert!(merged(&mut core).is_some(), "a later notice is merged again");
    }

    #[test]
    fn a_notice_of_removal_without_the_row_of_a_removed_member_ends_that_link_only() {
        let other_key = Row { key: Key::new("k").expect("a key"), ..member_row(US, true) };
        let plain = Row { content: Content::Value("v".into()), ..member_row(US, true) };
        let other_place = Row { namespace: NamespaceId([9; 16]), ..plain.clone() };
        let deleted = Row { content: Content::Deleted, ..member_row(US, true) };
        let lies = [
            member_row(US, false),
            member_row(THIRD, true),
            row_by(US, US, true),
            other_key,
            plain,
            other_place,
            deleted,
        ];
        for lie in lies {
            let mut core = linked(&[]);
            receives(&mut core, PEER, &notice(lie.clone()));
            assert_eq!((core.halted(), merged(&mut core)), (None, None), "{lie:?}");
            assert!(is_closed(&mut core), "{lie:?}");
        }
    }

    #[test]
    fn a_removal_is_merged_under_its_own_dot_whatever_field_is_later() {
        let mut core = linked(&[]);
        let row = member_row(US, true);
        let Content::Joined(removal) = &row.content else { panic!("a joined row") };
        let mut joined = removal.as_ref().clone();
        let later = Version { hlc: Hlc(90), origin: origins(US)[0] };
        let info = store(&[]).members.get(US).expect("a member").info();
        joined.join(&JoinedRow::written(later, 1, [info]).expect("a field"));
        let dot = joined.latest().dot();
        assert_ne!(dot, row.dot);
        let content = Content::Joined(Arc::new(joined));
        receives(&mut core, PEER, &notice(Row { dot, hlc: later.hlc, content, ..row.clone() }));
        let (_, merged_row) = merged(&mut core).expect("the row is merged");
        assert_eq!((merged_row.dot, merged_row.hlc), (row.dot, row.hlc));
    }

    #[test]
    fn a_peer_that_is_not_a_member_can_not_report_a_removal() {
        let mut core = linked(&[PEER]);
        receives(&mut core, PEER, &notice(member_row(US, true)));
        assert_eq!((core.halted(), merged(&mut core)), (None, None));
    }

    #[test]
    fn a_location_whose_row_is_removed_halts_at_its_start() {
        let core = Core::new(config(), Now::default(), store(&[US]));
        assert_eq!((core.halted(), core.is_joined()), (Some(HaltReason::Removed), false));
    }

    #[test]
    fn a_removed_peer_gets_its_member_row() {
        let mut core = Core::new(config(), Now::default(), store(&[PEER]));
        happens(&mut core, Event::Connected(PEER));
        receives(&mut core, PEER, &Message::Hello(hello(PEER)));
        receives(&mut core, PEER, &Message::Behind);
        while core.poll_transmit(PEER).is_some() {}
        let reads: Vec<_> = std::iter::from_fn(|| core.poll_work())
            .filter_map(|work| match work {
                Work::ReadRow { id, namespace, key } => Some((id, namespace, key)),
                _ => None,
            })
            .collect();
        let [(id, namespace, key)] = &reads[..] else { panic!("one read, not {reads:?}") };
        assert_eq!((*namespace, key), (NamespaceId::SYSTEM, &key_of(PEER)));
        let row = member_row(PEER, true);
        happens(&mut core, Event::RowRead { id: *id, row: Some(row.clone()) });
        let sent = core.poll_transmit_on(PEER, Channel::Control).expect("a notice");
        let sent = decode(&sent.bytes, crate::software().wire()).expect("a message");
        assert_eq!((sent.envelope.incarnations.to, sent.message), (THEIRS, notice(row)));
    }
}
