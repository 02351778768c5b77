//! A Worker of ours that runs in a runtime of others: workerd by itself, or miniflare.

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
    // Closed, they would kill the runtime at its next word, or take its log away.
    _words: BufReader<ChildStdout>,
    _directory: TempDir,
}

impl Worker {
    /// Runs the Worker of `tests/clients` in a workerd, its external services at these addresses.
    ///
    /// # Panics
    /// If it does not start.
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

    /// Runs it in a miniflare; `way` is how its bindings come to the server, as
    /// `tests/clients/miniflare.cjs` takes it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn in_miniflare(miniflare: &Miniflare, way: &[&str]) -> Worker {
        Worker::start(Worker::script(miniflare).args(way), true)
    }

    /// What a workerd says of a configuration in `tests/clients` that it does not start with.
    ///
    /// # Panics
    /// If it can't be run.
    #[must_use]
    pub fn refused_by_workerd(workerd: &Workerd, config: &str) -> String {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(config);
        refusal(Command::new(&workerd.program).arg("serve").arg(config))
    }

    /// What a miniflare says of options that a binding of our plugin does not take.
    ///
    /// # Panics
    /// If it can't be run.
    #[must_use]
    pub fn refused_by_miniflare(miniflare: &Miniflare, kind: &str, options: &str) -> String {
        refusal(Worker::script(miniflare).args(["wrong", kind, options]))
    }

    /// `tests/clients/miniflare.cjs`, without the way.
    fn script(miniflare: &Miniflare) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let mut command = Command::new(&miniflare.node);
        command.arg(folder.join("miniflare.cjs")).arg(&miniflare.directory);
        command.arg(miniflare.package);
        command
    }

    /// Both say in a line of JSON on which port they listen.
    fn start(command: &mut Command, ends_with_stdin: bool) -> Worker {
        let directory = TempDir::with_prefix("waypost-worker-").expect("a temporary directory");
        let log = directory.path().join("worker.log");
        let mut process = Process::start(command.stdout(Stdio::piped()), &log)
            .unwrap_or_else(|error| panic!("can't run {:?}: {error}", command.get_program()));
        let mut words = BufReader::new(process.child().stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        words.read_line(&mut line).expect("a pipe can be read");
        let word: Value = serde_json::from_str(&line).unwrap_or_default();
        let port = word["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.unwrap_or_else(|| panic!("no port in {line:?}; {}", process.log()));
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Worker { process, address, ends_with_stdin, _words: words, _directory: directory }
    }

    /// The names of the cases that are meant for a binding.
    ///
    /// # Panics
    /// If the Worker does not answer.
    #[must_use]
    pub fn cases(&self, binding: &str) -> Vec<String> {
        let names = self.ask("GET", &format!("/?binding={binding}"));
        serde_json::from_value(names).expect("names are an array of strings")
    }

    /// Runs one case.
    ///
    /// # Errors
    /// What the case says.
    pub fn run(&self, binding: &str, case: &str) -> Result<(), String> {
        let name: String = case.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let result = self.ask("POST", &format!("/?binding={binding}&case={name}"));
        match &result["error"] {
            Value::Null if result["ok"] == true => Ok(()),
            Value::String(error) => Err(error.clone()),
            _ => Err(format!("the Worker answered {result}")),
        }
    }

    fn ask(&self, method: &str, target: &str) -> Value {
        let answer = Connection::to(&self.address)
            .and_then(|mut connection| connection.request(method, target, &[], b""));
        let answer =
            answer.unwrap_or_else(|error| panic!("no answer: {error}; {}", self.process.log()));
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
    }
}

/// What a program says that does not start.
fn refusal(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("can't run {:?}: {error}", command.get_program()));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it starts: {told}");
    told
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.close_stdin();
        if self.ends_with_stdin {
            // If it does not, it is killed.
            wait::until(Duration::from_secs(10), || self.process.ended());
        }
    }
}
