//! A Redis that syncs each write before it responds, a replica of it, and connections to both.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Failure, data};

/// A running `redis-server`, which is killed when it is dropped.
pub struct Redis {
    process: Child,
    socket: PathBuf,
    /// The port for replicas, on loopback.
    port: u16,
}

impl Redis {
    /// Starts a Redis with its files in `directory`. Returns none, and prints a line, if it is not
    /// installed.
    ///
    /// # Errors
    /// If it does not accept connections in time.
    pub fn start(directory: &Path) -> Result<Option<Redis>, Failure> {
        match Redis::spawn(directory, &["--appendonly", "yes", "--appendfsync", "always"]) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                println!("Redis is left out: redis-server is not installed");
                Ok(None)
            }
            spawned => spawned?.wait_until_ready().map(Some),
        }
    }

    /// Starts a replica, which keeps nothing on disk.
    ///
    /// # Errors
    /// If it does not accept connections in time.
    pub fn replica(&self, directory: &Path) -> Result<Redis, Failure> {
        let primary = format!("127.0.0.1 {}", self.port);
        Redis::spawn(directory, &["--replicaof", &primary])?.wait_until_ready()
    }

    fn spawn(directory: &Path, more: &[&str]) -> io::Result<Redis> {
        std::fs::create_dir_all(directory)?;
        let socket = directory.join("socket");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory)
            .args(["--save", "", "--auto-aof-rewrite-percentage", "0"])
            .args(["--repl-diskless-sync-delay", "0"])
            .args(more)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Redis { process, socket, port })
    }

    fn wait_until_ready(self) -> Result<Redis, Failure> {
        for _ in 0..100 {
            if UnixStream::connect(&self.socket).is_ok() {
                return Ok(self);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("redis-server does not accept connections in time".into())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Connects through its unix socket.
    ///
    /// # Errors
    /// If it does not accept the connection.
    pub fn connect(&self) -> io::Result<Connection> {
        Ok(Connection(BufReader::new(Box::new(UnixStream::connect(&self.socket)?))))
    }

    /// Connects over loopback TCP, for comparison with a side that has nothing else.
    ///
    /// # Errors
    /// If it does not accept the connection.
    pub fn connect_by_tcp(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        Ok(Connection(BufReader::new(Box::new(stream))))
    }

    /// Puts the same keys and values as [`crate::fill::put_all`].
    ///
    /// # Errors
    /// If a write fails.
    pub fn put_all(&self, keys: u64, len: usize) -> Result<(), Failure> {
        const PIPELINED: u64 = 500;
        let mut connection = self.connect()?;
        for start in (0..keys).step_by(usize::try_from(PIPELINED)?) {
            let numbers = start..keys.min(start + PIPELINED);
            let count = numbers.clone().count();
            let sets = numbers.map(|n| set(&data::key(n), &data::value(n, len)));
            connection.0.get_mut().write_all(&sets.collect::<Vec<_>>().concat())?;
            connection.expect_ok(count)?;
        }
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("redis-server was not stopped: {error}");
        }
    }
}

/// A stream of either kind.
trait Stream: io::Read + io::Write + Send {}

impl Stream for UnixStream {}
impl Stream for TcpStream {}

/// A connection that waits for each response.
pub struct Connection(BufReader<Box<dyn Stream>>);

impl Connection {
    /// Sets a key; durable when this returns.
    ///
    /// # Errors
    /// If the connection breaks, or the server rejects the command.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.0.get_mut().write_all(&set(key, value))?;
        self.expect_ok(1)
    }

    /// The value of a key; empty if there is none.
    ///
    /// # Errors
    /// If the connection breaks, or the server rejects the command.
    pub fn get(&mut self, key: &[u8]) -> Result<Vec<u8>, Failure> {
        let head = format!("*2\r\n$3\r\nGET\r\n${}\r\n", key.len());
        self.0.get_mut().write_all(&[head.as_bytes(), key, b"\r\n"].concat())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let length =
            line.strip_prefix('$').and_then(|length| length.trim_end().parse::<i64>().ok());
        let length = length.ok_or_else(|| format!("Redis responded {line}"))?;
        let Ok(length) = usize::try_from(length) else { return Ok(Vec::new()) };
        let mut value = vec![0; length + 2];
        self.0.read_exact(&mut value)?;
        value.truncate(length);
        Ok(value)
    }

    fn expect_ok(&mut self, count: usize) -> Result<(), Failure> {
        const OK: &[u8] = b"+OK\r\n";
        let mut answer = vec![0; OK.len() * count];
        self.0.read_exact(&mut answer)?;
        if answer.chunks(OK.len()).all(|answer| answer == OK) {
            Ok(())
        } else {
            Err(format!("Redis responded {}", String::from_utf8_lossy(&answer)).into())
        }
    }
}

fn set(key: &[u8], value: &[u8]) -> Vec<u8> {
    let heads =
        [format!("*3\r\n$3\r\nSET\r\n${}\r\n", key.len()), format!("\r\n${}\r\n", value.len())];
    [heads[0].as_bytes(), key, heads[1].as_bytes(), value, b"\r\n"].concat()
}
