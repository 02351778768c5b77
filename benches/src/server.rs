//! Servers as separate processes, so that their processor time and memory can be measured
//! separately.

use std::{
    env, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::Failure;

/// A running server, which is killed when it is dropped.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `waypost serve` with a data directory.
    ///
    /// # Errors
    /// If the program is not built, or does not accept connections in time.
    pub fn waypost(data: &Path, more: &[&str]) -> Result<Server, Failure> {
        let address = free_address()?;
        let mut command = Command::new(beside_this_program("waypost")?);
        command.args(["serve", "--log", "warn", "--listen", &address.to_string()]);
        command.arg("--data").arg(data).args(more);
        Server::start(command, address)
    }

    /// Starts the `constant` server, which answers any GET with `len` bytes.
    ///
    /// # Errors
    /// If the program is not built, or does not accept connections in time.
    pub fn constant(len: usize) -> Result<Server, Failure> {
        let address = free_address()?;
        let mut command = Command::new(beside_this_program("constant")?);
        command.args([address.to_string(), len.to_string()]);
        Server::start(command, address)
    }

    /// Starts the `constant_rls` server, which answers any Envoy rate-limit request with OK.
    ///
    /// # Errors
    /// If the program is not built, or does not accept connections in time.
    pub fn constant_rls() -> Result<Server, Failure> {
        let address = free_address()?;
        let mut command = Command::new(beside_this_program("constant_rls")?);
        command.arg(address.to_string());
        Server::start(command, address)
    }

    /// Starts `throttlecrab-server` with its HTTP API and its defaults, except that it does not
    /// remember denied keys, because Waypost does not either.
    ///
    /// # Errors
    /// If it is not at this path, or does not accept connections in time.
    pub fn throttlecrab(program: &Path) -> Result<Server, Failure> {
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args(["--http", "--http-host", &address.ip().to_string()]);
        command.args(["--http-port", &address.port().to_string()]);
        command.args(["--max-denied-keys", "0", "--log-level", "warn"]);
        Server::start(command, address)
    }

    fn start(mut command: Command, address: SocketAddr) -> Result<Server, Failure> {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let process = spawned.map_err(|error| format!("can't run {command:?}: {error}"))?;
        let server = Server { process, address };
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{command:?} does not accept connections after 10 s").into())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("process {} was not stopped: {error}", self.process.id());
        }
    }
}

/// An address on which no process listens. If another process takes it before the server does, the
/// server fails to start.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The path of a program that was built into the directory of this one.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf, Failure> {
    let path = env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    let command = "cargo build --release -p waypost -p waypost-benches";
    Err(format!("{} does not exist; build it with: {command}", path.display()).into())
}
