//! A child process that does not outlive its test, with a log that a failing test shows.

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

/// Lines of a log that a failing test shows.
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

    /// The process's own pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether it has ended, and how.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child's status can be asked for")
    }

    /// Kills it where it stands.
    ///
    /// # Panics
    /// If the system does not let us.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child can be waited for");
    }

    /// Closes its stdin, on which some end.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends it SIGTERM.
    ///
    /// # Panics
    /// If the system does not let us.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).expect("a child can be signalled");
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
            eprintln!("end of {}:\n  {}", self.log.display(), shown.join("\n  "));
        }
    }
}

/// Says something that is seen though the test passes: the test runner keeps what is printed.
pub fn announce(line: &str) {
    let _nobody_looks = writeln!(io::stderr(), "{line}");
}
