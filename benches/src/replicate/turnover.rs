//! Members that come and go, one after the other: whether what they leave behind makes the next one slower.

use std::{path::Path, time::Duration};

use kv_core::env::{Environment as _, SystemEnvironment};

use super::{Client, NAMESPACE, start, verdict};
use crate::{Failure, meter};

/// How many of the first and of the last joins are compared.
const COMPARED: usize = 10;

/// Beside three locations that stay, `members` join one after the other. Each writes once and is removed.
///
/// # Errors
/// If a server fails, or there are fewer members than are compared.
pub fn run(directory: &Path, members: usize) -> Result<(), Failure> {
    if members < 2 * COMPARED {
        return Err(format!("at least {} members: set --members", 2 * COMPARED).into());
    }
    let clock = SystemEnvironment::new();
    let mut cluster = start(directory, 3, None, &["--cache=8MiB"])?;
    let mut joins = Vec::new();
    for _ in 0..members {
        let began = clock.monotonic();
        cluster.join();
        joins.push(clock.monotonic() - began);
        let number = cluster.len() - 1;
        Client::to(&cluster.locations()[number])?.put("last", NAMESPACE.as_bytes())?;
        cluster.remove(number, 0);
        cluster.kill(number);
    }
    let [first, last] = [&joins[..COMPARED], &joins[members - COMPARED..]].map(median);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let ratio = last.as_secs_f64() / first.as_secs_f64();
    println!(
        "\n{members} members join and are removed, one after the other; load {}\n",
        meter::load()
    );
    println!(
        "a join, median of {COMPARED}: the first {:.0} ms, the last {:.0} ms: {ratio:.2}x: at most 1.5x {}",
        ms(first),
        ms(last),
        verdict(ratio <= 1.5)
    );
    Ok(())
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}
