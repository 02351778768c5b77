//! The processor time and the memory of a process.

use std::{fs, io, time::Duration};

use kv_core::env::{Environment, SystemEnvironment};

/// Measures the time of some work, in this process or in another one that serves it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    clock: SystemEnvironment,
    pid: Option<u32>,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts to measure this process.
    ///
    /// # Errors
    /// Never.
    pub fn own() -> io::Result<Stopwatch> {
        Stopwatch::start(None)
    }

    /// Starts to measure another process.
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

    /// The processor time of another process since that began, over all threads.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn cpu_since_start(pid: u32) -> io::Result<Duration> {
        cpu_of(pid)
    }

    /// The processor time since the start, over all threads.
    ///
    /// # Errors
    /// If the process has ended.
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

/// Fields 14 and 15 of `/proc/PID/stat`, in ticks of 10 ms. They include threads that have ended.
fn cpu_of(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in parentheses that may contain spaces; the third one follows it.
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields: Vec<u64> =
        after_name.split(' ').skip(11).take(2).map_while(|field| field.parse().ok()).collect();
    match fields[..] {
        [user, system] => Ok(Duration::from_millis(10 * (user + system))),
        _ => Err(io::Error::other("/proc/PID/stat has an unexpected format")),
    }
}

/// A process's memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident memory, including mapped files.
    pub resident: u64,
    /// The part of it that belongs to the process alone: heap and stacks.
    pub anonymous: u64,
    /// The peak of resident memory since the start or [`forget_peak`].
    pub peak: u64,
}

/// Reads a process's memory.
///
/// # Errors
/// If the process has ended.
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

/// Resets a process's peak to its current memory.
///
/// # Errors
/// If the process has ended or belongs to another user.
pub fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// The machine's load averages of the last 1, 5 and 15 minutes.
#[must_use]
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
