//! One place of the table: a tag that says whose it is, and a word that counts.
//!
//! ```text
//! tag    fingerprint 46 | class 12 | generation 6
//! word   payload 58                | generation 6
//! ```
//!
//! A place is **assigned** if the generations of tag and word agree, else **vacant**. Only assigning it
//! anew changes the generation: first the word's (with payload zero), then the tag's. So whoever read a
//! tag, then a word of its generation, has a word of that key; and a compare-and-swap of that word
//! fails once the place was given to another, for the generation is part of what is compared.
//!
//! Six bits come round after 64 assignments. To be misled, a thread would have to stand between two
//! instructions while its place is assigned exactly 64 times (or 128, …), and then find the very word it had read.

use crate::class::CLASS_BITS;
use crate::identity::FINGERPRINT_BITS;
use crate::sync::{AtomicU64, Ordering};

/// The bits of a generation.
const GENERATION_BITS: u32 = 6;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;
const CLASS_MASK: u64 = (1 << CLASS_BITS) - 1;

/// One place of a table.
#[derive(Debug)]
pub(crate) struct Slot {
    tag: AtomicU64,
    word: AtomicU64,
}

/// A tag as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

/// A word as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Tag {
    fn new(hash: u64, class: u16, generation: u64) -> Tag {
        let fingerprint = hash << (64 - FINGERPRINT_BITS);
        Tag(fingerprint | u64::from(class) << GENERATION_BITS | generation)
    }

    /// Whether it names the key of this hash.
    #[inline]
    pub(super) fn is_of(self, hash: u64) -> bool {
        (self.0 ^ hash << (64 - FINGERPRINT_BITS)) >> (64 - FINGERPRINT_BITS) == 0
    }

    /// The low bits of the hash.
    pub(super) fn fingerprint(self) -> u64 {
        self.0 >> (64 - FINGERPRINT_BITS)
    }

    pub(super) fn class(self) -> u16 {
        (self.0 >> GENERATION_BITS & CLASS_MASK) as u16
    }

    /// Whether the place was never given to a key: every class is above zero.
    pub(super) fn is_new(self) -> bool {
        self.class() == 0
    }

    /// Whether the word is this tag's.
    #[inline]
    pub(super) fn owns(self, word: Word) -> bool {
        (self.0 ^ word.0) & GENERATION_MASK == 0
    }
}

impl Word {
    /// What the algorithm keeps; zero if nothing.
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

    /// The word, if the place is live and of the key of this hash.
    #[inline]
    pub(super) fn word_of(&self, hash: u64) -> Option<Word> {
        let tag = self.tag();
        if !tag.is_of(hash) {
            return None;
        }
        let word = self.word();
        (tag.owns(word) && word.payload() != 0).then_some(word)
    }

    /// Puts a payload in place of what was read, in the same generation; else what is there now.
    #[inline]
    pub(crate) fn replace(&self, read: Word, payload: u64) -> Result<(), Word> {
        let new = payload << GENERATION_BITS | read.generation();
        self.word
            .compare_exchange(read.0, new, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(Word)
    }

    /// Whether the place is still of the generation of `read`.
    #[inline]
    pub(crate) fn same(read: Word, now: Word) -> bool {
        read.generation() == now.generation()
    }

    /// Takes the place from its key: on to the next generation, with nothing counted. `None` if the
    /// word is no longer what was read.
    pub(super) fn vacate(&self, read: Word) -> Option<Word> {
        let next = Word(read.generation().wrapping_add(1) & GENERATION_MASK);
        self.word
            .compare_exchange(read.0, next.0, Ordering::AcqRel, Ordering::Acquire)
            .ok()
            .map(|_| next)
    }

    /// Gives a vacant place to a key. False if another was quicker.
    pub(super) fn assign(&self, tag: Tag, word: Word, hash: u64, class: u16) -> bool {
        let new = Tag::new(hash, class, word.generation());
        self.tag.compare_exchange(tag.0, new.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
