//! The signals that ask a server to end.

use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None under `nohup`, where the end of the terminal is not to be the end of the server.
    hangup: Option<Signal>,
    /// One hangup is enough: when a terminal is closed, its shell and the system may both send one, and
    /// the second is nobody's hurry.
    hung_up: bool,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Signals> {
        let hangup = SignalKind::hangup();
        let is_ignored = fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| ignores(&status, hangup.as_raw_value()));
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if is_ignored { None } else { Some(signal(hangup)?) },
            hung_up: false,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hung_up = self.hung_up;
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) if !hung_up => hangup.recv().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => {
                self.hung_up = true;
                "SIGHUP"
            }
        }
    }
}

/// Whether a process ignores a signal, by what Linux tells of it; elsewhere nothing says so.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
