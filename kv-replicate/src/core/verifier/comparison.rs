//! The walk of a verification over all rows: the next question, here or there, and what follows from an
//! answer. It knows neither messages nor clocks.
//!
//! It compares range by range, by a digest here and one over the same range there. Only where they differ
//! it lists the rows, page by page. The lists are of two points in time, so it reads the keys that differ
//! on them by name.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    judge::{Judgement, judge},
    only_here::OnlyHere,
};
use crate::{
    MemberId,
    inspect::{Answer, Ask, Held, MAX_ASKED_ROWS, Place, Range, RangeDigest, RangeList, Reading},
    verdict::{Difference, Ending, Reason, Unsettled, Verdict},
};

/// When an unsettled key is read again, and how often.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// How often an unsettled key is read again before it counts as unsettled in the verdict.
const MAX_READS: u32 = 5;

/// How many keys may wait to be read again; more are counted as unsettled at once.
const MAX_WAITING: usize = 1024;

/// How many differences are reported one by one; all are counted.
const MAX_REPORTED: u64 = 100;

/// What a comparison looks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) enum Purpose {
    /// Rows that differ although they must not.
    #[default]
    Verify,
    /// Rows here that the peer does not have.
    Rebuild,
}

/// The store that a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The store of this location.
    Ours,
    /// The store of the peer.
    Theirs,
}

/// The next need of a verification.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask this question of the store on that side.
    Ask(Side, Ask),
    /// Call again at this time: unsettled keys are read then.
    Wait(Duration),
    /// Everything was compared.
    Done,
}

/// The question that the walk answers now.
#[derive(Debug)]
enum Goal {
    /// Whether a range is equal, by the digests of both sides.
    Digest { ours: Option<RangeDigest>, theirs: Option<RangeDigest> },
    /// Which rows of a range differ.
    List { theirs: Option<RangeList> },
    /// Whether these rows differ. Each has the number of its earlier readings.
    Rows { reads: Vec<(Place, u32)>, first: Option<Reading>, theirs: Option<Reading> },
}

/// A place in the walk over all ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    /// Before the first row.
    Start,
    /// Behind this row.
    After(Place),
    /// Behind the last row: all ranges were compared.
    End,
}

impl Position {
    /// The row that the next range begins behind; none at the start.
    fn after(&self) -> Option<Place> {
        match self {
            Position::After(place) => Some(place.clone()),
            Position::Start | Position::End => None,
        }
    }
}

/// A key that is read again.
#[derive(Debug)]
struct Again {
    /// When.
    due: Duration,
    /// The key.
    place: Place,
    /// How often it was read.
    count: u32,
    /// Why it could not be compared.
    reason: Reason,
}

/// A comparison of two stores: see the module.
#[derive(Debug)]
pub(super) struct Comparison {
    /// The current goal; none between two goals.
    goal: Option<Goal>,
    /// Where the next range begins.
    position: Position,
    /// The rest of a range that differs.
    listing: Option<Range>,
    /// Keys that differ on a list.
    fresh: VecDeque<Place>,
    /// Unsettled keys, in the order in which they are due.
    waiting: VecDeque<Again>,
    /// The differences that were found and not reported yet.
    reported: VecDeque<Difference>,
    /// What it looks for.
    purpose: Purpose,
    /// The rows here that the peer does not have, and that were not taken yet.
    only_here: OnlyHere,
    /// How many ranges were compared.
    ranges: u64,
    /// The counts so far.
    verdict: Verdict,
}

impl Comparison {
    /// A comparison from the first row on.
    pub(super) fn new(peer: MemberId, purpose: Purpose) -> Comparison {
        Comparison {
            goal: None,
            position: Position::Start,
            listing: None,
            fresh: VecDeque::new(),
            waiting: VecDeque::new(),
            reported: VecDeque::new(),
            purpose,
            only_here: OnlyHere::default(),
            ranges: 0,
            verdict: nothing_compared(peer, Ending::Complete),
        }
    }

    /// How many ranges were compared.
    pub(super) fn ranges(&self) -> u64 {
        self.ranges
    }

    /// The verdict so far.
    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The keys that can't be compared yet: those that are read again, and those that were read often enough.
    pub(super) fn unsettled(&self) -> Unsettled {
        let mut unsettled = self.verdict.unsettled;
        self.waiting.iter().for_each(|again| unsettled.add(again.reason));
        unsettled
    }

    /// The verdict of a comparison that ends like this.
    pub(super) fn end(self, ending: Ending) -> Verdict {
        Verdict { ending, ..self.verdict }
    }

    /// Takes the rows that the peer does not have.
    pub(super) fn take_only_here(&mut self) -> OnlyHere {
        std::mem::take(&mut self.only_here)
    }

    /// Rows were found that must be dropped.
    pub(super) fn dropped(&mut self, rows: usize) {
        self.verdict.differing += rows as u64;
    }

    /// A row was found that is compared again after another session.
    pub(super) fn lacks_later(&mut self) {
        self.verdict.unsettled.add(Reason::Written);
    }

    /// The next difference to be reported.
    pub(super) fn poll_difference(&mut self) -> Option<Difference> {
        self.reported.pop_front()
    }

