//! Checks two limits at once, with a cost, and keeps the counters over a restart.
//!
//! `cargo run -p waypost-ratelimit --example restart`

use std::time::Duration;

use ratelimit::{Limit, Limiter, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = Limiter::builder().capacity(10_000).build()?;
    let per_second = Limit::gcra(10, 5, Duration::from_secs(1))?;
    let per_day = Limit::fixed(8, Duration::from_secs(24 * 60 * 60))?;

    // A batch counts as a whole or not at all.
    let upload = |cost| {
        [
            Request::new("per-second", "user:1", per_second).cost(cost),
            Request::new("per-day", "user:1", per_day).cost(cost),
        ]
    };
    let first = limiter.check_all(&upload(5));
    println!("a cost of 5: allowed = {}", first.allowed);
    let second = limiter.check_all(&upload(5));
    println!("another 5: allowed = {}", second.allowed);
    for (name, decision) in ["per second", "per day"].iter().zip(&second.decisions) {
        println!("  {name}: {} left", decision.remaining);
    }
    assert!(first.allowed && !second.allowed);

    // A clean stop: write the pieces to a file, and restore them at the next start.
    let saved: Vec<Vec<u8>> = limiter.save().collect();
    drop(limiter);
    let limiter = Limiter::builder().capacity(10_000).restore(&saved)?;
    let left = limiter.peek(&Request::new("per-day", "user:1", per_day)).remaining;
    println!("after a restart: {left} left today");
    assert_eq!(left, 3);
    Ok(())
}
