//! Answers the questions of peers that verify.

use std::collections::BTreeMap;

use crate::{
    MemberId,
    core::actions::Context,
    inspect::{Answer, Ask},
    wire::Message,
    work::Work,
};

/// The name of a question: its verification and its number there.
type Name = (u64, u32);

/// The questions of one peer. One at a time is read, and of those that wait the last counts, because a
/// peer that repeats a question waits for no earlier answer.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// The last question that waits; a newer one replaces it.
    waiting: Option<(Name, Ask)>,
    /// The work that reads an answer, and the question.
    reading: Option<(u64, Name)>,
    /// The answer that waits to be sent; the inner one is none if the disk cannot be read.
    answer: Option<(Name, Option<Answer>)>,
}

impl Served {
    /// The peer asks a question.
    pub(super) fn ask(&mut self, cx: &mut Context<'_>, name: Name, ask: Ask) {
        let is_read = self.reading.is_some_and(|(_, reading)| reading == name);
        let is_answered = self.answer.as_ref().is_some_and(|(answered, _)| *answered == name);
        if !is_read && !is_answered {
            self.waiting = Some((name, ask));
            self.read(cx);
        }
    }

    /// Requests the answer that the peer waits for from the store, unless one is being read.
    fn read(&mut self, cx: &mut Context<'_>) {
        let id = cx.out.next_id();
        if self.reading.is_none()
            && let Some((name, ask)) = self.waiting.take()
        {
            self.reading = Some((id, name));
            cx.out.work(Work::Inspect { id, ask });
        }
    }

    /// The next answer to the peer.
    pub(super) fn next(&mut self) -> Option<Message> {
        let ((verify, step), answer) = self.answer.take()?;
        Some(Message::Answer { verify, step, answer })
    }

    /// About how many bytes the question and the answer take.
    pub(super) fn memory_bytes(&self) -> usize {
        let answer = match &self.answer {
            Some((_, Some(Answer::List(list)))) => list.rows.len() * 192,
            Some((_, Some(Answer::Rows(reading)))) => reading.rows.len() * 128,
            _ => 0,
        };
        let waiting = match &self.waiting {
            Some((_, Ask::Rows(places))) => places.len() * 640,
            _ => 0,
        };
        answer + waiting
    }
}

/// The store answered the question of a peer.
pub(super) fn inspected(
    served: &mut BTreeMap<MemberId, Served>,
    cx: &mut Context<'_>,
    id: u64,
    answer: Option<Answer>,
) {
    for served in served.values_mut() {
        if let Some((_, name)) = served.reading.take_if(|(reading, _)| *reading == id) {
            served.answer = Some((name, answer));
            return served.read(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::testing::{Fixture, PEER},
        inspect::Range,
    };

    #[test]
    fn one_question_is_read_at_a_time_and_the_last_of_those_that_wait_counts() {
        let mut fixture = Fixture::new();
        let mut all = BTreeMap::from([(PEER, Served::default())]);
        for step in [1, 1, 2, 3] {
            let served = all.get_mut(&PEER).unwrap();
            served.ask(
                &mut fixture.context(),
                (7, step),
                Ask::List(Range { after: None, upto: None }),
            );
        }
        let mut answered = Vec::new();
        while let Some(Work::Inspect { id, .. }) = fixture.poll_work() {
            assert!(fixture.poll_work().is_none());
            inspected(&mut all, &mut fixture.context(), id, None);
            answered.push(all.get_mut(&PEER).unwrap().next());
        }
        let answer = |step| Some(Message::Answer { verify: 7, step, answer: None });
        assert_eq!(answered, [answer(1), answer(3)]);
    }
}
