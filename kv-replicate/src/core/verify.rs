//! Verifying that a peer holds the same: the questions, here and there, and what is told of the answers.
//!
//! Whoever verifies has all the state: a question says all, and who is asked keeps nothing but the
//! last question and its answer. Questions have numbers, and only the answer to the last one is taken, so
//! that what is lost is asked again and what comes twice or late is passed over.

use std::{collections::BTreeMap, time::Duration};

use super::Core;
use crate::{
    MemberId,
    inspect::{Answer, Ask},
    verdict::Ending,
    wire::Message,
    work::{Notice, Work},
};

mod judge;
mod run;
mod serve;

use run::{Next, Run, Side, is_answer_to, nothing_compared};
use serve::Served;

/// How long an answer may take before it is asked for again, and how often that is done. A verification
/// asks a lot, and one lost chance ends it: so more often than sessions do, which are begun anew.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_TRIES: u32 = 10;

/// After how many ranges it is told how far it has come.
const TELL_EVERY: u64 = 4;

/// All verifications, those that are asked of this location too.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    running: BTreeMap<MemberId, Running>,
    served: BTreeMap<MemberId, Served>,
}

/// A verification with a peer.
#[derive(Debug)]
struct Running {
    id: u64,
    /// The number of the last question to the peer.
    step: u32,
    run: Run,
    tries: u32,
    waits: Waiting,
}

#[derive(Debug)]
enum Waiting {
    /// For this location's store: the work's number.
    Store(u64),
    /// For the peer.
    Peer {
        ask: Ask,
        is_unsent: bool,
        asked_at: Duration,
        /// It has said that it can't read.
        is_unreadable: bool,
    },
    /// For this time.
    Time(Duration),
}

impl Running {
    /// When it is to be looked at; none if only an answer, or room to send, can move it.
    fn timeout(&self) -> Option<Duration> {
        match &self.waits {
            Waiting::Store(_) | Waiting::Peer { is_unsent: true, .. } => None,
            Waiting::Peer { asked_at, .. } => Some(*asked_at + PATIENCE),
            Waiting::Time(at) => Some(*at),
        }
    }
}

impl Verifications {
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.running.values().filter_map(Running::timeout).min()
    }

    pub(super) fn weight(&self) -> usize {
        let running = self.running.values().map(|running| running.run.weight());
        running.chain(self.served.values().map(Served::weight)).sum()
    }
}

impl Core {
    /// Begins to verify that a peer holds the same. While one with it is under way, that one's verdict
    /// answers both.
    pub(super) fn verify(&mut self, peer: MemberId) {
        if self.verifications.running.contains_key(&peer) {
            return;
        }
        if self.links.get(&peer).is_none_or(|link| link.hello.is_none()) {
            let verdict = nothing_compared(peer, Ending::LinkLost);
            return self.notice(Notice::Verified(verdict));
        }
        let (id, waits) = (self.unique_id(), Waiting::Time(self.now.mono));
        let running = Running { id, step: 0, run: Run::new(peer), tries: 0, waits };
        self.verifications.running.insert(peer, running);
        self.verify_on(peer);
    }

    /// Asks what is to be asked next.
    fn verify_on(&mut self, peer: MemberId) {
        let (now, work_id) = (self.now.mono, self.next_id());
        let Some(running) = self.verifications.running.get_mut(&peer) else { return };
        running.waits = match running.run.next(now) {
            Next::Ask(Side::Ours, ask) => {
                self.work.push_back(Work::Inspect { id: work_id, ask });
                Waiting::Store(work_id)
            }
            Next::Ask(Side::Theirs, ask) => {
                running.step += 1;
                Waiting::Peer { ask, is_unsent: true, asked_at: now, is_unreadable: false }
            }
            Next::Wait(at) => Waiting::Time(at),
            Next::Done => return self.end_verify(peer, Ending::Complete),
        };
    }

