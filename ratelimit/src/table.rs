//! The counters: a table of fixed size, without a lock.
//!
//! A key's hash chooses a set of eight places (two cache lines). In steady state a hit reads tags until
//! one is the key's, and does one compare-and-swap on the word beside it ([`slot`]).
//!
//! # Never two places for one key
//!
//! Two threads may bring one new key at the same time, and if each gave it a place, each place would
//! admit the whole limit. So a place is given in two steps, after Purcell and Harris ("Non-blocking
//! Hashtables with Open Addressing", 2005). A place that is assigned and whose payload is zero is a
//! **claim**; one with another payload is **live**. Only live places count hits.
//!
//! 1. *Claim*: assign a place to the key, with payload zero.
//! 2. *Look* at the whole set, after a fence. A live place of the key: use that one. Several claims: cancel
//!    all but the first of the set, and look again. A claim not known before this look: look again.
//! 3. *Settle*: the look saw one claim, known before it began, and nothing else of the key. Swap its zero
//!    payload for the first hit. Any thread with the key may settle any claim of it.
//!
//! *Two settled places would contradict each other.* Let claims a and b be settled while both stand. Each
//! claim stands from its assignment on, or it could not be settled (the generation tells a claim from
//! a later one of the same place). Say that the fence of the look that settled a came before that of b;
//! they are ordered, being sequentially consistent. The place of a was assigned before a's fence by
//! who passed it or by someone whose assignment they had read; so b's look, after b's later fence,
//! sees a's claim, or a live: and then b is not settled by this look.
//!
//! Cancelling moves a place to its next generation, so a settling thread that was slower fails and looks
//! again. A counter that falls to zero (a refund, a reset) is a claim again, and nothing more needs to
//! be said of it.
//!
//! # Who has to go
//!
//! With no vacant place in the set, a new key takes, in this order: one whose counter is empty by now;
//! another's claim; the live place with the least weight ([`Weight`]). A hit that comes to a place while it is
//! taken either is counted before (then the place is heavier, and the choice is made again) or finds
//! that it has none.
//!
//! Nobody waits for anybody. A thread that has looked [`LOOKS`] times without finding a place gives up:
//! its hit is allowed and forgotten, as if it had got a place and lost it at once. That takes more
//! threads in one set at one time than it has places.

#[cfg(all(test, ratelimit_loom))]
mod model;
pub(crate) mod slot;

use std::fmt;

use slot::Tag;
pub(crate) use slot::{Slot, Word};

use crate::class::{Classes, Weight};
use crate::identity::FINGERPRINT_BITS;
use crate::sync::{Ordering, fence};

/// The places of a set.
pub(crate) const WAYS: usize = if cfg!(ratelimit_loom) { 2 } else { 8 };
/// How often a hit looks for a place.
const LOOKS: usize = 64;

/// Two cache lines, which are fetched together.
#[derive(Debug)]
#[repr(align(128))]
struct Set {
    slots: [Slot; WAYS],
}

/// The counters of a limiter.
pub(crate) struct Table {
    sets: Vec<Set>,
    classes: Classes,
}

/// Says how large it is, not what it holds.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

/// What became of a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// It has a place, with the payload given. `evicted`: a counter that still counted lost it.
    Done { evicted: bool },
    /// It has a live place already: hit that.
    Exists { evicted: bool },
    /// It found no place.
    Crowded { evicted: bool },
}

/// A live counter, as [`Table::live`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// The low bits of the key's hash.
    pub(crate) fingerprint: u64,
    pub(crate) class: u16,
    pub(crate) payload: u64,
    pub(crate) weight: Weight,
}

/// What one look at a set found of a key.
#[derive(Default)]
struct Look {
    live: bool,
    /// The first claim of the key in the set.
    claim: Option<(usize, Word)>,
    /// Whether others were cancelled.
    several: bool,
}

impl Table {
    /// A table with at least so many places; one set at least.
    pub(crate) fn new(slots: usize) -> Table {
        let set = || Set { slots: std::array::from_fn(|_| Slot::new()) };
        let sets = (0..slots.div_ceil(WAYS).max(1)).map(|_| set()).collect();
        Table { sets, classes: Classes::new() }
    }

    /// How many sets there are.
    pub(crate) fn sets(&self) -> usize {
        self.sets.len()
    }

