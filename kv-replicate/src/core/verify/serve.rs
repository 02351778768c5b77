//! What a peer that verifies asks of this location.

use super::Core;
use crate::{
    MemberId,
    inspect::{Answer, Ask},
    wire::Message,
    work::Work,
};

/// A question's name: the verification and the number in it.
type Name = (u64, u32);

/// What a peer asks: one question at a time is read, and of those that wait the last counts, for a peer
/// that asks anew waits for no earlier answer.
#[derive(Debug, Default)]
pub(super) struct Served {
    asked: Option<(Name, Ask)>,
    /// The work that reads the answer, and to what.
    reading: Option<(u64, Name)>,
    answer: Option<(Name, Option<Answer>)>,
}

impl Served {
    pub(super) fn weight(&self) -> usize {
        let answer = match &self.answer {
            Some((_, Some(Answer::List(list)))) => list.rows.len() * 192,
            Some((_, Some(Answer::Rows(reading)))) => reading.rows.len() * 128,
            _ => 0,
        };
        let asked = match &self.asked {
            Some((_, Ask::Rows(places))) => places.len() * 640,
            _ => 0,
        };
        answer + asked
    }

    fn is_under_way(&self, name: Name) -> bool {
        self.reading.is_some_and(|(_, reading)| reading == name)
            || self.answer.as_ref().is_some_and(|(answered, _)| *answered == name)
    }
}

impl Core {
    pub(in crate::core) fn asked(&mut self, from: MemberId, verify: u64, step: u32, ask: Ask) {
        let served = self.verifications.served.entry(from).or_default();
        let name = (verify, step);
        if !served.is_under_way(name) {
            served.asked = Some((name, ask));
            self.read_answer(from);
        }
    }

    /// Asks the store for the answer that a peer waits for, unless it reads one.
    fn read_answer(&mut self, peer: MemberId) {
        let id = self.next_id();
        let Some(served) = self.verifications.served.get_mut(&peer) else { return };
        if served.reading.is_none()
            && let Some((name, ask)) = served.asked.take()
        {
            served.reading = Some((id, name));
            self.work.push_back(Work::Inspect { id, ask });
        }
    }

    pub(super) fn inspected_for_peer(&mut self, id: u64, answer: Option<Answer>) {
        let reads = |served: &Served| served.reading.is_some_and(|(reading, _)| reading == id);
        let found = self.verifications.served.iter_mut().find(|(_, served)| reads(served));
        let Some((peer, served)) = found else { return };
        let peer = *peer;
        if let Some((_, name)) = served.reading.take() {
            served.answer = Some((name, answer));
        }
        self.read_answer(peer);
    }

    pub(super) fn next_answer(&mut self, peer: MemberId) -> Option<Message> {
        let ((verify, step), answer) = self.verifications.served.get_mut(&peer)?.answer.take()?;
        Some(Message::Answer { verify, step, answer })
    }
}
