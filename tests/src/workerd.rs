//! Our test Worker in a runtime: workerd itself, or miniflare.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Address,
    clients::{Miniflare, Workerd},
    http::Connection,
    process::Process,
    wait,
};

/// A running Worker.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    address: Address,
    ends_with_stdin: bool,
    // The runtime ends when it writes to a closed stdout, and its log is in the directory.
    _stdout: BufReader<ChildStdout>,
    _directory: TempDir,
}

impl Worker {
    /// Runs the Worker of `tests/clients` in a workerd, with its external services at these
    /// addresses.
    ///
    /// # Panics
    /// If the runtime does not start.
    #[must_use]
    pub fn in_workerd(workerd: &Workerd, external: &[(&str, String)]) -> Worker {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/waypost.capnp");
        let mut command = Command::new(&workerd.program);
        command.arg("serve").arg(config).arg("--control-fd=1");
        command.env("RUNTIME_VERSION", &workerd.version);
        for (name, address) in external {
            command.arg("--external-addr").arg(format!("{name}={address}"));
        }
        Worker::start(&mut command, false)
    }

    /// Runs the Worker in a miniflare. `way` selects how its bindings reach the server: the
    /// arguments of `tests/clients/miniflare.cjs`.
    ///
    /// # Panics
    /// If the runtime does not start.
    #[must_use]
    pub fn in_miniflare(miniflare: &Miniflare, way: &[&str]) -> Worker {
        Worker::start(Worker::script(miniflare).args(way), true)
    }

    /// The error message of a workerd for an invalid configuration in `tests/clients`.
    ///
    /// # Panics
    /// If the program can't be run, or accepts the configuration.
    #[must_use]
    pub fn error_of_workerd(workerd: &Workerd, config: &str) -> String {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(config);
        start_error(Command::new(&workerd.program).arg("serve").arg(config))
    }

    /// The error message of a miniflare for invalid options of a binding of our plugin.
    ///
    /// # Panics
    /// If the program can't be run, or accepts the options.
    #[must_use]
    pub fn error_of_miniflare(miniflare: &Miniflare, kind: &str, options: &str) -> String {
        start_error(Worker::script(miniflare).args(["wrong", kind, options]))
    }

    /// `tests/clients/miniflare.cjs`, without the arguments that select the way.
    fn script(miniflare: &Miniflare) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let mut command = Command::new(&miniflare.node);
        command.arg(folder.join("miniflare.cjs")).arg(&miniflare.directory);
        command.arg(miniflare.package);
        command
    }

    /// Starts a runtime and reads the port from the line of JSON that it prints.
    fn start(command: &mut Command, ends_with_stdin: bool) -> Worker {
        let directory = TempDir::with_prefix("waypost-worker-").expect("a temporary directory");
        let log = directory.path().join("worker.log");
        let mut process = Process::start(command.stdout(Stdio::piped()), &log)
            .unwrap_or_else(|error| panic!("can't run {:?}: {error}", command.get_program()));
        let mut stdout = BufReader::new(process.child().stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a pipe can be read");
        let started: Value = serde_json::from_str(&line).unwrap_or_default();
        let port = started["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.unwrap_or_else(|| panic!("no port in {line:?}; {}", process.log()));
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Worker { process, address, ends_with_stdin, _stdout: stdout, _directory: directory }
    }

    /// The names of a binding's cases.
    ///
    /// # Panics
    /// If the Worker does not answer.
    #[must_use]
    pub fn cases(&self, binding: &str) -> Vec<String> {
        let names = self.request("GET", &format!("/?binding={binding}"));
        serde_json::from_value(names).expect("names are an array of strings")
    }

    /// Runs one case.
    ///
    /// # Errors
    /// The message with which the case fails.
    pub fn run(&self, binding: &str, case: &str) -> Result<(), String> {
        let name: String = case.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let result = self.request("POST", &format!("/?binding={binding}&case={name}"));
        match &result["error"] {
            Value::Null if result["ok"] == true => Ok(()),
            Value::String(error) => Err(error.clone()),
            _ => Err(format!("the Worker answered {result}")),
        }
    }

    fn request(&self, method: &str, target: &str) -> Value {
        let answer = Connection::to(&self.address)
            .and_then(|mut connection| connection.request(method, target, &[], b""));
        let answer =
            answer.unwrap_or_else(|error| panic!("no answer: {error}; {}", self.process.log()));
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
    }
}

/// The message of a program that must fail to start.
fn start_error(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("can't run {:?}: {error}", command.get_program()));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "the program accepts its input: {message}");
    message
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.close_stdin();
        if self.ends_with_stdin {
            // A runtime that has not ended by then is killed.
            wait::until(Duration::from_secs(10), || self.process.ended());
        }
    }
}
