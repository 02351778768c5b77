//! Runs `wrk`, from Debian.

use std::{process::Command, time::Duration};

use crate::{Failure, meter::Stopwatch, rounds::Sample, server::Server};

/// The load of a run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The number of connections, each with one request at a time.
    pub connections: u32,
    /// The duration in seconds.
    pub seconds: u64,
}

impl Load {
    /// Runs wrk on one thread. The sample has the server's processor time.
    ///
    /// # Errors
    /// If wrk does not run, or a response was not 2xx or 3xx.
    pub fn run(self, server: &Server, path: &str, extra: &[&str]) -> Result<Sample, Failure> {
        let url = format!("http://{}{path}", server.address());
        let watch = Stopwatch::of(server.pid())?;
        let output = Command::new("wrk")
            .args(["-t1", &format!("-c{}", self.connections), &format!("-d{}s", self.seconds)])
            .args(extra)
            .arg(url)
            .output()
            .map_err(|error| format!("can't run wrk (Debian's package wrk): {error}"))?;
        let cpu = watch.cpu()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(format!("wrk reported errors: {text}").into());
        }
        let requests = text.lines().find_map(|line| line.split_once(" requests in "));
        let operations = requests.ok_or("wrk printed no number of requests")?.0.trim().parse()?;
        Ok(Sample { operations, cpu, wall: Duration::from_secs(self.seconds) })
    }
}
