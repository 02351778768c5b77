//! `waypost bench`: a small load generator.
//!
//! Percentiles come from a histogram with a bounded relative error (`histogram`). With a rate, a request that waits for its
//! connection counts from when it was due: else a server that stalls would be asked less, and its stall would hide in one time
//! (coordinated omission).

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use clap::{Args, builder::NonEmptyStringValueParser, value_parser};
use kv_core::env::{Environment as _, SystemEnvironment};
use serde::Serialize;
use tokio::task::{JoinError, JoinSet};
use waypost_client::{Attributes, Namespace, Pair, Retry};

use super::{
    client::{ClientError, ServerArgs, print_json},
    server_url::ServerUrl,
};
use crate::{
    config::kinds::{Size, Span},
    terminal,
};

mod histogram;

use histogram::Histogram;

/// The number of the error that a title is taken.
const TAKEN: u32 = 10014;

/// Put load on a server, and print how long requests take.
///
/// The namespace is created if it does not exist, and filled with keys of random names; it stays, so that you can look at it and
/// drop it. Without --rate, each connection sends its next request when it has a response: a server that stalls is then asked
/// less, and its stall counts once. With --rate, requests are due at fixed times, and each time is measured from when the request
/// was due. Nothing is repeated; errors are counted. The load and the server share the CPU if they run on one machine.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// The server to use [default: that of --server]
    #[arg(value_name = "URL|unix:PATH")]
    url: Option<ServerUrl>,
    /// The title of the namespace
    #[arg(long, value_name = "TITLE", default_value = "waypost-bench", value_parser = NonEmptyStringValueParser::new())]
    namespace: String,
    /// How many connections there are
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// For how long requests are measured, after a second without
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: Span<100>,
    /// How many keys there are
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// The size of a value
    #[arg(long, value_name = "SIZE", default_value = "1KiB")]
    size: Size<0, { 25 << 20 }>,
    /// How many of 100 requests are reads; the others are puts
    #[arg(long, value_name = "PERCENT", default_value_t = 90, value_parser = value_parser!(u32).range(0..=100))]
    reads: u32,
    /// Requests a second in all [default: as many as the server answers]
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,

    #[command(flatten)]
    server: ServerArgs,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Build(#[from] waypost_client::BuildError),
    #[error("can't prepare the namespace: {0}")]
    Prepare(waypost_client::Error),
    #[error("all {0} requests failed, the first one because: {1}")]
    AllFailed(u64, String),
    #[error("can't write to stdout: {0}")]
    Output(io::Error),
    #[error("{0}")]
    System(io::Error),
}

impl From<JoinError> for CommandError {
    fn from(error: JoinError) -> CommandError {
        CommandError::System(error.into())
    }
}

impl CommandError {
    /// Whether the command itself was wrong.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, CommandError::Client(error) if error.is_usage())
    }
}

/// What was measured.
#[derive(Default)]
struct Measured {
    gets: Histogram,
    puts: Histogram,
    errors: u64,
    first_error: Option<String>,
}

impl Measured {
    /// Adds what another connection measured.
    fn merge(&mut self, other: Measured) {
        self.gets.merge(&other.gets);
        self.puts.merge(&other.puts);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// The times of one kind of request.
#[derive(Serialize)]
struct Row {
    requests: u64,
    per_second: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

/// The result as JSON.
#[derive(Serialize)]
struct Report {
    seconds: f64,
    get: Row,
    put: Row,
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
}

impl Row {
    /// The times of a histogram that was filled in so many seconds.
    fn of(times: &Histogram, seconds: f64) -> Row {
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        #[expect(clippy::cast_precision_loss, reason = "a rate needs few digits")]
        let per_second = (times.count() as f64 / seconds).round();
        Row {
            requests: times.count(),
            per_second,
            p50_ms: ms(times.permille(500)),
            p90_ms: ms(times.permille(900)),
            p99_ms: ms(times.permille(990)),
            p999_ms: ms(times.permille(999)),
            max_ms: ms(times.longest()),
        }
    }
}

/// What all connections share.
struct Load {
    keys: Namespace,
    count: u32,
    value: Vec<u8>,
    reads: u32,
    /// The time between two requests of one connection, if there is a rate.
    every: Option<Duration>,
    clock: SystemEnvironment,
    /// When requests begin to count, and when the last one begins.
    measured: (Duration, Duration),
}

/// Random numbers for choices: xorshift64.
struct Choice(u64);

impl Choice {
    /// A number below another one.
    fn below(&mut self, most: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(((self.0 >> 32) * u64::from(most)) >> 32).unwrap_or(0)
    }
}

/// The name of a key.
fn key(number: u32) -> String {
    format!("key:{number:08}")
}

impl Load {
    /// Sends requests over one connection. The first is due after `offset`.
    async fn run(self: Arc<Load>, mut choice: Choice, offset: Duration) -> Measured {
        let mut measured = Measured::default();
        let mut due = self.clock.monotonic() + offset;
        loop {
            if self.every.is_some() {
                tokio::time::sleep(due.saturating_sub(self.clock.monotonic())).await;
            } else {
                due = self.clock.monotonic();
            }
            if due >= self.measured.1 {
                return measured;
            }
            let name = key(choice.below(self.count));
            let is_read = choice.below(100) < self.reads;
            let result = if is_read {
                self.keys.get_bytes(&name).await.map(drop)
            } else {
                self.keys.put(&name, self.value.clone(), Attributes::default()).await
            };
            let took = self.clock.monotonic().saturating_sub(due);
            match result {
                _ if due < self.measured.0 => {}
                Ok(()) if is_read => measured.gets.add(took),
                Ok(()) => measured.puts.add(took),
                Err(error) => {
                    measured.errors += 1;
                    measured.first_error.get_or_insert_with(|| error.to_string());
                }
            }
            due += self.every.unwrap_or_default();
        }
    }
}

/// Runs the command.
pub(super) fn run(command: Bench) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(CommandError::System)?.block_on(command.run())
}

impl Bench {
    /// Fills the namespace, puts load on the server, and prints the times.
    async fn run(mut self) -> Result<(), CommandError> {
        if let Some(url) = self.url.take() {
            self.server.set_url(url);
        }
        let keys = self.prepare().await?;
        let clock = SystemEnvironment::new();
        let begin = clock.monotonic() + Duration::from_secs(1);
        let every = self
            .rate
            .map(|rate| Duration::from_secs_f64(f64::from(self.connections) / f64::from(rate)));
        let load = Arc::new(Load {
            keys,
            count: self.keys,
            value: self.value(),
            reads: self.reads,
            every,
            clock,
            measured: (begin, begin + self.duration.get()),
        });
        let mut connections = JoinSet::new();
        for number in 0..self.connections {
            let offset = every.unwrap_or_default() * number / self.connections;
            let choice = Choice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(number) + 1));
            connections.spawn(Arc::clone(&load).run(choice, offset));
        }
        let mut all = Measured::default();
        while let Some(measured) = connections.join_next().await {
            all.merge(measured?);
        }
        self.print(all)
    }

