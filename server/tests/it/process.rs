//! A server process on any free port, with a data directory of its own.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    net::TcpStream,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http::Peer;

/// Longer than anything in these tests may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, without the environment of this process.
pub(crate) fn waypost<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    waypost(args).output().expect("the binary runs")
}

/// A server that is killed at the end of its test.
pub(crate) struct Server {
    child: Child,
    /// `127.0.0.1:PORT` or `unix:PATH`.
    pub(crate) address: String,
    pub(crate) directory: TempDir,
    log: Arc<Mutex<String>>,
    ended: Receiver<()>,
}

impl Server {
    /// Starts a server on TCP with these arguments.
    pub(crate) fn start(args: &[&str]) -> Server {
        let directory = TempDir::new().expect("a temporary directory can be made");
        Server::start_in(directory, "127.0.0.1:0", args)
    }

    /// Starts a server in a directory that another server may have used.
    pub(crate) fn start_in(directory: TempDir, listen: &str, args: &[&str]) -> Server {
        let command = waypost(["serve", "--listen", listen]);
        Server::start_with(command, directory, args)
    }

    /// Starts a server with a command, to which the data directory and the arguments are added.
    pub(crate) fn start_with(mut command: Command, directory: TempDir, args: &[&str]) -> Server {
        let mut child = command
            .arg("--data")
            .arg(directory.path().join("data"))
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let log = Arc::new(Mutex::new(String::new()));
        let (address_sender, address) = channel();
        let (end_sender, ended) = channel();
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once(" listens on ") {
                    let address = rest.split(',').next().unwrap_or_default();
                    let address = address.rsplit("//").next().unwrap_or_default().to_owned();
                    // Only the first listener is awaited.
                    drop(address_sender.send(address));
                }
                let mut lines = lines.lock().expect("no thread panics while it holds the log");
                lines.push_str(&line);
                lines.push('\n');
            }
            // The process has closed its stderr, so it has ended or is about to.
            drop(end_sender);
        });
        let address = address.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let log = log.lock().expect("no thread panics while it holds the log");
            panic!("the server logged no address ({error}): {log}");
        });
        Server { child, address, directory, log, ended }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection on which nothing was sent yet.
    pub(crate) fn connect(&self) -> Peer<TcpStream> {
        self.try_connect().expect("the server listens")
    }

    pub(crate) fn try_connect(&self) -> std::io::Result<Peer<TcpStream>> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Peer::new(stream))
    }

    /// The URL for client commands.
    pub(crate) fn url(&self) -> String {
        if self.address.starts_with("unix:") {
            return self.address.clone();
        }
        format!("http://{}", self.address)
    }

    /// Waits for the duration of `header-timeout`: a silent connection is closed after it.
    pub(crate) fn tick(&self) {
        assert_eq!(self.connect().rest(), "", "a silent connection is closed without a response");
    }

    pub(crate) fn metric(&self, name: &str) -> Option<String> {
        let text = self.connect().request("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body;
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'))?;
        Some(line[name.len()..].trim().to_owned())
    }

    /// Polls a metric until it has this value.
    pub(crate) fn await_metric(&self, name: &str, value: &str) {
        // Bounded by the duration of each poll and of each tick.
        for _ in 0..200 {
            if self.metric(name).as_deref() == Some(value) {
                return;
            }
            self.tick();
        }
        panic!("{name} is {:?}, never {value}", self.metric(name));
    }

    /// Waits until the log contains this text. Use it between two equal signals: the system merges
    /// them if the first is still pending.
    pub(crate) fn await_log(&self, text: &str) {
        self.await_log_times(text, 1);
    }

    /// Waits until the log contains this text as often as this.
    pub(crate) fn await_log_times(&self, text: &str, times: usize) {
        for _ in 0..3000 {
            if self.log().matches(text).count() >= times {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{text:?} does not appear {times} times in {}", self.log());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        kill_process(Pid::from_raw(id).expect("a process id is not 0"), signal)
            .expect("the server runs");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child has a status").is_none()
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let timed_out = Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        assert_ne!(self.ended.recv_timeout(PATIENCE), timed_out, "the server does not end");
        self.child.wait().expect("the child can be waited for")
    }

    /// Stops it with SIGTERM, and returns its directory.
    pub(crate) fn stop(mut self) -> TempDir {
        self.signal(Signal::TERM);
        assert!(self.wait().success(), "{}", self.log());
        self.into_directory()
    }

    /// The directory of a server that has ended.
    pub(crate) fn into_directory(mut self) -> TempDir {
        assert!(!self.is_running());
        std::mem::replace(
            &mut self.directory,
            TempDir::new().expect("a temporary directory can be made"),
        )
    }

    /// Stops it with SIGTERM, and returns its whole log.
    pub(crate) fn into_log(mut self) -> String {
        self.signal(Signal::TERM);
        assert!(self.wait().success(), "{}", self.log());
        self.log()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no thread panics while it holds the log").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().expect("the server runs");
            self.child.wait().expect("the child can be waited for");
        }
    }
}
