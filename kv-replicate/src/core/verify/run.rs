//! The walk of a verification over all rows: what to ask next, here or there, and what an answer
//! tells. It knows no messages and no time but what it is told.
//!
//! Range by range, a digest here and one over the same range there. Only where they differ the rows are
//! listed, page by page, and what differs on the lists, which are of two times, is looked at by name.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::judge::{Judgement, judge};
use crate::{
    MemberId,
    inspect::{Answer, Ask, Held, MAX_ASKED_ROWS, Place, Range, RangeDigest, RangeList, Reading},
    verdict::{Difference, Ending, Verdict},
};

/// When a key that is not settled is looked at again, and how often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const MAX_LOOKS: u32 = 5;

/// How many keys wait to be looked at again; more are counted as not settled at once.
const MAX_WAITING: usize = 1024;

/// How many differences are told one by one; all are counted.
pub(super) const MAX_TOLD: u64 = 100;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Theirs,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Ask(Side, Ask),
    Wait(Duration),
    Done,
}

/// What is being found out.
#[derive(Debug)]
enum Goal {
    /// Whether a range is equal: of whom a digest is here.
    Digest { ours: Option<RangeDigest>, theirs: Option<RangeDigest> },
    /// Which rows of a range differ.
    List { theirs: Option<RangeList> },
    /// Whether these rows differ, and how often each was looked at before.
    Rows { looks: Vec<(Place, u32)>, first: Option<Reading>, theirs: Option<Reading> },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Run {
    goal: Option<Goal>,
    /// Where the next range begins; the walk is over if it does not.
    after: Option<Place>,
    is_walked: bool,
    /// What is left of a differing range.
    listing: Option<Range>,
    /// Keys that differed on a list.
    fresh: VecDeque<Place>,
    /// Keys that were not settled: when they are due, and how often they were looked at.
    waiting: VecDeque<(Duration, Place, u32)>,
    told: VecDeque<Difference>,
    /// How many ranges were compared.
    pub(super) ranges: u64,
    pub(super) verdict: Verdict,
}

impl Run {
    pub(super) fn new(peer: MemberId) -> Run {
        Run {
            goal: None,
            after: None,
            is_walked: false,
            listing: None,
            fresh: VecDeque::new(),
            waiting: VecDeque::new(),
            told: VecDeque::new(),
            ranges: 0,
            verdict: nothing_compared(peer, Ending::Complete),
        }
    }

    /// The next difference to be told.
    pub(super) fn poll_difference(&mut self) -> Option<Difference> {
        self.told.pop_front()
    }

    /// About how many bytes it holds.
    pub(super) fn weight(&self) -> usize {
        let goal = match &self.goal {
            Some(Goal::List { theirs: Some(list) }) => list.rows.len() * 192,
            Some(Goal::Rows { looks, .. }) => looks.len() * 1024,
            _ => 0,
        };
        let key = |place: &Place| 64 + place.key.len();
        goal + self.fresh.iter().map(key).sum::<usize>()
            + self.waiting.iter().map(|(_, place, _)| key(place)).sum::<usize>()
            + self.verdict.places.iter().map(key).sum::<usize>()
    }

    pub(super) fn next(&mut self, now: Duration) -> Next {
        if self.goal.is_none() {
            let looks = self.due(now);
            self.goal = if !looks.is_empty() {
                Some(Goal::Rows { looks, first: None, theirs: None })
            } else if self.listing.is_some() {
                Some(Goal::List { theirs: None })
            } else if !self.is_walked {
                Some(Goal::Digest { ours: None, theirs: None })
            } else {
                None
            };
        }
        match (self.need(), self.waiting.front()) {
            (Some((side, ask)), _) => Next::Ask(side, ask),
            (None, Some((due, ..))) => Next::Wait(*due),
            (None, None) => Next::Done,
        }
    }

    /// Keys that are to be looked at now.
    fn due(&mut self, now: Duration) -> Vec<(Place, u32)> {
        let fresh = self.fresh.len().min(MAX_ASKED_ROWS);
        let mut looks: Vec<_> = self.fresh.drain(..fresh).map(|place| (place, 0)).collect();
        while looks.len() < MAX_ASKED_ROWS
            && self.waiting.front().is_some_and(|(due, ..)| *due <= now)
            && let Some((_, place, count)) = self.waiting.pop_front()
        {
            looks.push((place, count));
        }
        looks
    }

    /// What the goal needs next.
    fn need(&self) -> Option<(Side, Ask)> {
        let range = |upto: &Option<Place>| Range { after: self.after.clone(), upto: upto.clone() };
        Some(match self.goal.as_ref()? {
            Goal::Digest { ours: None, theirs } => {
                // If the peer did not go so far, its range is the range.
                let upto = theirs.as_ref().and_then(|theirs| theirs.end.clone());
                (Side::Ours, Ask::Digest(range(&upto)))
            }
            Goal::Digest { ours: Some(ours), .. } => (Side::Theirs, Ask::Digest(range(&ours.end))),
            Goal::List { theirs: None } => (Side::Theirs, Ask::List(self.listing.clone()?)),
            Goal::List { theirs: Some(theirs) } => {
                let after = self.listing.as_ref().and_then(|range| range.after.clone());
                (Side::Ours, Ask::List(Range { after, upto: theirs.end.clone() }))
            }
            Goal::Rows { looks, first, theirs } => {
                let side = match (first, theirs) {
                    (Some(_), None) => Side::Theirs,
                    _ => Side::Ours,
                };
                (side, Ask::Rows(looks.iter().map(|(place, _)| place.clone()).collect()))
            }
        })
    }

