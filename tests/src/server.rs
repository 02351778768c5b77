//! The server under test.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{http::Connection, process::Process, wait};

/// How long a server may take to start or to stop before a test fails; not how long it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of this machine.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    /// As workerd takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A place where one server after another runs on the same data.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    binary: PathBuf,
}

impl Home {
    /// An empty place. `WAYPOST_TEST_BINARY` names another program to run than `binary`.
    ///
    /// # Panics
    /// If the system has no temporary directory.
    #[must_use]
    pub fn new(binary: &Path) -> Home {
        let other = std::env::var_os("WAYPOST_TEST_BINARY").map(PathBuf::from);
        Home {
            directory: TempDir::with_prefix("waypost-test-").expect("a temporary directory"),
            binary: other.unwrap_or_else(|| binary.to_owned()),
        }
    }

    /// The data directory of its servers.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Where a server listens that was told to use a unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Starts a server on a free port, with these flags, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready.
    #[must_use]
    pub fn serve(&self, flags: &[&str]) -> Server {
        self.start("127.0.0.1:0", flags).ready()
    }

    /// Starts a server on the unix socket.
    ///
    /// # Panics
    /// If it does not get ready.
    #[must_use]
    pub fn serve_unix(&self, flags: &[&str]) -> Server {
        self.start(&format!("unix:{}", self.socket().display()), flags).ready()
    }

    /// The program with these arguments.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments);
        // Nothing of the environment reaches it: the tests know its settings.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WAYPOST_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Starts a server and does not wait for it.
    ///
    /// # Panics
    /// If the program can't be started.
    #[must_use]
    pub fn start(&self, listen: &str, flags: &[&str]) -> Starting {
        let mut command = self.command(&["serve", "--listen", listen, "--data"]);
        command.arg(self.data()).args(flags);
        let log = self.directory.path().join("server.log");
        let process = Process::start(&mut command, &log)
            .unwrap_or_else(|error| panic!("can't run {}: {error}", self.binary.display()));
        Starting { process }
    }
}

/// A server that may not be ready yet.
#[derive(Debug)]
pub struct Starting {
    process: Process,
}

impl Starting {
    /// Waits until it takes requests.
    ///
    /// # Panics
    /// If it ends instead, or takes too long.
    #[must_use]
    pub fn ready(mut self) -> Server {
        let address = wait::until(PATIENCE, || {
            if let Some(status) = self.process.ended() {
                panic!("the server ended at its start ({status})");
            }
            listens_on(&self.process.log())
        });
        let address = address.expect("the server says where it listens");
        let server = Server { process: self.process, address };
        let is_ready = wait::until(PATIENCE, || server.is_ready().then_some(()));
        assert!(is_ready.is_some(), "the server is not ready after {PATIENCE:?}");
        server
    }

    /// Kills it, however far it is.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The address in the log's line that tells it.
fn listens_on(log: &str) -> Option<Address> {
    let rest = log.split_once(" listens on ")?.1;
    let address = rest.split_once(',')?.0;
    Some(match address.strip_prefix("unix:") {
        Some(path) => Address::Unix(path.into()),
        None => {
            let address = address.strip_prefix("http://").unwrap_or(address);
            Address::Tcp(address.parse().expect("the server listens on an address"))
        }
    })
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: Address,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A new connection to it.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::to(&self.address).expect("the server takes connections")
    }

    /// Whether it says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let answer = Connection::to(&self.address).and_then(|mut it| it.get("/readyz"));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Makes a namespace; gives its id.
    ///
    /// # Panics
    /// If it is not made.
    pub fn create_namespace(&self, title: &str, id: Option<&str>) -> String {
        let mut ask = json!({ "title": title });
        if let Some(id) = id {
            ask["id"] = id.into();
        }
        let answer = self
            .connect()
            .request("POST", "/v1/namespaces", &[], ask.to_string().as_bytes())
            .expect("the server answers");
        assert_eq!(answer.status, 201, "{answer:?}");
        let made: Value = serde_json::from_slice(&answer.body).expect("it answers in JSON");
        made["id"].as_str().expect("a namespace has an id").to_owned()
    }

    /// The value of a metric that has no labels.
    ///
    /// # Panics
    /// If there is none of this name.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let answer = self.connect().get("/metrics").expect("the server tells its metrics");
        let text = answer.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("there is no metric {name} in\n{text}"))
    }

    /// Waits until the server has freed the bodies of all values that are gone.
    ///
    /// # Panics
    /// If it does not.
    pub fn settle(&self) {
        let settled =
            wait::until(PATIENCE, || (self.metric("waypost_garbage_bodies") < 1.0).then_some(()));
        assert!(settled.is_some(), "bodies still wait to be freed after {PATIENCE:?}");
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// SIGTERM, and the wait for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(mut self) -> ExitStatus {
        self.process.terminate();
        self.process.wait(PATIENCE)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
