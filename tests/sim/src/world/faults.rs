//! Faults and their duration.

use waypost_disk_tests::{
    disk::{Armed, Call, Fault as DiskFault, Keep},
    violation::Checked,
};

use super::{Happening, World};
use crate::{events::Event, network::Way, plan::Fault};

/// A temporary fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Cut(Vec<Way>),
    Full(usize),
    Slow(usize),
    Clock(usize),
}

impl World {
    pub(super) fn fault(&mut self) -> Checked {
        if self.is_healed {
            return Ok(());
        }
        self.report.faults += 1;
        let node = self.rng.index(self.nodes.len());
        let fault = self.rng.weighted(&self.plan.kinds);
        let a_while = self.rng.weighted(&[(4, 300), (4, 3_000), (2, 30_000)]);
        let a_while = a_while.max(self.rng.below(400 * self.plan.pause_ms));
        self.trace(|| format!("{node}: {fault:?}, for {a_while} ms if it lasts"));
        match fault {
            Fault::Crash => self.lose_power(node)?,
            Fault::DiskFails => {
                let on = *self.rng.pick(&[Call::Sync, Call::Write, Call::SetLen]);
                let keep = Keep::random(&mut self.rng);
                let fault = DiskFault::Fail { keep, evict: self.rng.chance(50) };
                self.arm(node, on, fault);
                self.count(Event::DiskFailed);
            }
            Fault::DiskFull => {
                self.nodes[node].disk.fill();
                self.count(Event::DiskFull);
                self.after(a_while, Happening::Mend(Wrong::Full(node)));
            }
            Fault::OneWayCut => {
                let to = (node + 1 + self.rng.index(self.nodes.len() - 1)) % self.nodes.len();
                self.network.cut.insert((node, to));
                self.count(Event::OneWayCut);
                self.after(a_while, Happening::Mend(Wrong::Cut(vec![(node, to)])));
            }
            Fault::Partition => self.part(a_while)?,
            Fault::ClockStep => {
                self.step_clock(node);
            }
            Fault::Join => self.join()?,
            Fault::Leave => self.leave(node)?,
            Fault::OldImage => self.restore(node)?,
            Fault::Copy => self.copy(node)?,
            Fault::Lie => self.lie(node)?,
            Fault::Damage => self.damage(node)?,
            Fault::NamespaceRace => {
                self.part(a_while)?;
                self.race_for_namespace()?;
            }
            Fault::SlowPeer => {
                self.nodes[node].is_slow = true;
                self.after(a_while, Happening::Mend(Wrong::Slow(node)));
            }
        }
        Ok(())
    }

    fn arm(&mut self, node: usize, on: Call, fault: DiskFault) {
        let after = self.rng.below(6);
        self.nodes[node].disk.arm(Armed { on: Some(on), after, fault });
    }

    /// Cuts the power now, or during one of the next calls of the disk.
    fn lose_power(&mut self, node: usize) -> Checked {
        let keep = Keep::random(&mut self.rng);
        let Some(running) = &self.nodes[node].running else { return Ok(()) };
        let (receives, serves) = running.core.sessions();
        self.count(Event::PowerLoss);
        if receives > 0 {
            self.count(Event::CrashInSession);
        }
        if serves > 0 {
            self.count(Event::CrashInServing);
        }
        if self.rng.chance(60) {
            let on = *self.rng.pick(&[Call::Sync, Call::Write]);
            self.arm(node, on, DiskFault::PowerLoss(keep));
            return Ok(());
        }
        self.nodes[node].disk.power_loss(keep);
        self.crash(node)
    }

    /// Partitions the locations in two groups.
    fn part(&mut self, for_ms: u64) -> Checked {
        self.count(Event::Partition);
        let side: Vec<bool> = self.nodes.iter().map(|_| self.rng.chance(50)).collect();
        let all = (0..side.len()).flat_map(|a| (0..side.len()).map(move |b| (a, b)));
        let cut: Vec<Way> = all.filter(|(a, b)| side[*a] != side[*b]).collect();
        let is_noticed = self.rng.chance(50);
        for (from, to) in &cut {
            self.network.cut.insert((*from, *to));
            if is_noticed {
                self.miss(*from, *to)?;
            }
        }
        self.after(for_ms, Happening::Mend(Wrong::Cut(cut)));
        Ok(())
    }

    pub(super) fn mend(&mut self, wrong: Wrong) -> Checked {
        match wrong {
            Wrong::Full(node) => self.nodes[node].disk.make_room(),
            Wrong::Slow(node) => self.nodes[node].is_slow = false,
            Wrong::Clock(node) => self.right_clock(node)?,
            Wrong::Cut(cut) => {
                for (from, to) in cut {
                    self.network.cut.remove(&(from, to));
                    let are_up =
                        self.nodes[from].running.is_some() && self.nodes[to].running.is_some();
                    if are_up && self.nodes[from].member != self.nodes[to].member {
                        self.meet(from, to)?;
                    }
                }
            }
        }
        Ok(())
    }
}
