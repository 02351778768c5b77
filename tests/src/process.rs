//! A child process that ends with its test, and whose log a failing test shows.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal};

use crate::wait;

/// The number of log lines that a failing test shows.
const SHOWN_LINES: usize = 40;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; its stderr goes to the file `log`.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Process> {
        let child = command.stdin(Stdio::piped()).stderr(File::create(log)?).spawn()?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// The child, for access to its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails the test if it has ended.
    ///
    /// # Panics
    /// If it has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.ended() {
            panic!("the process ended ({status}); its log: {}", self.log());
        }
    }

    /// The text that it has written to stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns how it ended; none if it still runs.
    ///
    /// # Panics
    /// If the system reports no status.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child has a status")
    }

    /// Returns how it ended, with the last line of its log; none if it still runs.
    ///
    /// # Panics
    /// If the system reports no status.
    pub fn end_reason(&mut self) -> Option<String> {
        let status = self.ended()?;
        let log = self.log();
        let last = log.lines().last().unwrap_or_default();
        Some(format!("the process ended ({status}): {last}"))
    }

    /// Kills it at once.
    ///
    /// # Panics
    /// If the system rejects the signal.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child accepts SIGKILL");
        self.child.wait().expect("a killed child can be waited for");
    }

    /// Closes its stdin. Some programs end when that happens.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends it SIGTERM.
    ///
    /// # Panics
    /// If the system rejects the signal.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).expect("a child accepts SIGTERM");
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// If it takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait::until(limit, || self.ended())
            .unwrap_or_else(|| panic!("the process has not ended in {limit:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _is_gone_already = self.child.kill();
        let _nothing_more_to_do = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("the end of {}:\n  {}", self.log.display(), shown.join("\n  "));
        }
    }
}

/// Prints a line that is visible even if the test passes: the test runner hides only what goes through
/// `print!` and `eprint!`.
pub fn announce(line: &str) {
    let _nobody_looks = writeln!(io::stderr(), "{line}");
}
