//! Locations verify each other: whatever goes wrong meanwhile, no two are found to differ.

use kv_replicate::{Ending, Event as CoreEvent, Verdict};
use waypost_disk_tests::{hold, violation::Checked};

use super::{Happening, World};
use crate::node::member;

/// How long two locations that are equal, over a network that is good, have for a verification.
const PATIENCE_MS: u64 = 60_000;

/// What verifications came to. That none tells of a difference is held where notices are read.
#[derive(Debug, Default)]
pub struct Verifying {
    /// The mean time between two of them, in milliseconds; 0 if only the last one is made.
    every_ms: u64,
    /// How many were begun.
    pub begun: u64,
    /// How often rows were looked at by name, for a list showed them to differ.
    pub looks: u64,
    /// The verdicts, with who asked for them.
    pub verdicts: Vec<(usize, Verdict)>,
}

impl Verifying {
    pub(super) fn note(&mut self, node: usize, verdict: Verdict) {
        self.verdicts.push((node, verdict));
    }
}

impl World {
    /// Locations verify each other from now on, about so often, until all is mended.
    pub fn verify_every(&mut self, ms: u64) {
        self.verifying.every_ms = ms;
        self.after(ms, Happening::Verify);
    }

    /// What verifications came to.
    #[must_use]
    pub fn verifying(&self) -> &Verifying {
        &self.verifying
    }

    pub(super) fn verify_some(&mut self) -> Checked {
        if self.is_healed {
            return Ok(());
        }
        let pause = self.rng.below(2 * self.verifying.every_ms + 1);
        self.after(pause, Happening::Verify);
        let running = self.running();
        if running.is_empty() {
            return Ok(());
        }
        let node = *self.rng.pick(&running);
        let peer = (node + 1 + self.rng.index(self.nodes.len() - 1)) % self.nodes.len();
        self.verifying.begun += 1;
        self.tell(node, CoreEvent::Verify(member(peer)))
    }

    /// All is equal: the first location and the last must find so, once they have said hello.
    pub(super) fn verify_two(&mut self) -> Checked {
        let (Some(node), Some(last)) = (self.steady().first().copied(), self.steady().pop()) else {
            return Ok(());
        };
        if node == last {
            return Ok(());
        }
        let peer = member(last);
        let end = self.now + PATIENCE_MS;
        loop {
            self.verifying.verdicts.clear();
            self.tell(node, CoreEvent::Verify(peer))?;
            while self.verifying.verdicts.is_empty() {
                hold!(self.now < end, "no verdict");
                self.run_for(50)?;
            }
            let (_, verdict) = &self.verifying.verdicts[0];
            if verdict.ending == Ending::Complete {
                hold!(verdict.is_equal(), "verified: {verdict:?}");
                return Ok(());
            }
            hold!(self.now < end, "not verified: {verdict:?}");
            self.run_for(500)?;
        }
    }
}
