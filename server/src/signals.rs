//! The signals that stop a process, and the one that makes a server reload its configuration.
//!
//! SIGHUP has two meanings. An operator sends it to reload; and the system and the shell send it when a terminal is closed, and
//! then a process that was started there should stop. A terminal that is closed is not a terminal any more: that
//! tells the two apart.

use std::{
    fs,
    io::{self, IsTerminal as _},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

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
    /// None under `nohup`, where the server ignores that its terminal is closed.
    signal: Option<Signal>,
    /// How many of the standard streams were terminals.
    terminals: usize,
}

impl Hangups {
    /// Catches the signal from now on.
    pub(crate) fn new() -> io::Result<Hangups> {
        let hangup = SignalKind::hangup();
        let is_ignored = fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| ignores(&status, hangup.as_raw_value()));
        let signal = if is_ignored { None } else { Some(signal(hangup)?) };
        Ok(Hangups { signal, terminals: terminals() })
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
        let has_come = match &mut self.signal {
            Some(signal) => signal.recv().await.is_some(),
            None => false,
        };
        if !has_come {
            std::future::pending().await
        }
    }

    /// Whether a standard stream was a terminal and is none any more.
    fn is_terminal_closed(&self) -> bool {
        terminals() < self.terminals
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
    fn the_mask_of_ignored_signals_is_read_bit_by_bit() {
        let status = "Name:\tx\nSigIgn:\t0000000000000001\n";
        assert!(ignores(status, 1) && !ignores(status, 2));
        assert!(!ignores("", 1) && !ignores("SigIgn:\tx", 1));
    }
}
