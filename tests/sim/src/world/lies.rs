//! A member that lies: it reports to another one that it was removed, without the member row that says so.
//!
//! (A member row that a lying member makes up is a row like any other: `SECURITY.md` says so.)

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{
    Dot, FieldNumber, FieldValue, Hlc, JoinedRow, Member, MemberId, NamespaceId, OriginId, Version,
};
use kv_replicate::{Event as CoreEvent, WIRE_VERSION};
use waypost_disk_tests::{hold, violation::Checked};

use super::World;
use crate::{events::Event, store};

/// The kind of the notice of a removal.
const REMOVED: u8 = 13;

/// The flags of a joined row.
const JOINED: u8 = 1 << 5;

/// A row in a notice.
struct Lie {
    dot: Dot,
    key: [u8; 17],
    said: Said,
}

/// The content of the row in a notice.
enum Said {
    /// Fields of a row of the system namespace.
    Fields(JoinedRow),
    /// The value of an entry of a client.
    Value(NamespaceId),
}

impl World {
    /// A member sends a location a notice of its removal that no member row proves. The location must continue, and end
    /// the link.
    pub(super) fn lie(&mut self, node: usize) -> Checked {
        let id = self.nodes[node].member;
        let is_liar = |other: &usize| {
            let peer = self.nodes[*other].member;
            let running = self.nodes[node].running.as_ref();
            let is_linked = running.is_some_and(|it| it.core.peer_state(peer).is_some());
            is_linked && self.end(node, peer) == *other && self.knows(node, peer)
        };
        let liars: Vec<_> = self.others(node).into_iter().filter(is_liar).collect();
        if liars.is_empty() || !self.knows(node, id) {
            return Ok(());
        }
        let liar = *self.rng.pick(&liars);
        let Some(bytes) = self.notice(node, liar) else { return Ok(()) };
        self.count(Event::LieTold);
        self.trace(|| format!("{node}: hears from {liar} that it was removed, which is a lie"));
        let peer = self.nodes[liar].member;
        self.lied_to = Some((node, liar));
        self.tell(node, CoreEvent::Received { from: peer, bytes })?;
        hold!(self.lied_to.is_none(), "{node}: believes {liar}");
        let halted = self.nodes[node].running.as_ref().and_then(|running| running.core.halted());
        hold!(halted.is_none(), "{node}: {liar} stops it by a notice without the row: {halted:?}");
        Ok(())
    }

    /// The bytes of a notice that lies, from one location to another; none if one of them is down.
    fn notice(&mut self, to: usize, from: usize) -> Option<Bytes> {
        let way = self.rng.below(5);
        let id = self.nodes[to].member;
        let running = self.nodes[to].running.as_ref()?;
        let members = store::state(&running.store).members.clone();
        let (own, liar) = (members.get(id)?.clone(), members.get(self.nodes[from].member)?.clone());
        // A member learns the origins of another one from its progress, which names them once they are durable.
        let announced = |node: usize| {
            let running = self.nodes[node].running.as_ref()?;
            store::state(&running.store).origins
        };
        let (own_pair, liars_pair) = (announced(to)?, announced(from)?);
        // The number is one that the victim does not count yet.
        let dot_of = |[origin, _]: [OriginId; 2]| Dot { origin, seq: 1 << 47 };
        let dot = dot_of(liars_pair);
        let left = |member: &Member| vec![member.info(), Member::removal()];
        let about = |member: &Member, dot: Dot, fields: Vec<(FieldNumber, FieldValue)>| {
            let version = Version { hlc: Hlc(1 << 16), origin: dot.origin };
            let row = JoinedRow::written(version, dot.seq, fields).expect("a field");
            Lie { dot, key: Member::key(member.id), said: Said::Fields(row) }
        };
        let lie = match way {
            // The notice of a former version, which has no row.
            0 => None,
            // By the row the receiver is a member.
            1 => Some(about(&own, dot, vec![own.info()])),
            // The row is another member's.
            2 => Some(about(&liar, dot, left(&liar))),
            // The row is an entry of a client.
            3 => Some(Lie { dot, key: Member::key(id), said: Said::Value(NamespaceId([7; 16])) }),
            // The receiver itself has written the row, and does not know of it.
            _ => Some(about(&own, dot_of(own_pair), left(&own))),
        };
        let to = self.nodes[to].running.as_ref()?.incarnation;
        let from = self.nodes[from].running.as_ref()?.incarnation;
        Some(encode((from, to), lie.as_ref()))
    }

    /// A location has closed its link to a member. Returns whether it did because that one lied.
    pub(super) fn closed_for_a_lie(&mut self, node: usize, peer: MemberId) -> bool {
        let lied = self.lied_to.filter(|(to, by)| *to == node && self.nodes[*by].member == peer);
        if lied.is_some() {
            self.lied_to = None;
        }
        lied.is_some()
    }
}

/// A notice of a removal, as `FORMAT.md` describes it.
fn encode((from, to): (u64, u64), lie: Option<&Lie>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16(WIRE_VERSION);
    out.put_u8(REMOVED);
    out.put_u64(from);
    out.put_u64(to);
    if let Some(lie) = lie {
        out.put_slice(&lie.dot.origin.0);
        out.put_u64(lie.dot.seq);
        match &lie.said {
            Said::Fields(row) => {
                out.put_u8(JOINED);
                out.put_u16(17);
                out.put_slice(&lie.key);
                let mut fields = Vec::new();
                row.encode(&mut fields, &|fields, origin| fields.extend_from_slice(&origin.0));
                out.put_slice(&fields);
            }
            Said::Value(namespace) => {
                // A value, without a replaced version, metadata or an expiry.
                out.put_u8(0);
                out.put_u64(1 << 16);
                out.put_slice(&namespace.0);
                out.put_u16(17);
                out.put_slice(&lie.key);
                out.put_u32(4);
                out.put_slice(b"left");
            }
        }
    }
    out.freeze()
}
