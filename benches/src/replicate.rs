//! The cost of replication between real servers, over QUIC on loopback and over a delayed link.

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kv_core::env::{Environment as _, SystemEnvironment};
use waypost_link_tests::Conditions;
use waypost_tests::{
    cluster::{Cluster, Location, Setup},
    http::Connection,
};

use crate::{Failure, cores::Cores, data, redis, server::beside_this_program};

pub mod bootstrap;
pub mod catchup;
pub mod large;
pub mod latency;
pub mod quiet;
pub mod sustained;
pub mod turnover;
pub mod verify;

/// Bytes of each value.
pub const VALUE_BYTES: usize = 1024;
/// The namespace of all measurements.
pub const NAMESPACE: &str = "bench";
/// The time that a location may take to join, with all entries of the others.
const PATIENCE: Duration = Duration::from_secs(1800);
/// The key that one end writes and the other reads.
const KEY: &str = "measured";

/// An end that writes numbered values, all to one key. A write is durable when it returns.
pub trait Write: Send {
    /// Writes a value that begins with its number.
    ///
    /// # Errors
    /// If the write fails.
    fn write(&mut self, value: &[u8]) -> Result<(), Failure>;
}

/// An end that reads them.
pub trait Read: Send {
    /// The current value; empty if there is none.
    ///
    /// # Errors
    /// If it can't be read.
    fn read(&mut self) -> Result<Vec<u8>, Failure>;
}

/// Sets up a cluster of one location, whose server does not run yet. Its locations run with `flags`,
/// their directories are in `directory`, and they reach each other through proxies under `conditions`
/// or, without them, directly.
///
/// # Errors
/// If the program is not built.
///
/// # Panics
/// If the program can't be run.
pub fn set_up(
    directory: &Path,
    conditions: Option<Conditions>,
    flags: &[&str],
) -> Result<Cluster, Failure> {
    let flags = flags.iter().map(|&flag| flag.into()).collect();
    let (binary, directory) = (beside_this_program("waypost")?, Some(directory.to_owned()));
    Ok(Cluster::init(Setup { binary, directory, conditions, seed: 1, flags, patience: PATIENCE }))
}

/// Sets up a cluster as [`set_up`] does, starts it, and adds locations until there are `count`.
///
/// # Errors
/// If the program is not built.
///
/// # Panics
/// If a location is not ready in time.
pub fn start(
    directory: &Path,
    count: usize,
    conditions: Option<Conditions>,
    flags: &[&str],
) -> Result<Cluster, Failure> {
    let mut cluster = set_up(directory, conditions, flags)?;
    cluster.start_first(NAMESPACE);
    for _ in 1..count {
        cluster.join();
    }
    Ok(cluster)
}

/// A client of a location's binding API.
pub struct Client(Connection);

impl Client {
    /// Connects to a location.
    ///
    /// # Errors
    /// If it does not accept the connection.
    pub fn to(location: &Location) -> Result<Client, Failure> {
        Ok(Client(Connection::to(location.server().address())?))
    }

    /// Puts a value.
    ///
    /// # Errors
    /// If the put fails.
    pub fn put(&mut self, key: &str, value: &[u8]) -> Result<(), Failure> {
        let answer = self.0.request("PUT", &format!("/binding/{NAMESPACE}/{key}"), &[], value)?;
        match answer.status {
            200 => Ok(()),
            status => Err(format!("a put got the status {status}").into()),
        }
    }

    /// The value of a key; empty if there is none, or the namespace does not exist yet.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn get(&mut self, key: &str) -> Result<Vec<u8>, Failure> {
        let answer = self.0.get(&format!("/binding/{NAMESPACE}/{key}"))?;
        match answer.status {
            200 => Ok(answer.body),
            404 => Ok(Vec::new()),
            status => Err(format!("a get got the status {status}").into()),
        }
    }
}

impl Write for Client {
    fn write(&mut self, value: &[u8]) -> Result<(), Failure> {
        self.put(KEY, value)
    }
}

impl Read for Client {
    fn read(&mut self) -> Result<Vec<u8>, Failure> {
        self.get(KEY)
    }
}

impl Write for redis::Connection {
    fn write(&mut self, value: &[u8]) -> Result<(), Failure> {
        self.set(KEY.as_bytes(), value)
    }
}

impl Read for redis::Connection {
    fn read(&mut self) -> Result<Vec<u8>, Failure> {
        self.get(KEY.as_bytes())
    }
}

/// How long after their acknowledgement writes were visible elsewhere, in ascending order.
#[derive(Clone, Debug)]
pub struct Delays(Vec<Duration>);

impl Delays {
    /// The delay that `percent` of a hundred delays do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(at).copied().unwrap_or_default()
    }

    /// The median, the 99th percentile and the maximum, in milliseconds.
    #[must_use]
    pub fn row(&self) -> String {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        format!("{:.2} | {:.2} | {:.2}", ms(50), ms(99), ms(100))
    }
}

/// Writes values with a pause after each, and reads continuously at the other end, on the other
/// half of the cores if there are halves. Measures how long after its acknowledgement each write is
/// visible. A write that is visible earlier counts as zero.
///
/// # Errors
/// If a write or a read fails.
pub fn delays(
    cores: &Cores,
    mut writer: impl Write,
    mut reader: impl Read,
    numbers: std::ops::RangeInclusive<u64>,
    pause: Duration,
) -> Result<Delays, Failure> {
    let clock = SystemEnvironment::new();
    let has_failed = AtomicBool::new(false);
    let seen = Mutex::new(Vec::new());
    let mut acknowledged = Vec::new();
    let last = *numbers.end();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            cores.on(1, || {
                let mut known = 0;
                while known < last {
                    if has_failed.load(Ordering::Relaxed) {
                        return Err("a write failed".into());
                    }
                    let value = reader.read()?;
                    let now = clock.monotonic();
                    let number = value.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
                    if number > known {
                        known = number;
                        seen.lock().map_err(|_panic| "a reader panicked")?.push((number, now));
                    }
                }
                Ok(())
            })
        });
        cores.on(0, || {
            for number in numbers {
                std::thread::sleep(pause);
                let written = writer.write(&data::value(number, VALUE_BYTES));
                has_failed.store(written.is_err(), Ordering::Relaxed);
                written?;
                acknowledged.push((number, clock.monotonic()));
            }
            Ok(())
        })?;
        reading.join().map_err(|_panic| "a reader panicked")?
    })?;
    let seen = seen.into_inner().map_err(|_panic| "a reader panicked")?;
    // An overwritten value that was never read was visible no later than its successor.
    let there = |number| seen.iter().find(|(other, _)| *other >= number).map(|(_, at)| *at);
    let mut delays: Vec<Duration> = acknowledged
        .iter()
        .filter_map(|(number, at)| Some(there(*number)?.saturating_sub(*at)))
        .collect();
    delays.sort_unstable();
    Ok(Delays(delays))
}

/// Whether a target was met, as printed in tables.
#[must_use]
pub fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}