    /// The value of all keys.
    fn value(&self) -> Vec<u8> {
        vec![b'x'; usize::try_from(self.size.get()).unwrap_or_default()]
    }

    /// Creates the namespace if it does not exist, and puts all keys.
    async fn prepare(&self) -> Result<Namespace, CommandError> {
        let url = self.server.url()?;
        let mut builder = waypost_client::Client::builder(&url.to_string()).retry(Retry::never());
        if let Some(tls) = self.server.trust()? {
            builder = builder.tls(tls);
        }
        if let Some(token) = self.server.token()? {
            builder = builder.token(token);
        }
        let client = builder.build()?;
        match client.create_namespace(&self.namespace).await {
            Err(waypost_client::Error::Connect {
                reason: waypost_client::ConnectError::NoServer,
                ..
            }) => return Err(ClientError::NoServer(url).into()),
            Err(error) if error.code() != Some(TAKEN) => return Err(CommandError::Prepare(error)),
            _ => {}
        }
        let keys = client.namespace(&self.namespace);
        let value = bytes::Bytes::from(self.value());
        let pair = |number| Pair {
            key: key(number),
            value: value.clone(),
            attributes: Attributes::default(),
        };
        let at_a_time = ((4 << 20) / self.size.get().max(1)).clamp(1, 1000);
        let step = usize::try_from(at_a_time).unwrap_or(1);
        for first in (0..self.keys).step_by(step) {
            let last = self.keys.min(first.saturating_add(u32::try_from(step).unwrap_or(1)));
            let pairs: Vec<Pair> = (first..last).map(pair).collect();
            keys.bulk_put(&pairs).await.map_err(CommandError::Prepare)?;
        }
        Ok(keys)
    }

    /// Prints what was measured.
    fn print(&self, all: Measured) -> Result<(), CommandError> {
        let seconds = self.duration.get().as_secs_f64();
        let report = Report {
            seconds,
            get: Row::of(&all.gets, seconds),
            put: Row::of(&all.puts, seconds),
            errors: all.errors,
            first_error: all.first_error,
        };
        let answered = report.get.requests + report.put.requests;
        if let (0, Some(why)) = (answered, &report.first_error) {
            return Err(CommandError::AllFailed(report.errors, why.clone()));
        }
        if self.server.json {
            return print_json(&report).map_err(CommandError::Output);
        }
        table(&report).map_err(CommandError::Output)
    }
}

/// Prints a report for people.
fn table(report: &Report) -> io::Result<()> {
    let mut out = terminal::stdout();
    writeln!(
        out,
        "{:5}{:>10}{:>12}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "", "requests", "per second", "median", "p90", "p99", "p99.9", "longest"
    )?;
    for (name, row) in [("get", &report.get), ("put", &report.put)] {
        if row.requests == 0 {
            continue;
        }
        let Row { requests, per_second, p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = row;
        write!(out, "{name:5}{requests:>10}{per_second:>12}")?;
        for ms in [p50_ms, p90_ms, p99_ms, p999_ms, max_ms] {
            write!(out, "{ms:>8.2} ms")?;
        }
        writeln!(out)?;
    }
    if let Some(why) = &report.first_error {
        writeln!(out, "{} requests failed, the first one because: {why}", report.errors)?;
    }
    Ok(())
}
