//! The counters: a table of fixed size, without locks.
//!
//! The hash of a key chooses a set of eight slots (two cache lines). In the common case a request reads
//! tags until one is that of its key, and does one compare-and-swap on the word beside it ([`slot`]).
//!
//! # Never two slots for one key
//!
//! Two threads may insert one new key at the same time. If each gave it a slot, each slot would allow the
//! whole limit. So a slot is given in two steps, after Purcell and Harris ("Non-blocking Hashtables with
//! Open Addressing", DISC 2005). An assigned slot whose payload is zero is a **claim**; one with another
//! payload is **live**. Only live slots count requests.
//!
//! 1. *Claim*: assign a slot to the key, with payload zero.
//! 2. *Look* at the whole set, after a fence. If there is a live slot of the key, use that one. If there are
//!    several claims, cancel all but the first of the set, and look again. If there is a claim that was not
//!    known before this look, look again.
//! 3. *Settle*: the look found one claim, known before it began, and nothing else of the key. Swap its zero
//!    payload for the first request. Any thread with the key may settle any claim of it.
//!
//! *Two settled slots would contradict each other.* Let claims a and b be settled while both stand. Each
//! claim stands from its assignment on, or it could not be settled (the generation tells a claim from a
//! later claim of the same slot). The fences of the two looks are sequentially consistent, so they are
//! ordered; let the fence of the look that settled a come first. The slot of a was assigned before that
//! fence, by the thread that passed it or by a thread whose assignment it had read. So the look that
//! settles b, after its later fence, sees a's claim, or a live; and then it does not settle b.
//!
//! Cancelling moves a slot to its next generation, so a slower thread that tries to settle it fails and
//! looks again. A counter that falls to zero (a refund, a reset) is a claim again and follows the same
//! rules.
//!
//! # Eviction
//!
//! If the set has no vacant slot, a new key takes, in this order: a slot whose counter is empty by now; a
//! claim of another key; the live slot with the least weight ([`Weight`]). A request for that slot's key
//! that arrives meanwhile either is counted before the slot is taken (then the slot is heavier, and the
//! choice is made again) or finds that its key has no slot.
//!
//! No thread waits for another. A thread that has looked [`LOOKS`] times without getting a slot gives up:
//! its request is allowed and not counted, as if it had got a slot and lost it at once. That takes more
//! threads in one set at one time than the set has slots.

#[cfg(all(test, ratelimit_loom))]
mod model;
pub(crate) mod slot;

use std::fmt;

use slot::Tag;
pub(crate) use slot::{Slot, Word};

use crate::class::{Classes, Weight};
use crate::identity::FINGERPRINT_BITS;
use crate::sync::{Ordering, fence};

/// The slots of a set.
pub(crate) const WAYS: usize = if cfg!(ratelimit_loom) { 2 } else { 8 };
/// How often a request looks for a slot before it gives up.
const LOOKS: usize = 64;

/// A set of slots: two cache lines, which the processor fetches together.
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

/// Shows the size, not the counters.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

/// The result of inserting a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// The key has a slot, with the given payload. `evicted`: another counter lost it while it still
    /// counted.
    Done { evicted: bool },
    /// The key already has a live slot: use that.
    Exists { evicted: bool },
    /// The key got no slot.
    Crowded { evicted: bool },
}

/// A live counter, from [`Table::live`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// The low bits of the key's hash.
    pub(crate) fingerprint: u64,
    pub(crate) class: u16,
    pub(crate) payload: u64,
    pub(crate) weight: Weight,
}

/// The result of a look at a set for a key.
#[derive(Default)]
struct Look {
    live: bool,
    /// The first claim of the key in the set.
    claim: Option<(usize, Word)>,
    /// Whether other claims were cancelled.
    several: bool,
}

/// The result of claiming a slot.
#[derive(Default)]
struct Claim {
    /// The index of the slot and its word; `None` if another thread changed the slot first.
    slot: Option<(usize, Word)>,
    /// Whether the counter that was in the slot still counted.
    evicted: bool,
}

