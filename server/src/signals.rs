//! The signals that stop a process.

use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP.
pub(crate) struct Signals {
    /// SIGTERM.
    terminate: Signal,
    /// SIGINT.
    interrupt: Signal,
    /// None under `nohup`, where the server must survive its terminal.
    hangup: Option<Signal>,
    /// Only the first hangup counts: when a terminal is closed, its shell and the system may both send
    /// one, and the second does not mean that the operator is in a hurry.
    has_hung_up: bool,
}

impl Signals {
    /// Catches the signals from now on.
    pub(crate) fn new() -> io::Result<Signals> {
        let hangup = SignalKind::hangup();
        let is_ignored = fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| ignores(&status, hangup.as_raw_value()));
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if is_ignored { None } else { Some(signal(hangup)?) },
            has_hung_up: false,
        })
    }

    /// Waits for the next signal, and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        let has_hung_up = self.has_hung_up;
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) if !has_hung_up => hangup.recv().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => {
                self.has_hung_up = true;
                "SIGHUP"
            }
        }
    }
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
