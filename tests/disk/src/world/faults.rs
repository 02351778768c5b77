//! The choice of faults.

use super::World;
use crate::{
    disk::{Armed, Call, Fault, Keep},
    events::Event,
    rng::Rng,
};

/// The length of a run, and the frequency of its faults.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The least number of steps.
    pub steps: u64,
    /// The least number of operations.
    pub operations: u64,
    /// The least number of faults.
    pub faults: u64,
    /// The percentage of steps in which a fault is armed, if none is.
    pub fault_percent: u64,
}

impl Plan {
    /// The plan of the test suite.
    #[must_use]
    pub fn mixed() -> Plan {
        Plan { steps: 150, operations: 200, faults: 3, fault_percent: 10 }
    }

    /// A plan without faults except requested crashes.
    #[must_use]
    pub fn calm() -> Plan {
        Plan { steps: 150, operations: 200, faults: 0, fault_percent: 0 }
    }
}

/// A random fault for a later call.
fn random_fault(rng: &mut Rng) -> Armed {
    let fail = |rng: &mut Rng| Fault::Fail { keep: Keep::random(rng), evict: rng.chance(50) };
    let some = |call, after, fault| Armed { on: Some(call), after, fault };
    match rng.weighted(&[(40, 0), (8, 1), (10, 2), (10, 3), (6, 4), (12, 5), (12, 6), (2, 7)]) {
        0 => Armed { on: None, after: rng.below(60), fault: Fault::PowerLoss(Keep::random(rng)) },
        1 => Armed { on: None, after: rng.below(60), fault: Fault::Kill },
        2 => some(Call::Read, rng.below(30), fail(rng)),
        3 => some(Call::Write, rng.below(40), fail(rng)),
        4 => some(Call::SetLen, 0, fail(rng)),
        5 => some(Call::Sync, rng.below(4), fail(rng)),
        6 => some(Call::Write, rng.below(40), Fault::Full),
        _ => some(Call::SetLen, 0, Fault::Full),
    }
}

impl World {
    /// Arms a fault with some probability, and sometimes ends the lack of space.
    pub(super) fn tempt_fate(&mut self) {
        if self.disk.is_full() {
            self.fill_steps += 1;
            if self.fill_steps > 8 {
                self.trace(|| "the disk has space again".into());
                self.disk.make_room();
                self.fill_steps = 0;
            }
        }
        if self.disk.armed() > 0 || !self.rng.chance(self.plan.fault_percent) {
            return;
        }
        let armed = random_fault(&mut self.rng);
        self.trace(|| format!("armed: {armed:?}"));
        self.disk.arm(armed);
        // Faults may coincide: a crash may occur during the recovery from a failure.
        if matches!(armed.fault, Fault::Fail { .. } | Fault::Full) && self.rng.chance(35) {
            let after = armed.after + self.rng.below(40);
            let second = match self.rng.weighted(&[(5, 0), (2, 1), (1, 2)]) {
                0 => {
                    Armed { on: None, after, fault: Fault::PowerLoss(Keep::random(&mut self.rng)) }
                }
                1 => random_fault(&mut self.rng),
                _ => Armed {
                    on: Some(Call::Open),
                    after: 0,
                    fault: Fault::Fail { keep: Keep::All, evict: false },
                },
            };
            self.trace(|| format!("and: {second:?}"));
            self.disk.arm(second);
        }
    }

    /// Arms a fault for the next opening, with some probability.
    pub(super) fn tempt_open(&mut self) {
        let fault = self.rng.weighted(&[(5, 0), (1, 1), (1, 2), (1, 3), (2, 4)]);
        let after = self.rng.below(40);
        let keep = Keep::random(&mut self.rng);
        let armed = match fault {
            0 => Armed { on: None, after, fault: Fault::PowerLoss(keep) },
            1 => Armed { on: None, after, fault: Fault::Fail { keep, evict: self.rng.chance(50) } },
            2 => {
                Armed { on: Some(Call::Open), after: 0, fault: Fault::Fail { keep, evict: false } }
            }
            3 => Armed { on: None, after, fault: Fault::Full },
            _ => {
                let call = *self.rng.pick(&[Call::Create, Call::SyncDirectory]);
                let fail = Fault::Fail { keep, evict: self.rng.chance(50) };
                let fault = *self.rng.pick(&[Fault::PowerLoss(keep), fail, fail]);
                Armed { on: Some(call), after: 0, fault }
            }
        };
        self.trace(|| format!("armed for the next opening: {armed:?}"));
        self.disk.arm(armed);
    }

    /// Loses power between two calls.
    pub(super) fn power_loss(&mut self) {
        let keep = Keep::random(&mut self.rng);
        self.trace(|| format!("the power fails: {keep:?}"));
        self.disk.power_loss(keep);
        self.count(Event::PowerLoss);
    }
}
