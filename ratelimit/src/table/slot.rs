//! One slot of the table: a tag that names the key, and a word that counts.
//!
//! ```text
//! tag    fingerprint 46 | class 12 | generation 6
//! word   payload 58                | generation 6
//! ```
//!
//! A slot is **assigned** if the generations of tag and word are equal, else **vacant**. The generation
//! changes only when the slot is assigned to another key: first the word's (with payload zero), then the
//! tag's. So a thread that reads a tag and then a word of the same generation has a word of that key. A
//! compare-and-swap of that word fails after the slot was assigned again, because the generation is part
//! of the compared value.
//!
//! Six bits wrap after 64 assignments. A thread is misled only if it stands between two instructions
//! while its slot is assigned exactly 64 times (or 128, …), and then finds the same word that it had read.

use crate::class::CLASS_BITS;
use crate::identity::FINGERPRINT_BITS;
use crate::sync::{AtomicU64, Ordering};

/// The bits of a generation.
const GENERATION_BITS: u32 = 6;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;
const CLASS_MASK: u64 = (1 << CLASS_BITS) - 1;

/// One slot of a table.
#[derive(Debug)]
pub(crate) struct Slot {
    tag: AtomicU64,
    word: AtomicU64,
}

/// The value of a tag at the time of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

/// The value of a word at the time of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Tag {
    fn new(hash: u64, class: u16, generation: u64) -> Tag {
        let fingerprint = hash << (64 - FINGERPRINT_BITS);
        Tag(fingerprint | u64::from(class) << GENERATION_BITS | generation)
    }

    /// Returns whether the tag names the key of this hash.
    #[inline]
    pub(super) fn is_of(self, hash: u64) -> bool {
        (self.0 ^ hash << (64 - FINGERPRINT_BITS)) >> (64 - FINGERPRINT_BITS) == 0
    }

    /// Returns the low bits of the hash.
    pub(super) fn fingerprint(self) -> u64 {
        self.0 >> (64 - FINGERPRINT_BITS)
    }

    pub(super) fn class(self) -> u16 {
        (self.0 >> GENERATION_BITS & CLASS_MASK) as u16
    }

    /// Returns whether the slot was never assigned to a key: every class is above zero.
    pub(super) fn is_new(self) -> bool {
        self.class() == 0
    }

    /// Returns whether the word belongs to this tag.
    #[inline]
    pub(super) fn owns(self, word: Word) -> bool {
        (self.0 ^ word.0) & GENERATION_MASK == 0
    }
}

impl Word {
    /// Returns the state of the algorithm; zero if the counter is empty.
    #[inline]
    pub(crate) fn payload(self) -> u64 {
        self.0 >> GENERATION_BITS
    }

    fn generation(self) -> u64 {
        self.0 & GENERATION_MASK
    }
}

impl Slot {
    pub(super) fn new() -> Slot {
        Slot { tag: AtomicU64::new(0), word: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn tag(&self) -> Tag {
        Tag(self.tag.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Returns the word, if the slot is live and of the key of this hash.
    #[inline]
    pub(super) fn word_of(&self, hash: u64) -> Option<Word> {
        let tag = self.tag();
        if !tag.is_of(hash) {
            return None;
        }
        let word = self.word();
        (tag.owns(word) && word.payload() != 0).then_some(word)
    }

    /// Replaces the word that was read by another payload of the same generation. If the word has changed,
    /// returns the current word as the error.
    #[inline]
    pub(crate) fn replace(&self, read: Word, payload: u64) -> Result<(), Word> {
        let new = payload << GENERATION_BITS | read.generation();
        self.word
            .compare_exchange(read.0, new, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(Word)
    }

    /// Returns whether the slot still has the generation of `read`.
    #[inline]
    pub(crate) fn same(read: Word, now: Word) -> bool {
        read.generation() == now.generation()
    }

    /// Takes the slot from its key: moves it to the next generation, with an empty counter. Returns `None`
    /// if the word has changed since `read`.
    pub(super) fn vacate(&self, read: Word) -> Option<Word> {
        let next = Word(read.generation().wrapping_add(1) & GENERATION_MASK);
        self.word
            .compare_exchange(read.0, next.0, Ordering::AcqRel, Ordering::Acquire)
            .ok()
            .map(|_| next)
    }

    /// Assigns a vacant slot to a key. Returns false if another thread was faster.
    pub(super) fn assign(&self, tag: Tag, word: Word, hash: u64, class: u16) -> bool {
        let new = Tag::new(hash, class, word.generation());
        self.tag.compare_exchange(tag.0, new.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
