//! Peers that send invalid messages: messages are changed in transit.
//!
//! A wrong version vector is believed, because members are trusted. These rules must hold
//! nevertheless: nothing panics, no core exceeds its memory bound, and a store counts only those
//! writes as its own that it made.

use bytes::Bytes;
use waypost_disk_tests::{hold, violation::Checked};

use super::{Happening, World};

/// The number of recent messages that may be replayed, as if from other peers.
const KEPT: usize = 64;

/// Recent messages.
#[derive(Debug, Default)]
pub(super) struct Recent(Vec<Bytes>);

impl World {
    /// Runs clients for `ms` milliseconds while `mangled` of a hundred messages are changed.
    ///
    /// # Errors
    /// The violation.
    pub fn live_among_liars(&mut self, ms: u64, mangled: u64) -> Checked {
        self.mangled = mangled;
        for _ in 0..self.plan.faults {
            let after = self.rng.below(ms);
            self.after(after, Happening::Fault);
        }
        self.after(1, Happening::Client);
        for _ in 0..ms / 100 {
            self.run_for(100)?;
            for node in self.running() {
                self.check_own(node)?;
            }
        }
        Ok(())
    }

    /// The number of locations that have not halted.
    #[must_use]
    pub fn left(&self) -> usize {
        self.nodes.iter().filter(|node| !node.is_gone).count()
    }

    /// Checks that a store counts as its own only the writes that it made: those that are
    /// acknowledged or about to be.
    fn check_own(&mut self, node: usize) -> Checked {
        let made: Vec<_> = self.nodes[node].open.iter().map(|row| row.dot).collect();
        let own = self.nodes[node].origins();
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let made: Vec<_> =
            running.store.unpublished().iter().map(|write| write.found.dot).chain(made).collect();
        for origin in own.into_iter().flatten() {
            let open = made.iter().filter(|dot| dot.origin == origin).map(|dot| dot.seq).max();
            let most = self.model.last(origin).max(open.unwrap_or(0));
            let counted = running.store.committer().view().vector().get(origin);
            hold!(counted <= most, "{node} counts {counted} of its writes and made {most}");
        }
        Ok(())
    }

    /// A message as it arrives: mostly unchanged, otherwise changed or replaced with an earlier
    /// one.
    pub(super) fn mangle(&mut self, bytes: Bytes) -> Bytes {
        let recent = &mut self.recent.0;
        if recent.len() < KEPT {
            recent.push(bytes.clone());
        } else {
            let at = self.rng.index(KEPT);
            recent[at] = bytes.clone();
        }
        if !self.rng.chance(self.mangled) || bytes.is_empty() {
            return bytes;
        }
        let other = recent[self.rng.index(recent.len())].clone();
        let mut changed = bytes.to_vec();
        let at = self.rng.index(changed.len());
        match self.rng.below(6) {
            0 => changed.truncate(at),
            1 => changed[at] ^= 1 << self.rng.below(8),
            2 => {
                // A length, a number or a time far from the correct one.
                let end = changed.len().min(at + 8);
                let byte = *self.rng.pick(&[0, 1, 0x7f, 0x80, 0xff]);
                changed[at..end].fill(byte);
            }
            // The incarnations of both ends, after the kind and the version.
            3 | 4 if other.len() > 19 && changed.len() > 19 => {
                let (incarnations, mut again) = (changed[3..19].to_vec(), other.to_vec());
                again[3..19].copy_from_slice(&incarnations);
                return Bytes::from(again);
            }
            _ => {
                let from = at.min(other.len());
                changed.truncate(at);
                changed.extend_from_slice(&other[from..]);
            }
        }
        Bytes::from(changed)
    }
}
