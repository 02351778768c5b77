//! Runs of Debian's `wrk`.

use std::{process::Command, time::Duration};

use crate::{Failure, meter::Stopwatch, rounds::Sample, server::Server};

/// How a run loads a server.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections, each with one request at a time.
    pub connections: u32,
    /// How long, in seconds.
    pub seconds: u64,
}

impl Load {
    /// Runs wrk on one thread; the sample has the server's processor time.
    ///
    /// # Errors
    /// If wrk does not run, or anything but 2xx and 3xx came.
    pub fn run(self, server: &Server, path: &str, extra: &[&str]) -> Result<Sample, Failure> {
        let url = format!("http://{}{path}", server.address());
        let watch = Stopwatch::of(server.pid())?;
        let output = Command::new("wrk")
            .args(["-t1", &format!("-c{}", self.connections), &format!("-d{}s", self.seconds)])
            .args(extra)
            .arg(url)
            .output()
            .map_err(|error| format!("wrk (Debian has it) does not run: {error}"))?;
        let cpu = watch.cpu()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(format!("wrk says {text}").into());
        }
        let requests = text.lines().find_map(|line| line.split_once(" requests in "));
        let operations = requests.ok_or("wrk says nothing of requests")?.0.trim().parse()?;
        Ok(Sample { operations, cpu, wall: Duration::from_secs(self.seconds) })
    }
}
