//! Locations verify each other during faults. No two of them may report a difference.

use kv_replicate::{Ending, Event as CoreEvent, Verdict};
use waypost_disk_tests::{hold, violation::Checked};

use super::{Happening, World};

/// How long a verification may take between two equal locations on a good network.
const PATIENCE_MS: u64 = 60_000;

/// The results of verifications. The handler of notices checks that none reports a difference.
#[derive(Debug, Default)]
pub struct Verifying {
    /// The mean time between two verifications, in milliseconds; 0 for only the last one.
    every_ms: u64,
    /// The number of verifications that started.
    pub begun: u64,
    /// How often rows were compared by key, because a summary showed a difference.
    pub looks: u64,
    /// The verdicts, with the location that requested each.
    pub verdicts: Vec<(usize, Verdict)>,
}

impl Verifying {
    pub(super) fn note(&mut self, node: usize, verdict: Verdict) {
        self.verdicts.push((node, verdict));
    }
}

impl World {
    /// Lets locations verify each other about every `ms` milliseconds from now on, until all faults
    /// end.
    pub fn verify_every(&mut self, ms: u64) {
        self.verifying.every_ms = ms;
        self.after(ms, Happening::Verify);
    }

    /// The results of verifications.
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
        let peer = self.nodes[peer].member;
        if peer == self.nodes[node].member {
            return Ok(());
        }
        self.verifying.begun += 1;
        self.tell(node, CoreEvent::Verify(peer))
    }

    /// When all locations are equal, the first and the last one must find that, once they have
    /// exchanged hellos.
    pub(super) fn verify_two(&mut self) -> Checked {
        let (Some(node), Some(last)) = (self.steady().first().copied(), self.steady().pop()) else {
            return Ok(());
        };
        let peer = self.nodes[last].member;
        if self.nodes[node].member == peer {
            return Ok(());
        }
        let end = self.now + PATIENCE_MS;
        loop {
            self.verifying.verdicts.clear();
            self.tell(node, CoreEvent::Verify(peer))?;
            while self.verifying.verdicts.is_empty() {
                hold!(self.now < end, "the verification has no verdict");
                self.run_for(50)?;
            }
            let (_, verdict) = &self.verifying.verdicts[0];
            if verdict.ending == Ending::Complete {
                hold!(verdict.is_equal(), "verified: {verdict:?}");
                return Ok(());
            }
            hold!(self.now < end, "the verification is incomplete: {verdict:?}");
            self.run_for(500)?;
        }
    }
}