    /// The store answered what a verification asked, one of this location or of a peer.
    pub(super) fn inspected(&mut self, id: u64, answer: Option<Answer>) {
        let asks =
            |running: &Running| matches!(running.waits, Waiting::Store(asked) if asked == id);
        let found = self.verifications.running.iter_mut().find(|(_, running)| asks(running));
        let Some((peer, running)) = found else {
            return self.inspected_for_peer(id, answer);
        };
        let peer = *peer;
        if let Some(answer) = answer {
            return self.verify_takes(peer, answer);
        }
        running.tries += 1;
        running.waits = Waiting::Time(self.now.mono + PATIENCE);
        if running.tries > MAX_TRIES {
            self.end_verify(peer, Ending::Unreadable);
        }
    }

    /// A peer answered.
    pub(super) fn answered(&mut self, from: MemberId, id: u64, step: u32, answer: Option<Answer>) {
        let Some(running) = self.verifications.running.get_mut(&from) else { return };
        let Waiting::Peer { ask, is_unreadable, .. } = &mut running.waits else { return };
        if (running.id, running.step) != (id, step) {
            return;
        }
        match answer {
            // It is asked again after a while.
            None => *is_unreadable = true,
            Some(answer) if is_answer_to(ask, &answer) => self.verify_takes(from, answer),
            Some(_) => self.close(from, "it answers what was not asked"),
        }
    }

    fn verify_takes(&mut self, peer: MemberId, answer: Answer) {
        let now = self.now;
        let Some(running) = self.verifications.running.get_mut(&peer) else { return };
        running.tries = 0;
        let before = running.run.ranges;
        running.run.take(answer, now.mono, now.wall_ms);
        let verdict = &running.run.verdict;
        let (rows, differing) = (verdict.rows, verdict.differing);
        let is_time = running.run.ranges != before && running.run.ranges.is_multiple_of(TELL_EVERY);
        let told: Vec<_> = std::iter::from_fn(|| running.run.poll_difference()).collect();
        if is_time {
            self.notice(Notice::Verifying { peer, rows, differing });
        }
        for difference in told {
            self.notice(Notice::Differs(Box::new(difference)));
        }
        self.verify_on(peer);
    }

    /// Asks again what was not answered, and goes on with what has waited.
    pub(super) fn watch_verify(&mut self) {
        let now = self.now.mono;
        let late: Vec<_> = (self.verifications.running.iter())
            .filter(|(_, running)| running.timeout().is_some_and(|at| now >= at))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            let Some(running) = self.verifications.running.get_mut(&peer) else { continue };
            let Waiting::Peer { is_unsent, is_unreadable, .. } = &mut running.waits else {
                self.verify_on(peer);
                continue;
            };
            *is_unsent = true;
            running.tries += 1;
            if running.tries > MAX_TRIES {
                let ending =
                    if *is_unreadable { Ending::PeerUnreadable } else { Ending::PeerSilent };
                self.end_verify(peer, ending);
            }
        }
    }

    /// The verifications with a peer are over: this location's, and what the peer asked.
    pub(super) fn leave_verify(&mut self, peer: MemberId) {
        self.verifications.served.remove(&peer);
        self.end_verify(peer, Ending::LinkLost);
    }

    fn end_verify(&mut self, peer: MemberId, ending: Ending) {
        if let Some(mut running) = self.verifications.running.remove(&peer) {
            running.run.verdict.ending = ending;
            self.notice(Notice::Verified(running.run.verdict));
        }
    }

    /// A question or an answer that waits to go to a peer.
    pub(super) fn next_of_verify(&mut self, peer: MemberId) -> Option<Message> {
        if let Some(answer) = self.next_answer(peer) {
            return Some(answer);
        }
        let now = self.now.mono;
        let running = self.verifications.running.get_mut(&peer)?;
        let Waiting::Peer { ask, is_unsent, asked_at, .. } = &mut running.waits else {
            return None;
        };
        if !std::mem::take(is_unsent) {
            return None;
        }
        *asked_at = now;
        Some(Message::Ask { verify: running.id, step: running.step, ask: ask.clone() })
    }
}
