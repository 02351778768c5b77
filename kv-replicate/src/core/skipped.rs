//! What peers of a later version send and this location does not know: it is skipped and counted.

use super::{Core, actions::Actions};
use crate::{MemberId, notice::Notice};

/// How much of what peers sent was skipped since the start, because a later version defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Messages of unknown kinds.
    pub messages: u64,
    /// Unknown optional fields of known messages.
    pub fields: u64,
}

/// The counts, and the kinds of message that were reported to the owner.
#[derive(Debug, Default)]
pub(super) struct SkipCounter {
    /// The counts.
    skipped: Skipped,
    /// A bit for each kind whose unknown messages were reported.
    kinds: [u64; 4],
    /// A bit for each kind whose unknown fields were reported.
    with_fields: [u64; 4],
}

impl SkipCounter {
    /// Counts a message of an unknown kind. Only the first of a kind is reported, because a peer may send many.
    pub(super) fn message(&mut self, out: &mut Actions, peer: MemberId, kind: u8) {
        self.skipped.messages += 1;
        if is_first(&mut self.kinds, kind) {
            out.notice(Notice::SkippedMessage { peer, kind });
        }
    }

    /// Counts the unknown fields of a message, by their tags.
    pub(super) fn fields(&mut self, out: &mut Actions, peer: MemberId, kind: u8, tags: &[u8]) {
        self.skipped.fields += tags.len() as u64;
        if let Some(tag) = tags.first().copied()
            && is_first(&mut self.with_fields, kind)
        {
            out.notice(Notice::SkippedField { peer, kind, tag });
        }
    }
}

/// Sets the bit of a kind. Returns whether it was not set.
fn is_first(kinds: &mut [u64; 4], kind: u8) -> bool {
    let (word, bit) = (&mut kinds[usize::from(kind / 64)], 1 << (kind % 64));
    let is_first = *word & bit == 0;
    *word |= bit;
    is_first
}

impl Core {
    /// Returns how much of what peers sent was skipped since the start, because this program does not know it.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        self.skipped.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::PEER;

    #[test]
    fn everything_that_is_skipped_is_counted_and_the_first_of_a_kind_is_reported() {
        let (mut counter, mut out) = (SkipCounter::default(), Actions::new(1));
        for kind in [255, 255, 64] {
            counter.message(&mut out, PEER, kind);
        }
        counter.fields(&mut out, PEER, 2, &[7, 8]);
        counter.fields(&mut out, PEER, 2, &[9]);
        counter.fields(&mut out, PEER, 2, &[]);
        assert_eq!(counter.skipped, Skipped { messages: 3, fields: 3 });
        let notices: Vec<_> = std::iter::from_fn(|| out.poll_notice()).collect();
        let peer = PEER;
        assert_eq!(
            notices,
            [
                Notice::SkippedMessage { peer, kind: 255 },
                Notice::SkippedMessage { peer, kind: 64 },
                Notice::SkippedField { peer, kind: 2, tag: 7 },
            ]
        );
    }
}
