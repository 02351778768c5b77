//! The state of the engine, as the writer last saw it.

use super::step::Step;
use crate::engine::{Mode, Status};

/// The engine's state when it was last looked at, so that a change is noticed once.
#[derive(Debug)]
pub(super) struct Health {
    /// The engine's mode at the last look.
    mode: Mode,
    /// How often the engine had been reopened at the last look.
    reopened: u64,
    /// A reader met a failure, so that an attempt to reopen the engine is due.
    must_recover: bool,
    /// The last step was a recovery.
    has_just_recovered: bool,
}

impl Health {
    /// The health of an engine that was just opened.
    pub(super) fn new() -> Health {
        Health { mode: Mode::Writer, reopened: 0, must_recover: false, has_just_recovered: false }
    }

    /// Whether an attempt to reopen the engine is due.
    pub(super) fn must_recover(&self) -> bool {
        self.must_recover
    }

    /// Requests an attempt to reopen the engine.
    pub(super) fn request_recovery(&mut self) {
        self.must_recover = true;
    }

    /// Records that the attempt was made.
    pub(super) fn recovered(&mut self) {
        self.must_recover = false;
    }

    /// Notes which step runs.
    pub(super) fn note_step(&mut self, step: Step) {
        self.has_just_recovered = step == Step::Recover;
    }

    /// Whether another step that is due goes before the recovery: readers of a bad sector request one after
    /// the other, and callers must get their answers meanwhile.
    pub(super) fn lets_others_go_first(&self) -> bool {
        self.has_just_recovered
    }

    /// Whether the engine was reopened since the last call: views from before cannot be read.
    pub(super) fn has_reopened(&mut self, status: &Status) -> bool {
        std::mem::replace(&mut self.reopened, status.reopened) != status.reopened
    }

    /// Logs, once, that the store stopped or resumed taking writes.
    pub(super) fn note_mode(&mut self, mode: &Mode) {
        if *mode == self.mode {
            return;
        }
        match mode {
            Mode::Writer => tracing::info!("the store takes writes again"),
            Mode::Waiting(why) => {
                tracing::error!(why, "the store takes no writes for now; reads work")
            }
            Mode::ReadOnly(why) => {
                tracing::error!(why, "the store takes no writes until it is reopened; reads work");
            }
            Mode::Closed(why) => tracing::error!(why, "the store takes neither reads nor writes"),
        }
        self.mode = mode.clone();
    }
}
