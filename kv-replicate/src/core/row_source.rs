//! Serves rows by name.

use std::collections::BTreeMap;

use super::actions::Context;
use crate::{KeyState, MemberId, inspect::Place, wire::Message, work::Work};

/// The requests of one peer.
#[derive(Debug, Default)]
struct Requests {
    /// The number of the work that reads for the peer now, and of its request.
    reading: Option<(u64, u64)>,
    /// The request that is read next. A later one replaces it.
    waiting: Option<(u64, Vec<Place>)>,
    /// The answer that waits to be sent.
    answer: Option<Message>,
}

impl Requests {
    /// Requests the rows that the peer waits for from the store, unless others are being read.
    fn read(&mut self, cx: &mut Context<'_>) {
        if self.reading.is_none()
            && let Some((request, names)) = self.waiting.take()
        {
            let id = cx.out.next_id();
            self.reading = Some((id, request));
            cx.out.work(Work::ReadRows { id, names });
        }
    }
}

/// The requests of all peers for rows by name.
#[derive(Debug, Default)]
pub(super) struct RowSource {
    /// The requests by peer.
    peers: BTreeMap<MemberId, Requests>,
}

impl RowSource {
    /// A peer requests rows.
    pub(super) fn get(&mut self, cx: &mut Context<'_>, from: MemberId, id: u64, names: Vec<Place>) {
        if cx.local.is_served(from) && cx.peers.contains(from) && !names.is_empty() {
            let requests = self.peers.entry(from).or_default();
            requests.waiting = Some((id, names));
            requests.read(cx);
        }
    }

    /// Rows were read for a peer; none if the disk can't be read now. The peer repeats its request then.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, work: u64, rows: Option<Vec<KeyState>>) {
        for requests in self.peers.values_mut() {
            if let Some((_, id)) = requests.reading.take_if(|(reading, _)| *reading == work) {
                requests.answer = rows.map(|rows| Message::Rows { id, rows });
                return requests.read(cx);
            }
        }
    }

    /// The next answer for a peer.
    pub(super) fn next(&mut self, peer: MemberId) -> Option<Message> {
        self.peers.get_mut(&peer)?.answer.take()
    }

    /// The link to a peer has ended.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        self.peers.remove(&peer);
    }

    /// About how many bytes the requests and the answers take.
    pub(super) fn memory_bytes(&self) -> usize {
        let of_peer = |requests: &Requests| {
            let names = requests.waiting.as_ref().map_or(0, |(_, names)| names.len() * 640);
            names + requests.answer.as_ref().map_or(0, super::weight::of_message)
        };
        self.peers.values().map(of_peer).sum()
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Key, NamespaceId};

    use super::*;
    use crate::core::testing::{Fixture, PEER};

    #[test]
    fn one_request_of_a_peer_is_read_at_a_time_and_the_last_of_those_that_wait_counts() {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        let mut source = RowSource::default();
        let name = || Place { namespace: NamespaceId([9; 16]), key: Key::new("k").unwrap() };
        for id in [1, 2, 3] {
            source.get(&mut fixture.context(), PEER, id, vec![name()]);
        }
        let mut answered = Vec::new();
        while let Some(Work::ReadRows { id, .. }) = fixture.poll_work() {
            assert!(fixture.poll_work().is_none());
            let rows = Some(vec![KeyState::default()]);
            source.read(&mut fixture.context(), id, rows);
            answered.extend(source.next(PEER));
        }
        let answer = |id| Message::Rows { id, rows: vec![KeyState::default()] };
        assert_eq!(answered, [answer(1), answer(3)]);
    }
}
