//! Measures what the proxy costs: how late packets are beyond the configured delay, and how many
//! bits per second pass.
//!
//! `cargo run --release -p waypost-link-tests --example cost`

use std::{
    io,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use kv_core::env::{Environment as _, SystemEnvironment};
use waypost_link_tests::{Conditions, Proxy};

const PACKET_BYTES: usize = 1_452;

fn main() -> io::Result<()> {
    for delay_ms in [0, 1, 50] {
        lateness(Duration::from_millis(delay_ms))?;
    }
    rate(Duration::ZERO)?;
    rate(Duration::from_millis(50))
}

/// Sends one packet at a time, a tenth of a millisecond apart, with and without the proxy.
fn lateness(delay: Duration) -> io::Result<()> {
    let clock = SystemEnvironment::new();
    let (location, peer) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let proxy = Proxy::start(location.local_addr()?, Conditions::delayed(delay), 1)?;
    let rounds = if delay.is_zero() { 5_000 } else { 1_000 };
    let mut buffer = [0; 2_000];
    let mut quantiles = |to| -> io::Result<[Duration; 3]> {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let sent_at = clock.monotonic();
            peer.send_to(&[0; PACKET_BYTES], to)?;
            location.recv(&mut buffer)?;
            times.push(clock.monotonic() - sent_at);
            thread::sleep(Duration::from_micros(100));
        }
        times.sort();
        Ok([50, 90, 99].map(|percent| times[times.len() * percent / 100]))
    };
    let direct = quantiles(location.local_addr()?)?;
    let through = quantiles(proxy.address())?.map(|time| time.saturating_sub(delay));
    println!(
        "delay {delay:?}: p50, p90, p99 beyond the delay {through:?}; without a proxy {direct:?}"
    );
    Ok(())
}

/// Sends as many packets as a window allows in flight, like a connection.
fn rate(delay: Duration) -> io::Result<()> {
    const PACKETS: usize = 200_000;
    let clock = SystemEnvironment::new();
    let (location, peer) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    location.set_read_timeout(Some(Duration::from_secs(1)))?;
    let proxy = Proxy::start(location.local_addr()?, Conditions::delayed(delay), 1)?;
    let (address, is_over) = (proxy.address(), AtomicBool::new(false));
    let begin = clock.monotonic();
    let (mut received, mut end) = (0, begin);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..PACKETS {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // 800 Mbit/s, as quinn's pacer would send.
                let due = begin + Duration::from_nanos(14_520) * u32::try_from(number).unwrap_or(0);
                if number % 16 == 0 {
                    thread::sleep(due.saturating_sub(clock.monotonic()));
                }
                let _lost_if_not = peer.send_to(&[0; PACKET_BYTES], address);
            }
        });
        while received < PACKETS && location.recv(&mut [0; 2_000]).is_ok() {
            received += 1;
            end = clock.monotonic();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let seconds = (end - begin).as_secs_f64();
    let mbit = received as f64 * PACKET_BYTES as f64 * 8.0 / seconds / 1e6;
    println!("delay {delay:?}: {received} of {PACKETS} passed, {mbit:.0} Mbit/s");
    Ok(())
}
