//! The server under test.

use std::{
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{http::Connection, process::Process, wait};

/// The time after which a test fails because a server does not start or stop. It is not a goal.
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
    /// Formats it as workerd expects it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A directory in which servers run one after the other, on the same data.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    binary: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl Home {
    /// An empty directory among the system's temporary files. `WAYPOST_TEST_BINARY` replaces `binary`.
    ///
    /// # Panics
    /// If the directory can't be made.
    #[must_use]
    pub fn new(binary: &Path) -> Home {
        Home::new_in(&std::env::temp_dir(), binary)
    }

    /// The same in `parent`.
    ///
    /// # Panics
    /// If the directory can't be made.
    #[must_use]
    pub fn new_in(parent: &Path, binary: &Path) -> Home {
        let other = std::env::var_os("WAYPOST_TEST_BINARY").map(PathBuf::from);
        std::fs::create_dir_all(parent).expect("the parent directory can be made");
        Home {
            directory: TempDir::with_prefix_in("waypost-test-", parent)
                .expect("a temporary directory can be made"),
            binary: other.unwrap_or_else(|| binary.to_owned()),
            environment: Vec::new(),
        }
    }

    /// The directory of its data, its socket and its log.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sets variables for all programs that it runs from now on.
    pub fn set_environment(&mut self, environment: Vec<(&'static str, OsString)>) {
        self.environment = environment;
    }

    /// The data directory of its servers.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The unix socket on which [`Home::serve_unix`] makes a server listen.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Starts a server on a free port, with these flags, and waits until it is ready.
    ///
    /// # Panics
    /// If it is not ready within a minute.
    #[must_use]
    pub fn serve(&self, flags: &[&str]) -> Server {
        self.start("127.0.0.1:0", flags).ready()
    }

    /// Starts a server on the unix socket.
    ///
    /// # Panics
    /// If it is not ready within a minute.
    #[must_use]
    pub fn serve_unix(&self, flags: &[&str]) -> Server {
        self.start(&format!("unix:{}", self.socket().display()), flags).ready()
    }

    /// The program with these arguments.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments);
        // No setting comes from the environment: a test decides about all of them.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WAYPOST_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a server and does not wait for it.
    ///
    /// # Panics
    /// If the program can't be run.
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
    /// Waits until it is ready for requests.
    ///
    /// # Panics
    /// If it ends instead, or takes longer than a minute.
    #[must_use]
    pub fn ready(self) -> Server {
        let mut server = self.listening();
        server.wait_until_ready(PATIENCE);
        server
    }

    /// [`Starting::ready`] with a time limit and an error instead of a panic. After an error the process is killed.
    ///
    /// # Errors
    /// If it ends instead, or takes longer than `limit`: the reason.
    ///
    /// # Panics
    /// If it does not listen within a minute.
    pub fn ready_within(self, limit: Duration) -> Result<Server, String> {
        let mut server = self.try_listening()?;
        let ready = wait::until(limit, || match server.process.end_reason() {
            Some(reason) => Some(Err(reason)),
            None => server.is_ready().then_some(Ok(())),
        });
        ready.unwrap_or_else(|| {
            let answer = server.connect().get("/readyz").map(|answer| answer.text());
            Err(format!("the server is not ready after {limit:?}: {answer:?}"))
        })?;
        Ok(server)
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// If it ends instead, or takes longer than a minute.
    #[must_use]
    pub fn listening(mut self) -> Server {
        let address = wait::until(PATIENCE, || {
            self.process.assert_running();
            listen_address(&self.process.log())
        });
        let address = address.expect("the server logs its address");
        Server { process: self.process, address }
    }

    fn try_listening(mut self) -> Result<Server, String> {
        let address = wait::until(PATIENCE, || match self.process.end_reason() {
            Some(reason) => Some(Err(reason)),
            None => listen_address(&self.process.log()).map(Ok),
        });
        let address = address.expect("the server logs its address")?;
        Ok(Server { process: self.process, address })
    }

    /// Kills it, wherever its start has got to.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// The address in the line that the server logs once it listens.
fn listen_address(log: &str) -> Option<Address> {
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

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A new connection to it.
    ///
    /// # Panics
    /// If it does not accept one.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::to(&self.address).expect("the server accepts connections")
    }

    /// Whether `/readyz` reports that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let answer = Connection::to(&self.address).and_then(|mut it| it.get("/readyz"));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until `/readyz` reports that it is ready.
    ///
    /// # Panics
    /// If the server ends instead, or takes longer than `patience`.
    pub fn wait_until_ready(&mut self, patience: Duration) {
        let is_ready = wait::until(patience, || {
            self.process.assert_running();
            self.is_ready().then_some(())
        });
        assert!(is_ready.is_some(), "the server is not ready after {patience:?}");
    }

    /// Creates a namespace and returns its id.
    ///
    /// # Panics
    /// If the server rejects it.
    pub fn create_namespace(&self, title: &str, id: Option<&str>) -> String {
        let mut request = json!({ "title": title });
        if let Some(id) = id {
            request["id"] = id.into();
        }
        let answer = self
            .connect()
            .request("POST", "/v1/namespaces", &[], request.to_string().as_bytes())
            .expect("the server answers");
        assert_eq!(answer.status, 201, "{answer:?}");
        let created: Value = serde_json::from_slice(&answer.body).expect("the answer is JSON");
        created["id"].as_str().expect("a namespace has an id").to_owned()
    }

    /// Whether it has a namespace of this title, which must need no URL encoding.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn has_namespace(&self, title: &str) -> bool {
        let target = format!("/v1/namespaces/{title}");
        self.connect().get(&target).expect("the server answers").status == 200
    }

    /// The value of a metric: the sum over its series.
    ///
    /// # Panics
    /// If the server has no metric of this name.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        self.find_metric(name).unwrap_or_else(|| panic!("/metrics has no {name}"))
    }

    /// The value of a metric, the sum over its series; none if the server has no such metric.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn find_metric(&self, name: &str) -> Option<f64> {
        let text = self.connect().get("/metrics").expect("the server answers").text();
        let series = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        series.reduce(|sum, value| sum + value)
    }

    /// Waits until the server has freed the bodies of all deleted and replaced values.
    ///
    /// # Panics
    /// If it takes longer than a minute.
    pub fn settle(&self) {
        let settled =
            wait::until(PATIENCE, || (self.metric("waypost_garbage_bodies") < 1.0).then_some(()));
        assert!(settled.is_some(), "bodies still wait to be freed after {PATIENCE:?}");
    }

    /// Kills it with `kill -9`.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub fn stop(self) -> ExitStatus {
        self.stop_while(|| {})
    }

    /// Sends SIGTERM, does something, and waits for the end.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub fn stop_while(mut self, meanwhile: impl FnOnce()) -> ExitStatus {
        self.process.terminate();
        meanwhile();
        self.process.wait(PATIENCE)
    }
}
