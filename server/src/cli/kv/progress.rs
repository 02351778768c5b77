//! Progress on a terminal. In a pipe there is none.

use std::io::{self, IsTerminal as _, Write as _};

use kv_core::env::{Environment as _, SystemEnvironment};

/// How often the line changes, in milliseconds.
const EVERY_MS: u64 = 200;

/// A line on stderr that shows how many entries were moved, if stderr is a terminal.
pub(super) struct Progress {
    /// What is done.
    verb: &'static str,
    /// The clock; none if nothing is shown.
    clock: Option<SystemEnvironment>,
    /// When the work began, in milliseconds.
    begun: u64,
    /// When the line was last changed.
    shown: u64,
}

impl Progress {
    /// Begins. `is_quiet` shows nothing, because the entries themselves go to the terminal.
    pub(super) fn new(verb: &'static str, is_quiet: bool) -> Progress {
        let is_shown = io::stderr().is_terminal() && !is_quiet;
        let clock = is_shown.then(SystemEnvironment::new);
        let begun = clock.as_ref().map_or(0, SystemEnvironment::now_ms);
        Progress { verb, clock, begun, shown: begun }
    }

    /// Shows how many entries were moved.
    pub(super) fn show(&mut self, entries: u64) {
        let Some(clock) = &self.clock else { return };
        let now = clock.now_ms();
        if now < self.shown + EVERY_MS {
            return;
        }
        self.shown = now;
        let rate = entries * 1000 / (now - self.begun).max(1);
        let mut out = io::stderr().lock();
        let line = write!(out, "\r{} {entries} entries, {rate}/s \u{1b}[K", self.verb);
        // Progress is not worth an error.
        drop(line.and_then(|()| out.flush()));
    }
}

impl Drop for Progress {
    /// Removes the line.
    fn drop(&mut self) {
        if self.clock.is_some() {
            eprint!("\r\u{1b}[K");
        }
    }
}
