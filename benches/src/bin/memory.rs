//! Memory of the server: idle, while many clients put large values, and while they get them slowly.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use kv_core::{Store, env::Environment as _, env::SystemEnvironment};
use waypost_benches::{
    Failure, Scratch, data,
    meter::{self, Memory},
    server::Server,
};
use waypost_tests::{
    Address,
    http::{self, Connection, Response},
};

/// Memory of the server: idle, under large puts, under slow gets.
#[derive(Parser)]
struct Arguments {
    /// Number of concurrent clients.
    #[arg(long, default_value_t = 100)]
    clients: u64,
    /// Length of each value in bytes.
    #[arg(long, default_value_t = 25 << 20)]
    value: usize,
    /// The server's cache, in MiB.
    #[arg(long, default_value_t = 64)]
    cache: u64,
    /// The server's counters of rate limits, in MiB.
    #[arg(long, default_value_t = 32)]
    limiter: u64,
    /// How long a slow get takes.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Greatest memory for a large value in transit, in KiB: the bound for the peaks.
    #[arg(long, default_value_t = 2048)]
    bound: u64,
    /// Directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The number of bytes that are written or read at once, like a client.
const PIECE_BYTES: usize = 64 << 10;

/// The server's memory without its counters, its cache and its clients. The sum of all is the bound
/// in the repository's README.
const BASE_MIB: u64 = 8;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let Arguments { clients, value, cache, limiter, .. } = arguments;
    let scratch = Scratch::new(arguments.dir.clone())?;
    let path = scratch.join("data");
    let store = Store::open(&path)?;
    store.create_namespace("bench")?;
    store.close()?;
    drop(store);
    let settings = [format!("--cache={cache}MiB"), format!("--limiter-memory={limiter}MiB")];
    let server = Server::waypost(&path, &settings.each_ref().map(String::as_str))?;
    println!(
        "memory of the server, MiB, cache {cache} MiB, counters {limiter} MiB; load {}\n",
        meter::load()
    );
    println!("| | resident | of it anonymous | peak | bound |\n|---|---|---|---|---|");
    let idle = BASE_MIB + limiter + cache;
    pause(2.0);
    report(&server, "idle, just started", idle)?;

    let loaded = idle + clients * arguments.bound / 1024;
    let clock = SystemEnvironment::new();
    at_once(clients, |client| put(server.address(), client, value))?;
    let rate = ((clients * value as u64) >> 20) as f64 / clock.monotonic().as_secs_f64();
    report(&server, &format!("after {clients} puts of {} MiB at once", value >> 20), loaded)?;
    meter::forget_peak(server.pid())?;

    at_once(clients, |client| get(server.address(), client, value, None))?;
    report(&server, &format!("after {clients} gets, fast"), loaded)?;
    meter::forget_peak(server.pid())?;

    let slow = Some(Duration::from_secs_f64(arguments.seconds));
    at_once(clients, |client| get(server.address(), client, value, slow))?;
    let title = format!("after {clients} gets of {:.0} s each", arguments.seconds);
    report(&server, &title, loaded)?;
    meter::forget_peak(server.pid())?;

    pause(5.0);
    // The allocator keeps the memory of past clients for later ones.
    report(&server, "idle again", loaded)?;
    println!("\nputs: {rate:.0} MiB/s together; load {} after", meter::load());
    Ok(())
}

fn report(server: &Server, what: &str, bound_mib: u64) -> Result<(), Failure> {
    let Memory { resident, anonymous, peak } = meter::memory(server.pid())?;
    let mib = |bytes: u64| bytes >> 20;
    let verdict = if mib(peak) <= bound_mib { "holds" } else { "BROKEN" };
    println!(
        "| {what} | {} | {} | {} | {bound_mib} {verdict} |",
        mib(resident),
        mib(anonymous),
        mib(peak)
    );
    Ok(())
}

fn pause(seconds: f64) {
    std::thread::sleep(Duration::from_secs_f64(seconds));
}

/// Runs all clients, each in its own thread.
fn at_once(clients: u64, run: impl Fn(u64) -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || run(client))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_panic| "a client panicked")?)
    })
}

fn put(address: SocketAddr, client: u64, len: usize) -> Result<(), Failure> {
    let mut connection = Connection::to(&Address::Tcp(address))?;
    let length = [("Content-Length", &len.to_string()[..])];
    connection.send(http::head("PUT", &target(client), &length).as_bytes())?;
    let piece = data::value(client, PIECE_BYTES);
    let mut left = len;
    while left > 0 {
        let n = left.min(piece.len());
        connection.send(&piece[..n])?;
        left -= n;
    }
    check_status(&connection.response_to("PUT")?)
}

/// Gets a value, evenly spread over `lasting` if that is given.
fn get(
    address: SocketAddr,
    client: u64,
    len: usize,
    lasting: Option<Duration>,
) -> Result<(), Failure> {
    let mut connection = Connection::to(&Address::Tcp(address))?;
    connection.send(http::head("GET", &target(client), &[]).as_bytes())?;
    let head = connection.read_head()?;
    check_status(&head)?;
    if head.header("content-length") != Some(&len.to_string()) {
        return Err("the value has a wrong length".into());
    }
    let clock = SystemEnvironment::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < len {
        let n = piece.len().min(len - done);
        connection.read_exact(&mut piece[..n])?;
        done += n;
        if let Some(lasting) = lasting {
            let due = lasting.mul_f64(done as f64 / len as f64);
            std::thread::sleep(due.saturating_sub(clock.monotonic()));
        }
    }
    Ok(())
}

fn target(client: u64) -> String {
    format!("/binding/bench/large-{client}")
}

fn check_status(response: &Response) -> Result<(), Failure> {
    match response.status {
        200 => Ok(()),
        status => Err(format!("the server responded with the status {status}").into()),
    }
}