    /// About how many bytes it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        let goal = match &self.goal {
            Some(Goal::List { theirs: Some(list) }) => list.rows.len() * 192,
            Some(Goal::Rows { reads, .. }) => reads.len() * 1024,
            _ => 0,
        };
        let key = |place: &Place| 64 + place.key.len();
        goal + self.fresh.iter().map(key).sum::<usize>()
            + self.waiting.iter().map(|again| 64 + key(&again.place)).sum::<usize>()
            + self.verdict.places.iter().map(key).sum::<usize>()
    }

    /// Returns the next need.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        if self.goal.is_none() {
            let reads = self.due(now);
            self.goal = if !reads.is_empty() {
                Some(Goal::Rows { reads, first: None, theirs: None })
            } else if self.listing.is_some() {
                Some(Goal::List { theirs: None })
            } else if self.position != Position::End {
                Some(Goal::Digest { ours: None, theirs: None })
            } else {
                None
            };
        }
        match (self.need(), self.waiting.front()) {
            (Some((side, ask)), _) => Next::Ask(side, ask),
            (None, Some(Again { due, .. })) => Next::Wait(*due),
            (None, None) => Next::Done,
        }
    }

    /// The keys that must be read now.
    fn due(&mut self, now: Duration) -> Vec<(Place, u32)> {
        let fresh = self.fresh.len().min(MAX_ASKED_ROWS);
        let mut reads: Vec<_> = self.fresh.drain(..fresh).map(|place| (place, 0)).collect();
        while reads.len() < MAX_ASKED_ROWS
            && self.waiting.front().is_some_and(|again| again.due <= now)
            && let Some(Again { place, count, .. }) = self.waiting.pop_front()
        {
            reads.push((place, count));
        }
        reads
    }

    /// The next question for the goal.
    fn need(&self) -> Option<(Side, Ask)> {
        let after = self.position.after();
        let range = |upto: &Option<Place>| Range { after: after.clone(), upto: upto.clone() };
        Some(match self.goal.as_ref()? {
            Goal::Digest { ours: None, theirs } => {
                // If the peer's range is shorter, both compare that one.
                let upto = theirs.as_ref().and_then(|theirs| theirs.end.clone());
                (Side::Ours, Ask::Digest(range(&upto)))
            }
            Goal::Digest { ours: Some(ours), .. } => (Side::Theirs, Ask::Digest(range(&ours.end))),
            Goal::List { theirs: None } => (Side::Theirs, Ask::List(self.listing.clone()?)),
            Goal::List { theirs: Some(theirs) } => {
                let after = self.listing.as_ref().and_then(|range| range.after.clone());
                (Side::Ours, Ask::List(Range { after, upto: theirs.end.clone() }))
            }
            Goal::Rows { reads, first, theirs } => {
                let side = match (first, theirs) {
                    (Some(_), None) => Side::Theirs,
                    _ => Side::Ours,
                };
                (side, Ask::Rows(reads.iter().map(|(place, _)| place.clone()).collect()))
            }
        })
    }

    /// Takes the answer to the last question.
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
            (Some(Goal::Rows { reads, first: None, .. }), Answer::Rows(first)) => {
                self.goal = Some(Goal::Rows { reads, first: Some(first), theirs: None });
            }
            (Some(Goal::Rows { reads, first, theirs: None }), Answer::Rows(theirs)) => {
                self.goal = Some(Goal::Rows { reads, first, theirs: Some(theirs) });
            }
            (
                Some(Goal::Rows { reads, first: Some(first), theirs: Some(theirs) }),
                Answer::Rows(last),
            ) => match self.purpose {
                Purpose::Verify => self.judge_all(reads, &[first, theirs, last], now, wall_ms),
                Purpose::Rebuild => self.only_here = OnlyHere::of(reads, &theirs, &last),
            },
            // The verifier takes only answers of the right kind.
            (goal, _) => self.goal = goal,
        }
    }

    /// Takes a digest: compares it with the other one, if that is over the same range.
    fn take_digests(&mut self, ours: RangeDigest, theirs: Option<RangeDigest>) {
        let Some(theirs) = theirs else {
            self.goal = Some(Goal::Digest { ours: Some(ours), theirs: None });
            return;
        };
        if ours.end != theirs.end {
            // One side has more rows there. Both compare the shorter range.
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
        let after = self.position.after();
        self.position = ours.end.clone().map_or(Position::End, Position::After);
        self.listing = (!is_equal).then_some(Range { after, upto: ours.end });
    }

    /// Compares a page of two lists. This location's goes at most as far as the peer's.
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

    /// Judges rows by three readings. Unsettled ones are read again later, in bounds.
    fn judge_all(
        &mut self,
        reads: Vec<(Place, u32)>,
        [first, theirs, last]: &[Reading; 3],
        now: Duration,
        wall_ms: u64,
    ) {
        for (at, (place, count)) in reads.into_iter().enumerate() {
            match judge(first, theirs, last, at, wall_ms) {
                Judgement::Equal => {}
                Judgement::Differs(ours, theirs) => {
                    self.verdict.differing += 1;
                    if self.verdict.differing <= MAX_REPORTED {
                        let peer = self.verdict.peer;
                        self.verdict.places.push(place.clone());
                        self.reported.push_back(Difference { peer, place, ours, theirs });
                    }
                }
                Judgement::Unsettled(reason)
                    if count < MAX_READS && self.waiting.len() < MAX_WAITING =>
                {
                    let (due, count) = (now + READ_AGAIN, count + 1);
                    self.waiting.push_back(Again { due, place, count, reason });
                }
                Judgement::Unsettled(reason) => self.verdict.unsettled.add(reason),
            }
        }
    }
}

/// The verdict of a verification that ended before it began.
pub(super) fn nothing_compared(peer: MemberId, ending: Ending) -> Verdict {
    let (places, damaged) = (Vec::new(), [0, 0]);
    let unsettled = Unsettled::default();
    Verdict { peer, rows: 0, differing: 0, places, unsettled, damaged, ending }
}

/// Whether the end of a range is behind another's; none is the end of all rows.
fn reaches_past(end: &Option<Place>, other: &Option<Place>) -> bool {
    match (end, other) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(end), Some(other)) => end > other,
    }
}

/// Whether an answer fits a question. A peer's answer is not used before this check.
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