    /// Takes the answer to what was asked last.
    pub(super) fn take(&mut self, answer: Answer, now: Duration, wall_ms: u64) {
        match (self.goal.take(), answer) {
            (Some(Goal::Digest { ours, theirs }), Answer::Digest(digest)) => {
                let (ours, theirs) = match ours {
                    None => (digest, theirs),
                    Some(ours) => (ours, Some(digest)),
                };
                self.take_digests(ours, theirs);
            }
            (Some(Goal::List { theirs: None }), Answer::List(list)) => {
                self.goal = Some(Goal::List { theirs: Some(list) });
            }
            (Some(Goal::List { theirs: Some(theirs) }), Answer::List(ours)) => {
                self.compare(ours, theirs);
            }
            (Some(Goal::Rows { looks, first: None, .. }), Answer::Rows(first)) => {
                self.goal = Some(Goal::Rows { looks, first: Some(first), theirs: None });
            }
            (Some(Goal::Rows { looks, first, theirs: None }), Answer::Rows(theirs)) => {
                self.goal = Some(Goal::Rows { looks, first, theirs: Some(theirs) });
            }
            (
                Some(Goal::Rows { looks, first: Some(first), theirs: Some(theirs) }),
                Answer::Rows(last),
            ) => self.judge_all(looks, &[first, theirs, last], now, wall_ms),
            // Who asks sees to it that answers are of the right kind.
            (goal, _) => self.goal = goal,
        }
    }

    fn take_digests(&mut self, ours: RangeDigest, theirs: Option<RangeDigest>) {
        let Some(theirs) = theirs else {
            self.goal = Some(Goal::Digest { ours: Some(ours), theirs: None });
            return;
        };
        if ours.end != theirs.end {
            // One has more rows there. The shorter range is the range, for the other as well.
            let (ours, theirs) = if reaches_past(&ours.end, &theirs.end) {
                (None, Some(theirs))
            } else {
                (Some(ours), None)
            };
            self.goal = Some(Goal::Digest { ours, theirs });
            return;
        }
        self.ranges += 1;
        self.verdict.rows += u64::from(ours.rows);
        self.verdict.damaged[0] += u64::from(ours.damaged);
        self.verdict.damaged[1] += u64::from(theirs.damaged);
        let is_equal = (ours.damaged, theirs.damaged) == (0, 0) && ours.digest == theirs.digest;
        let after = std::mem::replace(&mut self.after, ours.end.clone());
        self.is_walked = ours.end.is_none();
        self.listing = (!is_equal).then_some(Range { after, upto: ours.end });
    }

    /// Compares a page of two lists: ours goes at most as far as theirs.
    fn compare(&mut self, ours: RangeList, theirs: RangeList) {
        let mut rows: BTreeMap<Place, [Option<Held>; 2]> = BTreeMap::new();
        for (place, held) in ours.rows {
            rows.entry(place).or_default()[0] = Some(held);
        }
        for (place, held) in theirs.rows {
            if ours.end.as_ref().is_none_or(|end| place <= *end) {
                rows.entry(place).or_default()[1] = Some(held);
            }
        }
        rows.retain(|_, held| held[0] != held[1] || held[0] == Some(Held::Damaged));
        self.fresh.extend(rows.into_keys());
        self.listing = self.listing.take().filter(|range| range.upto != ours.end);
        if let Some(range) = &mut self.listing {
            range.after = ours.end;
        }
    }

    fn judge_all(
        &mut self,
        looks: Vec<(Place, u32)>,
        [first, theirs, last]: &[Reading; 3],
        now: Duration,
        wall_ms: u64,
    ) {
        for (at, (place, count)) in looks.into_iter().enumerate() {
            match judge(first, theirs, last, at, wall_ms) {
                Judgement::Equal => {}
                Judgement::Differs(ours, theirs) => {
                    self.verdict.differing += 1;
                    if self.verdict.differing <= MAX_TOLD {
                        let peer = self.verdict.peer;
                        self.verdict.places.push(place.clone());
                        self.told.push_back(Difference { peer, place, ours, theirs });
                    }
                }
                Judgement::Unsettled if count < MAX_LOOKS && self.waiting.len() < MAX_WAITING => {
                    self.waiting.push_back((now + LOOK_AGAIN, place, count + 1));
                }
                Judgement::Unsettled => self.verdict.unsettled += 1,
            }
        }
    }
}

/// The verdict of one that ended before it began.
pub(super) fn nothing_compared(peer: MemberId, ending: Ending) -> Verdict {
    let (places, damaged) = (Vec::new(), [0, 0]);
    Verdict { peer, rows: 0, differing: 0, places, unsettled: 0, damaged, ending }
}

/// Whether the end of a range is after another's; none is the end of all.
fn reaches_past(end: &Option<Place>, other: &Option<Place>) -> bool {
    match (end, other) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(end), Some(other)) => end > other,
    }
}

/// Whether an answer is one to what was asked: what a peer says is not believed without.
pub(super) fn is_answer_to(ask: &Ask, answer: &Answer) -> bool {
    let is_within = |range: &Range, end: &Option<Place>| {
        let is_after = end.is_none() || reaches_past(end, &range.after) || range.after.is_none();
        is_after && !reaches_past(end, &range.upto)
    };
    match (ask, answer) {
        (Ask::Digest(range), Answer::Digest(digest)) => is_within(range, &digest.end),
        (Ask::List(range), Answer::List(list)) => {
            let first = list.rows.first().map(|(place, _)| place);
            let last = list.rows.last().map(|(place, _)| place);
            is_within(range, &list.end)
                && first.is_none_or(|first| range.after.as_ref().is_none_or(|at| first > at))
                && last.is_none_or(|last| list.end.as_ref().is_none_or(|end| last <= end))
        }
        (Ask::Rows(places), Answer::Rows(reading)) => places.len() == reading.rows.len(),
        _ => false,
    }
}
