//! Verifies that a peer holds the same: the questions, here and there, and the report of the answers.
//!
//! The verifying location has all the state: a question names everything it needs, and the location that
//! answers keeps nothing but the last question and its answer. Questions are numbered, and only the answer
//! to the last one is taken, so that a lost one is repeated and a late or repeated one is ignored.

use std::{collections::BTreeMap, time::Duration};

use super::actions::Context;
use crate::{
    MemberId,
    inspect::{Answer, Ask},
    notice::Notice,
    verdict::{Ending, Verdict, Verification, Waits},
    wire::Message,
    work::Work,
};

mod comparison;
mod judge;
mod only_here;
mod served;

pub(super) use comparison::Purpose;

use comparison::{Comparison, Next, Side, is_answer_to, nothing_compared};
use only_here::{Absence, OnlyHere, RowHere};
use served::Served;

/// How long an answer may take before the question is repeated, and how often that is done. A verification
/// asks many questions, and ends if one of them is given up: so it is more patient than a session, which
/// is begun again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a question is repeated before the verification ends.
const MAX_TRIES: u32 = 10;

/// After how many ranges the progress is reported.
const REPORT_EVERY: u64 = 4;

/// A verification with a peer.
#[derive(Debug)]
struct Running {
    /// The number of the verification, which its questions and answers name.
    id: u64,
    /// The number of the last question to the peer.
    step: u32,
    /// The walk over all rows.
    comparison: Comparison,
    /// How often the current question was repeated, or the store could not answer it.
    tries: u32,
    /// The event that the walk waits for.
    waiting: Waiting,
    /// When it began.
    began: Duration,
}

/// The event that a verification waits for.
#[derive(Debug)]
enum Waiting {
    /// The store of this location, to do this work.
    Store(u64),
    /// The peer, to answer this question.
    Peer { ask: Ask, sent: Sent, peer_is: PeerIs },
    /// This time.
    Until(Duration),
}

/// Whether a question was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// It waits for room on the link.
    NotYet,
    /// It was sent at this time; the answer is due `PATIENCE` later.
    At(Duration),
}

/// The state of a peer that has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerIs {
    /// It has sent no answer.
    Silent,
    /// It has reported that it can't read its disk.
    Unreadable,
}

impl PeerIs {
    /// The ending of a verification that gives this peer up.
    fn ending(self) -> Ending {
        match self {
            PeerIs::Silent => Ending::PeerSilent,
            PeerIs::Unreadable => Ending::PeerUnreadable,
        }
    }
}

impl Running {
    /// How far it is.
    fn progress(&self, now: Duration) -> Verification {
        let Verdict { rows, differing, .. } = *self.comparison.verdict();
        let unsettled = self.comparison.unsettled();
        let waits = match self.waiting {
            Waiting::Store(_) => Waits::Store,
            Waiting::Peer { peer_is: PeerIs::Unreadable, .. } => Waits::PeerUnreadable,
            Waiting::Peer { sent: Sent::NotYet, .. } if self.tries == 0 => Waits::Link,
            Waiting::Peer { sent, .. } => {
                let last = match sent {
                    Sent::At(at) => now.saturating_sub(at),
                    Sent::NotYet => Duration::ZERO,
                };
                Waits::Peer(PATIENCE * self.tries + last)
            }
            // A store that can't be read is asked again.
            Waiting::Until(_) if self.tries > 0 => Waits::Store,
            Waiting::Until(_) => Waits::Unsettled,
        };
        let lasting = now.saturating_sub(self.began);
        Verification { rows, differing, unsettled, lasting, waits }
    }

    /// When it is due; none if only an answer, or room to send, can move it.
    fn timeout(&self) -> Option<Duration> {
        match &self.waiting {
            Waiting::Store(_) | Waiting::Peer { sent: Sent::NotYet, .. } => None,
            Waiting::Peer { sent: Sent::At(at), .. } => Some(*at + PATIENCE),
            Waiting::Until(at) => Some(*at),
        }
    }
}

/// All verifications, those that peers run included.
#[derive(Debug, Default)]
pub(super) struct Verifier {
    /// The verifications that this location runs, by peer. At most one for each.
    running: BTreeMap<MemberId, Running>,
    /// The questions of peers that verify.
    served: BTreeMap<MemberId, Served>,
    /// What its comparisons look for.
    purpose: Purpose,
    /// The result of the last comparison for a rebuild, until it is taken.
    compared: Option<Verdict>,
}