impl Table {
    /// Creates a table with at least `slots` slots, and at least one set. If it is to have `halves`, the
    /// upper half of all hashes has half of the sets.
    pub(crate) fn new(slots: usize, halves: bool) -> Table {
        let set = || Set { slots: std::array::from_fn(|_| Slot::new()) };
        let sets = slots.div_ceil(WAYS).max(1).next_multiple_of(if halves { 2 } else { 1 });
        let sets = (0..sets).map(|_| set()).collect();
        Table { sets, classes: Classes::new() }
    }

    /// Returns the number of sets.
    pub(crate) fn sets(&self) -> usize {
        self.sets.len()
    }

    pub(crate) fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Returns the set of a hash: the hash as a fraction of 2^64, times the number of sets (Lemire, "Fast
    /// Random Integer Generation in an Interval", 2019).
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below the number of sets")]
    pub(crate) fn set_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize
    }

    /// Returns the live slot of a key, and its word.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64) -> Option<(&Slot, Word)> {
        let slots = &self.sets[self.set_of(hash)].slots;
        slots.iter().find_map(|slot| slot.word_of(hash).map(|word| (slot, word)))
    }

    /// Gives a slot with a first payload, which is not zero, to a key that [`find`](Table::find) did not
    /// find.
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
                None => {
                    let claim = self.claim(slots, hash, class, now);
                    evicted |= claim.evicted;
                    known = claim.slot;
                }
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

    /// Claims the slot that can best be spared.
    fn claim(&self, slots: &[Slot; WAYS], hash: u64, class: u16, now: u64) -> Claim {
        let Some((at, tag, word, spare)) = self.victim(slots, hash, now) else {
            return Claim::default();
        };
        let vacant = if tag.owns(word) {
            let Some(vacant) = slots[at].vacate(word) else { return Claim::default() };
            vacant
        } else {
            word
        };
        Claim {
            slot: slots[at].assign(tag, vacant, hash, class).then_some((at, vacant)),
            // The key has lost its slot, even if another thread takes the slot first.
            evicted: matches!(spare, Spare::Live(_)),
        }
    }

    /// Returns the slot that can best be spared. Of live slots of equal weight it is the last one, so that
    /// the older ones stay. Of other slots it is the first, so that most keys are in the first cache line
    /// of their set.
    ///
    /// Returns `None` if the key itself has got a slot since the look. Taking that slot for the same key
    /// would drop its first requests.
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
            weight if weight.is_zero() => Spare::Empty,
            weight => Spare::Live(weight),
        }
    }

    /// Returns the place of the slots that a key may have: their set, and the fingerprint.
    pub(crate) fn place(&self, hash: u64) -> (usize, u64) {
        (self.set_of(hash), hash & ((1 << FINGERPRINT_BITS) - 1))
    }

    /// Returns the fingerprints of the keys that have a slot of a set.
    pub(crate) fn fingerprints(&self, set: usize) -> impl Iterator<Item = u64> {
        let tags = self.sets[set].slots.iter().map(Slot::tag);
        tags.filter(|tag| !tag.is_new()).map(Tag::fingerprint)
    }

    /// Returns the live counters of a set that still count at `now`.
    pub(crate) fn live(&self, set: usize, now: u64) -> impl Iterator<Item = Live> {
        self.sets[set].slots.iter().filter_map(move |slot| {
            let (tag, word) = (slot.tag(), slot.word());
            let Spare::Live(weight) = self.spare(tag, word, now) else { return None };
            let (fingerprint, class) = (tag.fingerprint(), tag.class());
            Some(Live { fingerprint, class, payload: word.payload(), weight })
        })
    }

    /// Returns the hashes that have this fingerprint and lead to this set.
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

/// How well a slot can be spared: the least is taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spare {
    Vacant,
    Empty,
    Claim,
    Live(Weight),
}

/// Looks for a key in a set, and cancels all of its claims but the first.
fn look(slots: &[Slot; WAYS], hash: u64) -> Look {
    // Orders what this thread claimed or read before ahead of what it reads now; see the proof above.
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
            // If that fails, another thread cancelled or settled it, and the next look finds that.
            slot.vacate(word);
        }
    }
    look
}
