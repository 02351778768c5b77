//! A server process, on a port of the system's choice, with a data directory of its own.

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

/// Long enough for anything that should happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, without this process' settings.
pub(crate) fn waypost<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    waypost(args).output().expect("the binary runs")
}

/// A server that is killed when the test is done with it.
pub(crate) struct Server {
    child: Child,
    /// `127.0.0.1:PORT` or `unix:PATH`.
    pub(crate) address: String,
    pub(crate) directory: TempDir,
    log: Arc<Mutex<String>>,
    ended: Receiver<()>,
}

impl Server {
    /// Starts one with these settings, on TCP.
    pub(crate) fn start(args: &[&str]) -> Server {
        let directory = TempDir::new().expect("a directory");
        Server::start_in(directory, "127.0.0.1:0", args)
    }

    /// Starts one in a directory that may have been another's.
    pub(crate) fn start_in(directory: TempDir, listen: &str, args: &[&str]) -> Server {
        let command = waypost(["serve", "--listen", listen]);
        Server::start_with(command, directory, args)
    }

    /// Starts one by a command that lacks the data directory and these settings.
    pub(crate) fn start_with(mut command: Command, directory: TempDir, args: &[&str]) -> Server {
        let mut child = command
            .arg("--data")
            .arg(directory.path().join("data"))
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let (say_address, address) = channel();
        let (say_ended, ended) = channel();
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once(" listens on ") {
                    let address = rest.split(',').next().unwrap_or_default();
                    let address = address.trim_start_matches("http://").to_owned();
                    say_address.send(address).expect("the test waits for it");
                }
                let mut lines = lines.lock().expect("nobody panics with it");
                lines.push_str(&line);
                lines.push('\n');
            }
            // The process has closed its stderr: it is gone, or about to be.
            drop(say_ended);
        });
        let address = address.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let log = log.lock().expect("nobody panics with it");
            panic!("no address ({error}) in: {log}");
        });
        Server { child, address, directory, log, ended }
    }

    /// The process, as the system numbers it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection that says nothing as yet.
    pub(crate) fn connect(&self) -> Peer<TcpStream> {
        self.try_connect().expect("it listens")
    }

    pub(crate) fn try_connect(&self) -> std::io::Result<Peer<TcpStream>> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Peer::new(stream))
    }

    /// The URL that the client commands take.
    pub(crate) fn url(&self) -> String {
        if self.address.starts_with("unix:") {
            return self.address.clone();
        }
        format!("http://{}", self.address)
    }

    /// Returns after the time `header-timeout`: a connection that says nothing is closed then.
    pub(crate) fn tick(&self) {
        assert_eq!(self.connect().rest(), "", "a silent connection is closed without a word");
    }

    pub(crate) fn metric(&self, name: &str) -> Option<String> {
        let text = self.connect().request("GET /metrics HTTP/1.1\r\n\r\n").body;
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'))?;
        Some(line[name.len()..].trim().to_owned())
    }

    /// Looks until a metric has this value.
    pub(crate) fn await_metric(&self, name: &str, value: &str) {
        // Bounded by the time that each look takes, and by the ticks between them.
        for _ in 0..200 {
            if self.metric(name).as_deref() == Some(value) {
                return;
            }
            self.tick();
        }
        panic!("{name} is {:?}, never {value}", self.metric(name));
    }

    /// Looks until the log says this: two equal signals before the first is seen are one.
    pub(crate) fn await_log(&self, says: &str) {
        for _ in 0..3000 {
            if self.log().contains(says) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{says:?} is never in {}", self.log());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("not 0"), signal).expect("it runs");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let timed_out = Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        assert_ne!(self.ended.recv_timeout(PATIENCE), timed_out, "it does not end");
        self.child.wait().expect("our child")
    }

    /// Stops it as its operator would, and gives its directory back.
    pub(crate) fn stop(mut self) -> TempDir {
        self.signal(Signal::TERM);
        assert!(self.wait().success(), "{}", self.log());
        self.into_directory()
    }

    /// The directory of a server that has ended.
    pub(crate) fn into_directory(mut self) -> TempDir {
        assert!(!self.is_running());
        std::mem::replace(&mut self.directory, TempDir::new().expect("a directory"))
    }

    /// All that it logged in its life.
    pub(crate) fn into_log(mut self) -> String {
        self.signal(Signal::TERM);
        assert!(self.wait().success(), "{}", self.log());
        self.log()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().expect("it runs");
            self.child.wait().expect("our child");
        }
    }
}
