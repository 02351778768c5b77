//! A Redis that syncs each write before it answers, and connections to it.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Failure, data};

/// A running `redis-server`; ends with this.
pub struct Redis {
    process: Child,
    socket: PathBuf,
}

impl Redis {
    /// Starts one with its files in `directory`; none, and a line that says so, if it is not
    /// installed.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(directory: &Path) -> Result<Option<Redis>, Failure> {
        std::fs::create_dir_all(directory)?;
        let socket = directory.join("socket");
        let spawned = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory)
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .args(["--save", "", "--auto-aof-rewrite-percentage", "0"])
            .stdout(Stdio::null())
            .spawn();
        let process = match spawned {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                println!("Redis is left out: there is no redis-server on the path");
                return Ok(None);
            }
            other => other?,
        };
        let redis = Redis { process, socket };
        for _ in 0..100 {
            if UnixStream::connect(&redis.socket).is_ok() {
                return Ok(Some(redis));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("redis-server did not come up".into())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A connection.
    ///
    /// # Errors
    /// If it is refused.
    pub fn connect(&self) -> io::Result<Connection> {
        Ok(Connection(UnixStream::connect(&self.socket)?))
    }

    /// Fills it as [`crate::fill::put_all`] does a store.
    ///
    /// # Errors
    /// If a set fails.
    pub fn put_all(&self, keys: u64, len: usize) -> Result<(), Failure> {
        const PIPELINED: u64 = 500;
        let mut connection = self.connect()?;
        for start in (0..keys).step_by(usize::try_from(PIPELINED)?) {
            let numbers = start..keys.min(start + PIPELINED);
            let count = numbers.clone().count();
            let sets = numbers.map(|n| set(&data::key(n), &data::value(n, len)));
            connection.0.write_all(&sets.collect::<Vec<_>>().concat())?;
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

/// A connection that waits for each answer.
pub struct Connection(UnixStream);

impl Connection {
    /// Sets a key; durable when this returns.
    ///
    /// # Errors
    /// If the connection breaks, or the server refuses.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.0.write_all(&set(key, value))?;
        self.expect_ok(1)
    }

    fn expect_ok(&mut self, count: usize) -> Result<(), Failure> {
        const OK: &[u8] = b"+OK\r\n";
        let mut answer = vec![0; OK.len() * count];
        self.0.read_exact(&mut answer)?;
        if answer.chunks(OK.len()).all(|answer| answer == OK) {
            Ok(())
        } else {
            Err(format!("Redis answers {}", String::from_utf8_lossy(&answer)).into())
        }
    }
}

fn set(key: &[u8], value: &[u8]) -> Vec<u8> {
    let heads =
        [format!("*3\r\n$3\r\nSET\r\n${}\r\n", key.len()), format!("\r\n${}\r\n", value.len())];
    [heads[0].as_bytes(), key, heads[1].as_bytes(), value, b"\r\n"].concat()
}
