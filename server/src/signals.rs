//! The signals that stop a process, and the one that makes a server reload its configuration.
//!
//! SIGHUP has two meanings. An operator sends it to reload; and the system and the shell send it when a terminal is closed, and
//! then a process that was started there should stop. A terminal that is closed is not a terminal any more: that
//! tells the two apart. A process that the shell has disowned gets no signal when its terminal is closed; one that comes long
//! after that is the operator's.

use std::{
    fs,
    io::{self, IsTerminal as _},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, Interval, MissedTickBehavior, interval},
};

/// How often the terminals are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The signal of a terminal that is closed comes within this time.
const SIGNAL_COMES: Duration = Duration::from_secs(10);

/// SIGTERM, SIGINT, and SIGHUP of a terminal that is closed.
pub(crate) struct Signals {
    /// SIGTERM.
    terminate: Signal,
    /// SIGINT.
    interrupt: Signal,
    /// SIGHUP.
    hangups: Hangups,
    /// Only the first hangup counts: when a terminal is closed, its shell and the system may both send
    /// one, and the second does not mean that the operator is in a hurry.
    has_hung_up: bool,
}

impl Signals {
    /// Catches the signals from now on.
    pub(crate) fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangups: Hangups::new()?,
            has_hung_up: false,
        })
    }

    /// Waits for the next signal to stop, and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        let has_hung_up = self.has_hung_up;
        let hangup = async {
            loop {
                self.hangups.any().await;
                if self.hangups.is_terminal_closed() && !has_hung_up {
                    return;
                }
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = hangup => {
                self.has_hung_up = true;
                "the terminal was closed (SIGHUP)"
            }
        }
    }
}

/// SIGHUP.
pub(crate) struct Hangups {
    /// The signal.
    signal: Signal,
    /// The process was started under `nohup`: a terminal that is closed does not stop it, and its signal only reloads.
    stays: bool,
    /// The terminals of the standard streams.
    terminals: Terminals,
    /// When they are looked at.
    looks: Interval,
}

impl Hangups {
    /// Catches the signal from now on.
    pub(crate) fn new() -> io::Result<Hangups> {
        let hangup = SignalKind::hangup();
        let stays = fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| ignores(&status, hangup.as_raw_value()));
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let terminals = Terminals { open: terminals(), fewer_since: None };
        Ok(Hangups { signal: signal(hangup)?, stays, terminals, looks })
    }

    /// Waits for the next request to reload.
    pub(crate) async fn next(&mut self) {
        loop {
            self.any().await;
            if !self.is_terminal_closed() {
                return;
            }
        }
    }

    /// Waits for the next signal.
    async fn any(&mut self) {
        loop {
            tokio::select! {
                biased;
                Some(()) = self.signal.recv() => return,
                now = self.looks.tick() => self.terminals.look(terminals(), now),
            }
        }
    }

    /// Whether a standard stream was a terminal and is none any more.
    fn is_terminal_closed(&self) -> bool {
        !self.stays && self.terminals.is_one_closed(terminals())
    }
}

/// How many terminals there are.
#[derive(Debug)]
struct Terminals {
    /// How many there were, without those that were closed long ago.
    open: usize,
    /// Since when there are fewer.
    fewer_since: Option<Instant>,
}

impl Terminals {
    /// Notes how many there are now. One that was closed without a signal does not count any more.
    fn look(&mut self, open: usize, now: Instant) {
        if !self.is_one_closed(open) {
            self.fewer_since = None;
            return;
        }
        let since = *self.fewer_since.get_or_insert(now);
        if now.duration_since(since) >= SIGNAL_COMES {
            *self = Terminals { open, fewer_since: None };
        }
    }

    /// Whether one was closed lately.
    fn is_one_closed(&self, open: usize) -> bool {
        open < self.open
    }
}

/// How many of the standard streams are terminals.
fn terminals() -> usize {
    let streams =
        [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()];
    streams.into_iter().filter(|is_terminal| *is_terminal).count()
}

/// Whether a process ignores a signal, by its status in Linux' `/proc`. Other systems have no such file.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_was_closed_long_before_a_signal_has_nothing_to_do_with_it() {
        let start = Instant::now();
        let mut terminals = Terminals { open: 3, fewer_since: None };
        for (second, open, is_closed) in
            [(0, 3, false), (1, 0, true), (10, 0, true), (11, 0, false), (50, 0, false)]
        {
            terminals.look(open, start + Duration::from_secs(second));
            assert_eq!(terminals.is_one_closed(open), is_closed, "after {second} s");
        }
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read_bit_by_bit() {
        let status = "Name:\tx\nSigIgn:\t0000000000000001\n";
        assert!(ignores(status, 1) && !ignores(status, 2));
        assert!(!ignores("", 1) && !ignores("SigIgn:\tx", 1));
    }
}