impl Verifier {
    /// Compares for the rebuild of the store.
    pub(super) fn for_rebuild() -> Verifier {
        Verifier { purpose: Purpose::Rebuild, ..Verifier::default() }
    }

    /// Takes the result of a comparison for a rebuild that has ended.
    pub(super) fn take_compared(&mut self) -> Option<Verdict> {
        self.compared.take()
    }

    /// Begins to verify that a peer holds the same. While a verification with it is under way, that one's
    /// verdict answers both.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        if self.running.contains_key(&peer) {
            return;
        }
        if cx.peers.get(peer).is_none_or(|state| state.hello().is_none()) {
            let verdict = nothing_compared(peer, Ending::LinkLost);
            return self.report(cx, verdict);
        }
        let (id, began) = (cx.out.unique_id(), cx.local.mono());
        let (comparison, waiting) = (Comparison::new(peer, self.purpose), Waiting::Until(began));
        let running = Running { id, step: 0, comparison, tries: 0, waiting, began };
        self.running.insert(peer, running);
        self.proceed(cx, peer);
    }

    /// How far the verification with a peer is; none if there is none.
    pub(super) fn progress(&self, now: Duration, peer: MemberId) -> Option<Verification> {
        self.running.get(&peer).map(|running| running.progress(now))
    }

    /// Asks the next question.
    fn proceed(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let (now, work_id) = (cx.local.mono(), cx.out.next_id());
        let Some(running) = self.running.get_mut(&peer) else { return };
        running.waiting = match running.comparison.next(now) {
            Next::Ask(Side::Ours, ask) => {
                cx.out.work(Work::Inspect { id: work_id, ask });
                Waiting::Store(work_id)
            }
            Next::Ask(Side::Theirs, ask) => {
                running.step += 1;
                cx.out.wake(peer);
                Waiting::Peer { ask, sent: Sent::NotYet, peer_is: PeerIs::Silent }
            }
            Next::Wait(at) => Waiting::Until(at),
            Next::Done => return self.end(cx, peer, Ending::Complete),
        };
    }

    /// Whether the answer to this work is for a comparison of this location.
    pub(super) fn awaits(&self, id: u64) -> bool {
        let mut all = self.running.values();
        all.any(|running| matches!(running.waiting, Waiting::Store(asked) if asked == id))
    }

    /// The store answered a question of this location or of a peer; none if it can't read.
    pub(super) fn inspected(&mut self, cx: &mut Context<'_>, id: u64, answer: Option<Answer>) {
        let is_asked =
            |running: &Running| matches!(running.waiting, Waiting::Store(asked) if asked == id);
        let found = self.running.iter_mut().find(|(_, running)| is_asked(running));
        let Some((peer, running)) = found else {
            return served::inspected(&mut self.served, cx, id, answer);
        };
        let peer = *peer;
        if let Some(answer) = answer {
            return self.take(cx, peer, answer);
        }
        running.tries += 1;
        running.waiting = Waiting::Until(cx.local.mono() + PATIENCE);
        if running.tries > MAX_TRIES {
            self.end(cx, peer, Ending::Unreadable);
        }
    }

    /// A peer asks a question.
    pub(super) fn asked(
        &mut self,
        cx: &mut Context<'_>,
        from: MemberId,
        (verify, step): (u64, u32),
        ask: Ask,
    ) {
        if cx.local.is_served(from) {
            let served = self.served.entry(from).or_default();
            served.ask(cx, (verify, step), ask);
        }
    }

    /// A peer answered a question; none if it can't read.
    pub(super) fn answered(
        &mut self,
        cx: &mut Context<'_>,
        from: MemberId,
        name: (u64, u32),
        answer: Option<Answer>,
    ) {
        let Some(running) = self.running.get_mut(&from) else { return };
        if (running.id, running.step) != name {
            return;
        }
        let Waiting::Peer { ask, peer_is, .. } = &mut running.waiting else { return };
        match answer {
            // The question is repeated after a while.
            None => *peer_is = PeerIs::Unreadable,
            Some(answer) if is_answer_to(ask, &answer) => self.take(cx, from, answer),
            Some(_) => cx.out.close(from, "the peer's answer does not fit the question"),
        }
    }

    /// Takes a valid answer, reports what follows from it, and proceeds.
    fn take(&mut self, cx: &mut Context<'_>, peer: MemberId, answer: Answer) {
        let (now, wall_ms) = (cx.local.mono(), cx.local.wall_ms());
        let Some(running) = self.running.get_mut(&peer) else { return };
        running.tries = 0;
        let comparison = &mut running.comparison;
        let before = comparison.ranges();
        comparison.take(answer, now, wall_ms);
        drop_only_here(cx, comparison);
        let ranges = comparison.ranges();
        if self.purpose == Purpose::Verify
            && ranges != before
            && ranges.is_multiple_of(REPORT_EVERY)
        {
            let Verdict { rows, differing, .. } = *comparison.verdict();
            cx.out.notice(Notice::Verifying { peer, rows, differing });
        }
        while let Some(difference) = comparison.poll_difference() {
            cx.out.notice(Notice::Differs(Box::new(difference)));
        }
        self.proceed(cx, peer);
    }

    /// Repeats the questions that were not answered, and continues what has waited.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        let now = cx.local.mono();
        let is_late = |running: &Running| running.timeout().is_some_and(|at| now >= at);
        let late = self.running.iter().filter(|(_, running)| is_late(running));
        for peer in late.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            let Some(running) = self.running.get_mut(&peer) else { continue };
            let Waiting::Peer { sent, peer_is, .. } = &mut running.waiting else {
                self.proceed(cx, peer);
                continue;
            };
            *sent = Sent::NotYet;
            cx.out.wake(peer);
            let ending = peer_is.ending();
            running.tries += 1;
            if running.tries > MAX_TRIES {
                self.end(cx, peer, ending);
            }
        }
    }

    /// The link to a peer is down: its verification is over, and its questions are forgotten.
    pub(super) fn disconnect(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        self.served.remove(&peer);
        self.end(cx, peer, Ending::LinkLost);
    }

    /// Ends a verification and reports its verdict.
    fn end(&mut self, cx: &mut Context<'_>, peer: MemberId, ending: Ending) {
        if let Some(running) = self.running.remove(&peer) {
            let verdict = running.comparison.end(ending);
            self.report(cx, verdict);
        }
    }

    /// Reports a verdict to the owner, or keeps it for the rebuild.
    fn report(&mut self, cx: &mut Context<'_>, verdict: Verdict) {
        match self.purpose {
            Purpose::Verify => cx.out.notice(Notice::Verified(verdict)),
            Purpose::Rebuild => self.compared = Some(verdict),
        }
    }

    /// The next question or answer to a peer. A question counts as sent then.
    pub(super) fn next(&mut self, cx: &Context<'_>, peer: MemberId) -> Option<Message> {
        if let Some(answer) = self.served.get_mut(&peer).and_then(Served::next) {
            return Some(answer);
        }
        let running = self.running.get_mut(&peer)?;
        let Waiting::Peer { ask, sent: sent @ Sent::NotYet, .. } = &mut running.waiting else {
            return None;
        };
        *sent = Sent::At(cx.local.mono());
        Some(Message::Ask { verify: running.id, step: running.step, ask: ask.clone() })
    }

    /// When the first verification is due.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.running.values().filter_map(Running::timeout).min()
    }

    /// About how many bytes the verifications take.
    pub(super) fn memory_bytes(&self) -> usize {
        let running = self.running.values().map(|running| running.comparison.memory_bytes());
        running.chain(self.served.values().map(Served::memory_bytes)).sum()
    }
}

/// Drops the rows of a rebuild that its source counts and does not have. A row that it does not count is a write that
/// did not arrive there. It stays, unless the source may have collected the tombstone of a later deletion: that one is
/// handed to the owner, and then dropped too.
fn drop_only_here(cx: &mut Context<'_>, comparison: &mut Comparison) {
    let (mut deleted, mut unknown) = (Vec::new(), Vec::new());
    let OnlyHere { rows, vector, collected, collected_upto } = comparison.take_only_here();
    for RowHere { place, dot, there } in rows {
        match there {
            Absence::Deleted => deleted.push((place, dot)),
            Absence::Unknown => unknown.push((place, dot)),
            Absence::NotArrived => {}
            Absence::Replaced => comparison.lacks_later(),
        }
    }
    comparison.dropped(deleted.len() + unknown.len());
    let resolved_by_most = cx.peers.resolved_by_most(cx.local);
    cx.out.drop_deleted(deleted, collected, (collected_upto, resolved_by_most));
    cx.out.salvage(unknown, vector);
}
