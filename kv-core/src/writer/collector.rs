//! When garbage is collected, how much of it in a step, and what is done beside it from time to time.

use std::time::Duration;

use super::{
    pace::GcPace,
    step::{Step, WriterConfig},
    timer::GcTimer,
};
use crate::commit::GcStep;

/// The schedule of garbage collection.
#[derive(Debug)]
pub(super) struct Collector {
    /// When the next step is due.
    timer: GcTimer,
    /// How much it does.
    pace: GcPace,
    /// The last step, until it is known how long it took.
    last: Option<GcStep>,
    /// When the closed timestamp of an idle store may rise again, and values that were freed too early are
    /// looked for.
    closing: Duration,
    /// Where the last look for such values ended.
    freed_early: Vec<u8>,
}

impl Collector {
    /// The schedule of a process that starts.
    pub(super) fn new(now: Duration, config: &WriterConfig) -> Collector {
        Collector {
            timer: GcTimer::new(now, config.gc_interval),
            pace: GcPace::default(),
            last: None,
            closing: now + config.closing_interval,
            freed_early: Vec::new(),
        }
    }

    /// The step that is due, if one is: the engine gets its chance to recover first. `others_wait` is whether a commit
    /// or a turn waits.
    pub(super) fn next_step(&self, now: Duration, others_wait: bool) -> Option<Step> {
        match self.timer {
            GcTimer::Ready => Some(Step::CollectGarbage),
            timer if timer.yields() && others_wait => None,
            timer if timer.due(&self.pace) <= now => Some(Step::Recover),
            GcTimer::More { .. } | GcTimer::Waiting(_) => None,
        }
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> Duration {
        self.timer.due(&self.pace)
    }

    /// The most rows of each kind that the next step changes; never more than `most`.
    pub(super) fn rows(&self, most: usize) -> usize {
        self.pace.rows(most)
    }

    /// The engine had its chance to recover.
    pub(super) fn recovered(&mut self, now: Duration) {
        self.timer.recovered(now, &self.pace);
    }

    /// A commit or a turn has run.
    pub(super) fn worked(&mut self) {
        self.timer.worked();
    }

    /// A step that began now ended; without a result it failed, or the engine takes no commits.
    pub(super) fn collected(&mut self, now: Duration, interval: Duration, step: Option<GcStep>) {
        self.timer.collected(now, interval, step.is_some_and(|step| step.more));
        self.last = step;
    }

    /// Records how long the last step took.
    pub(super) fn took(&mut self, took: Duration) {
        match self.last.take() {
            Some(step) if step.bodies + step.chunks > 0 => self.pace.took_for_bodies(took),
            Some(step) => self.pace.took(took, step.rows()),
            None => {}
        }
    }

    /// Where the look for values that were freed too early continues.
    pub(super) fn freed_early(&mut self) -> &mut Vec<u8> {
        &mut self.freed_early
    }

    /// Whether the closed timestamp of an idle store may rise now. If so, it may again after an interval.
    pub(super) fn closes_time(&mut self, now: Duration, interval: Duration) -> bool {
        if now < self.closing {
            return false;
        }
        self.closing = now + interval;
        true
    }
}
