//! The choice of the next step.

use kv_core::{Mode, commit::GcLimits};

use super::{
    Request, World,
    requests::{key, local_op},
};
use crate::{
    events::Event,
    hold,
    model::{Content, Op, RawAttributes},
    violation::{Checked, Violation},
};

impl World {
    pub(super) fn step(&mut self) -> Checked {
        self.tempt_fate();
        let what = self.rng.weighted(&[
            (30, 0),
            (10, 1),
            (10, 2),
            (8, 3),
            (12, 4),
            (12, 5),
            (8, 6),
            (8, 7),
            (6, 8),
            (8, 9),
            (2, 10),
            (3, 11),
            (3, 12),
        ]);
        match what {
            0 => self.clients_step()?,
            1 => {
                self.sync()?;
            }
            2 => self.gc_step()?,
            3 => self.time_step(),
            4 => self.peers_step()?,
            5 => self.upload_step()?,
            6 => self.session_step()?,
            7 => self.read_step()?,
            8 => self.reader_step()?,
            9 => self.pull_step()?,
            10 => self.end_of_process()?,
            11 => self.calm_down()?,
            _ => {
                self.check_exact()?;
            }
        }
        // The writer thread does this between commits.
        if !self.is_dead() && self.rng.chance(if self.is_troubled { 50 } else { 5 }) {
            self.maintain()?;
        }
        if self.is_dead() {
            self.after_crash()?;
        }
        Ok(())
    }

    /// Some clients' operations in one batch, synced more often than not.
    fn clients_step(&mut self) -> Checked {
        let state = self.state();
        let mut requests: Vec<Request> = Vec::new();
        for _ in 0..self.rng.between(1, 6) {
            let op = local_op(&mut self.rng, &state, self.clock_ms);
            requests.extend(self.requests(op));
        }
        self.trace(|| "clients".into());
        self.commit(requests)?;
        self.maybe_sync(65)
    }

    pub(super) fn maybe_sync(&mut self, percent: u64) -> Checked {
        if !self.is_dead() && self.rng.chance(percent) {
            self.sync()?;
        }
        Ok(())
    }

    pub(super) fn gc_step(&mut self) -> Checked {
        let mut stable = self.stable();
        if self.rng.chance(30) {
            stable = kv_core::Hlc(stable.0.saturating_sub(self.rng.below(3_000 << 16)));
        }
        let limits = GcLimits {
            rows: self.rng.weighted(&[(1, 1), (2, 3), (1, 100)]),
            bodies: self.rng.index(4),
            stable,
            expired_ms: None,
            collects_expired: true,
        };
        if let Some(swept) = self.collect_garbage(&limits)?
            && !swept.is_idle()
        {
            self.maybe_sync(80)?;
        }
        Ok(())
    }

    fn time_step(&mut self) {
        let step = self.rng.weighted(&[(6, 0), (3, 1), (1, 2), (2, 3)]);
        let rng = &mut self.rng;
        self.clock_ms = match step {
            0 => self.clock_ms + rng.below(3_000),
            1 => self.clock_ms + rng.below(30_000),
            2 => self.clock_ms + rng.below(3_600_000),
            _ => {
                let back = rng.below(10_000);
                self.count(Event::ClockBack);
                self.clock_ms - back
            }
        };
    }

    fn end_of_process(&mut self) -> Checked {
        match self.rng.weighted(&[(4, 0), (2, 1), (2, 2), (1, 3)]) {
            0 => self.power_loss(),
            1 => {
                self.trace(|| "the process is killed".into());
                self.count(Event::Kill);
                self.disk.kill();
            }
            2 => {
                if self.sync()? && !self.is_dead() {
                    self.close()?;
                }
                self.disk.kill();
            }
            _ => {
                self.close_engine()?;
                self.disk.kill();
            }
        }
        Ok(())
    }

    /// Faults stop, and there is room: the store must take writes again, or else be read-only for
    /// a reason that it reports, and read.
    fn calm_down(&mut self) -> Checked {
        self.disk.disarm();
        self.disk.make_room();
        let was_full = self.report.events.get(Event::DiskFull);
        let was_troubled = self.is_troubled;
        for _ in 0..4 {
            if self.is_dead() {
                return Ok(());
            }
            self.maintain()?;
            if let Mode::ReadOnly(_) = self.status().mode {
                return self.calm_reads();
            }
            let op = match self.state().namespaces().next() {
                Some(live) => {
                    let at = (live.id, key(&mut self.rng));
                    Op::Put(at, Content::new("probe".into()), RawAttributes::default())
                }
                None => Op::Create(String::new(), "probe".into(), None),
            };
            let requests = self.requests(op);
            self.commit(requests)?;
            if self.sync()? && !self.is_troubled {
                if was_troubled {
                    self.count(Event::FailureRecovered);
                    if was_full > 0 {
                        self.count(Event::DiskFullRecovered);
                    }
                }
                self.check_exact()?;
                return Ok(());
            }
        }
        let status = self.status();
        Err(Violation::Wrong(format!("all is well, and yet the store takes no writes: {status:?}")))
    }

    fn calm_reads(&mut self) -> Checked {
        let state = self.state();
        let view = self.committer().view();
        for (name, row) in state.rows.iter().take(20) {
            let found = view.row(name.0, &name.1);
            let found = found.map_err(|error| {
                Violation::Wrong(format!(
                    "all is well, and yet a read-only store can't read: {error}"
                ))
            })?;
            hold!(found.is_some_and(|found| found.dot == row.dot), "{name:?} has another row");
        }
        self.count(Event::SyncFailedReadOnly);
        self.trace(|| "read-only: the process is ended".into());
        self.disk.kill();
        Ok(())
    }

    /// The end of a run: all must be well once more.
    pub(super) fn end(&mut self) -> Checked {
        self.disk.disarm();
        self.disk.make_room();
        for _ in 0..3 {
            self.calm_down()?;
            if !self.is_dead() {
                break;
            }
            self.after_crash()?;
            self.disk.disarm();
        }
        self.drain()?;
        self.power_loss();
        self.plan.fault_percent = 0;
        self.reopen()?;
        self.drain()?;
        self.check_exact()?;
        Ok(())
    }
}