    pub(crate) fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The set of a hash: its high bits, as a fraction, of the number of sets.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below the number of sets")]
    pub(crate) fn set_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize
    }

    /// The live place of a key, and its word.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64) -> Option<(&Slot, Word)> {
        let slots = &self.sets[self.set_of(hash)].slots;
        slots.iter().find_map(|slot| slot.word_of(hash).map(|word| (slot, word)))
    }

    /// Gives a key that [`find`](Table::find) did not find a place with a first payload, not zero.
    #[cold]
    pub(crate) fn insert(&self, hash: u64, class: u16, payload: u64, now: u64) -> Insertion {
        debug_assert!(payload != 0, "a zero payload is a claim");
        let slots = &self.sets[self.set_of(hash)].slots;
        let mut known = None;
        let mut evicted = false;
        for _ in 0..LOOKS {
            let look = look(slots, hash);
            if look.live {
                return Insertion::Exists { evicted };
            }
            match look.claim {
                None => known = self.claim(slots, hash, class, now, &mut evicted),
                Some(claim) if !look.several && known == Some(claim) => {
                    if slots[claim.0].replace(claim.1, payload).is_ok() {
                        return Insertion::Done { evicted };
                    }
                    known = None;
                }
                Some(claim) => known = Some(claim),
            }
        }
        Insertion::Crowded { evicted }
    }

    /// Claims the place that can best be spared; `evicted` if what it held still counted. `None` if
    /// another changed it first.
    fn claim(
        &self,
        slots: &[Slot; WAYS],
        hash: u64,
        class: u16,
        now: u64,
        evicted: &mut bool,
    ) -> Option<(usize, Word)> {
        let (at, tag, word, spare) = self.victim(slots, hash, now)?;
        let vacant = if tag.owns(word) { slots[at].vacate(word)? } else { word };
        // Its key has lost it, also if another thread is quicker to take the place.
        *evicted |= matches!(spare, Spare::Live(_));
        slots[at].assign(tag, vacant, hash, class).then_some((at, vacant))
    }

    /// The place that can best be spared. Of live equals it is the last, so that those that came first
    /// stay; of others the first, so that most keys are in the first line of their set.
    ///
    /// `None` if the key itself has come to the set since the look: nobody takes a key's place for that
    /// same key, which would forget its first hits.
    fn victim(
        &self,
        slots: &[Slot; WAYS],
        hash: u64,
        now: u64,
    ) -> Option<(usize, Tag, Word, Spare)> {
        let mut best: Option<(usize, Tag, Word, Spare)> = None;
        for (at, slot) in slots.iter().enumerate() {
            let (tag, word) = (slot.tag(), slot.word());
            if tag.is_of(hash) && tag.owns(word) {
                return None;
            }
            let spare = self.spare(tag, word, now);
            let better = best.as_ref().is_none_or(|(.., best)| match spare {
                Spare::Live(_) => spare <= *best,
                _ => spare < *best,
            });
            if better {
                best = Some((at, tag, word, spare));
            }
        }
        best
    }

    fn spare(&self, tag: Tag, word: Word, now: u64) -> Spare {
        if tag.is_new() || !tag.owns(word) {
            return Spare::Vacant;
        }
        if word.payload() == 0 {
            return Spare::Claim;
        }
        match self.classes.weight(tag.class(), word.payload(), now) {
            Weight { hits: 0, .. } => Spare::Empty,
            weight => Spare::Live(weight),
        }
    }

    /// The live counters of a set that still count at `now`.
    pub(crate) fn live(&self, set: usize, now: u64) -> impl Iterator<Item = Live> {
        self.sets[set].slots.iter().filter_map(move |slot| {
            let (tag, word) = (slot.tag(), slot.word());
            let Spare::Live(weight) = self.spare(tag, word, now) else { return None };
            let (fingerprint, class) = (tag.fingerprint(), tag.class());
            Some(Live { fingerprint, class, payload: word.payload(), weight })
        })
    }

    /// The lowest and the highest hash that a fingerprint of a set can stand for, in steps of the bits of
    /// a fingerprint.
    pub(crate) fn hashes(sets: usize, set: usize, fingerprint: u64) -> impl Iterator<Item = u64> {
        let (sets, set) = (sets as u128, set as u128);
        let first = (set << 64).div_ceil(sets) >> FINGERPRINT_BITS;
        let last = (((set + 1) << 64).div_ceil(sets) - 1) >> FINGERPRINT_BITS;
        (first..=last).filter_map(move |high| {
            let hash = high << FINGERPRINT_BITS | u128::from(fingerprint);
            ((hash * sets) >> 64 == set).then(|| u64::try_from(hash).ok()).flatten()
        })
    }
}

/// How well a place can be spared: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spare {
    Vacant,
    Empty,
    Claim,
    Live(Weight),
}

/// Looks at a set for a key, and cancels all of its claims but the first.
fn look(slots: &[Slot; WAYS], hash: u64) -> Look {
    // What this thread claimed or read before is ordered before what it sees now; see the proof above.
    fence(Ordering::SeqCst);
    let mut look = Look::default();
    for (at, slot) in slots.iter().enumerate() {
        let tag = slot.tag();
        if !tag.is_of(hash) {
            continue;
        }
        let word = slot.word();
        if !tag.owns(word) {
            continue;
        }
        if word.payload() != 0 {
            look.live = true;
        } else if look.claim.is_none() {
            look.claim = Some((at, word));
        } else {
            look.several = true;
            // If that fails, someone else cancelled or settled it; the next look will see.
            slot.vacate(word);
        }
    }
    look
}
