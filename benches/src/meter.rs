//! What a process has used: processor time and memory.

use std::{fs, io, time::Duration};

use kv_core::env::{Environment, SystemEnvironment};

/// Times a piece of work of this process, or of another that serves it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    clock: SystemEnvironment,
    pid: Option<u32>,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts to time this process.
    ///
    /// # Errors
    /// Never.
    pub fn own() -> io::Result<Stopwatch> {
        Stopwatch::start(None)
    }

    /// Starts to time another process.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> io::Result<Stopwatch> {
        Stopwatch::start(Some(pid))
    }

    fn start(pid: Option<u32>) -> io::Result<Stopwatch> {
        Ok(Stopwatch { cpu: cpu(pid)?, clock: SystemEnvironment::new(), pid })
    }

    /// The wall time since the start.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The processor time since the start, of all threads together.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn cpu(&self) -> io::Result<Duration> {
        Ok(cpu(self.pid)?.saturating_sub(self.cpu))
    }
}

fn cpu(pid: Option<u32>) -> io::Result<Duration> {
    match pid {
        None => {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
            Duration::try_from(time).map_err(io::Error::other)
        }
        Some(pid) => cpu_of(pid),
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, in ticks of 10 ms; ended threads are in them.
fn cpu_of(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in brackets that may have spaces; the third comes after it.
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields: Vec<u64> =
        after_name.split(' ').skip(11).take(2).map_while(|field| field.parse().ok()).collect();
    match fields[..] {
        [user, system] => Ok(Duration::from_millis(10 * (user + system))),
        _ => Err(io::Error::other("/proc/PID/stat has another layout")),
    }
}

/// A process's memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now resident, of files or not.
    pub resident: u64,
    /// Of that, what is the process's own: heap and stacks.
    pub anonymous: u64,
    /// The most that was resident since the start or [`forget_peak`].
    pub peak: u64,
}

/// Reads a process's memory.
///
/// # Errors
/// If the process is gone.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other(format!("no {name} in /proc/PID/status")))
    };
    Ok(Memory { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")?, peak: bytes("VmHWM:")? })
}

/// Sets a process's peak to what it has now.
///
/// # Errors
/// If the process is gone or another user's.
pub fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// The machine's load averages of the last 1, 5 and 15 minutes.
#[must_use]
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
