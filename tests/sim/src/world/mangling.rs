//! Peers that say what no location says: messages are changed on their way.
//!
//! Who lies in a vector is believed, for who is in the cluster is trusted. What must hold all the same: nothing
//! panics, no core holds more than its bound, and a store counts of its own writes those that it made.

use bytes::Bytes;
use kv_core::OriginId;
use waypost_disk_tests::{hold, violation::Checked};

use super::{Happening, World};

/// How many of the last messages may come again, as if from others.
const KEPT: usize = 64;

/// The messages that came last.
#[derive(Debug, Default)]
pub(super) struct Heard(Vec<Bytes>);

impl World {
    /// Clients work for so long, and of a hundred messages so many come as they were not sent.
    ///
    /// # Errors
    /// What was found wrong.
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

    /// How many locations have not halted.
    #[must_use]
    pub fn left(&self) -> usize {
        self.nodes.iter().filter(|node| !node.is_gone).count()
    }

    /// A store counts of its own writes what it made: those that are acknowledged, or about to be.
    fn check_own(&mut self, node: usize) -> Checked {
        let made: Vec<_> = self.nodes[node].open.iter().map(|row| row.dot).collect();
        let own = self.nodes[node].origins.unwrap_or([OriginId([0; 16]); 2]);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        for origin in own {
            let open = made.iter().filter(|dot| dot.origin == origin).map(|dot| dot.seq).max();
            let most = self.model.last(origin).max(open.unwrap_or(0));
            let counted = running.store.committer().view().vector().get(origin);
            hold!(counted <= most, "{node} counts {counted} of its writes and made {most}");
        }
        Ok(())
    }

    /// A message as it comes: mostly as it was sent; else changed, or another that came before.
    pub(super) fn mangle(&mut self, bytes: Bytes) -> Bytes {
        let heard = &mut self.heard.0;
        if heard.len() < KEPT {
            heard.push(bytes.clone());
        } else {
            let at = self.rng.index(KEPT);
            heard[at] = bytes.clone();
        }
        if !self.rng.chance(self.mangled) || bytes.is_empty() {
            return bytes;
        }
        let other = heard[self.rng.index(heard.len())].clone();
        let mut changed = bytes.to_vec();
        let at = self.rng.index(changed.len());
        match self.rng.below(6) {
            0 => changed.truncate(at),
            1 => changed[at] ^= 1 << self.rng.below(8),
            2 => {
                // A length, a number or a time that is far off.
                let end = changed.len().min(at + 8);
                let byte = *self.rng.pick(&[0, 1, 0x7f, 0x80, 0xff]);
                changed[at..end].fill(byte);
            }
            // As if it were of these two starts, behind the kind and the version.
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
